//! Rollback: which system is meant.

use super::step;
use crate::act::begun::Begun;
use crate::act::machine::{Machine, system_at};
use crate::decide::answer::Code;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::privileged::SYSTEM;
use crate::decide::record::HostState;
use crate::decide::request::Verb;
use crate::decide::value::{Generation, StorePath};
use crate::job::preflight::others::await_others;

/// The target of a rollback, by record and never by "generation minus one".
pub fn earlier(
    machine: &mut Machine,
    begun: &mut Begun,
    state: &mut HostState,
    generation: Option<Generation>,
) -> Result<StorePath, Stop> {
    // What they leave is where it goes back from.
    await_others(machine)?;
    let mut now = machine.triple().or_stop(Code::CheckRefused)?;
    // A specialisation that stays active stands for its system: otherwise that would be gone back to.
    let special = machine.running_specialisation();
    let kept = special.filter(|s| machine.config.specialisation.kept(Verb::Rollback, &s.name).is_some());
    if let Some(special) = kept {
        now.running = special.of;
    }
    let refuse = |why: &str| Stop::new(Code::CheckRefused, why);
    let foreign = "that generation holds no system that nixgate committed; `status` lists those";
    let nothing = "there is nothing to go back to: no system was committed before this one";
    let none = "nothing was committed by nixgate yet; use nixos-rebuild --rollback on the host";
    let target = match generation {
        Some(generation) => system_at(&format!("{SYSTEM}-{generation}-link"))
            .and_then(|system| state.permanent.iter().rev().find(|p| p.system == system.as_str()))
            .ok_or_else(|| refuse(foreign))?,
        None => match state.last().ok_or_else(|| refuse(none))? {
            // It only waits for a boot: nobody has tried it, and what runs is the one before.
            last if now.is_kept(&last.system)
                && Some(&now.running) == state.before_last().map(|p| &p.system) =>
            {
                state.before_last().unwrap_or(last)
            }
            last if !now.is_all(&last.system) => last,
            _ => state.before_last().ok_or_else(|| refuse(nothing))?,
        },
    };
    let system = StorePath::parse(&target.system).or_stop(Code::CheckRefused)?;
    if let Some(commit) = target.commit.clone() {
        begun.note_commit(&commit);
    }
    machine.log.line(format_args!("going back to {system}"));
    if !step(machine.root_candidate(&system), Code::CheckRefused)?.is_success() {
        return Err(refuse("that system is no longer in the store; deploy its commit again"));
    }
    // The out-link of the last build is gone.
    state.built = None;
    machine.store.write_state(state).or_stop(Code::NotWritable)?;
    Ok(system)
}
