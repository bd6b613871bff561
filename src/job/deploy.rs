//! The pipeline of a job, top to bottom, and its end.

use super::commit::{MustRun, commit};
use super::preflight::{self, Before, Course};
use super::revert::revert;
use super::{source, trial};
use crate::act::begun::Begun;
use crate::act::clock;
use crate::act::machine::{Machine, profile_system, running_system};
use crate::act::process::OnCancel;
use crate::act::reserve::Reserve;
use crate::act::system::{is_of, reboot_reasons};
use crate::decide::answer::Code;
use crate::decide::chain::{ENDED, Head};
use crate::decide::config::WhenRevertFails;
use crate::decide::outcome::{Outcome, Reachability, Stop};
use crate::decide::plan::{Candidate, Goal, Plan};
use crate::decide::privileged::Row;
use crate::decide::record::{HostState, JobResult, Permanent, Triple, VERSION};
use crate::decide::state::State;
use crate::decide::value::StorePath;
use std::time::Duration;

/// Runs a plan to its outcome. From `arm` on every failure is a revert.
pub fn run(machine: &mut Machine, begun: &mut Begun, state: &mut HostState, plan: &Plan) -> Outcome {
    let system = match source::candidate(machine, begun, state, plan.candidate()) {
        Ok(system) => system,
        Err(stop) => return refused(stop),
    };
    if plan.goal() == Goal::Built {
        return Outcome::good(State::Done, "fetched");
    }
    let before = match preflight::run(machine, begun, plan, &system) {
        Ok(before) => before,
        Err(stop) => return refused(stop),
    };
    // From here on there is something to come back from.
    machine.store.set_reserve(Reserve::Spend);
    let target = before.target.system();
    match before.course {
        Course::Nothing => unchanged(begun, state, plan),
        Course::Boot => make_permanent(machine, begun, state, plan, &before, &system, MustRun::No),
        Course::CommitOnly => match trial::prove(machine, begun, plan, &before.baseline, target) {
            Ok(reachability) => {
                let run = MustRun::This(target);
                let outcome = make_permanent(machine, begun, state, plan, &before, &system, run);
                proven(outcome, reachability)
            }
            Err(stop) => refused(Stop { code: Code::CheckRefused, ..stop }),
        },
        Course::Trial => match trial::arm(machine, begun) {
            Ok(()) => on_trial(machine, begun, state, plan, &before, &system),
            Err(stop) => refused(stop),
        },
    }
}

/// Armed: the candidate runs, or the old system does again.
fn on_trial(
    machine: &mut Machine,
    begun: &mut Begun,
    state: &mut HostState,
    plan: &Plan,
    before: &Before,
    system: &StorePath,
) -> Outcome {
    let target = before.target.system();
    let good = trial::activate(machine, begun, &before.target)
        .and_then(|()| trial::prove(machine, begun, plan, &before.baseline, target));
    // The last moment at which a word counts.
    let good = good.and_then(|reachability| match machine.inbox.cancelled() {
        None => Ok(reachability),
        Some(_) => Err(Stop::new(Code::Cancelled, "cancelled before it was made permanent")),
    });
    let reachability = match good {
        Ok(reachability) => reachability,
        Err(stop) => {
            if let (Candidate::Source { .. }, Some(commit), Code::ActivationFailed | Code::HealthFailed) =
                (plan.candidate(), &begun.record().commit, stop.code)
            {
                state.remember_bad(commit);
            }
            return revert(machine, begun, Some(&before.baseline), stop);
        }
    };
    let outcome = match plan.goal() {
        Goal::Running => match trial::settle(machine, begun, target.as_str()) {
            Ok(()) => Outcome::good(State::Kept, "kept"),
            Err(stop) => return revert(machine, begun, Some(&before.baseline), stop),
        },
        _ => make_permanent(machine, begun, state, plan, before, system, MustRun::This(target)),
    };
    proven(outcome, reachability)
}

fn proven(outcome: Outcome, reachability: Reachability) -> Outcome {
    let reachability = (outcome.code == Code::Done).then_some(reachability);
    Outcome { reachability, ..outcome }
}

fn make_permanent(
    machine: &mut Machine,
    begun: &mut Begun,
    state: &mut HostState,
    plan: &Plan,
    before: &Before,
    system: &StorePath,
    run: MustRun<'_>,
) -> Outcome {
    if state.permanent.is_empty() {
        remember_installed(state, &before.old);
    }
    match commit(machine, begun, system, run) {
        Ok(()) => {
            note_permanent(begun, state, plan_candidate_is_new(plan));
            Outcome::good(State::Committed, "committed")
        }
        Err(stop) => revert(machine, begun, Some(&before.baseline), stop),
    }
}

fn plan_candidate_is_new(plan: &Plan) -> Direction {
    match plan.candidate() {
        Candidate::Source { .. } => Direction::Forward,
        Candidate::Earlier(_) => Direction::Back,
    }
}

/// Whether a commit moves the anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Back,
}

/// The system that nixgate found: the first one that a rollback can go to.
pub fn remember_installed(state: &mut HostState, old: &Triple) {
    let commit = StorePath::parse(&old.profile).ok().and_then(|s| crate::act::machine::revision_of(&s));
    state.advance(Permanent {
        system: old.profile.clone(),
        generation: old.generation,
        commit: commit.map(|c| c.to_string()),
        at: clock::wall(),
    });
}

/// What is permanent now, in the state that [`finish`] writes.
pub fn note_permanent(begun: &Begun, state: &mut HostState, direction: Direction) {
    let record = begun.record();
    let (Some(new), Some((_, generation))) = (&record.new, profile_system()) else { return };
    match direction {
        Direction::Back => state.go_back(new, generation),
        Direction::Forward => {
            let at = clock::wall();
            state.advance(Permanent { system: new.clone(), generation, commit: record.commit.clone(), at });
            state.move_anchor(record);
        }
    }
}

/// The host is what was asked for already. A newer commit that makes the same system is now the anchor.
fn unchanged(begun: &Begun, state: &mut HostState, plan: &Plan) -> Outcome {
    let permanent = matches!(plan.goal(), Goal::Permanent | Goal::AtBoot);
    if permanent && plan_candidate_is_new(plan) == Direction::Forward {
        state.move_anchor(begun.record());
    }
    Outcome::good(State::Done, "unchanged")
}

fn refused(stop: Stop) -> Outcome {
    Outcome::failed(State::Refused, stop.code, stop.why)
}

/// How a job ended, for whoever hears it from the job itself.
#[derive(Debug)]
pub struct Finished {
    pub result: JobResult,
    pub end: End,
}

/// Whether everybody else finds it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In the audit log and in the job's directory.
    OnDisk,
    /// A write failed. The state names the job, and recovery owes it its end.
    Owed,
}

/// The end of a job: record, state, audit, and then the result, which is what followers wait for. The state names the
/// job until all of that is on disk, so recovery finds one that died before, or whose disk took no more, and says the
/// same again.
pub fn finish(
    machine: &mut Machine,
    begun: &mut Begun,
    state: &mut HostState,
    outcome: &Outcome,
) -> Finished {
    // A revert has said why it began.
    let said = begun.record().failure.as_ref().map(|failure| failure.why.clone());
    begun.enter_if_possible(&machine.store, outcome.state, outcome.failure());
    write_state(machine, state);
    let mut detail = vec![("result", outcome.result.to_owned()), ("code", outcome.code.number().to_string())];
    if let (Code::Cancelled, Some(who)) = (outcome.code, &machine.inbox.cancelled) {
        detail.push(("cancelled-by", who.clone()));
    }
    let known = machine.store.audit_end_of(begun.job(), &outcome.code.number().to_string());
    let audited = known.map_or_else(|| begun.audit(&machine.store, ENDED, &detail), Ok);
    let head = audited.as_ref().map_or_else(|_| Head::start(), Head::clone);
    if let Err(error) = &audited {
        machine.log.line(format_args!("{error}"));
    }
    let reboot = wants_restart(begun, outcome);
    let running = machine.running_specialisation();
    let name = running.as_ref().map(|running| running.name.as_str());
    let line = outcome.line(begun.record(), reboot.as_deref(), name, &head).to_string();
    if let Some(why) = outcome.why.as_ref().filter(|why| Some(*why) != said.as_ref()) {
        machine.log.line(why);
    }
    let result = JobResult { v: VERSION, code: outcome.code.number(), line };
    let written = machine.store.write_result(begun.job(), &result);
    if let Err(error) = &written {
        machine.log.line(format_args!("{error}"));
    }
    if audited.is_err() || written.is_err() {
        return Finished { result, end: End::Owed };
    }
    state.job = None;
    write_state(machine, state);
    Finished { result, end: End::OnDisk }
}

fn write_state(machine: &Machine, state: &HostState) {
    if let Err(error) = machine.store.write_state(state) {
        machine.log.line(format_args!("{error}"));
    }
}

/// Why a restart is wanted: by the candidate where the job was good and it does not run, otherwise by what runs.
fn wants_restart(begun: &Begun, outcome: &Outcome) -> Option<Vec<String>> {
    let running = running_system();
    let new = begun.record().new.as_deref().and_then(|new| StorePath::parse(new).ok());
    match new.filter(|_| outcome.code == Code::Done) {
        Some(new) if running.as_ref().is_none_or(|running| !is_of(running, &new)) => {
            let mut reasons = reboot_reasons(&new);
            if outcome.state == State::Committed {
                reasons.push("not-activated".to_owned());
            }
            Some(reasons)
        }
        _ => Some(reboot_reasons(&running?)),
    }
}

/// What is known of a restart of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// PID 1 has taken it on: nothing may begin before it.
    Asked,
    No,
}

/// Where a revert failed and the configuration says so: into the boot default.
pub fn restart_if_configured(machine: &mut Machine, begun: &Begun) -> Restart {
    let wanted = machine.config.revert.when_it_fails == WhenRevertFails::Reboot;
    // Only into what ran before: where the commit could not be taken back either, a person has to look.
    let leads_back = |now: Triple| begun.record().old.as_ref().is_some_and(|old| now.is_kept(&old.profile));
    if begun.state() != State::NeedsOperator || !wanted || !machine.triple().is_ok_and(leads_back) {
        return Restart::No;
    }
    let asked = machine.privileged(begun, Row::Reboot, Duration::from_secs(60), OnCancel::GoOn);
    if asked.is_ok_and(|ended| ended.is_success()) { Restart::Asked } else { Restart::No }
}
