//! A specialisation that is active when a deploy comes: it stays or ends as configured, every way back leads to exactly
//! what ran, and profile and boot default are always the system that it belongs to.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod host;

use host::job::{BUILT, KEEPS, REFUSES, REVERTS, ended, leaves};
use host::{Answer, Commit, Host, LIMIT};
use serde_json::Value;
use std::time::Duration;

/// What a job notes on its way that tries a specialisation.
const TRIED: &str = "accepted fetched verified built checked armed trial specialisation";
const ACTIVATING: &str = "activating the configuration";
const GUI: &str = "/run/current-system/specialisation/gui/bin/switch-to-configuration test 2>&1";

/// A host that keeps `gui`, on its first system with one, which is active.
fn host() -> Host {
    let host = Host::boot();
    host.config_edit_only("health = \"10s\"", "health = \"3s\"");
    host.config_edit_only("activation = \"20s\"", "activation = \"8s\"");
    host.config_edit("[confirm]", "[specialisation]\nkeep = [\"gui\"]\n\n[confirm]");
    let parent = deploy(&host, "v1", "switch").value("new").to_owned();
    host.root(GUI);
    assert_eq!(host.triple().running, gui(&host, &parent));
    host
}

/// A commit whose system has a specialisation, asked for and good.
fn deploy(host: &Host, version: &str, verb: &str) -> Answer {
    host.commit(version, &Commit::signed().fault("specialised"));
    host.ssh(&[verb]).expect(0)
}

fn gui(host: &Host, system: &str) -> String {
    host.root(&format!("readlink -f {system}/specialisation/gui"))
}

fn status(host: &Host) -> Value {
    serde_json::from_str(&host.ssh(&["status", "--json"]).expect(0).stdout).unwrap()
}

/// `running` runs; the profile and the boot default are `parent`.
#[track_caller]
fn stands(host: &Host, running: &str, parent: &str) {
    let now = host.triple();
    assert_eq!(now.running, running);
    assert_eq!(host.root("readlink -f /nix/var/nix/profiles/system"), parent);
    let entry = host.root(&format!("cat /boot/loader/entries/{}", now.boot));
    assert!(entry.contains(&format!("init={parent}/init ")), "{entry}");
}

/// A job that died is on record as this, and nothing is armed any more.
#[track_caller]
fn recovered(host: &Host, result: &str) {
    host.await_root("grep -q '\"job\": null' /var/lib/nixgate/state.json", LIMIT);
    host.await_root("! systemctl is-active --quiet nixgate-revert.timer nixgate-revert.service", LIMIT);
    let log = host.audit();
    let end = log.iter().rev().find(|event| event["event"] == "ended").expect("an end");
    assert_eq!(end["detail"]["result"], result, "{end}");
}

/// Kills the job in progress.
fn kill_job(host: &Host) {
    host.root("kill -9 $(systemctl show --property=MainPID --value 'nixgate-job@*.service' | grep -v '^0$')");
}

#[test]
fn one_that_is_kept_is_activated_from_the_candidate_and_every_refusal_leaves_it() {
    let host = host();
    let answer = deploy(&host, "v2", "switch");
    ended(&host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    let two = answer.value("new").to_owned();
    let two_gui = gui(&host, &two);
    stands(&host, &two_gui, &two);
    assert_eq!((answer.value("specialisation"), answer.value("reboot-required")), ("gui", "no"));
    assert!(answer.stderr.contains("runs and stays: the candidate's own is activated"), "{answer:#?}");
    assert!(answer.stderr.contains("root: TrialSpecialisation gui"), "{answer:#?}");
    let noted = host.audit();
    let noted = noted.iter().find(|event| event["event"] == "specialisation").expect("an event");
    assert_eq!(
        (&noted["detail"]["name"], &noted["detail"]["system"]),
        (&"gui".into(), &two_gui.as_str().into())
    );
    let now = status(&host);
    assert_eq!(now["specialisation"], serde_json::json!({"name": "gui", "of": two}));
    assert_eq!((&now["standing"], &now["running"]), (&"settled".into(), &two_gui.as_str().into()));

    let before = host.triple();
    let answer = host.ssh(&["switch"]);
    leaves(&host, &before, &answer, "switch", "unchanged", 0, &[BUILT, "done ended"]);

    host.commit("v3", &Commit::signed().fault("specialised").fault("health-bad"));
    let answer = host.ssh(&["switch"]);
    leaves(&host, &before, &answer, "switch", "reverted", 21, &[TRIED, REVERTS]);
    assert_eq!(answer.value("specialisation"), "gui");

    host.commit("v4", &Commit::signed().fault("specialised").fault("wait"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text(ACTIVATING, LIMIT);
    host.ssh(&["cancel"]).expect(0);
    let answer = client.wait();
    leaves(&host, &before, &answer, "switch", "reverted", 23, &[TRIED, REVERTS]);

    host.commit("v5", &Commit::signed());
    for verb in ["switch", "test"] {
        let answer = host.ssh(&[verb]);
        leaves(&host, &before, &answer, verb, "refused", 13, &[BUILT, REFUSES]);
        assert!(answer.stderr.contains("has none of that name; put it back, or end it first"), "{answer:#?}");
    }
    // As the refusal says: it goes on until the restart, into a candidate without one.
    let answer = host.ssh(&["boot"]).expect(0);
    stands(&host, &two_gui, answer.value("new"));
    assert!(
        answer.stderr.contains("the specialisation gui of ") && answer.stderr.contains("goes on running")
    );
    assert_eq!((answer.value("specialisation"), answer.value("reboot-reasons")), ("gui", "not-activated"));
    assert_eq!(status(&host)["standing"], "boot-waiting");
}

#[test]
fn it_outlasts_a_test_and_a_rollback_and_one_that_is_not_kept_ends_and_is_named() {
    let host = host();
    host.use_sudo_rs();
    let one = host.root("readlink -f /nix/var/nix/profiles/system");
    let first = host.root("readlink -f /nix/var/nix/profiles/system-2-link");
    let answer = deploy(&host, "v2", "test");
    let (two, two_gui) = (answer.value("new").to_owned(), gui(&host, answer.value("new")));
    stands(&host, &two_gui, &one);
    let now = status(&host);
    assert_eq!((&now["standing"], &now["specialisation"]["of"]), (&"test".into(), &two.as_str().into()));
    // A test that failed takes the place of the candidate; whose specialisation runs is on record.
    host.commit("bad", &Commit::signed().branch("side").fault("specialised").fault("health-bad"));
    host.config_edit_only("[trust]", "[refs]\ntest = \"side\"\n\n[trust]");
    host.ssh(&["test"]).expect(21);
    assert_eq!(status(&host)["specialisation"]["of"], two.as_str());
    host.config_edit_only("[refs]\ntest = \"side\"\n\n[trust]", "[trust]");

    // It runs already.
    let answer = host.ssh(&["switch"]);
    ended(&host, &answer, "switch", "committed", 0, &[BUILT, "checked", KEEPS]);
    stands(&host, &two_gui, &two);

    // Back, further back, and to the system before all that has none.
    host.ssh(&["rollback"]).expect(0);
    stands(&host, &gui(&host, &one), &one);
    let answer = host.ssh(&["rollback"]).expect(0);
    stands(&host, &first, &first);
    assert!(answer.stderr.contains("has none of that name: it is activated without one"), "{answer:#?}");
    assert!(!answer.last_line.contains_key("specialisation"), "{answer:#?}");

    // Not kept by this verb.
    deploy(&host, "v3", "switch");
    host.root(GUI);
    host.config_edit_only("keep = [\"gui\"]", "keep = [\"gui\"]\nswitch = []");
    let answer = deploy(&host, "v4", "switch");
    let four = answer.value("new");
    stands(&host, four, four);
    assert!(answer.stderr.contains("the candidate is activated without one"), "{answer:#?}");
}

#[test]
fn a_job_that_dies_leaves_the_specialisation_of_the_old_system_or_that_of_the_new_one() {
    let host = host();
    host.commit("v2", &Commit::signed().fault("specialised").fault("boot-slow"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("root: Commit", LIMIT);
    kill_job(&host);
    client.wait().expect(70);
    recovered(&host, "committed");
    let two = host.root("readlink -f /nix/var/nix/profiles/system");
    assert_eq!(host.version(), "v2");
    stands(&host, &gui(&host, &two), &two);

    let before = host.triple();
    host.commit("v3", &Commit::signed().fault("specialised").fault("slow-5"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text(ACTIVATING, LIMIT);
    kill_job(&host);
    client.wait().expect(70);
    recovered(&host, "reverted");
    assert_eq!(host.triple(), before);

    // A restart leads into the boot default, which is never a specialisation.
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text(ACTIVATING, LIMIT);
    host.power_cut();
    drop(client.kill());
    host.start();
    recovered(&host, "reverted");
    stands(&host, &two, &two);
    assert_eq!(status(&host)["specialisation"], Value::Null);

    host.root(GUI);
    host.commit("v4", &Commit::signed().fault("specialised").fault("boot-slow"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("root: Commit", LIMIT);
    host.power_cut();
    drop(client.kill());
    host.start();
    recovered(&host, "reverted");
    stands(&host, &two, &two);
}

#[test]
fn the_dead_mans_switch_alone_returns_to_exactly_the_specialisation_that_ran() {
    let host = host();
    let before = host.triple();
    host.root("systemctl mask --runtime nixgate-recover.service");
    host.commit("v2", &Commit::signed().fault("specialised").fault("kill-sshd").fault("slow-5"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text(ACTIVATING, LIMIT);
    kill_job(&host);
    let runs = |what: &str| format!("[ \"$(readlink -f /run/current-system)\" {what} {} ]", before.running);
    host.await_root(&runs("!="), LIMIT);
    host.await_root(&runs("="), LIMIT);
    host.await_root("! systemctl is-active --quiet nixgate-revert.service", Duration::from_secs(30));
    assert_eq!(host.triple(), before);
    drop(client.kill());
    host.root(
        "systemctl unmask --runtime nixgate-recover.service && systemctl start nixgate-recover.service",
    );
    recovered(&host, "reverted");
    assert_eq!(host.triple(), before);
}

#[test]
fn a_boot_default_that_is_a_specialisation_becomes_the_system_that_it_belongs_to() {
    let host = host();
    let one = host.root("readlink -f /nix/var/nix/profiles/system");
    // As GRUB has it after `nixos-rebuild switch --specialisation gui`.
    let default =
        "sed -i 's/^default .*/default nixos-generation-3-specialisation-gui.conf/' /boot/loader/loader.conf";
    host.root(default);
    let now = status(&host);
    assert_eq!((&now["standing"], &now["default"]), (&"settled".into(), &now["running"]));
    host.commit("v2", &Commit::signed().fault("specialised").fault("boot-fails-late"));
    let answer = host.ssh(&["switch"]).expect(24);
    assert!(answer.stderr.contains("and no longer its specialisation"), "{answer:#?}");
    stands(&host, &gui(&host, &one), &one);

    host.root(default);
    let answer = deploy(&host, "v3", "switch");
    let three = answer.value("new");
    stands(&host, &gui(&host, three), three);
}
