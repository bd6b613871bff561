//! `/etc/nixgate/config.toml`: text in, a [`Config`] or the line that is wrong out.
//!
//! Every value is checked by the constructor of its type while it is read, so an error has its line.
//! Unknown keys are errors. `example.toml` beside this file is the documentation of each key.

use super::access::Access;
use super::request::Verb;
use super::value::{Branch, Commit, Name};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::time::Duration;

/// What `nixgatectl example` prints.
pub const EXAMPLE: &str = include_str!("example.toml");

/// What is wrong with a configuration, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ConfigError {
    pub line: usize,
    pub what: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(
    clippy::manual_non_exhaustive,
    reason = "the unit field is a key of the file, read for its check alone"
)]
pub struct Config {
    /// The version of this format; only 1 exists.
    #[serde(deserialize_with = "version_one")]
    version: (),
    pub source: Source,
    #[serde(default)]
    pub refs: Refs,
    #[serde(default)]
    pub trust: Trust,
    /// `None`: every key that sshd accepts may do all but `rollback GENERATION`.
    #[serde(default)]
    pub access: Option<Vec<Access>>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub confirm: Confirm,
    #[serde(default)]
    pub revert: Revert,
    #[serde(default)]
    pub boot: Boot,
    #[serde(default)]
    pub sshd: Sshd,
    #[serde(default, rename = "check")]
    pub checks: Vec<Check>,
}

/// Where systems come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Source {
    pub kind: SourceKind,
    #[serde(deserialize_with = "text")]
    pub url: SourceUrl,
    /// `nixosConfigurations.<system>`.
    #[serde(deserialize_with = "text")]
    pub system: Name,
    #[serde(default = "default_key", deserialize_with = "text")]
    pub ssh_key: AbsolutePath,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    Flake,
}

/// The branch that each verb takes its commit from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Refs {
    #[serde(deserialize_with = "text")]
    pub fetch: Branch,
    #[serde(deserialize_with = "text")]
    pub switch: Branch,
    #[serde(deserialize_with = "text")]
    pub test: Branch,
    #[serde(deserialize_with = "text")]
    pub boot: Branch,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Trust {
    pub signatures: Signatures,
    #[serde(deserialize_with = "optional_text")]
    pub first_commit: Option<Commit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signatures {
    /// The commit that is deployed carries a good signature; its signer vouches for the tree.
    Tip,
    /// Nothing is checked. It has to be written out, and `status` shows it.
    None,
}

/// How long each part of a deploy may take.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    #[serde(deserialize_with = "duration")]
    pub fetch: Duration,
    #[serde(deserialize_with = "duration")]
    pub build: Duration,
    #[serde(deserialize_with = "duration")]
    pub check: Duration,
    #[serde(deserialize_with = "duration")]
    pub activation: Duration,
    #[serde(deserialize_with = "duration")]
    pub health: Duration,
    #[serde(deserialize_with = "duration")]
    pub confirm: Duration,
    #[serde(deserialize_with = "duration")]
    pub revert: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Confirm {
    pub mode: ConfirmMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfirmMode {
    /// Good health is enough; the answer says `reachability=not-proven`.
    Health,
    /// Somebody has to reach the host over a new connection and say `confirm`.
    Required,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Revert {
    pub when_it_fails: WhenRevertFails,
    #[serde(deserialize_with = "units")]
    pub required_units: Vec<UnitName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenRevertFails {
    /// Into the untouched boot default.
    Reboot,
    /// Call for help: exit 30.
    Stay,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Boot {
    pub loader: Loader,
}

/// Where the boot default can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loader {
    SystemdBoot,
    Grub,
    /// Unknown to nixgate: the system profile is taken for the boot default.
    None,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sshd {
    #[serde(deserialize_with = "text")]
    pub unit: UnitName,
    pub port: u16,
}

/// A command of the operator that decides whether a system is well.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    #[serde(deserialize_with = "text")]
    pub name: Name,
    #[serde(deserialize_with = "argv")]
    pub command: Vec<String>,
    #[serde(default = "ten_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// The address of the repository: `ssh://[user@]host[:port]/path` or `https://host[:port]/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceUrl(String);

impl SourceUrl {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let rule =
            "a source is ssh://[user@]host[:port]/path or https://host[:port]/path, without a password";
        let (scheme, rest) = text.split_once("://").ok_or(rule)?;
        let (authority, path) = rest.split_once('/').ok_or(rule)?;
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let word = |word: &str, also: &[u8]| {
            word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b) || also.contains(&b))
                && !word.starts_with('-')
        };
        let good = match scheme {
            "ssh" => word(user, b""),
            "https" => user.is_empty(),
            _ => false,
        } && !host.is_empty()
            && word(host, b":[]")
            && !path.is_empty()
            && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~/+-".contains(&b))
            && text.len() <= 500;
        if good { Ok(Self(text.to_owned())) } else { Err(rule) }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn is_ssh(&self) -> bool {
        self.0.starts_with("ssh://")
    }
}

/// A path that begins with `/` and has no `..` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsolutePath(String);

impl AbsolutePath {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let good = text.starts_with('/')
            && text.len() <= 500
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/@+-".contains(&b))
            && !text.split('/').any(|part| part == "..");
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err("a path is absolute, plain ASCII, without spaces and '..'")
        }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The full name of a systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitName(String);

impl UnitName {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let kinds = [
            "service",
            "socket",
            "mount",
            "target",
            "timer",
            "path",
            "slice",
            "scope",
            "swap",
            "device",
            "automount",
        ];
        let good = text.len() <= 255
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b))
            && !text.starts_with(['-', '.'])
            && text.rsplit_once('.').is_some_and(|(name, kind)| !name.is_empty() && kinds.contains(&kind));
        if good { Ok(Self(text.to_owned())) } else { Err("a unit is named in full, as in sshd.service") }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Config {
    /// The one door: a configuration, or the first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let line_of = |offset: usize| text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1;
        let config: Self = toml::from_str(text).map_err(|error| ConfigError {
            line: error.span().map_or(1, |span| line_of(span.start)),
            what: error.message().replace('\n', " "),
        })?;
        match config.contradiction() {
            None => Ok(config),
            Some((needle, what)) => {
                Err(ConfigError { line: text.rfind(needle.as_str()).map_or(1, line_of), what })
            }
        }
    }

    /// What no single value can show: the text to look for, and what is wrong with it.
    fn contradiction(&self) -> Option<(String, String)> {
        let doubled = |names: Vec<&str>| {
            names.iter().enumerate().find_map(|(i, name)| {
                names.iter().skip(i + 1).any(|other| other == name).then(|| (*name).to_owned())
            })
        };
        let named = |table: &str, name: String| {
            (format!("\"{name}\""), format!("{table} \"{name}\" stands twice; give each its own name"))
        };
        let access = self.access.as_deref().unwrap_or_default();
        // Names that nixgate gives itself: the local timer, and callers without a key.
        let taken = [super::policy::TIMER, super::policy::UNKNOWN];
        if let Some(access) = access.iter().find(|access| taken.contains(&access.name.as_str())) {
            let what = "this name is nixgate's own; choose another".to_owned();
            return Some((format!("\"{}\"", access.name), what));
        }
        doubled(access.iter().map(|a| a.name.as_str()).collect())
            .map(|name| named("[[access]]", name))
            .or_else(|| {
                let credentials: Vec<String> = access.iter().map(|a| a.credential.to_string()).collect();
                doubled(credentials.iter().map(String::as_str).collect()).map(|credential| {
                    let text = credential.split(' ').next_back().unwrap_or_default().to_owned();
                    (text, "this credential stands in two [[access]] tables; join them".to_owned())
                })
            })
            .or_else(|| {
                doubled(self.checks.iter().map(|c| c.name.as_str()).collect())
                    .map(|name| named("[[check]]", name))
            })
    }

    /// How long the dead man's switch waits: the limits of all that follows arming, the time that a killed
    /// activation gets to end, and 30 s. Whoever is slower than that loses the race, which PID 1 decides.
    pub fn dead_man(&self) -> Duration {
        let limits = &self.limits;
        let confirm = match self.confirm.mode {
            ConfirmMode::Health => Duration::ZERO,
            ConfirmMode::Required => limits.confirm,
        };
        let stop = Duration::from_secs(super::privileged::STOP_SECONDS);
        limits.activation + stop + limits.health + confirm + Duration::from_secs(30)
    }

    /// Whether a unit that was active has to be active again, whatever the systems are.
    pub fn requires(&self, unit: &str) -> bool {
        unit == self.sshd.unit.as_str() || self.revert.required_units.iter().any(|u| u.as_str() == unit)
    }

    pub fn branch(&self, verb: Verb) -> &Branch {
        match verb {
            Verb::Switch => &self.refs.switch,
            Verb::Test => &self.refs.test,
            Verb::Boot => &self.refs.boot,
            _ => &self.refs.fetch,
        }
    }
}

// --- how values are read ---------------------------------------------------------------------------

/// A value that is made from text by its own constructor.
trait FromText: Sized {
    fn from_text(text: &str) -> Result<Self, String>;
}
macro_rules! from_text {
    ($($type:ident),*) => {$(
        impl FromText for $type {
            fn from_text(text: &str) -> Result<Self, String> {
                $type::parse(text).map_err(|why| why.to_string())
            }
        }
    )*};
}
from_text!(AbsolutePath, Branch, Commit, Name, SourceUrl, UnitName);

fn text<'de, T: FromText, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    T::from_text(&String::deserialize(d)?).map_err(D::Error::custom)
}

fn optional_text<'de, T: FromText, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
    text(d).map(Some)
}

fn units<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<UnitName>, D::Error> {
    let names = Vec::<String>::deserialize(d)?;
    names.iter().map(|name| UnitName::from_text(name).map_err(D::Error::custom)).collect()
}

fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let rule = "a time is 1s to 24h, written like \"90s\", \"5m\" or \"1h 30m\"";
    match humantime::parse_duration(&String::deserialize(d)?) {
        Ok(time) if (1..=86_400).contains(&time.as_secs()) && time.subsec_nanos() == 0 => Ok(time),
        _ => Err(D::Error::custom(rule)),
    }
}

fn argv<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let words = Vec::<String>::deserialize(d)?;
    match words.first() {
        Some(program) if AbsolutePath::parse(program).is_ok() && words.iter().all(|w| !w.contains('\0')) => {
            Ok(words)
        }
        _ => Err(D::Error::custom("a command is a list that begins with the absolute path of a program")),
    }
}

fn version_one<'de, D: Deserializer<'de>>(d: D) -> Result<(), D::Error> {
    match i64::deserialize(d)? {
        1 => Ok(()),
        _ => Err(D::Error::custom("this nixgate reads version = 1 only")),
    }
}

// --- defaults --------------------------------------------------------------------------------------

fn default_key() -> AbsolutePath {
    AbsolutePath("/var/lib/nixgate/keys/source".to_owned())
}
fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
impl Default for Refs {
    fn default() -> Self {
        let main = Branch::main();
        Self { fetch: main.clone(), switch: main.clone(), test: main.clone(), boot: main }
    }
}
impl Default for Trust {
    fn default() -> Self {
        Self { signatures: Signatures::Tip, first_commit: None }
    }
}
impl Default for Limits {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            fetch: minutes(2),
            build: minutes(60),
            check: minutes(1),
            activation: minutes(5),
            health: minutes(1),
            confirm: minutes(2),
            revert: minutes(5),
        }
    }
}
impl Default for Confirm {
    fn default() -> Self {
        Self { mode: ConfirmMode::Health }
    }
}
impl Default for Revert {
    fn default() -> Self {
        Self { when_it_fails: WhenRevertFails::Reboot, required_units: Vec::new() }
    }
}
impl Default for Boot {
    fn default() -> Self {
        Self { loader: Loader::SystemdBoot }
    }
}
impl Default for Sshd {
    fn default() -> Self {
        Self { unit: UnitName("sshd.service".to_owned()), port: 22 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "version = 1\n[source]\nkind = \"flake\"\nurl = \"ssh://git@forge.example.org/infra.git\"\nsystem = \"web1\"\n";

    fn error(add: &str) -> (usize, String) {
        let error = Config::parse(&format!("{SMALLEST}{add}")).unwrap_err();
        (error.line - SMALLEST.lines().count(), error.what)
    }

    #[test]
    fn the_example_is_a_configuration_and_shows_the_defaults() {
        let example = Config::parse(EXAMPLE).unwrap();
        let smallest = Config::parse(SMALLEST).unwrap();
        assert_eq!(Config { source: smallest.source.clone(), ..example }, smallest);
    }

    #[test]
    fn every_commented_line_of_the_example_is_valid_too() {
        let uncommented: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        let config = Config::parse(&uncommented).unwrap();
        assert!(config.access.is_some_and(|a| !a.is_empty()) && !config.checks.is_empty());
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        assert_eq!(error("[limits]\nbuild = \"soon\"\n").0, 2);
        assert_eq!(error("\n\n[trust]\nsignature = \"tip\"\n").0, 4);
        assert_eq!(error("[boot]\nloader = \"lilo\"\n").0, 2);
        let twice = "[[check]]\nname = \"a\"\ncommand = [\"/bin/true\"]\n".repeat(2);
        assert_eq!(error(&twice).0, 5);
        let taken =
            format!("[[access]]\nname = \"timer\"\nkey = \"SHA256:{}\"\nverbs = []\n", "A".repeat(43));
        assert_eq!(error(&taken).0, 2);
        assert!(Config::parse("version = 2").is_err());
    }

    #[test]
    fn a_source_has_no_way_to_run_a_program() {
        for bad in [
            "ext::sh -c id",
            "ssh://-oProxyCommand=id/x",
            "ssh://-oProxyCommand=id@h/x",
            "file:///etc",
            "git@host:x",
            "https://user:secret@host/x",
            "https://host",
            "ssh://host/a b",
            "http://host/x",
            "ssh://h/x?ref=y",
            "ssh://h/x#y",
        ] {
            assert!(SourceUrl::parse(bad).is_err(), "{bad}");
        }
        assert!(SourceUrl::parse("https://forge.example.org:8443/team/infra.git").is_ok());
    }

    #[test]
    fn the_dead_man_outlasts_all_that_follows_it() {
        let config = Config::parse(SMALLEST).unwrap();
        let limits = &config.limits;
        assert!(config.dead_man() >= limits.activation + limits.health + Duration::from_secs(30));
        let required = Config::parse(&format!("{SMALLEST}[confirm]\nmode = \"required\"\n")).unwrap();
        assert_eq!(required.dead_man(), config.dead_man() + limits.confirm);
    }
}
