//! The audit log as text: each line carries the hash of the one before it, so an edit, a gap or a swap shows. What
//! does not show is a tail that was cut: for that, `SEQ:HASH` of the end is in every answer.

use super::record::VERSION;
use serde::Serialize;
use sha2::{Digest, Sha256};

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
    let seq = head.seq.saturating_add(1);
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

/// Follows all that is kept of a chain. Where its beginning is no longer kept, the chain itself has to say so.
pub fn verify(text: &str) -> Chain {
    let Some(start) = beginning(text) else { return Chain::Broken(1) };
    let pruned =
        start == Head::start() || text.lines().any(|line| pruned_until(line) == Some(start.to_string()));
    match through(start, text) {
        Chain::Whole(_) | Chain::Torn(..) if !pruned => Chain::Broken(1),
        chain => chain,
    }
}

/// The head before the first line that is kept.
pub fn beginning(text: &str) -> Option<Head> {
    let Some((line, _)) = text.split_once('\n') else { return Some(Head::start()) };
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let seq = value.get("seq")?.as_u64()?.checked_sub(1)?;
    Some(Head { seq, hash: value.get("prev")?.as_str()?.to_owned() })
}

/// The event that announces that everything up to a head is removed.
pub const PRUNED: &str = "pruned";

fn pruned_until(line: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let until = value.get("detail")?.get("until")?.as_str()?;
    (value.get("event")?.as_str()? == PRUNED).then(|| until.to_owned())
}

/// Follows a chain from `start` through all these lines.
pub fn through(start: Head, text: &str) -> Chain {
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

/// The event that ends a job; the head that it makes is the one in the job's answer.
pub const ENDED: &str = "ended";

/// The heads that the ends of jobs made, oldest first, of a chain that is whole from its first line on. A last line that
/// was never finished is none; `None`: the chain is broken.
pub fn ends(text: &str) -> Option<Vec<Head>> {
    let (mut head, mut ends) = (beginning(text)?, Vec::new());
    for line in text.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else { break };
        head = follow(&head, line)?;
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        if value.get("event")?.as_str()? == ENDED {
            ends.push(head.clone());
        }
    }
    Some(ends)
}

/// The head at which this job ended with this code, where that is in these lines. Another code is another answer, and
/// the last end in the log is the one that is given.
pub fn end_of(text: &str, job: &str, code: &str) -> Option<Head> {
    let ended = text.lines().rev().find_map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let is = |key: &str, what: &str| value.get(key).and_then(serde_json::Value::as_str) == Some(what);
        (is("event", ENDED) && is("job", job)).then_some(value)
    })?;
    let same = ended.get("detail")?.get("code")?.as_str()? == code;
    let head = Head { seq: ended.get("seq")?.as_u64()?, hash: ended.get("hash")?.as_str()?.into() };
    same.then_some(head)
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
    let seq = head.seq.checked_add(1)?;
    let (body, hash) = line.strip_suffix("\"}")?.rsplit_once(",\"hash\":\"")?;
    let body = format!("{body}}}");
    let value: serde_json::Value = serde_json::from_str(&body).ok()?;
    let fits = value.get("v")?.as_u64()? == u64::from(VERSION)
        && value.get("seq")?.as_u64()? == seq
        && value.get("prev")?.as_str()? == head.hash
        && chained(&head.hash, &body) == hash;
    fits.then(|| Head { seq, hash: hash.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(matches!(verify(&text), Chain::Whole(Head { seq: 4, .. })));
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        assert_eq!(verify(&text.replacen("accepted", "refused_", 2)), Chain::Broken(1));
        let swapped = [lines[0], lines[2], lines[1], lines[3]].concat();
        assert_eq!(verify(&swapped), Chain::Broken(2));
        let gap = [lines[0], lines[1], lines[3]].concat();
        assert_eq!(verify(&gap), Chain::Broken(3));
        assert_eq!(head_of(&text).map(|head| head.seq), Some(4));
        assert_eq!(head_of(&text.replace("\"seq\":4", "\"seq\":5")), None);
        let torn = &text[..text.len() - 5];
        assert!(matches!(verify(torn), Chain::Torn(Head { seq: 3, .. }, _)));
    }

    #[test]
    fn the_ends_of_jobs_are_found_only_in_a_chain_that_is_whole() {
        let event = |event, job: &str| Event {
            time: String::new(),
            boot: String::new(),
            job: Some(job.to_owned()),
            event,
            identity: Some("\"event\":\"ended\"".to_owned()),
            detail: serde_json::Map::new(),
        };
        let (mut head, mut text, mut heads) = (Head::start(), String::new(), Vec::new());
        for name in ["accepted", ENDED, "accepted", "built", ENDED, "accepted"] {
            let (line, next) = append(&head, &event(name, "1-00000000")).unwrap();
            (head, text) = (next, text + &line);
            if name == ENDED {
                heads.push(head.clone());
            }
        }
        assert_eq!(ends(&text), Some(heads.clone()));
        assert_eq!(ends(&text[..text.len() - 5]), Some(heads.clone()), "torn");
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        assert_eq!(ends(&lines[2..].concat()), Some(heads[1..].to_vec()), "the beginning is in another file");
        assert_eq!(ends(&lines[..4].concat()), Some(heads[..1].to_vec()), "cut");
        assert_eq!(ends(&[lines[0], lines[2]].concat()), None);
        assert_eq!(ends(&text.replacen("built", "begun", 1)), None);
        assert_eq!(ends(""), Some(Vec::new()));
    }

    #[test]
    fn the_end_of_all_numbers_is_no_panic() {
        let event = Event {
            time: String::new(),
            boot: String::new(),
            job: None,
            event: "accepted",
            identity: None,
            detail: serde_json::Map::new(),
        };
        let start = Head { seq: u64::MAX - 1, hash: "0".repeat(64) };
        let (last, head) = append(&start, &event).unwrap();
        let (beyond, _) = append(&head, &event).unwrap();
        assert_eq!(through(start.clone(), &last), Chain::Whole(head));
        assert_eq!(through(start, &(last + &beyond)), Chain::Broken(2));
    }

    #[test]
    fn a_beginning_may_be_missing_only_where_the_chain_says_so() {
        let text = chain(4);
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        assert_eq!(verify(&lines[2..].concat()), Chain::Broken(1));
        let until = beginning(&lines[2..].concat()).unwrap();
        let Chain::Whole(head) = verify(&text) else { panic!("broken") };
        let detail = serde_json::Map::from_iter([("until".to_owned(), until.to_string().into())]);
        let event = Event {
            time: String::new(),
            boot: String::new(),
            job: None,
            event: PRUNED,
            identity: None,
            detail,
        };
        let (line, _) = append(&head, &event).unwrap();
        let kept = lines[2..].concat() + &line;
        assert!(matches!(verify(&kept), Chain::Whole(Head { seq: 5, .. })));
        assert_eq!(verify(&[lines[3], &line].concat()), Chain::Broken(1));
        assert_eq!(verify(""), Chain::Whole(Head::start()));
    }

    #[test]
    fn the_end_of_a_job_is_found_by_its_name_and_is_the_same_only_with_its_code() {
        let event = |event, job: &str| Event {
            time: "t".into(),
            boot: "b".into(),
            job: Some(job.to_owned()),
            event,
            identity: None,
            detail: serde_json::Map::from_iter([("code".to_owned(), "21".into())]),
        };
        let (first, head) = append(&Head::start(), &event(ENDED, "1-a")).unwrap();
        let (second, _) = append(&head, &event("accepted", "2-b")).unwrap();
        let text = first + &second;
        assert_eq!(end_of(&text, "1-a", "21"), Some(head));
        assert_eq!(end_of(&text, "1-a", "20"), None);
        assert_eq!(end_of(&text, "2-b", "21"), None);
    }
}
