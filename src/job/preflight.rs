//! Before anything changes: what the host is, what the candidate is, and whether one can become the other.

mod gates;
mod lockout;
pub mod others;
pub mod space;
mod special;

use super::commit::nix_is_locked;
use super::health::{self, Baseline};
use super::source::step;
use crate::act::begun::Begun;
use crate::act::machine::Machine;
use crate::act::process::{OnCancel, RunError};
use crate::act::system::{files_of, reboot_reasons};
use crate::decide::answer::Code;
use crate::decide::config::{WhenImpossible, WhenNeeded};
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::plan::{Goal, Plan};
use crate::decide::preflight::reboot::inhibitors;
use crate::decide::privileged::Row;
use crate::decide::record::Triple;
use crate::decide::request::Verb;
use crate::decide::specialisation::Target;
use crate::decide::state::State;
use crate::decide::value::StorePath;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// What is left to do for a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// The host is what was asked for.
    Nothing,
    /// It runs already, and is not permanent yet.
    CommitOnly,
    /// Into the boot entry, without a trial.
    Boot,
    Trial,
}

/// What holds before a trial.
#[derive(Debug)]
pub struct Before {
    pub old: Triple,
    pub course: Course,
    /// What is activated for the candidate.
    pub target: Target,
    pub baseline: Baseline,
}

pub fn run(
    machine: &mut Machine,
    begun: &mut Begun,
    plan: &Plan,
    system: &StorePath,
) -> Result<Before, Stop> {
    // What is there is looked at when nobody else changes it any more.
    others::await_others(machine)?;
    let old = machine.triple().or_stop(Code::CheckRefused)?;
    begun.note_old(old.clone());
    let chosen = special::choose(machine, plan, system);
    let target = chosen.target.clone();
    let mut course = course(&old, plan.goal(), system.as_str(), target.system().as_str());
    if course == Course::Trial {
        is_a_system(system)?;
        is_a_system(target.system())?;
        course = with_restart(machine, plan, &old, system, target.system())?;
    }
    if course == Course::Nothing {
        return Ok(Before { old, course, target, baseline: Baseline::default() });
    }
    is_a_system(system)?;
    chosen.say(machine, plan, course)?;
    has_room(machine, plan, system)?;
    match &target {
        Target::Whole(_) => lockout::refuse(machine, plan, &old.running, system)?,
        // Each is compared with what it takes the place of.
        Target::Part(_, part) => {
            lockout::refuse(machine, plan, &old.profile, system)?;
            let of_part = |stop: Stop| Stop::new(stop.code, format_args!("its specialisation: {stop}"));
            lockout::refuse(machine, plan, &old.running, part).map_err(of_part)?;
        }
    }
    gates::ask(machine, begun, plan, system)?;
    stage(machine, begun)?;
    match course {
        Course::Trial => pre_switch_check(machine, begun, &target)?,
        // Of these switch-to-configuration would say so only after the profile was set.
        _ => others::refuse_others(machine)?,
    }
    let baseline = match course {
        Course::Trial => health::baseline(machine, plan)?,
        // It runs already, so what fails now is no excuse.
        Course::CommitOnly => health::baseline(machine, plan)?.without_excuses(),
        _ => Baseline::default(),
    };
    begun.enter(&machine.store, State::Checked).or_stop(Code::NotWritable)?;
    Ok(Before { old, course, target, baseline })
}

/// `new` is what is kept, `target` what runs.
fn course(old: &Triple, goal: Goal, new: &str, target: &str) -> Course {
    let runs = old.running == target;
    match goal {
        Goal::Built => Course::Nothing,
        Goal::Running if runs => Course::Nothing,
        Goal::Permanent if runs && old.is_kept(new) => Course::Nothing,
        Goal::AtBoot if old.is_kept(new) => Course::Nothing,
        Goal::AtBoot => Course::Boot,
        Goal::Permanent if runs => Course::CommitOnly,
        Goal::Running | Goal::Permanent => Course::Trial,
    }
}

/// Whether the candidate can be tried at all, and should be, where a restart is what it wants.
fn with_restart(
    machine: &Machine,
    plan: &Plan,
    old: &Triple,
    system: &StorePath,
    target: &StorePath,
) -> Result<Course, Stop> {
    let wants = &machine.config.preflight;
    let inhibitors = inhibitors(&files_of(old.running.as_ref()), &files_of(target.as_str().as_ref()));
    let reasons = reboot_reasons(target);
    let (course, what, reasons) = if !inhibitors.is_empty() {
        let course = match wants.when_switch_impossible {
            WhenImpossible::Boot => Some(Course::Boot),
            WhenImpossible::Refuse => None,
        };
        (course, "cannot be applied to the running system", inhibitors)
    } else {
        let course = match wants.when_reboot_needed {
            // A rollback is the way out of a broken system.
            _ if reasons.is_empty() || plan.verb() == Verb::Rollback => return Ok(Course::Trial),
            WhenNeeded::Switch => return Ok(Course::Trial),
            WhenNeeded::Boot => Some(Course::Boot),
            WhenNeeded::Refuse => None,
        };
        (course, "is in force only after a restart", reasons)
    };
    let reasons = reasons.join(", ");
    match course {
        // A trial is for a system that runs.
        Some(_) if plan.goal() == Goal::Permanent => {
            machine.log.line(format_args!(
                "the candidate {what} ({reasons} differ): as configured, it starts at the next boot"
            ));
            Ok(if old.is_kept(system.as_str()) { Course::Nothing } else { Course::Boot })
        }
        _ => Err(Stop::new(
            Code::NeedsBoot,
            format_args!("the candidate {what} ({reasons} differ); ask for `boot` and restart the host"),
        )),
    }
}

/// A rollback writes next to nothing, and is the way out of a full disk.
fn has_room(machine: &Machine, plan: &Plan, system: &StorePath) -> Result<(), Stop> {
    if plan.verb() != Verb::Rollback {
        space::for_the_store(machine)?;
    }
    match plan.goal() {
        Goal::AtBoot | Goal::Permanent => space::for_the_boot_loader(machine, system),
        Goal::Running | Goal::Built => Ok(()),
    }
}

/// A path that Nix built is not yet a system: nix#13367 is what happens without this.
fn is_a_system(system: &StorePath) -> Result<(), Stop> {
    let executable = |name: &str| {
        fs::metadata(system.join(name)).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    for program in ["bin/switch-to-configuration", "activate", "init"] {
        if !executable(program) {
            let why = format!(
                "what was built is no system: it has no program {program}; source.system names a nixosConfiguration"
            );
            return Err(Stop::new(Code::CheckRefused, why));
        }
    }
    Ok(())
}

/// Root's own links to what it may execute: what was tried is what is committed, and what the revert
/// activates is in nobody else's reach.
fn stage(machine: &mut Machine, begun: &Begun) -> Result<(), Stop> {
    let limit = Duration::from_secs(120);
    machine.reset(begun);
    for row in [Row::KeepRunning, Row::KeepCommitted, Row::Stage] {
        let what = row.to_string();
        let ended = machine.privileged(begun, row, limit, OnCancel::Stop);
        if let Err(RunError::Deadline { limit, .. }) = ended {
            return Err(Stop::new(Code::CheckRefused, format_args!("{what}: {}", nix_is_locked(limit))));
        }
        let ended = step(ended, Code::CheckRefused)?;
        if !ended.is_success() {
            let why = format!("{what} was refused or failed ({}); on the host: nixgatectl check", ended.code);
            return Err(Stop::new(Code::CheckRefused, why));
        }
    }
    for row in [Row::PruneRevert, Row::PruneCandidate, Row::PruneCommitted] {
        // Old roots that stay cost space, and nothing else.
        let _ = machine.privileged(begun, row, limit, OnCancel::GoOn);
    }
    Ok(())
}

/// The candidate's own checks. A program that does not know the action (before 25.05) has none.
fn pre_switch_check(machine: &mut Machine, begun: &Begun, target: &Target) -> Result<(), Stop> {
    let program = fs::read(target.system().join("bin/switch-to-configuration"));
    let knows_check = program.is_ok_and(|bytes| bytes.windows(5).any(|w| w == b"check"));
    if !knows_check {
        return Ok(());
    }
    let limit = machine.config.limits.check;
    let ended = step(machine.privileged(begun, target.check(), limit, OnCancel::Stop), Code::CheckRefused)?;
    match ended.code {
        0 => Ok(()),
        11 => Err(Stop::new(
            Code::Busy,
            "somebody else is activating a system on this host; ask again when that has ended",
        )),
        code => {
            let why =
                format!("the candidate's own pre-switch check ended with {code}; the lines above say why");
            Err(Stop::new(Code::CheckRefused, why))
        }
    }
}
