//! `[confirm]` and `[revert]`: when a trial stays, and what happens when its revert fails.

use super::super::request::Verb;
use super::values::{UnitName, units};
use serde::Deserialize;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Confirm {
    /// For every verb that names none of its own.
    mode: ConfirmMode,
    switch: Option<ConfirmMode>,
    test: Option<ConfirmMode>,
    rollback: Option<ConfirmMode>,
}

impl Confirm {
    pub fn of(&self, verb: Verb) -> ConfirmMode {
        let own = match verb {
            Verb::Switch => self.switch,
            Verb::Test => self.test,
            Verb::Rollback => self.rollback,
            _ => None,
        };
        own.unwrap_or(self.mode)
    }

    /// Whether any trial may have to wait: the dead man's switch is one for all of them.
    pub fn is_ever_required(&self) -> bool {
        [Verb::Switch, Verb::Test, Verb::Rollback]
            .into_iter()
            .any(|verb| self.of(verb) == ConfirmMode::Required)
    }
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
        Self { mode: ConfirmMode::Health, switch: None, test: None, rollback: None }
    }
}
impl Default for Revert {
    fn default() -> Self {
        Self { when_it_fails: WhenRevertFails::Reboot, required_units: Vec::new() }
    }
}
