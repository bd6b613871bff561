//! `[confirm]` and `[revert]`: when a trial stays, and what happens when its revert fails.

use super::values::{UnitName, units};
use serde::Deserialize;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Confirm {
    pub mode: ConfirmMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfirmMode {
    /// Good health is enough; the answer says `reachability=not-proven`.
    Health,
    /// Somebody has to reach the host over a new connection and say `confirm`.
    Required,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Revert {
    pub when_it_fails: WhenRevertFails,
    #[serde(deserialize_with = "units")]
    pub required_units: Vec<UnitName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenRevertFails {
    /// Into the untouched boot default.
    Reboot,
    /// Call for help: exit 30.
    Stay,
}

impl Default for Confirm {
    fn default() -> Self {
        Self { mode: ConfirmMode::Health }
    }
}
impl Default for Revert {
    fn default() -> Self {
        Self { when_it_fails: WhenRevertFails::Reboot, required_units: Vec::new() }
    }
}
