//! The operator's gates: commands that judge the candidate before anything changes. A rollback has none, because what
//! it returns to was judged when it came, and it is the way out.

use crate::act::begun::Begun;
use crate::act::clock::Instant;
use crate::act::inbox::Woken;
use crate::act::machine::Machine;
use crate::act::process::{OnCancel, RunError, Spec};
use crate::decide::answer::Code;
use crate::decide::config::{Check, CheckKind, When};
use crate::decide::outcome::Stop;
use crate::decide::plan::{Candidate, Plan};
use crate::decide::value::StorePath;

/// One after the other, in the order of the configuration. The first that fails refuses.
pub fn ask(machine: &mut Machine, begun: &Begun, plan: &Plan, system: &StorePath) -> Result<(), Stop> {
    if let Candidate::Earlier(_) = plan.candidate() {
        return Ok(());
    }
    let gates = machine.config.checks.clone();
    for gate in gates.iter().filter(|check| check.when == When::Before) {
        let CheckKind::Command(command) = &gate.kind else { continue };
        machine.log.line(format_args!("check {}", gate.name));
        let passed = (0..=gate.retries).try_fold(Tried::Failed(String::new()), |last, attempt| match last {
            Tried::Passed => Ok(Tried::Passed),
            Tried::Failed(_) => try_once(machine, begun, plan, system, gate, command, attempt),
        });
        if let Tried::Failed(how) = passed? {
            let why = format!("check {} refused the candidate: {how}; its output is above", gate.name);
            return Err(Stop::new(Code::CheckRefused, why));
        }
    }
    Ok(())
}

enum Tried {
    Passed,
    Failed(String),
}

fn try_once(
    machine: &mut Machine,
    begun: &Begun,
    plan: &Plan,
    system: &StorePath,
    gate: &Check,
    command: &[String],
    attempt: u8,
) -> Result<Tried, Stop> {
    let cancelled = || Stop::new(Code::Cancelled, "cancelled; nothing was changed");
    if attempt > 0 && await_turn(machine, Instant::now() + gate.interval) == Woken::Cancelled {
        return Err(cancelled());
    }
    let mut spec = Spec::new(command.to_vec(), gate.timeout);
    spec.env = vec![
        ("PATH", machine.platform.bin().to_owned()),
        ("LC_ALL", "C".to_owned()),
        ("NIXGATE_CANDIDATE", system.to_string()),
        ("NIXGATE_COMMIT", begun.record().commit.clone().unwrap_or_default()),
        ("NIXGATE_VERB", plan.verb().to_string()),
    ];
    spec.on_cancel = OnCancel::Stop;
    spec.label = Some(format!("check {}", gate.name));
    let spec = machine.harmless(spec);
    match machine.run(spec) {
        Ok(ended) if ended.is_success() => Ok(Tried::Passed),
        Ok(ended) => Ok(Tried::Failed(format!("it ended with {}", ended.code))),
        Err(RunError::Cancelled) => Err(cancelled()),
        Err(error) => Ok(Tried::Failed(error.to_string())),
    }
}

/// Until it is time for the next try, or somebody cancels.
fn await_turn(machine: &mut Machine, until: Instant) -> Woken {
    loop {
        match machine.inbox.wait(until) {
            end @ (Woken::Cancelled | Woken::Deadline) => return end,
            Woken::Confirmed | Woken::Ended(_) => {}
        }
    }
}
