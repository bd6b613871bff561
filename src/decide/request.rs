//! The request: bytes in, a [`Request`] or a refusal out. The one parser of what a client says.

use super::value::{Commit, Generation, JobId};
use std::fmt;

/// The longest request that is looked at; the longest valid one has 71 bytes.
pub const MAX_REQUEST: usize = 256;

/// What may be asked. One row per verb in [`VERBS`]; there is no other way to make one than [`Request::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Fetch(Option<Commit>),
    Switch(Option<Commit>),
    Test(Option<Commit>),
    Boot(Option<Commit>),
    Rollback(Option<Generation>),
    Confirm(Option<JobId>),
    Cancel(Option<JobId>),
    Attach(Option<JobId>),
    Status(Format),
    /// A probe: exit 0, silent, answered by the gate alone.
    True,
}

/// How `status` is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// The verbs that a configuration can grant. `true` needs no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Fetch,
    Switch,
    Test,
    Boot,
    Rollback,
    Confirm,
    Cancel,
    Attach,
    Status,
}

/// Every verb with its spelling.
pub const VERBS: [(Verb, &str); 9] = [
    (Verb::Fetch, "fetch"),
    (Verb::Switch, "switch"),
    (Verb::Test, "test"),
    (Verb::Boot, "boot"),
    (Verb::Rollback, "rollback"),
    (Verb::Confirm, "confirm"),
    (Verb::Cancel, "cancel"),
    (Verb::Attach, "attach"),
    (Verb::Status, "status"),
];

/// Why bytes are not a request. The text never repeats them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("no command was given")]
    Empty,
    #[error("the request is longer than {MAX_REQUEST} bytes")]
    TooLong,
    #[error("the request has bytes that are not printable ASCII")]
    NotPrintable,
    #[error("words are separated by exactly one space, with none before or after")]
    Spacing,
    #[error("unknown verb")]
    UnknownVerb,
    #[error("the argument does not fit the verb")]
    BadArgument,
    #[error("more than one argument")]
    TooManyWords,
}

impl Request {
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.is_empty() {
            return Err(Malformed::Empty);
        }
        if bytes.len() > MAX_REQUEST {
            return Err(Malformed::TooLong);
        }
        if !bytes.iter().all(|b| matches!(b, 0x20..=0x7e)) {
            return Err(Malformed::NotPrintable);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::NotPrintable)?;
        let mut words = text.split(' ');
        let verb = words.next().unwrap_or_default();
        let argument = words.next();
        let more = words.next();
        if text.split(' ').any(str::is_empty) {
            return Err(Malformed::Spacing);
        }
        if verb == "true" {
            return if argument.is_none() { Ok(Self::True) } else { Err(Malformed::BadArgument) };
        }
        let (verb, _) = VERBS.iter().find(|(_, name)| *name == verb).ok_or(Malformed::UnknownVerb)?;
        if more.is_some() {
            return Err(Malformed::TooManyWords);
        }
        Self::with_argument(*verb, argument).ok_or(Malformed::BadArgument)
    }

    fn with_argument(verb: Verb, argument: Option<&str>) -> Option<Self> {
        /// No argument is fine; a wrong one is not.
        fn optional<T, E>(word: Option<&str>, parse: impl Fn(&str) -> Result<T, E>) -> Option<Option<T>> {
            word.map(parse).transpose().ok()
        }
        Some(match verb {
            Verb::Fetch => Self::Fetch(optional(argument, Commit::parse)?),
            Verb::Switch => Self::Switch(optional(argument, Commit::parse)?),
            Verb::Test => Self::Test(optional(argument, Commit::parse)?),
            Verb::Boot => Self::Boot(optional(argument, Commit::parse)?),
            Verb::Rollback => Self::Rollback(optional(argument, Generation::parse)?),
            Verb::Confirm => Self::Confirm(optional(argument, JobId::parse)?),
            Verb::Cancel => Self::Cancel(optional(argument, JobId::parse)?),
            Verb::Attach => Self::Attach(optional(argument, JobId::parse)?),
            Verb::Status => Self::Status(match argument {
                None => Format::Text,
                Some("--json") => Format::Json,
                Some(_) => return None,
            }),
        })
    }

    /// The verb that must be granted; a probe needs none.
    pub fn verb(&self) -> Option<Verb> {
        Some(match self {
            Self::Fetch(_) => Verb::Fetch,
            Self::Switch(_) => Verb::Switch,
            Self::Test(_) => Verb::Test,
            Self::Boot(_) => Verb::Boot,
            Self::Rollback(_) => Verb::Rollback,
            Self::Confirm(_) => Verb::Confirm,
            Self::Cancel(_) => Verb::Cancel,
            Self::Attach(_) => Verb::Attach,
            Self::Status(_) => Verb::Status,
            Self::True => return None,
        })
    }

    fn argument(&self) -> Option<&dyn fmt::Display> {
        fn shown<T: fmt::Display>(value: &Option<T>) -> Option<&dyn fmt::Display> {
            value.as_ref().map(|v| v as &dyn fmt::Display)
        }
        match self {
            Self::Fetch(c) | Self::Switch(c) | Self::Test(c) | Self::Boot(c) => shown(c),
            Self::Rollback(g) => shown(g),
            Self::Confirm(j) | Self::Cancel(j) | Self::Attach(j) => shown(j),
            Self::Status(Format::Json) => Some(&"--json"),
            Self::Status(Format::Text) | Self::True => None,
        }
    }
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        VERBS.iter().find(|(verb, _)| *verb == self).map_or("", |(_, name)| name)
    }
    pub fn parse(text: &str) -> Option<Self> {
        VERBS.iter().find(|(_, name)| *name == text).map(|(verb, _)| *verb)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The canonical spelling: `parse(x)` succeeds only if this gives `x` back.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb().map_or("true", Verb::as_str))?;
        match self.argument() {
            Some(argument) => write!(f, " {argument}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_given_back_byte_for_byte() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let long = "0".repeat(64);
        let mut forms = vec!["true".to_owned(), "status".into(), "status --json".into(), "rollback 7".into()];
        for (_, verb) in VERBS {
            forms.push(verb.to_owned());
        }
        for verb in ["fetch", "switch", "test", "boot"] {
            forms.push(format!("{verb} {commit}"));
            forms.push(format!("{verb} {long}"));
        }
        for verb in ["confirm", "cancel", "attach"] {
            forms.push(format!("{verb} 12-0a1b2c3d"));
        }
        for form in forms {
            assert_eq!(Request::parse(form.as_bytes()).map(|r| r.to_string()), Ok(form));
        }
    }

    #[test]
    fn a_refusal_has_its_reason() {
        let reason = |text: &str| Request::parse(text.as_bytes()).err();
        assert_eq!(reason(""), Some(Malformed::Empty));
        assert_eq!(reason(&"a".repeat(257)), Some(Malformed::TooLong));
        assert_eq!(reason("switch\n"), Some(Malformed::NotPrintable));
        assert_eq!(reason("switch\u{a0}"), Some(Malformed::NotPrintable));
        assert_eq!(reason(" switch"), Some(Malformed::Spacing));
        assert_eq!(reason("switch  x"), Some(Malformed::Spacing));
        assert_eq!(reason("rm -rf /"), Some(Malformed::UnknownVerb));
        assert_eq!(reason("switch --help"), Some(Malformed::BadArgument));
        assert_eq!(reason("true x"), Some(Malformed::BadArgument));
        assert_eq!(reason("rollback 1 2"), Some(Malformed::TooManyWords));
    }
}
