//! Fetch: the branch of the verb, and the commit of it that is meant.

use super::step;
use crate::act::begun::Begun;
use crate::act::machine::Machine;
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
    let failed = |why: &str| Stop::new(Code::FetchFailed, why);
    machine.log.line(format_args!("fetching {branch}"));
    step(machine.ensure_repository(), Code::FetchFailed)?;
    if !step(machine.fetch(branch), Code::FetchFailed)?.is_success() {
        return Err(failed(&format!(
            "the branch {branch} could not be fetched (the lines above say why); on the host: nixgatectl check"
        )));
    }
    let tip =
        step(machine.incoming(), Code::FetchFailed)?.ok_or_else(|| failed("the branch names no commit"))?;
    let commit = match wanted {
        None => tip,
        Some(wanted) if step(machine.is_ancestor(wanted, &tip), Code::FetchFailed)? => wanted.clone(),
        Some(_) => {
            let why = format!("the commit that was asked for is not on {branch}; push it there first");
            return Err(Stop::new(Code::NotTrusted, why));
        }
    };
    begun.note_commit(commit.as_str());
    begun.enter(&machine.store, State::Fetched).or_stop(Code::NotWritable)?;
    Ok(commit)
}
