//! The files of a transaction: record, result, state. Versions are numbers in the files; an
//! unknown one is refused, never guessed, and unknown keys are errors.

use super::state::State;
use super::value::StorePath;
use serde::{Deserialize, Serialize};

/// The version of every file here.
pub const VERSION: u32 = 1;

/// What three pointers say a host runs, keeps and boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Triple {
    /// The target of `/run/current-system`.
    pub running: String,
    /// The target of the system profile, and its generation.
    pub profile: String,
    pub generation: u32,
    /// The system that the boot loader starts by default, where it can be read.
    pub default: Option<String>,
}

impl Triple {
    /// All three are this system.
    pub fn is_all(&self, system: &str) -> bool {
        self.running == system && self.is_kept(system)
    }
    /// Profile and boot default are this system.
    pub fn is_kept(&self, system: &str) -> bool {
        self.profile == system && self.default.as_deref().unwrap_or(&self.profile) == system
    }
}

/// `jobs/ID/record`: what a job is, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Record {
    pub v: u32,
    pub job: String,
    pub verb: String,
    /// The request in its canonical spelling: what a second one is compared with.
    pub request: String,
    pub identity: String,
    pub address: Option<String>,
    /// RFC 3339, for people; deadlines never use it.
    pub accepted: String,
    /// Which boot of the machine, and seconds of CLOCK_BOOTTIME in it.
    pub boot: String,
    pub accepted_at: u64,
    pub state: State,
    pub state_at: u64,
    pub commit: Option<String>,
    /// Of the manifest that names the candidate, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The candidate, once it is known.
    pub new: Option<String>,
    /// What the host was before.
    pub old: Option<Triple>,
    /// The credentials whose `confirm` and `cancel` count; absent: anybody's that sshd lets in.
    pub may_confirm: Option<Vec<String>>,
    pub may_cancel: Option<Vec<String>>,
    /// While a confirmation is awaited: until when, in seconds of CLOCK_BOOTTIME, and when the activation ended, in
    /// milliseconds.
    pub confirm_by: Option<u64>,
    pub activated_at: Option<u64>,
    /// Why a revert began: what recovery answers when the job cannot.
    pub failure: Option<Failure>,
}

/// A failure in the words of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub code: u8,
    pub why: String,
}

/// `jobs/ID/result`: what every follower is told at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobResult {
    pub v: u32,
    pub code: u8,
    pub line: String,
}

/// A system that nixgate made permanent, or found at its installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permanent {
    pub system: String,
    pub generation: u32,
    pub commit: Option<String>,
    pub at: String,
}

/// The last manifest that was made permanent, or the operator's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    pub number: u64,
    /// The system that had this number; absent: any may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

impl Sequence {
    pub fn is_not(&self, system: &StorePath) -> bool {
        self.system.as_deref().is_some_and(|known| known != system.as_str())
    }
}

/// What a commit was built into: it is not evaluated again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Built {
    pub commit: String,
    pub attribute: String,
    pub system: String,
}

/// `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostState {
    pub v: u32,
    /// The transaction in progress.
    pub job: Option<String>,
    /// The highest commit made permanent by `switch` or `boot`.
    pub anchor: Option<String>,
    /// The same for manifests: where the source is `prebuilt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// Oldest first; rollback goes down from `at`, a deploy drops what lies above it.
    pub permanent: Vec<Permanent>,
    pub at: usize,
    pub built: Option<Built>,
    /// Commits whose trial failed here.
    pub bad: Vec<String>,
}

/// How many permanent systems, and bad commits, are remembered.
pub const REMEMBERED: usize = 50;

impl Default for HostState {
    fn default() -> Self {
        Self {
            v: VERSION,
            job: None,
            anchor: None,
            sequence: None,
            permanent: Vec::new(),
            at: 0,
            built: None,
            bad: Vec::new(),
        }
    }
}

impl HostState {
    /// The last committed system, or where a rollback went.
    pub fn last(&self) -> Option<&Permanent> {
        self.permanent.get(self.at)
    }
    /// The one committed before it.
    pub fn before_last(&self) -> Option<&Permanent> {
        self.at.checked_sub(1).and_then(|at| self.permanent.get(at))
    }
    /// A deploy became permanent.
    pub fn advance(&mut self, new: Permanent) {
        if self.last().is_some_and(|last| last.system == new.system) {
            if let Some(last) = self.permanent.get_mut(self.at) {
                *last = new;
            }
            return;
        }
        self.permanent.truncate(self.at.saturating_add(1));
        self.permanent.push(new);
        let surplus = self.permanent.len().saturating_sub(REMEMBERED);
        self.permanent.drain(..surplus);
        self.at = self.permanent.len().saturating_sub(1);
    }
    /// A rollback to a known system became permanent, now as this generation.
    pub fn go_back(&mut self, system: &str, generation: u32) {
        // Below first: the same system may stand above, too. A chosen generation may be above.
        let is = |p: &Permanent| p.system == system;
        let below = self.permanent.iter().take(self.at.saturating_add(1)).rposition(is);
        let known = below.or_else(|| self.permanent.iter().rposition(is));
        if let Some(at) = known {
            self.at = at;
            if let Some(entry) = self.permanent.get_mut(at) {
                entry.generation = generation;
            }
        }
    }
    /// What a job made permanent is what everything goes forward from, and no longer bad.
    pub fn move_anchor(&mut self, record: &Record) {
        self.anchor.clone_from(&record.commit);
        self.bad.retain(|bad| Some(bad) != record.commit.as_ref());
        if let Some(number) = record.sequence {
            self.sequence = Some(Sequence { number, system: record.new.clone() });
        }
    }
    pub fn remember_bad(&mut self, commit: &str) {
        self.bad.retain(|bad| bad != commit);
        self.bad.push(commit.to_owned());
        let surplus = self.bad.len().saturating_sub(REMEMBERED);
        self.bad.drain(..surplus);
    }
}

/// Why a file of a transaction is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("it is not what nixgate writes: {0}")]
    Form(#[from] serde_json::Error),
    #[error("it is of version {0}, which this nixgate does not know")]
    Version(u64),
    #[error("the job in progress that it names is {0}")]
    Job(#[from] super::value::ValueError),
}

/// Reads one of the files above; the version is looked at first.
pub fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, RecordError> {
    let value: serde_json::Value = serde_json::from_str(text)?;
    match value.get("v").and_then(serde_json::Value::as_u64) {
        Some(version) if version != u64::from(VERSION) => Err(RecordError::Version(version)),
        _ => Ok(serde_json::from_value(value)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permanent(letter: &str, generation: u32) -> Permanent {
        Permanent { system: letter.to_owned(), generation, commit: None, at: String::new() }
    }

    #[test]
    fn repeated_rollback_goes_further_back_and_a_deploy_drops_what_was_left() {
        let mut state = HostState::default();
        for (letter, generation) in [("a", 1), ("b", 2), ("c", 3)] {
            state.advance(permanent(letter, generation));
        }
        assert_eq!(state.before_last().unwrap().system, "b");
        state.go_back("b", 4);
        assert_eq!(state.before_last().unwrap().system, "a");
        state.go_back("a", 5);
        assert_eq!(state.before_last(), None);
        state.advance(permanent("d", 6));
        assert_eq!(state.before_last().unwrap().system, "a");
        assert_eq!(state.permanent.len(), 2);
    }

    #[test]
    fn a_place_that_does_not_exist_is_none_and_a_deploy_makes_a_new_one() {
        let mut state =
            HostState { at: usize::MAX, permanent: vec![permanent("a", 1)], ..HostState::default() };
        assert_eq!((state.last(), state.before_last()), (None, None));
        state.advance(permanent("b", 2));
        assert_eq!((state.last().unwrap().system.as_str(), state.at), ("b", 1));
        state.at = usize::MAX;
        state.go_back("a", 3);
        assert_eq!((state.last().unwrap().generation, state.at), (3, 0));
    }

    #[test]
    fn what_became_permanent_is_the_anchor_and_only_a_manifest_moves_the_sequence() {
        let mut record: Record = read(include_str!("../../tests/golden/record-prebuilt.json")).unwrap();
        let mut state = HostState::default();
        state.move_anchor(&record);
        assert_eq!(state.anchor, record.commit);
        let known = state.sequence.clone().unwrap();
        assert_eq!((Some(known.number), known.system.as_ref()), (record.sequence, record.new.as_ref()));
        // The next deploy was evaluated here.
        (record.commit, record.sequence) = (Some("b".repeat(40)), None);
        state.move_anchor(&record);
        assert_eq!((state.anchor, state.sequence), (record.commit, Some(known)));
    }

    #[test]
    fn the_same_system_again_is_not_a_second_entry() {
        let mut state = HostState::default();
        state.advance(permanent("a", 1));
        state.advance(permanent("a", 2));
        assert_eq!((state.permanent.len(), state.last().unwrap().generation), (1, 2));
    }

    #[test]
    fn an_unknown_version_or_key_is_refused() {
        let good = serde_json::to_string(&HostState::default()).unwrap();
        assert!(read::<HostState>(&good).is_ok());
        assert!(matches!(
            read::<HostState>(&good.replace("\"v\":1", "\"v\":2")),
            Err(RecordError::Version(2))
        ));
        assert!(matches!(read::<HostState>(&good.replace("\"at\"", "\"att\"")), Err(RecordError::Form(_))));
    }
}
