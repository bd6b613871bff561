//! `[[check]]`: what else has to be well.

use super::super::value::Name;
use super::probes::{Endpoint, HttpUrl, Pattern};
use super::values::{UnitName, duration, optional_argv, optional_text, text};
use serde::Deserialize;
use std::time::Duration;

/// Names of checks that nixgate makes itself.
pub const OWN_CHECKS: [&str; 5] = ["units", "sudo-set", "sudo-commit", "ssh", "source"];

/// What the operator wants to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Check {
    pub name: Name,
    pub when: When,
    pub kind: CheckKind,
    /// The most that one try may take.
    pub timeout: Duration,
    /// How often a try that failed is made again, and how long after.
    pub retries: u8,
    pub interval: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// A gate: it judges the candidate before anything changes.
    Before,
    /// During the trial; what fails already before it is no reason to revert.
    Trial,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// Exit 0 is well. The first word is the program's absolute path.
    Command(Vec<String>),
    /// The unit is active.
    Unit(UnitName),
    /// A connection is accepted.
    Tcp(Endpoint),
    Http(Http),
}

/// An answer with this status and, where one is given, a body in which the pattern occurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    pub url: HttpUrl,
    pub status: u16,
    pub body: Option<Pattern>,
}

impl CheckKind {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Command(_) => "command",
            Self::Unit(_) => "unit",
            Self::Tcp(_) => "tcp",
            Self::Http(_) => "http",
        }
    }
}

/// The table as it is written, before it is known to be one check.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(deserialize_with = "text")]
    name: Name,
    #[serde(default = "during_the_trial")]
    when: When,
    #[serde(default, deserialize_with = "optional_argv")]
    command: Option<Vec<String>>,
    #[serde(default, deserialize_with = "optional_text")]
    unit: Option<UnitName>,
    #[serde(default, deserialize_with = "optional_text")]
    tcp: Option<Endpoint>,
    #[serde(default, deserialize_with = "optional_text")]
    http: Option<HttpUrl>,
    status: Option<u16>,
    #[serde(default, deserialize_with = "optional_text")]
    body: Option<Pattern>,
    #[serde(default = "ten_seconds", deserialize_with = "duration")]
    timeout: Duration,
    #[serde(default = "two")]
    retries: u8,
    #[serde(default = "one_second", deserialize_with = "duration")]
    interval: Duration,
}

impl TryFrom<Written> for Check {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { name, when, status, body, timeout, retries, interval, .. } = written;
        if written.http.is_none() && (status.is_some() || body.is_some()) {
            return Err("status and body belong to a check with http");
        }
        let http = |url| CheckKind::Http(Http { url, status: status.unwrap_or(200), body });
        let kinds = [
            written.command.map(CheckKind::Command),
            written.unit.map(CheckKind::Unit),
            written.tcp.map(CheckKind::Tcp),
            written.http.map(http),
        ];
        let mut kinds = kinds.into_iter().flatten();
        let (Some(kind), None) = (kinds.next(), kinds.next()) else {
            return Err("a check has exactly one of command, unit, tcp and http");
        };
        // Whatever else could be asked is an answer of the system that runs, which is not the candidate yet.
        if when == When::Before && !matches!(kind, CheckKind::Command(_)) {
            return Err("a check before the trial is a command: nothing of the candidate runs yet");
        }
        Ok(Self { name, when, kind, timeout, retries, interval })
    }
}

fn during_the_trial() -> When {
    When::Trial
}
fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
fn two() -> u8 {
    2
}
fn one_second() -> Duration {
    Duration::from_secs(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Check, String> {
        toml::from_str(&format!("name = \"a\"\n{text}")).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_check_is_of_exactly_one_kind() {
        for (text, kind) in [
            ("command = [\"/bin/true\"]", "command"),
            ("unit = \"nginx.service\"", "unit"),
            ("tcp = \"127.0.0.1:5432\"", "tcp"),
            ("http = \"https://localhost/health\"\nstatus = 204\nbody = \"^ok$\"", "http"),
        ] {
            assert_eq!(check(text).unwrap().kind.as_str(), kind);
            assert!(check(&format!("{text}\nwhen = \"trial\"")).is_ok());
            assert_eq!(check(&format!("{text}\nwhen = \"before\"")).is_ok(), kind == "command");
        }
        for bad in ["", "when = \"before\"", "unit = \"a.service\"\ntcp = \"a:1\"", "command = []"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check("tcp = \"a:1\"\nstatus = 200").unwrap_err(),
            "status and body belong to a check with http"
        );
    }
}
