//! What the host's own words mean: the boot default, the units, a revision.

use super::config::Loader;
use super::value::StorePath;
use std::collections::BTreeMap;

/// The system that the boot loader starts by default; `None` where its files do not say it in a known form.
pub fn boot_default(loader: Loader, text: &str) -> Option<StorePath> {
    match loader {
        Loader::None => None,
        Loader::SystemdBoot => systemd_boot_default(text),
        // The installer writes the default entry first.
        Loader::Grub => text.lines().find_map(init_of),
    }
}

/// Lines of `path:content` from below /boot/loader.
fn systemd_boot_default(text: &str) -> Option<StorePath> {
    let lines = || text.lines().filter_map(|line| line.split_once(':'));
    let named = |key: &str| {
        lines()
            .filter(|(path, _)| path.ends_with("/loader.conf"))
            .find_map(|(_, content)| content.strip_prefix(key)?.split_whitespace().next())
    };
    let wanted = entry_name(named("preferred ").or_else(|| named("default "))?);
    lines()
        .filter(|(path, _)| path.rsplit('/').next().is_some_and(|file| entry_name(file) == wanted))
        .find_map(|(_, content)| init_of(content))
}

/// `nixos-generation-3+2-1.conf` and `nixos-generation-3` are the same entry.
fn entry_name(file: &str) -> &str {
    let name = file.strip_suffix(".conf").unwrap_or(file);
    name.split_once('+').map_or(name, |(name, _)| name)
}

fn init_of(line: &str) -> Option<StorePath> {
    let init = line.split_whitespace().find_map(|word| word.strip_prefix("init="))?;
    StorePath::parse(init.strip_suffix("/init")?).ok()
}

/// How a unit stood when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitState {
    Active,
    Failed,
    /// Waiting to be started again after a failure.
    Restarting,
    Other,
}

/// A snapshot of the units, without nixgate's own and those of login sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Units {
    states: BTreeMap<String, UnitState>,
    /// How often systemd has started a service again by itself, since somebody started it.
    restarts: BTreeMap<String, u64>,
}

impl Units {
    /// From `systemctl list-units --all --output=json`.
    pub fn parse(json: &[u8]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Row {
            unit: String,
            active: String,
            sub: String,
        }
        let rows: Vec<Row> = serde_json::from_slice(json).ok()?;
        let ours = |unit: &str| {
            ["nixgate", "user@", "user-runtime-dir@", "session-", "run-"].iter().any(|p| unit.starts_with(p))
        };
        let kinds = [".service", ".socket", ".mount", ".timer", ".path", ".swap", ".automount"];
        let states = rows
            .into_iter()
            .filter(|row| !ours(&row.unit) && kinds.iter().any(|kind| row.unit.ends_with(kind)))
            .map(|row| {
                let state = match (row.active.as_str(), row.sub.as_str()) {
                    (_, "auto-restart" | "auto-restart-queued") => UnitState::Restarting,
                    ("active" | "reloading", _) => UnitState::Active,
                    ("failed", _) => UnitState::Failed,
                    _ => UnitState::Other,
                };
                (row.unit, state)
            })
            .collect();
        Some(Self { states, restarts: BTreeMap::new() })
    }

    /// Adds what `systemctl show '*.service' --property=Id,NRestarts` prints: blocks with a blank line between.
    #[must_use]
    pub fn with_restarts(mut self, text: &str) -> Self {
        let blocks = text.split("\n\n").map(properties);
        self.restarts = blocks
            .filter_map(|unit| Some(((*unit.get("Id")?).to_owned(), unit.get("NRestarts")?.parse().ok()?)))
            .filter(|(unit, _): &(String, u64)| self.states.contains_key(unit))
            .collect();
        self
    }

    pub fn is_active(&self, unit: &str) -> bool {
        self.states.get(unit) == Some(&UnitState::Active)
    }

    /// What is broken now and was not before. A service that dies and is started again is well at some moments: it is
    /// known by its restarts, where it had none before.
    pub fn newly_failed(&self, before: &Self) -> Vec<String> {
        let broken = |units: &Self, unit: &str| {
            matches!(units.states.get(unit), Some(UnitState::Failed | UnitState::Restarting))
                || units.restarts.get(unit).is_some_and(|restarts| *restarts > 0)
        };
        self.states.keys().filter(|unit| broken(self, unit) && !broken(before, unit)).cloned().collect()
    }

    /// What was active before and is not now.
    pub fn lost(&self, before: &Self) -> Vec<String> {
        let active = before.states.iter().filter(|(_, state)| **state == UnitState::Active);
        active.map(|(unit, _)| unit.clone()).filter(|unit| !self.is_active(unit)).collect()
    }
}

/// The properties that `systemctl show` prints, one `Key=Value` a line.
pub fn properties(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once('=')).collect()
}

/// The commit that a system says it was made from: the literal JSON in its `nixos-version` script.
pub fn revision(script: &str) -> Option<super::value::Commit> {
    let (_, rest) = script.split_once("\"configurationRevision\"")?;
    let quoted = rest.split('"').nth(1)?;
    super::value::Commit::parse(quoted).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(letter: char) -> String {
        format!("/nix/store/{}-nixos-system-a", letter.to_string().repeat(32))
    }

    #[test]
    fn the_default_of_systemd_boot_is_the_entry_that_loader_conf_names() {
        let text = format!(
            "/boot/loader/loader.conf:default nixos-generation-2.conf\n\
             /boot/loader/entries/nixos-generation-1.conf:title default init=none\n\
             /boot/loader/entries/nixos-generation-1.conf:options init={}/init loglevel=4\n\
             /boot/loader/entries/nixos-generation-2+3.conf:options init={}/init loglevel=4\n",
            system('a'),
            system('b')
        );
        let default = |text: &str| boot_default(Loader::SystemdBoot, text).map(|s| s.to_string());
        assert_eq!(default(&text), Some(system('b')));
        assert_eq!(default(&text.replace("generation-2.conf", "generation-9.conf")), None);
        assert_eq!(default(&text.replace("default nixos-generation-2.conf", "default nixos-*")), None);
        assert_eq!(default(""), None);
    }

    #[test]
    fn the_default_of_grub_is_its_first_entry() {
        let text = format!(
            "set default=\"0\"\n  linux /k init={}/init\n  linux /k init={}/init\n",
            system('c'),
            system('d')
        );
        assert_eq!(boot_default(Loader::Grub, &text).map(|s| s.to_string()), Some(system('c')));
    }

    fn units(rows: &[(&str, &str, &str)]) -> Units {
        let rows: Vec<_> = rows
            .iter()
            .map(|(u, a, s)| serde_json::json!({"unit": u, "active": a, "sub": s, "load": "loaded"}))
            .collect();
        Units::parse(serde_json::to_string(&rows).unwrap().as_bytes()).unwrap()
    }

    #[test]
    fn only_what_is_newly_broken_counts() {
        let before = units(&[("old.service", "failed", "failed"), ("web.service", "active", "running")]);
        let after = units(&[
            ("old.service", "failed", "failed"),
            ("web.service", "failed", "failed"),
            ("flap.service", "activating", "auto-restart"),
            ("nixgate-job@1.service", "failed", "failed"),
            ("oneshot.service", "inactive", "dead"),
        ]);
        assert_eq!(after.newly_failed(&before), ["flap.service", "web.service"]);
        assert_eq!(after.lost(&before), ["web.service"]);
    }

    #[test]
    fn a_revision_is_read_and_not_run() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let script =
            format!("cat <<EOF\n{{\"configurationRevision\":\"{commit}\",\"nixosVersion\":\"x\"}}\nEOF\n");
        assert_eq!(revision(&script).map(|c| c.to_string()), Some(commit.to_owned()));
        assert_eq!(revision("{\"configurationRevision\": \"dirty\"}"), None);
        assert_eq!(revision("{\"nixosVersion\":\"x\"}"), None);
    }
}
