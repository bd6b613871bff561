//! `[boot]` and `[sshd]`: how this host is made.

use super::values::{UnitName, text};
use serde::Deserialize;

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

impl Default for Boot {
    fn default() -> Self {
        Self { loader: Loader::SystemdBoot }
    }
}
impl Default for Sshd {
    fn default() -> Self {
        Self { unit: UnitName::fixed("sshd.service"), port: 22 }
    }
}
