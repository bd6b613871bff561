//! `nixos-module.nix`, the templates and the README's host: evaluated by Nix, and their build scripts run with the real programs.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "nixos/assertions.rs"]
mod assertions;
#[path = "nixos/files.rs"]
mod files;
mod nixos;
#[path = "nixos/options.rs"]
mod options;
mod repository;
#[path = "nixos/vm.rs"]
mod vm;

use nixgate::decide::config::Config;
use nixgate::decide::privileged::Platform;
use nixgate::decide::render::{Content, everything, sshd};
use nixos::{Directory, build, config_of, evaluate, host, of, said, strings};
use repository::{blocks, root, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first block of Nix in the README that imports the module.
fn of_the_readme() -> String {
    let blocks = blocks("README.md", "nix");
    blocks.into_iter().find(|block| block.contains("nixgate.nixosModules.default")).unwrap()
}

/// As the flake of the README would import it.
fn as_imported(block: &str, directory: &Path) -> String {
    let path = directory.join("host.nix");
    fs::write(&path, format!("{{ self, nixgate }}:\n{block}")).unwrap();
    format!(
        "import {} {{ self.rev = \"0123\"; nixgate.nixosModules.default = {}/nixos-module.nix; }}",
        path.display(),
        root().display()
    )
}

fn accepts(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C").output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

#[test]
fn the_readmes_host_has_at_most_fifteen_lines_and_gets_what_nixgatectl_renders() {
    let directory = Directory::new("readme");
    let block = of_the_readme();
    assert!(block.lines().count() <= 15, "{block}");
    let host = evaluate(&as_imported(&block, &directory.0), &directory.0).unwrap();
    assert_eq!(host["failed"], Value::Array(vec![]));
    assert_eq!(host["warnings"], Value::Array(vec![]));
    let out = build(&host).unwrap();

    let config = Config::parse(config_of(&host)).unwrap();
    for file in everything(&config, Platform::Nixos) {
        let path = match file.path {
            "etc/sysusers.d/nixgate.conf" => continue,
            "etc/tmpfiles.d/nixgate.conf" => "lib/tmpfiles.d/nixgate.conf",
            other => other,
        };
        match file.content {
            Content::Text(text) => assert_eq!(fs::read_to_string(out.join(path)).unwrap(), text, "{path}"),
            Content::Link(to) => assert_eq!(fs::read_link(out.join(path)).unwrap(), Path::new(to), "{path}"),
        }
    }
    let same = |path: &str, here: &str| {
        assert_eq!(fs::read_to_string(out.join(path)).unwrap(), text(here), "{here}");
    };
    same("etc/sudoers.d/nixgate", "sudoers/nixgate");
    same("etc/ssh/sshd_config.d/nixgate.conf", "sshd-snippets/nixgate.conf");
}

#[test]
fn sudo_and_sshd_take_the_lines_of_the_module_among_those_of_others() {
    let directory = Directory::new("whole");
    let more = "services.openssh.extraConfig = \"Port 2222\\nMatch User deploy\\n  PermitTTY yes\\nMatch User alice\\n  X11Forwarding no\\n\";";
    let host = evaluate(&host(more), &directory.0).unwrap();
    build(&host).unwrap();
    let key = directory.0.join("key");
    accepts(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    let file = directory.0.join("sshd_config");
    fs::write(&file, format!("Port 22\n{}", host["sshd"].as_str().unwrap())).unwrap();
    let ask = |user: &str| {
        let who = format!("user={user},host=localhost,addr=127.0.0.1");
        accepts(Command::new("/usr/sbin/sshd").args(["-T", "-C", &who, "-f"]).arg(&file).arg("-h").arg(&key))
    };
    let deploy = ask("deploy");
    for line in sshd(Platform::Nixos).lines().filter(|line| line.starts_with(' ')) {
        let (option, value) = line.trim().split_once(' ').unwrap();
        let wanted = format!("{} {value}", option.to_lowercase());
        assert!(deploy.lines().any(|line| line == wanted), "{wanted}");
    }
    let other = ask("root");
    assert!(other.contains("\nforcecommand none\n") && other.contains("\npermittty yes\n"));
    assert!(
        other.contains("port 22\n") && other.contains("port 2222\n"),
        "what follows is for everybody again"
    );

    let file = directory.0.join("sudoers");
    fs::write(&file, format!("root ALL=(ALL) ALL\n{}", host["sudo"].as_str().unwrap())).unwrap();
    let said = accepts(Command::new("visudo").args(["-c", "-f"]).arg(&file));
    assert_eq!(said.matches("parsed OK").count(), 2, "{said}");
}

#[test]
fn systemd_takes_the_units_of_the_module_the_credentials_and_the_timer() {
    let directory = Directory::new("units");
    let more =
        "services.nixgate.credentials.source = \"/run/secrets/key\"; services.nixgate.pull.enable = true;";
    let host = evaluate(&host(more), &directory.0).unwrap();
    let units = build(&host).unwrap().join("etc/systemd/system");
    for unit in ["service", "timer"] {
        let text = host["pull"][unit].as_str().unwrap();
        fs::write(units.join(format!("nixgate-pull.{unit}")), text).unwrap();
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&units).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_file() && !entry.is_symlink() {
            // The programs are those of a host; what stands for them is there.
            let text = fs::read_to_string(&entry).unwrap();
            let text = text.replace("/bin/nixgate-job ", "/bin/nixgate ");
            fs::write(&entry, text.replace("/run/current-system/sw/bin/nixgate", "/bin/true")).unwrap();
        }
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        match name.ends_with("@.service") {
            true => paths.push(units.join(name.replace('@', "@1"))),
            false if entry.is_file() => paths.push(entry),
            false => {}
        }
    }
    assert!(paths.len() >= 8, "{paths:?}");
    let said = accepts(Command::new("systemd-analyze").args(["--man=no", "verify"]).args(&paths));
    assert_eq!(said.lines().filter(|line| line.contains("nixgate")).collect::<Vec<_>>(), [""; 0]);
    // It looks: a misspelt line is said.
    let broken = units.join("nixgate-pull.timer");
    fs::write(&broken, fs::read_to_string(&broken).unwrap().replace("OnCalendar", "OnCalender")).unwrap();
    let output = Command::new("systemd-analyze").args(["--man=no", "verify"]).arg(&broken).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("OnCalender"));
}

#[test]
fn with_sudo_rs_the_rules_follow_those_of_others_in_one_file() {
    let host = of("security.sudo.enable = false; security.sudo-rs.enable = true;");
    let script = host["build"]["sudoers-rs"].as_str().unwrap();
    assert!(
        script.contains("cat \"$others\" /stand-in/nixgate-rendered/etc/sudoers.d/nixgate > sudoers"),
        "{script}"
    );
    assert!(script.contains("visudo -c -f sudoers"));
    assert_eq!(host["sudo"], "");
    assert_eq!(host["failed"], Value::Array(vec![]));
}

#[test]
fn the_accounts_are_what_the_design_says() {
    let host = of(
        "services.nixgate.authorities = [ { key = \"ssh-ed25519 BBBB ca\"; principals = [ \"a\" \"b\" ]; } ]; services.nixgate.uid = 400;",
    );
    let deploy = &host["users"]["deploy"];
    assert_eq!(deploy["shell"], "/run/current-system/sw/bin/nixgate");
    assert_eq!((&deploy["home"], &deploy["hashedPassword"]), (&"/var/empty".into(), &"!".into()));
    assert_eq!(
        strings(&deploy["keys"]),
        ["ssh-ed25519 AAAA ci", "cert-authority,principals=\"a,b\" ssh-ed25519 BBBB ca"]
    );
    assert_eq!((&deploy["uid"], &host["masked"]), (&400.into(), &true.into()));
    assert_eq!(strings(&host["users"]["nixgate"]["keys"]), [""; 0]);
}

#[test]
fn sshd_forgives_this_host_its_questions_where_it_would_punish_them() {
    let of = |openssh: &str| of(openssh)["penalties"].clone();
    assert_eq!(of(""), "127.0.0.1,::1");
    let own = "services.openssh.settings.PerSourcePenaltyExemptList = \"10.0.0.0/8,127.0.0.1\";";
    assert_eq!(of(own), "10.0.0.0/8,127.0.0.1");
    let old = "programs.ssh.package = pkgs.openssh // { version = \"9.7p1\"; };";
    assert_eq!(of(old), serde_json::Value::Null, "it would not start");
}

/// Where NixOS has each program of a job; by its other modules: Nix, systemd, sudo and, where it is on, tailscale.
#[test]
fn a_system_has_the_programs_of_a_job_whatever_its_core_packages_are() {
    let programs = strings(&of("")["programs"]);
    for package in ["nixgate", "openssh", "coreutils", "curl", "git", "gnugrep", "util-linux"] {
        assert!(programs.contains(&package.to_owned()), "{package}: {programs:?}");
    }
    let by_others = ["nix", "systemctl", "systemd", "sudo", "tailscale"];
    let known = [
        ("choom", "util-linux"),
        ("true", "coreutils"),
        ("prlimit", "util-linux"),
        ("curl", "curl"),
        ("git", "git"),
        ("grep", "gnugrep"),
        ("nixgate", "nixgate"),
        ("ssh", "openssh"),
    ];
    let source = text("src/decide/privileged.rs");
    let names = source.lines().filter_map(|line| line.trim().strip_prefix("Program::")?.split_once(" => \""));
    let names: Vec<&str> = names.filter_map(|(_, rest)| rest.strip_suffix("\",")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let ours = known
            .iter()
            .any(|(begins, package)| name.starts_with(begins) && programs.contains(&(*package).to_owned()));
        assert!(ours || by_others.iter().any(|begins| name.starts_with(begins)), "where is {name} from?");
    }
}

#[test]
fn a_system_shows_by_links_that_it_starts_the_units() {
    let wanted = &of("")["wanted"];
    for (unit, target) in [
        ("nixgate.socket", "sockets.target"),
        ("nixgate-control.socket", "sockets.target"),
        ("nixgate-recover.service", "multi-user.target"),
    ] {
        assert_eq!(strings(&wanted[unit]), [target], "{unit}");
    }
}

#[test]
fn what_the_page_of_the_module_shows_is_taken() {
    let blocks = blocks("docs/nixos.md", "nix");
    assert!(!blocks.is_empty());
    for (at, block) in blocks.iter().enumerate() {
        let directory = Directory::new(&format!("page-{at}"));
        let host = evaluate(&host(block), &directory.0).unwrap();
        assert_eq!(said(&host), [""; 0], "{block}");
        build(&host).unwrap_or_else(|error| panic!("{block}: {error}"));
    }
}

fn strings_of(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_timer_asks_through_the_gate_as_account_nixgate() {
    let host = of(
        "services.nixgate.pull = { enable = true; interval = \"*:0/15\"; randomizedDelay = \"1min\"; verb = \"fetch\"; };",
    );
    let lines = |unit: &str| strings_of(host["pull"][unit].as_str().unwrap());
    for line in [
        "ExecStart=/run/current-system/sw/bin/nixgate -c fetch",
        "User=nixgate",
        "SupplementaryGroups=deploy",
        "X-RestartIfChanged=false",
        "X-StopIfChanged=false",
        "X-StopOnRemoval=false",
    ] {
        assert!(lines("service").contains(line), "{line}");
    }
    for line in ["OnCalendar=*:0/15", "RandomizedDelaySec=1min", "Persistent=true"] {
        assert!(lines("timer").contains(line), "{line}");
    }
    assert!(of("")["pull"].is_null());
}
