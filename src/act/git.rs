//! git, for a repository that may be hostile: every escape hatch shut, and from one place. What is fetched lies in
//! [`super::quarantine`] until it is verified; here it is read.

use super::machine::Machine;
use super::process::{Ended, RunError, Spec, Stdout};
use crate::decide::privileged::Program;
use crate::decide::trust;
use crate::decide::value::{Branch, Commit};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The branch that Nix reads the verified commit from.
pub const VERIFIED: &str = "refs/heads/verified";

pub const KNOWN_HOSTS: &str = "/etc/nixgate/known_hosts";

/// The largest file that is read out of a commit.
const LARGEST_FILE: usize = 1 << 20;

/// Hooks, filters, helpers, redirects, submodules, bundles, passwords and background work: all off.
const SHUT: [&str; 21] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.sshCommand=",
    "core.attributesFile=/dev/null",
    "core.fsync=committed,reference",
    "credential.helper=",
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.ssh.allow=always",
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    "transfer.bundleURI=false",
    "transfer.credentialsInUrl=die",
    "fetch.recurseSubmodules=false",
    // One pack for each fetch, however small: one file to limit, and to promote.
    "fetch.unpackLimit=1",
    "submodule.recurse=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "http.followRedirects=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
];

impl Machine {
    pub fn repository(&self) -> PathBuf {
        self.store.path("repo.git")
    }

    /// The ssh command line of fetches: one key, pinned host keys, nothing of a user's.
    pub fn ssh_command(&self) -> String {
        // Without its key, which a fetch has looked at before, nobody lets us in.
        let key = self.read_key_path().unwrap_or_else(|| "/dev/null".into());
        format!("{} -i {}", self.pinned_ssh("/dev/null"), key.display())
    }

    /// ssh with these pins, whatever a configuration of ours adds to them.
    pub(super) fn pinned_ssh(&self, config: &str) -> String {
        let options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            &format!("UserKnownHostsFile={KNOWN_HOSTS}"),
            "GlobalKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "ProxyCommand=none",
            "ForwardAgent=no",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "ControlPath=none",
            "ConnectTimeout=15",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=4",
        ]
        .map(|option| format!("-o{option}"))
        .join(" ");
        format!("{} -F {config} {options}", self.platform.path(Program::Ssh))
    }

    /// Where objects are read from: quarantine, while there is one, sees all that the repository has.
    fn readable(&self) -> PathBuf {
        let quarantine = self.quarantine();
        if quarantine.exists() { quarantine } else { self.repository() }
    }

    /// A git command in a repository of ours; one outside of any ignores it.
    pub(super) fn git(&self, repository: &Path, args: &[&str]) -> Spec {
        let mut words: Vec<&str> = SHUT.iter().flat_map(|setting| ["-c", setting]).collect();
        words.extend(args);
        let mut spec = self.program(Program::Git, &words, self.config.limits.fetch);
        let fixed = [
            ("HOME", "/nonexistent"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "/bin/false"),
            ("SSH_ASKPASS", "/bin/false"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_ALLOW_PROTOCOL", "https:ssh"),
            ("GIT_PROTOCOL_FROM_USER", "0"),
            ("GIT_SSH_VARIANT", "ssh"),
        ];
        spec.env.extend(fixed.map(|(name, value)| (name, value.to_owned())));
        spec.env.push(("GIT_DIR", repository.to_string_lossy().into_owned()));
        spec.env.push(("GIT_SSH_COMMAND", self.ssh_command()));
        spec
    }

    fn ask_git(&mut self, args: &[&str], stdin: String) -> Result<Ended, RunError> {
        let mut spec = self.git(&self.readable(), args);
        spec.stdout = Stdout::Captured;
        spec.stdin = stdin.into_bytes();
        self.run(spec)
    }

    /// The bytes of these commit objects, in their order; `None` where one is missing or no commit.
    pub fn commit_objects(&mut self, commits: &[Commit]) -> Result<Option<Vec<Vec<u8>>>, RunError> {
        let wanted: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
        let ended = self.ask_git(&["cat-file", "--batch"], wanted)?;
        Ok(trust::batch(&ended.stdout, commits).filter(|_| ended.is_success()))
    }

    /// What the second commit has in its history, itself included, and the first has not: at most `limit` of them,
    /// newest first. `None` where one is missing.
    pub fn commits_since(
        &mut self,
        first: &Commit,
        second: &Commit,
        limit: usize,
    ) -> Result<Option<Vec<Commit>>, RunError> {
        let (limit, without) = (format!("--max-count={limit}"), format!("^{first}"));
        let ended = self.ask_git(&["rev-list", &limit, second.as_str(), &without], String::new())?;
        let commits: Option<Vec<Commit>> = ended.text().lines().map(|id| Commit::parse(id).ok()).collect();
        Ok(commits.filter(|_| ended.is_success()))
    }

    /// The bytes of a file as a commit has it; `None` where it has no file of this name, or one above a megabyte.
    /// It can be read as soon as the commit is fetched.
    pub fn file_at(&mut self, commit: &Commit, path: &str) -> Result<Option<Vec<u8>>, RunError> {
        let ended = self.ask_git(&["cat-file", "blob", &format!("{commit}:{path}")], String::new())?;
        Ok((ended.is_success() && ended.stdout.len() <= LARGEST_FILE).then_some(ended.stdout))
    }

    /// Whether a commit has a file of this name, whatever its size.
    pub fn has_file(&mut self, commit: &Commit, path: &str) -> Result<bool, RunError> {
        Ok(self.ask_git(&["cat-file", "-e", &format!("{commit}:{path}")], String::new())?.is_success())
    }

    /// Whether the first commit is the second or an ancestor of it. Anything but a clear yes is no.
    pub fn is_ancestor(&mut self, first: &Commit, second: &Commit) -> Result<bool, RunError> {
        if first == second {
            return Ok(true);
        }
        let args = ["merge-base", "--is-ancestor", first.as_str(), second.as_str()];
        Ok(self.ask_git(&args, String::new())?.is_success())
    }

    /// Gives Nix a branch to read the verified commit from, and the next fetch something that is here already.
    pub fn publish(&mut self, commit: &Commit) -> Result<Ended, RunError> {
        let repository = self.repository();
        if commit_at(&repository.join(VERIFIED)).as_ref() == Some(commit) {
            return Ok(Ended { code: 0, stdout: Vec::new() });
        }
        self.run(self.git(&repository, &["update-ref", VERIFIED, commit.as_str()]))
    }

    /// Asks for a branch: its commit and its name, or nothing. It is what the next deploy will need.
    pub fn ask_source(&self, branch: &Branch, limit: Duration) -> Spec {
        let name = format!("refs/heads/{branch}");
        let args = ["ls-remote", "--quiet", self.config.source.url.as_str(), &name];
        let mut spec = self.git(&self.repository(), &args);
        spec.stdout = Stdout::Captured;
        spec.limit = limit;
        self.bounded(spec, self.config.limits.fetch_size)
    }

    pub fn source_answers(&mut self, branch: &Branch, limit: Duration) -> Result<bool, RunError> {
        Ok(self.run(self.ask_source(branch, limit))?.is_success())
    }
}

/// The commit in a ref's own file, where git has one.
pub(super) fn commit_at(reference: &Path) -> Option<Commit> {
    Commit::parse(fs::read_to_string(reference).ok()?.trim_end()).ok()
}
