//! The way back, and what is said about it. No failed write stops it.

use super::commit::{in_turn, undo};
use super::health::{Baseline, after_revert};
use super::trial::{changed_nothing, settle};
use crate::act::begun::Begun;
use crate::act::clock::Instant;
use crate::act::inbox::Woken;
use crate::act::machine::{Machine, profile_system, running_system};
use crate::act::process::OnCancel;
use crate::act::system::specialisation_of;
use crate::decide::answer::Code;
use crate::decide::config::WhenRevertFails;
use crate::decide::outcome::{Outcome, Stop};
use crate::decide::privileged::Row;
use crate::decide::record::Triple;
use crate::decide::state::State;
use crate::decide::value::StorePath;
use std::time::Duration;

/// Returns to the old system by the very unit that the dead man's switch would have started.
pub fn revert(machine: &mut Machine, begun: &mut Begun, before: Option<&Baseline>, stop: Stop) -> Outcome {
    machine.log.line(format_args!("{stop}"));
    let was = begun.state();
    begun.enter_if_possible(&machine.store, State::Reverting, Some(stop.clone().into_failure()));
    let Some(old) = begun.record().old.clone() else {
        return Outcome::failed(
            State::NeedsOperator,
            Code::RevertFailed,
            "the record does not say what ran before",
        );
    };
    if changed_nothing(&stop) && settle(machine, begun, &old.running).is_ok() {
        return Outcome { result: "refused", ..Outcome::failed(State::Reverted, stop.code, stop.why) };
    }
    machine.log.line(format_args!("returning to {}", old.running));
    undo_a_commit(machine, begun, was, &old);
    let way = return_to(machine, begun, &old);
    let stop = disarm(machine, begun, stop);
    verdict(machine, &old, way, before, stop)
}

/// Left armed, the switch would return the host from whatever somebody activates next. There are two ways to disarm it;
/// where both are refused, that is said.
fn disarm(machine: &mut Machine, begun: &Begun, stop: Stop) -> Stop {
    for row in [Row::Disarm, Row::Settle] {
        let _ = machine.privileged(begun, row, Duration::from_secs(60), OnCancel::GoOn);
        if machine.is_busy("nixgate-revert.timer") != Some(true) {
            return stop;
        }
    }
    let seconds = machine.config.dead_man().as_secs();
    let why = format!(
        "{}; the dead man's switch could not be disarmed and activates the old system once more within {seconds} s; on the host: systemctl stop nixgate-revert.timer",
        stop.why
    );
    Stop { why, ..stop }
}

/// How the last activation of the old system ended. That `/run/current-system` leads to it is the first half of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    Failed,
}

/// A commit may have begun in this process, or in one that died while it took it back.
pub fn undo_a_commit(machine: &mut Machine, begun: &Begun, was: State, old: &Triple) {
    let moved = profile_system().is_none_or(|(system, _)| system.as_str() != old.profile);
    if moved || matches!(was, State::Committing | State::Reverting) {
        undo(machine, begun, old);
    }
}

/// Whichever way leads back: the armed unit, the same command when that unit is gone, or the timer itself
/// where sudo refuses us.
fn return_to(machine: &mut Machine, begun: &Begun, old: &Triple) -> Way {
    let limit = machine.config.limits.revert;
    // PID 1 tries again for two minutes while somebody else holds the activation lock.
    let patience = limit + Duration::from_secs(150);
    let started = machine.privileged(begun, Row::Revert, patience, OnCancel::GoOn);
    if started.is_ok_and(|ended| ended.is_success()) && is_running(old) {
        return Way::Whole;
    }
    await_timer(machine, old, patience);
    if is_running(old) && ended(machine, "nixgate-revert.service") == Way::Whole {
        return Way::Whole;
    }
    in_turn(machine, begun, Row::Restore, "nixgate-restore.service");
    ended(machine, "nixgate-restore.service")
}

/// A unit that failed stays until it is reset; 4 is judged by the units, as after a trial. Where systemd cannot be
/// asked, what runs has to do.
fn ended(machine: &mut Machine, unit: &str) -> Way {
    let properties = machine.show(unit).unwrap_or_default();
    let is = |key: &str, value: &str| properties.get(key).is_some_and(|is| is == value);
    if is("ActiveState", "failed") && !is("ExecMainStatus", "4") { Way::Failed } else { Way::Whole }
}

/// While the dead man's switch is armed or at work, it will do it, or PID 1 will reboot the host.
fn await_timer(machine: &mut Machine, old: &Triple, patience: Duration) {
    let deadline = Instant::now() + machine.config.dead_man() + patience;
    loop {
        let at_work = machine.is_busy("nixgate-revert.service");
        let armed = machine.is_busy("nixgate-revert.timer");
        let over = at_work == Some(false) && (is_running(old) || armed == Some(false));
        if over || Instant::now() >= deadline {
            return;
        }
        while machine.inbox.wait(Instant::now() + Duration::from_millis(300)) != Woken::Deadline {}
    }
}

fn is_running(old: &Triple) -> bool {
    running_system().is_some_and(|system| system.as_str() == old.running)
}

/// An exit code of 0 is no verdict: what runs is, and whether it is as well as it was.
fn verdict(machine: &mut Machine, old: &Triple, way: Way, before: Option<&Baseline>, stop: Stop) -> Outcome {
    if !is_running(old) {
        return escalate(machine, &stop, "the old system could not be activated again");
    }
    if way == Way::Failed {
        let what =
            "the activation of the old system failed half way; on the host: /var/log/nixgate/revert.log";
        return escalate(machine, &stop, what);
    }
    let lacking = before.map(|before| after_revert(machine, before)).unwrap_or_default();
    if !lacking.essential.is_empty() {
        let what = format!("the old system runs again, but not with {}", lacking.essential.join(", "));
        return escalate(machine, &stop, &what);
    }
    let mut why = stop.why.clone();
    if !lacking.other.is_empty() {
        let what = lacking.other.join(", ");
        why += &format!("; the old system runs again, but these are not as well as before: {what}");
    }
    match machine.triple() {
        Ok(now) if now.profile == old.profile && (now.default == old.default || is_its_whole(&now, old)) => {
            if now.generation != old.generation {
                let number = now.generation;
                why += &format!("; the profile leads to the old system again, now as generation {number}");
            }
            if now.default != old.default {
                why += "; the boot default is the old system itself, and no longer its specialisation";
            }
        }
        Ok(now) => {
            let default = now.default.as_deref().unwrap_or("unknown");
            let what = format!(
                "the old system runs again, but the profile leads to {} and the boot default is {default}",
                now.profile
            );
            return escalate(machine, &stop, &what);
        }
        Err(error) => return escalate(machine, &stop, &format!("the old system runs again, but {error}")),
    }
    Outcome::failed(State::Reverted, stop.code, why)
}

/// GRUB's default can be a specialisation, and what takes a commit back makes it the system that it belongs to.
fn is_its_whole(now: &Triple, old: &Triple) -> bool {
    let part = old.default.as_deref().and_then(|part| StorePath::parse(part).ok());
    let whole = StorePath::parse(&old.profile).ok();
    let was_part = part.zip(whole).is_some_and(|(part, whole)| specialisation_of(&part, &whole).is_some());
    was_part && now.is_kept(&old.profile)
}

/// The end of what we can do here. The restart, where it is configured, comes after everybody was told.
fn escalate(machine: &Machine, stop: &Stop, what: &str) -> Outcome {
    let next = match machine.config.revert.when_it_fails {
        WhenRevertFails::Reboot => "the host restarts, if its boot default is the old system",
        WhenRevertFails::Stay => "an operator is needed: see \"exit 30\" in the README",
    };
    Outcome::failed(State::NeedsOperator, Code::RevertFailed, format!("{}; {what}; {next}", stop.why))
}
