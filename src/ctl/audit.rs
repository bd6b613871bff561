//! `audit`: is the log whole, and what does it say.

use super::{CtlError, print};
use crate::act::audit::files_of;
use crate::decide::answer::Code;
use crate::decide::chain::{Chain, Head, beginning, through, verify as follow};
use crate::decide::escape::Harmless;
use crate::decide::outcome::Stop;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    Json,
}

impl From<bool> for Form {
    /// The flag `--json`.
    fn from(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// All that is kept, oldest first. No log yet is an empty one, where its directory is there.
fn read(directory: &Path) -> Result<String, CtlError> {
    let failed = |path: &Path, source| CtlError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    for path in files_of(directory).map_err(|source| failed(directory, source))? {
        // A byte that is no text fits no hash.
        text += &String::from_utf8_lossy(&fs::read(&path).map_err(|source| failed(&path, source))?);
    }
    Ok(text)
}

pub fn verify(directory: &Path, at: Option<&str>) -> Result<Code, CtlError> {
    let at = at.map(parse_head).transpose()?;
    let text = read(directory)?;
    let said = judge(&text, at.as_ref()).map_err(|why| Stop::new(Code::Misconfigured, why))?;
    print(&format!("{said}\n"))
}

/// What the log is, or what is wrong with it and what to do.
pub fn judge(text: &str, at: Option<&Head>) -> Result<String, String> {
    let (head, torn) = match follow(text) {
        Chain::Whole(head) => (head, 0),
        Chain::Torn(head, length) => (head, length),
        Chain::Broken(line) => {
            return Err(format!(
                "audit log: line {line} does not continue the one before it: it was edited, moved or removed; \
                 compare with the syslog and with the heads in your CI logs"
            ));
        }
    };
    if let Some(at) = at {
        contains(text, &head, at)?;
    }
    let also = at.map_or(String::new(), |at| format!(", with {} in it", at.seq));
    let torn = if torn == 0 {
        String::new()
    } else {
        format!("; behind it {torn} bytes of a line that a crash cut short, which the next job puts aside")
    };
    Ok(format!("whole: {head}{also}{torn}"))
}

/// Whether the chain went through this head: what cannot be seen from a log that was cut or written anew.
fn contains(text: &str, head: &Head, at: &Head) -> Result<(), String> {
    if at.seq > head.seq {
        return Err(format!("audit log: it ends at {} and was cut: event {} is missing", head.seq, at.seq));
    }
    let start = beginning(text).unwrap_or_else(Head::start);
    let Some(lines) = at.seq.checked_sub(start.seq) else {
        return Err(format!(
            "audit log: event {} is no longer kept; the first one that is: {}",
            at.seq,
            start.seq + 1
        ));
    };
    let until: String =
        text.split_inclusive('\n').take(usize::try_from(lines).unwrap_or(usize::MAX)).collect();
    match through(start, &until) {
        Chain::Whole(found) if found == *at => Ok(()),
        _ => Err(format!("audit log: event {} is another one: the log was written anew", at.seq)),
    }
}

fn parse_head(text: &str) -> Result<Head, CtlError> {
    let head = text.split_once(':').and_then(|(seq, hash)| {
        let hex = hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        Some(Head { seq: seq.parse().ok().filter(|_| hex)?, hash: hash.to_owned() })
    });
    head.ok_or_else(|| {
        Stop::new(Code::Malformed, "--at takes what stands behind audit= in an answer: SEQ:HASH, in full")
            .into()
    })
}

pub fn show(directory: &Path, form: Form) -> Result<Code, CtlError> {
    let text = read(directory)?;
    match form {
        Form::Json => print(&text),
        Form::Text => print(&text.lines().map(shown).collect::<String>()),
    }
}

/// One event on one line. Whoever could write the log could have put anything into it.
fn shown(line: &str) -> String {
    let Ok(event) = serde_json::from_str::<Value>(line) else { return "? not an event\n".to_owned() };
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or("-");
    let mut out = format!(
        "{} {} {} job={} by={}",
        event.get("seq").and_then(Value::as_u64).unwrap_or(0),
        text("time"),
        text("event"),
        text("job"),
        text("identity"),
    );
    for (key, value) in event.get("detail").and_then(Value::as_object).into_iter().flatten() {
        let _ = write!(out, " {key}={value}");
    }
    format!("{}\n", Harmless::default().filter(out.replace('\n', " ").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::chain::{Event, append};

    fn log(events: u64) -> (String, Vec<Head>) {
        let (mut text, mut heads) = (String::new(), vec![Head::start()]);
        for _ in 0..events {
            let event = Event {
                time: "2026-01-01T00:00:00Z".into(),
                boot: "b".into(),
                job: None,
                event: "accepted",
                identity: Some("ci".into()),
                detail: serde_json::Map::from_iter([("why".to_owned(), Value::from("x\u{1b}[31m\ny"))]),
            };
            let (line, head) = append(&heads[heads.len() - 1], &event).unwrap();
            text += &line;
            heads.push(head);
        }
        (text, heads)
    }

    #[test]
    fn a_head_from_an_answer_shows_a_tail_that_was_cut_and_a_log_written_anew() {
        let (text, heads) = log(4);
        assert!(judge(&text, Some(&heads[3])).unwrap().starts_with("whole: 4:"));
        let cut: String = text.split_inclusive('\n').take(2).collect();
        assert!(judge(&cut, None).is_ok());
        assert!(judge(&cut, Some(&heads[3])).unwrap_err().contains("cut"));
        let anew = log(4).0.replace("\"ci\"", "\"ops\"");
        assert!(judge(&anew, None).is_err());
        let other = Head { seq: 3, hash: "0".repeat(64) };
        assert!(judge(&text, Some(&other)).unwrap_err().contains("anew"));
    }

    #[test]
    fn a_torn_tail_is_a_crash_and_no_edit() {
        let (text, _) = log(2);
        assert!(judge(&text[..text.len() - 3], None).unwrap().starts_with("whole: 1:"));
        assert!(judge("", None).unwrap().starts_with("whole: 0:"));
    }

    #[test]
    fn an_event_is_one_line_that_moves_no_terminal() {
        let (text, _) = log(1);
        let shown = shown(&text);
        assert_eq!(shown.matches('\n').count(), 1);
        assert!(!shown.contains('\u{1b}'), "{shown}");
        assert!(shown.starts_with("1 2026-01-01T00:00:00Z accepted job=- by=ci why="), "{shown}");
    }

    #[test]
    fn a_head_is_given_in_full() {
        let good = format!("12:{}", "a".repeat(64));
        assert!(parse_head(&good).is_ok());
        for bad in ["", "12", "12:abc", &format!("x:{}", "a".repeat(64)), &format!("12:{}", "A".repeat(64))] {
            assert!(parse_head(bad).is_err(), "{bad}");
        }
    }
}
