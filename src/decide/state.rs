//! The states of a job: what is on disk in each, what may follow, and what recovery does.

use serde::{Deserialize, Serialize};

/// Each state is on disk before the effect that it announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The job exists; fetch, verification and build are about to run.
    Accepted,
    Fetched,
    Verified,
    Built,
    /// Pre-flight is done; what root may execute is about to be kept, staged and armed.
    Checked,
    /// The dead man's switch is about to be armed.
    Armed,
    /// The candidate is about to be activated.
    Trial,
    /// The candidate runs and is well.
    Healthy,
    /// It may stay.
    Confirmed,
    /// Profile and boot entry are about to be set, which disarms.
    Committing,
    /// The end of `switch`, `boot` and `rollback`.
    Committed,
    /// The end of `test`: it runs until the next boot.
    Kept,
    /// The end of `fetch`, and of a request for what is there already.
    Done,
    /// The old system is about to be activated again.
    Reverting,
    /// The end of a trial that failed.
    Reverted,
    /// The end of what failed before anything was touched.
    Refused,
    /// The end of a revert that failed.
    NeedsOperator,
}

/// What is owed to a job that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing was touched: note its end.
    Forget,
    /// In the same boot: return to the old system. After a reboot the boot default did that.
    Revert,
    /// What runs decides: the candidate → finish the commit; anything else → undo it. Never neither.
    FinishOrUndo,
    /// Nothing: it has ended.
    Ended,
}

/// A state, and all that is known about it.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub state: State,
    /// As records and audit events spell it.
    pub name: &'static str,
    /// What is on disk when this state is: recovery rests on nothing else.
    pub written: &'static str,
    /// What happens next. A job that died in this state has done all, some or none of it.
    pub effect: &'static str,
    pub next: &'static [State],
    pub recovery: Recovery,
}

const fn row(
    state: State,
    name: &'static str,
    written: &'static str,
    effect: &'static str,
    next: &'static [State],
    recovery: Recovery,
) -> Row {
    Row { state, name, written, effect, next, recovery }
}

/// The whole machine. `docs/states.md` is made from it.
#[rustfmt::skip]
pub const STATES: [Row; 17] = {
    use Recovery::{Ended, FinishOrUndo, Forget, Revert};
    use State::*;
    [
        row(Accepted, "accepted", "who asks for what, and whose word counts", "fetch", &[Fetched, Built, Done, Refused], Forget),
        row(Fetched, "fetched", "the commit", "hash, signature, ancestry", &[Verified, Refused], Forget),
        row(Verified, "verified", "that the commit may run", "evaluate and build", &[Built, Refused], Forget),
        row(Built, "built", "the candidate", "pre-flight: keep, stage, check", &[Checked, Done, Refused], Forget),
        row(Checked, "checked", "the three pointers as they were", "choose the course", &[Armed, Healthy, Committing, Refused], Forget),
        row(Armed, "armed", "that the dead man's switch may be armed", "arm", &[Trial, Reverting, Refused], Revert),
        row(Trial, "trial", "that the candidate may run", "activate the candidate, judge its health", &[Healthy, Reverting], Revert),
        row(Healthy, "healthy", "that the candidate is well", "wait for a confirmation, where one is due", &[Confirmed, Reverting, Refused], Revert),
        row(Confirmed, "confirmed", "that it may stay", "`test`: disarm", &[Committing, Kept, Reverting, Refused], Revert),
        row(Committing, "committing", "that profile and boot entry may move", "set the profile, install the boot entry, which disarms", &[Committed, Reverting], FinishOrUndo),
        row(Committed, "committed", "the end of `switch`, `boot` and `rollback`", "", &[], Ended),
        row(Kept, "kept", "the end of `test`: it runs until the next boot", "", &[], Ended),
        row(Done, "done", "the end of `fetch`, and of what was there already", "", &[], Ended),
        row(Reverting, "reverting", "why, and how the answer will say it", "undo a commit, activate the old system", &[Reverted, NeedsOperator], Revert),
        row(Reverted, "reverted", "the end of a trial that failed", "", &[], Ended),
        row(Refused, "refused", "the end of what touched nothing", "", &[], Ended),
        row(NeedsOperator, "needs-operator", "the end of a revert that failed", "", &[], Ended),
    ]
};

impl State {
    /// What may not follow is not entered: see [`crate::act::begun`].
    pub fn may_become(self, next: Self) -> bool {
        self == next || self.row().is_some_and(|row| row.next.contains(&next))
    }
    pub fn as_str(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }
    pub fn recovery(self) -> Recovery {
        self.row().map_or(Recovery::Revert, |row| row.recovery)
    }
    pub fn has_ended(self) -> bool {
        self.recovery() == Recovery::Ended
    }
    /// Every state has a row; a test holds the table to it.
    fn row(self) -> Option<&'static Row> {
        STATES.iter().find(|row| row.state == self)
    }
}

impl Recovery {
    /// What recovery does in the boot in which the job died, and after a restart of the host.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Forget => ("note its end", "note its end"),
            Self::Revert => {
                ("return to the old system", "the boot default did; look at what runs, and note the end")
            }
            Self::FinishOrUndo => (
                "wait until no unit of ours is at work; the candidate runs: finish the commit; else: undo it, and return",
                "the same",
            ),
            Self::Ended => ("say what it had no time to say", "the same"),
        }
    }
}

/// The page `docs/states.md`: the picture and the table.
pub fn page() -> String {
    let mut out = String::from(PAGE);
    out += "```mermaid\nstateDiagram-v2\n    [*] --> accepted\n";
    for row in STATES {
        for next in row.next {
            out += &format!("    {} --> {}\n", row.name, next.as_str());
        }
        if row.next.is_empty() {
            out += &format!("    {} --> [*]\n", row.name);
        }
    }
    out += "```\n\n| state | what is on disk by then | what happens next | a job that died here: same boot | after a restart |\n|---|---|---|---|---|\n";
    for row in STATES {
        let (same, restarted) = row.recovery.words();
        out += &format!("| `{}` | {} | {} | {same} | {restarted} |\n", row.name, row.written, row.effect);
    }
    out
}

const PAGE: &str = "# The states of a job\n\n\
    Each state is on disk, record first and audit event second, before the effect that it announces. What may not follow a state is refused.\n\
    This page is made from the table in `src/decide/state.rs` (`UPDATE=1 cargo test --test docs`).\n\n";

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_one_row_and_its_spelling_is_that_of_the_record() {
        for row in STATES {
            assert_eq!(serde_json::to_string(&row.state).unwrap(), format!("\"{}\"", row.name));
            assert_eq!(STATES.iter().filter(|other| other.state == row.state).count(), 1);
            assert_eq!(row.next.is_empty(), row.effect.is_empty(), "{}", row.name);
        }
    }

    #[test]
    fn every_state_is_reached_and_every_job_can_end() {
        for row in STATES {
            let reached = STATES.iter().any(|other| other.next.contains(&row.state));
            assert!(row.state == State::Accepted || reached, "{}", row.name);
            assert_eq!(row.next.is_empty(), row.recovery == Recovery::Ended, "{}", row.name);
        }
    }

    #[test]
    fn what_may_not_follow_is_told_from_what_may() {
        assert!(State::Trial.may_become(State::Reverting) && State::Trial.may_become(State::Trial));
        for (from, to) in [
            (State::Trial, State::Committing),
            (State::Built, State::Trial),
            (State::Reverting, State::Committed),
            (State::Reverted, State::Reverting),
        ] {
            assert!(!from.may_become(to), "{from} {to}");
        }
    }

    #[test]
    fn nothing_that_may_have_been_armed_is_forgotten() {
        for row in STATES.iter().filter(|row| row.next.contains(&State::Reverting)) {
            assert_ne!(row.recovery, Recovery::Forget, "{}", row.name);
        }
    }
}
