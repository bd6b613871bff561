//! Before anything changes: what the host is, what the candidate is, and whether one can become the other.

use super::health::{self, Baseline};
use super::source::step;
use crate::act::begun::Begun;
use crate::act::machine::Machine;
use crate::act::process::OnCancel;
use crate::decide::answer::Code;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::plan::{Goal, Plan};
use crate::decide::preflight::{SystemFiles, can_be_activated};
use crate::decide::privileged::Row;
use crate::decide::record::Triple;
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
    pub baseline: Baseline,
}

pub fn run(
    machine: &mut Machine,
    begun: &mut Begun,
    plan: &Plan,
    system: &StorePath,
) -> Result<Before, Stop> {
    let old = machine.triple().or_stop(Code::CheckRefused)?;
    begun.note_old(old.clone());
    let course = course(&old, plan.goal(), system.as_str());
    if course == Course::Nothing {
        return Ok(Before { old, course, baseline: Baseline::default() });
    }
    is_a_system(system)?;
    if course == Course::Trial {
        can_be_activated(&files_of(old.running.as_ref()), &files_of(system.as_str().as_ref()))?;
    }
    stage(machine, begun)?;
    if course == Course::Trial {
        pre_switch_check(machine, begun)?;
    }
    let baseline = match course {
        Course::Trial => health::baseline(machine, plan)?,
        // It runs already, so what fails now is no excuse.
        Course::CommitOnly => health::baseline(machine, plan)?.without_excuses(),
        _ => Baseline::default(),
    };
    begun.enter(&machine.store, State::Checked).or_stop(Code::NotWritable)?;
    Ok(Before { old, course, baseline })
}

fn course(old: &Triple, goal: Goal, new: &str) -> Course {
    match goal {
        Goal::Built => Course::Nothing,
        Goal::Running if old.running == new => Course::Nothing,
        Goal::Permanent if old.is_all(new) => Course::Nothing,
        Goal::AtBoot if old.is_kept(new) => Course::Nothing,
        Goal::AtBoot => Course::Boot,
        Goal::Permanent if old.running == new => Course::CommitOnly,
        Goal::Running | Goal::Permanent => Course::Trial,
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

fn files_of(system: &std::path::Path) -> SystemFiles {
    let read = |name: &str| fs::read_to_string(system.join(name)).ok();
    SystemFiles {
        init_interface: read("init-interface-version").unwrap_or_default().trim().to_owned(),
        inhibitors: read("switch-inhibitors"),
    }
}

/// Root's own links to what it may execute: what was tried is what is committed, and what the revert
/// activates is in nobody else's reach.
fn stage(machine: &mut Machine, begun: &Begun) -> Result<(), Stop> {
    let limit = Duration::from_secs(120);
    machine.reset(begun);
    for row in [Row::KeepRunning, Row::KeepCommitted, Row::Stage] {
        let ended = step(machine.privileged(begun, row, limit, OnCancel::Stop), Code::CheckRefused)?;
        if !ended.is_success() {
            let why =
                format!("{row:?} was refused or failed ({}); on the host: nixgatectl check", ended.code);
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
fn pre_switch_check(machine: &mut Machine, begun: &Begun) -> Result<(), Stop> {
    let program = fs::read(crate::decide::privileged::CANDIDATE.to_owned() + "/bin/switch-to-configuration");
    let knows_check = program.is_ok_and(|bytes| bytes.windows(5).any(|w| w == b"check"));
    if !knows_check {
        return Ok(());
    }
    let limit = machine.config.limits.check;
    let ended = step(machine.privileged(begun, Row::Check, limit, OnCancel::Stop), Code::CheckRefused)?;
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
