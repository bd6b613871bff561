//! Build: the verified commit into a system of the store, once.

use super::step;
use crate::act::machine::{Machine, revision_of};
use crate::decide::answer::Code;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::record::{Built, HostState};
use crate::decide::value::{Commit, StorePath};

pub fn build(machine: &mut Machine, state: &mut HostState, commit: &Commit) -> Result<StorePath, Stop> {
    let attribute = machine.attribute();
    let known = state.built.as_ref().filter(|b| b.commit == commit.as_str() && b.attribute == attribute);
    if let Some(system) = known.and_then(|b| StorePath::parse(&b.system).ok())
        && machine.candidate().as_ref() == Some(&system)
    {
        machine.log.line(format_args!("already built: {system}"));
        return Ok(system);
    }
    machine.log.line(format_args!("building {commit}"));
    machine.ensure_nix_directories().or_stop(Code::NotWritable)?;
    step(machine.publish(commit), Code::BuildFailed)?;
    if !step(machine.build(commit), Code::BuildFailed)?.is_success() {
        return Err(Stop::new(Code::BuildFailed, "the system could not be built; the lines above say why"));
    }
    let system =
        machine.candidate().ok_or_else(|| Stop::new(Code::BuildFailed, "nix made no system in the store"))?;
    if let Some(revision) = revision_of(&system).filter(|revision| revision != commit) {
        let why = format!(
            "the system says that it was made from {revision} and not from the verified commit; set system.configurationRevision to self.rev"
        );
        return Err(Stop::new(Code::NotTrusted, why));
    }
    state.built = Some(Built { commit: commit.to_string(), attribute, system: system.to_string() });
    machine.store.write_state(state).or_stop(Code::NotWritable)?;
    Ok(system)
}
