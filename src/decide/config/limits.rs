//! `[limits]`: how long each part of a deploy may take.

use super::values::duration;
use serde::Deserialize;
use std::time::Duration;

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
