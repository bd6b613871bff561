//! The values of a configuration: each is checked by its one constructor while it is read.

use super::super::value::{Branch, Commit, Name};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::time::Duration;

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
    /// A default: a literal of ours.
    pub(super) fn fixed(text: &'static str) -> Self {
        Self(text.to_owned())
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A file below the root of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelativePath(String);

impl RelativePath {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let part = |part: &str| {
            !part.is_empty()
                && !matches!(part, "." | "..")
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b))
        };
        if text.len() <= 500 && text.split('/').all(part) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a file of the repository is named from its root, in plain ASCII, without spaces and '..'")
        }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An attribute path: names with dots between them, in quotes where a name has a dot itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributePath(String);

impl AttributePath {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let rule = "an attribute is named like hosts.\"web1.example.org\".toplevel";
        let mut rest = after_name(text).ok_or(rule)?;
        while let Some(more) = rest.strip_prefix('.') {
            rest = after_name(more).ok_or(rule)?;
        }
        if rest.is_empty() && text.len() <= 500 { Ok(Self(text.to_owned())) } else { Err(rule) }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What follows the name that a text begins with.
fn after_name(text: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match text.strip_prefix('"') {
        Some(quoted) => {
            let (name, rest) = quoted.split_once('"')?;
            (!name.is_empty() && name.chars().all(|c| plain(c) || c == '.')).then_some(rest)
        }
        None => {
            let rest = text.trim_start_matches(plain);
            (rest.len() < text.len()).then_some(rest)
        }
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
    /// A default: a literal of ours.
    pub(super) fn fixed(text: &'static str) -> Self {
        Self(text.to_owned())
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The full name of a unit in which `*` stands for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitPattern(String);

impl UnitPattern {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        match UnitName::parse(&text.replace('*', "x")) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err("a unit is named in full, and * stands for any text, as in backup-*.service"),
        }
    }
    pub(super) fn matches(&self, unit: &str) -> bool {
        matches(&self.0, unit)
    }
    /// Which of two patterns says more: one without `*`, then the longer one.
    pub(super) fn weight(&self) -> (bool, usize) {
        (!self.0.contains('*'), self.0.len())
    }
}

/// Each part between two stars at its first place after the one before; the last part at the end.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    text.ends_with(last)
}

/// A value that is made from text by its own constructor.
pub(super) trait FromText: Sized {
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
from_text!(AbsolutePath, AttributePath, Branch, Commit, Name, RelativePath, UnitName);

pub(super) fn text<'de, T: FromText, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    T::from_text(&String::deserialize(d)?).map_err(D::Error::custom)
}

pub(super) fn optional_text<'de, T: FromText, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
    text(d).map(Some)
}

pub(super) fn units<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<UnitName>, D::Error> {
    let names = Vec::<String>::deserialize(d)?;
    names.iter().map(|name| UnitName::from_text(name).map_err(D::Error::custom)).collect()
}

pub(super) fn names<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Name>, D::Error> {
    let names = Vec::<String>::deserialize(d)?;
    names.iter().map(|name| Name::from_text(name).map_err(D::Error::custom)).collect()
}

pub(super) fn optional_names<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<Name>>, D::Error> {
    names(d).map(Some)
}

/// Bytes, in binary units.
pub(super) fn size<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    let text = String::deserialize(d)?;
    let units = [("M", 20), ("G", 30)];
    let bytes = units.into_iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit).filter(|n| !n.starts_with('+'))?.parse().ok()?;
        number.checked_mul(1 << shift)
    });
    match bytes {
        Some(bytes) if (16 << 20..=1 << 40).contains(&bytes) => Ok(bytes),
        _ => Err(D::Error::custom("a size is 16M to 1024G, written like \"512M\" or \"2G\"")),
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let rule = "a time is 1s to 24h, written like \"90s\", \"5m\" or \"1h 30m\"";
    match humantime::parse_duration(&String::deserialize(d)?) {
        Ok(time) if (1..=86_400).contains(&time.as_secs()) && time.subsec_nanos() == 0 => Ok(time),
        _ => Err(D::Error::custom(rule)),
    }
}

/// The same, or no time at all.
pub(super) fn duration_or_zero<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let rule = "a time is 0s to 24h, written like \"0s\", \"90s\" or \"5m\"";
    match humantime::parse_duration(&String::deserialize(d)?) {
        Ok(time) if time.as_secs() <= 86_400 && time.subsec_nanos() == 0 => Ok(time),
        _ => Err(D::Error::custom(rule)),
    }
}

pub(super) fn optional_argv<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<String>>, D::Error> {
    argv(d).map(Some)
}

/// How old something may be: ages are longer than the times of `[limits]`.
pub(super) fn optional_age<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    match humantime::parse_duration(&String::deserialize(d)?) {
        Ok(age) if (3_600..=366 * 86_400).contains(&age.as_secs()) => Ok(Some(age)),
        _ => Err(D::Error::custom("an age is 1h to 366d, written like \"36h\" or \"90d\"")),
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

#[cfg(test)]
mod tests {
    use super::super::{Config, EXAMPLE};
    use super::*;

    #[test]
    fn an_attribute_and_a_file_can_say_nothing_else() {
        for good in ["web1", "hosts.web1.toplevel", "\"web1.example.org\".system", "a.\"b.c\"", "\"a\".\"b\""]
        {
            assert!(AttributePath::parse(good).is_ok(), "{good}");
        }
        for bad in
            ["", ".", "a.", ".a", "a..b", "\"\"", "\"a", "a\"b\"", "\"a\"b", "a b", "a^out", "${x}", "a\\b"]
        {
            assert!(AttributePath::parse(bad).is_err(), "{bad}");
        }
        assert!(RelativePath::parse("nix/hosts/default.nix").is_ok());
        for bad in ["", "/etc/x", "a/../b", "..", "./a", "a//b", "a\"b", "a b", "a${b}"] {
            assert!(RelativePath::parse(bad).is_err(), "{bad}");
        }
    }

    fn with(key: &str, value: &str) -> Result<Config, String> {
        let (table, _) = key.split_once('.').unwrap();
        let rest = key.strip_prefix(table).unwrap().trim_start_matches('.');
        let (before, after) = EXAMPLE.split_once(&format!("\n[{table}]")).unwrap();
        let (head, after) = after.split_once('\n').unwrap();
        let after: String =
            after.lines().filter(|l| !l.starts_with(&format!("{rest} "))).map(|l| format!("{l}\n")).collect();
        Config::parse(&format!("{before}\n[{table}]{head}\n{rest} = \"{value}\"\n{after}"))
            .map_err(|e| e.what)
    }

    #[test]
    fn an_age_may_be_longer_than_any_time_and_has_an_end() {
        let age = with("trust.max-commit-age", "90d").unwrap().trust.max_commit_age;
        assert_eq!(age, Some(Duration::from_secs(90 * 86_400)));
        for bad in ["", "90", "59m", "367d", "0s", "-1d"] {
            assert!(with("trust.max-commit-age", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_size_has_a_binary_unit_and_is_neither_nothing_nor_everything() {
        assert_eq!(with("limits.fetch-size", "512M").unwrap().limits.fetch_size, 512 << 20);
        for bad in ["", "512", "1K", "15M", "1025G", "99999999999999G", "-1G", "+1G", "1.5G", "1 G"] {
            assert!(with("limits.fetch-size", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_read_key_is_a_file_or_a_credential_by_its_plain_name() {
        let key = |text: &str| with("source.ssh-key", text).map(|config| config.source.ssh_key.to_string());
        for good in ["/run/keys/source", "$CREDENTIALS_DIRECTORY/source"] {
            assert_eq!(key(good).unwrap(), good);
        }
        for bad in
            ["$CREDENTIALS_DIRECTORY/../x", "$CREDENTIALS_DIRECTORY/a b", "$HOME/key", "key", "/a b", "/a;b"]
        {
            assert!(key(bad).is_err(), "{bad}");
        }
    }
}
