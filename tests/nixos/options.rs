//! The options of the module: typed, described, and the same as what the parser of the configuration knows.

use crate::nixos::{Directory, build, config_of, evaluate, host, of, strings};
use nixgate::decide::config::{Config, EXAMPLE};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The tables of the configuration, each with what it needs around it for its unknown key to be the first thing that is wrong.
const TABLES: [&str; 16] = [
    "source",
    "refs",
    "trust",
    "limits",
    "space",
    "preflight",
    "specialisation",
    "confirm",
    "revert",
    "boot",
    "sshd",
    "health",
    "access",
    "role",
    "check",
    "input-key",
];
const LISTS: [&str; 4] = ["access", "role", "check", "input-key"];

/// What the parser takes in a table, in its own words.
fn parsed_keys(table: &str) -> Vec<String> {
    let header = match table {
        "" => String::new(),
        list if LISTS.contains(&list) => format!("[[{list}]]\n"),
        table => format!("[{table}]\n"),
    };
    let error = Config::parse(&format!("{header}no-such-key = 1\n")).unwrap_err().what;
    let (_, expected) = error
        .split_once("expected one of ")
        .unwrap_or_else(|| error.split_once("expected ").unwrap_or_else(|| panic!("[{table}]: {error}")));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn all_parsed_keys() -> BTreeSet<String> {
    let of =
        |table: &&str| parsed_keys(table).into_iter().map(|key| format!("{table}.{key}")).collect::<Vec<_>>();
    let tables = TABLES.iter().flat_map(of);
    let top = parsed_keys("").into_iter().filter(|key| !TABLES.contains(&key.as_str()));
    tables.chain(top).collect()
}

#[test]
fn each_key_of_the_configuration_has_a_typed_option_and_each_option_is_a_key() {
    let options: BTreeSet<String> = strings(&of("")["keys"])
        .iter()
        .filter_map(|name| name.strip_prefix("settings."))
        .map(str::to_owned)
        .collect();
    assert_eq!(options, all_parsed_keys(), "nix/settings beside src/decide/config");
}

/// The words below a table's header, examples and remarks among them.
fn words_of_the_example() -> BTreeSet<(String, String)> {
    let (mut table, mut found) = (String::new(), BTreeSet::new());
    for line in EXAMPLE.lines() {
        let plain = line.trim_start_matches(['#', ':', ' ']);
        if let Some((header, _)) = plain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            table = header.trim_start_matches('[').to_owned();
        }
        let words = plain.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        found.extend(words.map(|word| (table.clone(), word.to_owned())));
    }
    found
}

#[test]
fn the_example_has_each_key_of_the_configuration_below_its_table() {
    let words = words_of_the_example();
    for key in all_parsed_keys() {
        let (table, name) = key.split_once('.').unwrap_or(("", &key));
        // Of units the example shows one, because their names are anybody's.
        let table = if name == "units" { "units" } else { table };
        // The rights of a role are those that an access table shows.
        let tables = if table == "role" { vec!["role", "access"] } else { vec![table] };
        assert!(
            tables.iter().any(|table| words.contains(&((*table).to_owned(), name.to_owned()))),
            "[{table}] {name}"
        );
    }
}

#[test]
fn each_option_is_described() {
    assert_eq!(strings(&of("")["undescribed"]), [""; 0]);
}

#[test]
fn what_an_option_shows_as_its_default_is_what_nixgate_does_without_it() {
    let host = of("boot.loader.systemd-boot.enable = true;");
    let source = "version = 1\n[source]\nkind = \"flake\"\nurl = \"ssh://git@forge.example.org/infra.git\"\nsystem = \"web1\"\n";
    assert_eq!(Config::parse(config_of(&host)).unwrap(), Config::parse(source).unwrap());
}

/// The example with all its examples, as options of NixOS.
fn all_of_the_example() -> (String, Value) {
    let lines = EXAMPLE.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let settings = toml::from_str(&text).unwrap();
    (text, settings)
}

#[test]
fn everything_that_the_example_shows_can_be_said_by_options_and_means_the_same() {
    let (text, settings) = all_of_the_example();
    let directory = Directory::new("example");
    let json = directory.0.join("settings.json");
    fs::write(&json, settings.to_string()).unwrap();
    let more =
        format!("services.nixgate.settings = builtins.fromJSON (builtins.readFile {});", json.display());
    // The address of the repository is in both.
    let host = evaluate(&host(&more), &directory.0).unwrap();
    assert_eq!(Config::parse(config_of(&host)).unwrap(), Config::parse(&text).unwrap());
    build(&host).unwrap();
}

#[test]
fn what_contradicts_itself_is_refused_while_the_system_is_built() {
    for wrong in [
        "limits.build = \"2weeks\";",
        "units.\"x\" = \"warn\";",
        "source.file = \"hosts.nix\";",
        "check = [ { name = \"a\"; } ];",
        "access = [ { name = \"a\"; role = \"nobody\"; tailscale = \"tag:ci\"; } ];",
    ] {
        let directory = Directory::new("refused");
        let host = evaluate(&host(&format!("services.nixgate.settings = {{ {wrong} }};")), &directory.0);
        let error = build(&host.unwrap_or_else(|error| panic!("{wrong}: {error}"))).unwrap_err();
        assert!(error.contains("nixgate-config.toml: line "), "{wrong}: {error}");
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
        ("services.nixgate.settings.limits.bild = \"2h\";", "bild"),
        ("services.nixgate.settings.limits.build = 7200;", "build"),
        ("services.nixgate.settings.limits.build = \"soon\";", "build"),
        ("services.nixgate.settings.refs.main = \"main\";", "refs.main"),
        ("services.nixgate.settings.units.\"a.service\" = \"retry\";", "units"),
        ("services.nixgate.settings.check = [ { name = \"a\"; htpp = \"http://a\"; } ];", "htpp"),
        ("services.nixgate.settings.check = [ { name = \"a\"; retries = 300; } ];", "retries"),
        ("services.nixgate.settings.access = [ { name = \"a\"; key = \"MD5:00\"; } ];", "key"),
        ("services.nixgate.settings.access = [ { name = \"a\"; verbs = [ \"reboot\" ]; } ];", "verbs"),
        ("services.nixgate.settings.role = [ { verbs = [ ]; } ];", "name"),
        ("services.nixgate.settings.source.ssh-key = ./key;", "ssh-key"),
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
