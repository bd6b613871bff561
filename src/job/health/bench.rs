//! One measurement: the questions are asked, the answers judged, and what came of it stands in rows.

use super::asked::{Asked, What};
use super::{Baseline, cancelled};
use crate::act::clock::{self, Instant};
use crate::act::machine::Machine;
use crate::act::probe::{Answer, Finding, Judge, Question, Step, ask_all};
use crate::act::process::{OnCancel, Spec};
use crate::act::processes::oldest_of_services;
use crate::decide::config::Config;
use crate::decide::health::{Row, Standing, UnitTrouble};
use crate::decide::outcome::Stop;
use crate::decide::units::Units;
use std::ops::ControlFlow;

/// Whether everything is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    Whole,
    /// The first check that newly fails decides, as soon as the units are known.
    UntilFirstFailure,
}

/// What was found.
#[derive(Debug)]
pub struct Measured {
    pub rows: Vec<Row>,
    pub units: Option<Units>,
    /// Units that newly fail or are missed, by policy.
    pub trouble: Vec<String>,
    pub warnings: Vec<String>,
}

/// Asks everything, compared with a baseline where there is one.
pub fn measure(
    machine: &mut Machine,
    asked: &[Asked],
    before: Option<&Baseline>,
    deadline: Instant,
    on_cancel: OnCancel,
    patience: Patience,
) -> Result<Measured, Stop> {
    let questions: Vec<Question> = asked.iter().map(|asked| asked.question.clone()).collect();
    let mut bench = Bench {
        asked,
        config: &machine.config,
        before,
        patience,
        listed: None,
        units: None,
        trouble: UnitTrouble::default(),
        is_unwell: false,
    };
    let findings = ask_all((&mut machine.inbox, &machine.log), &questions, deadline, on_cancel, &mut bench)
        .map_err(|_| cancelled())?;
    let rows = asked.iter().zip(findings).map(|(asked, finding)| row(asked, before, finding)).collect();
    let UnitTrouble { failed, lost, warnings } = bench.trouble;
    Ok(Measured { rows, units: bench.units, trouble: [failed, lost].concat(), warnings })
}

fn row(asked: &Asked, before: Option<&Baseline>, finding: Option<Finding>) -> Row {
    let Asked { name, kind, .. } = asked;
    let before = before.map_or(Standing::Unknown, |baseline| baseline.standing(name));
    let (now, tries, time, why) = match finding {
        None => (Standing::Unknown, 0, std::time::Duration::ZERO, None),
        Some(Finding { result: Ok(()), tries, time }) => (Standing::Well, tries, time, None),
        Some(Finding { result: Err(why), tries, time }) => (Standing::Failed, tries, time, Some(why)),
    };
    Row { name: name.clone(), kind, before, now, tries, time, why }
}

impl Measured {
    pub fn is_well(&self) -> bool {
        !self.rows.iter().any(Row::newly_fails)
    }

    /// A later look at the units takes the place of the first one.
    pub fn replace_units(&mut self, later: Self) {
        if let (Some(row), Some(new)) = (self.rows.first_mut(), later.rows.into_iter().next()) {
            *row = Row { tries: row.tries + new.tries, time: row.time + new.time, ..new };
        }
        (self.units, self.trouble) = (later.units, later.trouble);
        self.warnings = later.warnings;
    }

    /// What died since an earlier look has died, too.
    pub fn compare_units(&mut self, config: &Config, earlier: &Units) {
        let Some(units) = &self.units else { return };
        let since = UnitTrouble::of(config, earlier, units);
        if let (Err(why), Some(row)) = (since.verdict(), self.rows.first_mut())
            && row.now == Standing::Well
        {
            (row.now, row.why) = (Standing::Failed, Some(why));
            self.trouble = [since.failed, since.lost].concat();
        }
    }
}

struct Bench<'a> {
    asked: &'a [Asked],
    config: &'a Config,
    before: Option<&'a Baseline>,
    patience: Patience,
    /// The states of the units, while their properties are asked for.
    listed: Option<Units>,
    units: Option<Units>,
    trouble: UnitTrouble,
    is_unwell: bool,
}

impl Judge for Bench<'_> {
    fn judge(&mut self, question: usize, answer: Answer<'_>) -> Step {
        match (self.asked.get(question).map(|asked| (asked, &asked.what)), answer) {
            (Some((_, What::Units { show })), Answer::Ended(0, printed)) => self.judge_units(show, printed),
            (Some((asked, _)), answer) => asked.judge(answer, clock::monotonic()),
            (None, _) => Step::Well,
        }
    }

    fn found(&mut self, question: usize, finding: &Finding) -> ControlFlow<()> {
        let excused = |name: &str| self.before.is_none_or(|b| b.standing(name) == Standing::Failed);
        let name = self.asked.get(question).map_or("", |asked| asked.name.as_str());
        self.is_unwell |= finding.result.is_err() && !excused(name);
        let units_are_known = self.units.is_some() || (name == "units" && finding.result.is_err());
        let decided = self.is_unwell && units_are_known && self.patience == Patience::UntilFirstFailure;
        if decided { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Bench<'_> {
    /// First the states of all units, then the properties of those whose state does not say enough.
    fn judge_units(&mut self, show: &Spec, printed: &[u8]) -> Step {
        let nothing = Units::default();
        let before = self.before.map_or(&nothing, |baseline| &baseline.units);
        let units = match self.listed.take() {
            Some(units) => units.with_shown(&String::from_utf8_lossy(printed)),
            None => {
                let Some(units) = Units::parse(clock::monotonic(), printed) else {
                    return Step::Failed("systemctl did not list the units in a known form".to_owned());
                };
                let units = units.with_oldest(oldest_of_services());
                let names = units.to_be_shown(before);
                if !names.is_empty() {
                    let mut show = show.clone();
                    show.argv.extend(names);
                    self.listed = Some(units);
                    return Step::Then(show);
                }
                units
            }
        };
        if self.before.is_some() {
            self.trouble = UnitTrouble::of(self.config, before, &units);
        }
        self.units = Some(units);
        self.trouble.verdict().map_or_else(Step::Failed, |()| Step::Well)
    }
}
