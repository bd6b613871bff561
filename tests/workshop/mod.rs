//! Real commits by real programs: a repository, and keys of ssh, PGP and X.509 that sign in it. Nothing of the account
//! that runs the tests is used: git, gpg and gpgsm see a home of their own, which goes when this is dropped.
#![allow(
    dead_code, // each test program uses a part of it
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

pub mod token;

use std::env;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Who signs a commit, and as what.
#[derive(Debug, Clone, Copy)]
pub enum Signer<'a> {
    Nobody,
    /// The ssh key of this name: [`Workshop::ssh_key`].
    Ssh(&'a str),
    /// [`Workshop::pgp_key`]
    Pgp,
    /// [`Workshop::expired_pgp_key`]
    ExpiredPgp,
    /// [`Workshop::x509_key`]
    X509,
}

/// A commit to be made.
#[derive(Debug, Clone)]
pub struct Make<'a> {
    pub signer: Signer<'a>,
    pub parents: Vec<String>,
    pub tree: String,
    /// Of author and committer, in seconds since 1970; now where there is none.
    pub date: Option<u64>,
    /// More of git's settings, as `name=value`.
    pub settings: Vec<&'a str>,
}

impl<'a> Make<'a> {
    pub fn new(signer: Signer<'a>, parent: &str, tree: &str) -> Self {
        let parents = vec![parent.to_owned()];
        Self { signer, parents, tree: tree.to_owned(), date: None, settings: Vec::new() }
    }
    pub fn dated(mut self, date: u64) -> Self {
        self.date = Some(date);
        self
    }
}

#[derive(Debug)]
pub struct Workshop {
    dir: PathBuf,
}

impl Workshop {
    pub fn new() -> Self {
        Self::with_format("sha1")
    }
    /// `sha1` or `sha256`.
    pub fn with_format(format: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // A short name: the agent of gpg has its socket below it.
        let dir = env::temp_dir().join(format!("nixgate-ws-{}-{number}", std::process::id()));
        fs::create_dir(&dir).expect("a new directory");
        fs::create_dir(dir.join("gnupg")).unwrap();
        fs::set_permissions(dir.join("gnupg"), Permissions::from_mode(0o700)).unwrap();
        let shop = Self { dir };
        text(
            shop.program("git")
                .args(["init", "--quiet", "--initial-branch=main"])
                .args([&format!("--object-format={format}"), shop.repository().to_str().unwrap()]),
        );
        shop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
    pub fn repository(&self) -> PathBuf {
        self.path("repo")
    }
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// A program with the workshop's environment, in its directory.
    pub fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir).stdin(Stdio::null()).env_clear();
        let name = |name: &'static str| (name, "Operator".to_owned());
        let address = |name: &'static str| (name, "operator@demo".to_owned());
        let path = |text: &str| self.path(text).to_string_lossy().into_owned();
        command.envs([
            name("GIT_AUTHOR_NAME"),
            name("GIT_COMMITTER_NAME"),
            address("GIT_AUTHOR_EMAIL"),
            address("GIT_COMMITTER_EMAIL"),
            ("GIT_ALLOW_PROTOCOL", "file:ext".to_owned()),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
            ("GNUPGHOME", path("gnupg")),
            ("HOME", path("")),
            ("PATH", env::var("PATH").unwrap_or_default()),
        ]);
        command
    }
    /// git in the repository.
    pub fn git(&self, args: &[&str]) -> Command {
        let mut command = self.program("git");
        command.arg("-C").arg(self.repository()).args(args);
        command
    }
    /// What git says; the test fails where git does.
    #[track_caller]
    pub fn ask(&self, args: &[&str]) -> String {
        text(&mut self.git(args))
    }

    // ---- keys ----

    /// Makes an ssh key: its kind and blob, as in `authorized_keys`.
    pub fn ssh_key(&self, name: &str, kind: &str) -> String {
        text(self.program("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-C", name, "-f", name]));
        self.public(name)
    }
    pub fn public(&self, name: &str) -> String {
        let line = fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        line.split(' ').take(2).collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }
    /// Makes the PGP key with which the forge signs, and puts it into the keyring.
    pub fn pgp_key(&self) {
        let make = ["--quick-generate-key", "Forge <forge@example.org>", "ed25519", "sign", "never"];
        text(self.program("gpg").args(["--batch", "--quiet", "--passphrase", ""]).args(make));
    }
    /// Another, which ended in 2020.
    pub fn expired_pgp_key(&self) {
        let wrapper = self.write(
            "gpg-of-2020",
            "#!/bin/sh\nexec gpg --quiet --faked-system-time 20200110T000000! \"$@\"\n",
        );
        fs::set_permissions(&wrapper, Permissions::from_mode(0o755)).unwrap();
        let make =
            ["--quick-generate-key", "Old forge <old@example.org>", "ed25519", "sign", "20200201T000000"];
        let mut command = self.program(wrapper.to_str().unwrap());
        text(command.args(["--batch", "--passphrase", ""]).args(make));
    }
    /// Makes an X.509 certificate and trusts it.
    pub fn x509_key(&self) {
        self.write("gnupg/gpgsm.conf", "disable-crl-checks\n");
        let what = self.write(
            "certificate",
            "Key-Type: RSA\nKey-Length: 2048\nKey-Usage: sign\nSerial: random\nName-DN: CN=Forge\nName-Email: forge@example.org\n",
        );
        let mut make = self.program("gpgsm");
        make.args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase-fd", "0"]);
        text(make.args(["--generate-key", "--output", "certificate.der"]).arg(what));
        text(self.program("gpgsm").args(["--quiet", "--import", "certificate.der"]));
        let list = text(self.program("gpgsm").args(["--list-secret-keys", "--with-colons"]));
        let print = list.lines().find_map(|line| line.strip_prefix("fpr:")).expect("a fingerprint");
        let print = print.split(':').find(|field| !field.is_empty()).unwrap();
        self.write("x509", print);
        self.write("gnupg/trustlist.txt", &format!("{print} S relax\n"));
    }

    // ---- objects ----

    /// The tree of a commit with another text in one of its files, which stands at the top.
    pub fn tree(&self, base: &str, file: &str, text: &str) -> String {
        let blob = fed(&mut self.git(&["hash-object", "-w", "--stdin"]), text.as_bytes());
        let entries = if base.is_empty() { String::new() } else { self.ask(&["ls-tree", base]) };
        let mut entries: Vec<String> =
            entries.lines().filter(|line| !line.ends_with(&format!("\t{file}"))).map(str::to_owned).collect();
        entries.push(format!("100644 blob {blob}\t{file}"));
        fed(&mut self.git(&["mktree"]), format!("{}\n", entries.join("\n")).as_bytes())
    }

    /// Makes a commit; its id. No branch moves.
    #[track_caller]
    pub fn commit(&self, make: &Make<'_>) -> String {
        let path = |name: &str| self.path(name).to_string_lossy().into_owned();
        let settings = match make.signer {
            Signer::Nobody => Vec::new(),
            Signer::Ssh(key) => vec!["gpg.format=ssh".to_owned(), format!("user.signingKey={}", path(key))],
            Signer::Pgp => {
                vec!["gpg.format=openpgp".to_owned(), "user.signingKey=forge@example.org".to_owned()]
            }
            Signer::ExpiredPgp => vec![
                format!("gpg.program={}", path("gpg-of-2020")),
                "user.signingKey=old@example.org".to_owned(),
            ],
            Signer::X509 => {
                let print = fs::read_to_string(self.path("x509")).unwrap();
                vec!["gpg.format=x509".to_owned(), format!("user.signingKey={print}")]
            }
        };
        let all = settings.iter().map(String::as_str).chain(make.settings.iter().copied());
        let mut words: Vec<&str> = all.flat_map(|setting| ["-c", setting]).collect();
        words.push("commit-tree");
        words.extend((!settings.is_empty()).then_some("-S"));
        words.extend(make.parents.iter().flat_map(|parent| ["-p", parent]));
        words.extend(["-m", "A change", &make.tree]);
        let mut command = self.git(&words);
        if let Some(date) = make.date {
            let date = format!("{date} +0000");
            command.envs([("GIT_AUTHOR_DATE", &date), ("GIT_COMMITTER_DATE", &date)]);
        }
        text(&mut command)
    }

    /// The bytes of a commit.
    pub fn raw(&self, commit: &str) -> Vec<u8> {
        bytes(&mut self.git(&["cat-file", "commit", commit]))
    }
    /// Writes these bytes as a commit, whatever they are.
    pub fn literal(&self, raw: &[u8]) -> String {
        fed(&mut self.git(&["hash-object", "-t", "commit", "-w", "--stdin", "--literally"]), raw)
    }
    /// A header with the signature of an ssh key over these bytes, in this namespace.
    pub fn header(&self, name: &str, key: &str, namespace: &str, payload: &[u8]) -> String {
        let mut sign = self.program("ssh-keygen");
        let signature = fed(sign.args(["-q", "-Y", "sign", "-n", namespace, "-f", key]), payload);
        format!("{name} {}\n", signature.replace('\n', "\n "))
    }

    /// Points a ref of the repository at an object, where git itself lets it.
    pub fn point(&self, name: &str, object: &str) {
        self.ask(&["update-ref", name, object]);
    }
}

/// The bytes of a commit with these headers after those that it has.
pub fn with_header(raw: &[u8], header: &str) -> Vec<u8> {
    let end = raw.windows(2).position(|pair| pair == b"\n\n").expect("a commit") + 1;
    let (headers, body) = raw.split_at(end);
    [headers, header.as_bytes(), body].concat()
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = self.program("gpgconf").args(["--kill", "all"]).output();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Standard output without its last newline, of a command that must succeed.
#[track_caller]
pub fn text(command: &mut Command) -> String {
    String::from_utf8_lossy(&bytes(command)).trim_end().to_owned()
}

#[track_caller]
fn bytes(command: &mut Command) -> Vec<u8> {
    good(command.output().expect("it starts"), command)
}

/// The same, with something to read.
#[track_caller]
pub fn fed(command: &mut Command, input: &[u8]) -> String {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.expect("it starts");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&good(output, command)).trim_end().to_owned()
}

#[track_caller]
fn good(output: Output, command: &Command) -> Vec<u8> {
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    output.stdout
}

pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// A script of this repository.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
