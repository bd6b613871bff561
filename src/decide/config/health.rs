//! `[health]` and `[units]`: what nixgate looks at by itself, and what a unit's failure means.

use super::values::{UnitPattern, duration_or_zero};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Whether the repository has to be in reach of the new system: what every later deploy needs.
    pub source: bool,
    /// How long a service that was started is watched, at least, before it is taken for well.
    #[serde(deserialize_with = "duration_or_zero")]
    pub settle: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self { source: true, settle: Duration::from_secs(3) }
    }
}

/// What a unit that newly fails means for a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitPolicy {
    Revert,
    /// It is said, and nothing more.
    Warn,
    Ignore,
}

/// The policies by unit; a unit that none of them names is [`UnitPolicy::Revert`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitPolicies(Vec<(UnitPattern, UnitPolicy)>);

impl UnitPolicies {
    /// The full name wins, then the longest pattern.
    pub fn of(&self, unit: &str) -> UnitPolicy {
        let named = self.0.iter().filter(|(pattern, _)| pattern.matches(unit));
        named.max_by_key(|(pattern, _)| pattern.weight()).map_or(UnitPolicy::Revert, |(_, policy)| *policy)
    }
}

impl<'de> Deserialize<'de> for UnitPolicies {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let written = BTreeMap::<String, UnitPolicy>::deserialize(d)?;
        let policies = written.into_iter().map(|(text, policy)| {
            UnitPattern::parse(&text).map(|pattern| (pattern, policy)).map_err(D::Error::custom)
        });
        policies.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_name_wins_then_the_longest_pattern_and_else_it_is_revert() {
        let text = "\"*.timer\" = \"ignore\"\n\"backup-*.service\" = \"warn\"\n\"backup-db.service\" = \"revert\"\n\"backup-d*.service\" = \"ignore\"\n";
        let policies: UnitPolicies = toml::from_str(text).unwrap();
        for (unit, policy) in [
            ("a.timer", UnitPolicy::Ignore),
            ("backup-x.service", UnitPolicy::Warn),
            ("backup-db.service", UnitPolicy::Revert),
            ("backup-dx.service", UnitPolicy::Ignore),
            ("my-backup-x.service", UnitPolicy::Revert),
            ("nginx.service", UnitPolicy::Revert),
        ] {
            assert_eq!(policies.of(unit), policy, "{unit}");
        }
        for bad in ["nginx", "*", "", "a b.service"] {
            assert!(toml::from_str::<UnitPolicies>(&format!("\"{bad}\" = \"warn\"")).is_err(), "{bad}");
        }
        assert!(toml::from_str::<UnitPolicies>("\"a.service\" = \"retry\"").is_err());
    }
}
