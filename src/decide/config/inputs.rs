//! `[[input-key]]`: keys that open the repositories of private inputs.

use super::probes::is_host;
use super::source::ReadKey;
use super::values::{FromText, text};
use serde::Deserialize;

/// The key for one host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputKey {
    #[serde(deserialize_with = "text")]
    pub host: HostName,
    #[serde(deserialize_with = "text")]
    pub key: ReadKey,
}

/// A host as the addresses of inputs call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromText for HostName {
    fn from_text(text: &str) -> Result<Self, String> {
        if is_host(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a host is a name or an IPv4 address, without a port".to_owned())
        }
    }
}
