//! The timer that pulls, with the units that the NixOS module makes, under a real systemd: what it deploys, what it leaves alone, and
//! that what went wrong is seen. And what the tests in virtual machines rest on: how they make a system to deploy without nixpkgs.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod host;
mod nixos;
mod repository;

use host::{Commit, Host, LIMIT};

/// The units of a host whose module says this of `services.nixgate.pull`, besides `enable`.
fn install(host: &Host, pull: &str) {
    let evaluated = nixos::of(&format!("services.nixgate.pull = {{ enable = true; {pull} }};"));
    for unit in ["service", "timer"] {
        // Where NixOS has them, so that a switch looks at them, and at the flags that let them be.
        let path = format!("/etc/systemd/system/nixgate-pull.{unit}");
        host.write(&path, evaluated["pull"][unit].as_str().unwrap());
        assert_eq!(host.root(&format!("systemd-analyze verify {path} 2>&1")), "", "{path}");
    }
    host.root("systemctl daemon-reload");
}

/// Asks as the timer would; the unit's result, as systemd shows it.
fn pull(host: &Host) -> (String, String) {
    host.root_code("systemctl start nixgate-pull.service");
    let show =
        |property: &str| host.root(&format!("systemctl show --value -p {property} nixgate-pull.service"));
    (show("Result"), show("ExecMainStatus"))
}

fn pulled(result: &str, code: i32) -> (String, String) {
    (result.to_owned(), code.to_string())
}

fn journal(host: &Host) -> String {
    host.root("journalctl --sync; journalctl --quiet --output=cat --unit nixgate-pull.service")
}

#[test]
fn the_timer_deploys_what_is_new_and_good_and_everything_else_is_seen_as_a_failed_unit() {
    let host = Host::boot();
    let first = host.root("git -C /srv/git/infra.git rev-parse main");
    let good = host.commit("v1", &Commit::signed());

    // One that only fetches activates nothing.
    let before = host.triple();
    install(&host, "verb = \"fetch\";");
    assert_eq!(pull(&host), pulled("success", 0), "{}", journal(&host));
    assert_eq!(host.triple(), before);

    install(&host, "interval = \"*:*:*\"; randomizedDelay = \"0\";");
    assert_eq!(pull(&host), pulled("success", 0), "{}", journal(&host));
    assert_eq!(host.version(), "v1");
    let permanent = host.triple();
    let by_timer = |event: &serde_json::Value| event["identity"].to_string().contains("\"timer\"");
    assert!(host.audit().iter().any(by_timer), "{:#?}", host.audit());
    assert_eq!(pull(&host), pulled("success", 0), "nothing to do is no failure");

    // A trial that fails is reverted, and the unit says with which code.
    let bad = host.commit("v2", &Commit::signed().fault("health-bad"));
    assert_eq!(pull(&host), pulled("exit-code", 21));
    assert_eq!(host.triple(), permanent);
    assert_eq!(host.root_code("systemctl is-failed --quiet nixgate-pull.service"), 0);
    assert!(host.root("systemctl status nixgate-pull.service || true").contains("result=reverted"));

    // It is not tried again, and that is said each time.
    assert_eq!(pull(&host), pulled("exit-code", 11));
    assert!(journal(&host).contains("failed here before, so the timer does not try it again"));

    // A branch that was set back, and one that forked off, are not taken.
    host.root(&format!("git -C /srv/git/infra.git update-ref refs/heads/main {first}"));
    assert_eq!(pull(&host), pulled("exit-code", 11));
    host.commit("v3", &Commit::signed().parent(&first));
    assert_eq!(pull(&host), pulled("exit-code", 11));
    assert_eq!(host.triple(), permanent);

    // The timer itself, on top of what runs.
    assert_ne!(good, bad);
    host.commit("v4", &Commit::signed().parent(&good));
    host.root("systemctl start nixgate-pull.timer");
    host.await_root(
        "grep -qx v4 /run/current-system/demo-version && systemctl is-active --quiet nixgate-pull.timer",
        LIMIT,
    );
    host.root("systemctl stop nixgate-pull.timer");
}

/// Two paths of the store: one with a `bash`, and the one with the programs, which it is a script of.
fn tools(host: &Host) -> (String, String) {
    let programs = host.root(
        "mkdir -p /tmp/programs/bin && cp /usr/bin/busybox /tmp/programs/bin/sh && \
         for word in cp chmod find sed; do ln -s sh /tmp/programs/bin/$word; done && nix-store --add /tmp/programs",
    );
    let script = format!("#!{programs}/bin/sh\nshift\nset -eu\neval \"$1\"\n");
    host.root("mkdir -p /tmp/shell/bin");
    host.write("/tmp/shell/bin/bash", &script);
    (host.root("chmod 755 /tmp/shell/bin/bash && nix-store --add /tmp/shell"), programs)
}

#[test]
fn a_candidate_of_the_virtual_machines_is_built_from_what_lies_in_the_store_and_deployed() {
    let host = Host::boot();
    let commit = host.commit("v1", &Commit::signed());
    let system = host.realise(&commit);
    let (bash, tools) = tools(&host);
    let expression = format!(
        "(import {}/tests/nixos/lib/candidate.nix {{ name = \"good\"; toplevel = \"{system}\"; pkgs = {{ \
         writeText = _: text: text; stdenv.hostPlatform.system = \"x86_64-linux\"; \
         bash = \"{bash}\"; coreutils = \"{tools}\"; findutils = \"{tools}\"; gnused = \"{tools}\"; }}; }})",
        repository::root().display()
    );
    let flake = nixos::value(&expression).unwrap().as_str().unwrap().replace(".host.", ".demo.");
    // The machines' systems name no commit. This one does, and has to name its own.
    let named = format!("sed -i -e \"s|{commit}|${{self.rev}}|g\" -e ");
    let flake = flake.replace("outputs = _:", "outputs = { self }:").replace("sed -i ", &named);
    host.write("/root/flake.nix", &flake);
    host.commit("v2", &Commit::signed().put("flake.nix", "/root/flake.nix"));
    let answer = host.ssh(&["switch"]).expect(0);
    assert_eq!(answer.value("result"), "committed");
    let new = host.triple().running;
    assert!(new == answer.value("new") && new != system, "a system of its own: {new}");
    assert_eq!(host.version(), "v1", "made from the one that was there");
    assert_eq!(host.root_code(&format!("grep -rq {system} {new}/")), 1, "and names itself");
    assert_eq!(host.ssh(&["switch"]).expect(0).value("result"), "unchanged");
}
