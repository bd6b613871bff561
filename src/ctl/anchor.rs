//! `anchor`: the commit that every deploy must descend from, and the sequence that manifests go up from.

use super::account::become_nixgate;
use super::{CtlError, print};
use crate::act::begun::audit_event;
use crate::act::store::{ROOT, Store};
use crate::decide::answer::Code;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::policy::Identity;
use crate::decide::record::{HostState, Sequence};
use crate::decide::value::Commit;

pub fn show() -> Result<Code, CtlError> {
    become_nixgate()?;
    let state = Store::new(ROOT).state()?;
    let none = "none: the commit that the system of the profile names is taken, else trust.first-commit";
    let mut text = state.anchor.unwrap_or_else(|| none.to_owned()) + "\n";
    if let Some(sequence) = state.sequence {
        text += &format!("sequence {}\n", sequence.number);
    }
    print(&text)
}

/// As account nixgate, so that the files stay its own.
pub fn set(commit: &str) -> Result<Code, CtlError> {
    let commit = Commit::parse(commit).or_stop(Code::Malformed)?;
    become_nixgate()?;
    let before = move_to(&Store::new(ROOT), &Goal::Commit(commit.clone()))?;
    let before = before.unwrap_or_else(|| "none".to_owned());
    print(&format!("the anchor was {before} and is now {commit}\n"))
}

pub fn set_sequence(number: u64) -> Result<Code, CtlError> {
    become_nixgate()?;
    let before = move_to(&Store::new(ROOT), &Goal::Sequence(number))?;
    let before = before.unwrap_or_else(|| "none".to_owned());
    print(&format!("the sequence was {before} and is now {number}\n"))
}

/// What is moved, and where to.
#[derive(Debug)]
enum Goal {
    Commit(Commit),
    /// Whichever system has it.
    Sequence(u64),
}

impl Goal {
    fn event(&self) -> (&'static str, &'static str, String) {
        match self {
            Self::Commit(commit) => ("anchor-set", "commit", commit.to_string()),
            Self::Sequence(number) => ("sequence-set", "sequence", number.to_string()),
        }
    }
    fn before(&self, state: &HostState) -> Option<String> {
        match self {
            Self::Commit(_) => state.anchor.clone(),
            Self::Sequence(_) => state.sequence.as_ref().map(|known| known.number.to_string()),
        }
    }
    fn put(&self, state: &mut HostState) {
        match self {
            Self::Commit(commit) => state.anchor = Some(commit.to_string()),
            Self::Sequence(number) => state.sequence = Some(Sequence { number: *number, system: None }),
        }
    }
}

/// The audit line comes first: what was not recorded does not happen.
fn move_to(store: &Store, goal: &Goal) -> Result<Option<String>, CtlError> {
    let busy = |why: &str| Stop::new(Code::Busy, why);
    let _lock = store.lock()?.ok_or_else(|| {
        busy("a job is in progress and may move the anchor itself; ask again when it has ended")
    })?;
    let mut state = store.state()?;
    if state.job.is_some() {
        let why = "a job died before its end; first: systemctl start nixgate-recover.service";
        return Err(busy(why).into());
    }
    let before = goal.before(&state);
    let operator = Identity { name: "operator".to_owned(), address: None, proofs: Vec::new() };
    let (event, what, value) = goal.event();
    let detail = [(what, value), ("before", before.clone().unwrap_or_default())];
    store.audit(&audit_event(event, None, &operator, &detail))?;
    goal.put(&mut state);
    store.write_state(&state)?;
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A state directory of this test's own; removed at its end.
    struct State(PathBuf);
    impl State {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("nixgate-anchor-{name}-{}", std::process::id()));
            std::fs::create_dir_all(path.join("audit")).unwrap();
            Self(path)
        }
        fn store(&self) -> Store {
            Store::new(&self.0)
        }
    }
    impl Drop for State {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn commit(digit: &str) -> Goal {
        Goal::Commit(Commit::parse(&digit.repeat(40)).unwrap())
    }

    #[test]
    fn a_moved_anchor_is_in_the_state_and_in_the_audit_log() {
        let state = State::new("moved");
        assert_eq!(move_to(&state.store(), &commit("a")).unwrap(), None);
        assert_eq!(move_to(&state.store(), &commit("b")).unwrap(), Some("a".repeat(40)));
        assert_eq!(state.store().state().unwrap().anchor, Some("b".repeat(40)));
        assert_eq!(state.store().audit_head().unwrap().seq, 2);
        assert_eq!(move_to(&state.store(), &Goal::Sequence(7)).unwrap(), None);
        assert_eq!(move_to(&state.store(), &Goal::Sequence(5)).unwrap(), Some("7".to_owned()));
        let sequence = state.store().state().unwrap().sequence;
        assert_eq!(sequence, Some(Sequence { number: 5, system: None }));
        assert_eq!(state.store().audit_head().unwrap().seq, 4);
    }

    #[test]
    fn the_anchor_stays_while_a_job_runs_or_waits_for_its_recovery() {
        let state = State::new("busy");
        let store = state.store();
        let lock = store.lock().unwrap();
        let refused = |result: Result<_, CtlError>| result.unwrap_err().code();
        assert_eq!(refused(move_to(&store, &commit("a"))), Code::Busy);
        drop(lock);
        let job = Some("1-00000000".to_owned());
        store.write_state(&HostState { job, ..HostState::default() }).unwrap();
        assert_eq!(refused(move_to(&store, &commit("a"))), Code::Busy);
        assert_eq!(store.state().unwrap().anchor, None);
        assert_eq!(store.audit_head().unwrap().seq, 0);
    }
}
