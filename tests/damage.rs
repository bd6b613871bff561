//! A candidate that a power cut damaged in the store: Nix says that it is there, and files of it are empty. It is not
//! activated; what can be is made anew.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod host;

use host::{Answer, Commit, Host};

/// A file of the store as a power cut leaves it: its name is there, and what was in it is not.
fn lose(host: &Host, file: &str) {
    write(host, &format!("test -s {file} && : >{file}"));
}

/// Where the store can be written to: nobody but Nix sees it so.
fn write(host: &Host, command: &str) {
    host.root(&format!("unshare -m bash -c 'mount -o remount,bind,rw /nix/store && {command}'"));
}

fn power_cut(host: &Host) {
    host.power_cut();
    host.start();
}

#[track_caller]
fn refused(answer: &Answer, what: &[&str]) {
    assert_eq!((answer.code, answer.value("result")), (13, "refused"), "{answer:#?}");
    for what in what {
        assert!(answer.stderr.contains(what), "no {what:?} in {answer:#?}");
    }
}

#[test]
fn what_a_power_cut_damaged_is_not_trusted_and_is_made_anew_or_named() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    host.ssh(&["switch"]).expect(0);

    // Built, and not activated yet. The program would do nothing and say that it went well.
    host.commit("v2", &Commit::signed());
    let new = host.ssh(&["fetch"]).expect(0).value("new").to_owned();
    lose(&host, &format!("{new}/bin/switch-to-configuration"));
    power_cut(&host);
    let before = host.triple();
    let answer = host.ssh(&["switch"]);
    refused(
        &answer,
        &["already built", &format!("{new} is damaged in the store"), "it is removed: ask again"],
    );
    assert_eq!(host.triple(), before);
    assert_eq!(host.ssh(&["switch"]).expect(0).value("new"), new);
    assert_eq!(host.version(), "v2");

    // What was good is trusted, and read once in a boot.
    host.commit("v3", &Commit::signed());
    host.ssh(&["fetch"]).expect(0);
    power_cut(&host);
    let read = "/var/lib/nixgate/whole";
    host.ssh(&["switch"]).expect(0);
    let once = host.root(&format!("stat -c %i {read}"));
    assert_eq!(host.ssh(&["switch"]).expect(0).value("result"), "unchanged");
    assert_eq!(host.root(&format!("stat -c %i {read}")), once);

    // A way back is looked at as well. What is kept cannot be removed, so somebody is told how to mend it.
    power_cut(&host);
    let before = host.triple();
    let file = format!("{new}/bin/switch-to-configuration");
    host.root(&format!("cp -a {file} /root/program"));
    lose(&host, &file);
    let answer = host.ssh(&["rollback"]);
    refused(&answer, &[&format!("on the host: nix-store --repair-path {new}")]);
    assert_eq!(host.triple(), before);
    write(&host, &format!("cat /root/program >{file}"));
    host.ssh(&["rollback"]).expect(0);
    assert_eq!(host.version(), "v2");
}
