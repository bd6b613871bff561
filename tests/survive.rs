//! What does not come back by itself: killed jobs, broken sudo, hung activations, power cuts. After each of them
//! the profile, the running system and the boot default are what they were, by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod host;

use host::{Commit, Host, Triple};
use std::time::Duration;

/// Longer than the dead man's switch and a revert with the limits below.
const TIMER: Duration = Duration::from_secs(120);
/// An activation that is still running when the test does something to it.
const SLOW: &str = "slow-15";
/// What the log says when the candidate runs.
const ACTIVATING: &str = "activating the configuration";

fn quick() -> Host {
    let host = Host::boot();
    host.config_edit("health = \"10s\"", "health = \"3s\"");
    host
}

/// The process of the job in progress.
fn job_pid(host: &Host) -> String {
    host.root("systemctl show --property=MainPID --value 'nixgate-job@*.service' | grep -v '^0$' | head -n 1")
}

/// Recovery says how the job ended; nothing is left armed, locked or half done.
#[track_caller]
fn assert_settled(host: &Host, before: &Triple) {
    host.await_root("! systemctl is-active --quiet nixgate-revert.timer nixgate-revert.service", TIMER);
    assert_eq!(&host.triple(), before);
    host.root("systemctl is-active ssh.service nixgate.socket nixgate-control.socket demo.service");
    host.root("flock --nonblock /run/nixos/switch-to-configuration.lock true");
    host.root("! systemctl is-failed --quiet demo.service ssh.service");
}

#[track_caller]
fn assert_recorded(host: &Host, result: &str) {
    host.await_root("grep -q '\"job\": null' /var/lib/nixgate/state.json", TIMER);
    let audit = host.audit();
    let ended =
        audit.iter().rev().find(|record| record["event"] == "ended").expect("an end in the audit log");
    assert_eq!(ended["detail"]["result"], result, "{ended}");
    host.ssh(&["status"]).expect(0);
}

#[test]
fn a_job_killed_during_a_trial_is_reverted_and_the_next_deploy_works() {
    let host = quick();
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault(SLOW));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text(ACTIVATING, TIMER);
    host.root(&format!("kill -9 {}", job_pid(&host)));
    client.wait().expect(70);
    assert_recorded(&host, "reverted");
    assert_settled(&host, &before);
    host.commit("v2", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
    assert_eq!(host.version(), "v2");
}

#[test]
fn a_job_killed_during_a_trial_is_reverted_by_the_timer_alone() {
    let host = quick();
    let before = host.triple();
    host.root("systemctl mask --runtime nixgate-recover.service");
    host.commit("v1", &Commit::signed().fault("kill-sshd").fault("slow-3"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text(ACTIVATING, TIMER);
    host.root(&format!("kill -9 {}", job_pid(&host)));
    host.await_root(&format!("[ \"$(readlink -f /run/current-system)\" != {} ]", before.running), TIMER);
    host.await_root(&format!("[ \"$(readlink -f /run/current-system)\" = {} ]", before.running), TIMER);
    assert_settled(&host, &before);
    drop(client.kill());
    host.root(
        "systemctl unmask --runtime nixgate-recover.service && systemctl start nixgate-recover.service",
    );
    assert_recorded(&host, "reverted");
}

/// The job lives, and cannot use sudo: nothing but the timer leads back.
#[track_caller]
fn the_timer_alone_reverts(fault: &str) {
    let host = quick();
    host.config_edit_only("[confirm]", "[preflight]\nlock-out = \"allow\"\n\n[confirm]");
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault(fault));
    let answer = host.ssh(&["switch"]).expect(21);
    assert_eq!(answer.value("result"), "reverted");
    assert_settled(&host, &before);
    assert_recorded(&host, "reverted");
    host.commit("v2", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
}

#[test]
fn a_candidate_that_breaks_sudo_is_reverted_by_the_timer_alone() {
    the_timer_alone_reverts("break-sudoers");
}

#[test]
fn a_candidate_without_nixgate_is_reverted_by_the_timer_alone() {
    the_timer_alone_reverts("no-nixgate");
}

#[test]
fn a_candidate_without_sshd_is_reverted_and_the_caller_is_told() {
    let host = quick();
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault("kill-sshd"));
    host.ssh(&["switch"]).expect(21);
    assert_settled(&host, &before);
}

#[test]
fn a_hung_activation_ends_at_its_deadline_and_frees_the_lock() {
    let host = quick();
    host.config_edit_only("activation = \"20s\"", "activation = \"4s\"");
    host.root("/root/fixture/system/configure ''");
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault("hang"));
    let answer = host.ssh(&["switch"]).expect(20);
    assert!(answer.stderr.contains("did not end within its limit"), "{answer:#?}");
    assert_settled(&host, &before);
    host.commit("v2", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
}

#[test]
fn a_power_cut_during_a_trial_boots_the_old_system_and_says_so() {
    let host = quick();
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault(SLOW));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text(ACTIVATING, TIMER);
    host.power_cut();
    drop(client.kill());
    host.start();
    assert_recorded(&host, "reverted");
    assert_eq!(host.triple(), before);
    let attached = host.ssh(&["attach"]).expect(20);
    assert!(attached.stdout.contains("reverted by a restart of the host"), "{attached:#?}");
    host.commit("v2", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
}

#[test]
fn a_power_cut_during_a_commit_is_finished_or_undone_and_never_neither() {
    let host = quick();
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault("boot-slow"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("root: Commit", TIMER);
    host.power_cut();
    drop(client.kill());
    host.start();
    // The entry was not written yet, so the old system boots; the profile had moved.
    host.await_root("grep -q '\"job\": null' /var/lib/nixgate/state.json", TIMER);
    let after = host.triple();
    assert_eq!(after.running, before.running);
    let leads = |link: &str| host.root(&format!("readlink -f /nix/var/nix/profiles/{link}"));
    assert_eq!(leads(&after.profile), before.running);
    assert_recorded(&host, "reverted");
    host.commit("v2", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
}

#[test]
fn what_asks_a_program_to_end_does_not_end_a_job() {
    let host = quick();
    host.commit("v1", &Commit::signed().fault("wait"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text(ACTIVATING, TIMER);
    host.root(&format!("for signal in TERM HUP INT QUIT; do kill -$signal {}; done", job_pid(&host)));
    host.go();
    client.wait().expect(0);
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_job_killed_during_a_commit_is_finished() {
    let host = quick();
    let commit = host.commit("v1", &Commit::signed().fault("boot-slow"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("root: Commit", TIMER);
    host.root(&format!("kill -9 {}", job_pid(&host)));
    client.wait().expect(70);
    assert_recorded(&host, "committed");
    let after = host.triple();
    assert_eq!(host.version(), "v1");
    assert_eq!(host.root(&format!("readlink -f /nix/var/nix/profiles/{}", after.profile)), after.running);
    assert!(host.root(&format!("cat /boot/loader/entries/{}", after.boot)).contains(&after.running));
    let status: serde_json::Value = serde_json::from_str(&host.ssh(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["anchor"], commit);
}

#[test]
fn a_revert_that_hangs_ends_with_a_restart_into_the_old_system() {
    let host = quick();
    host.config_edit_only("revert = \"20s\"", "revert = \"4s\"");
    host.root("/root/fixture/system/configure ''");
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault("service-fails").fault("hang-on-revert"));
    let boots = host.boots();
    let client = host.ssh_spawn("ci", &["switch"]);
    host.await_boot(boots + 1);
    drop(client.kill());
    assert_recorded(&host, "reverted");
    assert_eq!(host.triple(), before);
}

#[test]
fn emergency_mode_ends_with_a_restart_into_the_old_system() {
    let host = quick();
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault("failing-mount"));
    let boots = host.boots();
    let client = host.ssh_spawn("ci", &["switch"]);
    host.await_boot(boots + 1);
    drop(client.kill());
    assert_recorded(&host, "reverted");
    assert_eq!(host.triple(), before);
}

#[test]
fn an_upgrade_of_nixgate_itself_lives_through_its_own_activation() {
    let host = quick();
    host.commit("v1", &Commit::signed().fault("nixgate-next"));
    let answer = host.ssh(&["switch"]).expect(0);
    assert_eq!(answer.value("result"), "committed");
    host.commit("v2", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
}

#[test]
fn the_verdict_is_the_units_own_when_the_activation_restarts_the_bus_or_systemd() {
    let host = quick();
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault("restart-dbus").fault("service-fails"));
    host.ssh(&["switch"]).expect(21);
    assert_settled(&host, &before);
    // Logins, the fetch's too, wait for the logind that lost its bus.
    host.root("systemctl restart systemd-logind");
    host.commit("v3", &Commit::signed().fault("reexec"));
    host.ssh(&["switch"]).expect(0);
}

#[test]
fn a_hundred_megabytes_of_output_and_none_at_all_do_no_harm() {
    let host = quick();
    host.commit("v1", &Commit::signed().fault("flood"));
    host.ssh(&["switch"]).expect(0);
    host.commit("v2", &Commit::signed().fault("close-output"));
    host.ssh(&["switch"]).expect(0);
}

#[test]
fn root_gets_neither_gate_nor_job() {
    let host = Host::boot();
    for program in ["nixgate", "nixgate-job serve --platform fhs", "nixgate-job recover --platform fhs"] {
        assert_eq!(host.root_code(&format!("{program} </dev/null")), 78, "{program}");
    }
}

#[test]
fn sudo_lists_the_table_for_nixgate_and_nothing_for_deploy() {
    let host = Host::boot();
    let listed = host.root("sudo -n -l -U nixgate 2>/dev/null | sed -n 's/^ *(root) NOPASSWD: //p' | sort");
    let rules = host.root("sed -n 's/^nixgate ALL = (root) NOPASSWD: //p' /etc/sudoers.d/nixgate | sort");
    assert_eq!(listed, rules);
    assert!(rules.lines().count() > 15);
    assert!(host.root("sudo -n -l -U deploy 2>/dev/null").contains("not allowed"));
}

#[test]
fn sudo_rs_matches_the_same_rules() {
    let host = quick();
    host.use_sudo_rs();
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault("service-fails"));
    host.ssh(&["switch"]).expect(21);
    assert_settled(&host, &before);
    host.commit("v2", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
    host.ssh(&["rollback"]).expect(0);
    assert_eq!(host.version(), host.root("cat /nix/var/nix/profiles/system-1-link/demo-version"));
}

#[test]
fn a_job_killed_while_it_takes_a_commit_back_is_taken_back_all_the_same() {
    let host = quick();
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault("boot-slow").fault("boot-fails-late"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("root: Commit", TIMER);
    // The profile's own lock holds up the undo, so that the kill hits it.
    host.root("systemd-run --quiet --collect --unit=hold flock /nix/var/nix/profiles/system.lock sleep 600");
    client.await_text("root: Unset", TIMER);
    host.root(&format!("kill -9 {}", job_pid(&host)));
    host.root("systemctl stop hold.service");
    drop(client.wait());
    host.await_root("grep -q '\"job\": null' /var/lib/nixgate/state.json", TIMER);
    let after = host.triple();
    assert_eq!(after.running, before.running);
    let leads = |link: &str| host.root(&format!("readlink -f /nix/var/nix/profiles/{link}"));
    assert_eq!(leads(&after.profile), before.running);
    assert!(host.root(&format!("cat /boot/loader/entries/{}", after.boot)).contains(&before.running));
    assert_recorded(&host, "reverted");
    host.commit("v2", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
}

#[test]
fn what_ended_before_it_could_say_so_moves_the_anchor_when_it_is_recovered() {
    let host = quick();
    host.commit("v1", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
    host.root("cp -a /var/lib/nixgate/state.json /root/before");
    let commit = host.commit("v2", &Commit::signed());
    let answer = host.ssh(&["switch"]).expect(0);
    let job = answer.value("job").to_owned();
    // As if the power had gone between the record and the state.
    host.root(&format!(
        "sed 's/\"job\": null/\"job\": \"{job}\"/' /root/before >/var/lib/nixgate/state.json; rm /var/lib/nixgate/jobs/{job}/result"
    ));
    host.root("systemctl start nixgate-recover.service");
    assert_recorded(&host, "committed");
    let status: serde_json::Value = serde_json::from_str(&host.ssh(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["anchor"], commit);
    host.commit("v3", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
}

#[test]
fn a_state_of_another_version_stops_deploys_and_not_status() {
    let host = Host::boot();
    host.root(
        "sed 's/\"v\": 1/\"v\": 2/' /var/lib/nixgate/state.json >/tmp/state || echo '{\"v\":2}' >/tmp/state",
    );
    host.root("install -m 0640 -o nixgate -g nixgate /tmp/state /var/lib/nixgate/state.json");
    let answer = host.ssh(&["switch"]).expect(74);
    assert!(answer.stderr.contains("version 2"), "{answer:#?}");
    let status = host.ssh(&["status"]).expect(0);
    assert!(
        status.stdout.contains(&host.triple().running) && status.stdout.contains("version 2"),
        "{status:#?}"
    );
}
