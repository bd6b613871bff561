//! git, for a repository that may be hostile: every escape hatch shut, and from one place.

use super::machine::Machine;
use super::process::{Ended, RunError, Spec, Stdout};
use crate::decide::privileged::Program;
use crate::decide::value::{Branch, Commit};
use std::path::PathBuf;
use std::time::Duration;

/// Where an incoming branch lies until its commit is verified.
const INCOMING: &str = "refs/nixgate/incoming";
/// The branch that Nix reads the verified commit from.
pub const VERIFIED: &str = "refs/heads/verified";

pub const KNOWN_HOSTS: &str = "/etc/nixgate/known_hosts";

/// The largest file that is read out of a commit.
const LARGEST_FILE: usize = 1 << 20;

/// Hooks, filters, helpers, redirects, submodules, bundles, passwords and background work: all off.
const SHUT: [&str; 20] = [
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
        format!("{} -i {}", self.pinned_ssh("/dev/null"), self.config.source.ssh_key.as_str())
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

    fn git(&self, args: &[&str]) -> Spec {
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
        spec.env.push(("GIT_DIR", self.repository().to_string_lossy().into_owned()));
        spec.env.push(("GIT_SSH_COMMAND", self.ssh_command()));
        spec
    }

    fn ask_git(&mut self, args: &[&str]) -> Result<Ended, RunError> {
        let mut spec = self.git(args);
        spec.stdout = Stdout::Captured;
        self.run(spec)
    }

    /// A bare repository that nixgate made itself: a hostile one's configuration never comes into it.
    pub fn ensure_repository(&mut self) -> Result<Ended, RunError> {
        let directory = self.repository();
        if directory.join("HEAD").exists() {
            return Ok(Ended { code: 0, stdout: Vec::new() });
        }
        self.run(self.git(&["init", "--quiet", "--bare", "--initial-branch=verified"]))
    }

    /// Fetches one branch, whole history, nothing else.
    pub fn fetch(&mut self, branch: &Branch) -> Result<Ended, RunError> {
        let url = self.config.source.url.as_str().to_owned();
        let refspec = format!("+refs/heads/{branch}:{INCOMING}");
        self.run(self.git(&[
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--atomic",
            "--force",
            "--refmap=",
            &url,
            &refspec,
        ]))
    }

    /// The commit that the fetched branch names; from here on only ids are used.
    pub fn incoming(&mut self) -> Result<Option<Commit>, RunError> {
        let name = format!("{INCOMING}^{{commit}}");
        let ended = self.ask_git(&["rev-parse", "--verify", "--end-of-options", &name])?;
        Ok(Commit::parse(&ended.text()).ok().filter(|_| ended.is_success()))
    }

    /// The bytes of a commit object.
    pub fn commit_object(&mut self, commit: &Commit) -> Result<Option<Vec<u8>>, RunError> {
        let ended = self.ask_git(&["cat-file", "commit", commit.as_str()])?;
        Ok(ended.is_success().then_some(ended.stdout))
    }

    /// The bytes of a file as a commit has it; `None` where it has no file of this name, or one above a megabyte.
    /// It can be read as soon as the commit is fetched.
    pub fn file_at(&mut self, commit: &Commit, path: &str) -> Result<Option<Vec<u8>>, RunError> {
        let ended = self.ask_git(&["cat-file", "blob", &format!("{commit}:{path}")])?;
        Ok((ended.is_success() && ended.stdout.len() <= LARGEST_FILE).then_some(ended.stdout))
    }

    /// Whether a commit has a file of this name, whatever its size.
    pub fn has_file(&mut self, commit: &Commit, path: &str) -> Result<bool, RunError> {
        Ok(self.ask_git(&["cat-file", "-e", &format!("{commit}:{path}")])?.is_success())
    }

    /// Whether the first commit is the second or an ancestor of it. Anything but a clear yes is no.
    pub fn is_ancestor(&mut self, first: &Commit, second: &Commit) -> Result<bool, RunError> {
        Ok(self.ask_git(&["merge-base", "--is-ancestor", first.as_str(), second.as_str()])?.is_success())
    }

    /// Gives Nix a branch to read the verified commit from.
    pub fn publish(&mut self, commit: &Commit) -> Result<Ended, RunError> {
        self.run(self.git(&["update-ref", VERIFIED, commit.as_str()]))
    }

    /// Asks for a branch: what the next deploy will need.
    pub fn ask_source(&self, branch: &Branch, limit: Duration) -> Spec {
        let name = format!("refs/heads/{branch}");
        let mut spec = self.git(&["ls-remote", "--quiet", self.config.source.url.as_str(), &name]);
        spec.stdout = Stdout::Captured;
        spec.limit = limit;
        spec
    }

    pub fn source_answers(&mut self, branch: &Branch, limit: Duration) -> Result<bool, RunError> {
        Ok(self.run(self.ask_source(branch, limit))?.is_success())
    }
}
