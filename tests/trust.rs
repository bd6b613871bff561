//! What is not trusted is 11, named, and activates nothing: commits by real git, ssh-keygen, gpg and gpgsm against a booted
//! host. Each has a twin without the fault that deploys, so that nothing else was what stopped it. One host sees many
//! commits: a refused one changes nothing. What git alone would say of such commits is in `differential.rs`.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod host;
mod workshop;

use host::job::{KEEPS, REFUSES, TRIED, ended, leaves};
use host::{Commit, Host};
use std::cell::RefCell;
use workshop::{Make, Signer, Workshop, script, text, with_header};

const NO_KEY: &str = "by no key that may sign here";
const TWICE: &str = "more than one signature";
const FORWARD: &str = "goes forward only";
/// 2020-01-01, before the end of the key `ended`.
const LONG_AGO: u64 = 1_577_836_800;

/// A host, and a workshop with a clone of its repository and keys that the host knows.
struct Place {
    host: Host,
    shop: Workshop,
    /// The commit that was deployed last.
    deployed: RefCell<String>,
    /// `allowed_signers` as it was, with the key `good`.
    signers: String,
}

impl Place {
    fn new() -> Self {
        let (host, shop) = (Host::boot(), Workshop::new());
        let good = format!("good@demo namespaces=\"git\" {}\n", shop.ssh_key("good", "ed25519"));
        let signers = format!("{}\n{good}", host.root("cat /etc/nixgate/allowed_signers"));
        host.root("chmod a+rx /srv/git"); // account nixgate is to ask git there, to compare
        shop.ask(&["remote", "add", "origin", &host.forge()]);
        shop.ask(&["fetch", "--quiet", "origin"]);
        let deployed = RefCell::new(shop.ask(&["rev-parse", "origin/main"]));
        let place = Self { host, shop, deployed, signers };
        place.may_sign("");
        place
    }
    /// More lines in `allowed_signers`.
    fn may_sign(&self, more: &str) {
        self.host.write("/etc/nixgate/allowed_signers", &format!("{}{more}", self.signers));
    }
    /// A commit on top of what is deployed, with a system of this version.
    fn make<'a>(&self, signer: Signer<'a>, version: &str) -> Make<'a> {
        let parent = self.deployed.borrow();
        Make::new(signer, &parent, &self.shop.tree(&parent, "version", &format!("{version}\n")))
    }
    fn commit(&self, signer: Signer<'_>, version: &str) -> String {
        self.shop.commit(&self.make(signer, version))
    }
    /// The same by somebody who may.
    fn signed(&self, version: &str) -> String {
        self.commit(Signer::Ssh("good"), version)
    }
    /// As a forge that was taken over would: whatever it was before.
    fn publish(&self, name: &str, object: &str) {
        self.shop.ask(&["push", "--quiet", "--force", "origin", &format!("{object}:{name}")]);
    }
    fn main(&self, commit: &str) -> String {
        self.publish("refs/heads/main", commit);
        commit.to_owned()
    }

    /// Whatever is asked for, it is refused by this code and for this reason, nothing is built and the host stands where it
    /// stood.
    #[track_caller]
    fn refuses(&self, request: &[&str], code: i32, events: &str, why: &str) {
        let before = (self.host.triple(), self.systems());
        let answer = self.host.ssh(request);
        leaves(&self.host, &before.0, &answer, request[0], "refused", code, &[events, REFUSES]);
        assert!(answer.stderr.contains(why), "no {why:?} in {answer:#?}");
        assert_eq!(self.systems(), before.1, "something was built");
    }
    /// A branch `main` that is not trusted.
    #[track_caller]
    fn distrusts(&self, why: &str) {
        for verb in ["fetch", "switch"] {
            self.refuses(&[verb], 11, "accepted fetched", why);
        }
    }
    fn systems(&self) -> String {
        self.host.root("ls -d /nix/store/*-nixos-system-demo-*")
    }
    /// The twin: this commit becomes what the host is.
    #[track_caller]
    fn deploys(&self, request: &[&str], commit: &str, version: &str) {
        let answer = self.host.ssh(request);
        ended(&self.host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
        assert_eq!((answer.value("commit"), self.host.version().as_str()), (commit, version));
        assert_eq!(self.host.triple().running, answer.value("new"));
        self.deployed.replace(commit.to_owned());
    }
    /// The twin of a commit: the same tree on the same parent, with one good signature.
    #[track_caller]
    fn deploys_signed(&self, version: &str) {
        let twin = self.main(&self.signed(version));
        self.deploys(&["switch"], &twin, version);
    }
    /// What a script on the host would do as account nixgate, with both lists.
    fn git_accepts(&self, repository: &str, commit: &str) -> bool {
        let lists = "-c gpg.ssh.allowedSignersFile=/etc/nixgate/allowed_signers -c gpg.ssh.revocationFile=/etc/nixgate/revoked";
        self.host.root_code(&as_nixgate(&format!("git -C {repository} {lists} verify-commit {commit}"))) == 0
    }
}

fn as_nixgate(command: &str) -> String {
    format!("cd /; HOME=/var/lib/nixgate setpriv --reuid nixgate --regid nixgate --clear-groups {command}")
}

#[test]
fn an_unsigned_commit_or_one_by_a_stranger_is_11_for_every_verb() {
    let place = Place::new();
    place.shop.ssh_key("stranger", "ed25519");
    for (version, signer, why) in
        [("v1", Signer::Nobody, "is not signed"), ("v2", Signer::Ssh("stranger"), NO_KEY)]
    {
        place.main(&place.commit(signer, version));
        for verb in ["fetch", "switch", "test", "boot", "switch"] {
            place.refuses(&[verb], 11, "accepted fetched", why);
        }
        place.deploys_signed(version);
    }
}

#[test]
fn a_key_that_is_revoked_or_expired_now_deploys_nothing_whatever_the_commit_is_dated() {
    let place = Place::new();
    let [ended, revoked] = ["ended", "revoked"].map(|key| place.shop.ssh_key(key, "ed25519"));
    let lists =
        |options: &str| format!("ended@demo namespaces=\"git\"{options} {ended}\nrevoked@demo {revoked}\n");
    let revoke = |line: &str| place.host.write("/etc/nixgate/revoked", line);
    let past = lists(",valid-before=\"20200201Z\"");
    // Expired, with the date of today and with one from before the end. The twin is the same commit while the key is valid.
    let by_ended = |version: &str| place.make(Signer::Ssh("ended"), version);
    for (version, commit) in [("v1", by_ended("v1")), ("v2", by_ended("v2").dated(LONG_AGO))] {
        let mut commit = commit;
        commit.parents = vec![place.deployed.borrow().clone()];
        let commit = place.main(&place.shop.commit(&commit));
        place.may_sign(&past);
        assert_eq!(place.git_accepts("/srv/git/infra.git", &commit), version == "v2", "git goes by the date");
        place.distrusts(NO_KEY);
        place.may_sign(&lists(""));
        place.deploys(&["switch"], &commit, version);
    }
    // Revoked by its line, and by the list that ssh-keygen makes. The twin is the same commit once the key is given back.
    let made = "ssh-keygen -q -k -f /etc/nixgate/revoked /tmp/revoked.pub && chmod 0644 /etc/nixgate/revoked";
    place.host.write("/tmp/revoked.pub", &format!("{revoked}\n"));
    for (version, list) in [("v3", "cp /tmp/revoked.pub /etc/nixgate/revoked"), ("v4", made)] {
        let commit = place.main(&place.commit(Signer::Ssh("revoked"), version));
        place.host.root(list);
        place.distrusts(NO_KEY);
        revoke("");
        place.deploys(&["switch"], &commit, version);
    }
    // Without the list nobody could tell.
    let commit = place.main(&place.signed("v5"));
    place.host.root("rm /etc/nixgate/revoked");
    place.refuses(&["switch"], 78, "accepted fetched", "/etc/nixgate/revoked");
    revoke("");
    place.deploys(&["switch"], &commit, "v5");
}

#[test]
fn only_one_signature_and_only_one_of_ssh_counts() {
    let place = Place::new();
    let (host, shop) = (&place.host, &place.shop);
    shop.pgp_key();
    shop.x509_key();
    // The forge's key is in the keyring of account nixgate, and git, asked by it, would be content.
    host.write("/tmp/forge.asc", &text(shop.program("gpg").args(["--export", "--armor"])));
    host.root(&as_nixgate("gpg --batch --quiet --no-autostart --import /tmp/forge.asc 2>&1"));
    let pgp = place.main(&place.commit(Signer::Pgp, "v1"));
    assert!(place.git_accepts("/srv/git/infra.git", &pgp));
    place.distrusts("signed with PGP");
    place.deploys_signed("v1");

    place.main(&place.commit(Signer::X509, "v2"));
    place.distrusts("signed with X.509");
    place.deploys_signed("v2");

    for (version, second) in [("v3", "gpgsig"), ("v4", "gpgsig-sha256")] {
        let unsigned = shop.raw(&place.commit(Signer::Nobody, version));
        let header = |name| shop.header(name, "good", "git", &unsigned);
        let twice = shop.literal(&with_header(&unsigned, &(header("gpgsig") + &header(second))));
        place.main(&twice);
        assert!(place.git_accepts("/srv/git/infra.git", &twice), "git looks at the first");
        place.distrusts(TWICE);
        let once = place.main(&shop.literal(&with_header(&unsigned, &header("gpgsig"))));
        place.deploys(&["switch"], &once, version);
    }
    // A good signature, but over something else.
    let unsigned = shop.raw(&place.commit(Signer::Nobody, "v5"));
    place.main(&shop.literal(&with_header(&unsigned, &shop.header("gpgsig", "good", "git", b"another"))));
    place.distrusts(NO_KEY);
    place.main(&shop.literal(&with_header(&unsigned, &shop.header("gpgsig", "good", "file", &unsigned))));
    place.distrusts(NO_KEY);
    place.deploys_signed("v5");
}

#[test]
fn a_replace_ref_on_the_forge_or_on_the_host_changes_nothing() {
    let place = Place::new();
    let [unsigned, signed] = [place.commit(Signer::Nobody, "v1"), place.signed("v1")];
    place.publish(&format!("refs/replace/{unsigned}"), &signed);
    place.main(&unsigned);
    assert!(place.git_accepts("/srv/git/infra.git", &unsigned), "git is led to the signed one");
    place.distrusts("is not signed");
    // Somebody who got at the files of account nixgate.
    let repository = "/var/lib/nixgate/repo.git";
    let fetch = format!(
        "fetch --quiet /srv/git/infra.git +{unsigned}:refs/nixgate/planted '+refs/replace/*:refs/replace/*'"
    );
    place.host.root(&as_nixgate(&format!("git -C {repository} -c protocol.allow=always {fetch}")));
    assert!(place.git_accepts(repository, &unsigned), "git is led to the signed one here, too");
    place.distrusts("is not signed");
    place.deploys_signed("v1");
}

#[test]
fn a_signed_tag_vouches_for_nothing_under_any_name() {
    let place = Place::new();
    let (host, shop) = (&place.host, &place.shop);
    let unsigned = place.commit(Signer::Nobody, "v1");
    let key = format!("user.signingKey={}", shop.path("good").display());
    shop.ask(&["-c", "gpg.format=ssh", "-c", &key, "tag", "-s", "-m", "old", "v1.0", &unsigned]);
    let tag = shop.ask(&["rev-parse", "refs/tags/v1.0"]);
    // A tag with the name of the branch is not the branch.
    let main = place.main(&place.deployed.borrow().clone());
    place.publish("refs/tags/main", &tag);
    let answer = host.ssh(&["switch"]).expect(0);
    assert_eq!((answer.value("result"), answer.value("commit")), ("unchanged", main.as_str()));
    // The tag in the place of the branch, where git itself would not put it.
    host.root(&format!("echo {tag} >/srv/git/infra.git/refs/heads/main"));
    place.distrusts("is no commit");
    place.deploys_signed("v1");
    // v1.0 published as v9.9, and a verb that takes its commits from there: there is no such branch.
    host.config_edit_only("[trust]", "[refs]\nswitch = \"v9.9\"\n\n[trust]");
    place.publish("refs/tags/v9.9", &tag);
    place.refuses(&["switch"], 10, "accepted", "no branch v9.9");
    let twin = place.signed("v2");
    place.publish("refs/heads/v9.9", &twin);
    place.deploys(&["switch"], &twin, "v2");
}

#[test]
fn nothing_older_beside_or_unrelated_comes_in() {
    let place = Place::new();
    let (host, shop) = (&place.host, &place.shop);
    let start = place.deployed.borrow().clone();
    let first = place.main(&place.signed("v1"));
    place.deploys(&["switch"], &first, "v1");
    place.deploys_signed("v2");
    // Older, by name and by a branch that was forced back.
    for verb in ["fetch", "switch", "test", "boot"] {
        place.refuses(&[verb, &first], 11, "accepted fetched", FORWARD);
    }
    place.main(&first);
    place.distrusts(FORWARD);
    // Sideways: another child of the one before, also by the host's own operator.
    let tree = |version: &str| shop.tree(&start, "version", &format!("{version}\n"));
    place.main(&shop.commit(&Make::new(Signer::Ssh("good"), &first, &tree("v3"))));
    place.distrusts(FORWARD);
    host.commit("v3", &Commit::signed().parent(&first));
    place.distrusts(FORWARD);
    // Of another history, and a merge of both that has what is deployed for its second parent is none.
    let mut root = Make::new(Signer::Ssh("good"), &first, &tree("v3"));
    root.parents.clear();
    let root = place.main(&shop.commit(&root));
    place.distrusts(FORWARD);
    let mut merge = Make::new(Signer::Ssh("good"), &root, &tree("v3"));
    merge.parents.push(place.deployed.borrow().clone());
    let merge = place.main(&shop.commit(&merge));
    place.deploys(&["switch"], &merge, "v3");
    // What is deployed is no older than itself.
    let before = host.triple();
    let same = host.ssh(&["switch", &merge]).expect(0);
    assert_eq!((same.value("result"), host.triple()), ("unchanged", before));
}

#[test]
fn a_commit_that_is_not_on_the_branch_and_a_branch_that_is_gone_deploy_nothing() {
    let place = Place::new();
    let side = place.signed("v1");
    place.publish("refs/heads/side", &side);
    for commit in [side.as_str(), &"f".repeat(40), &"f".repeat(64)] {
        place.refuses(&["switch", commit], 11, "accepted", "is not on main");
    }
    place.main(&side);
    place.deploys(&["switch", &side], &side, "v1");
    // A commit whose branch moved away from it, by force.
    let [left, kept] = [place.signed("v2"), place.commit(Signer::Ssh("good"), "v3")];
    place.main(&left);
    place.main(&kept);
    place.refuses(&["switch", &left], 11, "accepted", "is not on main");
    place.main(&left);
    place.deploys(&["switch", &left], &left, "v2");
    // A branch that is gone.
    place.host.root("git -C /srv/git/infra.git update-ref -d refs/heads/main");
    for verb in ["fetch", "switch"] {
        place.refuses(&[verb], 10, "accepted", "no branch main");
    }
    place.deploys_signed("v3");
}

#[test]
fn what_a_forge_merged_is_refused_with_the_way_out_and_promoted_it_deploys() {
    let place = Place::new();
    let (host, shop) = (&place.host, &place.shop);
    shop.pgp_key();
    let follow = "[refs]\nfetch = \"deploy\"\nswitch = \"deploy\"\n\n[trust]";
    host.config_edit_only("[trust]", follow);
    let signers = shop.write("signers", &host.root("cat /etc/nixgate/allowed_signers"));
    let promote = |more: &[&str]| {
        let mut script = shop.program(script("scripts/nixgate-promote").to_str().unwrap());
        script.current_dir(shop.repository()).args(["--yes", "--key"]).arg(shop.path("good"));
        text(script.arg("--signers").arg(&signers).args(more))
    };
    let merge = |version: &str| {
        let main = shop.ask(&["ls-remote", "origin", "refs/heads/main"]);
        let tree = shop.tree(&main[..40], "version", &format!("{version}\n"));
        place.main(&shop.commit(&Make::new(Signer::Pgp, &main[..40], &tree)))
    };
    // A merge in the browser, straight into the deploy branch.
    let merged = merge("v1");
    place.publish("refs/heads/deploy", &merged);
    place.distrusts("promote it with nixgate-promote");
    let promoted = promote(&[]);
    place.deploys(&["switch"], &promoted, "v1");
    // The next one, into main as it should be; asked for by the id that the script printed.
    let merged = merge("v2");
    let promoted = promote(&[]);
    assert_eq!(shop.ask(&["rev-parse", &format!("{promoted}^2")]), merged);
    place.deploys(&["switch", &promoted], &promoted, "v2");
    // The merge itself is on the branch now, and still nothing that may run.
    let before = host.triple();
    let answer = host.ssh(&["switch", &merged]);
    leaves(host, &before, &answer, "switch", "refused", 11, &["accepted fetched", REFUSES]);
    assert_eq!(promote(&[]), promoted, "nothing to promote");
    // Where every commit has to be signed, the merge may not come along.
    host.config_edit_only("signatures = \"tip\"", "signatures = \"every-commit\"");
    let merged = merge("v3");
    promote(&[]);
    place.distrusts(&format!("{merged}, which comes along"));
    place.publish("refs/heads/deploy", &promoted);
    let alone = promote(&["--one-parent"]);
    place.deploys(&["switch"], &alone, "v3");
}
