//! What the host's own words mean: the boot default, a revision.

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

/// The properties that `systemctl show` prints, one `Key=Value` a line.
pub fn properties(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once('=')).collect()
}

/// The commit that a system says it was made from: the literal JSON in its `nixos-version` script.
pub fn revision(script: &str) -> Option<super::value::Commit> {
    let (_, rest) = script.split_once("\"configurationRevision\"")?;
    let (between, rest) = rest.split_once('"')?;
    let (quoted, _) = rest.split_once('"')?;
    super::value::Commit::parse(quoted).ok().filter(|_| between.trim() == ":")
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
             /boot/loader/entries/nixos-generation-2-specialisation-gui.conf:options init={}/init\n\
             /boot/loader/entries/nixos-generation-2+3.conf:options init={}/init loglevel=4\n",
            system('a'),
            system('c'),
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

    #[test]
    fn a_revision_is_read_and_not_run() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let script =
            format!("cat <<EOF\n{{\"configurationRevision\":\"{commit}\",\"nixosVersion\":\"x\"}}\nEOF\n");
        assert_eq!(revision(&script).map(|c| c.to_string()), Some(commit.to_owned()));
        assert_eq!(revision("{\"configurationRevision\": \"dirty\"}"), None);
        assert_eq!(revision("{\"nixosVersion\":\"x\"}"), None);
        assert_eq!(revision(&format!("{{\"configurationRevision\":\"{commit}")), None);
        assert_eq!(revision(&format!("{{\"configurationRevision\":null,\"{commit}\":1}}")), None);
    }
}
