//! What two systems' own files say about a switch between them; nothing is evaluated.

use super::answer::Code;
use super::outcome::Stop;
use serde_json::{Map, Value};

/// The files of a system that bear on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemFiles {
    pub init_interface: String,
    /// `switch-inhibitors`, where the system has it.
    pub inhibitors: Option<String>,
}

/// Whether the candidate can be activated in the running system, or only be booted.
pub fn can_be_activated(running: &SystemFiles, candidate: &SystemFiles) -> Result<(), Stop> {
    let mut reasons = inhibitors_that_differ(running, candidate);
    if running.init_interface != candidate.init_interface {
        reasons.push("init-interface-version".to_owned());
    }
    if reasons.is_empty() {
        return Ok(());
    }
    let reasons = reasons.join(", ");
    Err(Stop::new(
        Code::NeedsBoot,
        format_args!(
            "the candidate cannot be applied to the running system ({reasons} differ); ask for `boot` and restart the host"
        ),
    ))
}

/// As the pre-switch check does it: keys that both name, with other values. A list counts as a whole.
fn inhibitors_that_differ(running: &SystemFiles, candidate: &SystemFiles) -> Vec<String> {
    let read = |files: &SystemFiles| -> Option<Map<String, Value>> {
        match serde_json::from_str(files.inhibitors.as_deref()?).ok()? {
            Value::Object(map) => Some(map),
            list => Some(Map::from_iter([("switch-inhibitors".to_owned(), list)])),
        }
    };
    let (Some(old), Some(new)) = (read(running), read(candidate)) else { return Vec::new() };
    old.iter()
        .filter(|(key, value)| new.get(*key).is_some_and(|other| other != *value))
        .map(|(key, _)| key.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(interface: &str, inhibitors: Option<&str>) -> SystemFiles {
        SystemFiles { init_interface: interface.to_owned(), inhibitors: inhibitors.map(str::to_owned) }
    }

    #[test]
    fn another_init_interface_or_inhibitor_needs_a_boot() {
        let old = files("systemd 2", Some(r#"{"dbus":"dbus","x":"1"}"#));
        assert_eq!(can_be_activated(&old, &old), Ok(()));
        assert_eq!(can_be_activated(&old, &files("systemd 2", Some(r#"{"dbus":"dbus","new":"2"}"#))), Ok(()));
        assert_eq!(can_be_activated(&old, &files("systemd 2", None)), Ok(()));
        let stop = can_be_activated(&old, &files("systemd 3", Some(r#"{"dbus":"broker"}"#))).unwrap_err();
        assert_eq!(stop.code, Code::NeedsBoot);
        assert!(stop.why.contains("dbus, init-interface-version"), "{}", stop.why);
    }
}
