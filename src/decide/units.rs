//! What systemd says of its units, and what has become worse since an earlier look.

use super::observe::properties;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What has to be asked about the units of [`Units::to_be_shown`], with `systemctl show`.
pub const SHOWN: &str = "--property=Id,LoadState,ActiveState,Type,Restart,NRestarts,ActiveEnterTimestampMonotonic,\
ExecMainCode,ExecMainStatus,WantedBy,RequiredBy,UpheldBy,TriggeredBy,StopWhenUnneeded,ConditionResult,Job";

/// A service that came up again by itself and has not run for this long was not well before, either.
const FLAPPING: Duration = Duration::from_secs(120);

/// How a unit stood when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitState {
    Active,
    Failed,
    /// Waiting to be started again after a failure.
    Restarting,
    Starting,
    Other,
}

/// A look at the units, without nixgate's own and those of login sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Units {
    /// Of CLOCK_MONOTONIC, as systemd's own times.
    at: Duration,
    states: BTreeMap<String, UnitState>,
    /// Services that have a process.
    running: BTreeSet<String>,
    active_targets: BTreeSet<String>,
    /// The start and the number of a service's oldest process, where they can be seen.
    oldest: BTreeMap<String, (u64, i32)>,
    shown: BTreeMap<String, Shown>,
}

/// What `systemctl show` adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    /// How often systemd has started it again by itself, since somebody started it.
    restarts: u64,
    since: Duration,
    should_run: bool,
}

impl Units {
    /// From `systemctl list-units --all --output=json`, asked for at this time of CLOCK_MONOTONIC.
    pub fn parse(at: Duration, json: &[u8]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Row {
            unit: String,
            active: String,
            sub: String,
        }
        let rows: Vec<Row> = serde_json::from_slice(json).ok()?;
        let mut units = Self { at, ..Self::default() };
        let ours = |unit: &str| {
            ["nixgate", "user@", "user-runtime-dir@", "session-", "run-"].iter().any(|p| unit.starts_with(p))
        };
        let kinds = [".service", ".socket", ".mount", ".timer", ".path", ".swap", ".automount"];
        for Row { unit, active, sub } in rows {
            let state = state(&active, &sub);
            if unit.ends_with(".target") && state == UnitState::Active {
                units.active_targets.insert(unit);
            } else if !ours(&unit) && kinds.iter().any(|kind| unit.ends_with(kind)) {
                if unit.ends_with(".service") && (state == UnitState::Starting || sub == "running") {
                    units.running.insert(unit.clone());
                }
                units.states.insert(unit, state);
            }
        }
        Some(units)
    }

    /// Adds the oldest process of each service.
    #[must_use]
    pub fn with_oldest(self, oldest: BTreeMap<String, (u64, i32)>) -> Self {
        Self { oldest, ..self }
    }

    /// Whether a service still has the oldest process that it had at this look.
    pub fn still_runs(&self, unit: &str, oldest: &BTreeMap<String, (u64, i32)>) -> bool {
        self.oldest.get(unit).is_some_and(|process| oldest.get(unit) == Some(process))
    }

    /// The units whose properties tell more than their state: those that may have died and come up again, and those
    /// that are not active any more. PID 1 takes milliseconds for each, so a service that still has its oldest process
    /// is not among them.
    pub fn to_be_shown(&self, before: &Self) -> Vec<String> {
        let mut units: BTreeSet<String> = self.gone(before).into_iter().collect();
        units.extend(self.running.iter().filter(|unit| !before.still_runs(unit, &self.oldest)).cloned());
        units.into_iter().collect()
    }

    /// Adds what `systemctl show` prints about them: blocks with a blank line between.
    #[must_use]
    pub fn with_shown(mut self, text: &str) -> Self {
        let blocks = text.split("\n\n").map(properties);
        self.shown = blocks
            .filter_map(|unit| {
                let number = |key| unit.get(key).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
                let since = Duration::from_micros(number("ActiveEnterTimestampMonotonic"));
                let should_run = self.should_run(&unit);
                let shown = Shown { restarts: number("NRestarts"), since, should_run };
                Some(((*unit.get("Id")?).to_owned(), shown))
            })
            .collect();
        self
    }

    /// On CLOCK_MONOTONIC.
    pub fn taken_at(&self) -> Duration {
        self.at
    }

    pub fn state(&self, unit: &str) -> Option<UnitState> {
        self.states.get(unit).copied()
    }

    pub fn is_active(&self, unit: &str) -> bool {
        self.state(unit) == Some(UnitState::Active)
    }

    /// What is broken now and was not before. A service that dies and is started again is well at some moments: it is
    /// known by its restarts.
    pub fn newly_failed(&self, before: &Self) -> Vec<String> {
        let failed = |unit: &str| matches!(self.state(unit), Some(UnitState::Failed | UnitState::Restarting));
        let broken = |unit: &str| failed(unit) || self.has_died_since(before, unit);
        self.states.keys().filter(|unit| broken(unit) && !before.was_broken(unit)).cloned().collect()
    }

    /// The count begins again at 0 when somebody starts the service, so another count is a death, unless it is 0.
    fn has_died_since(&self, before: &Self, unit: &str) -> bool {
        let restarts = self.restarts(unit);
        restarts > 0 && restarts != before.restarts(unit)
    }

    fn restarts(&self, unit: &str) -> u64 {
        self.shown.get(unit).map_or(0, |shown| shown.restarts)
    }

    fn was_broken(&self, unit: &str) -> bool {
        let young = |shown: &Shown| shown.restarts > 0 && self.at.saturating_sub(shown.since) < FLAPPING;
        matches!(self.state(unit), Some(UnitState::Failed | UnitState::Restarting))
            || self.shown.get(unit).is_some_and(young)
    }

    /// What was active before and is not now, whatever the reason.
    pub fn gone(&self, before: &Self) -> Vec<String> {
        let active = before.states.iter().filter(|(_, state)| **state == UnitState::Active);
        active.map(|(unit, _)| unit.clone()).filter(|unit| !self.is_active(unit)).collect()
    }

    /// What was active before, is not now, and should be by systemd's own word.
    pub fn lost(&self, before: &Self) -> Vec<String> {
        let should = |unit: &String| self.shown.get(unit).is_some_and(|shown| shown.should_run);
        self.gone(before).into_iter().filter(should).collect()
    }

    /// When the youngest service was started, of those that were started since the earlier look.
    pub fn last_start(&self, before: &Self) -> Option<Duration> {
        let starting = self.states.values().any(|state| *state == UnitState::Starting).then_some(self.at);
        let started = self.shown.values().map(|shown| shown.since).filter(|since| *since > before.at);
        started.chain(starting).max()
    }

    /// Whether a unit that is not active is missed: it exists, something that is active wants it, nothing else is there
    /// to start it, and it cannot have ended by itself and well. Where that is not certain it is not missed: a false
    /// alarm would take back a good deploy.
    fn should_run(&self, unit: &BTreeMap<&str, &str>) -> bool {
        let get = |key: &str| unit.get(key).copied().unwrap_or_default();
        let active = |name: &str| self.active_targets.contains(name) || self.is_active(name);
        let wanted = ["WantedBy", "RequiredBy", "UpheldBy"].iter().any(|key| get(key).split(' ').any(active));
        let missed = get("LoadState") == "loaded"
            && get("ActiveState") == "inactive"
            && wanted
            && get("TriggeredBy").is_empty()
            && get("StopWhenUnneeded") != "yes"
            && get("ConditionResult") != "no"
            && matches!(get("Job"), "" | "0");
        missed && (!get("Id").ends_with(".service") || !may_have_ended_well(&get))
    }
}

fn state(active: &str, sub: &str) -> UnitState {
    match (active, sub) {
        (_, "auto-restart" | "auto-restart-queued") => UnitState::Restarting,
        ("active" | "reloading", _) => UnitState::Active,
        ("failed", _) => UnitState::Failed,
        ("activating", _) => UnitState::Starting,
        _ => UnitState::Other,
    }
}

/// A service that ends is well: it was made to run once, or its process ended with 0 and is not always started again.
/// One that a signal ended was stopped. What has no main process says neither.
fn may_have_ended_well<'a>(get: &impl Fn(&str) -> &'a str) -> bool {
    let ended_with_0 = (get("ExecMainCode"), get("ExecMainStatus")) == ("1", "0");
    let unknown = matches!(get("ExecMainCode"), "" | "0");
    get("Type") == "oneshot" || (get("Restart") != "always" && (ended_with_0 || unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At this second; each unit as list-units shows it.
    fn units(at: u64, rows: &[(&str, &str, &str)]) -> Units {
        let rows: Vec<_> = rows
            .iter()
            .map(|(u, a, s)| serde_json::json!({"unit": u, "active": a, "sub": s, "load": "loaded"}))
            .collect();
        let json = serde_json::to_string(&rows).unwrap();
        Units::parse(Duration::from_secs(at), json.as_bytes()).unwrap()
    }

    /// One running service, started at a second, with restarts.
    fn service(at: u64, since: u64, restarts: u64) -> Units {
        let shown =
            format!("Id=web.service\nNRestarts={restarts}\nActiveEnterTimestampMonotonic={since}000000\n");
        units(at, &[("web.service", "active", "running")]).with_shown(&shown)
    }

    #[test]
    fn only_what_is_newly_broken_counts() {
        let before = units(1, &[("old.service", "failed", "failed"), ("web.service", "active", "running")]);
        let after = units(
            2,
            &[
                ("old.service", "failed", "failed"),
                ("web.service", "failed", "failed"),
                ("flap.service", "activating", "auto-restart"),
                ("nixgate-job@1.service", "failed", "failed"),
                ("oneshot.service", "inactive", "dead"),
            ],
        );
        assert_eq!(after.newly_failed(&before), ["flap.service", "web.service"]);
        assert_eq!(after.gone(&before), ["web.service"]);
        assert_eq!(before.newly_failed(&before), [""; 0]);
    }

    #[test]
    fn a_service_that_dies_and_comes_up_again_is_known_by_its_restarts() {
        let dies = |before: &Units, after: &Units| !after.newly_failed(before).is_empty();
        let stable = service(1000, 1, 0);
        assert!(!dies(&stable, &service(1010, 1005, 0)), "restarted by the switch");
        assert!(dies(&stable, &service(1010, 1009, 1)));
        // A crash of long ago is no excuse, and none of its own.
        let once = service(1000, 500, 3);
        assert!(!dies(&once, &service(1010, 500, 3)));
        assert!(dies(&once, &service(1010, 1009, 4)));
        assert!(dies(&once, &service(1010, 1009, 1)), "started by the switch, died since");
        // It was dying all the time.
        assert!(!dies(&service(1000, 990, 20), &service(1010, 1009, 22)));
        // Between two looks of one trial.
        assert!(dies(&service(1010, 1009, 0), &service(1013, 1012, 1)));
    }

    #[test]
    fn what_the_trial_started_is_watched_and_nothing_else() {
        let before = service(1000, 1, 0);
        assert_eq!(service(1010, 1, 0).last_start(&before), None);
        assert_eq!(service(1010, 1009, 0).last_start(&before), Some(Duration::from_secs(1009)));
        let starting = units(1010, &[("web.service", "activating", "start")]);
        assert_eq!(starting.last_start(&before), Some(Duration::from_secs(1010)));
    }

    #[test]
    fn a_service_with_the_same_oldest_process_is_not_asked_about() {
        let look = |process| {
            let oldest = BTreeMap::from([("web.service".to_owned(), process)]);
            units(1, &[("web.service", "active", "running")]).with_oldest(oldest)
        };
        assert_eq!(look((5, 100)).to_be_shown(&look((5, 100))), [""; 0]);
        for other in [(6, 101), (6, 100), (5, 101)] {
            assert_eq!(look(other).to_be_shown(&look((5, 100))), ["web.service"]);
        }
        let hidden = || units(1, &[("web.service", "active", "running")]);
        assert_eq!(hidden().to_be_shown(&hidden()), ["web.service"]);
    }

    const STOPPED: &str = "Id=web.service\nLoadState=loaded\nActiveState=inactive\nType=exec\nRestart=on-failure\n\
        ExecMainCode=2\nExecMainStatus=15\nWantedBy=multi-user.target\nRequiredBy=\nTriggeredBy=\nStopWhenUnneeded=no\n\
        ConditionResult=yes\nJob=0\n";

    #[test]
    fn a_unit_is_missed_if_it_is_wanted_and_cannot_have_ended_by_itself() {
        let targets = ("multi-user.target", "active", "active");
        let before = units(1, &[targets, ("web.service", "active", "running")]);
        let now = || units(2, &[targets, ("web.service", "inactive", "dead")]);
        let lost = |shown: &str| !now().with_shown(shown).lost(&before).is_empty();
        assert!(lost(STOPPED));
        for (from, to) in [
            ("LoadState=loaded", "LoadState=not-found"),
            ("WantedBy=multi-user.target", "WantedBy=other.target"),
            ("TriggeredBy=", "TriggeredBy=web.socket"),
            ("StopWhenUnneeded=no", "StopWhenUnneeded=yes"),
            ("ConditionResult=yes", "ConditionResult=no"),
            ("Job=0", "Job=7"),
            ("ActiveState=inactive", "ActiveState=activating"),
            ("Type=exec", "Type=oneshot"),
            ("ExecMainCode=2\nExecMainStatus=15", "ExecMainCode=1\nExecMainStatus=0"),
            ("ExecMainCode=2\nExecMainStatus=15", "ExecMainCode=0\nExecMainStatus=0"),
        ] {
            assert!(STOPPED.contains(from) && !lost(&STOPPED.replace(from, to)), "{to}");
        }
        let ended = STOPPED.replace("ExecMainCode=2\nExecMainStatus=15", "ExecMainCode=1\nExecMainStatus=0");
        assert!(lost(&ended.replace("Restart=on-failure", "Restart=always")));
        assert_eq!(now().to_be_shown(&before), ["web.service"]);
    }
}
