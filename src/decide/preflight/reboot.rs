//! Whether a candidate can be activated, and what of it waits for a restart: from data files of the systems.
//!
//! `switch-inhibitors` and `reboot-triggers` are JSON objects in a toplevel (nixpkgs since 26.05; inhibitors were a
//! list before). Both compare alike: a key that both systems name, with another value.

use serde_json::{Map, Value};

/// The files of a system that bear on it. Links are where they lead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemFiles {
    pub init_interface: String,
    pub inhibitors: Option<String>,
    pub triggers: Option<String>,
    pub kernel: Option<String>,
    pub initrd: Option<String>,
    pub kernel_modules: Option<String>,
    pub kernel_params: Option<String>,
    pub systemd: Option<String>,
}

/// What differs and keeps the candidate from being activated in the running system; it can be booted.
pub fn inhibitors(running: &SystemFiles, candidate: &SystemFiles) -> Vec<String> {
    let mut reasons =
        differing(running.inhibitors.as_deref(), candidate.inhibitors.as_deref()).unwrap_or_default();
    if running.init_interface != candidate.init_interface {
        reasons.push("init-interface-version".to_owned());
    }
    reasons
}

/// What differs between the booted system and this one, and is in force only after a restart. Where either does not say
/// it itself, what nixpkgs compared before: kernel, initrd, modules, parameters, and systemd.
pub fn reasons(booted: &SystemFiles, system: &SystemFiles) -> Vec<String> {
    let said = differing(booted.triggers.as_deref(), system.triggers.as_deref());
    let mut reasons = said.unwrap_or_else(|| by_links(booted, system));
    for reason in inhibitors(booted, system) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}

fn by_links(booted: &SystemFiles, system: &SystemFiles) -> Vec<String> {
    [
        ("kernel", &booted.kernel, &system.kernel),
        ("initrd", &booted.initrd, &system.initrd),
        ("kernel-modules", &booted.kernel_modules, &system.kernel_modules),
        ("kernel-params", &booted.kernel_params, &system.kernel_params),
        ("systemd", &booted.systemd, &system.systemd),
    ]
    .into_iter()
    .filter(|(_, old, new)| old != new)
    .map(|(name, ..)| name.to_owned())
    .collect()
}

/// The keys that both name with another value; `None` where one of them says nothing. A list counts as a whole.
fn differing(old: Option<&str>, new: Option<&str>) -> Option<Vec<String>> {
    let read = |text: &str| match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Some(map),
        Ok(list @ Value::Array(_)) => Some(Map::from_iter([("switch-inhibitors".to_owned(), list)])),
        _ => None,
    };
    let (old, new) = (read(old?)?, read(new?)?);
    let differs = |(key, value): &(&String, &Value)| new.get(*key).is_some_and(|other| other != *value);
    Some(old.iter().filter(differs).map(|(key, _)| key.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(interface: &str, inhibitors: Option<&str>) -> SystemFiles {
        SystemFiles {
            init_interface: interface.to_owned(),
            inhibitors: inhibitors.map(str::to_owned),
            ..SystemFiles::default()
        }
    }

    #[test]
    fn another_init_interface_or_inhibitor_needs_a_boot() {
        let old = files("systemd 2", Some(r#"{"dbus":"dbus","x":"1"}"#));
        let none = Vec::<String>::new();
        assert_eq!(inhibitors(&old, &old), none);
        assert_eq!(inhibitors(&old, &files("systemd 2", Some(r#"{"dbus":"dbus","new":"2"}"#))), none);
        assert_eq!(inhibitors(&old, &files("systemd 2", None)), none);
        assert_eq!(
            inhibitors(&old, &files("systemd 3", Some(r#"{"dbus":"broker"}"#))),
            ["dbus", "init-interface-version"]
        );
        let list = |item: &str| files("systemd 2", Some(item));
        assert_eq!(inhibitors(&list(r#"["a"]"#), &list(r#"["b"]"#)), ["switch-inhibitors"]);
        assert_eq!(inhibitors(&list(r#"["a"]"#), &list("garbage")), none);
    }

    #[test]
    fn the_systems_own_triggers_are_the_reasons_where_both_have_them() {
        let old = SystemFiles {
            triggers: Some(r#"{"kernel":"a","firmware":"f"}"#.to_owned()),
            initrd: Some("i".to_owned()),
            ..files("systemd 2", Some(r#"{"dbus":"dbus"}"#))
        };
        let new = |triggers: &str| SystemFiles {
            triggers: Some(triggers.to_owned()),
            initrd: Some("another".to_owned()),
            ..old.clone()
        };
        assert_eq!(reasons(&old, &new(r#"{"kernel":"a","firmware":"f","new":1}"#)), Vec::<String>::new());
        assert_eq!(reasons(&old, &new(r#"{"kernel":"b","firmware":"g"}"#)), ["firmware", "kernel"]);
        let broker = SystemFiles { inhibitors: Some(r#"{"dbus":"broker"}"#.to_owned()), ..old.clone() };
        assert_eq!(reasons(&old, &broker), ["dbus"]);
    }

    #[test]
    fn without_triggers_each_part_that_only_a_boot_renews_is_a_reason() {
        let part = || Some("a".to_owned());
        let old = SystemFiles {
            kernel: part(),
            initrd: part(),
            kernel_modules: part(),
            kernel_params: part(),
            systemd: part(),
            ..files("systemd 2", None)
        };
        assert_eq!(reasons(&old, &old), Vec::<String>::new());
        type Change = fn(&mut SystemFiles);
        let cases: [(&str, Change); 5] = [
            ("kernel", |f| f.kernel = None),
            ("initrd", |f| f.initrd = None),
            ("kernel-modules", |f| f.kernel_modules = None),
            ("kernel-params", |f| f.kernel_params = None),
            ("systemd", |f| f.systemd = None),
        ];
        for (name, change) in cases {
            let mut new = old.clone();
            change(&mut new);
            assert_eq!(reasons(&old, &new), [name]);
        }
    }
}
