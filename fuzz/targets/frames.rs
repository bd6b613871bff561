//! What comes through the socket, from either side, and what of it reaches a terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nixgate::decide::answer::Packet;
use nixgate::decide::claim::{self, Claim, MAX_HELLO, MAX_LIST, MAX_TEXT, Proof, Text};
use nixgate::decide::escape::Harmless;
use nixgate::decide::identity::proofs;
use nixgate::decide::request::Request;
use nixgate_fuzz::{PLANTED, Paths, begin};

const PATHS: Paths = Paths(&["claim", "claim with proofs", "out", "err", "exit"]);

/// What a gate says of every kind of key; the packets of a job, with text that terminals act on.
fn seeds() -> Vec<Vec<u8>> {
    let proofs = proofs(include_bytes!("../../tests/data/auth-info")).read;
    let address = Some(Text::from_bytes(b"[fe80::1%eth0]:51234"));
    let claims = [
        Claim::default(),
        Claim { address: address.clone(), ..Claim::default() },
        Claim { address, proofs: proofs.clone() },
        Claim { proofs: proofs.iter().cycle().take(MAX_LIST).cloned().collect(), ..Claim::default() },
    ];
    let hellos = claims.iter().flat_map(|claim| {
        ["true", "switch 0123456789abcdef0123456789abcdef01234567"].map(|text| {
            let request = Request::parse(text.as_bytes()).expect("a request");
            claim::render(&request, claim).into_bytes()
        })
    });
    let text = "é ‘ok’\t1\n\u{1b}]0;title\u{7}\u{1b}[31mred\r\n\u{9b}5n\u{202e}".as_bytes();
    let packets = [Packet::Out(text), Packet::Err(b"raw\x9b5n \xe2\x80 \xf0\x9f\x1b["), Packet::Exit(75)];
    hellos.chain(packets.map(Packet::render)).collect()
}

fuzz_target!(init: begin(&PATHS, seeds), |data: &[u8]| {
    hello(data);
    if let Some(packet) = Packet::parse(data) {
        assert_eq!(packet.render(), data);
        PATHS.reached(match packet {
            Packet::Out(_) => "out",
            Packet::Err(_) => "err",
            Packet::Exit(_) => "exit",
        });
    }
    stream(data);
});

/// The mistake: of two addresses the second one counts.
fn parse(packet: &[u8]) -> Option<(Vec<u8>, Claim)> {
    let text =
        std::str::from_utf8(packet).ok().filter(|text| PLANTED && text.matches("\naddress ").count() == 2);
    match text.and_then(|text| Some((text.find("\naddress ")?, text.rfind("\naddress ")?, text))) {
        Some((first, last, text)) => claim::parse([&text[..first], &text[last..]].concat().as_bytes()),
        None => claim::parse(packet),
    }
}

/// Only what a gate could have said is heard: the job reads no packet that it would not write itself.
fn hello(data: &[u8]) {
    let Some((request, claim)) = parse(data) else { return };
    assert!(data.len() <= MAX_HELLO && claim.proofs.len() <= MAX_LIST);
    for proof in &claim.proofs {
        if let Proof::Certificate { key_id, principals, .. } = proof {
            assert!(principals.len() <= MAX_LIST);
            principals.iter().chain([key_id]).for_each(is_text);
        }
    }
    claim.address.iter().for_each(is_text);
    if let Ok(request) = Request::parse(&request) {
        PATHS.reached(if claim.proofs.is_empty() { "claim" } else { "claim with proofs" });
        assert_eq!(claim::render(&request, &claim).as_bytes(), data);
    }
}

fn is_text(text: &Text) {
    let text = text.as_str();
    assert!((1..=MAX_TEXT).contains(&text.len()) && text.trim() == text, "{text:?}");
    assert!(text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{text:?}");
}

/// Wherever a stream is cut, the same harmless text arrives.
fn stream(data: &[u8]) {
    let whole = Harmless::default().filter(data).into_owned();
    assert!(whole.chars().all(|c| matches!(c, '\n' | '\t') || !c.is_control()), "{whole:?}");
    assert!(!whole.contains(['\u{202e}', '\u{2066}', '\u{200f}']), "{whole:?}");
    assert_eq!(Harmless::default().filter(whole.as_bytes()), whole);
    let size = usize::from(data.first().copied().unwrap_or_default() % 5) + 1;
    let mut cut = Harmless::default();
    assert_eq!(data.chunks(size).map(|piece| cut.filter(piece)).collect::<String>(), whole);
}
