//! `[specialisation]`: which of them outlast a deploy.

use super::super::request::Verb;
use super::super::value::Name;
use super::values::{names, optional_names};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Names of specialisations. Each is a row of its own in the sudo rules, which know no wildcard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Specialisation {
    /// For every verb that names none of its own.
    #[serde(deserialize_with = "names")]
    keep: Vec<Name>,
    #[serde(deserialize_with = "optional_names")]
    switch: Option<Vec<Name>>,
    #[serde(deserialize_with = "optional_names")]
    test: Option<Vec<Name>>,
    #[serde(deserialize_with = "optional_names")]
    rollback: Option<Vec<Name>>,
}

impl Specialisation {
    /// The name, where one of it stays active through this verb.
    pub fn kept(&self, verb: Verb, name: &str) -> Option<&Name> {
        let own = match verb {
            Verb::Switch => &self.switch,
            Verb::Test => &self.test,
            Verb::Rollback => &self.rollback,
            // Nothing is activated.
            _ => return None,
        };
        own.as_ref().unwrap_or(&self.keep).iter().find(|kept| kept.as_str() == name)
    }

    /// Every name, whichever verb keeps it.
    pub fn names(&self) -> BTreeSet<&Name> {
        let own = [&self.switch, &self.test, &self.rollback].into_iter().flatten();
        own.chain([&self.keep]).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, EXAMPLE};
    use super::*;

    fn read(table: &str) -> Result<Specialisation, String> {
        let own = EXAMPLE.replacen("[specialisation]\nkeep = []", &format!("[specialisation]\n{table}"), 1);
        assert_ne!(own, EXAMPLE);
        Config::parse(&own).map(|config| config.specialisation).map_err(|error| error.what)
    }

    #[test]
    fn a_verb_keeps_what_it_names_itself_or_what_all_keep() {
        let table = read("keep = [\"gui\", \"on-site\"]\ntest = []\nrollback = [\"rescue\"]").unwrap();
        let kept = |verb, name| table.kept(verb, name).is_some();
        assert!(kept(Verb::Switch, "gui") && kept(Verb::Switch, "on-site") && !kept(Verb::Switch, "rescue"));
        assert!(!kept(Verb::Test, "gui"));
        assert!(kept(Verb::Rollback, "rescue") && !kept(Verb::Rollback, "gui"));
        assert!(!kept(Verb::Boot, "gui") && !kept(Verb::Switch, "gui2"));
        let names: Vec<&str> = table.names().into_iter().map(Name::as_str).collect();
        assert_eq!(names, ["gui", "on-site", "rescue"]);
    }

    #[test]
    fn a_name_is_plain_and_leads_nowhere_else() {
        for bad in ["", "..", "../x", "a/b", "-x", "a b", "a*", "a,b", "a=b", "ä"] {
            let why = read(&format!("keep = [\"{bad}\"]")).unwrap_err();
            assert!(why.starts_with("a name is "), "{bad}: {why}");
        }
        assert!(read("boot = [\"gui\"]").is_err(), "nothing is activated by boot");
    }
}
