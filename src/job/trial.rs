//! The trial: arm the dead man's switch, activate the candidate, judge it, wait for a confirmation.

use super::health::{self, Baseline};
use super::source::step;
use crate::act::begun::Begun;
use crate::act::clock::{self, Instant};
use crate::act::inbox::Woken;
use crate::act::labelled::has_line;
use crate::act::machine::{Machine, running_system};
use crate::act::process::{OnCancel, RunError};
use crate::act::watch::{Tail, Watch};
use crate::decide::answer::Code;
use crate::decide::config::ConfirmMode;
use crate::decide::outcome::{OrStop, Reachability, Stop};
use crate::decide::plan::Plan;
use crate::decide::privileged::{ACTIVATE_LOG, Row, STOP_SECONDS};
use crate::decide::specialisation::Target;
use crate::decide::state::State;
use crate::decide::value::StorePath;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const UNIT: &str = "nixgate-activate.service";

/// Arms the dead man's switch. A refused arm is fatal, and the end of it: nothing was touched.
///
/// Once more after a refusal: PID 1 may still hold the unit of an earlier revert, ended and with its file gone,
/// if that revert reloaded it and then triggered recovery (seen with systemd 257). A refused start is what makes
/// it let go. There is one unit of that name or none, so asking twice cannot arm twice.
pub fn arm(machine: &mut Machine, begun: &mut Begun) -> Result<(), Stop> {
    begun.enter(&machine.store, State::Armed).or_stop(Code::NotWritable)?;
    let limit = Duration::from_secs(60);
    let mut ask =
        || machine.privileged(begun, Row::Arm, limit, OnCancel::GoOn).is_ok_and(|ended| ended.is_success());
    if ask() || ask() {
        let seconds = machine.config.dead_man().as_secs();
        machine.log.line(format_args!("armed: without a commit the old system returns in {seconds} s"));
        return Ok(());
    }
    let _ = machine.privileged(begun, Row::Disarm, limit, OnCancel::GoOn);
    let why = "the dead man's switch could not be armed, so nothing was tried; on the host: nixgatectl check";
    Err(Stop::new(Code::CheckRefused, why))
}

/// Activates the candidate and judges how that went: by the unit's own result, never by `systemd-run`'s code.
pub fn activate(machine: &mut Machine, begun: &mut Begun, target: &Target) -> Result<(), Stop> {
    begun.enter(&machine.store, State::Trial).or_stop(Code::NotWritable)?;
    let system = target.system();
    if let Target::Part(name, _) = target {
        let what = [("name", name.to_string()), ("system", system.to_string())];
        begun.audit(&machine.store, "specialisation", &what).or_stop(Code::NotWritable)?;
    }
    machine.log.line(format_args!("activating {system}"));
    let copier = Copier::start(machine);
    let limit = machine.config.limits.activation + Duration::from_secs(STOP_SECONDS + 30);
    let deadline = Instant::now() + limit;
    let started = machine.privileged(begun, target.trial(), limit, OnCancel::Stop);
    let result = match started {
        Err(RunError::Cancelled) => {
            Err(Stop::new(Code::Cancelled, "cancelled while the candidate was being activated"))
        }
        _ => await_result(machine, deadline),
    };
    copier.finish();
    judge(result?, system)
}

/// How the unit of the trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UnitResult {
    result: String,
    status: i32,
    ran: bool,
}

/// Waits until the unit is over. The bus may be restarting under us, so no answer is not an answer.
fn await_result(machine: &mut Machine, deadline: Instant) -> Result<UnitResult, Stop> {
    loop {
        let properties = machine.show(UNIT);
        if let Some(properties) = properties {
            let get = |key: &str| properties.get(key).map_or("", String::as_str);
            if matches!(get("ActiveState"), "inactive" | "failed") {
                return Ok(UnitResult {
                    result: get("Result").to_owned(),
                    status: get("ExecMainStatus").parse().unwrap_or(-1),
                    // A unit whose start PID 1 refused is there, too.
                    ran: get("LoadState") != "not-found" && get("ExecMainCode") != "0",
                });
            }
        }
        let next = (Instant::now() + Duration::from_millis(250)).min(deadline);
        match machine.inbox.wait(next) {
            Woken::Cancelled => {
                return Err(Stop::new(Code::Cancelled, "cancelled while the candidate was being activated"));
            }
            Woken::Deadline if Instant::now() >= deadline => {
                return Err(Stop::new(
                    Code::ActivationFailed,
                    "systemd did not say how the activation ended",
                ));
            }
            _ => {}
        }
    }
}

/// switch-to-configuration's codes. 4 is judged by what has newly failed, unless it stands where 2 would; everything
/// else is a failure.
fn judge(unit: UnitResult, system: &StorePath) -> Result<(), Stop> {
    let failed = |why: &str| Err(Stop::new(Code::ActivationFailed, why));
    if !unit.ran {
        return failed(
            "the activation could not be started, or the dead man's switch was faster; the lines above say which",
        );
    }
    let is_candidate = running_system().as_ref() == Some(system);
    match (unit.result.as_str(), unit.status) {
        ("success", 0) => Ok(()),
        ("exit-code", 4) if !script_failed() => Ok(()),
        ("exit-code", 11) if !is_candidate => {
            let why = "somebody else is activating a system on this host; ask again when that has ended";
            Err(Stop::new(Code::Busy, why))
        }
        ("exit-code", 100) if !is_candidate => {
            let why = "the candidate has another init interface and cannot be applied to the running system; ask for `boot` and restart the host";
            Err(Stop::new(Code::NeedsBoot, why))
        }
        ("exit-code", 2 | 4) => failed("the activation script failed (2); the lines above say where"),
        ("timeout", _) => {
            failed("the activation did not end within its limit (limits.activation) and was stopped")
        }
        (result, status) => {
            failed(&format!("the activation failed ({result}, {status}); the lines above say why"))
        }
    }
}

/// Whether switch-to-configuration said so. It goes on after that, and 4, for a unit that failed, takes the place of 2.
fn script_failed() -> bool {
    File::open(ACTIVATE_LOG).is_ok_and(|log| has_line(log, b"Failed to run activate script"))
}

/// Health, then the confirmation that the configuration asks for.
pub fn prove(
    machine: &mut Machine,
    begun: &mut Begun,
    plan: &Plan,
    baseline: &Baseline,
    system: &StorePath,
) -> Result<Reachability, Stop> {
    let activated_at = clock::since_boot();
    let units = health::judge(machine, begun, baseline, system)?;
    machine.log.line("the candidate is well");
    begun.enter(&machine.store, State::Healthy).or_stop(Code::NotWritable)?;
    let reachability = match plan.confirm() {
        ConfirmMode::Health => Reachability::NotProven,
        ConfirmMode::Required => {
            await_confirmation(machine, begun, activated_at)?;
            health::judge_again(machine, baseline, &units, system)?;
            Reachability::Proven
        }
    };
    begun.enter(&machine.store, State::Confirmed).or_stop(Code::NotWritable)?;
    Ok(reachability)
}

fn await_confirmation(machine: &mut Machine, begun: &mut Begun, activated_at: Duration) -> Result<(), Stop> {
    let limit = machine.config.limits.confirm;
    let by = clock::since_boot() + limit;
    begun.await_confirmation(&machine.store, activated_at, by).or_stop(Code::NotWritable)?;
    machine.log.line(format_args!(
        "waiting {} s for `confirm {}` over a new connection; without it the old system returns",
        limit.as_secs(),
        begun.job()
    ));
    let deadline = Instant::now() + limit;
    loop {
        if let Some(who) = machine.inbox.confirmed.clone() {
            machine.log.line(format_args!("confirmed by {who}"));
            return begun
                .audit(&machine.store, "confirmed-by", &[("who", who)])
                .or_stop(Code::NotWritable)
                .map(|_| ());
        }
        if machine.inbox.cancelled.is_some() {
            return Err(Stop::new(Code::Cancelled, "cancelled while it waited for its confirmation"));
        }
        if machine.inbox.wait(deadline) == Woken::Deadline {
            let why = format!("nobody said `confirm` within {} s", limit.as_secs());
            return Err(Stop::new(Code::NotConfirmed, why));
        }
    }
}

/// Whether the trial has left the running system as it was, so that there is nothing to return from.
pub fn changed_nothing(stop: &Stop) -> bool {
    matches!(stop.code, Code::Busy | Code::NeedsBoot)
}

/// Ends the watch of the dead man's switch in favour of what runs, which has to be this system. PID 1 decides
/// the race.
pub fn settle(machine: &mut Machine, begun: &Begun, system: &str) -> Result<(), Stop> {
    let limit = Duration::from_secs(60);
    let ended = step(machine.privileged(begun, Row::Settle, limit, OnCancel::GoOn), Code::CommitFailed)?;
    let failed = |why| Err(Stop::new(Code::CommitFailed, why));
    let busy = ["nixgate-revert.timer", "nixgate-revert.service"].map(|unit| machine.is_busy(unit));
    if !ended.is_success() || busy != [Some(false), Some(false)] {
        return failed("the dead man's switch could not be disarmed");
    }
    if running_system().is_none_or(|running| running.as_str() != system) {
        return failed("the dead man's switch was faster: it returned to the old system");
    }
    Ok(())
}

/// Copies what the activation prints from its root-owned file into the job's log, while it runs.
struct Copier {
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Copier {
    fn start(machine: &Machine) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (log, stop) = (machine.log.clone(), done.clone());
        let path = Path::new(ACTIVATE_LOG);
        let mut tail = Tail::from_end(path);
        let watch = path.parent().and_then(|directory| Watch::new(directory).ok());
        let thread = std::thread::spawn(move || {
            loop {
                let last = stop.load(Ordering::Acquire);
                loop {
                    let new = tail.read(64 * 1024);
                    if new.is_empty() {
                        break;
                    }
                    log.write(&new);
                }
                match &watch {
                    _ if last => break,
                    Some(watch) => drop(watch.wait(Duration::from_millis(200), None)),
                    None => std::thread::park_timeout(Duration::from_millis(200)),
                }
            }
        });
        Self { done, thread: Some(thread) }
    }

    /// What was printed until now is in the log.
    fn finish(mut self) {
        self.done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
