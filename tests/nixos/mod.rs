//! Configurations of NixOS, evaluated by Nix, and their build scripts run with the real programs.
//!
//! Nothing is built by Nix and nixpkgs is not needed: the options of NixOS are stand-ins (`eval/`). With `NIXPKGS` set to a
//! checkout its `lib` is used, and its modules where it has them. The Nix is the one of the test host (2.26), whatever this
//! machine has; `NIX_INSTANTIATE` names another.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // each test program uses a part of it

use crate::repository::root;
use serde_json::Value;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Gone at the end.
pub struct Directory(pub PathBuf);
impl Directory {
    pub fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("nixgate-module-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}
impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The words that start the evaluator: out of the test host's image by its own loader, so that nothing has to be entered.
fn evaluator() -> &'static [String] {
    static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    WORDS.get_or_init(|| {
        if let Ok(program) = env::var("NIX_INSTANTIATE") {
            return vec![program];
        }
        let output = Command::new(root().join("tests/container/host")).arg("image").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let image = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let libraries = format!("{image}/usr/lib/{}-linux-gnu", env::consts::ARCH);
        let words = ["--argv0", "nix-instantiate", "--library-path", &libraries];
        let loader = fs::canonicalize(format!("{image}/usr/lib64/ld-linux-x86-64.so.2")).unwrap();
        let mut all = vec![loader.to_string_lossy().into_owned()];
        all.extend(words.map(str::to_owned));
        all.push(format!("{image}/usr/bin/nix"));
        all
    })
}

/// Only evaluated, so no store is needed.
pub fn nix(arguments: &[&str]) -> Result<String, String> {
    let (program, words) = evaluator().split_first().unwrap();
    let mut command = Command::new(program);
    command.args(words).args(["--store", "dummy://"]).args(arguments).env("NIX_PATH", "");
    let output = command.output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

/// The value of an expression.
pub fn value(expression: &str) -> Result<Value, String> {
    nix(&["--eval", "--strict", "--json", "-E", expression]).map(|json| serde_json::from_str(&json).unwrap())
}

/// `nixpkgs`, as an argument of the files in `eval/`.
pub fn nixpkgs() -> String {
    env::var("NIXPKGS").unwrap_or_else(|_| "null".to_owned())
}

/// What a host comes to, that is configured by this expression; its store is below a directory.
pub fn evaluate(host: &str, store: &Path) -> Result<Value, String> {
    value(&format!(
        "import {}/tests/nixos/eval {{ root = \"{}\"; nixpkgs = {}; host = {host}; }}",
        root().display(),
        store.display(),
        nixpkgs(),
    ))
}

/// The smallest host, and more of it.
pub fn host(more: &str) -> String {
    format!(
        "{{ pkgs, ... }}: {{ imports = [ {}/nixos-module.nix {{ {more} }} ]; services.openssh.enable = true; \
         system.configurationRevision = \"0123\"; networking.hostName = \"web1\"; \
         services.nixgate = {{ enable = true; allowedSigners = /allowed_signers; knownHosts = /known_hosts; \
         keys = [ \"ssh-ed25519 AAAA ci\" ]; settings.source.url = \"ssh://git@forge.example.org/infra.git\"; }}; }}",
        root().display()
    )
}

pub fn of(more: &str) -> Value {
    evaluate(&host(more), Path::new("/stand-in")).unwrap_or_else(|error| panic!("{more}: {error}"))
}

pub fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// The failed assertions and the warnings.
pub fn said(host: &Value) -> Vec<String> {
    [strings(&host["failed"]), strings(&host["warnings"])].concat()
}

/// The file that a host's settings become.
pub fn config_of(host: &Value) -> &str {
    host["build"]["config"]["text"].as_str().unwrap()
}

/// Runs what the derivation would run, with the programs of this machine; the directory that it made.
pub fn build(host: &Value) -> Result<PathBuf, String> {
    let build = &host["build"];
    assert!(!build.is_null(), "with whole nixpkgs the flake's checks build it");
    let out = PathBuf::from(build["out"].as_str().unwrap());
    fs::create_dir_all(out.parent().unwrap()).unwrap();
    fs::write(build["config"]["path"].as_str().unwrap(), config_of(host)).unwrap();
    // sshd insists on it as root; its unit makes it at other times.
    let _ = fs::create_dir("/run/sshd");
    let own = Path::new(env!("CARGO_BIN_EXE_nixgatectl")).parent().unwrap();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", build["script"].as_str().unwrap()])
        .env("PATH", format!("{}:/usr/bin:/usr/sbin:/bin", own.display()))
        .env("out", &out)
        .current_dir(out.parent().unwrap())
        .output()
        .unwrap();
    if output.status.success() { Ok(out) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
