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
from_text!(AbsolutePath, Branch, Commit, Name, UnitName);

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

fn argv<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let words = Vec::<String>::deserialize(d)?;
    match words.first() {
        Some(program) if AbsolutePath::parse(program).is_ok() && words.iter().all(|w| !w.contains('\0')) => {
            Ok(words)
        }
        _ => Err(D::Error::custom("a command is a list that begins with the absolute path of a program")),
    }
}
