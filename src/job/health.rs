//! Whether a system is well, compared with how the host was before.

use super::source::step;
use crate::act::machine::Machine;
use crate::act::machine::running_system;
use crate::act::process::{OnCancel, RunError, Spec};
use crate::decide::answer::Code;
use crate::decide::config::{Check, CheckKind, When};
use crate::decide::observe::Units;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::plan::{Candidate, Plan};
use crate::decide::privileged::Row;
use crate::decide::value::StorePath;
use std::time::{Duration, Instant};

/// How the host was before the trial. What was broken then reverts nothing now.
#[derive(Debug, Default)]
pub struct Baseline {
    pub units: Units,
    /// What is checked during the trial. `rollback` needs only the first three checks: it is the way out.
    checks: Vec<Check>,
    failing: Vec<String>,
    source: Option<crate::decide::value::Branch>,
}

impl Baseline {
    /// Every check has to pass, whatever it did before.
    #[must_use]
    pub fn without_excuses(self) -> Self {
        Self { failing: Vec::new(), ..self }
    }
}

/// Runs every check once, before anything changes.
pub fn baseline(machine: &mut Machine, plan: &Plan) -> Result<Baseline, Stop> {
    let mut baseline =
        Baseline { units: machine.units().or_stop(Code::CheckRefused)?, ..Baseline::default() };
    let Candidate::Source { branch, .. } = plan.candidate() else { return Ok(baseline) };
    // The fetch of a moment ago has shown that the source answers.
    baseline.source = Some(branch.clone());
    let on_trial = machine.config.checks.iter().filter(|check| check.when == When::Trial);
    baseline.checks = on_trial.cloned().collect();
    for check in baseline.checks.clone() {
        if !passes(machine, &check, check.timeout)? {
            machine.log.line(format_args!("check {}: fails already, before the trial", check.name));
            baseline.failing.push(check.name.to_string());
        }
    }
    Ok(baseline)
}

/// Judges the running system, which should be the candidate. `Ok` is what is worth saying about it.
pub fn judge(machine: &mut Machine, baseline: &Baseline, system: &StorePath) -> Result<(), Stop> {
    let deadline = Instant::now() + machine.config.limits.health;
    let unwell = |why: String| Err(Stop::new(Code::HealthFailed, why));
    if running_system().as_ref() != Some(system) {
        return unwell("the running system is not the candidate".to_owned());
    }
    let units = machine.units().or_stop(Code::HealthFailed)?;
    if let Some(unit) = units.lost(&baseline.units).iter().find(|unit| machine.config.requires(unit)) {
        return unwell(format!("{unit} was active and is not; on the host: systemctl status {unit}"));
    }
    let failed = units.newly_failed(&baseline.units);
    if !failed.is_empty() {
        let units = failed.join(", ");
        return unwell(format!(
            "newly failed: {units}; on the host: journalctl -u {}",
            failed.first().map_or("", |u| u)
        ));
    }
    if ![Row::Set, Row::Commit].into_iter().all(|row| machine.may(row)) {
        return unwell(
            "the candidate's sudo rules do not let nixgate make it permanent; on the host: nixgatectl render"
                .to_owned(),
        );
    }
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    if !machine.sshd_answers(left()) {
        return unwell("sshd on this host does not answer with this host's key".to_owned());
    }
    if let Some(branch) = &baseline.source
        && !step(machine.source_answers(branch, left()), Code::HealthFailed)?
    {
        return unwell(
            "the source repository can no longer be reached, so nothing could be deployed after this"
                .to_owned(),
        );
    }
    for check in &baseline.checks {
        let well = passes(machine, check, check.timeout.min(left()))?;
        match (well, baseline.failing.contains(&check.name.to_string())) {
            (true, _) => machine.log.line(format_args!("check {}: well", check.name)),
            (false, true) => {
                machine.log.line(format_args!("check {}: still failing, as before the trial", check.name))
            }
            (false, false) => return unwell(format!("check {} failed; its output is above", check.name)),
        }
    }
    // Long checks give the dead man's switch time.
    if running_system().as_ref() != Some(system) {
        return unwell("the old system returned while the candidate was being checked".to_owned());
    }
    Ok(())
}

/// Runs an operator's check, as account nixgate and with nothing in its environment.
fn passes(machine: &mut Machine, check: &Check, limit: Duration) -> Result<bool, Stop> {
    let CheckKind::Command(command) = &check.kind else {
        let what = format_args!("check {}: this build runs commands only", check.name);
        return Err(Stop::new(Code::CheckRefused, what));
    };
    let mut spec = Spec::new(command.clone(), limit);
    spec.env = vec![("PATH", machine.platform.bin().to_owned()), ("LC_ALL", "C".to_owned())];
    spec.on_cancel = OnCancel::Stop;
    match machine.run(spec) {
        Ok(ended) => Ok(ended.is_success()),
        Err(RunError::Cancelled) => Err(Stop::new(Code::Cancelled, "cancelled")),
        Err(error) => {
            machine.log.line(format_args!("check {}: {error}", check.name));
            Ok(false)
        }
    }
}
