//! What the gate tells the job, in one packet: the request and who says they ask.
//!
//! Lines of `key value`, because every value is printable by construction. The job parses it again and
//! believes of it only what the kernel's word on the peer allows.

use super::value::Fingerprint;

/// The longest hello that the job reads.
pub const MAX_HELLO: usize = 8 * 1024;
/// How many proofs, and principals of one certificate, are passed on at most.
pub const MAX_LIST: usize = 32;
/// The longest free text (key id, principal, address).
pub const MAX_TEXT: usize = 128;

/// Something that sshd checked when it let the caller in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    Key(Fingerprint),
    Certificate {
        authority: Fingerprint,
        key_id: Text,
        principals: Vec<Text>,
        /// When it ends, in seconds since 1970; `None` is never. sshd looks once, and a connection can be kept.
        valid_before: Option<u64>,
    },
    /// What tailscaled says of the node: its user or its tags. The job finds it out; no claim can say it.
    #[cfg(feature = "host")]
    Tailnet(Vec<super::tailscale::TailnetName>),
}

/// Free text that somebody else wrote: printable ASCII without spaces at either end, at most [`MAX_TEXT`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Text(String);

impl Text {
    /// Whatever would not be printable is escaped; what is too long is cut.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let text = super::escape::escaped(bytes, MAX_TEXT);
        Self::parse(&text)
            .unwrap_or_else(|| Self(format!("\"{}\"", super::escape::escaped(bytes, MAX_TEXT - 2))))
    }
    /// What [`Text::from_bytes`] made before.
    fn parse(text: &str) -> Option<Self> {
        let good = (1..=MAX_TEXT).contains(&text.len())
            && text.bytes().all(|b| matches!(b, 0x20..=0x7e))
            && !text.starts_with(' ')
            && !text.ends_with(' ');
        good.then(|| Self(text.to_owned()))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The whole claim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claim {
    /// Where the connection comes from, as sshd says.
    pub address: Option<Text>,
    pub proofs: Vec<Proof>,
}

const MAGIC: &str = "nixgate 1";

/// The packet for a request and a claim.
pub fn render(request: &super::request::Request, claim: &Claim) -> String {
    written(&request.to_string(), claim)
}

fn written(request: &str, claim: &Claim) -> String {
    let mut out = format!("{MAGIC}\nrequest {request}\n");
    if let Some(address) = &claim.address {
        out += &format!("address {}\n", address.0);
    }
    for proof in claim.proofs.iter().take(MAX_LIST) {
        match proof {
            Proof::Key(key) => out += &format!("key {key}\n"),
            Proof::Certificate { authority, key_id, principals, valid_before } => {
                out += &format!("certificate {authority}\nkey-id {}\n", key_id.0);
                if let Some(seconds) = valid_before {
                    out += &format!("valid-before {seconds}\n");
                }
                for principal in principals.iter().take(MAX_LIST) {
                    out += &format!("principal {}\n", principal.0);
                }
            }
            #[cfg(feature = "host")]
            Proof::Tailnet(_) => {}
        }
    }
    out
}

/// The request's bytes, still to be parsed, and the claim. `None`: not what a gate of this version sends, byte for
/// byte, so that nothing is left to a lenient reading.
///
/// Lines that came later (`valid-before`) may be missing, so that an older gate is understood. A newer gate does not
/// meet an older job: the socket starts the job of the system that runs, as sshd starts its gate.
pub fn parse(packet: &[u8]) -> Option<(Vec<u8>, Claim)> {
    if packet.len() > MAX_HELLO {
        return None;
    }
    let text = std::str::from_utf8(packet).ok()?;
    let mut lines = text.lines().peekable();
    if lines.next()? != MAGIC {
        return None;
    }
    let request = lines.next()?.strip_prefix("request ")?;
    let mut claim = Claim::default();
    if let Some(address) = lines.next_if(|line| line.starts_with("address ")) {
        claim.address = Some(Text::parse(value(address, "address")?)?);
    }
    while let Some(line) = lines.next() {
        claim.proofs.push(match line.split_once(' ')? {
            ("key", key) => Proof::Key(Fingerprint::parse(key).ok()?),
            ("certificate", authority) => {
                let authority = Fingerprint::parse(authority).ok()?;
                let key_id = Text::parse(value(lines.next()?, "key-id")?)?;
                let valid_before = match lines.next_if(|line| line.starts_with("valid-before ")) {
                    Some(line) => Some(value(line, "valid-before")?.parse().ok()?),
                    None => None,
                };
                let mut principals = Vec::new();
                while let Some(line) = lines.next_if(|line| line.starts_with("principal ")) {
                    principals.push(Text::parse(value(line, "principal")?)?);
                }
                Proof::Certificate { authority, key_id, principals, valid_before }
            }
            _ => return None,
        });
    }
    (written(request, &claim) == text).then(|| (request.as_bytes().to_vec(), claim))
}

fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix(' ')
}

#[cfg(test)]
mod tests {
    use super::super::request::Request;
    use super::*;

    fn fingerprint(letter: &str) -> Fingerprint {
        Fingerprint::parse(&format!("SHA256:{}", letter.repeat(43))).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn what_is_claimed_arrives_as_it_was() {
        let claim = Claim {
            address: Some(Text::from_bytes(b"192.0.2.7")),
            proofs: vec![
                Proof::Certificate {
                    authority: fingerprint("A"),
                    key_id: Text::from_bytes(b"ci \x1b]0;x\x07"),
                    principals: vec![Text::from_bytes(b"deployers"), Text::from_bytes(b" \n")],
                    valid_before: Some(u64::MAX - 1),
                },
                Proof::Certificate {
                    authority: fingerprint("A"),
                    key_id: Text::from_bytes(b"always"),
                    principals: vec![],
                    valid_before: None,
                },
                Proof::Key(fingerprint("b")),
            ],
        };
        let request = Request::parse(b"switch").unwrap_or(Request::True);
        let packet = render(&request, &claim);
        assert_eq!(parse(packet.as_bytes()), Some((b"switch".to_vec(), claim)));
    }

    #[test]
    fn the_gate_of_the_release_before_is_understood() {
        let packet = format!(
            "nixgate 1\nrequest switch\naddress 192.0.2.7:1\ncertificate {}\nkey-id x\nprincipal p\n",
            fingerprint("A")
        );
        let (_, claim) = parse(packet.as_bytes()).unwrap_or_else(|| panic!("{packet}"));
        assert!(matches!(claim.proofs[..], [Proof::Certificate { valid_before: None, .. }]));
    }

    #[test]
    fn another_form_is_not_guessed_at() {
        for bad in [
            "",
            "nixgate 2\nrequest true\n",
            "nixgate 1\nrequest true",
            "nixgate 1\nrequest true\nprincipal x\n",
            "nixgate 1\nrequest true\nvalid-before 1\n",
            "nixgate 1\nrequest true\ntailnet alice@example.org\n",
            "nixgate 1\nrequest true\nshell yes\n",
            "nixgate 1\nrequest true\r\n",
            "nixgate 1\nrequest true\naddress \n",
            "nixgate 1\nrequest true\naddress a\naddress b\n",
            &format!("nixgate 1\nrequest true\nkey {}\naddress a\n", fingerprint("A")),
            &format!("nixgate 1\nrequest true\ncertificate {}\nprincipal p\n", fingerprint("A")),
            &format!("nixgate 1\nrequest true\ncertificate {}\nkey-id x\nprincipal  p\n", fingerprint("A")),
            &format!("nixgate 1\nrequest true\naddress {}\n", "a".repeat(MAX_TEXT + 1)),
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_list_is_as_long_as_a_gate_makes_it_and_no_longer() {
        let with = |keys: usize| {
            let keys = format!("key {}\n", fingerprint("A")).repeat(keys);
            parse(format!("nixgate 1\nrequest true\n{keys}").as_bytes()).map(|(_, claim)| claim.proofs.len())
        };
        assert_eq!(with(MAX_LIST), Some(MAX_LIST));
        assert_eq!(with(MAX_LIST + 1), None);
    }

    #[test]
    fn text_keeps_its_limit_also_in_quotes() {
        let long = Text::from_bytes(&[b" ".as_slice(), &[b'a'; MAX_TEXT]].concat());
        assert_eq!(long.as_str().len(), MAX_TEXT);
        assert!(long.as_str().starts_with("\" a") && long.as_str().ends_with("a\""));
        for bytes in [&b""[..], b" ", b"x ", b"\xff", &[0; 200]] {
            let text = Text::from_bytes(bytes);
            assert_eq!(Text::parse(text.as_str()), Some(text));
        }
    }
}
