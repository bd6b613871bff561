//! Whether a system is well, compared with how the host was before: everything is asked at once, and the units once
//! more at the end.

mod asked;
mod bench;

use crate::act::begun::Begun;
use crate::act::clock::{self, Instant};
use crate::act::inbox::Woken;
use crate::act::machine::{Machine, running_system};
use crate::act::process::OnCancel;
use crate::act::processes::oldest_of_services;
use crate::decide::answer::Code;
use crate::decide::health::{Row, Standing, summary, table};
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::plan::{Candidate, Plan};
use crate::decide::units::Units;
use crate::decide::value::{Branch, StorePath};
use asked::Asked;
use bench::{Measured, Patience, measure};
use std::time::Duration;

/// How the host was before the trial. What was broken then reverts nothing now.
#[derive(Debug, Default)]
pub struct Baseline {
    units: Units,
    /// The names of the checks that failed.
    failing: Vec<String>,
    /// Where a candidate came from that has to satisfy everything. A `rollback` has to satisfy only the first few: it is
    /// the way out.
    source: Option<Branch>,
}

impl Baseline {
    /// Every check has to pass, whatever it did before.
    #[must_use]
    pub fn without_excuses(self) -> Self {
        Self { failing: Vec::new(), ..self }
    }

    fn standing(&self, name: &str) -> Standing {
        if self.failing.iter().any(|failing| failing == name) { Standing::Failed } else { Standing::Well }
    }
}

/// Looks at the units and runs every check once, before anything changes.
pub fn baseline(machine: &mut Machine, plan: &Plan) -> Result<Baseline, Stop> {
    let mut baseline = Baseline::default();
    if let Candidate::Source { branch, .. } = plan.candidate() {
        baseline.source = Some(branch.clone());
    }
    let asked = same_before_and_after(machine, &baseline);
    let deadline = Instant::now() + machine.config.limits.health;
    let measured = measure(machine, &asked, None, deadline, OnCancel::Stop, Patience::Whole)?;
    let no_units = || Stop::new(Code::CheckRefused, "systemd did not say how its units are; ask again");
    baseline.units = measured.units.ok_or_else(no_units)?;
    for row in measured.rows.iter().filter(|row| row.now == Standing::Failed) {
        let why = row.why.as_deref().unwrap_or_default();
        machine.log.line(format_args!("check {}: fails already, before the trial: {why}", row.name));
        baseline.failing.push(row.name.clone());
    }
    Ok(baseline)
}

/// The source is not among them: the fetch of a moment ago has shown that it answers.
fn same_before_and_after(machine: &Machine, baseline: &Baseline) -> Vec<Asked> {
    let mut asked = vec![Asked::units(machine)];
    asked.extend(Asked::ssh(machine));
    if baseline.source.is_some() {
        asked.extend(Asked::checks(machine));
    }
    asked
}

/// Judges the running system, which should be the candidate. `Ok` is the last look at its units.
pub fn judge(
    machine: &mut Machine,
    begun: &Begun,
    baseline: &Baseline,
    system: &StorePath,
) -> Result<Units, Stop> {
    let start = Instant::now();
    let deadline = start + machine.config.limits.health;
    runs(system, "the running system is not the candidate")?;
    let mut asked = same_before_and_after(machine, baseline);
    asked.extend(Asked::sudo(machine));
    if let (Some(branch), true) = (&baseline.source, machine.config.health.source) {
        asked.push(Asked::source(machine, branch));
    }
    let mut measured =
        measure(machine, &asked, Some(baseline), deadline, OnCancel::Stop, Patience::UntilFirstFailure)?;
    if measured.is_well()
        && let Some(first) = &measured.units
    {
        await_settled(machine, first, baseline, deadline)?;
        if clock::monotonic().saturating_sub(first.taken_at()) >= STALE {
            let last = look_again(machine, baseline, first, deadline)?;
            measured.replace_units(last);
        }
    }
    report(machine, begun, &measured, start.elapsed())?;
    // Long checks give the dead man's switch time.
    runs(system, "the old system returned while the candidate was being checked")?;
    measured.units.ok_or_else(|| unwell("systemd did not say how its units are"))
}

/// Once more after a wait that was not ours: is it as well as it was?
pub fn judge_again(
    machine: &mut Machine,
    baseline: &Baseline,
    last: &Units,
    system: &StorePath,
) -> Result<(), Stop> {
    runs(system, "the old system returned while the trial waited")?;
    let deadline = Instant::now() + LAST_LOOK;
    match look_again(machine, baseline, last, deadline)?.rows.first() {
        Some(Row { why: Some(why), .. }) => Err(unwell(why)),
        _ => Ok(()),
    }
}

fn runs(system: &StorePath, else_why: &str) -> Result<(), Stop> {
    if running_system().as_ref() == Some(system) { Ok(()) } else { Err(unwell(else_why)) }
}

fn unwell(why: impl std::fmt::Display) -> Stop {
    Stop::new(Code::HealthFailed, why)
}

/// Gives services that the activation started the time in which those die that cannot live. Where it started none, or
/// the checks took as long, there is nothing to wait for.
fn await_settled(
    machine: &mut Machine,
    units: &Units,
    baseline: &Baseline,
    deadline: Instant,
) -> Result<(), Stop> {
    let Some(started) = units.last_start(&baseline.units) else { return Ok(()) };
    let settled = (started + machine.config.health.settle).saturating_sub(clock::monotonic());
    let until = (Instant::now() + settled).min(deadline);
    loop {
        match machine.inbox.wait(until) {
            Woken::Deadline => return Ok(()),
            Woken::Cancelled => return Err(cancelled()),
            Woken::Confirmed | Woken::Ended(_) => {}
        }
    }
}

/// A look at the units that is younger is the last one, too: hardly anything can have died since.
const STALE: Duration = Duration::from_secs(1);

/// The least that the last look may take: the checks may have used up all of their time.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// The units alone, compared with before and with an earlier look of this trial.
fn look_again(
    machine: &mut Machine,
    baseline: &Baseline,
    earlier: &Units,
    deadline: Instant,
) -> Result<Measured, Stop> {
    let asked = [Asked::units(machine)];
    let deadline = deadline.max(Instant::now() + LAST_LOOK);
    let mut measured = measure(machine, &asked, Some(baseline), deadline, OnCancel::Stop, Patience::Whole)?;
    measured.compare_units(&machine.config, earlier);
    Ok(measured)
}

fn cancelled() -> Stop {
    Stop::new(Code::Cancelled, "cancelled while the system was being checked")
}

/// The table for people, the summary for the audit log, and the verdict: what newly fails.
fn report(machine: &Machine, begun: &Begun, measured: &Measured, time: Duration) -> Result<(), Stop> {
    measured.warnings.iter().for_each(|unit| {
        machine
            .log
            .line(format_args!("warning: {unit} has failed or stopped; its policy in [units] is \"warn\""))
    });
    table(&measured.rows).iter().for_each(|line| machine.log.line(line));
    let noted = begun.audit(&machine.store, "health", &summary(&measured.rows, time));
    for row in measured.rows.iter().filter(|row| row.still_fails()) {
        machine.log.line(format_args!("check {}: still failing, as before the trial", row.name));
    }
    let failing: Vec<String> =
        measured.rows.iter().filter(|row| row.newly_fails()).map(what_is_wrong).collect();
    if !failing.is_empty() {
        return Err(unwell(failing.join("; ")));
    }
    noted.or_stop(Code::NotWritable).map(drop)
}

fn what_is_wrong(row: &Row) -> String {
    let why = row.why.as_deref().unwrap_or_default();
    if row.kind == asked::OWN_KIND { why.to_owned() } else { format!("check {} failed: {why}", row.name) }
}

/// What the old system lacks after a revert, of what it had before the trial.
#[derive(Debug, Default)]
pub struct Lacking {
    /// Without it the host needs an operator: sshd, and what the configuration requires.
    pub essential: Vec<String>,
    pub other: Vec<String>,
}

/// Measures the old system as the trial was measured. It goes on whatever was cancelled.
pub fn after_revert(machine: &mut Machine, baseline: &Baseline) -> Lacking {
    let mut asked = same_before_and_after(machine, baseline);
    // sshd refuses for a while who connects often without logging in, as we do. So one that has run all the time is not
    // bothered, and any other gets the time to take us again: 30 is not said lightly.
    if baseline.units.still_runs(machine.config.sshd.unit.as_str(), &oldest_of_services()) {
        asked.retain(|asked| asked.name != "ssh");
    }
    asked.iter_mut().filter(|asked| asked.name == "ssh").for_each(|asked| asked.question.retries = 30);
    let deadline = Instant::now() + machine.config.limits.health;
    let measured = measure(machine, &asked, Some(baseline), deadline, OnCancel::GoOn, Patience::Whole);
    let Ok(measured) = measured else { return Lacking::default() };
    let mut lacking = Lacking::default();
    for row in measured.rows.iter().filter(|row| row.newly_fails()) {
        let bin = if row.name == "ssh" { &mut lacking.essential } else { &mut lacking.other };
        if row.name != "units" {
            bin.push(if row.kind == asked::OWN_KIND {
                row.name.clone()
            } else {
                format!("check {}", row.name)
            });
        }
    }
    if measured.units.is_none() {
        lacking.other.push("the units, of which systemd said nothing".to_owned());
    }
    for unit in measured.trouble {
        let bin = if machine.config.requires(&unit) { &mut lacking.essential } else { &mut lacking.other };
        bin.push(unit);
    }
    lacking
}
