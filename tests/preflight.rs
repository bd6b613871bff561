//! What is refused before anything changes, and its twin that is not: lock-out, room, restarts, gates, others at work.
//! Each scenario looks at the exit code, the reason, and that the host is what it was.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod host;

use host::job::{BUILT, KEEPS, REFUSES, REVERTS, TRIED, ended, is_permanent, leaves};
use host::{Answer, Client, Commit, Host, LIMIT};
use serde_json::Value;
use std::process::{Command, Stdio};

/// A table of the configuration, above `[confirm]`.
fn configure(host: &Host, table: &str) {
    host.config_edit_only("[confirm]", &format!("{table}\n\n[confirm]"));
}

/// What `configure` added is taken away again.
fn unconfigure(host: &Host, table: &str) {
    host.config_edit_only(&format!("{table}\n\n"), "");
}

/// Refused with this code and these words, before anything was touched.
#[track_caller]
fn refused(host: &Host, verb: &str, code: i32, words: &[&str]) -> Answer {
    let before = host.triple();
    let answer = host.ssh(&[verb]);
    leaves(host, &before, &answer, verb, "refused", code, &[BUILT, REFUSES]);
    for word in words {
        assert!(answer.stderr.contains(word), "no {word:?} in {answer:#?}");
    }
    answer
}

#[track_caller]
fn committed(host: &Host) -> Answer {
    let answer = host.ssh(&["switch"]);
    ended(host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    answer
}

// ---- lock-out ---------------------------------------------------------------------------------------------------------

#[test]
fn a_candidate_that_shuts_the_door_behind_itself_is_13_and_says_which_door() {
    let host = Host::boot();
    for (fault, why) in [
        ("no-sshd", "it has no ssh.service"),
        ("no-deploy-account", "it has no account deploy"),
        ("no-forcecommand", "no ForceCommand nixgate for deploy"),
        ("no-nixgate-socket", "does not start, nixgate.socket"),
        ("no-sudoers", "its sudo rules do not let nixgate Reset, "),
        ("no-nixgate", "it has no program nixgate, nixgate-job"),
    ] {
        host.commit(fault, &Commit::signed().fault(fault));
        let answer = refused(&host, "switch", 13, &["would lock us out: ", why]);
        assert!(answer.stderr.contains("preflight.lock-out"), "{answer:#?}");
    }
    // Not for a `boot` either, which nobody would judge before the next one.
    refused(&host, "boot", 13, &["would lock us out: "]);
    // The same, and whole.
    host.commit("whole", &Commit::signed());
    let answer = committed(&host);
    assert!(!answer.stderr.contains("lock us out"), "{answer:#?}");
    assert_eq!(host.version(), "whole");
}

#[test]
fn a_candidate_without_the_key_that_asks_is_13_and_with_it_is_not() {
    let host = Host::boot();
    // The keys are the host's own file so far: no system lists them, so none can be missed.
    host.commit("v1", &Commit::signed().fault("declares-keys"));
    committed(&host);
    host.commit("v2", &Commit::signed().fault("no-deploy-key"));
    refused(&host, "switch", 13, &["does not list the key that asks for this"]);
    // Whoever is still in it may ask.
    let answer = host.ssh_as("other", &["switch"]);
    ended(&host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    host.ssh(&["true"]).expect(255);
    host.ssh_as("other", &["true"]).expect(0);
}

#[test]
fn a_lock_out_that_is_allowed_is_said_and_tried_and_health_judges_it() {
    let host = Host::boot();
    let allow = "[preflight]\nlock-out = \"allow\"";
    configure(&host, allow);
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault("no-sudoers"));
    let answer = host.ssh(&["switch"]);
    leaves(&host, &before, &answer, "switch", "reverted", 21, &[TRIED, REVERTS]);
    assert!(answer.stderr.contains("tried all the same"), "{answer:#?}");
    unconfigure(&host, allow);
    refused(&host, "switch", 13, &["would lock us out"]);
}

#[test]
fn a_candidate_whose_own_configuration_is_broken_or_does_not_fit_its_rules_is_13() {
    let host = Host::boot();
    // From now on the configuration is part of the system, as with the NixOS module.
    host.commit("v1", &Commit::signed().fault("brings-config"));
    committed(&host);
    host.root(
        "sed 's/activation = \"20s\"/activation = \"21s\"/' /etc/nixgate/config.toml >/root/other.toml",
    );
    host.commit("v2", &Commit::signed().fault("brings-config").fault("config-is-broken"));
    refused(&host, "switch", 13, &["/etc/nixgate/config.toml, line ", "a time is 1s to 24h"]);
    host.commit("v3", &Commit::signed().fault("brings-config").fault("config-is-another"));
    refused(&host, "switch", 13, &["do not let nixgate Arm, Trial"]);
    host.commit("v4", &Commit::signed().fault("brings-config").config("/root/other.toml"));
    committed(&host);
    host.root("grep -q 'activation = \"21s\"' /etc/nixgate/config.toml");
}

// ---- room -------------------------------------------------------------------------------------------------------------

/// Puts a small file system of its own over a directory, with what is in it.
fn shrink(host: &Host, place: &str, options: &str) {
    host.root(&format!(
        "mkdir /run/small && mount -t tmpfs -o {options} tmpfs /run/small && cp -a {place}/. /run/small/ && \
         mount --bind /run/small {place}"
    ));
}

#[test]
fn a_full_store_is_13_before_anything_is_built_and_with_room_the_same_commit_is_built() {
    let host = Host::boot();
    host.root(
        "mkdir /run/small && mount -t tmpfs -o size=64M,nr_inodes=20k tmpfs /run/small && mkdir /run/small/u /run/small/w && \
         mount -t overlay overlay -o lowerdir=/nix/store,upperdir=/run/small/u,workdir=/run/small/w /nix/store",
    );
    let before = host.triple();
    host.commit("v1", &Commit::signed());
    for verb in ["fetch", "switch", "test", "boot"] {
        let answer = host.ssh(&[verb]);
        let events = ["accepted fetched verified", REFUSES];
        leaves(&host, &before, &answer, verb, "refused", 13, &events);
        assert!(answer.stderr.contains("/nix/store is too full: "), "{answer:#?}");
        assert!(answer.stderr.contains("needed are 1.0 GiB (space.store)"), "{answer:#?}");
        assert!(!answer.stderr.contains("building"), "{answer:#?}");
    }
    let enough = "[space]\nstore = \"32M\"";
    configure(&host, enough);
    host.ssh(&["fetch"]).expect(0);
    unconfigure(&host, enough);
    // It is built already, and still refused: a trial writes, too.
    refused(&host, "switch", 13, &["/nix/store is too full: "]);
    let few = "[space]\nstore = \"32M\"\ninodes = 30000";
    configure(&host, few);
    refused(&host, "switch", 13, &["inodes free, needed are 30000 (space.inodes)"]);
    unconfigure(&host, few);
    configure(&host, enough);
    committed(&host);
    unconfigure(&host, enough);
    // The way back needs no room.
    let back = host.ssh(&["rollback"]).expect(0);
    assert_eq!(back.value("new"), before.running);
}

#[test]
fn too_little_room_for_the_state_is_13() {
    let host = Host::boot();
    // Enough for what is fetched, which has a limit of its own.
    shrink(&host, "/var/lib/nixgate", "size=200M,mode=0750");
    host.root("chown nixgate:nixgate /var/lib/nixgate");
    host.commit("v1", &Commit::signed());
    let before = host.triple();
    let much = "[space]\nstate = \"256M\"";
    configure(&host, much);
    let answer = host.ssh(&["switch"]);
    leaves(&host, &before, &answer, "switch", "refused", 13, &["accepted fetched verified", REFUSES]);
    assert!(answer.stderr.contains("/var/lib/nixgate is too full: "), "{answer:#?}");
    assert!(answer.stderr.contains("needed are 256.0 MiB (space.state)"), "{answer:#?}");
    unconfigure(&host, much);
    committed(&host);
}

#[test]
fn a_full_boot_partition_is_13_and_what_it_has_already_needs_no_room() {
    let host = Host::boot();
    // 3 MiB: enough for the 2 MiB that are asked for, not for another kernel of 2 MiB beside them.
    shrink(&host, "/boot", "size=3M,mode=0700");
    let little = "[space]\nboot = \"2M\"";
    configure(&host, little);
    host.commit("v1", &Commit::signed().fault("big-kernel"));
    for verb in ["switch", "boot"] {
        let words = ["/boot is too full: ", "for the candidate's kernel and initrd and 2.0 MiB (space.boot)"];
        refused(&host, verb, 13, &words);
    }
    // `test` does not touch the boot loader.
    host.ssh(&["test"]).expect(0);
    host.commit("v2", &Commit::signed());
    let answer = committed(&host);
    is_permanent(&host, answer.value("new"), 2);
    unconfigure(&host, little);
    host.commit("v3", &Commit::signed());
    refused(&host, "switch", 13, &["needed are 4.0 MiB (space.boot)"]);
}

// ---- restarts ---------------------------------------------------------------------------------------------------------

#[test]
fn each_reason_for_a_restart_is_named_in_the_answer_and_in_status() {
    let host = Host::boot();
    for (version, faults, reasons) in [
        ("v1", &["new-kernel"][..], "firmware,kernel"),
        ("v2", &["new-params"], "kernel-params"),
        ("v3", &["new-kernel", "no-triggers"], "kernel,initrd,kernel-modules"),
        ("v4", &["new-systemd", "new-params", "no-triggers"], "kernel-params,systemd"),
    ] {
        host.commit(version, &faults.iter().fold(Commit::signed(), |commit, fault| commit.fault(fault)));
        let answer = committed(&host);
        assert_eq!((answer.value("reboot-required"), answer.value("reboot-reasons")), ("yes", reasons));
        let status = host.ssh(&["status"]).expect(0).stdout;
        assert!(status.contains(&reasons.replace(',', ", ")), "{status}");
    }
    host.commit("v5", &Commit::signed());
    let answer = committed(&host);
    assert_eq!((answer.value("reboot-required"), answer.last_line.get("reboot-reasons")), ("no", None));
}

#[test]
fn a_candidate_that_wants_a_restart_is_switched_to_booted_or_refused_as_configured() {
    let host = Host::boot();
    let old = host.triple().running;
    host.commit("v1", &Commit::signed().fault("new-kernel"));
    let refuse = "[preflight]\nwhen-reboot-needed = \"refuse\"";
    configure(&host, refuse);
    for verb in ["switch", "test"] {
        refused(&host, verb, 14, &["in force only after a restart", "firmware, kernel differ", "`boot`"]);
    }
    unconfigure(&host, refuse);
    configure(&host, "[preflight]\nwhen-reboot-needed = \"boot\"");
    refused(&host, "test", 14, &["in force only after a restart"]);
    let answer = host.ssh(&["switch"]);
    ended(&host, &answer, "switch", "committed", 0, &[BUILT, "checked committing committed ended"]);
    assert!(answer.stderr.contains("as configured, it starts at the next boot"), "{answer:#?}");
    assert_eq!(answer.value("reboot-reasons"), "firmware,kernel,not-activated");
    assert_eq!(
        (host.triple().running.as_str(), host.triple().profile.as_str()),
        (old.as_str(), "system-2-link")
    );
    // It waits already.
    let again = host.ssh(&["switch"]);
    ended(&host, &again, "switch", "unchanged", 0, &[BUILT, "done ended"]);
    let next = host.boots() + 1;
    host.root_output("systemctl reboot");
    host.await_boot(next);
    assert_eq!(host.version(), "v1");
    // What needs no restart is switched to.
    host.commit("v2", &Commit::signed().fault("new-kernel"));
    assert_eq!(committed(&host).value("reboot-required"), "no");
}

#[test]
fn what_cannot_be_applied_is_booted_instead_where_that_is_configured() {
    let host = Host::boot();
    let old = host.triple().running;
    configure(&host, "[preflight]\nwhen-switch-impossible = \"boot\"");
    for (n, fault, reason) in
        [(1, "inhibitor", "dbus-implementation"), (2, "exit-100", "init-interface-version")]
    {
        host.commit(&format!("v{n}"), &Commit::signed().fault(fault));
        // A trial is for what runs.
        refused(&host, "test", 14, &["cannot be applied to the running system", reason]);
        let answer = host.ssh(&["switch"]);
        ended(&host, &answer, "switch", "committed", 0, &[BUILT, "checked committing committed ended"]);
        assert!(answer.stderr.contains(&format!("({reason} differ): as configured")), "{answer:#?}");
        assert_eq!(answer.value("reboot-required"), "yes");
        assert!(answer.value("reboot-reasons").contains(reason), "{answer:#?}");
        let now = host.triple();
        assert_eq!((now.running, now.profile), (old.clone(), format!("system-{}-link", n + 1)));
    }
}

// ---- others at work ---------------------------------------------------------------------------------------------------

#[test]
fn while_nixos_rebuild_activates_a_system_a_deploy_is_75() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    for unit in ["nixos-rebuild-switch-to-configuration", "nixos-rebuild-switch-to-configuration-9767bc07"] {
        host.root(&format!("systemd-run --quiet --collect --unit={unit} --service-type=exec sleep 1d"));
        for verb in ["switch", "boot"] {
            refused(&host, verb, 75, &[&format!("{unit}.service is activating a system")]);
        }
        host.root(&format!("systemctl stop {unit}"));
    }
    host.root(
        "systemd-run --quiet --collect --unit=holder --service-type=exec flock --no-fork /run/nixos/switch-to-configuration.lock sleep 1d; \
         until ! flock --nonblock /run/nixos/switch-to-configuration.lock true; do :; done",
    );
    // Not by the boot loader's failure, after the profile was set.
    for verb in ["switch", "boot"] {
        refused(&host, verb, 75, &["somebody else is activating a system"]);
    }
    host.root("systemctl stop holder");
    committed(&host);
}

// ---- gates ------------------------------------------------------------------------------------------------------------

#[test]
fn a_gate_knows_what_it_judges_and_refuses_by_its_name() {
    let host = Host::boot();
    host.write(
        "/root/gate",
        "#!/bin/sh\nenv | sort >/tmp/gate.$NIXGATE_VERB\nid -un >>/tmp/gate.$NIXGATE_VERB\necho \"looking at $NIXGATE_CANDIDATE\"\n\
         grep -qx v2 \"$NIXGATE_CANDIDATE/demo-version\" && exit 3\nexit 0\n",
    );
    host.root("install -m 0755 /root/gate /usr/local/bin/gate");
    let gate = "[[check]]\nname = \"cve\"\nwhen = \"before\"\ncommand = [\"/usr/local/bin/gate\"]\nretries = 0\ntimeout = \"2s\"";
    configure(&host, gate);
    let commit = host.commit("v1", &Commit::signed());
    let answer = committed(&host);
    let new = answer.value("new");
    let expected = format!(
        "LC_ALL=C\nNIXGATE_CANDIDATE={new}\nNIXGATE_COMMIT={commit}\nNIXGATE_VERB=switch\nPATH=/usr/bin\nPWD=/\nnixgate"
    );
    assert_eq!(host.root("grep -v ^_= /tmp/gate.switch"), expected);
    assert!(answer.stderr.contains(&format!("looking at {new}")), "its output is in the log: {answer:#?}");

    host.commit("v2", &Commit::signed());
    for verb in ["switch", "test", "boot"] {
        refused(&host, verb, 13, &["check cve refused the candidate: it ended with 3"]);
    }
    // Fetching judges nothing, and the way back is not for a gate to shut.
    host.ssh(&["fetch"]).expect(0);
    host.root("rm /tmp/gate.*");
    host.ssh(&["rollback"]).expect(0);
    host.root("! ls /tmp/gate.rollback");
}

#[test]
fn whoever_activates_a_system_by_the_end_of_a_gate_is_seen_before_the_profile_is_set() {
    let host = Host::boot();
    let lock = "/run/nixos/switch-to-configuration.lock";
    host.write(
        "/root/gate",
        &format!("#!/bin/bash\nsetsid flock --no-fork {lock} sleep 4 </dev/null >/dev/null 2>&1 &\nwhile flock --nonblock {lock} true; do :; done\n"),
    );
    host.root(&format!("install -m 0755 /root/gate /usr/local/bin/gate; touch {lock}"));
    configure(&host, "[[check]]\nname = \"slow\"\nwhen = \"before\"\ncommand = [\"/usr/local/bin/gate\"]");
    host.commit("v1", &Commit::signed());
    refused(&host, "boot", 75, &["somebody else is activating a system"]);
}

#[test]
fn a_gate_has_a_time_limit_its_retries_and_an_end_by_cancel() {
    let host = Host::boot();
    host.write(
        "/root/gate",
        "#!/bin/sh\necho try >>/tmp/tries\n[ $(wc -l </tmp/tries) -ge 3 ] || exec sleep 100\n",
    );
    host.root("install -m 0755 /root/gate /usr/local/bin/gate");
    let gate = |retries: u8, timeout: &str| {
        format!(
            "[[check]]\nname = \"cve\"\nwhen = \"before\"\ncommand = [\"/usr/local/bin/gate\"]\nretries = {retries}\ntimeout = \"{timeout}\""
        )
    };
    host.commit("v1", &Commit::signed());
    configure(&host, &gate(1, "1s"));
    let why = "check cve refused the candidate: /usr/local/bin/gate did not end within 1 s";
    refused(&host, "switch", 13, &[why]);
    assert_eq!(host.root("wc -l </tmp/tries"), "2");
    unconfigure(&host, &gate(1, "1s"));
    configure(&host, &gate(0, "1m"));
    host.root("rm /tmp/tries");
    let before = host.triple();
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("check cve", LIMIT);
    host.await_root("test -e /tmp/tries", LIMIT);
    host.ssh(&["cancel"]).expect(0);
    leaves(&host, &before, &client.wait(), "switch", "cancelled", 23, &[BUILT, REFUSES]);
    host.root("! pgrep -xf 'sleep 100'");
    unconfigure(&host, &gate(0, "1m"));
    configure(&host, &gate(2, "1s"));
    host.root("rm /tmp/tries");
    committed(&host);
    assert_eq!(host.root("wc -l </tmp/tries"), "3", "the third try passed");
}

// ---- confirmation -----------------------------------------------------------------------------------------------------

/// A trial that waits for its confirmation.
fn waiting(host: &Host) -> Client {
    host.config_edit_only("confirm = \"10s\"", "confirm = \"1m\"");
    host.config_edit("mode = \"health\"", "mode = \"required\"");
    host.commit("v1", &Commit::signed());
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("over a new connection", LIMIT);
    client
}

const CONFIRMED: &str = "healthy confirmed-by confirmed committing committed ended";

#[test]
fn whoever_is_on_the_host_already_cannot_confirm() {
    let host = Host::boot();
    let client = waiting(&host);
    let as_deploy = "setpriv --reuid=deploy --regid=deploy --clear-groups";
    host.root("install -m 0755 /usr/bin/bash /tmp/sshd-session");
    for (who, command) in [
        ("root with su", "su -s /usr/bin/nixgate deploy -c confirm".to_owned()),
        ("code that runs as deploy", format!("{as_deploy} /usr/bin/nixgate -c confirm")),
        (
            "and calls itself sshd",
            format!("{as_deploy} /tmp/sshd-session -c '/usr/bin/nixgate -c confirm; exit $?'"),
        ),
    ] {
        let output = host.root_output(&command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(77), "{who}: {said}");
        assert!(said.contains("only through sshd"), "{who}: {said}");
    }
    assert_eq!(status(&host)["job"]["state"], "healthy", "it still waits");
    host.ssh(&["confirm"]).expect(0);
    ended(&host, &client.wait(), "switch", "committed", 0, &[TRIED, CONFIRMED]);
}

#[test]
fn the_connection_that_carries_the_job_cannot_confirm_it() {
    let host = Host::boot();
    host.config_edit_only("confirm = \"10s\"", "confirm = \"1m\"");
    host.config_edit("mode = \"health\"", "mode = \"required\"");
    host.commit("v1", &Commit::signed());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/container/host");
    let printed = Command::new(script).args(["ssh-command", host.name()]).output().unwrap();
    let socket = std::env::temp_dir().join(format!("nixgate-own-{}", host.name())).display().to_string();
    let ssh = String::from_utf8(printed.stdout)
        .unwrap()
        .trim_end()
        .replace("ControlPath=none", &format!("ControlPath={socket}"));
    let bash = |text: &str| {
        let mut command = Command::new("timeout");
        command.args(["90", "bash", "-c", text]).stdin(Stdio::null());
        command
    };
    let own = format!("{} switch 2>/dev/null", ssh.replacen("ssh ", "ssh -o ControlMaster=yes ", 1));
    let mut job = bash(&own).spawn().unwrap();
    host.await_root("grep -q '\"confirm-by\": [0-9]' /var/lib/nixgate/jobs/*/record", LIMIT);
    let said = bash(&format!("{ssh} confirm")).output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(77), "{text}");
    assert!(text.contains("opened before the activation ended"), "{text}");
    host.ssh(&["confirm"]).expect(0);
    assert_eq!(job.wait().unwrap().code(), Some(0));
    assert_eq!(host.version(), "v1");
}

#[test]
fn two_who_confirm_at_once_confirm_it_once() {
    let host = Host::boot();
    let client = waiting(&host);
    let both = [host.ssh_spawn("ci", &["confirm"]), host.ssh_spawn("other", &["confirm"])].map(Client::wait);
    assert!(both.iter().any(|answer| answer.code == 0), "{both:#?}");
    // Who comes after the end is told that there is nothing to confirm any more.
    assert!(both.iter().all(|answer| answer.code == 0 || answer.code == 64), "{both:#?}");
    let answer = client.wait();
    ended(&host, &answer, "switch", "committed", 0, &[TRIED, CONFIRMED]);
    assert_eq!(answer.value("reachability"), "proven");
    let (well, wait) =
        (answer.stderr.find("the candidate is well"), answer.stderr.find("waiting 60 s for `confirm"));
    assert!(well.is_some() && well < wait, "the time begins when it is well: {answer:#?}");
}

#[test]
fn each_verb_may_have_to_be_confirmed_or_not() {
    let host = Host::boot();
    host.config_edit_only("confirm = \"10s\"", "confirm = \"1s\"");
    host.config_edit("mode = \"health\"", "mode = \"health\"\ntest = \"required\"");
    host.commit("v1", &Commit::signed());
    let before = host.triple();
    let answer = host.ssh(&["test"]);
    leaves(&host, &before, &answer, "test", "reverted", 22, &[TRIED, "healthy", REVERTS]);
    assert_eq!(committed(&host).value("reachability"), "not-proven");
    host.config_edit_only(
        "mode = \"health\"\ntest = \"required\"",
        "mode = \"required\"\nrollback = \"health\"",
    );
    assert_eq!(host.ssh(&["rollback"]).expect(0).value("reachability"), "not-proven");
}

#[test]
fn one_role_has_to_be_confirmed_and_another_need_not() {
    let host = Host::boot();
    let table = |key: &str, confirm: &str| {
        let fingerprint = host.root(&format!("ssh-keygen -lf /root/keys/{key}.pub | cut -d' ' -f2"));
        format!(
            "[[access]]\nname = \"{key}\"\nkey = \"{fingerprint}\"\nverbs = [\"switch\", \"test\"]\nconfirm = \"{confirm}\""
        )
    };
    host.config_edit_only("confirm = \"10s\"", "confirm = \"1s\"");
    let tables = format!("{}\n\n{}\n\n[[check]]", table("ci", "required"), table("other", "health"));
    host.config_edit("[[check]]", &tables);
    host.commit("v1", &Commit::signed());
    let before = host.triple();
    let answer = host.ssh(&["switch"]);
    leaves(&host, &before, &answer, "switch", "reverted", 22, &[TRIED, "healthy", REVERTS]);
    let answer = host.ssh_as("other", &["switch"]);
    ended(&host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    assert_eq!(answer.value("reachability"), "not-proven");
}

// ---- status -----------------------------------------------------------------------------------------------------------

/// `status --json`, which has to be what docs/status.schema.json says.
#[track_caller]
fn status(host: &Host) -> Value {
    let answer = host.ssh(&["status", "--json"]).expect(0);
    let value: Value = serde_json::from_str(&answer.stdout).expect(&answer.stdout);
    let schema = include_str!("../docs/status.schema.json");
    fits(&value, &serde_json::from_str(schema).unwrap(), "status");
    value
}

/// As much of JSON Schema as the schema uses; and no key that it does not name.
#[track_caller]
fn fits(value: &Value, schema: &Value, at: &str) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = &schema["type"];
    let named = kinds == kind || kinds.as_array().is_some_and(|kinds| kinds.contains(&kind.into()));
    assert!(named, "{at} is {kind} and not {kinds}: {value}");
    assert!(schema["enum"].as_array().is_none_or(|list| list.contains(value)), "{at}: {value}");
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&str> = map.keys().map(String::as_str).collect();
            let mut required: Vec<&str> =
                schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            keys.sort_unstable();
            required.sort_unstable();
            assert_eq!(keys, required, "{at}");
            map.iter()
                .for_each(|(key, value)| fits(value, &schema["properties"][key], &format!("{at}.{key}")));
        }
        Value::Array(list) => list.iter().for_each(|value| fits(value, &schema["items"], at)),
        _ => {}
    }
}

fn text(host: &Host) -> String {
    host.ssh(&["status"]).expect(0).stdout
}

#[test]
fn status_tells_a_trial_a_test_deployment_a_waiting_boot_and_a_settled_host_apart() {
    let host = Host::boot();
    let v0 = host.triple().running;
    let first = status(&host);
    assert_eq!(
        (&first["standing"], &first["generations"][0]["system"]),
        (&"settled".into(), &v0.as_str().into())
    );
    assert_eq!(
        (&first["job"], &first["frozen"], &first["specialisation"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert!(!text(&host).contains("note "), "{}", text(&host));

    let one = host.commit("v1", &Commit::signed());
    let v1 = host.ssh(&["test"]).expect(0).value("new").to_owned();
    let now = status(&host);
    assert_eq!(
        (&now["standing"], &now["running"], &now["default"], &now["candidate"]),
        (&"test".into(), &v1.as_str().into(), &v0.as_str().into(), &v1.as_str().into())
    );
    assert!(text(&host).contains("a test deployment"), "{}", text(&host));

    host.ssh(&["switch"]).expect(0);
    let now = status(&host);
    assert_eq!(
        (&now["standing"], &now["generations"][0]["commit"], &now["generations"][0]["generation"]),
        (&"settled".into(), &one.as_str().into(), &2.into())
    );
    let made = now["generations"][0]["at"].as_str().expect("a date");
    assert_eq!(
        made,
        host.root("date -u -d @$(stat -c %Y /nix/var/nix/profiles/system-2-link) +%Y-%m-%dT%H:%M:%SZ")
    );

    host.commit("v2", &Commit::signed().fault("new-kernel"));
    let v2 = host.ssh(&["boot"]).expect(0).value("new").to_owned();
    let now = status(&host);
    assert_eq!(
        (&now["standing"], &now["running"], &now["default"]),
        (&"boot-waiting".into(), &v1.as_str().into(), &v2.as_str().into())
    );
    assert!(text(&host).contains("a boot is waiting"), "{}", text(&host));

    host.write("/etc/nixgate/freeze", "until Monday\n");
    assert_eq!(status(&host)["frozen"], "until Monday");
    assert!(text(&host).contains("frozen    until Monday"), "{}", text(&host));
}

#[test]
fn status_names_who_is_on_trial_and_how_long_he_may_be_confirmed() {
    let host = Host::boot();
    let client = waiting(&host);
    let now = status(&host);
    assert_eq!(
        (&now["standing"], &now["job"]["state"], &now["job"]["verb"]),
        (&"trial".into(), &"healthy".into(), &"switch".into())
    );
    let left = now["job"]["confirm-in"].as_u64().expect("seconds");
    assert!((30..=60).contains(&left), "{now:#}");
    let by = now["job"]["confirm-by"].as_str().expect("a time");
    assert!(
        text(&host).contains("on trial") && text(&host).contains(" s are left, until "),
        "{}",
        text(&host)
    );
    let seconds = host.root(&format!("echo $(($(date -d {by} +%s) - $(date +%s)))"));
    assert!((0..=60).contains(&seconds.parse::<i64>().unwrap()), "{by}");
    host.ssh(&["cancel"]).expect(0);
    client.wait().expect(23);
    assert_eq!(status(&host)["standing"], "settled");
}

#[test]
fn the_specialisation_that_runs_is_named_and_a_revert_returns_to_it() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed().fault("specialised"));
    let system = committed(&host).value("new").to_owned();
    host.root("/run/current-system/specialisation/gui/bin/switch-to-configuration test 2>&1");
    let now = status(&host);
    assert_eq!(now["specialisation"], serde_json::json!({"name": "gui", "of": system}));
    assert_eq!((&now["standing"], &now["default"]), (&"settled".into(), &system.as_str().into()));
    assert!(text(&host).contains(&format!("gui, a specialisation of {system}")), "{}", text(&host));

    let before = host.triple();
    host.commit("v2", &Commit::signed().fault("specialised").fault("health-bad"));
    let answer = host.ssh(&["switch"]);
    leaves(&host, &before, &answer, "switch", "reverted", 21, &[TRIED, REVERTS]);
    assert!(answer.stderr.contains("the specialisation gui of "), "{answer:#?}");
    assert_eq!(status(&host)["specialisation"]["name"], "gui");
}

// ---- a state that is none ---------------------------------------------------------------------------------------------

#[test]
fn a_state_that_names_no_job_is_74_and_said_and_not_forgotten() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
    host.commit("v2", &Commit::signed());
    let now = host.triple();
    let path = "/var/lib/nixgate/state.json";
    host.root(&format!(
        "cp -p {path} /root/state && sed -i 's/\"job\": null/\"job\": \"the last one\"/' {path}"
    ));
    for request in ["switch", "rollback", "confirm"] {
        let answer = host.ssh(&[request]).expect(74);
        assert!(
            answer.stderr.contains("state.json") && answer.stderr.contains("not a job identifier"),
            "{answer:#?}"
        );
    }
    assert_ne!(
        host.root_code(
            "systemctl start nixgate-recover.service && ! systemctl is-failed nixgate-recover.service"
        ),
        0
    );
    assert!(status(&host)["problem"].as_str().is_some_and(|why| why.contains("not a job identifier")));
    assert_eq!(
        (host.triple(), host.root_code("grep -q 'the last one' /var/lib/nixgate/state.json")),
        (now, 0)
    );
    host.root(&format!("cp -p /root/state {path}"));
    committed(&host);
}
