//! What a dead job left is finished or undone: at boot, after the timer's revert, when a job's unit fails, and
//! before each job. Doing it twice changes nothing.

use super::commit::{self, MustRun, await_idle};
use super::deploy::{Direction, Restart, finish, note_permanent, remember_installed, restart_if_configured};
use super::revert::{revert, undo_a_commit};
use crate::act::begun::Begun;
use crate::act::clock;
use crate::act::machine::{Machine, running_system};
use crate::act::reserve::Reserve;
use crate::act::store::StoreError;
use crate::act::system::specialisation_of;
use crate::decide::answer::Code;
use crate::decide::outcome::{Outcome, Stop};
use crate::decide::record::{HostState, Record, Triple};
use crate::decide::request::Verb;
use crate::decide::specialisation::{Before, Kept, was_activated};
use crate::decide::state::{Recovery, State};
use crate::decide::value::{JobId, StorePath};

/// Looks at the transaction in progress, which nobody works on: the caller holds the lock. Says whether the host was
/// asked to restart.
pub fn recover(machine: &mut Machine) -> Result<Restart, StoreError> {
    let mut state = machine.store.state()?;
    let Some(job) = state.job.as_deref().and_then(|text| JobId::parse(text).ok()) else {
        return Ok(Restart::No);
    };
    let Some(record) = machine.store.record(&job)? else {
        // Named in the state before its first record was whole: nothing can have happened.
        state.job = None;
        return machine.store.write_state(&state).map(|()| Restart::No);
    };
    machine.log = crate::act::log::Log::open(&machine.store.job_dir(&job).join("log"))
        .map_err(|source| StoreError::Io { path: machine.store.job_dir(&job), source })?;
    machine.log.line("the job that worked on this is gone; recovering");
    machine.store.set_reserve(Reserve::Spend);
    let mut begun = Begun::resume(job, record.clone());
    let outcome = outcome(machine, &mut begun, &mut state, &record);
    drop(finish(machine, &mut begun, &mut state, &outcome));
    machine.store.set_reserve(Reserve::Keep);
    Ok(restart_if_configured(machine, &begun))
}

fn outcome(machine: &mut Machine, begun: &mut Begun, state: &mut HostState, record: &Record) -> Outcome {
    let rebooted = record.boot != clock::boot_id();
    match record.state.recovery() {
        Recovery::Ended => ended(begun, state, record),
        Recovery::Forget => {
            let why = "the job died before it changed anything; ask again";
            Outcome::failed(State::Refused, Code::Internal, why)
        }
        Recovery::Revert if rebooted => {
            remember_bad(state, record);
            by_reboot(machine, begun, record)
        }
        Recovery::Revert => {
            remember_bad(state, record);
            await_idle(machine, &["nixgate-revert.service"]);
            revert(machine, begun, None, why_it_failed(record))
        }
        Recovery::FinishOrUndo => finish_or_undo(machine, begun, state, record),
    }
}

/// A trial that killed its job, or the host, is not one for the timer to try again.
fn remember_bad(state: &mut HostState, record: &Record) {
    if let (Some(commit), true) = (&record.commit, record.verb != Verb::Rollback.as_str()) {
        state.remember_bad(commit);
    }
}

/// It had ended, and died before it could say so.
fn ended(begun: &Begun, state: &mut HostState, record: &Record) -> Outcome {
    match (&record.failure, record.state) {
        (None, State::Committed) => {
            remember(begun, state, record);
            Outcome::good(State::Committed, "committed")
        }
        (None, State::Kept) => Outcome::good(State::Kept, "kept"),
        (None, State::Done) if record.verb == Verb::Fetch.as_str() => Outcome::good(State::Done, "fetched"),
        (None, State::Done) => {
            if [Verb::Switch, Verb::Boot].iter().any(|verb| record.verb == verb.as_str()) {
                state.move_anchor(record);
            }
            Outcome::good(State::Done, "unchanged")
        }
        (failure, state) => {
            let code = failure.as_ref().and_then(|f| Code::from_number(f.code)).unwrap_or(Code::Internal);
            // Releases before this one put only the beginning of the revert on record.
            let code = if state == State::NeedsOperator { Code::RevertFailed } else { code };
            let why = failure.as_ref().map_or("the job died before it could say how it ended", |f| &f.why);
            Outcome::failed(state, code, why)
        }
    }
}

/// What the job would have written into the state.
fn remember(begun: &Begun, state: &mut HostState, record: &Record) {
    if let (true, Some(old)) = (state.permanent.is_empty(), &record.old) {
        remember_installed(state, old);
    }
    let back = record.verb == Verb::Rollback.as_str();
    note_permanent(begun, state, if back { Direction::Back } else { Direction::Forward });
}

/// Why a trial that nobody judged is reverted.
fn why_it_failed(record: &Record) -> Stop {
    match &record.failure {
        Some(failure) => {
            let code = Code::from_number(failure.code).unwrap_or(Code::ActivationFailed);
            Stop::new(code, &failure.why)
        }
        None => Stop::new(Code::ActivationFailed, format_args!("the job died in state {}", record.state)),
    }
}

/// A restart went into the boot default, which a trial never touches.
fn by_reboot(machine: &mut Machine, begun: &mut Begun, record: &Record) -> Outcome {
    let stop = why_it_failed(record);
    begun.enter_if_possible(&machine.store, State::Reverting, Some(stop.clone().into_failure()));
    if let Some(old) = &record.old {
        undo_a_commit(machine, begun, record.state, old);
    }
    if candidate_that_runs(machine, record).is_some() {
        return revert(machine, begun, None, stop);
    }
    Outcome::failed(
        State::Reverted,
        stop.code,
        format_args!("{}; reverted by a restart of the host", stop.why),
    )
}

/// Death during a commit: once nothing of ours is at work, what runs decides.
fn finish_or_undo(
    machine: &mut Machine,
    begun: &mut Begun,
    state: &mut HostState,
    record: &Record,
) -> Outcome {
    await_idle(machine, &["nixgate-commit.service", "nixgate-revert.service"]);
    if let Some((new, running)) = candidate_that_runs(machine, record)
        && commit::finish(machine, begun, &new, MustRun::This(&running)).is_ok()
    {
        remember(begun, state, record);
        return Outcome::good(State::Committed, "committed");
    }
    if record.boot != clock::boot_id() {
        returned_by_restart(begun, record);
    }
    revert(
        machine,
        begun,
        None,
        Stop::new(Code::CommitFailed, "the job died while it made the system permanent"),
    )
}

/// The candidate, and what runs, where that is what the job activated of it.
fn candidate_that_runs(machine: &Machine, record: &Record) -> Option<(StorePath, StorePath)> {
    let new = StorePath::parse(record.new.as_deref()?).ok()?;
    let running = running_system()?;
    let before = match &record.old {
        Some(old) if old.running == running.as_str() => Before::Ran,
        _ => Before::DidNotRun,
    };
    let part = specialisation_of(&running, &new).map(|part| {
        let verb = Verb::parse(&record.verb);
        verb.and_then(|verb| machine.config.specialisation.kept(verb, &part.name))
            .map_or(Kept::No, |_| Kept::Yes)
    });
    (running == new || part.is_some_and(|kept| was_activated(before, kept))).then_some((new, running))
}

/// A restart leads to the boot default and not to a specialisation of it, or to what `test` had activated.
fn returned_by_restart(begun: &mut Begun, record: &Record) {
    let (Some(old), Some(running)) = (&record.old, running_system()) else { return };
    if old.default.as_deref().unwrap_or(&old.profile) == running.as_str() {
        begun.note_old(Triple { running: running.to_string(), ..old.clone() });
    }
}
