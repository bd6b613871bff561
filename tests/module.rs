//! `nixos-module.nix`, the templates and the README's host: evaluated by Nix, and their build scripts run with the real programs.
//!
//! Nothing is built by Nix and nixpkgs is not needed: the options of NixOS are stand-ins (`nixos/eval`). With `NIXPKGS` set to a
//! checkout its `lib` is used, and its modules where it has them.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use nixgate::decide::config::Config;
use nixgate::decide::privileged::Platform;
use nixgate::decide::render::{Content, everything, sshd};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Gone at the end.
struct Directory(PathBuf);
impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nixgate-module-{name}-{}", std::process::id()));
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

fn nix(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("nix-instantiate").args(arguments).env("NIX_PATH", "").output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

/// What a host comes to, that is configured by this expression; its store is below a directory.
fn evaluate(host: &str, store: &Path) -> Result<Value, String> {
    let nixpkgs = std::env::var("NIXPKGS").map_or("null".to_owned(), |path| path);
    let expression = format!(
        "import {}/tests/nixos/eval {{ root = \"{}\"; nixpkgs = {nixpkgs}; host = {host}; }}",
        root().display(),
        store.display(),
    );
    let json = nix(&["--eval", "--strict", "--json", "-E", &expression])?;
    Ok(serde_json::from_str(&json).unwrap())
}

/// The smallest host, and more of it.
fn host(more: &str) -> String {
    format!(
        "{{ pkgs, ... }}: {{ imports = [ {}/nixos-module.nix {{ {more} }} ]; services.openssh.enable = true; \
         system.configurationRevision = \"0123\"; networking.hostName = \"web1\"; \
         services.nixgate = {{ enable = true; allowedSigners = /allowed_signers; knownHosts = /known_hosts; \
         keys = [ \"ssh-ed25519 AAAA ci\" ]; settings.source.url = \"ssh://git@forge.example.org/infra.git\"; }}; }}",
        root().display()
    )
}

fn of(more: &str) -> Value {
    evaluate(&host(more), Path::new("/stand-in")).unwrap_or_else(|error| panic!("{more}: {error}"))
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

// ---- the build script ----

/// Runs what the derivation would run, with the programs of this machine; the directory that it made.
fn build(host: &Value) -> Result<PathBuf, String> {
    let build = &host["build"];
    assert!(!build.is_null(), "with whole nixpkgs the flake's checks build it");
    let out = PathBuf::from(build["out"].as_str().unwrap());
    fs::create_dir_all(out.parent().unwrap()).unwrap();
    fs::write(build["config"]["path"].as_str().unwrap(), build["config"]["text"].as_str().unwrap()).unwrap();
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

/// The first block of Nix in the README that imports the module.
fn of_the_readme() -> String {
    let readme = text("README.md");
    let blocks = readme.split("```nix\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
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

    let config = Config::parse(host["build"]["config"]["text"].as_str().unwrap()).unwrap();
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

// ---- options ----

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
fn settings_without_an_option_reach_the_file_and_nixgatectl_refuses_what_it_does_not_know() {
    let directory = Directory::new("free");
    let access = "services.nixgate.settings.access = [ { name = \"ci\"; key = \"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"; verbs = [ \"switch\" ]; } ];";
    let more = format!("{access} services.nixgate.settings.limits.build = \"2h\";");
    let known = evaluate(&host(&more), &directory.0).unwrap();
    let config = Config::parse(known["build"]["config"]["text"].as_str().unwrap()).unwrap();
    assert_eq!(config.limits.build.as_secs(), 7200);
    assert_eq!(config.access.as_ref().unwrap()[0].name.as_str(), "ci");
    build(&known).unwrap();
    fs::remove_dir_all(directory.0.join("nixgate-rendered")).unwrap();
    for wrong in ["limits.bild = \"2h\"", "limits.build = \"soon\"", "units.x.y = 1"] {
        let host = evaluate(&host(&format!("services.nixgate.settings.{wrong};")), &directory.0).unwrap();
        let error = build(&host).unwrap_err();
        assert!(error.contains("nixgate-config.toml") || error.contains("line "), "{wrong}: {error}");
    }
}

#[test]
fn what_the_page_of_the_module_shows_is_taken() {
    let page = text("docs/nixos.md");
    let blocks: Vec<&str> =
        page.split("```nix\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    for (at, block) in blocks.into_iter().enumerate() {
        let directory = Directory::new(&format!("page-{at}"));
        let host = evaluate(&host(block), &directory.0).unwrap();
        assert_eq!(said(&host), [""; 0], "{block}");
        build(&host).unwrap_or_else(|error| panic!("{block}: {error}"));
    }
}

#[test]
fn a_credential_is_a_path_of_the_host_and_becomes_the_read_key() {
    let directory = Directory::new("credential");
    let host = evaluate(
        &host("services.nixgate.credentials = { source = \"/run/secrets/key\"; tokens = \"/run/secrets/it's\"; };"),
        &directory.0,
    )
    .unwrap();
    assert_eq!(host["settings"]["source"]["ssh-key"], "$CREDENTIALS_DIRECTORY/source");
    let drop_in = build(&host).unwrap().join("etc/systemd/system/nixgate@.service.d/credentials.conf");
    let written = fs::read_to_string(drop_in).unwrap();
    assert_eq!(
        written,
        "[Service]\nLoadCredential=source:/run/secrets/key\nLoadCredential=tokens:/run/secrets/it's\n"
    );
}

#[test]
fn the_timer_asks_through_the_gate_as_account_nixgate() {
    let host = of(
        "services.nixgate.pull = { enable = true; interval = \"*:0/15\"; randomizedDelay = \"1min\"; verb = \"fetch\"; };",
    );
    let (service, timer) = (&host["pull"]["service"], &host["pull"]["timer"]);
    assert_eq!(service["ExecStart"], "/run/current-system/sw/bin/nixgate -c fetch");
    assert_eq!(
        (&service["User"], strings(&service["SupplementaryGroups"])),
        (&"nixgate".into(), vec!["deploy".to_owned()])
    );
    assert_eq!((&timer["OnCalendar"], &timer["RandomizedDelaySec"]), (&"*:0/15".into(), &"1min".into()));
    assert!(of("")["pull"].is_null());
}

#[test]
fn the_boot_loader_and_the_port_are_those_of_the_host() {
    let settings = |more: &str| of(more)["settings"].clone();
    assert_eq!(
        settings("boot.loader.grub.enable = true; boot.loader.systemd-boot.enable = false;")["boot"]["loader"],
        "grub"
    );
    let other = settings("boot.loader.systemd-boot.enable = true; services.openssh.ports = [ 2222 ];");
    assert_eq!((&other["boot"]["loader"], &other["sshd"]["port"]), (&"systemd-boot".into(), &2222.into()));
    assert_eq!(settings("")["source"]["system"], "web1");
}

#[test]
fn what_is_misspelt_or_of_a_wrong_type_is_an_error() {
    for (wrong, of) in [
        ("services.nixgate.enabel = true;", "enabel"),
        ("services.nixgate.pull.intervall = \"hourly\";", "intervall"),
        ("services.nixgate.keys = \"ssh-ed25519 AAAA\";", "keys"),
        ("services.nixgate.uid = 0;", "uid"),
        ("services.nixgate.uid = 1000;", "uid"),
        ("services.nixgate.settings.source.kind = \"tarball\";", "kind"),
        ("services.nixgate.settings.source.url = \"/srv/git\";", "url"),
        ("services.nixgate.settings.sshd.port = 65536;", "port"),
        ("services.nixgate.settings.version = 2;", "version"),
        ("services.nixgate.settings.limits.build = x: x;", "TOML does not know"),
        ("services.nixgate.pull.verb = \"rollback\";", "verb"),
        ("services.nixgate.credentials.source = 1;", "source"),
        ("services.nixgate.credentials.source = \"secrets/key\";", "source"),
        ("services.nixgate.authorities = [ { key = \"k\"; principals = [ \"a\\\"b\" ]; } ];", "principals"),
        ("services.nixgate.rendered = pkgs.git;", "rendered"),
        ("services.opensh.enable = true;", "opensh"),
        ("systemd.units.\"user@397.service\".enabled = false;", "enabled"),
        ("users.users.deploy.shel = \"/bin/sh\";", "shel"),
    ] {
        let more = wrong.replace("pkgs.git", "{ }");
        // All that is defined is looked at: the assertions, and what this test asks for.
        match evaluate(&host(&more), Path::new("/stand-in")) {
            Ok(_) => panic!("taken: {wrong}"),
            Err(error) => assert!(error.contains(of), "{wrong}: {error}"),
        }
    }
}

// ---- assertions ----

/// A host that is unsafe in one way, and the beginning of what is said about it.
const UNSAFE: [(&str, &str); 22] = [
    ("nix.settings.trusted-users = [ \"root\" \"@deploy\" ];", "nix.settings.trusted-users has @deploy"),
    ("users.users.nixgate.extraGroups = [ \"docker\" ];", "account nixgate is in the group docker"),
    ("nix.settings.accept-flake-config = true;", "nix.settings.accept-flake-config lets"),
    ("nix.settings.sandbox-fallback = true;", "nix.settings.sandbox-fallback lets"),
    ("security.sudo.enable = false;", "a deploy runs its exact privileged commands by sudo"),
    ("security.sudo.execWheelOnly = true;", "with execWheelOnly"),
    ("services.openssh.enable = false;", "nobody could ask"),
    ("services.openssh.extraConfig = \"permituserenvironment yes\";", "PermitUserEnvironment lets"),
    ("users.users.deploy.home = \"/home/deploy\";", "the home of account deploy is /home/deploy"),
    (
        "users.users.nixgate.openssh.authorizedKeys.keys = [ \"ssh-ed25519 AAAA\" ];",
        "account nixgate does the deploys",
    ),
    ("environment.shells = [ \"/run/current-system/sw/bin/nixgate\" ];", "the gate is in environment.shells"),
    (
        "services.tailscale.enable = true; services.tailscale.extraUpFlags = [ \"--ssh\" ];",
        "Tailscale SSH is on, and its SFTP",
    ),
    ("system.switch.enable = false;", "system.switch.enable = false leaves"),
    (
        "services.nixgate.pull.enable = true; services.nixgate.settings.confirm.mode = \"required\";",
        "nobody confirms what the timer deploys",
    ),
    (
        "services.nixgate.credentials.source = \"${builtins.storeDir}/key\";",
        "services.nixgate.credentials names",
    ),
    ("security.sudo.package = pkgs.sudo // { version = \"1.9.17\"; };", "sudo 1.9.17 is older"),
    (
        "security.sudo.enable = false; security.sudo-rs = { enable = true; package = pkgs.sudo-rs // { version = \"0.2.5\"; }; };",
        "sudo-rs 0.2.5 is older",
    ),
    ("services.openssh.settings.AcceptEnv = \"LANG NIXOS_*\";", "AcceptEnv of services.openssh"),
    ("services.nixgate.freeze = \"holidays\";", "services.nixgate.freeze is set"),
    ("services.logind.settings.Login.KillUserProcesses = true;", "with KillUserProcesses logind"),
    ("services.nixgate.settings.trust.signatures = \"none\";", "settings.trust.signatures = \"none\""),
    ("FORCE system.configurationRevision = null;", "the system does not say which commit"),
];

/// The host, with definitions that have to win.
fn forced(more: &str) -> String {
    let (forced, text) = (more.starts_with("FORCE "), more.trim_start_matches("FORCE "));
    let forced = forced || text.starts_with("services.openssh.enable") || text.contains(".home =");
    let text = match text.split_once(" = ") {
        Some((name, value)) if forced => {
            format!(
                "{name} = {{ _type = \"override\"; priority = 50; content = {}; }};",
                value.trim_end_matches(';')
            )
        }
        _ => text.to_owned(),
    };
    // `pkgs` is an argument of the inner module here.
    host("").replacen("{  } ]", &format!("({{ pkgs, ... }}: {{ {text} }}) ]"), 1)
}

fn said(host: &Value) -> Vec<String> {
    [strings(&host["failed"]), strings(&host["warnings"])].concat()
}

#[test]
fn each_unsafe_surrounding_is_named_with_what_to_do_and_nothing_else_is() {
    assert_eq!(said(&of("")), [""; 0], "the host without them");
    for (more, begins) in UNSAFE {
        let host = evaluate(&forced(more), Path::new("/stand-in")).unwrap_or_else(|e| panic!("{more}: {e}"));
        let said = said(&host);
        assert_eq!(said.len(), 1, "{more}: {said:#?}");
        assert!(said[0].starts_with(&format!("services.nixgate: {begins}")), "{more}: {said:#?}");
        let mends = ["remove", "set ", "take ", "put ", "update", "Name ", "name "];
        assert!(mends.iter().any(|mend| said[0].contains(mend)), "{said:#?}");
    }
}

#[test]
fn every_assertion_and_warning_has_its_example() {
    let file = text("nix/assertions.nix");
    let messages = file.matches("\"services.nixgate: ").count();
    let examples: BTreeSet<&str> = UNSAFE.iter().map(|(_, begins)| *begins).collect();
    // One more is below: a host without keys needs its own words.
    assert_eq!(messages, examples.len() + 1, "a row of UNSAFE for each");
    let none = host("").replace("keys = [ \"ssh-ed25519 AAAA ci\" ];", "");
    let said = said(&evaluate(&none, Path::new("/stand-in")).unwrap());
    assert!(said.len() == 1 && said[0].contains("no key may ask"), "{said:?}");
}

#[test]
fn what_is_only_nearly_unsafe_is_taken() {
    for more in [
        "nix.settings.trusted-users = [ \"root\" \"@wheel\" ];",
        "services.openssh.extraConfig = \"PermitUserEnvironment no\\n# AcceptEnv *\";",
        "services.openssh.settings.AcceptEnv = [ \"LANG\" \"LC_*\" ];",
        "services.tailscale.enable = true;",
        "services.tailscale = { enable = true; extraUpFlags = [ \"--ssh\" ]; }; systemd.services.tailscaled.environment = { \
         TS_SSH_DISABLE_SFTP = \"true\"; TS_SSH_DISABLE_FORWARDING = \"true\"; TS_SSH_DISABLE_PTY = \"true\"; };",
        "services.nixgate.pull = { enable = true; verb = \"fetch\"; }; services.nixgate.settings.confirm.mode = \"required\";",
        "users.users.deploy.extraGroups = [ \"users\" ];",
    ] {
        assert_eq!(said(&of(more)), [""; 0], "{more}");
    }
    for more in [
        "services.openssh.extraConfig = \"AcceptEnv LANG GIT_*\";",
        "users.groups.wheel.members = [ \"deploy\" ];",
        "services.openssh.settings.PermitUserEnvironment = true;",
        "services.openssh.settings.PermitUserEnvironment = \"LANG\";",
        "nix.settings.trusted-users = [ \"*\" ];",
    ] {
        assert_eq!(said(&of(more)).len(), 1, "{more}");
    }
}

// ---- files ----

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

#[test]
fn no_file_of_nix_imports_what_was_built() {
    for file in ["nixos-module.nix", "nix/assertions.nix"] {
        let text = text(file);
        for way in ["readFile", "fromTOML", "importTOML", "builtins.fetch", "readDir"] {
            assert!(!text.contains(way), "{file}: {way}");
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
}

#[test]
fn the_flake_has_one_input_and_names_only_files_that_are_there() {
    let json = nix(&[
        "--eval",
        "--strict",
        "--json",
        "-E",
        &format!("builtins.attrNames (import {}/flake.nix).inputs", root().display()),
    ])
    .unwrap();
    assert_eq!(json.trim(), "[\"nixpkgs\"]");
    let flake = text("flake.nix");
    for path in flake.split("./").skip(1) {
        let path: String =
            path.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_./".contains(*c)).collect();
        assert!(path == "." || root().join(&path).exists(), "flake.nix: {path}");
    }
}
