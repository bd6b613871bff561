//! Build: the verified commit into a system of the store, once.

use super::step;
use crate::act::inputs::InputError;
use crate::act::machine::{Machine, revision_of};
use crate::act::process::{Ended, RunError};
use crate::decide::answer::Code;
use crate::decide::config::Language;
use crate::decide::evaluation;
use crate::decide::lock::{self, Unlocked};
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::record::{Built, HostState};
use crate::decide::value::{Commit, StorePath};
use crate::job::preflight::space::for_the_store;

pub fn build(
    machine: &mut Machine,
    state: &mut HostState,
    commit: &Commit,
    language: Language,
) -> Result<StorePath, Stop> {
    let attribute = evaluation::built_from(&machine.config.source, language);
    let known = state.built.as_ref().filter(|b| b.commit == commit.as_str() && b.attribute == attribute);
    if let Some(system) = known.and_then(|b| StorePath::parse(&b.system).ok())
        && machine.candidate().as_ref() == Some(&system)
    {
        machine.log.line(format_args!("already built: {system}"));
        return Ok(system);
    }
    machine.fit_to_build().or_stop(Code::Misconfigured)?;
    for_the_store(machine)?;
    machine.ensure_nix_directories().or_stop(Code::NotWritable)?;
    step(machine.publish(commit), Code::BuildFailed)?;
    match language {
        Language::Flake => locked(machine, commit)?,
        // A file has no lock that Nix knows; what it fetches without a hash, pure evaluation refuses.
        Language::Nix => {}
    }
    let derivation = evaluate(machine, commit, language)?;
    let system = realise(machine, &derivation)?;
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

/// All that the flake brings in is named by its content: what its lock file says, and that it says all.
fn locked(machine: &mut Machine, commit: &Commit) -> Result<(), Stop> {
    match step(machine.file_at(commit, "flake.lock"), Code::NotTrusted)? {
        Some(text) => lock::pinned(&text).or_stop(Code::NotTrusted)?,
        None if step(machine.has_file(commit, "flake.lock"), Code::NotTrusted)? => {
            return Err(Stop::new(Code::NotTrusted, Unlocked::Large));
        }
        // Without inputs there is none.
        None => {}
    }
    if in_time("evaluation", machine.locks_everything(commit))?.is_success() {
        return Ok(());
    }
    let why = "flake.lock does not lock all that flake.nix asks for, or flake.nix cannot be read (the lines above say which); run nix flake lock and commit the result";
    Err(Stop::new(Code::NotTrusted, why))
}

fn evaluate(machine: &mut Machine, commit: &Commit, language: Language) -> Result<StorePath, Stop> {
    let inputs = machine.inputs().map_err(|error| match error {
        InputError::NotWritten { .. } => Stop::new(Code::NotWritable, error),
        error => Stop::new(Code::Misconfigured, error),
    })?;
    machine.log.line(format_args!("evaluating {commit}"));
    let ended = in_time("evaluation", machine.evaluate(commit, language, &inputs))?;
    if !ended.is_success() {
        let why = evaluation::failed(&machine.config, ended.code);
        return Err(Stop::new(Code::BuildFailed, why));
    }
    machine.derivation().ok_or_else(|| {
        Stop::new(
            Code::BuildFailed,
            "what the attribute names is nothing that can be built; see source.system",
        )
    })
}

fn realise(machine: &mut Machine, derivation: &StorePath) -> Result<StorePath, Stop> {
    machine.log.line(format_args!("building {derivation}"));
    let failed = |why: &str| Stop::new(Code::BuildFailed, why);
    if !in_time("build", machine.build(derivation))?.is_success() {
        return Err(failed("the system could not be built; the lines above say why"));
    }
    machine.candidate().ok_or_else(|| failed("nix made no system in the store"))
}

/// How Nix ended at a work that has a limit of the same name.
fn in_time(work: &str, ended: Result<Ended, RunError>) -> Result<Ended, Stop> {
    let Err(RunError::Deadline { limit, .. }) = ended else { return step(ended, Code::BuildFailed) };
    let seconds = limit.as_secs();
    let why = format!("the {work} did not end within {seconds} s (limits.{work}) and was stopped");
    Err(Stop::new(Code::BuildFailed, why))
}
