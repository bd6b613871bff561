//! `[space]` and `[preflight]`: what has to hold before anything changes.

use super::values::{FromText, text};
use serde::Deserialize;

/// What has to stay free, beside what the candidate itself needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Space {
    /// Where `/nix/store` and `/nix/var` are.
    #[serde(deserialize_with = "text")]
    pub store: Bytes,
    /// Where `/var/lib/nixgate` is.
    #[serde(deserialize_with = "text")]
    pub state: Bytes,
    #[serde(deserialize_with = "text")]
    pub boot: Bytes,
    /// Inodes, on each file system that counts them.
    pub inodes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Preflight {
    pub lock_out: LockOut,
    pub when_switch_impossible: WhenImpossible,
    pub when_reboot_needed: WhenNeeded,
}

/// What becomes of a candidate that would shut the door behind itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockOut {
    Refuse,
    /// It is said and tried; health and the dead man's switch judge it.
    Allow,
}

/// What becomes of a candidate that can only be booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenImpossible {
    Refuse,
    /// It starts at the next boot.
    Boot,
}

/// What becomes of a candidate that is wholly in force only after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenNeeded {
    /// It is activated, and the answer says `reboot-required=yes`.
    Switch,
    /// It starts at the next boot.
    Boot,
    Refuse,
}

/// A size: a whole number and, after it, K, M, G or T for powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(u64);

impl Bytes {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let rule = "a size is a whole number and K, M, G or T, as in \"512M\"; \"0\" asks for nothing";
        let units = [("K", 10), ("M", 20), ("G", 30), ("T", 40)];
        let (number, shift) = units
            .into_iter()
            .find_map(|(unit, shift)| text.strip_suffix(unit).map(|number| (number, shift)))
            .unwrap_or((text, 0));
        let plain = (1..=6).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        match number.parse::<u64>() {
            // Six digits and 40 bits fit into 64.
            Ok(number) if plain && (shift > 0 || number == 0) => Ok(Self(number << shift)),
            _ => Err(rule),
        }
    }
    pub fn count(self) -> u64 {
        self.0
    }
}

impl FromText for Bytes {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(str::to_owned)
    }
}

impl Default for Space {
    fn default() -> Self {
        let mebi = |n: u64| Bytes(n << 20);
        Self { store: mebi(1024), state: mebi(64), boot: mebi(4), inodes: 10_000 }
    }
}
impl Default for Preflight {
    fn default() -> Self {
        Self {
            lock_out: LockOut::Refuse,
            when_switch_impossible: WhenImpossible::Refuse,
            when_reboot_needed: WhenNeeded::Switch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_its_unit() {
        for (text, bytes) in
            [("0", 0), ("1K", 1024), ("64M", 64 << 20), ("1G", 1 << 30), ("999999T", 999_999 << 40)]
        {
            assert_eq!(Bytes::parse(text).map(Bytes::count), Ok(bytes), "{text}");
        }
        for bad in ["", "G", "1", "1g", "1GG", "-1G", "+1G", "1.5G", "1 G", "1000000T", "0x1G"] {
            assert!(Bytes::parse(bad).is_err(), "{bad}");
        }
    }
}
