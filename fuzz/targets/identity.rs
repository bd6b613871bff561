//! Who a stranger is: what sshd wrote about the connection, up to the packet that carries it to the job.
#![no_main]

use base64ct::{Base64, Base64Unpadded, Encoding};
use libfuzzer_sys::fuzz_target;
use nixgate::decide::claim::{self, Claim, MAX_LIST, MAX_TEXT, Proof, Text};
use nixgate::decide::identity::{Proofs, address, proofs};
use nixgate::decide::request::Request;
use nixgate::decide::start::{Injected, Start};
use nixgate::decide::verdict::{self, MAX_LINE, Seen, Verdict};
use nixgate_fuzz::{PLANTED, Paths, begin, pieces};
use sha2::{Digest, Sha256};

const PATHS: Paths = Paths(&["key", "certificate", "address", "more than the limit"]);
const FILE: &[u8] = include_bytes!("../../tests/data/auth-info");

/// The file of every kind of key, its lines, and what their base64 stands for; more lines than are passed on; addresses.
fn seeds() -> Vec<Vec<u8>> {
    let lines = pieces(FILE, b'\n');
    let blobs = lines.iter().filter_map(|line| {
        Base64::decode_vec(std::str::from_utf8(line).ok()?.split_whitespace().nth(2)?).ok()
    });
    let addresses = ["192.0.2.7 51234 192.0.2.1 22", "fe80::1%eth0 1 22", "UNKNOWN 65535 UNKNOWN 65535"];
    let many = lines[0].repeat(MAX_LIST + 1);
    blobs
        .chain([FILE.to_vec(), many])
        .chain(addresses.map(|text| text.as_bytes().to_vec()))
        .chain(lines.iter().cloned())
        .collect()
}

fuzz_target!(init: begin(&PATHS, seeds), |data: &[u8]| {
    file(data);
    blob(data);
    if let Some(address) = address(data) {
        PATHS.reached("address");
        is_text(&address);
        assert!(address.as_str().rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()));
    }
});

/// The mistake: what stands behind the last newline of a file with keys is not counted.
fn parse(file: &[u8]) -> Proofs {
    let mut read = proofs(file);
    if PLANTED && !file.ends_with(b"\n") && !read.read.is_empty() {
        read.ignored = read.ignored.saturating_sub(1);
    }
    read
}

/// Every line proves something or is counted, and says the same alone as among others.
fn file(data: &[u8]) {
    let found = parse(data);
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    assert_eq!(found.read.len() + found.ignored, lines.len());
    assert!(found.read.len() <= MAX_LIST);
    if found.read.len() == MAX_LIST && found.ignored > 0 {
        PATHS.reached("more than the limit");
    }
    if lines.len() > 1 {
        let alone: Vec<Proof> = lines.iter().flat_map(|line| proofs(line).read).take(MAX_LIST).collect();
        assert_eq!(found.read, alone);
    }
    carried(&found);
}

/// Text of others is one printable word group that fits.
fn is_text(text: &Text) {
    let text = text.as_str();
    assert!((1..=MAX_TEXT).contains(&text.len()) && text.trim() == text, "{text}");
    assert!(text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{text}");
}

/// The job gets what the gate read, and the log gets one line of it.
fn carried(found: &Proofs) {
    for proof in &found.read {
        if let Proof::Certificate { key_id, principals, .. } = proof {
            assert!(principals.len() <= MAX_LIST);
            principals.iter().chain([key_id]).for_each(is_text);
        }
    }
    let claim = Claim { proofs: found.read.clone(), ..Claim::default() };
    let packet = claim::render(&Request::True, &claim);
    if packet.len() <= claim::MAX_HELLO {
        assert_eq!(claim::parse(packet.as_bytes()), Some((b"true".to_vec(), claim.clone())));
    }
    let start = Start::Interactive;
    let seen =
        Seen { start, injected: Injected::Ignored, claim: &claim, ignored_lines: found.ignored, bytes: b"" };
    let line = verdict::line(&Verdict::on(start), &seen);
    assert!(line.len() <= MAX_LINE && line.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{line}");
}

/// The same with the base64 made from the input, which mutations would only break; and held against a reading of our own.
fn blob(data: &[u8]) {
    let Some(kind) = Wire(data).next().and_then(|kind| std::str::from_utf8(kind).ok()) else { return };
    if !kind.bytes().all(|byte| byte.is_ascii_graphic()) {
        return;
    }
    let line = format!("publickey {kind} {}", Base64::encode_string(data));
    let found = proofs(line.as_bytes());
    match found.read.first() {
        None => assert_eq!(found.ignored, 1),
        Some(Proof::Key(key)) => {
            PATHS.reached("key");
            assert_eq!(key.as_str(), fingerprint(data));
        }
        Some(Proof::Tailnet(_)) => panic!("only tailscaled says that"),
        Some(Proof::Certificate { authority, key_id, principals, valid_before }) => {
            PATHS.reached("certificate");
            let read = certificate(kind, data).expect("a user certificate (PROTOCOL.certkeys)");
            assert_eq!(authority.as_str(), fingerprint(read.authority));
            assert_eq!(*key_id, Text::from_bytes(read.id));
            assert_eq!(valid_before.unwrap_or(u64::MAX), read.until);
            assert_eq!(
                *principals,
                Wire(read.principals).take(MAX_LIST).map(Text::from_bytes).collect::<Vec<_>>()
            );
        }
    }
    carried(&found);
}

fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", Base64Unpadded::encode_string(&Sha256::digest(blob)))
}

/// Strings with their length in front (RFC 4251).
struct Wire<'a>(&'a [u8]);

impl<'a> Iterator for Wire<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
        self.0 = rest;
        Some(text)
    }
}

struct Certificate<'a> {
    id: &'a [u8],
    principals: &'a [u8],
    until: u64,
    authority: &'a [u8],
}

fn certificate<'a>(kind: &str, blob: &'a [u8]) -> Option<Certificate<'a>> {
    let key_fields = if kind.contains("sk-ecdsa") {
        3
    } else if kind.contains("ed25519") && !kind.starts_with("sk-") {
        1
    } else {
        2
    };
    let mut wire = Wire(blob);
    wire.nth(1 + key_fields)?; // the kind, the nonce and the key
    let (numbers, rest) = wire.0.split_at_checked(12)?; // serial number and kind of certificate
    let mut wire = Wire(rest);
    let (id, principals) = (wire.next()?, wire.next()?);
    let (until, rest) = wire.0.get(8..)?.split_first_chunk::<8>()?; // behind when it begins
    let mut wire = Wire(rest);
    let authority = wire.nth(3)?; // behind critical options, extensions and a reserved field
    wire.next()?; // the signature
    (numbers.ends_with(&[0, 0, 0, 1]) && wire.0.is_empty()).then(|| Certificate {
        id,
        principals,
        until: u64::from_be_bytes(*until),
        authority,
    })
}
