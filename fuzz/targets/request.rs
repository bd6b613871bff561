//! What a stranger says: how the gate is started and what is asked, up to the line in the log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nixgate::decide::claim::Claim;
use nixgate::decide::request::{MAX_REQUEST, Request};
use nixgate::decide::start::{self, Channel, Injected, Start};
use nixgate::decide::verdict::{self, MAX_LINE, Seen, Verdict};
use nixgate_fuzz::{PLANTED, Paths, begin};

#[path = "../../tests/attacks/mod.rs"]
#[allow(dead_code, reason = "a row has more than its bytes")]
mod attacks;

const PATHS: Paths = Paths(&["request", "forced command", "login shell"]);

/// The corpus of hostile requests; what it allows, also through each door.
fn seeds() -> Vec<Vec<u8>> {
    let corpus = attacks::corpus();
    let allowed = corpus.iter().filter(|row| row.expect != "deny").map(|row| row.bytes.as_slice());
    let doors = allowed.flat_map(|bytes| {
        [
            [b"=", bytes, b"\0/usr/bin/nixgate"].concat(),
            [b"=", bytes, b"\0nixgate\0-c\0/run/current-system/sw/bin/nixgate"].concat(),
            [b"\0nixgate\0-c\0", bytes].concat(),
        ]
    });
    let interactive = [&b"\0-nixgate"[..], b"=x\0nixgate\0-l"].map(<[u8]>::to_vec);
    corpus.iter().map(|row| row.bytes.clone()).chain(doors).chain(interactive).collect()
}

fuzz_target!(init: begin(&PATHS, seeds), |data: &[u8]| {
    request(data);
    // `=` and an original command, or nothing; then argv; with NUL between.
    let mut words = data.split(|byte| *byte == 0);
    let original = words.next().and_then(|word| word.strip_prefix(b"="));
    started(&words.collect::<Vec<_>>(), original);
});

fn request(bytes: &[u8]) {
    let parsed = Request::parse(bytes);
    if let Some(expected) = is_canonical(bytes) {
        assert_eq!(parsed.is_ok(), expected);
    }
    let Ok(request) = parsed else { return };
    PATHS.reached("request");
    assert!(bytes.len() <= MAX_REQUEST);
    assert_eq!(request.to_string().as_bytes(), bytes);
}

/// The grammar of the README, written a second time; `None` for a verb that this page does not know.
fn is_canonical(bytes: &[u8]) -> Option<bool> {
    let hex = |text: &[u8]| text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let number =
        |text: &[u8]| (1..=9).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) && text[0] != b'0';
    let words: Vec<&[u8]> = bytes.split(|byte| *byte == b' ').collect();
    Some(match words[..] {
        [b"fetch" | b"switch" | b"test" | b"boot" | b"rollback"] => true,
        [b"confirm" | b"cancel" | b"attach" | b"status" | b"true"] => true,
        [b"fetch" | b"switch" | b"test" | b"boot", commit] => matches!(commit.len(), 40 | 64) && hex(commit),
        [b"rollback", generation] => number(generation),
        [b"confirm" | b"cancel" | b"attach", job] => match job.iter().position(|byte| *byte == b'-') {
            Some(dash) => number(&job[..dash]) && job.len() == dash + 9 && hex(&job[dash + 1..]),
            None => false,
        },
        [b"status", format] => format == b"--json",
        [verb, ..] if verb.len() > 1 && verb.iter().all(u8::is_ascii_lowercase) => return None,
        _ => false,
    })
}

/// The mistake: who starts a shell with more than a command gets the command.
fn read<'a>(argv: &[&'a [u8]], original: Option<&'a [u8]>) -> (Start<'a>, Injected) {
    match argv {
        [program, option, command, _] if PLANTED => start::read(&[program, option, command], original),
        _ => start::read(argv, original),
    }
}

fn started(argv: &[&[u8]], original: Option<&[u8]>) {
    let (start, injected) = read(argv, original);
    match start {
        Start::Request { bytes, channel: Channel::Forced } => {
            assert_eq!((Some(bytes), injected), (original, Injected::No));
            assert!(!bytes.is_empty());
            match argv {
                [program] => assert!(!program.is_empty() && !program.starts_with(b"-")),
                [_, b"-c", forced] => assert!(forced.starts_with(b"/") && forced.ends_with(b"/nixgate")),
                _ => panic!("no server starts a forced command so"),
            }
        }
        Start::Request { bytes, channel: Channel::LoginShell } => {
            assert!(matches!(argv, [program, b"-c", asked] if !program.is_empty() && *asked == bytes));
            assert!(!bytes.is_empty());
        }
        Start::Interactive | Start::Unknown => {}
    }
    if injected == Injected::Ignored {
        assert!(original.is_some());
        assert_eq!(read(argv, None).0, start, "argv decides, never the environment");
    }
    logged(start, injected);
}

/// One line, whatever was sent.
fn logged(start: Start<'_>, injected: Injected) {
    let verdict = Verdict::on(start);
    let bytes = match start {
        Start::Request { bytes, .. } => bytes,
        Start::Interactive | Start::Unknown => b"",
    };
    let seen = Seen { start, injected, claim: &Claim::default(), ignored_lines: 0, bytes };
    let line = verdict::line(&verdict, &seen);
    assert!(line.len() <= MAX_LINE && line.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{line}");
    if let (Verdict::Passed(request), Start::Request { bytes, channel }) = (&verdict, start) {
        assert_eq!(request.to_string().as_bytes(), bytes);
        PATHS.reached(match channel {
            Channel::Forced => "forced command",
            Channel::LoginShell => "login shell",
        });
    }
}
