//! Fetch: the branch of the verb, and the commit of it that is meant. It lies in quarantine until it is judged.

use super::step;
use crate::act::begun::Begun;
use crate::act::fetch::FetchError;
use crate::act::machine::Machine;
use crate::act::process::RunError;
use crate::decide::answer::Code;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::state::State;
use crate::decide::value::{Branch, Commit};

pub fn fetch(
    machine: &mut Machine,
    begun: &mut Begun,
    branch: &Branch,
    wanted: Option<&Commit>,
) -> Result<Commit, Stop> {
    machine.log.line(format_args!("fetching {branch}"));
    let fetched = meant(machine, branch, wanted).and_then(|commit| {
        begun.note_commit(commit.as_str());
        begun.enter(&machine.store, State::Fetched).or_stop(Code::NotWritable)?;
        Ok(commit)
    });
    fetched.inspect_err(|_| discard(machine))
}

/// The tip, or the commit that was asked for where that is on the branch.
fn meant(machine: &mut Machine, branch: &Branch, wanted: Option<&Commit>) -> Result<Commit, Stop> {
    if machine.config.source.url.is_ssh() {
        machine.read_key().or_stop(Code::Misconfigured)?;
    }
    let tip = machine.fetch(branch).map_err(stopped)?;
    match wanted {
        None => Ok(tip),
        Some(wanted) if step(machine.is_ancestor(wanted, &tip), Code::FetchFailed)? => Ok(wanted.clone()),
        Some(_) => {
            let why = format!("the commit that was asked for is not on {branch}; push it there first");
            Err(Stop::new(Code::NotTrusted, why))
        }
    }
}

/// What was judged good leaves quarantine for the repository; anything else is removed.
pub fn settle<T>(machine: &mut Machine, commit: &Commit, judged: Result<T, Stop>) -> Result<T, Stop> {
    judged
        .and_then(|good| machine.promote(commit).map(|()| good).map_err(stopped))
        .inspect_err(|_| discard(machine))
}

/// If it stays, the next fetch removes it.
fn discard(machine: &mut Machine) {
    if let Err(error) = machine.discard() {
        machine.log.line(error);
    }
}

fn stopped(error: FetchError) -> Stop {
    match error {
        FetchError::Run(RunError::Cancelled) => Stop::new(Code::Cancelled, "cancelled; nothing was changed"),
        FetchError::Io { .. } => Stop::new(Code::NotWritable, error),
        error => Stop::new(Code::FetchFailed, error),
    }
}
