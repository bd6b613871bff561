//! From a permitted request to a candidate in the store: fetch, verify, build, or take from a cache. Nothing is
//! activated.

mod build;
mod earlier;
mod fetch;
mod prebuilt;
mod verify;
mod whole;

use crate::act::begun::Begun;
use crate::act::machine::Machine;
use crate::act::process::RunError;
use crate::decide::answer::Code;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::plan::Candidate;
use crate::decide::record::HostState;
use crate::decide::state::State;
use crate::decide::value::StorePath;
use build::build;
use earlier::earlier;
use fetch::fetch;
use prebuilt::prebuilt;
use verify::verify;

/// The system that is to run, and the commit that it was made from.
pub fn candidate(
    machine: &mut Machine,
    begun: &mut Begun,
    state: &mut HostState,
    what: &Candidate,
) -> Result<StorePath, Stop> {
    let system = match what {
        Candidate::Source { branch, commit } => match machine.config.source.kind.language() {
            Some(language) => {
                let commit = fetch(machine, begun, branch, commit.as_ref())?;
                verify(machine, begun, state, &commit)?;
                build(machine, state, &commit, language)?
            }
            None => prebuilt(machine, begun, state, branch, commit.as_ref())?,
        },
        Candidate::Earlier(generation) => earlier(machine, begun, state, *generation)?,
    };
    whole::ensure(machine, state, &system)?;
    begun.note_candidate(system.as_str());
    begun.enter(&machine.store, State::Built).or_stop(Code::NotWritable)?;
    Ok(system)
}

/// A step that a child does: what its failure means to the caller.
pub fn step<T>(result: Result<T, RunError>, code: Code) -> Result<T, Stop> {
    result.map_err(|error| match error {
        RunError::Cancelled => Stop::new(Code::Cancelled, "cancelled; nothing was changed"),
        error => Stop::new(code, error),
    })
}
