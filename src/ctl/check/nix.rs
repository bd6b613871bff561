//! Nix: nobody here may be trusted by it, and builds stay in their sandbox.

use super::{Found, LOOK, Report};
use crate::act::machine::Machine;
use crate::act::process::Stdout;
use crate::decide::privileged::Program;
use std::collections::BTreeMap;

/// A trusted user of the Nix daemon can put anything into the store, and so is root.
pub fn look(report: &mut Report, machine: &mut Machine) {
    let text = ask(machine, &["config", "show"]).or_else(|| ask(machine, &["show-config"]));
    let Some(text) = text else {
        report.fail("Nix's settings", "`nix config show` fails; run it to see why");
        return;
    };
    let settings = settings(&text);
    let get = |key: &str| settings.get(key).map_or("", String::as_str);
    report.found("Nix trusts neither account", trusts_neither(get("trusted-users")));
    for (key, wanted) in [("sandbox", "true"), ("sandbox-fallback", "false")] {
        let what = format!("Nix: {key} = {wanted}");
        if get(key) == wanted {
            report.ok(what);
        } else {
            report.warn(what, format_args!("it is {}; set it in nix.conf (nix.settings)", get(key)));
        }
    }
}

/// As account nixgate: what the daemon itself says.
pub fn look_as_account(report: &mut Report, machine: &mut Machine) {
    let text =
        ask(machine, &["store", "info", "--json"]).or_else(|| ask(machine, &["store", "ping", "--json"]));
    let found = match text {
        None => Err("it does not answer account nixgate; see `systemctl status nix-daemon.socket` and who may connect".to_owned()),
        Some(text) => untrusted(&text),
    };
    report.found("the Nix daemon answers nixgate and does not trust it", found);
}

fn ask(machine: &mut Machine, args: &[&str]) -> Option<String> {
    let words = [&["--extra-experimental-features", "nix-command"], args].concat();
    let mut spec = machine.program(Program::Nix, &words, LOOK);
    spec.stdout = Stdout::Captured;
    spec.env.extend([
        ("HOME", "/var/empty".to_owned()),
        ("XDG_CONFIG_HOME", "/var/empty".to_owned()),
        ("NIX_USER_CONF_FILES", String::new()),
        // As root, too, the daemon's answer is wanted.
        ("NIX_REMOTE", "daemon".to_owned()),
    ]);
    machine.run(spec).ok().filter(|ended| ended.is_success()).map(|ended| ended.text())
}

fn settings(text: &str) -> BTreeMap<String, String> {
    let pair =
        |line: &str| line.split_once(" =").map(|(key, value)| (key.to_owned(), value.trim().to_owned()));
    text.lines().filter_map(pair).collect()
}

fn trusts_neither(users: &str) -> Found {
    match users
        .split_whitespace()
        .find(|user| matches!(*user, "*" | "deploy" | "nixgate" | "@deploy" | "@nixgate"))
    {
        None => Ok(()),
        Some(user) => Err(format!(
            "trusted-users has {user}, and a trusted user of Nix is root; remove it from nix.conf (nix.settings.trusted-users)"
        )),
    }
}

/// `{"trusted":false,"url":"daemon","version":"2.26.3"}`; older ones say 0 and 1.
fn untrusted(text: &str) -> Found {
    let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let trusted = value.as_ref().and_then(|value| value.get("trusted"));
    match trusted {
        Some(serde_json::Value::Bool(false)) => Ok(()),
        Some(number) if number.as_u64() == Some(0) => Ok(()),
        Some(_) => Err("it trusts it, by name or by group; remove that from trusted-users".to_owned()),
        None => Err("it does not say whether it trusts it; Nix 2.18 or newer is needed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_by_name_and_by_everybody_is_seen() {
        assert!(trusts_neither("root @wheel").is_ok());
        for users in ["root nixgate", "*", "@nixgate", "deploy root"] {
            assert!(trusts_neither(users).is_err(), "{users}");
        }
    }

    #[test]
    fn the_daemons_own_word_counts() {
        assert!(untrusted("{\"trusted\":false,\"url\":\"daemon\",\"version\":\"2.26.3\"}").is_ok());
        assert!(untrusted("{\"trusted\":0,\"url\":\"daemon\"}").is_ok());
        assert!(untrusted("{\"trusted\":true}").is_err());
        assert!(untrusted("{\"trusted\":1}").is_err());
        assert!(untrusted("{\"url\":\"daemon\"}").is_err());
        assert!(untrusted("").is_err());
    }

    #[test]
    fn settings_are_read_as_nix_prints_them() {
        let text = "sandbox = true\nsandbox-fallback = false\nsubstituters = https://a https://b\npost-build-hook =\n";
        let settings = settings(text);
        assert_eq!(settings["sandbox-fallback"], "false");
        assert_eq!(settings["post-build-hook"], "");
    }
}
