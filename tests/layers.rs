//! The layers of the source: who may know whom, and that nothing a client can reach panics.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file below a directory, without its tests and comments: path below `src`, and lines with their numbers.
fn sources(below: &str) -> Vec<(String, Vec<(usize, String)>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut open) = (Vec::new(), vec![root.join(below)]);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            found.push((name, code(&path)));
        }
    }
    assert!(!found.is_empty(), "nothing below src/{below}");
    found
}

fn code(path: &PathBuf) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .enumerate()
        // A file's tests are its end.
        .take_while(|(_, line)| *line != "#[cfg(test)]")
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default().to_owned()))
        .collect()
}

/// Where any of the words stands.
fn mentions(below: &str, words: &[&str]) -> Vec<String> {
    sources(below)
        .into_iter()
        .flat_map(|(file, lines)| lines.into_iter().map(move |(number, line)| (file.clone(), number, line)))
        .filter(|(_, _, line)| words.iter().any(|word| line.contains(word)))
        .map(|(file, number, line)| format!("src/{file}:{number}: {}", line.trim()))
        .collect()
}

#[test]
fn decide_reads_no_file_clock_or_environment_and_starts_nothing() {
    let effects = [
        "std::fs",
        "std::io",
        "std::env",
        "std::net",
        "std::os",
        "std::thread",
        "std::process::Command",
        "std::process::{",
        "std::process::exit",
        "SystemTime::now",
        "Instant::now",
        "nix::",
        "caps::",
        "syslog::",
        "crate::act",
        "crate::ctl",
        "crate::gate",
        "crate::job",
    ];
    assert_eq!(mentions("decide", &effects), [""; 0]);
}

#[test]
fn act_knows_no_role() {
    assert_eq!(mentions("act", &["crate::ctl", "crate::gate", "crate::job"]), [""; 0]);
}

#[test]
fn the_gate_knows_neither_configuration_nor_processes() {
    let words =
        ["decide::config", "act::process", "act::store", "act::files", "std::process::Command", "std::fs"];
    assert_eq!(mentions("gate.rs", &words), [""; 0]);
}

#[test]
fn nothing_panics_outside_of_tests() {
    let words =
        [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!(", "unimplemented!(", "println!("];
    assert_eq!(mentions("", &words), [""; 0]);
}

/// The gate waits for nothing but the service; what the job and its children may take is on record, and a host that slept
/// has not stopped that time.
#[test]
fn no_deadline_of_the_job_stands_still_while_the_host_sleeps() {
    let mut found = mentions("job", &["std::time::Instant", "time::{Duration, Instant"]);
    found.extend(mentions("act", &["std::time::Instant", "time::{Duration, Instant"]));
    found.retain(|place| !place.starts_with("src/act/channel.rs:"));
    assert_eq!(found, [""; 0], "crate::act::clock::Instant goes on");
}

/// Owner files: a crate that reaches outside has one.
#[test]
fn each_of_these_crates_has_one_owner() {
    let owners = [
        ("caps::", "act/kernel.rs"),
        ("syslog::", "act/syslog.rs"),
        ("ssh_key::", "decide/identity.rs"),
        ("ssh_encoding::", "decide/identity.rs"),
        ("sha1_checked::", "decide/trust.rs"),
        ("regex_lite::", "decide/config/probes.rs"),
        ("toml::", "decide/config.rs"),
    ];
    for (name, owner) in owners {
        let elsewhere: Vec<String> = mentions("", &[&format!("use {name}"), &format!(" {name}from_str")])
            .into_iter()
            .filter(|place| !place.starts_with(&format!("src/{owner}:")))
            .collect();
        assert_eq!(elsewhere, [""; 0], "{name} belongs to {owner}");
    }
}
