//! `scripts/nixgate-promote` with real git, ssh-keygen and gpg, against a bare repository that plays the forge: it signs
//! its merges with PGP. That a promoted commit deploys on a host, and the merge does not, is in `trust.rs`.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod workshop;

use nixgate::decide::trust::{self, Untrusted};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use workshop::{Make, Signer, Workshop, fed, said, script, text};

/// A forge, and the clone of a person who has a key.
struct Team {
    shop: Workshop,
}

impl Team {
    fn new() -> Self {
        let team = Self { shop: Workshop::new() };
        let shop = &team.shop;
        shop.pgp_key();
        let line = |key: &str| format!("me@demo namespaces=\"git\" {}\n", shop.ssh_key(key, "ed25519"));
        shop.write("signers", &[line("my key"), line("revoked")].concat());
        shop.ssh_key("stranger", "ed25519");
        text(shop.program("git").args(["init", "--quiet", "--bare", "--initial-branch=main", "forge.git"]));
        shop.ask(&["remote", "add", "origin", shop.path("forge.git").to_str().unwrap()]);
        let tree = shop.tree("", "version", "1\n");
        let first = Make { signer: Signer::Pgp, parents: Vec::new(), tree, date: None, settings: Vec::new() };
        team.publish("main", &shop.commit(&first));
        team
    }
    /// A merge in the browser: a commit on a branch of the forge, signed by the forge.
    fn merge(&self, branch: &str, version: &str) -> String {
        let tip = self.tip(branch);
        let commit = Make::new(Signer::Pgp, &tip, &self.shop.tree(&tip, "version", version));
        self.publish(branch, &self.shop.commit(&commit))
    }
    /// Puts a commit on a branch of the forge, by force.
    fn publish(&self, branch: &str, commit: &str) -> String {
        self.shop.ask(&["push", "--quiet", "--force", "origin", &format!("{commit}:refs/heads/{branch}")]);
        commit.to_owned()
    }
    fn on_forge(&self, args: &[&str]) -> String {
        text(self.shop.program("git").args(["-C", "forge.git"]).args(args))
    }
    fn tip(&self, branch: &str) -> String {
        self.on_forge(&["rev-parse", &format!("refs/heads/{branch}")])
    }
    fn refs(&self) -> String {
        self.on_forge(&["for-each-ref"])
    }
    fn parents(&self, commit: &str) -> Vec<String> {
        let line = self.on_forge(&["log", "-1", "--format=%P", commit]);
        line.split_whitespace().map(str::to_owned).collect()
    }
    fn tree(&self, commit: &str) -> String {
        self.on_forge(&["rev-parse", &format!("{commit}^{{tree}}")])
    }

    /// The script in the clone, as it came from the documentation.
    fn bare(&self, args: &[&str]) -> Command {
        let mut command = self.shop.program(script("scripts/nixgate-promote").to_str().unwrap());
        command.current_dir(self.shop.repository()).args(args);
        command
    }
    /// With the key, and without questions.
    fn promote(&self, args: &[&str]) -> Said {
        let key = self.shop.path("my key").to_string_lossy().into_owned();
        Said::of(self.bare(&["--key", &key, "--yes"]).args(args))
    }
    /// What nixgate says of a commit, but for who signed it.
    fn split(&self, commit: &str) -> Result<(), Untrusted> {
        let raw = self.shop.raw(commit);
        assert!(trust::hashes_to(&raw, commit));
        trust::split(&raw, commit).map(drop)
    }
    #[track_caller]
    fn is_signed_by(&self, key: &str, commit: &str) {
        assert_eq!(self.split(commit), Ok(()));
        let signers = format!("gpg.ssh.allowedSignersFile={}", self.shop.path("signers").display());
        let good = self.shop.git(&["-c", &signers, "verify-commit", commit]).output().unwrap();
        let blob = self.shop.public(key);
        let print = text(Command::new("ssh-keygen").args(["-lf"]).arg(self.shop.write("one.pub", &blob)));
        let print = print.split(' ').nth(1).unwrap();
        assert!(good.status.success() && said(&good).contains(print), "{}", said(&good));
    }
}

#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(command: &mut Command) -> Self {
        Self::from(command.output().unwrap())
    }
    fn from(Output { status, stdout, stderr }: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
    }
    /// A refusal: its code, something that it says, and nothing on standard output.
    #[track_caller]
    fn refused(&self, code: i32, why: &str) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:#?}");
        assert!(self.err.contains(why), "no {why:?} in {self:#?}");
    }
    /// The id on standard output.
    #[track_caller]
    fn commit(&self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        assert_eq!(self.out.len(), 41, "{self:#?}");
        self.out.trim_end().to_owned()
    }
}

#[test]
fn what_the_forge_signed_becomes_a_commit_that_nixgate_takes() {
    let team = Team::new();
    let main = team.tip("main");
    // The first time: the branch begins on top of what the hosts were deployed from until now.
    let one = team.promote(&[]).commit();
    assert_eq!((team.tip("deploy"), team.parents(&one)), (one.clone(), vec![main]));
    let merged = team.merge("main", "2\n");
    assert_eq!(team.split(&merged), Err(Untrusted::Pgp));
    let said = team.promote(&[]);
    let two = said.commit();
    assert_eq!((team.tip("deploy"), team.parents(&two)), (two.clone(), vec![one, merged.clone()]));
    assert_eq!(team.tree(&two), team.tree(&merged));
    team.is_signed_by("my key", &two);
    assert!(said.err.contains("version") && said.err.contains(&merged[..7]), "{said:#?}");
    assert!(said.err.contains(&format!("switch {two}")), "{said:#?}");
    // Nothing of the clone was touched.
    assert_eq!(team.tip("main"), merged);
    assert_eq!(team.shop.ask(&["for-each-ref", "refs/nixgate-promote", "refs/heads"]), "");
    assert_eq!(fs::read_dir(team.shop.repository()).unwrap().count(), 1, "a work tree was made");
}

#[test]
fn asked_again_it_changes_nothing_and_says_where_the_branch_is() {
    let team = Team::new();
    let one = team.promote(&[]).commit();
    let before = team.refs();
    let again = team.promote(&[]);
    assert_eq!((again.commit(), team.refs()), (one, before));
    assert!(again.err.contains("nothing to promote"), "{again:#?}");
}

#[test]
fn what_the_forge_merged_into_the_deploy_branch_itself_is_signed_over() {
    let team = Team::new();
    team.promote(&[]).commit();
    let merged = team.merge("main", "2\n");
    let mut wrong = Make::new(Signer::Pgp, &team.tip("deploy"), &team.tree(&merged));
    wrong.parents.push(merged.clone());
    let wrong = team.publish("deploy", &team.shop.commit(&wrong));
    let mended = team.promote(&[]).commit();
    assert_eq!(team.parents(&mended), [wrong, merged]);
    team.is_signed_by("my key", &mended);
}

#[test]
fn a_team_with_one_branch_signs_its_tip() {
    let team = Team::new();
    let merged = team.merge("main", "2\n");
    let signed = team.promote(&["--to", "main"]).commit();
    assert_eq!((team.tip("main"), team.parents(&signed)), (signed.clone(), vec![merged.clone()]));
    assert_eq!(team.tree(&signed), team.tree(&merged));
    assert_eq!(team.promote(&["--to", "main"]).commit(), signed, "it is signed now");
}

#[test]
fn with_one_parent_every_commit_from_the_first_on_is_signed() {
    let team = Team::new();
    // The hosts run a commit of main; the branch begins there, and nowhere else.
    team.promote(&["--one-parent"]).refused(1, "begins at the commit that the hosts run");
    let anchor = team.publish("deploy", &team.tip("main"));
    let merges = ["2\n", "3\n"].map(|version| {
        let merged = team.merge("main", version);
        (team.promote(&["--one-parent"]).commit(), merged)
    });
    let range = team.on_forge(&["rev-list", "--reverse", &format!("{anchor}..deploy")]);
    let signed: Vec<&str> = range.lines().collect();
    assert_eq!(signed, [&merges[0].0, &merges[1].0]);
    for (commit, merged) in &merges {
        team.is_signed_by("my key", commit);
        let message = team.on_forge(&["log", "-1", "--format=%B", commit]);
        assert!(message.contains(&format!("Promoted-from: {merged}")), "{message}");
    }
    // A commit that only is younger, for max-commit-age, is nothing that would be lost.
    let tip = team.tip("deploy");
    team.publish("deploy", &team.shop.commit(&Make::new(Signer::Ssh("my key"), &tip, &team.tree(&tip))));
    team.merge("main", "4\n");
    team.promote(&["--one-parent"]).commit();
    // What only the deploy branch has is seen here, too.
    let tip = team.tip("deploy");
    let tree = team.shop.tree(&tip, "hotfix", "by hand\n");
    team.publish("deploy", &team.shop.commit(&Make::new(Signer::Ssh("my key"), &tip, &tree)));
    team.merge("main", "5\n");
    team.promote(&["--one-parent"]).refused(1, "deploy has changes that main has not");
}

#[test]
fn exactly_the_commit_that_was_reviewed_is_promoted() {
    let team = Team::new();
    let [two, _three] = ["2\n", "3\n"].map(|version| team.merge("main", version));
    let promoted = team.promote(&["--commit", &two]).commit();
    assert_eq!(team.tree(&promoted), team.tree(&two));
    let side = team.publish("side", &team.shop.commit(&Make::new(Signer::Pgp, &two, &team.tree(&two))));
    let before = team.refs();
    for commit in [side.as_str(), &"f".repeat(40)] {
        team.promote(&["--commit", commit]).refused(1, "is not on main");
    }
    for commit in ["main", "0a1b2c3", &"F".repeat(40)] {
        team.promote(&["--commit", commit]).refused(64, "in full");
    }
    assert_eq!(team.refs(), before);
}

#[test]
fn what_only_the_deploy_branch_has_does_not_vanish() {
    let team = Team::new();
    let [first, second] = [team.tip("main"), team.merge("main", "2\n")];
    let promoted = team.promote(&[]).commit();
    // A main that went back: what the forge shows is older than what the hosts run.
    team.publish("main", &first);
    let before = team.refs();
    team.promote(&[]).refused(1, "main went back");
    assert_eq!(team.refs(), before);
    // A change that was made on the deploy branch.
    team.publish("main", &second);
    let tree = team.shop.tree(&promoted, "hotfix", "by hand\n");
    let hotfix =
        team.publish("deploy", &team.shop.commit(&Make::new(Signer::Ssh("my key"), &promoted, &tree)));
    let third = team.merge("main", "3\n");
    let before = team.refs();
    team.promote(&[]).refused(1, "deploy has changes that main has not");
    assert_eq!(team.refs(), before);
    // Merged, it is in main as well; so the branch may go on from there.
    let tree = team.shop.tree(&third, "hotfix", "by hand\n");
    let mut both = Make::new(Signer::Pgp, &third, &tree);
    both.parents.push(hotfix.clone());
    team.publish("main", &team.shop.commit(&both));
    let dry = team.promote(&["--dry-run"]);
    assert_eq!((dry.code, dry.err.contains("1 file changed")), (0, true), "{dry:#?}");
    team.publish("main", &third);
    let ended = team.promote(&["--discard"]).commit();
    assert_eq!((team.parents(&ended), team.tree(&ended)), (vec![hotfix, third.clone()], team.tree(&third)));
    // A branch of another history.
    let tree = team.shop.tree("", "version", "another\n");
    let make =
        Make { signer: Signer::Ssh("my key"), parents: Vec::new(), tree, date: None, settings: Vec::new() };
    team.publish("deploy", &team.shop.commit(&make));
    team.promote(&[]).refused(1, "no common history");
    team.promote(&["--discard"]).commit();
}

#[test]
fn somebody_elses_push_in_the_meantime_is_75_and_is_kept() {
    let team = Team::new();
    team.promote(&[]).commit();
    for (n, moment) in ["signing", "pushing"].into_iter().enumerate() {
        team.merge("main", &format!("{n}\n"));
        let tip = team.tip("deploy");
        let theirs = team.shop.commit(&Make::new(Signer::Ssh("my key"), &tip, &team.tree(&tip)));
        team.publish("theirs", &theirs);
        // Somebody pushes at exactly that moment.
        let push = format!(
            "git --git-dir={} update-ref refs/heads/deploy {theirs}",
            team.shop.path("forge.git").display()
        );
        let program = team
            .shop
            .write("moment", &format!("#!/bin/sh\n{push}\n[ \"$1\" != -Y ] || exec ssh-keygen \"$@\"\n"));
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let hook = team.shop.repository().join(".git/hooks/pre-push");
        if moment == "signing" {
            team.shop.ask(&["config", "gpg.ssh.program", program.to_str().unwrap()]);
        } else {
            fs::copy(&program, &hook).unwrap();
        }
        team.promote(&[]).refused(75, "somebody else moved deploy meanwhile; run this again");
        assert_eq!(team.tip("deploy"), theirs, "{moment}");
        let _ = fs::remove_file(hook);
        let _ = team.shop.git(&["config", "--unset", "gpg.ssh.program"]).output();
        let mended = team.promote(&[]).commit();
        assert_eq!((team.tip("deploy"), team.parents(&mended)[0].clone()), (mended, theirs));
    }
}

#[test]
fn a_person_is_asked_and_without_a_yes_nothing_is_signed() {
    let team = Team::new();
    team.promote(&[]).commit();
    team.merge("main", "two\n");
    let before = (team.refs(), team.shop.ask(&["count-objects", "-v"]));
    let key = format!("--key '{}'", team.shop.path("my key").display());
    let path = script("scripts/nixgate-promote");
    let on_terminal = |answers: &str| {
        let line = format!("{} {key}", path.display());
        let mut terminal = team.shop.program("script");
        terminal.current_dir(team.shop.repository()).env("PAGER", "cat");
        terminal.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        let mut child = terminal
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), answers.as_bytes()).unwrap();
        Said::from(child.wait_with_output().unwrap())
    };
    for answer in ["n\n", "\n", "", "yikes\n"] {
        let said = on_terminal(answer);
        assert_eq!(said.code, 1, "{said:#?}");
        assert!(
            said.out.contains("Sign and push it?") && said.out.contains("nothing was signed"),
            "{said:#?}"
        );
    }
    // Attributes of the clone hide nothing.
    fs::write(team.shop.repository().join(".git/info/attributes"), "* -diff\n").unwrap();
    // Nobody to ask.
    let without = Said::of(&mut team.bare(&["--key", team.shop.path("my key").to_str().unwrap()]));
    without.refused(1, "there is nobody to ask");
    let dry = team.promote(&["--dry-run"]);
    assert_eq!((dry.code, dry.out.as_str()), (0, ""), "{dry:#?}");
    assert!(dry.err.contains(" version |") && dry.err.contains("nothing was signed"), "{dry:#?}");
    // The merge itself was fetched.
    let fetched = team.shop.ask(&["count-objects", "-v"]);
    assert_eq!((team.refs(), fetched), before);
    let yes = on_terminal("d\ny\n");
    assert_eq!(yes.code, 0, "{yes:#?}");
    assert!(yes.out.contains("+two") && yes.out.contains(&team.tip("deploy")), "{yes:#?}");
    team.is_signed_by("my key", &team.tip("deploy"));
}

#[test]
fn a_key_that_the_hosts_would_not_take_pushes_nothing() {
    let team = Team::new();
    let path = |name: &str| team.shop.path(name).to_string_lossy().into_owned();
    let (signers, before) = (path("signers"), team.refs());
    team.shop.write("revoked-keys", &team.shop.public("revoked"));
    team.shop.write(
        "ended",
        &format!("me@demo namespaces=\"git\",valid-before=\"20200101Z\" {}\n", team.shop.public("my key")),
    );
    let with =
        |key: &str, list: &str| Said::of(&mut team.bare(&["--yes", "--key", &path(key), "--signers", list]));
    with("stranger", &signers).refused(1, "by no key that may sign");
    with("my key", &path("ended")).refused(1, "by no key that may sign");
    team.shop.ask(&["config", "gpg.ssh.revocationFile", &path("revoked-keys")]);
    with("revoked", &signers).refused(1, "by no key that may sign");
    team.shop.ask(&["config", "gpg.ssh.revocationFile", &path("gone")]);
    with("my key", &signers).refused(1, "cannot be read");
    assert_eq!(team.refs(), before);
    team.shop.ask(&["config", "gpg.ssh.revocationFile", &path("revoked-keys")]);
    with("my key", &signers).commit();
    // Also where the list is git's own setting, and one that is named and not there is not passed over.
    team.merge("main", "2\n");
    team.shop.ask(&["config", "gpg.ssh.allowedSignersFile", &path("ended")]);
    team.promote(&[]).refused(1, "by no key that may sign");
    team.shop.ask(&["config", "gpg.ssh.allowedSignersFile", &path("gone")]);
    team.promote(&[]).refused(1, "cannot be read");
}

#[test]
fn the_key_of_gits_own_settings_is_taken_if_it_is_one_of_ssh() {
    let team = Team::new();
    let promote = || Said::of(&mut team.bare(&["--yes"]));
    let set = |name: &str, value: &str| team.shop.ask(&["config", name, value]);
    promote().refused(1, "no ssh key to sign with");
    set("user.signingKey", "forge@example.org");
    promote().refused(1, "no ssh key to sign with");
    set("gpg.format", "ssh");
    set("user.signingKey", team.shop.path("gone").to_str().unwrap());
    promote().refused(1, "not signed");
    set("user.signingKey", team.shop.path("my key.pub").to_str().unwrap());
    team.is_signed_by("my key", &promote().commit());
}

#[test]
fn nothing_of_the_clone_or_the_environment_steers_what_is_signed() {
    let team = Team::new();
    team.promote(&[]).commit();
    let merged = team.merge("main", "2\n");
    let tree = team.shop.tree("", "version", "evil\n");
    let evil = team.shop.commit(&Make::new(Signer::Nobody, &team.tip("main"), &tree));
    team.shop.ask(&["replace", &merged, &evil]);
    team.shop.ask(&["config", "i18n.commitEncoding", "ISO-8859-1"]);
    team.shop.ask(&["config", "log.showSignature", "true"]);
    let key = team.shop.path("my key").to_string_lossy().into_owned();
    let mut command = team.bare(&["--key", &key, "--yes"]);
    let said = Said::of(
        command.env("GIT_COMMITTER_DATE", "1000000000 +0000").env("GIT_AUTHOR_DATE", "1000000000 +0000"),
    );
    let commit = said.commit();
    assert_eq!(team.tree(&commit), team.tree(&merged));
    let about = team.on_forge(&["log", "-1", "--format=%ct %e", &commit]);
    assert!(about.len() == 10 && about != "1000000000", "{about}");
    // Relative paths hold also below the top of the work tree.
    let below = team.shop.repository().join("below");
    fs::create_dir(&below).unwrap();
    team.merge("main", "3\n");
    let mut command = team.bare(&["--key", "../../my key", "--signers", "../../signers", "--yes"]);
    Said::of(command.current_dir(below)).commit();
}

#[test]
fn names_of_strangers_move_no_terminal() {
    let team = Team::new();
    let tip = team.tip("main");
    let mut make = team.shop.git(&["commit-tree", "-p", &tip, "-F", "-", &team.tree(&tip)]);
    make.env("GIT_AUTHOR_NAME", "M\u{9b}2Kallory");
    let evil = fed(&mut make, "Zürich\u{1b}[1A\u{1b}[2K\r: harmless\u{7f}\n".as_bytes());
    team.publish("main", &evil);
    let said = team.promote(&[]);
    said.commit();
    assert!(said.err.contains("Zürich[1A[2K: harmless\n"), "{said:#?}");
    assert!(said.err.chars().all(|c| !c.is_control() || c == '\n'), "{said:#?}");
}

#[test]
fn each_refusal_says_what_to_do_and_leaves_the_forge_as_it_was() {
    let team = Team::new();
    let before = team.refs();
    for (args, code, mend) in [
        (&["--from", "develop"][..], 1, "no branch develop; name the one"),
        (&["--remote", "/nowhere"], 69, "try: git fetch /nowhere"),
        (&["--key", "/nowhere"], 1, "/nowhere cannot be read"),
        (&["--signers", "/nowhere"], 1, "/nowhere cannot be read"),
        (&["--remote", "-x"], 64, "--remote is a name"),
        (&["--to", "-x"], 64, "a branch is letters"),
        (&["--to", "a b"], 64, "a branch is letters"),
        (&["--from", "../x"], 64, "a branch is letters"),
        (&["--from"], 64, "--from needs a value"),
        (&["--force"], 64, "--force is no option"),
        (&["deploy"], 64, "deploy is no option"),
    ] {
        team.promote(args).refused(code, mend);
    }
    let key = team.shop.path("my key").to_string_lossy().into_owned();
    let mut nameless = team.bare(&["--yes", "--key", &key]);
    for name in ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"] {
        nameless.env_remove(name);
    }
    team.shop.ask(&["config", "user.useConfigOnly", "true"]);
    Said::of(&mut nameless).refused(1, "git config user.name");
    team.merge("main", "2\n");
    let url = format!("file://{}", team.shop.path("forge.git").display());
    text(team.shop.program("git").args(["clone", "--quiet", "--depth=1", &url, "shallow"]));
    let mut shallow = team.bare(&["--yes", "--key", &key]);
    Said::of(shallow.current_dir(team.shop.path("shallow"))).refused(1, "git fetch --unshallow");
    Said::of(team.bare(&["--yes", "--key", &key]).current_dir("/")).refused(1, "run this in a clone");
    // A rule of the forge.
    let hook = team.shop.write("forge.git/hooks/pre-receive", "#!/bin/sh\nexit 1\n");
    fs::set_permissions(&hook, Permissions::from_mode(0o755)).unwrap();
    team.promote(&[]).refused(1, "may you push to deploy");
    assert_eq!(team.on_forge(&["for-each-ref", "refs/heads/deploy"]), "");
    assert_ne!(team.refs(), before, "the merge alone");
}

#[test]
fn it_is_for_any_posix_shell() {
    let team = Team::new();
    let (path, key) = (script("scripts/nixgate-promote"), team.shop.path("my key"));
    for (n, words) in [&["dash"][..], &["bash", "--posix"]].into_iter().enumerate() {
        team.merge("main", &format!("{n}\n"));
        let mut shell = team.shop.program(words[0]);
        shell.current_dir(team.shop.repository()).args(&words[1..]).arg(&path).args(["--yes", "--key"]);
        let promoted = Said::of(shell.arg(&key)).commit();
        team.is_signed_by("my key", &promoted);
    }
}

#[test]
fn help_names_each_option_and_gives_examples() {
    let team = Team::new();
    let help = Said::of(&mut team.bare(&["--help"]));
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    let text = fs::read_to_string(script("scripts/nixgate-promote")).unwrap();
    let parser = text.split("while [ $# != 0 ]").nth(1).unwrap().split("esac\n    shift").next().unwrap();
    let known: Vec<&str> =
        parser.lines().filter_map(|line| line.trim().strip_prefix("--")?.split([')', ' ']).next()).collect();
    assert!(known.len() >= 10, "{known:?}");
    for option in known {
        assert!(help.out.contains(&format!("\n  --{option}")), "--{option}");
    }
    assert!(help.out.contains("\n  nixgate-promote --dry-run"));
}
