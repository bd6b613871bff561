//! One corpus of commits through two judges: `git verify-commit`, set up as a careful script would, and nixgate's own
//! verification. It shows by name where git accepts what nixgate refuses, and that nixgate accepts nothing that git
//! refuses. That the refused ones deploy nothing on a booted host is in `trust.rs`.
//!
//! Needs root: `/etc/nixgate` is one of this test's own, in a mount namespace.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod workshop;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nixgate::act::files::{read_trusted, read_trusted_bytes};
use nixgate::act::inbox::Inbox;
use nixgate::act::keys::{ALLOWED_SIGNERS, Namespace, REVOKED};
use nixgate::act::log::Log;
use nixgate::act::machine::Machine;
use nixgate::act::store::Store;
use nixgate::act::{clock, files};
use nixgate::decide::config::{Config, EXAMPLE};
use nixgate::decide::privileged::Platform;
use nixgate::decide::trust;
use nixgate::decide::value::Commit;
use std::fs;
use std::path::Path;
use workshop::token::Touch;
use workshop::{Make, Signer, Workshop, text, with_header};

/// What is said of a commit: nothing, or why not.
type Verdict = Result<(), String>;

/// One commit of the corpus, and what has to be said of it.
#[derive(Debug)]
struct Case {
    name: &'static str,
    commit: String,
    by_git: bool,
    /// Empty where nixgate takes it; otherwise what its refusal says.
    by_nixgate: &'static str,
}

fn case(name: &'static str, commit: String, by_git: bool, by_nixgate: &'static str) -> Case {
    Case { name, commit, by_git, by_nixgate }
}

const NO_KEY: &str = "by no key that may sign here";
const TWICE: &str = "more than one signature";
/// 2020-01-01, long before the end of the key `ended`.
const LONG_AGO: u64 = 1_577_836_800;

#[test]
fn git_accepts_what_nixgate_refuses_and_nixgate_nothing_that_git_refuses() {
    let shop = Workshop::new();
    let mut machine = machine(&shop);
    let cases = corpus(&shop);
    let mut only_git = Vec::new();
    for Case { name, commit, by_git, by_nixgate } in &cases {
        let git = git_accepts(&shop, commit);
        let nixgate = nixgate_accepts(&shop, &mut machine, commit);
        assert_eq!(git, *by_git, "git of {name}");
        match &nixgate {
            Ok(()) => assert!(by_nixgate.is_empty() && git, "{name} is accepted by nixgate, git: {git}"),
            Err(why) => {
                assert!(!by_nixgate.is_empty() && why.contains(by_nixgate), "nixgate of {name}: {why}");
            }
        }
        only_git.extend((git && nixgate.is_err()).then_some(*name));
    }
    // What was found with git 2.47; the facts behind `docs/decisions/sha1-checked-and-ssh-key.md`.
    let known = [
        "expired key, commit dated back",
        "key of the future, commit dated ahead",
        "PGP, key in the keyring",
        "X.509, certificate trusted",
        "two signatures",
        "a second signature that git does not look at",
        "replaced by a signed commit",
    ];
    assert_eq!(only_git, known);
}

#[test]
fn git_trusts_a_revoked_key_when_its_list_is_missing_and_nixgate_trusts_nobody() {
    let shop = Workshop::new();
    let mut machine = machine(&shop);
    let [good, revoked] = ["good", "revoked"].map(|key| signed(&shop, Signer::Ssh(key)));
    assert_eq!((git_accepts(&shop, &good), git_accepts(&shop, &revoked)), (true, false));
    assert!(nixgate_accepts(&shop, &mut machine, &good).is_ok());
    fs::remove_file(REVOKED).unwrap();
    assert_eq!((git_accepts(&shop, &good), git_accepts(&shop, &revoked)), (true, true), "fails open");
    for commit in [good, revoked] {
        let why = nixgate_accepts(&shop, &mut machine, &commit).unwrap_err();
        assert!(why.contains(REVOKED), "{why}");
    }
}

#[test]
fn keys_are_revoked_by_lines_and_by_the_list_that_ssh_keygen_makes() {
    let shop = Workshop::new();
    let mut machine = machine(&shop);
    let [good, revoked] = ["good", "revoked"].map(|key| signed(&shop, Signer::Ssh(key)));
    text(shop.program("ssh-keygen").args(["-q", "-k", "-f", REVOKED, "revoked.pub"]));
    for (commit, accepted) in [(good, true), (revoked, false)] {
        assert_eq!(git_accepts(&shop, &commit), accepted);
        let said = nixgate_accepts(&shop, &mut machine, &commit);
        assert_eq!(said.err().unwrap_or_default(), if accepted { "" } else { NO_KEY });
    }
}

#[test]
fn git_verifies_a_tag_under_any_name_and_nixgate_looks_at_the_commit() {
    let shop = Workshop::new();
    let mut machine = machine(&shop);
    let unsigned = signed(&shop, Signer::Nobody);
    let key = shop.path("good").to_string_lossy().into_owned();
    let sign = ["-c", "gpg.format=ssh", "-c", &format!("user.signingKey={key}")];
    shop.ask(&[&sign[..], &["tag", "-s", "-m", "the old one", "v1.0", &unsigned]].concat());
    shop.ask(&["update-ref", "refs/tags/v9.9", "refs/tags/v1.0"]);
    let naive = |words: &[&str]| shop.git(&[&settings()[..], words].concat()).output().unwrap().status;
    assert!(naive(&["verify-tag", "v9.9"]).success(), "git takes v1.0 for v9.9");
    let commit = shop.ask(&["rev-parse", "v9.9^{commit}"]);
    assert!(nixgate_accepts(&shop, &mut machine, &commit).unwrap_err().contains("is not signed"));
}

/// Headers dropped, doubled, moved, folded and unfolded, and bytes turned over: two readers of one format differ first
/// where it is bent.
#[test]
fn no_bent_commit_is_accepted_that_git_refuses() {
    let shop = Workshop::new();
    let mut machine = machine(&shop);
    let good = signed(&shop, Signer::Ssh("good"));
    let raw = shop.raw(&good);
    assert!(bytes_accepted(&shop, &mut machine, &raw, &good).is_ok());
    let (mut refused, mut accepted) = (0, Vec::new());
    for (how, bent) in bent(&raw) {
        if bytes_accepted(&shop, &mut machine, &bent, &good).is_err() {
            refused += 1;
            continue;
        }
        assert!(git_accepts(&shop, &shop.literal(&bent)), "{how}: {}", String::from_utf8_lossy(&bent));
        accepted.push(how);
    }
    assert!(refused > 150, "{refused}");
    // The signature may be written down in other ways; what was signed may not change.
    assert!(accepted.iter().all(|how| how.contains("signature")), "{accepted:?}");
}

fn bent(raw: &[u8]) -> Vec<(String, Vec<u8>)> {
    let lines: Vec<&[u8]> = raw.split_inclusive(|b| *b == b'\n').collect();
    let part = |n: usize| {
        let of_signature = |line: &&[u8]| line.starts_with(b"gpgsig") || line.starts_with(b" ");
        if lines.get(n).is_some_and(of_signature) { "signature" } else { "payload" }
    };
    let mut all = Vec::new();
    for n in 0..lines.len() {
        let (before, line, after) = (lines[..n].concat(), lines[n], lines[n + 1..].concat());
        let mut add = |how: &str, middle: &[&[u8]]| {
            let whole = [&before[..], &middle.concat(), &after].concat();
            all.push((format!("{how} line {n} of the {}", part(n)), whole));
        };
        add("without", &[]);
        add("twice", &[line, line]);
        add("folded", &[b" ", line]);
        add("with a blank line before", &[b"\n", line]);
        add("with a carriage return in", &[&line[..line.len() - 1], b"\r\n"]);
        add("with a space at the end of", &[&line[..line.len() - 1], b" \n"]);
        add("with a NUL at the end of", &[&line[..line.len() - 1], b"\0\n"]);
        add("with another header before", &[b"x-header y\n", line]);
        add("with an empty signature before", &[b"gpgsig\n", line]);
    }
    for n in (0..raw.len()).step_by(5) {
        let mut turned = raw.to_vec();
        turned[n] ^= 0x20;
        let line = raw[..n].iter().filter(|b| **b == b'\n').count();
        all.push((format!("byte {n} of the {} turned", part(line)), turned));
    }
    all
}

#[test]
fn both_agree_on_a_repository_of_sha_256() {
    let shop = Workshop::with_format("sha256");
    let mut machine = machine(&shop);
    let good = signed(&shop, Signer::Ssh("good"));
    assert_eq!(good.len(), 64);
    for (signer, accepted) in [(Signer::Ssh("good"), true), (Signer::Ssh("stranger"), false)] {
        let commit = signed(&shop, signer);
        assert_eq!(git_accepts(&shop, &commit), accepted);
        assert_eq!(nixgate_accepts(&shop, &mut machine, &commit).is_ok(), accepted);
    }
}

// ---- the corpus ----

fn corpus(shop: &Workshop) -> Vec<Case> {
    shop.pgp_key();
    shop.expired_pgp_key();
    shop.x509_key();
    let make = |signer| Make::new(signer, &first(shop), &tree(shop));
    let good = signed(shop, Signer::Ssh("good"));
    let unsigned = signed(shop, Signer::Nobody);
    let mut merge = make(Signer::Ssh("good"));
    merge.parents.push(good.clone());
    let mut latin = make(Signer::Ssh("good"));
    latin.settings.push("i18n.commitEncoding=ISO-8859-1");
    let ahead = make(Signer::Ssh("not-yet")).dated(clock::wall_seconds() + 90_000);
    let raw = shop.raw(&unsigned);
    let crafted = |header: &str| shop.literal(&with_header(&raw, header));
    let by = |key, namespace| shop.header("gpgsig", key, namespace, &raw);
    let other = shop.header("gpgsig-sha256", "good", "git", &raw);
    let mut edited = shop.raw(&good);
    edited.extend_from_slice(b"and more\n");
    vec![
        case("signed", good.clone(), true, ""),
        case("signed, by hand", crafted(&by("good", "git")), true, ""),
        case("signed merge", shop.commit(&merge), true, ""),
        case("signed, in another encoding", shop.commit(&latin), true, ""),
        case("signed with RSA", signed(shop, Signer::Ssh("rsa")), true, ""),
        case("signed with ECDSA", signed(shop, Signer::Ssh("ecdsa")), true, ""),
        case("signed with a certificate", signed(shop, Signer::Ssh("certified")), true, ""),
        case("key with two names", signed(shop, Signer::Ssh("of-two")), true, ""),
        case("key with a pattern for a name", signed(shop, Signer::Ssh("of-many")), true, ""),
        case("signed with a hardware key", crafted(&shop.token_header(Touch::Yes, &raw)), true, ""),
        // ssh-keygen does not look whether it was touched: `docs/signing.md` says so.
        case("hardware key, nobody touched it", crafted(&shop.token_header(Touch::No, &raw)), true, ""),
        case(
            "hardware key, over something else",
            crafted(&shop.token_header(Touch::Yes, b"x")),
            false,
            NO_KEY,
        ),
        case("unsigned", unsigned.clone(), false, "is not signed"),
        case("unknown key", signed(shop, Signer::Ssh("stranger")), false, NO_KEY),
        case("revoked key", signed(shop, Signer::Ssh("revoked")), false, NO_KEY),
        case("key for another namespace", signed(shop, Signer::Ssh("for-files")), false, NO_KEY),
        case("signature for another namespace", crafted(&by("good", "file")), false, NO_KEY),
        case("expired key", signed(shop, Signer::Ssh("ended")), false, NO_KEY),
        case(
            "expired key, commit dated back",
            shop.commit(&make(Signer::Ssh("ended")).dated(LONG_AGO)),
            true,
            NO_KEY,
        ),
        case("key of the future", signed(shop, Signer::Ssh("not-yet")), false, NO_KEY),
        case("key of the future, commit dated ahead", shop.commit(&ahead), true, "in the future"),
        case("PGP, key in the keyring", signed(shop, Signer::Pgp), true, "signed with PGP"),
        case("PGP, expired key in the keyring", signed(shop, Signer::ExpiredPgp), false, "signed with PGP"),
        case("X.509, certificate trusted", signed(shop, Signer::X509), true, "signed with X.509"),
        case(
            "two signatures",
            crafted(&format!("{}{}", by("good", "git"), by("stranger", "git"))),
            true,
            TWICE,
        ),
        case(
            "two signatures, a stranger's first",
            crafted(&format!("{}{}", by("stranger", "git"), by("good", "git"))),
            false,
            TWICE,
        ),
        case(
            "a second signature that git does not look at",
            crafted(&format!("{}{other}", by("good", "git"))),
            true,
            TWICE,
        ),
        case(
            "signature of another commit",
            crafted(&shop.header("gpgsig", "good", "git", b"x")),
            false,
            NO_KEY,
        ),
        case("edited after it was signed", shop.literal(&edited), false, NO_KEY),
        case("garbage for a signature", crafted("gpgsig x\n"), false, "of a kind"),
        case("replaced by a signed commit", replaced(shop, &good), true, "is not signed"),
        case("another object under its name", swapped(shop, &good), false, "do not hash to its id"),
    ]
}

fn first(shop: &Workshop) -> String {
    shop.ask(&["rev-parse", "main"])
}

fn tree(shop: &Workshop) -> String {
    shop.ask(&["rev-parse", "main^{tree}"])
}

fn signed(shop: &Workshop, signer: Signer<'_>) -> String {
    shop.commit(&Make::new(signer, &first(shop), &tree(shop)))
}

/// An unsigned commit that a replace ref of the repository turns into a signed one.
fn replaced(shop: &Workshop, signed: &str) -> String {
    let unsigned = shop.commit(&Make::new(Signer::Nobody, &first(shop), &shop.tree("", "file", "replaced")));
    shop.ask(&["replace", &unsigned, signed]);
    unsigned
}

/// An unsigned commit whose file among the objects holds a signed one.
fn swapped(shop: &Workshop, signed: &str) -> String {
    let unsigned = shop.commit(&Make::new(Signer::Nobody, &first(shop), &shop.tree("", "file", "swapped")));
    let file = |id: &str| shop.repository().join(".git/objects").join(&id[..2]).join(&id[2..]);
    fs::remove_file(file(&unsigned)).unwrap();
    fs::copy(file(signed), file(&unsigned)).unwrap();
    unsigned
}

// ---- the two judges ----

/// A job's machine whose repository is the workshop's, and `/etc/nixgate` with the keys of the corpus. For this thread
/// and what it starts; the rest of the machine does not see it.
fn machine(shop: &Workshop) -> Machine {
    let line = |key: &str, options: &str| {
        format!(
            "{key}@demo {options} {}\n",
            shop.ssh_key(key, if key == "rsa" || key == "ecdsa" { key } else { "ed25519" })
        )
    };
    let git = "namespaces=\"git\"";
    let signers = [
        line("good", git),
        line("rsa", git),
        line("ecdsa", git),
        line("authority", &format!("cert-authority,{git}")).replace("authority@demo", "*@demo"),
        line("of-two", git).replace("of-two@demo", "alice@demo,bob@demo"),
        line("of-many", git).replace("of-many@demo", "*@demo"),
        format!("token@demo {git} {}\n", shop.token()),
        line("revoked", git),
        line("for-files", "namespaces=\"file\""),
        line("ended", &format!("{git},valid-before=\"20200201Z\"")),
        line("not-yet", &format!("{git},valid-after=\"{}\"", tomorrow())),
    ];
    shop.ssh_key("stranger", "ed25519");
    shop.ssh_key("certified", "ed25519");
    let certify = ["-q", "-s", "authority", "-I", "ci", "-n", "authority@demo", "certified.pub"];
    text(shop.program("ssh-keygen").args(certify));
    fs::rename(shop.path("certified-cert.pub"), shop.path("certified.pub")).unwrap();
    let tree = shop.tree("", "file", "first");
    let make = Make { signer: Signer::Nobody, parents: Vec::new(), tree, date: None, settings: Vec::new() };
    shop.point("refs/heads/main", &shop.commit(&make));

    own_etc();
    fs::write(ALLOWED_SIGNERS, signers.concat()).unwrap();
    fs::write(REVOKED, format!("{}\n", shop.public("revoked"))).unwrap();
    let state = shop.path("state");
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::symlink(shop.repository().join(".git"), state.join("repo.git")).unwrap();
    Machine {
        platform: Platform::Fhs,
        config: Config::parse(EXAMPLE).unwrap(),
        store: Store::new(state),
        log: Log::open(&shop.path("log")).unwrap(),
        inbox: Inbox::default(),
        patience: std::time::Duration::ZERO,
    }
}

/// As `allowed_signers` writes a day.
fn tomorrow() -> String {
    let mut date = std::process::Command::new("date");
    text(date.args(["-u", "-d", "tomorrow", "+%Y%m%dZ"]))
}

/// An `/etc` that is a layer over the machine's, with an empty `/etc/nixgate`.
fn own_etc() {
    let layer = Path::new("/mnt");
    unshare(CloneFlags::CLONE_NEWNS).expect("these tests need root");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("none"), layer, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).unwrap();
    let [upper, work] = ["upper", "work"].map(|name| layer.join(name));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    let options = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), "/etc", Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
    let _ = fs::remove_dir_all("/etc/nixgate");
    fs::create_dir("/etc/nixgate").unwrap();
}

fn settings() -> [&'static str; 4] {
    [
        "-c",
        "gpg.ssh.allowedSignersFile=/etc/nixgate/allowed_signers",
        "-c",
        "gpg.ssh.revocationFile=/etc/nixgate/revoked",
    ]
}

/// A careful script: both files are set, and only the exit code counts.
fn git_accepts(shop: &Workshop, commit: &str) -> bool {
    let words = [&settings()[..], &["verify-commit", commit]].concat();
    shop.git(&words).output().unwrap().status.success()
}

/// The steps of `job/source/verify.rs` up to ancestry.
fn nixgate_accepts(shop: &Workshop, machine: &mut Machine, commit: &str) -> Verdict {
    let id = Commit::parse(commit).unwrap();
    let objects = machine.commit_objects(std::slice::from_ref(&id)).unwrap();
    let raw = objects.and_then(|mut objects| objects.pop()).expect("an object");
    if !trust::hashes_to(&raw, commit) {
        return Err(trust::Untrusted::WrongBytes(commit.to_owned()).to_string());
    }
    bytes_accepted(shop, machine, &raw, commit)
}

/// What follows once the bytes are those of the commit.
fn bytes_accepted(shop: &Workshop, machine: &mut Machine, raw: &[u8], id: &str) -> Verdict {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let signed = trust::split(raw, id).map_err(|e| say(&e))?;
    let committed = trust::committed(raw).map_err(|e| say(&e))?;
    trust::not_from_the_future(committed, clock::wall_seconds()).map_err(|e| say(&e))?;
    read_trusted(Path::new(ALLOWED_SIGNERS)).map_err(|e| say(&e))?;
    read_trusted_bytes(Path::new(REVOKED)).map_err(|e| say(&e))?;
    let file = shop.path("signature");
    files::replace(&file, &signed.signature).unwrap();
    let good = machine.is_signed_by_allowed(Namespace::Git, &signed.payload, &file).unwrap();
    if good { Ok(()) } else { Err(NO_KEY.to_owned()) }
}
