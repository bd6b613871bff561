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

pub(super) fn argv<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let words = Vec::<String>::deserialize(d)?;
    match words.first() {
        Some(program) if AbsolutePath::parse(program).is_ok() && words.iter().all(|w| !w.contains('\0')) => {
            Ok(words)
        }
        _ => Err(D::Error::custom("a command is a list that begins with the absolute path of a program")),
    }
}
