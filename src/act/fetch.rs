//! A fetch that a hostile source cannot use: into [`super::quarantine`], and held to a time, a size and a measure of memory.

use super::clock::Instant;
use super::git::{VERIFIED, commit_at};
use super::machine::Machine;
use super::process::{Ended, RunError, Spec};
use super::quarantine::{files_of_kind, io_at, lay_out, sizes};
use crate::decide::privileged::Program;
use crate::decide::value::{Branch, Commit};
use nix::sys::statvfs::statvfs;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What the branch is called in quarantine.
const INCOMING: &str = "refs/nixgate/incoming";
/// Room that a fetch leaves for records and for the way back.
const RESERVE: u64 = 64 << 20;
/// What git needs of memory beside what it fetches.
const MEMORY: u64 = 512 << 20;

/// Why a fetch brought nothing. What git had to say stands in the log before it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{}: {source}; on the host: systemd-tmpfiles --create nixgate.conf", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the branch {0} could not be fetched (the lines above say why); on the host: nixgatectl check")]
    Failed(Branch),
    #[error("the source has no branch {0}; push it, or name another below [refs]")]
    NoBranch(Branch),
    #[error(
        "the source did not deliver {branch} within {} s (limits.fetch) and was given up", limit.as_secs()
    )]
    Slow { branch: Branch, limit: Duration },
    #[error(
        "the source sent more than {} MiB (limits.fetch-size) and was given up", bytes >> 20
    )]
    Large { bytes: u64 },
    #[error("{free} MiB are free in {}, which is too little for what the source sends; on the host: nix-collect-garbage --delete-older-than 30d", path.display())]
    NoRoom { path: PathBuf, free: u64 },
    #[error(
        "the history of the source is cut off (a shallow repository), so nobody can say what is older; push to one with the whole history"
    )]
    ShallowSource,
    #[error("{} cuts history off, which nixgate never does; on the host: rm -r {}", file.display(), repository.display())]
    ShallowHere { file: PathBuf, repository: PathBuf },
    #[error(
        "objects from the source are damaged, or came over dumb HTTP, which nobody checks; let the server run git-http-backend, and git fsck on its repository"
    )]
    Damaged,
}

impl Machine {
    /// Fetches one branch, whole history and nothing else, into quarantine; or learns in one round trip that it is
    /// where it was verified. What it names is not verified.
    pub fn fetch(&mut self, branch: &Branch) -> Result<Commit, FetchError> {
        let until = Instant::now() + self.config.limits.fetch;
        self.discard()?;
        self.look_after_repository()?;
        let (quarantine, repository) = (self.quarantine(), self.repository());
        let tip = self.tip(branch, until)?;
        if commit_at(&repository.join(VERIFIED)).as_ref() == Some(&tip) {
            return Ok(tip);
        }
        self.ensure_repository(&tip)?;
        lay_out(&quarantine, &repository).map_err(io_at(&quarantine))?;
        let bound = self.bound()?;
        if !self.in_time(self.fetching(branch, bound), branch, until)?.is_success() {
            let too_much = sizes(&quarantine.join("objects/pack")).any(|size| size >= bound);
            return Err(if too_much { self.too_much(bound) } else { FetchError::Failed(branch.clone()) });
        }
        if quarantine.join("shallow").exists() {
            return Err(FetchError::ShallowSource);
        }
        if !self.config.source.url.is_ssh() {
            self.check_what_came_over_http(branch, bound, until)?;
        }
        commit_at(&quarantine.join(INCOMING)).ok_or_else(|| FetchError::NoBranch(branch.clone()))
    }

    /// What the source says that the branch is.
    fn tip(&mut self, branch: &Branch, until: Instant) -> Result<Commit, FetchError> {
        let said = self.in_time(self.ask_source(branch, Duration::ZERO), branch, until)?;
        if !said.is_success() {
            return Err(FetchError::Failed(branch.clone()));
        }
        // It also names refs that only end so.
        let name = format!("\trefs/heads/{branch}");
        let text = said.text();
        let id = text.lines().find_map(|line| line.strip_suffix(&name));
        id.and_then(|id| Commit::parse(id).ok()).ok_or_else(|| FetchError::NoBranch(branch.clone()))
    }

    fn in_time(&mut self, spec: Spec, branch: &Branch, until: Instant) -> Result<Ended, FetchError> {
        let limit = until.saturating_duration_since(Instant::now());
        self.run(Spec { limit, ..spec }).map_err(|error| match error {
            RunError::Deadline { .. } => {
                FetchError::Slow { branch: branch.clone(), limit: self.config.limits.fetch }
            }
            error => error.into(),
        })
    }

    /// The most that may come in: what is configured, or what there is room for.
    fn bound(&self) -> Result<u64, FetchError> {
        let root = self.store.path("");
        let about = statvfs(&root).map_err(|error| io_at(&root)(error.into()))?;
        let free = about.blocks_available().saturating_mul(about.fragment_size());
        match free.saturating_sub(RESERVE) {
            0 => Err(FetchError::NoRoom { path: root, free: free >> 20 }),
            room => Ok(room.min(self.config.limits.fetch_size)),
        }
    }

    fn too_much(&self, bound: u64) -> FetchError {
        if bound < self.config.limits.fetch_size {
            FetchError::NoRoom { path: self.store.path(""), free: bound >> 20 }
        } else {
            FetchError::Large { bytes: bound }
        }
    }

    /// git knows no limit for a fetch, so the kernel holds it to one.
    fn fetching(&self, branch: &Branch, bound: u64) -> Spec {
        let url = self.config.source.url.as_str().to_owned();
        let refspec = format!("+refs/heads/{branch}:{INCOMING}");
        let args = [
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
        ];
        self.bounded(self.git(&self.quarantine(), &args), bound)
    }

    /// A program that is held to so much: each file that it writes, and the memory of each of its processes.
    pub(super) fn bounded(&self, mut spec: Spec, bound: u64) -> Spec {
        let (file, memory) = (format!("--fsize={bound}"), format!("--data={}", bound.saturating_add(MEMORY)));
        let prefix = [self.platform.path(Program::Prlimit), "--core=0".into(), file, memory, "--".into()];
        spec.argv.splice(..0, prefix);
        spec
    }

    /// A server that speaks no git (dumb HTTP) sends what git stores without `fsckObjects`.
    fn check_what_came_over_http(
        &mut self,
        branch: &Branch,
        bound: u64,
        until: Instant,
    ) -> Result<(), FetchError> {
        let objects = self.quarantine().join("objects");
        let entries = fs::read_dir(&objects).map_err(io_at(&objects))?;
        if entries.flatten().any(|entry| entry.file_name().len() == 2) {
            return Err(FetchError::Damaged); // loose ones: no pack was made of them
        }
        for pack in files_of_kind(&objects.join("pack"), "pack") {
            let args = ["index-pack", "--verify", "--fsck-objects", &pack.to_string_lossy()];
            let check = self.bounded(self.git(&self.quarantine(), &args), bound);
            if !self.in_time(check, branch, until)?.is_success() {
                return Err(FetchError::Damaged);
            }
        }
        Ok(())
    }
}
