//! How a job ends, and the line that says so.

use super::answer::{Code, LastLine};
use super::chain::Head;
use super::record::{Failure, Record};
use super::state::State;

/// Why a job stops where it is: a code of the contract, what happened and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Stop {
    pub code: Code,
    pub why: String,
}

impl Stop {
    pub fn new(code: Code, why: impl std::fmt::Display) -> Self {
        Self { code, why: why.to_string() }
    }
    pub fn into_failure(self) -> Failure {
        Failure { code: self.code.number(), why: self.why }
    }
}

/// Continue with a code of the contract: what a failing step means for the caller.
pub trait OrStop<T> {
    fn or_stop(self, code: Code) -> Result<T, Stop>;
}
impl<T, E: std::fmt::Display> OrStop<T> for Result<T, E> {
    fn or_stop(self, code: Code) -> Result<T, Stop> {
        self.map_err(|error| Stop::new(code, error))
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The last state, which is on record.
    pub state: State,
    pub code: Code,
    /// The word behind `result=`.
    pub result: &'static str,
    /// What a person is told, before the last line.
    pub why: Option<String>,
    /// Whether somebody reached the host over a new connection, where that is the question.
    pub reachability: Option<Reachability>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachability {
    Proven,
    NotProven,
}

impl Outcome {
    pub fn good(state: State, result: &'static str) -> Self {
        Self { state, code: Code::Done, result, why: None, reachability: None }
    }
    /// The end that belongs to a last state and a failure: for a job, and for the recovery that speaks for it.
    pub fn failed(state: State, code: Code, why: impl std::fmt::Display) -> Self {
        let result = match (state, code) {
            (State::NeedsOperator, _) => "needs-operator",
            (State::Reverted, _) => "reverted",
            (_, Code::Cancelled) => "cancelled",
            _ => "refused",
        };
        Self { state, code, result, why: Some(why.to_string()), reachability: None }
    }

    /// What goes on record with the last state, so that recovery gives the same answer when the job cannot.
    pub fn failure(&self) -> Option<Failure> {
        self.why.as_ref().map(|why| Failure { code: self.code.number(), why: why.clone() })
    }

    /// The last line of the answer: with reasons for a restart, where a system is known that they belong to, and with the
    /// specialisation that runs, where one does.
    pub fn line(
        &self,
        record: &Record,
        reboot: Option<&[String]>,
        specialisation: Option<&str>,
        head: &Head,
    ) -> LastLine {
        let mut line = LastLine::new()
            .with("job", &record.job)
            .with("verb", &record.verb)
            .with("result", self.result)
            .with("code", self.code.number());
        if let Some(commit) = &record.commit {
            line = line.with("commit", commit);
        }
        if let Some(old) = &record.old {
            line = line.with("old", &old.running);
        }
        if let Some(new) = &record.new {
            line = line.with("new", new);
        }
        if let Some(name) = specialisation {
            line = line.with("specialisation", name);
        }
        if let Some(reachability) = self.reachability {
            line = line.with(
                "reachability",
                match reachability {
                    Reachability::Proven => "proven",
                    Reachability::NotProven => "not-proven",
                },
            );
        }
        if let Some(reasons) = reboot {
            line = line.with("reboot-required", if reasons.is_empty() { "no" } else { "yes" });
            if !reasons.is_empty() {
                line = line.with("reboot-reasons", reasons.join(","));
            }
        }
        line.with("audit", head)
    }
}
