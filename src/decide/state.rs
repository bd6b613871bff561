//! The states of a job, what may follow what, and what recovery does in each.

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

/// Every state with its spelling, what may follow it, and what recovery does with a job that died in it.
pub const STATES: [(State, &str, &[State], Recovery); 17] = {
    use Recovery::{Ended, FinishOrUndo, Forget, Revert};
    use State::*;
    [
        (Accepted, "accepted", &[Fetched, Built, Done, Refused], Forget),
        (Fetched, "fetched", &[Verified, Refused], Forget),
        (Verified, "verified", &[Built, Refused], Forget),
        (Built, "built", &[Checked, Done, Refused], Forget),
        (Checked, "checked", &[Armed, Healthy, Committing, Refused], Forget),
        (Armed, "armed", &[Trial, Reverting, Refused], Revert),
        (Trial, "trial", &[Healthy, Reverting], Revert),
        (Healthy, "healthy", &[Confirmed, Reverting, Refused], Revert),
        (Confirmed, "confirmed", &[Committing, Kept, Reverting, Refused], Revert),
        (Committing, "committing", &[Committed, Reverting], FinishOrUndo),
        (Committed, "committed", &[], Ended),
        (Kept, "kept", &[], Ended),
        (Done, "done", &[], Ended),
        (Reverting, "reverting", &[Reverted, NeedsOperator], Revert),
        (Reverted, "reverted", &[], Ended),
        (Refused, "refused", &[], Ended),
        (NeedsOperator, "needs-operator", &[], Ended),
    ]
};

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

impl State {
    fn row(self) -> (&'static str, &'static [Self], Recovery) {
        STATES
            .iter()
            .find(|(state, ..)| *state == self)
            .map_or(("", &[], Recovery::Revert), |(_, name, next, recovery)| (name, next, *recovery))
    }
    pub fn as_str(self) -> &'static str {
        self.row().0
    }
    pub fn may_become(self, next: Self) -> bool {
        self.row().1.contains(&next)
    }
    pub fn recovery(self) -> Recovery {
        self.row().2
    }
    pub fn has_ended(self) -> bool {
        self.recovery() == Recovery::Ended
    }
}

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
        for (state, name, ..) in STATES {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{name}\""));
            assert_eq!(STATES.iter().filter(|(other, ..)| *other == state).count(), 1);
        }
    }

    #[test]
    fn every_state_is_reached_and_every_job_can_end() {
        for (state, name, next, recovery) in STATES {
            assert!(
                state == State::Accepted || STATES.iter().any(|(_, _, n, _)| n.contains(&state)),
                "{name}"
            );
            assert_eq!(next.is_empty(), recovery == Recovery::Ended, "{name}");
        }
    }

    #[test]
    fn nothing_that_may_have_been_armed_is_forgotten() {
        for (_, name, next, recovery) in STATES {
            if next.contains(&State::Reverting) {
                assert_ne!(recovery, Recovery::Forget, "{name}");
            }
        }
    }
}
