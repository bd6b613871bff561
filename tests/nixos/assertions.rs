//! What around nixgate is unsafe: each assertion and warning has a host that meets it, and neighbours that do not.

use crate::nixos::{evaluate, host, of, said};
use crate::repository::text;
use std::path::Path;

/// A host that is unsafe in one way, and the beginning of what is said about it.
const UNSAFE: [(&str, &str); 27] = [
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
        "/nix/store/key is named as a secret",
    ),
    (
        "services.nixgate.settings.source.ssh-key = \"${builtins.storeDir}/ssh\";",
        "/nix/store/ssh is named as a secret",
    ),
    (
        "services.nixgate.settings.input-key = [ { host = \"h\"; key = \"${builtins.storeDir}/input\"; } ];",
        "/nix/store/input is named as a secret",
    ),
    (
        "services.nixgate.settings.source.access-tokens-file = \"$CREDENTIALS_DIRECTORY/tokens\";",
        "the settings name the credential tokens",
    ),
    (
        "services.nixgate.settings.source = { kind = \"prebuilt\"; caches = [ \"https://c.example.org\" ]; };",
        "Nix on this host would not take a prebuilt system from or by https://c.example.org;",
    ),
    ("nix.settings.sandbox = \"relaxed\";", "nix.settings.sandbox lets"),
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
    // Of secrets there are three; a host without keys needs its own words, which are below.
    assert_eq!(messages, UNSAFE.len() - 2 + 1, "a row of UNSAFE for each");
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
        "services.nixgate.pull.enable = true; services.nixgate.settings.confirm = { mode = \"required\"; switch = \"health\"; };",
        "nix.settings.trusted-substituters = [ \"https://c.example.org/\" ]; \
         services.nixgate.settings.source = { kind = \"prebuilt\"; caches = [ \"https://c.example.org\" ]; };",
        "services.nixgate.credentials.tokens = \"/run/t\"; \
         services.nixgate.settings.source.access-tokens-file = \"$CREDENTIALS_DIRECTORY/tokens\";",
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
        "services.nixgate.pull.enable = true; services.nixgate.settings.confirm.switch = \"required\";",
    ] {
        assert_eq!(said(&of(more)).len(), 1, "{more}");
    }
}
