//! What the gate makes of a start, the one line that it logs, and what it tells the caller.

use super::answer::Code;
use super::claim::{Claim, Proof};
use super::escape::escaped;
use super::request::{Malformed, Request};
use super::start::{Channel, Injected, Start};
use sha2::{Digest, Sha256};

/// The longest line that the gate logs.
pub const MAX_LINE: usize = 512;
/// How much of a refused request is logged: it may be a password that was typed as the command.
const MAX_REFUSED: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A request for the job.
    Passed(Request),
    /// The gate answers by itself.
    Answered(Answer),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Answer {
    #[error("nothing to do")]
    Probe,
    #[error("no command")]
    Usage,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("unknown way to start the gate")]
    UnknownStart,
    /// The process is not what the gate may be; the text says what is wrong.
    #[error("{0}")]
    Misconfigured(String),
}

impl Verdict {
    pub fn on(start: Start<'_>) -> Self {
        match start {
            Start::Unknown => Self::Answered(Answer::UnknownStart),
            Start::Interactive => Self::Answered(Answer::Usage),
            Start::Request { bytes, .. } => match Request::parse(bytes) {
                Ok(Request::True) => Self::Answered(Answer::Probe),
                Ok(request) => Self::Passed(request),
                Err(why) => Self::Answered(why.into()),
            },
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Passed(_) => "passed",
            Self::Answered(Answer::Probe) => "probe",
            Self::Answered(Answer::Usage) => "usage",
            Self::Answered(Answer::Malformed(_) | Answer::UnknownStart) => "refused",
            Self::Answered(Answer::Misconfigured(_)) => "misconfigured",
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Passed(_) => "well-formed".to_owned(),
            Self::Answered(answer) => answer.to_string(),
        }
    }
}

impl Answer {
    pub fn code(&self) -> Code {
        match self {
            Self::Probe => Code::Done,
            Self::Usage | Self::Malformed(_) | Self::UnknownStart => Code::Malformed,
            Self::Misconfigured(_) => Code::Misconfigured,
        }
    }

    /// What the caller reads: what happened and what to do, never what was sent.
    pub fn text(&self) -> String {
        match self {
            Self::Probe => String::new(),
            Self::Usage => USAGE.to_owned(),
            Self::Malformed(_) | Self::UnknownStart => format!(
                "nixgate: refused: {self}. Nothing was done.\n\
                 nixgate: connect without a command to see what can be asked.\n"
            ),
            Self::Misconfigured(_) => format!(
                "nixgate: misconfigured: {self}. Nothing was done.\n\
                 nixgate: let sshd start it as the account deploy, without setuid bit or capabilities.\n"
            ),
        }
    }
}

const USAGE: &str = "\
nixgate: ask for one of these, as in: ssh deploy@host switch
  fetch|switch|test|boot [COMMIT]   COMMIT: 40 or 64 lower-case hex digits
  rollback [GENERATION]
  confirm|cancel|attach [JOB]
  status [--json]
";

/// What the log line is made from, besides the verdict.
#[derive(Debug)]
pub struct Seen<'a> {
    pub start: Start<'a>,
    pub injected: Injected,
    pub claim: &'a Claim,
    /// Lines of the auth-info file that proved nothing.
    pub ignored_lines: usize,
    /// The request's bytes, or what stood in its place.
    pub bytes: &'a [u8],
}

/// One line of `key=value`, printable, at most [`MAX_LINE`] bytes. What others wrote comes quoted and escaped,
/// so it cannot add a field.
pub fn line(verdict: &Verdict, seen: &Seen<'_>) -> String {
    let mut line =
        format!("verdict={} reason=\"{}\"", verdict.name(), escaped(verdict.reason().as_bytes(), 72));
    if let Start::Request { channel, .. } = seen.start {
        line += match channel {
            Channel::Forced => " start=forced-command",
            Channel::LoginShell => " start=login-shell",
        };
    }
    if seen.injected == Injected::Ignored {
        line += " original-command=ignored";
    }
    if seen.ignored_lines > 0 {
        line += &format!(" auth-lines-ignored={}", seen.ignored_lines);
    }
    line += &identity(&seen.claim.proofs);
    if let Some(address) = &seen.claim.address {
        line += &format!(" address={}", escaped(address.as_str().as_bytes(), 64));
    }
    if !seen.bytes.is_empty() {
        // A well-formed request has at most 71 bytes and no secret in it.
        let limit = if matches!(verdict, Verdict::Passed(_)) { 80 } else { MAX_REFUSED };
        let digest: String = Sha256::digest(seen.bytes).iter().map(|b| format!("{b:02x}")).collect();
        let text = escaped(seen.bytes, limit);
        line += &format!(" length={} sha256={digest} request=\"{text}\"", seen.bytes.len());
    }
    line.truncate(MAX_LINE); // only ASCII so far, so this cannot split a character
    line
}

/// The first proof stands for the rest; the job's audit has them all.
fn identity(proofs: &[Proof]) -> String {
    let mut text = match proofs.first() {
        None => " identity=none".to_owned(),
        Some(Proof::Key(key)) => format!(" identity={key}"),
        Some(Proof::Certificate { authority, key_id, .. }) => {
            format!(" identity={authority} key-id=\"{}\"", escaped(key_id.as_str().as_bytes(), 48))
        }
        #[cfg(feature = "host")]
        Some(Proof::Tailnet(_)) => " identity=tailnet".to_owned(),
    };
    if proofs.len() > 1 {
        text += &format!(" more-proofs={}", proofs.len() - 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::claim::Text;
    use super::super::value::Fingerprint;
    use super::*;

    fn logged(verdict: &Verdict, bytes: &[u8], claim: &Claim) -> String {
        let start = Start::Request { bytes, channel: Channel::Forced };
        line(verdict, &Seen { start, injected: Injected::Ignored, claim, ignored_lines: usize::MAX, bytes })
    }

    #[test]
    fn a_refused_request_is_logged_by_its_digest_and_a_short_beginning() {
        let verdict = Verdict::on(Start::Request { bytes: b"hunter2\n", channel: Channel::Forced });
        let line = logged(&verdict, b"hunter2\nverdict=passed and a very long tail", &Claim::default());
        assert!(line.contains(" length=43 sha256="), "{line}");
        assert!(line.ends_with(" request=\"hunter2\\x0averdict=passed and a \""), "{line}");
        assert!(line.contains(" reason=\"the request has bytes that are not printable ASCII\" "), "{line}");
    }

    #[test]
    fn no_field_can_be_forged_and_no_line_is_too_long() {
        let authority = Fingerprint::parse(&format!("SHA256:{}", "A".repeat(43))).unwrap();
        let forged = Proof::Certificate {
            authority,
            key_id: Text::from_bytes(&b" verdict=passed \" ".repeat(20)),
            principals: vec![],
            valid_before: None,
        };
        let claim = Claim {
            address: Some(Text::from_bytes("9".repeat(200).as_bytes())),
            proofs: vec![forged.clone(), forged],
        };
        let longest = Verdict::Answered(Answer::Misconfigured("\"\n".repeat(200)));
        let all = logged(&longest, &[b'"'; 400], &claim);
        assert!(all.len() <= MAX_LINE && all.is_ascii() && !all.contains('\n'), "{all}");
        let outside: String = all.split('"').step_by(2).collect();
        assert!(!outside.contains("passed"), "{all}");
        let longest = "boot ".to_owned() + &"a".repeat(64);
        let passed = Verdict::on(Start::Request { bytes: longest.as_bytes(), channel: Channel::Forced });
        assert!(logged(&passed, longest.as_bytes(), &claim).contains("verdict=passed"));
    }

    #[test]
    fn a_refusal_says_what_to_do_in_two_lines_and_never_repeats_the_request() {
        for bytes in [&b"rm -rf /"[..], b"switch ", b"switch\xff", &[b'A'; 300]] {
            let verdict = Verdict::on(Start::Request { bytes, channel: Channel::Forced });
            let Verdict::Answered(answer) = verdict else { panic!("passed") };
            let text = answer.text();
            assert_eq!((answer.code(), text.lines().count()), (Code::Malformed, 2));
            assert!(!text.contains(&*String::from_utf8_lossy(bytes)), "{text}");
        }
    }

    #[test]
    fn the_usage_text_names_every_verb() {
        for (_, verb) in super::super::request::VERBS {
            assert!(USAGE.contains(verb), "{verb}");
        }
    }
}
