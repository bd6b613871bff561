//! Prebuilt systems: a real binary cache over http, real manifests, and everything that may be wrong with either. What is
//! refused activates nothing and is named; what differs from it only by the fault is deployed.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod host;

use host::job::{BUILT, KEEPS, REFUSES, TRIED, ended, is_permanent, leaves};
use host::{Answer, Host};
use serde_json::Value;

const CI: &str = include_str!("container/ci");
const VERIFIED: &str = "accepted fetched verified";

/// A host that evaluates nothing, with a cache and a CI of its own.
fn boot() -> Host {
    let host = Host::boot();
    host.write("/root/ci", CI);
    host.root("chmod +x /root/ci; /root/ci setup");
    let key = host.root("cat /root/keys/cache-good.pub");
    host.config_edit_only(
        "kind = \"flake\"",
        &format!(
            "kind = \"prebuilt\"\ncaches = [\"http://127.0.0.1:8081\"]\ncache-keys = [\"{key}\"] # keys"
        ),
    );
    host.config_edit_only("signatures = \"tip\"", "first-sequence = 1");
    let branches = ["fetch", "switch", "test", "boot"].map(|verb| format!("{verb} = \"deploy\"\n")).concat();
    host.config_edit_only("[limits]", &format!("[refs]\n{branches}[limits]"));
    host
}

/// What a CI built: the commit and the system.
#[derive(Debug, Clone)]
struct System {
    commit: String,
    path: String,
}

/// Built and, signed, in the cache; no longer in the host's store.
fn cached(host: &Host, version: &str) -> System {
    let system = built(host, version);
    host.root(&format!("/root/ci upload good {}", system.path));
    leave(host, &system);
    system
}

/// Built here, and nowhere else.
fn built(host: &Host, version: &str) -> System {
    let text = host.root(&format!("/root/ci build {version}"));
    let (commit, path) = text.split_once(' ').unwrap();
    System { commit: commit.to_owned(), path: path.to_owned() }
}

fn leave(host: &Host, system: &System) {
    let path = &system.path;
    host.root(&format!("/root/ci leave {path} $(/root/ci etc_of {path}); test ! -e {path}"));
}

/// A good manifest for it, pushed.
fn manifest(host: &Host, system: &System, sequence: u64) {
    let System { commit, path } = system;
    host.root(&format!(
        "/root/ci sign --path {path} --commit {commit} --sequence {sequence} --valid-for 1h && /root/ci publish"
    ));
}

/// The same without nixgatectl, by the very lines of the documentation.
fn manifest_by_the_book(host: &Host, system: &System) {
    let page = include_str!("../docs/prebuilt.md");
    let lines = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    host.write("/root/lines", &lines.replace("web1", "demo"));
    host.root(&format!(
        "mkdir /root/job && cd /root/job && ln -s {} result && cp -p /root/keys/manifest manifest-key && \
         GIT_DIR=/srv/git/infra.git bash -eu /root/lines && cp demo.manifest* /root/manifest/ && /root/ci publish",
        system.path
    ));
}

/// The same as text, to be spoilt.
fn text(system: &System, sequence: u64) -> String {
    let System { commit, path } = system;
    format!(
        "{{\"version\": 1, \"host\": \"demo\", \"path\": \"{path}\", \"commit\": \"{commit}\", \"sequence\": {sequence}, \"not-after\": \"2199-01-01T00:00:00Z\"}}\n"
    )
}

fn push_signed(host: &Host, text: &str, key: &str, namespace: &str) {
    host.write("/root/text", text);
    host.root(&format!("/root/ci raw {key} {namespace} </root/text && /root/ci publish"));
}

fn status(host: &Host) -> Value {
    let answer = host.ssh(&["status", "--json"]).expect(0);
    serde_json::from_str(&answer.stdout).expect(&answer.stdout)
}

/// `switch` leaves the host as it is, with this code and reason.
#[track_caller]
fn refuses(host: &Host, code: i32, why: &str, events: &str) -> Answer {
    let before = host.triple();
    let answer = host.ssh(&["switch"]);
    leaves(host, &before, &answer, "switch", "refused", code, &[events, REFUSES]);
    assert!(answer.stderr.contains(why), "no {why:?} in {answer:#?}");
    answer
}

#[track_caller]
fn fetches(host: &Host, system: &System) {
    let answer = host.ssh(&["fetch"]);
    ended(host, &answer, "fetch", "fetched", 0, &[BUILT, "done ended"]);
    assert_eq!((answer.value("new"), answer.value("commit")), (system.path.as_str(), system.commit.as_str()));
}

#[track_caller]
fn switches(host: &Host, system: &System, generation: u32) {
    let answer = host.ssh(&["switch"]);
    ended(host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    assert_eq!(answer.value("commit"), system.commit);
    is_permanent(host, &system.path, generation);
}

#[test]
fn what_a_signed_manifest_names_is_taken_from_the_cache_and_made_permanent() {
    let host = boot();
    let [first, second, third] = ["v1", "v2", "v3"].map(|version| cached(&host, version));
    manifest(&host, &first, 10);
    switches(&host, &first, 2);
    assert_eq!((&status(&host)["sequence"], &status(&host)["signatures"]), (&10.into(), &"manifest".into()));
    let verified = host.audit().into_iter().find(|event| event["event"] == "verified").unwrap();
    assert_eq!(
        (&verified["detail"]["sequence"], &verified["detail"]["commit"]),
        (&"10".into(), &first.commit.clone().into())
    );
    let now = host.triple();
    for request in [&["switch"][..], &["switch", &first.commit]] {
        let again = host.ssh(request);
        leaves(&host, &now, &again, "switch", "unchanged", 0, &[BUILT, "done ended"]);
        assert!(again.stderr.contains("already taken"), "{again:#?}");
    }
    // Only the commit that the manifest is for.
    let other = host.ssh(&["switch", &second.commit]);
    leaves(&host, &now, &other, "switch", "refused", 11, &["accepted fetched", REFUSES]);
    assert!(other.stderr.contains("not for the one that was asked for"), "{other:#?}");
    // Neither a fetch nor a test moves the sequence.
    manifest(&host, &second, 20);
    fetches(&host, &second);
    ended(&host, &host.ssh(&["test"]), "test", "kept", 0, &[TRIED, "healthy confirmed kept ended"]);
    assert_eq!(status(&host)["sequence"], 10);
    ended(
        &host,
        &host.ssh(&["switch"]),
        "switch",
        "committed",
        0,
        &["accepted fetched verified built checked", KEEPS],
    );
    assert_eq!(status(&host)["sequence"], 20);
    // A rollback does not either, and the next deploy goes on.
    host.ssh(&["rollback"]).expect(0);
    assert_eq!((host.version().as_str(), &status(&host)["sequence"]), ("v1", &20.into()));
    manifest(&host, &first, 10);
    refuses(&host, 11, "nixgatectl anchor --sequence 10", "accepted fetched");
    manifest(&host, &third, 30);
    ended(&host, &host.ssh(&["switch"]), "switch", "committed", 0, &[TRIED, KEEPS]);
    assert_eq!(host.version(), "v3");
    // The same system, signed again: nothing to do, and older manifests of it are past.
    manifest(&host, &third, 40);
    ended(&host, &host.ssh(&["switch"]), "switch", "unchanged", 0, &[BUILT, "done ended"]);
    manifest(&host, &third, 30);
    refuses(&host, 11, "sequence 30, and 40 was made permanent", "accepted fetched");
    manifest(&host, &second, 40);
    refuses(&host, 11, "sequence 40, which another system had", "accepted fetched");
    // What the refusal names mends it.
    host.root("nixgatectl anchor --sequence 40");
    ended(&host, &host.ssh(&["switch"]), "switch", "committed", 0, &[TRIED, KEEPS]);
    assert_eq!(host.version(), "v2");
}

#[test]
fn only_a_manifest_that_is_signed_for_this_host_and_for_now_counts() {
    let host = boot();
    host.root("git -C /srv/git/infra.git branch -q deploy main");
    refuses(&host, 10, "has no nixgate/demo.manifest", "accepted fetched");
    let system = cached(&host, "v1");
    let good = text(&system, 10);
    host.write("/root/manifest/demo.manifest", &good);
    host.root("/root/ci publish");
    refuses(&host, 11, "is not signed", "accepted fetched");
    // Who signed, for what, and which bytes.
    let unsigned = "by no key that may sign manifests";
    for (key, namespace) in [
        ("unknown", "nixgate-manifest"),
        ("signer", "nixgate-manifest"),
        ("gone", "nixgate-manifest"),
        ("late", "nixgate-manifest"),
        ("manifest", "git"),
        ("manifest", "file"),
    ] {
        push_signed(&host, &good, key, namespace);
        refuses(&host, 11, unsigned, "accepted fetched");
    }
    push_signed(&host, &good, "manifest", "nixgate-manifest");
    host.root("echo >>/root/manifest/demo.manifest; /root/ci publish");
    refuses(&host, 11, unsigned, "accepted fetched");
    host.root("echo garbage >/root/manifest/demo.manifest.sig; /root/ci publish");
    refuses(&host, 11, unsigned, "accepted fetched");
    // What was signed.
    let other = System { commit: "a".repeat(40), ..system.clone() };
    let elsewhere = good.replace("\"/nix/store", "\"/gnu/store");
    for (spoilt, why) in [
        (good.replace("demo\"", "other\""), "for host other and not for this one"),
        (good.replace("2199-01-01", "2020-01-01"), "by its not-after"),
        (good.replace("\"version\": 1", "\"version\": 2"), "of version 2"),
        (good.replace("\"sequence\"", "\"force\": true, \"sequence\""), "unknown field `force`"),
        (good.replace("\"sequence\": 10,", "\"sequence\": 0,"), "the manifest's sequence"),
        (elsewhere, "the manifest's path"),
        (good.replace("demo-v1", "demo-v1/bin"), "the manifest's path"),
    ] {
        assert_ne!(spoilt, good, "{why}");
        push_signed(&host, &spoilt, "manifest", "nixgate-manifest");
        refuses(&host, 11, why, "accepted fetched");
    }
    assert_eq!(host.root_code(&format!("test -e {}", system.path)), 1, "nothing was taken from the cache");
    // What the system itself says of its commit.
    push_signed(&host, &text(&other, 10), "manifest", "nixgate-manifest");
    refuses(&host, 11, "and its manifest says aaaa", VERIFIED);
    // Without a word of the operator no sequence is good enough for a host that knows none.
    push_signed(&host, &good, "manifest", "nixgate-manifest");
    host.config_edit_only("first-sequence = 1\n", "\n");
    refuses(&host, 11, "first-sequence = 10", "accepted fetched");
    host.config_edit_only("[trust]\n", "[trust]\nfirst-sequence = 11\n");
    refuses(&host, 11, "below trust.first-sequence = 11", "accepted fetched");
    host.config_edit_only("first-sequence = 11\n", "first-sequence = 10\n");
    // The lists of keys have to be there.
    host.root("mv /etc/nixgate/revoked /etc/nixgate/away");
    refuses(&host, 78, "/etc/nixgate/revoked", "accepted fetched");
    host.root("mv /etc/nixgate/away /etc/nixgate/revoked");
    // And without any of this it is deployed.
    switches(&host, &system, 2);
}

/// Waits for nothing: what the daemon remembers of a cache is removed.
fn mended(host: &Host, system: &System) {
    host.root("/root/ci forget");
    fetches(host, system);
}

#[test]
fn only_what_a_key_of_the_configuration_signed_is_taken_from_a_cache() {
    let host = boot();
    let check = |line: &str| {
        let output = host.root_output("nixgatectl check");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(line), "no {line:?} in {text}");
    };
    check("ok    nix.conf names the cache http://127.0.0.1:8081\n");
    check("ok    the cache http://127.0.0.1:8081 answers account nixgate\n");
    // Not there (yet): the daemon is not asked, and does not remember that it was missing.
    let system = built(&host, "v1");
    leave(&host, &system);
    manifest(&host, &system, 1);
    refuses(&host, 12, "push it there before its manifest", VERIFIED);
    host.root("systemctl stop cache");
    refuses(&host, 12, "could not be taken from source.caches", VERIFIED);
    host.root("systemd-run -q --unit=cache busybox httpd -f -p 127.0.0.1:8081 -h /srv/cache");
    host.root(&format!(
        "/root/fixture/system/realise {} && /root/ci upload good {}",
        system.commit, system.path
    ));
    leave(&host, &system);
    fetches(&host, &system);
    // Signed by nobody, or by somebody else: the top, and only something below it.
    for (n, key) in [(2, "none"), (3, "evil")] {
        let system = built(&host, &format!("v{n}"));
        host.root(&format!("/root/ci upload {key} {}", system.path));
        leave(&host, &system);
        manifest(&host, &system, n);
        refuses(&host, 11, "has the system, and no key of source.cache-keys signed it", VERIFIED);
    }
    let (system, etc) = cached_in_two(&host, "v4");
    let narinfo = host.root(&format!("/root/ci narinfo {etc}"));
    host.root(&format!("cp {narinfo} /root/saved; sed -i /^Sig:/d {narinfo}"));
    manifest(&host, &system, 4);
    refuses(&host, 11, "has a part of the system that no key of source.cache-keys signed", VERIFIED);
    host.root(&format!("cp /root/saved {narinfo}"));
    mended(&host, &system);
    // Other bytes than those that were signed.
    let (signed, etc) = cached_in_two(&host, "v5");
    let nar = host.root(&format!("echo /srv/cache/$(sed -n 's/^URL: //p' $(/root/ci narinfo {etc}))"));
    host.root(&format!(
        "cp {nar} /root/saved; sed -i s/PasswordAuthentication/PasswordAuthenticatioN/ {nar}"
    ));
    manifest(&host, &signed, 5);
    refuses(&host, 12, "could not be taken from source.caches", VERIFIED);
    host.root(&format!("cp /root/saved {nar}"));
    fetches(&host, &signed);
    // Nobody here may put into the store what nobody signed.
    let (system, _) = cached_in_two(&host, "v6");
    manifest(&host, &system, 6);
    host.root("cp /etc/nix/nix.conf /root/named; echo trusted-users = root nixgate >>/etc/nix/nix.conf; /root/ci forget");
    refuses(&host, 78, "account nixgate is trusted by Nix", VERIFIED);
    host.root("cp /root/named /etc/nix/nix.conf");
    mended(&host, &system);
    // Signed, and no system.
    let no_system = System { path: etc, ..signed };
    manifest(&host, &no_system, 6);
    refuses(&host, 13, "is no NixOS system", VERIFIED);
    // A cache that the host's nix.conf does not name.
    let system = cached(&host, "v7");
    manifest_by_the_book(&host, &system);
    host.root("cp /etc/nix/nix.conf /root/named; cp /root/nix.conf /etc/nix/nix.conf; /root/ci forget");
    refuses(&host, 12, "nixgatectl check", VERIFIED);
    check("FAIL  nix.conf names the cache http://127.0.0.1:8081: it does not");
    check("FAIL  nix.conf names the cache's key good.demo-1:");
    host.root("cp /root/named /etc/nix/nix.conf");
    mended(&host, &system);
    switches(&host, &system, 2);
}

/// The same, and a path of its closure that is its own.
fn cached_in_two(host: &Host, version: &str) -> (System, String) {
    let system = built(host, version);
    let etc = host.root(&format!("/root/ci etc_of {}", system.path));
    host.root(&format!("/root/ci upload good {}", system.path));
    leave(host, &system);
    (system, etc)
}

#[test]
fn what_is_in_the_store_already_proves_nothing() {
    let host = boot();
    let unproven = "has paths that no key of source.cache-keys signed";
    // Built here, by whomever; the cache does not know it, and then it does, with the same contents.
    let system = built(&host, "v1");
    manifest(&host, &system, 1);
    refuses(&host, 11, unproven, VERIFIED);
    host.root(&format!("/root/ci upload evil {}", system.path));
    refuses(&host, 11, unproven, VERIFIED);
    assert_eq!(
        host.root_code("test -e /var/lib/nixgate/roots/candidate"),
        1,
        "what is not proven is no candidate"
    );
    host.root(&format!("rm /srv/cache/*.narinfo; /root/ci upload good {}", system.path));
    fetches(&host, &system);
    // A key that is taken out of the configuration counts no longer, also for what was taken before.
    host.config_edit_only("good.demo-1:", "gone.demo-1:");
    refuses(&host, 11, unproven, VERIFIED);
    host.config_edit_only("gone.demo-1:", "good.demo-1:");
    fetches(&host, &system);
    // The daemon may believe more keys than we do: what one of them signed comes into the store, and no further.
    let (system, etc) = cached_in_two(&host, "v2");
    host.root("/root/ci trust $(cat /root/keys/cache-good.pub) $(cat /root/keys/cache-evil.pub)");
    let narinfo = host.root(&format!("/root/ci narinfo {etc}"));
    host.root(&format!(
        "cp {narinfo} /root/saved; /root/fixture/system/realise {}; rm {narinfo}; /root/ci upload evil {etc}",
        system.commit
    ));
    leave(&host, &system);
    manifest(&host, &system, 2);
    refuses(&host, 11, unproven, VERIFIED);
    assert_eq!(host.root_code(&format!("test -e {etc}")), 0, "the daemon took it");
    host.root(&format!("cp /root/saved {narinfo}"));
    fetches(&host, &system);
    // Its bytes changed behind Nix's back, as a power cut may leave them.
    host.root(&format!(
        "mount -o remount,rw,bind /nix/store; mv {etc}/etc/NIXOS /root/saved; echo x >{etc}/etc/NIXOS"
    ));
    host.root("rm /var/lib/nixgate/roots/candidate");
    refuses(&host, 12, "not whole in this store", VERIFIED);
    host.root(&format!("cat /root/saved >{etc}/etc/NIXOS; mount -o remount,ro,bind /nix/store"));
    switches(&host, &system, 2);
}
