//! `/etc/nixgate/config.toml`: text in, a [`Config`] or the line that is wrong out.
//!
//! Every value is checked by the constructor of its type while it is read, so an error has its line.
//! Unknown keys are errors. `example.toml` beside this file is the documentation of each key.

mod caches;
mod checks;
mod health;
mod host;
mod inputs;
mod limits;
mod preflight;
mod probes;
mod source;
mod specialisation;
mod trial;
mod values;

pub use caches::{CacheKey, CacheUrl};
pub use checks::{Check, CheckKind, Http, OWN_CHECKS, When};
pub use health::{Health, UnitPolicies, UnitPolicy};
pub use host::{Boot, Loader, Sshd};
pub use inputs::{HostName, InputKey};
pub use limits::Limits;
pub use preflight::{Bytes, LockOut, Preflight, Space, WhenImpossible, WhenNeeded};
pub use probes::{Endpoint, HttpUrl, Pattern};
pub use source::{Language, ReadKey, Refs, Signatures, Source, SourceKind, SourceUrl, Trust};
pub use specialisation::Specialisation;
pub use trial::{Confirm, ConfirmMode, Revert, WhenRevertFails};
pub use values::{AbsolutePath, AttributePath, RelativePath, UnitName};

use super::access::{Access, Credential};
use super::request::Verb;
use super::role::Role;
use super::value::Branch;
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
    #[serde(default, rename = "role")]
    pub roles: Vec<Role>,
    #[serde(default, rename = "input-key")]
    pub input_keys: Vec<InputKey>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub space: Space,
    #[serde(default)]
    pub preflight: Preflight,
    #[serde(default)]
    pub specialisation: Specialisation,
    #[serde(default)]
    pub confirm: Confirm,
    #[serde(default)]
    pub revert: Revert,
    #[serde(default)]
    pub boot: Boot,
    #[serde(default)]
    pub sshd: Sshd,
    #[serde(default)]
    pub health: Health,
    #[serde(default)]
    pub units: UnitPolicies,
    #[serde(default, rename = "check")]
    pub checks: Vec<Check>,
}

impl Config {
    /// The one door: a configuration, or the first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let line_of = |offset: usize| text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1;
        let mut config: Self = toml::from_str(text).map_err(|error| ConfigError {
            line: error.span().map_or(1, |span| line_of(span.start)),
            what: error.message().replace('\n', " "),
        })?;
        match config.contradiction() {
            None => {
                config.give_roles();
                Ok(config)
            }
            Some((needle, what)) => {
                Err(ConfigError { line: text.rfind(needle.as_str()).map_or(1, line_of), what })
            }
        }
    }

    /// Puts the rights of a role into the tables that name it. One that names none has none.
    fn give_roles(&mut self) {
        for access in self.access.iter_mut().flatten() {
            let named = self.roles.iter().find(|role| Some(&role.name) == access.role.as_ref());
            if let Some(role) = named {
                access.rights = role.rights.clone();
            }
        }
    }

    /// Whether tailscale has to be asked who somebody is.
    pub fn knows_the_tailnet(&self) -> bool {
        let mut tables = self.access.iter().flatten();
        tables.any(|access| matches!(access.credential, Credential::Tailnet(_)))
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
        if self.health.settle > self.limits.health {
            let what =
                "services cannot be watched longer (health.settle) than all checks may take (limits.health)";
            return Some(("settle".to_owned(), what.to_owned()));
        }
        // Names that nixgate gives itself: the local timer, and callers without a key.
        let taken = [super::policy::TIMER, super::policy::UNKNOWN];
        if let Some(access) = access.iter().find(|access| taken.contains(&access.name.as_str())) {
            let what = "this name is nixgate's own; choose another".to_owned();
            return Some((format!("\"{}\"", access.name), what));
        }
        if let Some(check) = self.checks.iter().find(|check| OWN_CHECKS.contains(&check.name.as_str())) {
            let what = "a check of this name is nixgate's own; choose another".to_owned();
            return Some((format!("\"{}\"", check.name), what));
        }
        let known = |role: &&super::value::Name| self.roles.iter().any(|known| known.name == **role);
        if let Some(role) = access.iter().filter_map(|a| a.role.as_ref()).find(|role| !known(role)) {
            return Some((format!("\"{role}\""), format!("there is no [[role]] \"{role}\"")));
        }
        if let Some(name) = doubled(self.roles.iter().map(|role| role.name.as_str()).collect()) {
            return Some(named("[[role]]", name));
        }
        if let Some(found) = caches::contradiction(&self.source, &self.trust) {
            return Some(found);
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
            .or_else(|| {
                let hosts = self.input_keys.iter().map(|input| input.host.as_str()).collect();
                doubled(hosts).map(|host| {
                    (
                        format!("\"{host}\""),
                        "this host stands in two [[input-key]] tables; it has one key".to_owned(),
                    )
                })
            })
    }

    /// How long the dead man's switch waits: the limits of all that follows arming, the time that a killed
    /// activation gets to end, and 30 s. Whoever is slower than that loses the race, which PID 1 decides.
    pub fn dead_man(&self) -> Duration {
        let limits = &self.limits;
        let by_role = self.access.iter().flatten().any(|a| a.rights.confirm == Some(ConfirmMode::Required));
        let confirm =
            if by_role || self.confirm.is_ever_required() { limits.confirm } else { Duration::ZERO };
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

fn version_one<'de, D: Deserializer<'de>>(d: D) -> Result<(), D::Error> {
    match i64::deserialize(d)? {
        1 => Ok(()),
        _ => Err(D::Error::custom("this nixgate reads version = 1 only")),
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
        assert_eq!(error("[sshd]\nport = 0\n"), (2, "a port is 1 to 65535".to_owned()));
        let twice = "[[check]]\nname = \"a\"\ncommand = [\"/bin/true\"]\n".repeat(2);
        assert_eq!(error(&twice).0, 5);
        let taken =
            format!("[[access]]\nname = \"timer\"\nkey = \"SHA256:{}\"\nverbs = []\n", "A".repeat(43));
        assert_eq!(error(&taken).0, 2);
        assert!(Config::parse("version = 2").is_err());
        let keys = "[[input-key]]\nhost = \"h\"\nkey = \"/k\"\n".repeat(2);
        assert_eq!(error(&keys).0, 5);
        let nix = SMALLEST.replace("flake", "nix") + "file = \"hosts.nix\"\n";
        assert!(Config::parse(&nix).is_ok());
        assert_eq!(Config::parse(&nix.replace("nix\"\nurl", "flake\"\nurl")).unwrap_err().line, 6);
    }

    #[test]
    fn a_role_gives_its_rights_to_every_table_that_names_it() {
        let key = |letter: &str| format!("SHA256:{}", letter.repeat(43));
        let table = |name: &str, letter: &str, rest: &str| {
            format!("[[access]]\nname = \"{name}\"\nkey = \"{}\"\n{rest}\n", key(letter))
        };
        let role = "[[role]]\nname = \"ops\"\nverbs = [\"rollback\"]\ngeneration = true\nwindows = [\"02:00-04:00 UTC\"]\n";
        let tables = table("a", "A", "role = \"ops\"") + &table("b", "B", "role = \"ops\"");
        let own =
            table("c", "C", "verbs = [\"rollback\"]\ngeneration = true\nwindows = [\"02:00-04:00 UTC\"]");
        let access = Config::parse(&format!("{SMALLEST}{tables}{own}{role}")).unwrap().access.unwrap();
        assert!(
            access.iter().all(|one| one.rights == access[2].rights) && access[2].rights.windows.is_some()
        );
        assert_eq!(error(&tables), (8, "there is no [[role]] \"ops\"".to_owned()));
        assert!(error(&format!("{role}{role}")).1.contains("stands twice"));
        assert_eq!(error(&role.replace("02:00", "2am")).0, 1);
    }

    #[test]
    fn the_dead_man_outlasts_all_that_follows_it() {
        let config = Config::parse(SMALLEST).unwrap();
        let limits = &config.limits;
        assert!(config.dead_man() >= limits.activation + limits.health + Duration::from_secs(30));
        let required = Config::parse(&format!("{SMALLEST}[confirm]\nmode = \"required\"\n")).unwrap();
        assert_eq!(required.dead_man(), config.dead_man() + limits.confirm);
        let one_verb = Config::parse(&format!("{SMALLEST}[confirm]\ntest = \"required\"\n")).unwrap();
        assert_eq!(one_verb.dead_man(), required.dead_man(), "the row is one for all verbs");
        let role = "[[role]]\nname = \"ci\"\nverbs = [\"switch\"]\nconfirm = \"required\"\n";
        let table = format!("[[access]]\nname = \"a\"\nkey = \"SHA256:{}\"\nrole = \"ci\"\n", "A".repeat(43));
        let one_role = Config::parse(&format!("{SMALLEST}{role}{table}")).unwrap();
        assert_eq!(one_role.dead_man(), required.dead_man(), "and for all roles");
        assert_eq!(one_verb.confirm.of(Verb::Test), ConfirmMode::Required);
        assert_eq!(one_verb.confirm.of(Verb::Switch), ConfirmMode::Health);
    }
}
