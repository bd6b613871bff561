//! The files of Nix in this repository: they parse, are formatted, and name what is there.

use crate::nixos::{Directory, build, evaluate, nix, nixpkgs, said, strings, value};
use crate::repository::{root, text};
use crate::vm::PROMISES;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

fn nix_files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.nix"])
        .current_dir(root())
        .output()
        .unwrap();
    let files: Vec<PathBuf> =
        String::from_utf8(listed.stdout).unwrap().lines().map(|f| root().join(f)).collect();
    assert!(files.len() > 8, "{files:?}");
    files
}

#[test]
fn every_file_of_nix_parses() {
    for file in nix_files() {
        nix(&["--parse", file.to_str().unwrap()]).unwrap();
    }
}

/// What of the official formatter's rules can be held without it: it is a program in Haskell that the distributions of the tests do
/// not have. Files are formatted by `nix fmt`.
fn badly_formatted(text: &str) -> Option<String> {
    let (mut in_string, mut blank) = (false, false);
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| Some(format!("line {}: {what}: {line}", number + 1));
        let code = if in_string { line } else { line.split("# ").next().unwrap_or(line) };
        let indentation = line.len() - line.trim_start_matches(' ').len();
        match line {
            _ if line.contains(['\t', '\r']) => return wrong("a tab"),
            _ if line.ends_with(' ') => return wrong("a blank at the end"),
            "" if blank && !in_string => return wrong("two empty lines"),
            _ if !in_string && indentation % 2 == 1 => return wrong("no indentation by twos"),
            _ if !in_string && code.trim_start().contains(" ;") => return wrong("a blank too much"),
            _ => {}
        }
        blank = line.is_empty();
        // A short string may have two quotes in it; an escape in a long one begins like its end.
        let code: String = code.split('"').step_by(2).collect();
        let plain = ["''$", "'''", "''\\"].iter().fold(code, |code, escape| code.replace(escape, ""));
        in_string ^= plain.matches("''").count() % 2 == 1;
    }
    let ends = text.ends_with('\n') && !text.ends_with("\n\n") && !in_string;
    (!ends).then(|| "no single line end at the end".to_owned())
}

#[test]
fn every_file_of_nix_is_formatted_as_far_as_that_can_be_seen_here() {
    for file in nix_files() {
        assert_eq!(badly_formatted(&text(&file)), None, "{}", file.display());
    }
    for (bad, what) in [
        ("{ }\n\n\n1\n", "two empty lines"),
        ("{\n\ta = 1;\n}\n", "a tab"),
        ("{ } \n", "a blank at the end"),
        ("{\n   a = 1;\n}\n", "by twos"),
        ("{ a = 1 ; }\n", "too much"),
        ("{ }", "line end"),
        ("{ }\n\n", "line end"),
    ] {
        assert!(badly_formatted(bad).is_some_and(|why| why.contains(what)), "{bad:?}");
    }
    assert_eq!(badly_formatted("{\n  a = ''\n     odd ; ''${x}\n\n\n  '';\n}\n"), None);
}

#[test]
fn no_file_of_nix_imports_what_was_built() {
    let of_the_module =
        |file: &PathBuf| file.ends_with("nixos-module.nix") || file.starts_with(root().join("nix"));
    let files: Vec<PathBuf> = nix_files().into_iter().filter(of_the_module).collect();
    assert!(files.len() > 5);
    // The package reads a file of this repository.
    for file in files.iter().filter(|file| !file.ends_with("package.nix")) {
        let text = text(file);
        for way in ["readFile", "fromTOML", "importTOML", "builtins.fetch", "readDir"] {
            assert!(!text.contains(way), "{}: {way}", file.display());
        }
    }
}

#[test]
fn the_hosts_of_the_templates_evaluate_and_render() {
    for name in ["single-host", "prebuilt"] {
        let directory = Directory::new(name);
        let template = root().join("templates").join(name);
        let host = format!(
            "{{ imports = [ {}/nixos-module.nix (import {}/host.nix {{ self.rev = \"0123\"; }}) ]; }}",
            root().display(),
            template.display()
        );
        let host = evaluate(&host, &directory.0).unwrap();
        assert_eq!(said(&host), [""; 0], "{name}");
        build(&host).unwrap_or_else(|error| panic!("{name}: {error}"));
        for file in ["flake.nix", "allowed_signers", "known_hosts"] {
            assert!(template.join(file).exists(), "{name}: {file}");
        }
    }
    // A template is copied as it is, so it has its own; what differs is the host.
    assert_eq!(text("templates/single-host/flake.nix"), text("templates/prebuilt/flake.nix"));
}

fn flake() -> &'static Value {
    static FLAKE: OnceLock<Value> = OnceLock::new();
    FLAKE.get_or_init(|| {
        let here = root().display();
        value(&format!("import {here}/tests/nixos/eval/flake.nix {{ nixpkgs = {}; }}", nixpkgs())).unwrap()
    })
}

#[test]
fn the_flake_has_one_input_and_names_only_files_that_are_there() {
    assert_eq!(strings(&flake()["inputs"]), ["nixpkgs"]);
    let flake = text("flake.nix");
    for path in flake.split("./").skip(1) {
        let path: String =
            path.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_./".contains(*c)).collect();
        assert!(path == "." || root().join(&path).exists(), "flake.nix: {path}");
    }
}

#[test]
fn the_flake_offers_on_both_platforms_what_is_promised_and_checks_each_test_in_a_virtual_machine() {
    let flake = flake();
    let platforms = ["aarch64-linux", "x86_64-linux"];
    for output in ["packages", "apps", "checks", "devShells"] {
        assert_eq!(strings(&flake["outputs"][output]), platforms, "{output}");
    }
    assert_eq!(strings(&flake["outputs"]["nixosModules"]), ["default"]);
    assert_eq!(strings(&flake["outputs"]["templates"]), ["default", "prebuilt", "single-host"]);
    assert!(flake["overlay"].as_str().unwrap().contains("nixgate"));
    for platform in platforms {
        let apps = flake["apps"][platform].as_object().unwrap();
        let programs: Vec<&str> =
            apps.values().map(|app| app.as_str().unwrap().rsplit('/').next().unwrap()).collect();
        assert_eq!(programs, ["nixgate-deploy", "nixgate-try"], "deploy and try");
        let checks = flake["checks"][platform].as_object().unwrap();
        for name in PROMISES {
            assert_eq!(checks[&format!("vm-{name}")], format!("nixgate-{name}"));
        }
        assert_eq!(checks.len(), PROMISES.len() + 4, "and nixgate, rendered, sudoers and units");
    }
}
