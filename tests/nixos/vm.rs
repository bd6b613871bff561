//! The tests in virtual machines, as far as they can be seen without one: each machine and each candidate evaluates without a failed
//! assertion, each script is Python that uses what there is, and the systems to deploy differ.

use crate::nixos::{nix, nixpkgs, strings, value};
use crate::repository::root;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// One promise per file name.
pub const PROMISES: [&str; 13] = [
    "client-hangs-up",
    "deploy-good",
    "health-fails-reverts",
    "module-removed-reverts",
    "network-cut-reverts",
    "no-shell-no-sftp-no-forwarding",
    "power-cut",
    "prebuilt",
    "pull-timer",
    "self-upgrade",
    "sudo-rs",
    "tailscale-login-shell",
    "two-deploys-one-lock",
];

fn tests() -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(root().join("tests/nixos")).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|kind| kind == "nix"));
    let named = files.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path));
    let mut all: Vec<_> = named.collect();
    all.sort();
    all
}

/// What each comes to, by its name.
fn evaluated() -> &'static serde_json::Map<String, Value> {
    static ALL: OnceLock<Value> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let one = |(name, file): (String, PathBuf)| {
            let here = root().display();
            let (nixpkgs, file) = (nixpkgs(), file.display().to_string());
            format!("\"{name}\" = import {here}/tests/nixos/eval/vm.nix {{ test = {file}; nixpkgs = {nixpkgs}; }};")
        };
        let expression: String = tests().into_iter().map(one).collect();
        value(&format!("{{ {expression} }}")).unwrap_or_else(|error| panic!("{error}"))
    });
    all.as_object().unwrap()
}

fn python(arguments: &[&str], script: &str) -> (bool, String) {
    let mut child = Command::new("python3")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn each_promise_has_its_test_in_a_virtual_machine() {
    let names: Vec<String> = tests().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, PROMISES);
}

#[test]
fn each_machine_and_each_candidate_of_the_tests_evaluates() {
    for (name, test) in evaluated() {
        assert_eq!(test["name"], format!("nixgate-{name}"));
        assert_eq!(strings(&test["failed"]), [""; 0], "{name}");
        // Two candidates that are one system would show nothing.
        let systems = test["toplevels"].as_object().unwrap();
        let distinct: BTreeSet<&str> = systems.values().map(|system| system.as_str().unwrap()).collect();
        assert_eq!(distinct.len(), systems.len(), "{name}");
        let script = test["script"].as_str().unwrap();
        for candidate in systems.keys() {
            assert!(script.contains(&format!("\"{candidate}\"")), "{name}: nobody deploys {candidate}");
        }
    }
}

#[test]
fn each_script_is_python_that_uses_what_there_is() {
    let checker = root().join("tests/nixos/names.py").to_string_lossy().into_owned();
    let check = |machines: &[String], script: &str| {
        let words: Vec<&str> =
            std::iter::once(checker.as_str()).chain(machines.iter().map(String::as_str)).collect();
        python(&words, script)
    };
    for (name, test) in evaluated() {
        let script = test["script"].as_str().unwrap();
        let compiled =
            python(&["-W", "error", "-c", "import sys; compile(sys.stdin.read(), 'script', 'exec')"], script);
        assert_eq!(compiled, (true, String::new()), "{name}");
        assert_eq!(check(&strings(&test["machines"]), script), (true, String::new()), "{name}");
    }
    let host = ["host".to_owned()];
    assert_eq!(check(&host, "host.sucseed('x')").1, "line 1: host.sucseed\n");
    assert_eq!(check(&host, "client.succeed(f'{nothing}')").1, "line 1: client\nline 1: nothing\n");
}

#[test]
fn each_flake_of_a_candidate_parses_and_names_a_system_of_the_host() {
    for (name, test) in evaluated() {
        for (candidate, flake) in test["flakes"].as_object().unwrap() {
            let text = flake.as_str().unwrap();
            nix(&["--parse", "-E", text]).unwrap_or_else(|error| panic!("{name}: {candidate}: {error}"));
            assert!(text.contains("nixosConfigurations.host.config.system.build.toplevel"), "{name}");
            assert!(text.contains(&format!("\"nixos-system-host-{candidate}\"")), "{name}");
        }
    }
}
