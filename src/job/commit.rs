//! Making a system permanent: profile, then boot entry, and the way back from either.

use crate::act::begun::Begun;
use crate::act::clock::Instant;
use crate::act::inbox::Woken;
use crate::act::machine::{Machine, profile_system};
use crate::act::process::{Ended, OnCancel, RunError};
use crate::decide::answer::Code;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::privileged::{COMMIT_SECONDS, Row};
use crate::decide::record::Triple;
use crate::decide::state::State;
use crate::decide::value::StorePath;
use std::time::Duration;

const SET: Duration = Duration::from_secs(120);
const ENTRY: Duration = Duration::from_secs(COMMIT_SECONDS + 30);
const PATIENCE: Duration = Duration::from_secs(120);

/// What has to run, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MustRun<'s> {
    /// The system, or its specialisation that was tried.
    This(&'s StorePath),
    /// It starts at the next boot.
    No,
}

/// Sets the profile, then starts the commit unit, which installs the boot entry and *is* the disarming: it
/// conflicts with timer and revert, so PID 1 decides the race. Then what counts is what is there.
pub fn commit(
    machine: &mut Machine,
    begun: &mut Begun,
    system: &StorePath,
    run: MustRun<'_>,
) -> Result<(), Stop> {
    begun.enter(&machine.store, State::Committing).or_stop(Code::NotWritable)?;
    finish(machine, begun, system, run)
}

/// The effects of a commit; doing them twice changes nothing.
pub fn finish(
    machine: &mut Machine,
    begun: &Begun,
    system: &StorePath,
    run: MustRun<'_>,
) -> Result<(), Stop> {
    machine.log.line("making it permanent");
    let set = machine.privileged(begun, Row::Set, SET, OnCancel::GoOn);
    nix::unistd::sync();
    is_set(system, set)?;
    in_turn(machine, begun, Row::Commit, "nixgate-commit.service");
    nix::unistd::sync();
    is_permanent(machine, system, run)
}

/// Without the profile there is no boot entry. What counts is the profile and not how nix-env ended.
fn is_set(system: &StorePath, ended: Result<Ended, RunError>) -> Result<(), Stop> {
    if profile_system().is_some_and(|(profile, _)| profile == *system) {
        return Ok(());
    }
    let how = match ended {
        Ok(ended) => format!("nix-env failed ({}); the lines above say why", ended.code),
        Err(RunError::Deadline { limit, .. }) => nix_is_locked(limit),
        Err(error) => error.to_string(),
    };
    Err(Stop::new(Code::CommitFailed, format_args!("the profile could not be set: {how}")))
}

/// A collection that works keeps nobody waiting: it is asked to spare what is set meanwhile. One that stands still does.
pub fn nix_is_locked(limit: Duration) -> String {
    let seconds = limit.as_secs();
    format!(
        "nix-env did not end within {seconds} s and was stopped. Somebody holds a lock of Nix, such as a garbage collection that stands still; on the host: lslocks | grep /nix/var/nix"
    )
}

fn is_permanent(machine: &mut Machine, system: &StorePath, run: MustRun<'_>) -> Result<(), Stop> {
    let failed = |why: &str| Err(Stop::new(Code::CommitFailed, why));
    let loader = machine.show("nixgate-commit.service").unwrap_or_default();
    if loader.get("ActiveState").is_none_or(|state| state == "failed") {
        return failed("the boot loader could not be installed; on the host: /var/log/nixgate/commit.log");
    }
    let now = machine.triple().or_stop(Code::CommitFailed)?;
    if !now.is_kept(system.as_str()) {
        return failed(
            "profile and boot default did not both become the new system; on the host: /var/log/nixgate/commit.log",
        );
    }
    if let MustRun::This(target) = run
        && now.running != target.as_str()
    {
        return failed("the dead man's switch was faster: it returned to the old system");
    }
    let armed = [machine.is_busy("nixgate-revert.timer"), machine.is_busy("nixgate-revert.service")];
    if armed != [Some(false), Some(false)] {
        return failed("the dead man's switch could not be disarmed");
    }
    Ok(())
}

/// Puts profile and boot entry back to what they were. Each step is tried whatever the others do.
pub fn undo(machine: &mut Machine, begun: &Begun, old: &Triple) {
    let now = machine.triple();
    let unset = now.as_ref().is_ok_and(|now| now.profile == old.profile);
    if !unset {
        let _ = machine.privileged(begun, Row::Unset, SET, OnCancel::GoOn);
    }
    // Where the boot default cannot be read, the entry is written again: it costs little and is never wrong.
    let entry = now.is_ok_and(|now| now.default.is_some() && now.default == old.default && unset);
    // Once more where it did nothing: whoever was to ask PID 1 for it may have been killed.
    for _ in 0..if entry { 0 } else { 2 } {
        machine.reset(begun);
        in_turn(machine, begun, Row::Uncommit, "nixgate-uncommit.service");
        if machine.triple().is_ok_and(|now| now.default == old.default) {
            break;
        }
    }
    nix::unistd::sync();
}

/// Runs one of the units that need the lock of switch-to-configuration to its end. Where somebody else has that (11) it
/// is tried again, as the dead man's switch is: what the lock is held for ends, and a host is not restarted for it.
pub fn in_turn(machine: &mut Machine, begun: &Begun, row: Row, unit: &str) {
    let patience = Instant::now() + PATIENCE;
    loop {
        let _ = machine.privileged(begun, row.clone(), ENTRY, OnCancel::GoOn);
        await_idle(machine, &[unit]);
        let ended = machine.show(unit).unwrap_or_default();
        let is = |key: &str, value: &str| ended.get(key).is_some_and(|v| v == value);
        if !(is("Result", "exit-code") && is("ExecMainStatus", "11")) || Instant::now() >= patience {
            return;
        }
        machine.log.line("somebody else is activating a system on this host; trying again");
        machine.reset(begun);
        let next = Instant::now() + Duration::from_secs(2);
        while machine.inbox.wait(next) != Woken::Deadline {}
    }
}

/// Waits until none of these units does anything: what they will have done is then what is there.
pub fn await_idle(machine: &mut Machine, units: &[&str]) {
    let deadline = Instant::now() + ENTRY;
    while units.iter().any(|unit| machine.is_busy(unit) != Some(false)) && Instant::now() < deadline {
        while machine.inbox.wait(Instant::now() + Duration::from_millis(200)) != Woken::Deadline {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_was_not_set_is_no_commit_and_it_says_who_may_hold_it_up() {
        let system = StorePath::parse("/nix/store/00000000000000000000000000000000-nobody-has-it").unwrap();
        let late = RunError::Deadline { program: "sudo".to_owned(), limit: SET };
        let stop = is_set(&system, Err(late)).unwrap_err();
        assert_eq!(stop.code, Code::CommitFailed);
        assert!(stop.why.contains("within 120 s") && stop.why.contains("lslocks"), "{}", stop.why);
        let stop = is_set(&system, Ok(Ended { code: 1, stdout: Vec::new() })).unwrap_err();
        assert!(stop.why.contains("nix-env failed (1)"), "{}", stop.why);
    }
}
