//! `[[check]]`: what else has to be well.

use super::super::value::Name;
use super::values::{argv, duration, text};
use serde::Deserialize;
use std::time::Duration;

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

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
