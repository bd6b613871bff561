//! What a caller is told: exit codes, the records of the channel, the last line.

use std::fmt;

/// Exit codes are the contract with CI: one row per code, with its meaning and the state of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    Done = 0,
    FetchFailed = 10,
    NotTrusted = 11,
    BuildFailed = 12,
    CheckRefused = 13,
    NeedsBoot = 14,
    ActivationFailed = 20,
    HealthFailed = 21,
    NotConfirmed = 22,
    Cancelled = 23,
    CommitFailed = 24,
    RevertFailed = 30,
    Malformed = 64,
    Unreachable = 69,
    Internal = 70,
    NotWritable = 74,
    Busy = 75,
    NotAllowed = 77,
    Misconfigured = 78,
}

/// Code, meaning, state of the host: the table of the README and the man page.
pub const CODES: [(Code, &str, &str); 19] = [
    (Code::Done, "done, or already so", "new, or unchanged"),
    (Code::FetchFailed, "fetch failed", "unchanged"),
    (Code::NotTrusted, "not trusted: signature, ancestry, age, known bad", "unchanged"),
    (Code::BuildFailed, "build failed", "unchanged"),
    (Code::CheckRefused, "a check before activation refused", "unchanged"),
    (Code::NeedsBoot, "cannot be applied without a reboot: use boot", "unchanged"),
    (Code::ActivationFailed, "activation failed", "reverted"),
    (Code::HealthFailed, "health check failed", "reverted"),
    (Code::NotConfirmed, "not confirmed in time", "reverted"),
    (Code::Cancelled, "cancelled", "unchanged or reverted"),
    (Code::CommitFailed, "commit failed", "reverted"),
    (Code::RevertFailed, "revert failed", "needs an operator"),
    (Code::Malformed, "malformed request", "unchanged"),
    (Code::Unreachable, "job service not reachable", "unchanged"),
    (Code::Internal, "internal error", "see the answer"),
    (Code::NotWritable, "state or audit not writable", "unchanged"),
    (Code::Busy, "busy with another job", "unchanged"),
    (Code::NotAllowed, "this key may not", "unchanged"),
    (Code::Misconfigured, "misconfigured, or started as root", "unchanged"),
];

impl Code {
    pub fn number(self) -> u8 {
        self as u8
    }
    pub fn from_number(number: u8) -> Option<Self> {
        CODES.iter().map(|(code, ..)| *code).find(|code| code.number() == number)
    }
}

impl From<Code> for std::process::ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

/// One packet from the job to the gate; the kernel keeps the borders, so there is no length to parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    Out(&'a [u8]),
    Err(&'a [u8]),
    Exit(u8),
}

/// The largest packet that either side sends.
pub const MAX_PACKET: usize = 32 * 1024;

impl<'a> Packet<'a> {
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first()? {
            (b'o', text) => Some(Self::Out(text)),
            (b'e', text) => Some(Self::Err(text)),
            (b'x', [code]) => Some(Self::Exit(*code)),
            _ => None,
        }
    }
    /// The kind, and what follows it.
    pub fn parts(&self) -> ([u8; 1], &[u8]) {
        match self {
            Self::Out(text) => ([b'o'], text),
            Self::Err(text) => ([b'e'], text),
            Self::Exit(code) => ([b'x'], std::slice::from_ref(code)),
        }
    }
    pub fn render(self) -> Vec<u8> {
        let (kind, body) = self.parts();
        [&kind, body].concat()
    }
}

/// The last line of every job's answer: `nixgate: ` and `key=value` pairs, readable by a POSIX shell.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LastLine(Vec<(&'static str, String)>);

impl LastLine {
    pub fn new() -> Self {
        Self(vec![("v", "1".to_owned())])
    }
    /// Spaces and control bytes cannot stand in a value; they become `_`.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        let value = value.to_string().chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
        self.0.push((key, value));
        self
    }
}

impl fmt::Display for LastLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nixgate:")?;
        self.0.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_as_they_were() {
        for packet in [Packet::Out(b"a\nb"), Packet::Err(b""), Packet::Exit(75)] {
            assert_eq!(Packet::parse(&packet.render()), Some(packet));
        }
        for bad in [&b""[..], b"x", b"x12", b"?a"] {
            assert_eq!(Packet::parse(bad), None);
        }
    }

    #[test]
    fn a_value_cannot_add_a_pair_or_a_line() {
        let line = LastLine::new().with("job", "1 code=0\nnixgate: v=1");
        assert_eq!(line.to_string(), "nixgate: v=1 job=1_code=0_nixgate:_v=1");
    }

    #[test]
    fn each_code_is_in_the_table_once() {
        for (code, ..) in CODES {
            assert_eq!(Code::from_number(code.number()), Some(code));
        }
    }
}
