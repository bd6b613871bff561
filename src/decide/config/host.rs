//! `[boot]` and `[sshd]`: how this host is made.

use super::values::{UnitName, text};
use serde::{Deserialize, Deserializer, de::Error as _};

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
    #[serde(deserialize_with = "port")]
    pub port: u16,
}

fn port<'de, D: Deserializer<'de>>(d: D) -> Result<u16, D::Error> {
    match u16::deserialize(d)? {
        0 => Err(D::Error::custom("a port is 1 to 65535")),
        port => Ok(port),
    }
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
