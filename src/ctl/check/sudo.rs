//! What sudo would let the accounts do: the table, all of it and nothing else.

use super::{Found, Report, install, said};
use crate::act::machine::Machine;
use crate::decide::privileged::{CANDIDATE, Program, Row, table};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// As root: the list of an account, which sudo and sudo-rs both print.
pub fn look(report: &mut Report, machine: &mut Machine) {
    let sudo = machine.platform.path(Program::Sudo);
    let list = said(machine, &[&sudo, "-n", "-l", "-U", "nixgate"]).unwrap_or_default();
    let rows = table(&machine.config, machine.platform).into_iter();
    let wanted: BTreeSet<String> = rows.flat_map(|(_, argv)| [argv.join(" "), resolved(&argv)]).collect();
    report.found("sudo: nixgate may run the table and nothing more", nothing_more(&list, &wanted));
    let list = said(machine, &[&sudo, "-n", "-l", "-U", "deploy"]).unwrap_or_default();
    report.found("sudo: deploy may run nothing", nothing_more(&list, &BTreeSet::new()));
    age(report, &version(&sudo));
}

/// A row as sudo-rs lists it, which follows the links of its program.
fn resolved(argv: &[String]) -> String {
    let (program, words) = argv.split_first().map_or(("", argv), |(first, rest)| (first.as_str(), rest));
    let target = fs::canonicalize(program).unwrap_or_else(|_| program.into());
    [&[target.to_string_lossy().into_owned()], words].concat().join(" ")
}

/// What it says of itself: the original sudo on standard output, sudo-rs on standard error.
fn version(sudo: &str) -> String {
    let said = Command::new(sudo).arg("--version").env_clear().current_dir("/").stdin(Stdio::null()).output();
    said.map_or(String::new(), |said| {
        String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
    })
}

/// The holes that an exact rule without a password does not close, with the first release without them. sudo itself.
const SUDO: [(&str, &str); 7] = [
    ("1.8.20p1", "CVE-2017-1000367"),
    ("1.8.28", "CVE-2019-14287"),
    ("1.8.31", "CVE-2019-18634"),
    ("1.9.5p2", "CVE-2021-3156"),
    ("1.9.12p2", "CVE-2023-22809"),
    ("1.9.13", "CVE-2023-28486"),
    ("1.9.17p1", "CVE-2025-32462 and CVE-2025-32463"),
];
/// And of sudo-rs.
const SUDO_RS: [(&str, &str); 2] =
    [("0.2.1", "CVE-2023-42456"), ("0.2.6", "CVE-2025-46717 and CVE-2025-46718")];

/// A distribution may have mended an older release, which its number does not say: hence no failure.
fn age(report: &mut Report, printed: &str) {
    let first = printed.lines().next().unwrap_or_default();
    match holes(first) {
        None => report.warn("sudo's version", "it is not known; look at what `sudo --version` prints"),
        Some(holes) if holes.is_empty() => {
            report.ok(format_args!("{first}: no hole is known that matters here"))
        }
        Some(holes) => {
            let mend = "update it, or see that your distribution has mended them";
            report.warn(first, format_args!("as released it has {}; {mend}", holes.join(", ")));
        }
    }
}

/// What the first line of `sudo --version` says it has; `None` for a line that is neither sudo's nor sudo-rs's.
fn holes(line: &str) -> Option<Vec<&'static str>> {
    let (known, version) = match (line.strip_prefix("Sudo version "), line.strip_prefix("sudo-rs ")) {
        (Some(version), _) => (&SUDO[..], version),
        (None, Some(version)) => (&SUDO_RS[..], version),
        (None, None) => return None,
    };
    let installed = numbers(version)?;
    let open = known.iter().filter(|(mended, _)| numbers(mended).is_some_and(|mended| installed < mended));
    Some(open.map(|(_, name)| *name).collect())
}

/// `1.9.17p1` as its numbers.
fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split(['.', 'p']).map(|part| part.parse().ok()).collect()
}

/// As account nixgate: sudo's own answer to each row.
pub fn look_as_account(report: &mut Report, machine: &mut Machine) {
    let rows: Vec<Row> = table(&machine.config, machine.platform)
        .into_iter()
        .filter(|(_, argv)| !waits_for_a_deploy(argv))
        .map(|(row, _)| row)
        .collect();
    let refused: Vec<String> = rows.iter().filter(|row| !machine.may(row)).map(ToString::to_string).collect();
    let found = if refused.is_empty() {
        Ok(())
    } else {
        Err(format!("refused: {}; {}", refused.join(", "), install(machine.platform)))
    };
    report.found(format!("sudo: nixgate may run {} commands", rows.len()), found);
}

/// sudo finds no rule for a program that is not there, as the candidate's own is not before the first deploy.
fn waits_for_a_deploy(argv: &[String]) -> bool {
    argv.first().is_some_and(|program| program.starts_with(CANDIDATE) && !Path::new(program).exists())
}

fn nothing_more(list: &str, wanted: &BTreeSet<String>) -> Found {
    let more: Vec<String> = listed(list).into_iter().filter(|command| !wanted.contains(command)).collect();
    if more.is_empty() {
        return Ok(());
    }
    let first = more.iter().take(2).cloned().collect::<Vec<_>>().join(" | ");
    Err(format!("it may run {} more ({first}); remove that from sudoers", more.len()))
}

/// The commands in `sudo -l`. A rule begins with four spaces and `(`; the original sudo folds its lines and
/// escapes as sudoers does, sudo-rs does neither. Whatever is not `(root) NOPASSWD:` stays as it is, and so is
/// no row of ours.
fn listed(list: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    for line in list.lines() {
        if line.starts_with("    (") {
            commands.push(line.trim().to_owned());
        } else if let (true, Some(last)) = (line.starts_with("     "), commands.last_mut()) {
            last.push(' ');
            last.push_str(line.trim());
        }
    }
    let plain = |command: String| {
        let command =
            command.strip_prefix("(root) NOPASSWD:").map_or(command.clone(), |c| c.trim().to_owned());
        command.replace('\\', "")
    };
    commands.into_iter().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::config::{Config, EXAMPLE};
    use crate::decide::privileged::Platform;

    /// As sudo 1.9.16 prints it.
    const FOLDED: &str = "Matching Defaults entries for nixgate on demo:\n    env_reset, mail_badpass,\n    \
        secure_path=/usr/bin\n\nUser nixgate may run the following commands on demo:\n    \
        (root) NOPASSWD: /usr/bin/systemd-run --quiet\n        --unit\\=nixgate-activate\n        \
        /nix/var/nix/profiles/x/bin/switch-to-configuration test\n    \
        (root) NOPASSWD:\n        /usr/bin/systemctl reboot\n";

    #[test]
    fn folded_and_escaped_lines_are_one_command() {
        let run = "/usr/bin/systemd-run --quiet --unit=nixgate-activate /nix/var/nix/profiles/x/bin/switch-to-configuration test";
        assert_eq!(listed(FOLDED), [run, "/usr/bin/systemctl reboot"]);
    }

    #[test]
    fn a_sudo_with_known_holes_is_named_with_them() {
        let of = |line: &str| holes(line).unwrap();
        assert_eq!(of("Sudo version 1.9.17p1"), [""; 0]);
        assert_eq!(of("Sudo version 1.9.18"), [""; 0]);
        assert_eq!(of("Sudo version 1.9.17"), ["CVE-2025-32462 and CVE-2025-32463"]);
        assert_eq!(of("Sudo version 1.9.16p2"), ["CVE-2025-32462 and CVE-2025-32463"]);
        assert_eq!(of("Sudo version 1.9.12p1").len(), 3);
        assert_eq!(of("Sudo version 1.8.19p2").len(), SUDO.len());
        assert_eq!(of("sudo-rs 0.2.6"), [""; 0]);
        assert_eq!(of("sudo-rs 0.2.5"), ["CVE-2025-46717 and CVE-2025-46718"]);
        for unknown in ["", "doas", "Sudo version next", "sudo-rs 0.2.x"] {
            assert_eq!(holes(unknown), None, "{unknown}");
        }
        let tables = [&SUDO[..], &SUDO_RS[..]];
        assert!(tables.iter().all(|table| table.is_sorted_by_key(|(mended, _)| numbers(mended))));
    }

    #[test]
    fn a_rule_beside_the_table_is_seen() {
        let config = Config::parse(EXAMPLE).unwrap();
        let wanted: BTreeSet<String> =
            table(&config, Platform::Fhs).into_iter().map(|(_, argv)| argv.join(" ")).collect();
        let list: String = wanted.iter().map(|row| format!("    (root) NOPASSWD: {row}\n")).collect();
        assert_eq!(nothing_more(&list, &wanted), Ok(()));
        for more in [
            "    (root) NOPASSWD: ALL\n",
            "    (ALL : ALL) ALL\n",
            "    (root) NOPASSWD: /usr/bin/systemctl reboot now\n",
            "    (root) NOPASSWD: SETENV: /usr/bin/systemctl reboot\n",
            "    (root) /usr/bin/systemctl reboot\n",
        ] {
            assert!(nothing_more(&format!("{list}{more}"), &wanted).is_err(), "{more}");
        }
        let none = "User deploy is not allowed to run sudo on demo.\n";
        assert_eq!(nothing_more(none, &BTreeSet::new()), Ok(()));
    }
}
