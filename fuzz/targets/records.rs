//! What a host remembers: the files of a transaction and the audit log, as somebody else may have left them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nixgate::decide::chain::{Chain, Event, Head, append, head_of, verify};
use nixgate::decide::record::{HostState, JobResult, Permanent, REMEMBERED, Record, VERSION, read};
use nixgate_fuzz::{PLANTED, Paths, begin};
use serde_json::{Map, Value};

const PATHS: Paths = Paths(&["record", "result", "state", "whole chain", "torn chain", "edited chain"]);

/// The files of the release before; chains with an edit, as `edited` reads them.
fn seeds() -> Vec<Vec<u8>> {
    let golden = [
        include_str!("../../tests/golden/record.json"),
        include_str!("../../tests/golden/result.json"),
        include_str!("../../tests/golden/state.json"),
        include_str!("../../tests/golden/audit.jsonl"),
    ];
    let edits = (0..8).map(|kind| [&[kind, 2, 0, 9][..], "ci\",\"hash\":\"é\n".as_bytes()].concat());
    golden.map(|text| text.as_bytes().to_vec()).into_iter().chain(edits).collect()
}

fuzz_target!(init: begin(&PATHS, seeds), |data: &[u8]| {
    edited(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    file::<Record>(text, "record");
    file::<JobResult>(text, "result");
    if let Some(state) = file::<HostState>(text, "state") {
        moved(state);
    }
    if let Chain::Whole(head) = verify(text)
        && head.seq > 0
    {
        PATHS.reached("whole chain");
        assert_eq!(head_of(text), Some(head));
    }
});

/// What is read is of this version, and is written so that it is read as the same.
fn file<T>(text: &str, path: &str) -> Option<T>
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let value: T = read(text).ok()?;
    PATHS.reached(path);
    let written = serde_json::to_string_pretty(&value).expect("JSON");
    assert_eq!(read::<T>(&written).ok().as_ref(), Some(&value));
    let version = serde_json::from_str::<Value>(&written).ok()?.get("v").and_then(Value::as_u64);
    assert_eq!(version, Some(VERSION.into()));
    Some(value)
}

/// Whatever a state says, a deploy that became permanent is the last one, and a rollback goes where it is sent.
fn moved(mut state: HostState) {
    let new = Permanent { system: "new".to_owned(), generation: 7, commit: None, at: String::new() };
    let known = state.permanent.first().map(|first| first.system.clone());
    if let Some(system) = known {
        state.go_back(&system, 5);
        assert_eq!(state.last().map(|last| (&last.system, last.generation)), Some((&system, 5)));
    }
    state.advance(new.clone());
    assert_eq!(state.last(), Some(&new));
    assert!(state.permanent.len() <= REMEMBERED || state.at < state.permanent.len());
    state.remember_bad("x");
    state.remember_bad("x");
    assert!(state.bad.len() <= REMEMBERED && state.bad.iter().filter(|bad| *bad == "x").count() == 1);
}

/// The mistake: the third line is never looked at.
fn followed(text: &str) -> Chain {
    match verify(text) {
        Chain::Broken(3) if PLANTED => Chain::Whole(Head::start()),
        chain => chain,
    }
}

/// A chain of events, then an edit: the kind of it, how many events, where; and the words of the events.
fn edited(data: &[u8]) {
    let Some(([kind, count, high, low], words)) = data.split_first_chunk::<4>() else { return };
    let events = usize::from(count % 4) + 1;
    let (text, head) = chain(&String::from_utf8_lossy(words), events);
    assert_eq!(verify(&text), Chain::Whole(head.clone()));
    assert_eq!(head_of(&text), Some(head));
    assert_eq!(text.lines().count(), events);
    let at = (usize::from(*high) * 256 + usize::from(*low)) % text.len();
    let mut bytes = text.clone().into_bytes();
    match kind % 4 {
        0 => bytes[at] ^= 1 << (kind / 4 % 8),
        1 => bytes.insert(at, *kind),
        2 => drop(bytes.remove(at)),
        _ => bytes.truncate(at),
    }
    let Ok(edited) = String::from_utf8(bytes) else { return };
    match (followed(&edited), kind % 4) {
        // What is cut off at the border of a line is missed by whoever was told its head.
        (Chain::Whole(head), 3) => assert!(head.seq < events as u64 && text.starts_with(&edited)),
        (Chain::Whole(_), _) => panic!("an edit at {at} was not seen: {edited}"),
        (Chain::Torn(head, length), _) => {
            PATHS.reached("torn chain");
            assert!(head.seq < events as u64 && length <= edited.len());
        }
        (Chain::Broken(line), _) => {
            PATHS.reached("edited chain");
            assert_eq!(line, text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1);
        }
    }
}

fn chain(words: &str, events: usize) -> (String, Head) {
    let mut end = (String::new(), Head::start());
    for number in 0..events {
        let event = Event {
            time: "2026-01-02T03:04:05Z".to_owned(),
            boot: words.chars().take(number).collect(),
            job: (number > 0).then(|| words.to_owned()),
            event: "trial",
            identity: Some(words.to_owned()),
            detail: Map::from_iter([(words.to_owned(), Value::from(number))]),
        };
        let (line, head) = append(&end.1, &event).expect("JSON");
        end = (end.0 + &line, head);
    }
    end
}
