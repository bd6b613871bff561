//! `[limits]`: how long each part of a deploy may take, and how much.

use super::values::{duration, duration_or_zero, size};
use serde::Deserialize;
use std::time::Duration;

/// How long each part of a deploy may take.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Limits {
    #[serde(deserialize_with = "duration")]
    pub fetch: Duration,
    /// In bytes: the pack of one fetch on disk, and what git takes of memory for it.
    #[serde(deserialize_with = "size")]
    pub fetch_size: u64,
    #[serde(deserialize_with = "duration")]
    pub evaluation: Duration,
    /// In bytes, for the evaluating process.
    #[serde(deserialize_with = "size")]
    pub evaluation_memory: u64,
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
    /// How long a deploy waits for others who are at work. Zero: it is refused at once.
    #[serde(deserialize_with = "duration_or_zero")]
    pub wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            fetch: minutes(2),
            fetch_size: 1 << 30,
            evaluation: minutes(10),
            evaluation_memory: 4 << 30,
            build: minutes(60),
            check: minutes(1),
            activation: minutes(5),
            health: minutes(1),
            confirm: minutes(2),
            revert: minutes(5),
            wait: Duration::ZERO,
        }
    }
}
