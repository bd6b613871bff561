//! A source that is hostile, or broken: what it sends reaches neither the repository nor the system, and the answer says
//! why. And what moves forward: ages, ranges of commits, wiped states. Each refusal has a twin without the fault that
//! deploys. Who may sign, and which way is forward, is in `trust.rs`.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod host;

use host::job::{KEEPS, REFUSES, TRIED, ended, leaves};
use host::{Answer, Commit, Host, LIMIT};

const FORGE: &str = include_str!("data/forge");
const BARE: &str = "/srv/git/infra.git";
const REPO: &str = "/var/lib/nixgate/repo.git";

/// The forge misbehaves as it is told from now on.
fn with_forge(host: &Host) {
    host.write("/srv/git/forge", FORGE);
    host.root(
        "chmod 0755 /srv/git/forge; echo none >/srv/git/fault; usermod -s /bin/sh git; \
         sed -i 's|^restrict|restrict,command=\"/srv/git/forge\"|' /srv/git/.ssh/authorized_keys",
    );
}

fn fault(host: &Host, word: &str) {
    host.root(&format!("echo {word} >/srv/git/fault"));
}

/// The same repository over https, from a server that the host's certificates name.
fn over_https(host: &Host) {
    host.root(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1 \
           -addext subjectAltName=IP:127.0.0.1 -keyout /srv/git/tls.key -out /srv/git/tls.crt 2>&1; \
         cat /srv/git/tls.crt >>/etc/ssl/certs/ca-certificates.crt; chown git /srv/git/tls.* /srv/git; \
         systemd-run --quiet --collect --unit=forge --uid=git /srv/git/forge https 8443",
    );
    host.await_root(": >/dev/tcp/127.0.0.1/8443", LIMIT);
    host.config_edit_only("ssh://git@127.0.0.1/srv/git/infra.git", "https://127.0.0.1:8443/infra.git");
}

/// The state of a host that has deployed nothing: its first job writes it.
const FRESH: &str = "{
  \"v\": 1,
  \"job\": null,
  \"anchor\": null,
  \"permanent\": [],
  \"at\": 0,
  \"built\": null,
  \"bad\": []
}";

/// What a refused fetch must not have changed: the state, the repository, and that nothing waits in quarantine.
fn kept(host: &Host) -> String {
    let kept = host.root(&format!(
        "cat /var/lib/nixgate/state.json 2>/dev/null; cd {REPO} 2>/dev/null && git for-each-ref && find objects -type f | sort; \
         ls -d /var/lib/nixgate/quarantine.git 2>&1 || true"
    ));
    kept.replace(FRESH, "")
}

/// Refused with this code and these words; host, state and repository are as they were.
#[track_caller]
fn refuses(host: &Host, code: i32, why: &[&str]) -> Answer {
    let (before, files) = (host.triple(), kept(host));
    assert!(files.contains("quarantine.git': No such file"), "{files}");
    let answer = host.ssh(&["switch"]);
    let events: &[&str] = if code == 11 { &["accepted fetched", REFUSES] } else { &["accepted", REFUSES] };
    leaves(host, &before, &answer, "switch", "refused", code, events);
    for why in why {
        assert!(answer.stderr.contains(why), "no {why:?} in {answer:#?}");
    }
    assert_eq!(kept(host), files);
    answer
}

/// The twin without the fault.
#[track_caller]
fn deploys(host: &Host, version: &str) {
    ended(host, &host.ssh(&["switch"]), "switch", "committed", 0, &[TRIED, KEEPS]);
    assert_eq!(host.version(), version);
}

/// Runs git as the forge's owner, in its repository.
#[track_caller]
fn forge_git(host: &Host, script: &str) -> String {
    host.root(&format!("cd {BARE}; export GIT_DIR=.; {script}\nchown -R git:git {BARE}"))
}

// ---- servers ----------------------------------------------------------------------------------------------------------

#[test]
fn a_server_without_an_end_is_given_up_and_leaves_nothing() {
    let host = Host::boot();
    with_forge(&host);
    host.config_edit_only("fetch = \"20s\"", "fetch = \"5s\"\nfetch-size = \"16M\"");
    host.commit("v1", &Commit::signed());
    let (slow, failed) = ("did not deliver main within 5 s (limits.fetch)", "could not be fetched");
    let large = "more than 16 MiB (limits.fetch-size)";
    // At first contact, and where something is there already.
    for version in ["v1", "v2"] {
        for (word, why) in [("silent", slow), ("trickle", slow)] {
            fault(&host, word);
            refuses(&host, 10, &[why]);
        }
        fault(&host, "none");
        deploys(&host, version);
        host.commit("v2", &Commit::signed());
    }
    host.commit("v3", &Commit::signed());
    for (word, why) in
        [("endless-pack", large), ("huge-file", large), ("many-objects", failed), ("bomb", slow)]
    {
        fault(&host, word);
        refuses(&host, 10, &[why]);
    }
    fault(&host, "refs-without-end");
    refuses(&host, 10, &[]);
    fault(&host, "none");
    deploys(&host, "v3");
}

#[test]
fn a_pack_that_does_not_fit_on_the_disk_leaves_room_for_the_records() {
    let host = Host::boot();
    with_forge(&host);
    host.root(
        "cp -a /var/lib/nixgate /root/state; mount -t tmpfs -o size=100m,mode=0750,uid=nixgate,gid=nixgate tmpfs /var/lib/nixgate; \
         cp -a /root/state/. /var/lib/nixgate/",
    );
    host.commit("v1", &Commit::signed());
    deploys(&host, "v1");
    host.commit("v2", &Commit::signed());
    fault(&host, "endless-pack");
    refuses(&host, 10, &["MiB are free in /var/lib/nixgate", "nix-collect-garbage"]);
    fault(&host, "none");
    host.root("fallocate -l 50m /var/lib/nixgate/ballast");
    refuses(&host, 10, &["MiB are free in /var/lib/nixgate"]);
    host.root("rm /var/lib/nixgate/ballast");
    deploys(&host, "v2");
}

#[test]
fn a_web_server_can_lead_nowhere_else_and_ask_for_nothing() {
    let host = Host::boot();
    with_forge(&host);
    over_https(&host);
    host.commit("v1", &Commit::signed());
    for (word, why) in [("redirect", "could not be fetched"), ("login", "could not be fetched")] {
        fault(&host, word);
        refuses(&host, 10, &[why]);
    }
    assert_eq!(host.root("grep -c moved /srv/git/requests || true"), "0", "the redirect was followed");
    // git's own protocol would check objects; plain files are not checked by git.
    forge_git(&host, "git update-server-info");
    fault(&host, "dumb");
    refuses(&host, 10, &["dumb HTTP"]);
    assert_ne!(host.root("grep -c '/infra.git/objects/' /srv/git/requests"), "0", "it was tried");
    fault(&host, "none");
    deploys(&host, "v1");
    // A list of bundles elsewhere is offered, and nobody looks at it.
    forge_git(
        &host,
        "git config uploadpack.advertiseBundleURIs true; git config bundle.version 1; git config bundle.mode all; \
         git config bundle.all.uri https://127.0.0.1:8443/bundle",
    );
    let offered = host.root(
        "GIT_TRACE_PACKET=1 git -c transfer.bundleURI=true clone --bare -q https://127.0.0.1:8443/infra.git /tmp/clone 2>&1 || true",
    );
    assert!(offered.contains("bundle-uri"), "it is offered: {offered}");
    assert_ne!(host.root("grep -c '/bundle' /srv/git/requests || true"), "0", "somebody else looks at it");
    host.root(": >/srv/git/requests");
    host.commit("v2", &Commit::signed());
    deploys(&host, "v2");
    assert_eq!(host.root("grep -c '/bundle' /srv/git/requests || true"), "0");
}

#[test]
fn packs_of_plain_files_are_checked_as_those_of_git_are() {
    let host = Host::boot();
    with_forge(&host);
    over_https(&host);
    let good = host.commit("v1", &Commit::signed());
    deploys(&host, "v1");
    bad_commit(&host, &good);
    forge_git(&host, "git repack -adq; git prune-packed; git update-server-info; git pack-refs --all");
    fault(&host, "dumb");
    refuses(&host, 10, &["dumb HTTP"]);
    fault(&host, "none");
    refuses(&host, 10, &["could not be fetched"]);
    forge_git(&host, &format!("git update-ref refs/heads/main {good}"));
    host.commit("v2", &Commit::signed());
    deploys(&host, "v2");
}

#[test]
fn a_source_that_is_not_there_or_not_itself_is_10() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    let here = "ssh://git@127.0.0.1/srv/git/infra.git";
    let nobody = "ssh://git@127.0.0.1:2222/srv/git/infra.git";
    host.config_edit_only(here, nobody);
    refuses(&host, 10, &["could not be fetched", "Connection refused"]);
    host.config_edit_only(nobody, here);
    // Another host key, and none.
    host.root("cp /etc/nixgate/known_hosts /root/known_hosts");
    host.root("echo \"127.0.0.1 $(cut -d' ' -f1,2 /root/keys/other.pub)\" >/etc/nixgate/known_hosts");
    refuses(&host, 10, &["Host key verification failed"]);
    host.root(": >/etc/nixgate/known_hosts");
    refuses(&host, 10, &["Host key verification failed"]);
    host.root("cp /root/known_hosts /etc/nixgate/known_hosts");
    forge_git(&host, "git branch -q -m main other");
    refuses(&host, 10, &["no branch main"]);
    forge_git(&host, "git branch -q -m other main");
    deploys(&host, "v1");
    // A branch that is gone later, and one that is a tag.
    host.commit("v2", &Commit::signed());
    forge_git(&host, "git branch -q -m main other");
    refuses(&host, 10, &["no branch main"]);
    forge_git(&host, "git branch -q -m other main");
    deploys(&host, "v2");
}

#[test]
fn what_is_built_already_needs_no_nix() {
    let host = Host::boot();
    let commit = host.commit("v1", &Commit::signed());
    deploys(&host, "v1");
    // Nothing of Nix works any more.
    host.root("mount --bind /bin/false $(readlink -f /usr/bin/nix)");
    for request in [&["switch"][..], &["fetch"], &["switch", &commit], &["fetch", &commit]] {
        let answer = host.ssh(request).expect(0);
        assert!(answer.stderr.contains("already built"), "{answer:#?}");
    }
    host.commit("v2", &Commit::signed());
    assert_ne!(host.ssh(&["switch"]).code, 0, "Nix is what builds");
    host.root("umount $(readlink -f /usr/bin/nix)");
    deploys(&host, "v2");
}

// ---- repositories -----------------------------------------------------------------------------------------------------

/// A commit whose tree holds a file named .git, which would be run by whoever checks it out.
fn bad_commit(host: &Host, parent: &str) -> String {
    forge_git(
        host,
        &format!(
            "blob=$(echo 'ref: x' | git hash-object -w --stdin)
             tree=$({{ printf '100644 .git\\0'; echo $blob | sed 's/../\\\\x&/g' | xargs -0 printf '%b' | head -c 20; }} |
               git hash-object -w -t tree --literally --stdin)
             bad=$(git -c gpg.format=ssh -c user.signingkey=/root/keys/signer -c user.name=o -c user.email=o@demo \\
               commit-tree -S -p {parent} -m bad $tree)
             git update-ref refs/heads/main $bad; echo $bad"
        ),
    )
}

#[test]
fn bad_objects_never_get_into_the_repository_and_do_not_lie_in_wait() {
    let host = Host::boot();
    let good = host.commit("v1", &Commit::signed());
    deploys(&host, "v1");
    let bad = bad_commit(&host, &good);
    refuses(&host, 10, &["could not be fetched", "hasDotgit"]);
    let has = |commit: &str| host.root_code(&format!("GIT_DIR={REPO} git cat-file -e {commit}")) == 0;
    assert!(!has(&bad) && has(&good));
    // Sound, and signed by nobody: it is in quarantine when it is refused.
    let unsigned = host.commit("v2", &Commit::unsigned().parent(&good));
    refuses(&host, 11, &["is not signed"]);
    assert!(!has(&unsigned));
    // What a killed job left in quarantine is no part of the next fetch.
    host.root(&format!(
        "install -d -o nixgate -g nixgate /var/lib/nixgate/quarantine.git/objects/pack; \
         cp -r {BARE}/objects/. /var/lib/nixgate/quarantine.git/objects/; \
         printf '%s\\n' {good} >/var/lib/nixgate/quarantine.git/shallow; chown -R nixgate: /var/lib/nixgate/quarantine.git"
    ));
    let next = host.commit("v3", &Commit::signed().parent(&good));
    deploys(&host, "v3");
    assert!(has(&next) && !has(&unsigned) && !has(&bad));
    assert!(kept(&host).contains("quarantine.git': No such file"));
    host.root(&format!("GIT_DIR={REPO} git fsck --strict"));
}

#[test]
fn history_that_is_cut_off_is_refused_here_and_there() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    deploys(&host, "v1");
    host.commit("v2", &Commit::signed());
    forge_git(&host, "git rev-parse main~1 >shallow");
    refuses(&host, 10, &["main", "shallow"]);
    forge_git(&host, "rm shallow");
    for name in ["shallow", "info/grafts"] {
        host.root(&format!("mkdir -p {REPO}/info; GIT_DIR={BARE} git rev-parse main >{REPO}/{name}"));
        refuses(&host, 10, &[&format!("rm -r {REPO}")]);
        host.root(&format!("rm {REPO}/{name}"));
    }
    deploys(&host, "v2");
    // The mend that the refusal names.
    host.root(&format!("rm -r {REPO}"));
    host.commit("v3", &Commit::signed());
    deploys(&host, "v3");
}

#[test]
fn what_only_grows_is_packed_or_begun_anew() {
    let host = Host::boot();
    let first = host.commit("v1", &Commit::signed());
    deploys(&host, "v1");
    let as_nixgate = |script: &str| {
        host.root(&format!("setpriv --reuid nixgate --regid nixgate --init-groups sh -ec '{script}'"))
    };
    let packs = "cd /var/lib/nixgate/repo.git; ls objects/pack/*.pack | wc -l";
    as_nixgate(
        "cd /var/lib/nixgate/repo.git; for n in $(seq 41); do
           echo $n | git hash-object -w --stdin | git pack-objects -q objects/pack/pack
         done",
    );
    host.commit("v2", &Commit::signed());
    deploys(&host, "v2");
    assert!(as_nixgate(packs).parse::<u32>().unwrap() < 41, "they were packed");
    host.config_edit_only("[limits]", "[limits]\nfetch-size = \"16M\"");
    as_nixgate(
        "cd /var/lib/nixgate; truncate -s 70M repo.git/objects/pack/large
         mkdir -p nix/cache/a/b; truncate -s 40M nix/cache/one nix/cache/a/b/other",
    );
    host.commit("v3", &Commit::signed());
    deploys(&host, "v3");
    host.root("cd /var/lib/nixgate; ! ls repo.git/objects/pack/large nix/cache/one nix/cache/a");
    // The anchor is not in what was begun anew.
    forge_git(&host, &format!("git update-ref refs/heads/main {first}"));
    refuses(&host, 11, &["anchor"]);
}

#[test]
fn submodules_and_names_that_look_like_options_run_nothing() {
    let host = Host::boot();
    let good = host.commit("v1", &Commit::signed());
    let with = |gitmodules: &str, at: &str| {
        forge_git(
            &host,
            &format!(
                "export GIT_INDEX_FILE=/tmp/index; git read-tree {at}
                 git update-index --add --cacheinfo 100644,$(printf '{gitmodules}' | git hash-object -w --stdin),.gitmodules
                 git update-index --add --cacheinfo 160000,{good},module
                 new=$(git -c gpg.format=ssh -c user.signingkey=/root/keys/signer -c user.name=o -c user.email=o@demo \\
                   commit-tree -S -p {at} -m module $(git write-tree)); rm /tmp/index
                 git update-ref refs/heads/main $new; echo $new"
            ),
        )
    };
    let module = "[submodule \"m\"]\\n\\tpath = module\\n\\turl = ";
    for (url, why) in [
        ("--upload-pack=touch /tmp/ran", "gitmodulesUrl"),
        ("https://h/x\\n\\tupdate = !touch /tmp/ran", "gitmodulesUpdate"),
    ] {
        with(&format!("{module}{url}\\n"), &good);
        refuses(&host, 10, &["could not be fetched", why]);
    }
    // git finds nothing wrong with this one; nobody follows it.
    let sound = with(&format!("{module}ext::sh -c touch% /tmp/ran\\n"), &good);
    forge_git(
        &host,
        &format!(
            "echo {sound} >'refs/heads/--upload-pack=touch ran'; mkdir -p refs/heads/-c; echo {sound} >refs/heads/-c/main; \
             echo {sound} >'refs/heads/$(touch ran)'; git tag -f -m x -- main {good} 2>&1; \
             mkdir -p refs/replace; echo {good} >refs/replace/{sound}"
        ),
    );
    deploys(&host, "v1");
    assert_eq!(
        host.root(&format!("git --git-dir={REPO} for-each-ref --format='%(refname)'")),
        "refs/heads/verified"
    );
    assert_eq!(host.root("ls /tmp/ran /ran ran 2>/dev/null || true"), "");
}

// ---- the read key -----------------------------------------------------------------------------------------------------

#[test]
fn a_read_key_that_others_can_read_is_refused_and_a_credential_is_taken() {
    let host = Host::boot();
    let key = "/var/lib/nixgate/keys/source";
    host.commit("v1", &Commit::signed());
    for mode in ["0640", "0604"] {
        host.root(&format!("chmod {mode} {key}"));
        refuses(&host, 78, &[&format!("chmod 0600 {key}")]);
    }
    host.root(&format!("mv {key} /root/read-key"));
    refuses(&host, 78, &[&format!("install -m 0600 -o nixgate -g nixgate FILE {key}")]);
    host.config_edit_only("[trust]", "ssh-key = \"$CREDENTIALS_DIRECTORY/source\"\n\n[trust]");
    refuses(&host, 78, &["LoadCredential=source:FILE"]);
    host.root(
        "chown root: /root/read-key; chmod 0600 /root/read-key; mkdir -p /etc/systemd/system/nixgate@.service.d; \
         printf '[Service]\\nLoadCredential=source:/root/read-key\\n' >/etc/systemd/system/nixgate@.service.d/key.conf; \
         systemctl daemon-reload",
    );
    deploys(&host, "v1");
}

// ---- forward only -----------------------------------------------------------------------------------------------------

#[test]
fn a_wiped_state_resets_no_protection() {
    let host = Host::boot();
    let [first, second] = ["v1", "v2"].map(|version| host.commit(version, &Commit::signed()));
    deploys(&host, "v2");
    let wipe = "rm -rf /var/lib/nixgate/* && systemd-tmpfiles --create nixgate.conf && \
                install -m 0600 -o nixgate -g nixgate /root/keys/source /var/lib/nixgate/keys/source";
    host.root(wipe);
    let old = host.ssh(&["switch", &first]).expect(11);
    assert!(old.stderr.contains(&format!("does not descend from {second}")), "{old:#?}");
    // With a system that does not say what it was made from, nobody knows where the host is.
    let script = "$(readlink -f /nix/var/nix/profiles/system)/sw/bin/nixos-version";
    host.root(&format!("mount --bind /bin/true {script}"));
    let before = host.triple();
    let unknown = host.ssh(&["switch", &first]);
    leaves(&host, &before, &unknown, "switch", "refused", 11, &["accepted fetched", REFUSES]);
    assert!(unknown.stderr.contains(&format!("nixgatectl anchor --set {first}")), "{unknown:#?}");
    host.root(&format!("nixgatectl anchor --set {second}"));
    host.ssh(&["switch", &first]).expect(11);
    host.root(&format!("umount {script}"));
    host.commit("v3", &Commit::signed());
    deploys(&host, "v3");
}

#[test]
fn what_another_tool_deployed_is_the_next_anchor_once_an_operator_says_so() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    deploys(&host, "v1");
    let other = host.commit("v2", &Commit::signed());
    let system = host.realise(&other);
    host.root(&format!(
        "nix-env -p /nix/var/nix/profiles/system --set {system}; {system}/bin/switch-to-configuration switch"
    ));
    host.commit("v3", &Commit::signed());
    let mend = format!("nixgatectl anchor --set {other}");
    refuses(&host, 11, &[&mend]);
    host.root(&mend);
    deploys(&host, "v3");
    // A test branch beside main, a rollback, and the next deploy.
    host.config_edit_only("[trust]", "[refs]\ntest = \"next\"\n\n[trust]");
    host.commit("v4", &Commit::signed().branch("next"));
    host.ssh(&["test"]).expect(0);
    assert_eq!(host.version(), "v4");
    host.ssh(&["rollback"]).expect(0);
    assert_eq!(host.version(), "v3");
    host.ssh(&["rollback"]).expect(0);
    host.commit("v5", &Commit::signed());
    deploys(&host, "v5");
}

#[test]
fn what_failed_here_is_known_bad_to_the_timer_and_to_people() {
    let host = Host::boot();
    let commit = host.commit("v1", &Commit::signed().fault("health-bad"));
    let first = host.ssh(&["switch"]).expect(21);
    assert!(!first.stderr.contains("failed here before"), "{first:#?}");
    let timer = "setpriv --reuid nixgate --regid nixgate --groups deploy /usr/bin/nixgate -c switch";
    let before = host.triple();
    let refused = host.root_output(timer);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(11), "{said}");
    assert!(said.contains("failed here before, so the timer does not try it again"), "{said}");
    assert_eq!(host.triple(), before);
    assert!(host.ssh(&["status"]).expect(0).stdout.contains(&format!("  {commit}\n")));
    let again = host.ssh(&["switch"]).expect(21);
    assert!(again.stderr.contains("failed here before; it is tried again"), "{again:#?}");
    // What made it fail is mended: it is good, and no longer known as bad.
    host.config_edit_only(
        "command = [\"/usr/bin/grep\", \"-q\", \"^ok\", \"/run/demo-health\"]",
        "command = [\"/bin/true\"]",
    );
    deploys(&host, "v1");
    assert!(!host.ssh(&["status"]).expect(0).stdout.contains("known bad"));
    host.commit("v2", &Commit::signed());
    assert_eq!(host.root_code(timer), 0, "the timer takes what is new");
}

#[test]
fn a_commit_that_is_too_old_is_refused_by_the_clock_of_the_host() {
    let host = Host::boot();
    host.config_edit_only("signatures = \"tip\"", "signatures = \"tip\"\nmax-commit-age = \"36h\"");
    let made = |version: &str, age: &str| {
        host.root(&format!(
            "GIT_COMMITTER_DATE=\"$(date -d '{age}' -R)\" /root/fixture/system/commit {version}"
        ))
    };
    made("v1", "50 hours ago");
    refuses(&host, 11, &["is 2 days old", "trust.max-commit-age", "git commit --allow-empty"]);
    made("v2", "1 hour");
    refuses(&host, 11, &["in the future of this host's clock"]);
    made("v3", "30 hours ago");
    deploys(&host, "v3");
}

#[test]
fn every_commit_that_comes_along_is_signed_where_that_is_asked_for() {
    let host = Host::boot();
    host.config_edit_only("signatures = \"tip\"", "signatures = \"every-commit\"");
    let first = host.commit("v1", &Commit::signed());
    deploys(&host, "v1");
    // Unsigned below a signed tip, by a key that may not sign, and through a merge.
    let unsigned = host.commit("v2", &Commit::unsigned());
    host.commit("v3", &Commit::signed());
    refuses(&host, 11, &[&unsigned, "is not signed", "every-commit"]);
    let stranger = host.commit("v2", &Commit::unknown_key().parent(&first));
    host.commit("v3", &Commit::signed());
    refuses(&host, 11, &[&stranger, "allowed_signers", "every-commit"]);
    let merge = |second: &str| {
        forge_git(
            &host,
            &format!(
                "new=$(git -c gpg.format=ssh -c user.signingkey=/root/keys/signer -c user.name=o -c user.email=o@demo \
                   commit-tree -S -p {first} -p {second} -m merge '{second}^{{tree}}'); git update-ref refs/heads/main $new"
            ),
        )
    };
    merge(&unsigned);
    refuses(&host, 11, &[&unsigned, "is not signed"]);
    let side = host.commit("v4", &Commit::signed().branch("side").parent(&first));
    merge(&side);
    deploys(&host, "v4");
    // What lies before the anchor is no longer asked for.
    host.commit("v5", &Commit::signed());
    deploys(&host, "v5");
    // A thousand and one are too many to look at, and the answer says what to do.
    forge_git(
        &host,
        "tree=$(git rev-parse 'main^{tree}')
         { for n in $(seq 1000); do printf 'commit refs/heads/main\\ncommitter o <o@demo> %s +0000\\ndata 1\\nx\\n' \"$(date +%s)\"
           [ $n != 1 ] || printf 'from refs/heads/main^0\\n'; echo; done; } | git fast-import --quiet --force",
    );
    host.commit("v6", &Commit::signed());
    refuses(&host, 11, &["more than 1000 commits", "nixgatectl anchor --set"]);
    let near = forge_git(&host, "git rev-parse main~1");
    host.root(&format!("nixgatectl anchor --set {near}"));
    deploys(&host, "v6");
}
