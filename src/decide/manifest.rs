//! A manifest: what somebody signed for one host. Bytes in, a [`Manifest`] or what is wrong with it out; and whether
//! it may run here, now. The signature over the bytes is checked before they are read.

use super::record::Sequence;
use super::value::{Commit, Name, StorePath};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// What manifests are signed for: a signature made for anything else, a commit among them, does not count.
pub const NAMESPACE: &str = "nixgate-manifest";

/// No manifest is longer.
const LONGEST: usize = 8 * 1024;
/// The highest number that every reader of JSON reads as it stands.
const HIGHEST: u64 = (1 << 53) - 1;

/// "This host may run this system, made from this commit, until then."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub host: Name,
    pub path: StorePath,
    /// The commit that the system was made from; what `switch COMMIT` names.
    pub commit: Commit,
    /// Goes up with each manifest of a host.
    pub sequence: u64,
    pub not_after: SystemTime,
}

/// The file that is signed, as it stands.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    version: u64,
    host: String,
    path: String,
    commit: String,
    sequence: u64,
    not_after: String,
}

/// What is wrong with the text of a manifest. It was signed, so it may be quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the manifest is longer than 8 KiB, and so is none")]
    Long,
    #[error(
        "the manifest is of version {0}, and this nixgate reads version 1 only; sign it with this host's release of nixgatectl"
    )]
    Version(u64),
    #[error("the manifest cannot be read: {0}; make it with: nixgatectl manifest sign")]
    Form(String),
    #[error("the manifest's {field} cannot be read: {why}; make it with: nixgatectl manifest sign")]
    Value { field: &'static str, why: String },
}

impl Manifest {
    /// The one door. The version is looked at first, so that a newer form is called by its name.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        if bytes.len() > LONGEST {
            return Err(Unreadable::Long);
        }
        let form = |error: serde_json::Error| Unreadable::Form(error.to_string());
        match serde_json::from_slice(bytes).map_err(form)? {
            Version { version: 1 } => {}
            Version { version } => return Err(Unreadable::Version(version)),
        }
        let file: File = serde_json::from_slice(bytes).map_err(form)?;
        let wrong = |field, why: &dyn std::fmt::Display| Unreadable::Value { field, why: why.to_string() };
        Ok(Self {
            host: Name::parse(&file.host).map_err(|why| wrong("host", &why))?,
            path: StorePath::parse(&file.path).map_err(|why| wrong("path", &why))?,
            commit: Commit::parse(&file.commit).map_err(|why| wrong("commit", &why))?,
            sequence: sequence(file.sequence).map_err(|why| wrong("sequence", &why))?,
            not_after: time(&file.not_after).map_err(|why| wrong("not-after", &why))?,
        })
    }

    /// The bytes to sign. Any other spelling of the same is as good: what is signed is what is read.
    pub fn render(&self) -> Result<String, serde_json::Error> {
        let file = File {
            version: 1,
            host: self.host.to_string(),
            path: self.path.to_string(),
            commit: self.commit.to_string(),
            sequence: self.sequence,
            not_after: written(self.not_after),
        };
        serde_json::to_string_pretty(&file).map(|text| text + "\n")
    }
}

/// RFC 3339 in UTC, to the second: a part of one would be lost where it is written.
pub fn time(text: &str) -> Result<SystemTime, &'static str> {
    match humantime::parse_rfc3339(text) {
        Ok(time) if humantime::parse_rfc3339(&written(time)) == Ok(time) => Ok(time),
        _ => Err("a time is RFC 3339 in UTC, as in 2026-12-31T23:59:59Z"),
    }
}

pub fn written(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// How long a manifest is good for, as it is said to `nixgatectl manifest sign`.
pub fn validity(text: &str) -> Result<Duration, &'static str> {
    match humantime::parse_duration(text) {
        Ok(time) if (60..=366 * 86_400).contains(&time.as_secs()) => Ok(time),
        _ => Err("a manifest is valid for 1m to 366days, written like \"7days\" or \"36h\""),
    }
}

pub fn sequence(number: u64) -> Result<u64, &'static str> {
    match number {
        1..=HIGHEST => Ok(number),
        _ => Err("a sequence is a number from 1 to 9007199254740991"),
    }
}

/// What a host holds against a manifest.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// `source.system`.
    pub host: &'a Name,
    pub now: SystemTime,
    /// The commit that was asked for by name.
    pub wanted: Option<&'a Commit>,
    /// The last manifest made permanent here.
    pub last: Option<&'a Sequence>,
    /// `trust.first-sequence`.
    pub first: Option<u64>,
}

/// Why a manifest that is well signed does not run here, now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the manifest is for host {0} and not for this one, {1}; sign one for this host (source.system)")]
    OtherHost(Name, Name),
    #[error(
        "the manifest was good until {0} by its not-after, and here it is {1}; sign it again, or set the clock that is wrong"
    )]
    Expired(String, String),
    #[error(
        "the manifest on this branch is for commit {0} and not for the one that was asked for; sign and push its manifest first"
    )]
    OtherCommit(Commit),
    #[error(
        "the manifest has sequence {0}, and {1} was made permanent here; nixgate goes forward only (rollback returns to systems that ran here). Sign a newer one; on the host, to allow older ones: nixgatectl anchor --sequence {0}"
    )]
    Older(u64, u64),
    #[error(
        "the manifest has sequence {0}, which another system had that was made permanent here; sign it again, with a higher one"
    )]
    Twice(u64),
    #[error("the manifest has sequence {0}, which is below trust.first-sequence = {1}; sign a newer one")]
    BelowFirst(u64, u64),
    #[error(
        "this host has no sequence to go forward from; on the host, in /etc/nixgate/config.toml below [trust]: first-sequence = {0}"
    )]
    NoFirst(u64),
}

/// For this host, still good, the one that was asked for, and not older than what was made permanent.
pub fn judge(manifest: &Manifest, here: &Here) -> Result<(), Refused> {
    if manifest.host != *here.host {
        return Err(Refused::OtherHost(manifest.host.clone(), here.host.clone()));
    }
    if manifest.not_after <= here.now {
        return Err(Refused::Expired(written(manifest.not_after), written(here.now)));
    }
    if here.wanted.is_some_and(|wanted| *wanted != manifest.commit) {
        return Err(Refused::OtherCommit(manifest.commit.clone()));
    }
    forward_only(manifest, here)
}

/// The last one made permanent, and the first one that the operator allows: a manifest is held against both, so that
/// neither a wiped state nor an old configuration alone lets an old manifest in.
fn forward_only(manifest: &Manifest, here: &Here) -> Result<(), Refused> {
    let number = manifest.sequence;
    if let Some(first) = here.first.filter(|first| number < *first) {
        return Err(Refused::BelowFirst(number, first));
    }
    match here.last {
        Some(last) if number < last.number => Err(Refused::Older(number, last.number)),
        Some(last) if number == last.number && last.is_not(&manifest.path) => Err(Refused::Twice(number)),
        None if here.first.is_none() => Err(Refused::NoFirst(number)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/nix/store/00000000000000000000000000000000-nixos-system-web1-26.05";
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_time_is_whole_seconds() {
        let good = "2026-12-31T23:59:59Z";
        assert_eq!(time(good).map(written).as_deref(), Ok(good));
        assert!(time("2026-12-31T23:59:59.5Z").is_err() && time("2026-12-31").is_err());
    }

    fn text() -> String {
        format!(
            "{{\"version\": 1, \"host\": \"web1\", \"path\": \"{PATH}\", \"commit\": \"{COMMIT}\", \"sequence\": 10, \"not-after\": \"2026-01-02T00:00:00Z\"}}"
        )
    }
    fn manifest() -> Manifest {
        Manifest::parse(text().as_bytes()).unwrap()
    }
    fn replaced(from: &str, to: &str) -> Result<Manifest, Unreadable> {
        assert!(text().contains(from), "{from}");
        Manifest::parse(text().replacen(from, to, 1).as_bytes())
    }

    #[test]
    fn a_manifest_that_was_written_is_read_as_it_was() {
        let manifest = manifest();
        assert_eq!((manifest.sequence, manifest.path.as_str()), (10, PATH));
        assert_eq!(Manifest::parse(manifest.render().unwrap().as_bytes()), Ok(manifest));
    }

    #[test]
    fn what_is_not_exactly_a_manifest_of_this_version_is_refused_by_name() {
        assert_eq!(replaced("\"version\": 1", "\"version\": 2, \"more\": 0"), Err(Unreadable::Version(2)));
        for (from, to) in [
            ("\"version\": 1,", ""),
            ("\"version\": 1", "\"version\": \"1\""),
            ("\"sequence\": 10", "\"sequence\": 10, \"force\": true"),
            ("\"sequence\": 10", "\"sequence\": 10, \"sequence\": 11"),
            ("\"sequence\": 10", "\"sequence\": -1"),
            ("\"sequence\": 10", "\"sequence\": 1e9"),
            (", \"not-after\": \"2026-01-02T00:00:00Z\"", ""),
            ("}", "} {}"),
            ("{", "[{"),
        ] {
            assert!(matches!(replaced(from, to), Err(Unreadable::Form(_))), "{from} -> {to}");
        }
        for (field, from, to) in [
            ("host", "web1\"", "web1 \""),
            ("path", "/nix/store/", "/gnu/store/"),
            ("path", "26.05\"", "26.05/../x\""),
            ("commit", COMMIT, "main"),
            ("sequence", "10", "0"),
            ("sequence", "10", "9007199254740992"),
            ("not-after", "2026-01-02T00:00:00Z", "2026-01-02"),
            ("not-after", "2026-01-02T00:00:00Z", "2026-01-02T00:00:00+01:00"),
        ] {
            let said = replaced(from, to).unwrap_err();
            assert!(matches!(&said, Unreadable::Value { field: named, .. } if *named == field), "{said}");
        }
        assert_eq!(Manifest::parse(&[b' '; LONGEST + 1]), Err(Unreadable::Long));
        assert!(Manifest::parse(b"\xff").is_err() && Manifest::parse(b"").is_err());
    }

    /// A host that takes the manifest, but for what a test changes.
    struct Case {
        host: &'static str,
        now: &'static str,
        wanted: Option<String>,
        last: Option<(u64, Option<&'static str>)>,
        first: Option<u64>,
    }
    impl Default for Case {
        fn default() -> Self {
            let now = "2026-01-01T23:59:59Z";
            Self { host: "web1", now, wanted: None, last: Some((10, Some(PATH))), first: None }
        }
    }
    impl Case {
        fn judged(self) -> Result<(), Refused> {
            let host = Name::parse(self.host).unwrap();
            let wanted = self.wanted.map(|text| Commit::parse(&text).unwrap());
            let last =
                self.last.map(|(number, system)| Sequence { number, system: system.map(str::to_owned) });
            let (wanted, last, first) = (wanted.as_ref(), last.as_ref(), self.first);
            judge(&manifest(), &Here { host: &host, now: time(self.now).unwrap(), wanted, last, first })
        }
    }

    #[test]
    fn the_same_manifest_again_is_the_same_deploy() {
        assert_eq!(Case::default().judged(), Ok(()));
    }

    #[test]
    fn a_manifest_for_another_host_or_commit_is_refused() {
        let elsewhere = Case { host: "web2", ..Case::default() };
        assert!(matches!(elsewhere.judged(), Err(Refused::OtherHost(..))));
        let wanted = |commit: String| Case { wanted: Some(commit), ..Case::default() }.judged();
        assert_eq!(wanted(COMMIT.to_owned()), Ok(()));
        assert!(matches!(wanted("a".repeat(40)), Err(Refused::OtherCommit(_))));
    }

    #[test]
    fn a_manifest_is_good_until_its_last_second_and_not_at_it() {
        for now in ["2026-01-02T00:00:00Z", "2030-01-01T00:00:00Z"] {
            let late = Case { now, ..Case::default() };
            assert!(matches!(late.judged(), Err(Refused::Expired(..))), "{now}");
        }
    }

    #[test]
    fn the_sequence_never_goes_back() {
        let after = |number, system| Case { last: Some((number, system)), ..Case::default() }.judged();
        assert_eq!((after(9, Some("x")), after(10, Some(PATH))), (Ok(()), Ok(())));
        assert_eq!(after(10, Some("x")), Err(Refused::Twice(10)));
        assert_eq!(after(11, Some(PATH)), Err(Refused::Older(10, 11)));
        // The operator's word names no system.
        assert_eq!((after(10, None), after(11, None)), (Ok(()), Err(Refused::Older(10, 11))));
    }

    #[test]
    fn a_state_without_a_sequence_needs_the_operators_word() {
        let only = |first| Case { last: None, first, ..Case::default() }.judged();
        assert_eq!(only(None), Err(Refused::NoFirst(10)));
        assert_eq!((only(Some(1)), only(Some(10))), (Ok(()), Ok(())));
        assert_eq!(only(Some(11)), Err(Refused::BelowFirst(10, 11)));
        // Raised above what the state knows, it counts, too.
        let both = Case { first: Some(11), ..Case::default() };
        assert_eq!(both.judged(), Err(Refused::BelowFirst(10, 11)));
    }

    #[test]
    fn a_manifest_is_valid_for_a_minute_to_a_year() {
        assert_eq!(validity("7days"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in ["7", "59s", "367days", "-1h", ""] {
            assert!(validity(bad).is_err(), "{bad}");
        }
    }
}
