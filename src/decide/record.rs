//! The files of a transaction: record, result, state, audit line. Versions are numbers in the files; an
//! unknown one is refused, never guessed, and unknown keys are errors.

use super::state::State;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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
        self.permanent.truncate(self.at + 1);
        self.permanent.push(new);
        let surplus = self.permanent.len().saturating_sub(REMEMBERED);
        self.permanent.drain(..surplus);
        self.at = self.permanent.len().saturating_sub(1);
    }
    /// A rollback to a known system became permanent, now as this generation.
    pub fn go_back(&mut self, system: &str, generation: u32) {
        // Below first: the same system may stand above, too. A chosen generation may be above.
        let is = |p: &Permanent| p.system == system;
        let below = self.permanent.iter().take(self.at + 1).rposition(is);
        let known = below.or_else(|| self.permanent.iter().rposition(is));
        if let Some(at) = known {
            self.at = at;
            if let Some(entry) = self.permanent.get_mut(at) {
                entry.generation = generation;
            }
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
}

/// Reads one of the files above; the version is looked at first.
pub fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, RecordError> {
    let value: serde_json::Value = serde_json::from_str(text)?;
    match value.get("v").and_then(serde_json::Value::as_u64) {
        Some(version) if version != u64::from(VERSION) => Err(RecordError::Version(version)),
        _ => Ok(serde_json::from_value(value)?),
    }
}

/// One event, before it is chained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    pub time: String,
    pub boot: String,
    pub job: Option<String>,
    pub event: &'static str,
    pub identity: Option<String>,
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// Where a chain ends: `SEQ:HASH` is in every answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    pub hash: String,
}

impl Head {
    pub fn start() -> Self {
        Self { seq: 0, hash: "0".repeat(64) }
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

const DOMAIN: &str = "nixgate audit 1";

fn chained(previous: &str, body: &str) -> String {
    let digest = Sha256::digest(format!("{DOMAIN}\n{previous}\n{body}").as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The line for an event after `head`, and the head that it makes.
pub fn append(head: &Head, event: &Event) -> Result<(String, Head), serde_json::Error> {
    #[derive(Serialize)]
    struct Line<'a> {
        v: u32,
        seq: u64,
        #[serde(flatten)]
        event: &'a Event,
        prev: &'a str,
    }
    let seq = head.seq + 1;
    let body = serde_json::to_string(&Line { v: VERSION, seq, event, prev: &head.hash })?;
    let hash = chained(&head.hash, &body);
    let line = format!("{},\"hash\":\"{hash}\"}}\n", body.strip_suffix('}').unwrap_or(&body));
    Ok((line, Head { seq, hash }))
}

/// How a chain reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chain {
    Whole(Head),
    /// Whole up to here; then a last line that was never finished, of this many bytes.
    Torn(Head, usize),
    /// Edited, reordered or cut in the middle: the first line, counted from 1, that does not fit.
    Broken(usize),
}

/// Follows a chain from `start` through all its lines.
pub fn verify(start: Head, text: &str) -> Chain {
    let mut head = start;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        match line.strip_suffix('\n') {
            None => return Chain::Torn(head, line.len()),
            Some(line) => match follow(&head, line) {
                Some(next) => head = next,
                None => return Chain::Broken(index + 1),
            },
        }
    }
    Chain::Whole(head)
}

/// The head of a chain by its last whole line alone, which has to fit its own hash. Nothing yet: the start.
pub fn head_of(tail: &str) -> Option<Head> {
    let Some(line) = tail.rsplit_once('\n').map(|(whole, _)| whole.rsplit('\n').next().unwrap_or(whole))
    else {
        return Some(Head::start());
    };
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let hash = value.get("prev")?.as_str()?.to_owned();
    follow(&Head { seq: value.get("seq")?.as_u64()?.checked_sub(1)?, hash }, line)
}

/// The head after one whole line, if it continues `head`.
fn follow(head: &Head, line: &str) -> Option<Head> {
    let (body, hash) = line.strip_suffix("\"}")?.rsplit_once(",\"hash\":\"")?;
    let body = format!("{body}}}");
    let value: serde_json::Value = serde_json::from_str(&body).ok()?;
    let fits = value.get("v")?.as_u64()? == u64::from(VERSION)
        && value.get("seq")?.as_u64()? == head.seq + 1
        && value.get("prev")?.as_str()? == head.hash
        && chained(&head.hash, &body) == hash;
    fits.then(|| Head { seq: head.seq + 1, hash: hash.to_owned() })
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

    fn chain(n: usize) -> String {
        let event = Event {
            time: "2026-01-01T00:00:00Z".into(),
            boot: "b".into(),
            job: Some("1-00000000".into()),
            event: "accepted",
            identity: Some("x\",\"hash\":\"y".into()),
            detail: serde_json::Map::new(),
        };
        let mut head = Head::start();
        let mut text = String::new();
        for _ in 0..n {
            let (line, next) = append(&head, &event).unwrap();
            text += &line;
            head = next;
        }
        text
    }

    #[test]
    fn a_chain_shows_an_edit_a_swap_a_gap_and_a_torn_tail() {
        let text = chain(4);
        assert!(matches!(verify(Head::start(), &text), Chain::Whole(Head { seq: 4, .. })));
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        assert_eq!(verify(Head::start(), &text.replacen("accepted", "refused_", 2)), Chain::Broken(1));
        let swapped = [lines[0], lines[2], lines[1], lines[3]].concat();
        assert_eq!(verify(Head::start(), &swapped), Chain::Broken(2));
        let gap = [lines[0], lines[1], lines[3]].concat();
        assert_eq!(verify(Head::start(), &gap), Chain::Broken(3));
        assert_eq!(head_of(&text).map(|head| head.seq), Some(4));
        assert_eq!(head_of(&text.replace("\"seq\":4", "\"seq\":5")), None);
        let torn = &text[..text.len() - 5];
        assert!(matches!(verify(Head::start(), torn), Chain::Torn(Head { seq: 3, .. }, _)));
    }
}
