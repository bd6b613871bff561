//! The test host itself: it boots, switches, fails and comes back as a NixOS host does, so that what the other tests
//! see is nixgate's doing. What is expected here was measured with the real switch-to-configuration-ng.
#![cfg(feature = "host")]

mod host;

use host::{Commit, Host};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// Builds a system with these faults.
fn system(host: &Host, version: &str, faults: &[&str]) -> String {
    let commit = faults.iter().fold(Commit::signed(), |commit, fault| commit.fault(fault));
    host.realise(&host.commit(version, &commit))
}

fn switch(host: &Host, system: &str, action: &str) -> i32 {
    host.root_code(&format!("{system}/bin/switch-to-configuration {action} >/tmp/said 2>&1"))
}

fn active(host: &Host, units: &str) -> String {
    host.root(&format!("systemctl is-active {units} | paste -sd' '"))
}

#[test]
fn it_boots_what_the_loader_names_and_nothing_has_failed() {
    let host = Host::boot();
    assert_eq!(host.root("systemctl is-system-running --wait"), "running");
    let triple = host.triple();
    assert_eq!((triple.profile.as_str(), triple.boot.as_str()), ("system-1-link", "nixos-generation-1.conf"));
    assert_eq!(
        host.root("readlink -f /nix/var/nix/profiles/system /run/booted-system | uniq"),
        triple.running
    );
    assert_eq!(
        host.root("readlink /proc/1/root/etc/static"),
        host.root("readlink /run/current-system/etc | xargs")
    );
    assert_eq!(host.root_code("touch /nix/store/x"), 1, "the store is read-only");
    assert_eq!(host.root("stat -c %a /boot /etc/sudoers.d/nixgate | paste -sd' '"), "700 440");
    assert_eq!(
        active(&host, "ssh demo nixgate.socket nixgate-control.socket"),
        "active active active active"
    );
    host.root("visudo -cq && sshd -t && systemd-analyze verify nixgate.socket 'nixgate-job@x.service'");
}

#[test]
fn it_turns_off_on_and_over() {
    let host = Host::boot();
    let new = system(&host, "v1", &[]);
    host.root(&format!("nix-env --profile /nix/var/nix/profiles/system --set {new}"));
    host.power_cut();
    host.start();
    assert_eq!(host.version(), "v0", "the profile alone boots nothing");
    assert_eq!(switch(&host, &new, "boot"), 0);
    assert_eq!(host.version(), "v0");
    host.power_cut();
    host.start();
    assert_eq!(host.version(), "v1");
    host.root_output("systemctl reboot");
    host.await_boot(4);
    assert_eq!((host.version().as_str(), host.boots()), ("v1", 4));
}

#[test]
fn clients_reach_the_gate_with_a_known_key_only() {
    let host = Host::boot();
    for (key, request, code) in
        [("ci", "true", 0), ("other", "true", 0), ("ci", "sh", 64), ("stranger", "true", 255)]
    {
        host.ssh_as(key, &[request]).expect(code);
    }
    let client = host.ssh_spawn("ci", &["x"]);
    client.await_text("nixgate", SOON);
    client.wait().expect(64);
}

#[test]
fn the_forge_lets_account_nixgate_read_and_nobody_write() {
    let host = Host::boot();
    let ssh =
        "ssh -i /var/lib/nixgate/keys/source -o UserKnownHostsFile=/etc/nixgate/known_hosts -o BatchMode=yes";
    let git = |words: &str| {
        format!(
            "cd /; GIT_SSH_COMMAND='{ssh}' setpriv --reuid nixgate --regid nixgate --clear-groups git {words}"
        )
    };
    let url = "ssh://git@127.0.0.1/srv/git/infra.git";
    let commit = host.commit("v1", &Commit::signed());
    assert!(host.root(&git(&format!("ls-remote {url}"))).contains(&commit));
    assert_eq!(
        host.root_code(&git(&format!("-C /var/lib/nixgate ls-remote {url} shell; {ssh} git@127.0.0.1 id"))),
        128
    );
    let nix = "setpriv --reuid nixgate --regid nixgate --clear-groups nix --extra-experimental-features nix-command store ping";
    host.root(&format!("HOME=/var/lib/nixgate {nix}"));
}

#[test]
fn commits_are_signed_as_asked() {
    let host = Host::boot();
    let verify = |commit: &str| {
        host.root_code(&format!(
            "cd /srv/git/infra.git && git -c gpg.ssh.allowedSignersFile=/etc/nixgate/allowed_signers verify-commit {commit}"
        ))
    };
    let first = host.commit("v1", &Commit::signed());
    assert_eq!(verify(&first), 0);
    assert_ne!(verify(&host.commit("v2", &Commit::unsigned())), 0);
    assert_ne!(verify(&host.commit("v3", &Commit::unknown_key())), 0);
    let fork = host.commit("v4", &Commit::signed().branch("side").parent(&first));
    let heads = "git -C /srv/git/infra.git for-each-ref --format='%(refname:short)' --contains";
    assert_eq!(host.root(&format!("{heads} {fork}")), "side");
    assert_eq!(host.root(&format!("{heads} {first} | paste -sd' '")), "main side");
}

#[test]
fn exit_codes_and_what_they_leave_are_those_of_the_real_program() {
    let host = Host::boot();
    let old = host.triple();
    let fresh = system(&host, "v1", &[]);
    for (action, code) in [("", 1), ("reload", 1), ("test twice", 1), ("check", 0), ("dry-activate", 0)] {
        assert_eq!(switch(&host, &fresh, action), code, "{action}");
        assert_eq!(host.triple(), old, "{action}");
    }
    assert_eq!(
        host.root_code(&format!(
            "setpriv --reuid nixgate --clear-groups {fresh}/bin/switch-to-configuration test"
        )),
        1
    );
    // (fault, action, code, is NEW the running system?)
    let table = [
        ("exit-1", "check", 1, false),
        ("exit-1", "test", 1, false),
        ("exit-1-late", "check", 0, false),
        ("exit-1-late", "test", 1, false),
        ("inhibitor", "check", 1, false),
        ("inhibitor", "test", 1, false),
        ("inhibitor", "boot", 0, false),
        ("exit-2", "test", 2, true),
        ("exit-4", "test", 4, true),
        ("service-fails", "test", 4, true),
        ("service-flaps", "test", 4, true),
        ("exit-11-late", "test", 11, true),
        ("exit-100", "test", 100, false),
        ("exit-100", "boot", 0, false),
        ("exit-101", "test", 101, false),
        ("flood", "test", 0, true),
        ("close-output", "test", 0, true),
        ("slow-1", "test", 0, true),
        ("boot-fails", "boot", 1, false),
        ("boot-fails-late", "boot", 1, false),
        ("boot-slow-1", "boot", 0, false),
        ("new-kernel", "test", 0, true),
        ("reexec", "test", 0, true),
        ("restart-dbus", "test", 0, true),
    ];
    for (fault, action, code, is_new) in table {
        let new = system(&host, fault, &[fault]);
        assert_eq!(
            switch(&host, &new, action),
            code,
            "{fault} {action}: {}",
            host.root("head -c 2000 /tmp/said")
        );
        let running = if is_new { &new } else { &old.running };
        assert_eq!(&host.triple().running, running, "{fault} {action}");
        if fault == "flood" {
            assert!(host.root("stat -c %s /tmp/said").parse::<u64>().is_ok_and(|size| size >= 100_000_000));
        }
        // Running OLD's program again is the designed recovery, whatever was left.
        assert_eq!(
            switch(&host, &old.running, "test"),
            0,
            "back from {fault}: {}",
            host.root("cat /tmp/said")
        );
        assert_eq!(host.triple(), old, "{fault}");
        assert_eq!(active(&host, "ssh demo nixgate.socket"), "active active active", "{fault}");
    }
}

#[test]
fn a_reader_that_goes_away_leaves_a_switch_half_done() {
    let host = Host::boot();
    let new = system(&host, "v1", &[]);
    // The reader has gone before the first line is written.
    let run = format!("exec 3> >(exec true); wait $!; {new}/bin/switch-to-configuration test 2>&3");
    assert_eq!(host.root_code(&run), 101);
    assert_eq!(host.version(), "v0");
}

#[test]
fn a_held_lock_is_11_and_touches_nothing_and_children_do_not_keep_it() {
    let host = Host::boot();
    let (old, new) = (host.triple(), system(&host, "v1", &[]));
    let lock = "/run/nixos/switch-to-configuration.lock";
    for action in ["check", "test", "boot", "switch", "dry-activate"] {
        let program = format!("{new}/bin/switch-to-configuration {action}");
        assert_eq!(host.root_code(&format!("mkdir -p /run/nixos; flock {lock} {program}")), 11, "{action}");
        assert_eq!(host.triple(), old, "{action}");
    }
    assert_eq!(switch(&host, &new, "test"), 0);
    assert_eq!(host.root_code(&format!("flock -n {lock} true")), 0);
}

#[test]
fn a_hung_switch_ignores_sigterm_holds_the_lock_and_frees_it_when_killed() {
    let host = Host::boot();
    let old = host.triple();
    for (fault, version) in [("hang", "hang"), ("hang-early", "v0")] {
        let new = system(&host, fault, &[fault]);
        host.root(&format!(
            "systemctl reset-failed trial 2>/dev/null; systemd-run -q --unit=trial --service-type=exec -p TimeoutStopSec=1 \
             -p StandardError=truncate:/tmp/trial {new}/bin/switch-to-configuration test"
        ));
        host.await_line("/tmp/trial", "^hanging", SOON);
        assert_eq!(host.version(), version);
        assert_eq!(switch(&host, &old.running, "test"), 11, "locked");
        host.root("systemctl stop trial");
        assert_eq!(host.root("systemctl show -P Result trial"), "timeout", "SIGTERM did not do it");
        assert_eq!(switch(&host, &old.running, "test"), 0);
        assert_eq!(host.triple(), old);
    }
    let new = system(&host, "bad", &["hang-on-revert"]);
    assert_eq!(switch(&host, &new, "test"), 0);
    assert_eq!(
        host.root_code(&format!("timeout -k 1 1 {}/bin/switch-to-configuration test", old.running)),
        137
    );
}

#[test]
fn the_boot_loader_has_each_generation_and_the_default_is_its_own() {
    let host = Host::boot();
    let profile = "nix-env --profile /nix/var/nix/profiles/system";
    let [one, two] = ["v1", "v2"].map(|version| system(&host, version, &[]));
    for system in [&one, &two] {
        host.root(&format!("{profile} --set {system}"));
    }
    let entries = || host.root("cd /boot/loader/entries && echo *");
    assert_eq!(entries(), "nixos-generation-1.conf");
    for (system, default) in [(&one, "nixos-generation-2.conf"), (&two, "nixos-generation-3.conf")] {
        assert_eq!(switch(&host, system, "boot"), 0);
        assert_eq!(entries(), "nixos-generation-1.conf nixos-generation-2.conf nixos-generation-3.conf");
        assert_eq!(host.triple().boot, default);
    }
    host.root(&format!("{profile} --delete-generations 2"));
    assert_eq!(switch(&host, &two, "switch"), 0);
    assert_eq!(entries(), "nixos-generation-1.conf nixos-generation-3.conf");
    let entry = host.root("cat /boot/loader/entries/nixos-generation-3.conf");
    assert!(entry.contains(&format!("options init={}/init ", two)), "{entry}");
}

#[test]
fn only_the_flags_keep_an_instance_alive_and_transient_units_are_left_alone() {
    let host = Host::boot();
    host.root("systemctl start kept@1 plain@1; systemd-run -q --unit=mine sleep 1d; systemd-run -q --unit=later --on-active=1d true");
    let pid = |unit: &str| host.root(&format!("systemctl show -P MainPID {unit}"));
    let (kept, plain, mine) = (pid("kept@1"), pid("plain@1"), pid("mine"));
    assert_eq!(switch(&host, &system(&host, "v1", &[]), "test"), 0);
    assert_eq!((pid("kept@1"), pid("mine")), (kept.clone(), mine.clone()));
    assert_ne!(pid("plain@1"), plain);
    assert_eq!(switch(&host, &system(&host, "v2", &["no-templates"]), "test"), 0);
    assert_eq!((pid("kept@1"), pid("mine"), pid("plain@1")), (kept, mine, "0".to_owned()));
    assert_eq!(active(&host, "later.timer"), "active");
}

#[test]
fn sshd_is_restarted_only_when_its_configuration_changes() {
    let host = Host::boot();
    let pid = || host.root("systemctl show -P MainPID ssh");
    let before = pid();
    assert_eq!(switch(&host, &system(&host, "v1", &[]), "test"), 0);
    assert_eq!(pid(), before);
    assert_eq!(switch(&host, &system(&host, "v2", &["new-sshd-config"]), "test"), 0);
    assert_ne!(pid(), before);
    host.ssh(&["true"]).expect(0);
}

#[test]
fn what_a_bad_candidate_breaks_is_broken_and_the_old_system_mends_it() {
    let host = Host::boot();
    let old = host.triple();
    let sudo = "sudo -l -U nixgate | grep -q nixgate-revert";
    // (fault, a shell condition that is true with it and false without)
    let table = [
        ("health-bad", "! grep -q ^ok /run/demo-health".to_owned()),
        ("kill-sshd", "! systemctl -q is-active ssh && [ -e /run/current-system/etc/systemd/system/ssh.service ]".to_owned()),
        ("no-sshd", "! systemctl -q is-active ssh && [ ! -e /run/current-system/etc/systemd/system/ssh.service ]".to_owned()),
        ("new-host-key", "! ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null | grep -qFf /etc/nixgate/known_hosts".to_owned()),
        ("break-sudoers", format!("[ -s /run/current-system/etc/sudoers.d/nixgate ] && ! {sudo}")),
        ("no-sudoers", format!("[ ! -e /run/current-system/etc/sudoers.d/nixgate ] && ! {sudo}")),
        ("no-nixgate", format!("! [ -e /usr/bin/nixgate ] && ! id nixgate && ! systemctl -q is-active nixgate.socket && ! {sudo}")),
        ("nixgate-next", "readlink -f /usr/bin/nixgate | grep -q nixgate-next".to_owned()),
        ("move-state", "[ ! -d /var/lib/nixgate ]".to_owned()),
        ("source-gone", "[ ! -d /srv/git/infra.git ]".to_owned()),
        ("net-down", "! ssh-keyscan -T 1 127.0.0.1 2>/dev/null | grep -q ssh".to_owned()),
        ("new-kernel", "[ \"$(readlink -f /run/current-system/kernel)\" != \"$(readlink -f /run/booted-system/kernel)\" ]".to_owned()),
    ];
    for (fault, broken) in table {
        let new = system(&host, fault, &[fault]);
        assert_eq!(host.root_code(&broken), 1, "{fault} before");
        // Without its state nixgate's own recovery service fails, which is a failed unit like any other.
        let code = if fault == "move-state" { 4 } else { 0 };
        assert_eq!(switch(&host, &new, "test"), code, "{fault}");
        host.await_root(&broken, SOON);
        assert_eq!(switch(&host, &old.running, "test"), 0, "{fault}");
        assert_eq!(host.root_code(&broken), 1, "{fault} after");
        assert_eq!(host.triple(), old);
        host.ssh(&["true"]).expect(0);
    }
}

#[test]
fn only_a_reboot_mends_a_bus_that_is_gone_and_emergency_mode() {
    let host = Host::boot();
    let old = host.triple();
    for (boots, fault) in [(2, "bus-gone"), (3, "failing-mount")] {
        let new = system(&host, fault, &[fault]);
        host.root(&format!("{new}/bin/switch-to-configuration test >/tmp/said 2>&1 || true"));
        if fault == "failing-mount" {
            assert_eq!(host.root_output("systemctl is-system-running").stdout, b"maintenance\n");
            assert_eq!(host.root_output("systemctl is-active ssh").stdout, b"inactive\n");
        }
        assert_eq!(switch(&host, &old.running, "test"), 1, "{fault}: {}", host.root("cat /tmp/said"));
        host.root_output("systemctl reboot");
        host.await_boot(boots);
        assert_eq!(host.triple(), old);
        host.ssh(&["true"]).expect(0);
    }
}

#[test]
fn a_configuration_is_changed_as_an_operator_would() {
    let host = Host::boot();
    let limit = |host: &Host| host.root("grep -o 'RuntimeMaxSec..[0-9]*' /etc/sudoers.d/nixgate | head -n 1");
    let before = limit(&host);
    host.config_edit("activation = \"20s\"", "activation = \"33s\"");
    assert_ne!(limit(&host), before);
    let triple = host.triple();
    assert_eq!((triple.profile.as_str(), triple.boot.as_str()), ("system-2-link", "nixos-generation-2.conf"));
    assert_eq!(host.version(), "v0");
    host.use_sudo_rs();
    host.root("sudo --version 2>&1 | grep -q sudo-rs");
}

#[test]
fn the_loader_has_an_entry_for_a_specialisation_and_its_default_is_always_the_system_that_it_belongs_to() {
    let host = Host::boot();
    let new = system(&host, "v1", &["specialised"]);
    let gui = host.root(&format!("readlink -f {new}/specialisation/gui"));
    host.root(&format!("nix-env --profile /nix/var/nix/profiles/system --set {new}"));
    assert_eq!(switch(&host, &new, "boot"), 0);
    let entries = "/boot/loader/entries/nixos-generation-2";
    assert!(
        host.root(&format!("cat {entries}-specialisation-gui.conf")).contains(&format!("init={gui}/init "))
    );
    assert_eq!(host.triple().boot, "nixos-generation-2.conf");
    // It runs, and where it installs the loader itself the default stays what it was.
    let other = system(&host, "v2", &[]);
    host.root(&format!("nix-env --profile /nix/var/nix/profiles/system --set {other}"));
    assert_eq!(switch(&host, &format!("{new}/specialisation/gui"), "switch"), 0);
    assert_eq!((host.triple().running, host.triple().boot), (gui, "nixos-generation-2.conf".to_owned()));
}
