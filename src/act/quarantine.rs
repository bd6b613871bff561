//! Quarantine: a throw-away repository that a fetch goes into. It sees all that `repo.git` has; what comes in is
//! moved there only after it was verified, so that nothing bad lies in wait for a later fetch. What a killed job
//! left is removed by the next fetch.

use super::files;
use super::git::commit_at;
use super::machine::Machine;
use super::process::{Ended, RunError, Spec};
use crate::decide::privileged::Program;
use crate::decide::value::{Branch, Commit};
use nix::sys::statvfs::statvfs;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the branch is called here.
const INCOMING: &str = "refs/nixgate/incoming";
/// Room that a fetch leaves for records and for the way back.
const RESERVE: u64 = 64 << 20;
/// What git needs of memory beside what it fetches.
const MEMORY: u64 = 512 << 20;
/// Every deploy leaves a pack; so many make one.
const MANY_PACKS: usize = 40;
/// A repository of so many times the most that one fetch may bring is fetched anew: whoever may push to a branch of
/// manifests, and may sign nothing, could otherwise fill the disk.
const OUTGROWN: u64 = 4;

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

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> FetchError + '_ {
    move |source| FetchError::Io { path: path.to_owned(), source }
}

fn given_up(error: RunError, branch: &Branch) -> FetchError {
    match error {
        RunError::Deadline { limit, .. } => FetchError::Slow { branch: branch.clone(), limit },
        error => error.into(),
    }
}

impl Machine {
    pub(super) fn quarantine(&self) -> PathBuf {
        self.store.path("quarantine.git")
    }

    /// Fetches one branch, whole history and nothing else, into quarantine. What it names is not verified.
    pub fn fetch(&mut self, branch: &Branch) -> Result<Commit, FetchError> {
        self.discard()?;
        self.ensure_repository(branch)?;
        let quarantine = self.quarantine();
        lay_out(&quarantine, &self.repository()).map_err(io_at(&quarantine))?;
        let bound = self.bound()?;
        match self.fetch_bounded(branch, bound).map_err(|error| given_up(error, branch))? {
            ended if ended.is_success() => {}
            _ if sizes(&quarantine.join("objects/pack")).any(|size| size >= bound) => {
                return Err(self.too_much(bound));
            }
            _ => return Err(FetchError::Failed(branch.clone())),
        }
        if quarantine.join("shallow").exists() {
            return Err(FetchError::ShallowSource);
        }
        if !self.config.source.url.is_ssh() {
            self.check_what_came_over_http(bound)?;
        }
        commit_at(&quarantine.join(INCOMING)).ok_or_else(|| FetchError::NoBranch(branch.clone()))
    }

    /// Removes what was fetched.
    pub fn discard(&self) -> Result<(), FetchError> {
        let quarantine = self.quarantine();
        match fs::remove_dir_all(&quarantine) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_at(&quarantine)(error)),
            _ => Ok(()),
        }
    }

    /// What was fetched is verified: it becomes part of the repository, packs before what makes them visible.
    pub fn promote(&mut self, commit: &Commit) -> Result<(), FetchError> {
        let (from, to) = (self.quarantine().join("objects/pack"), self.repository().join("objects/pack"));
        for kind in ["pack", "rev", "idx"] {
            for pack in files_of_kind(&from, kind) {
                let name = pack.file_name().unwrap_or_default();
                fs::rename(&pack, to.join(name)).map_err(io_at(&pack))?;
            }
        }
        files::sync_directory(&to.join("pack")).map_err(io_at(&to))?;
        self.discard()?;
        match self.publish(commit)? {
            ended if ended.is_success() => Ok(()),
            _ => Err(io_at(&self.repository())(io::ErrorKind::Other.into())),
        }
    }

    /// A bare repository that nixgate made itself: a hostile one's configuration never comes into it. Its kind of ids
    /// is the source's.
    fn ensure_repository(&mut self, branch: &Branch) -> Result<(), FetchError> {
        let repository = self.repository();
        for file in ["shallow", "info/grafts"].map(|name| repository.join(name)) {
            if file.exists() {
                return Err(FetchError::ShallowHere { file, repository });
            }
        }
        let size: u64 = sizes(&repository.join("objects/pack")).sum();
        if size > self.config.limits.fetch_size.saturating_mul(OUTGROWN) {
            fs::remove_dir_all(&repository).map_err(io_at(&repository))?;
        }
        if repository.join("HEAD").exists() {
            return self.join_packs(&repository);
        }
        let ask = self.ask_source(branch, self.config.limits.fetch);
        let said = self.run(ask).map_err(|error| given_up(error, branch))?;
        if !said.is_success() {
            return Err(FetchError::Failed(branch.clone()));
        }
        let text = said.text();
        let id = text.split('\t').next().and_then(|id| Commit::parse(id).ok());
        let format = match id.ok_or_else(|| FetchError::NoBranch(branch.clone()))?.as_str().len() {
            64 => "--object-format=sha256",
            _ => "--object-format=sha1",
        };
        let init = ["init", "--quiet", "--bare", "--template=", "--initial-branch=verified", format];
        // Under the other name, so that a half-made one is never taken for it.
        let unfinished = self.quarantine();
        match self.run(self.git(&unfinished, &init))? {
            ended if ended.is_success() => fs::rename(&unfinished, &repository).map_err(io_at(&repository)),
            _ => Err(FetchError::Failed(branch.clone())),
        }
    }

    /// Many packs make every look slow. That they stay many is no reason to deploy nothing.
    fn join_packs(&mut self, repository: &Path) -> Result<(), FetchError> {
        if files_of_kind(&repository.join("objects/pack"), "idx").len() <= MANY_PACKS {
            return Ok(());
        }
        match self.run(self.git(repository, &["repack", "--quiet", "-d", "--geometric=2"])) {
            Err(RunError::Cancelled) => Err(RunError::Cancelled.into()),
            _ => Ok(()),
        }
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
    fn fetch_bounded(&mut self, branch: &Branch, bound: u64) -> Result<Ended, RunError> {
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
        self.run_bounded(&args, bound)
    }

    fn run_bounded(&mut self, args: &[&str], bound: u64) -> Result<Ended, RunError> {
        let spec = self.bounded(self.git(&self.quarantine(), args), bound);
        self.run(spec)
    }

    /// A program that is held to so much: each file that it writes, and the memory of each of its processes.
    pub(super) fn bounded(&self, mut spec: Spec, bound: u64) -> Spec {
        let (file, memory) = (format!("--fsize={bound}"), format!("--data={}", bound.saturating_add(MEMORY)));
        let prefix = [self.platform.path(Program::Prlimit), "--core=0".into(), file, memory, "--".into()];
        spec.argv.splice(..0, prefix);
        spec
    }

    /// A server that speaks no git (dumb HTTP) sends what git stores without `fsckObjects`.
    fn check_what_came_over_http(&mut self, bound: u64) -> Result<(), FetchError> {
        let objects = self.quarantine().join("objects");
        let entries = fs::read_dir(&objects).map_err(io_at(&objects))?;
        if entries.flatten().any(|entry| entry.file_name().len() == 2) {
            return Err(FetchError::Damaged); // loose ones: no pack was made of them
        }
        for pack in files_of_kind(&objects.join("pack"), "pack") {
            let pack = pack.to_string_lossy();
            if !self.run_bounded(&["index-pack", "--verify", "--fsck-objects", &pack], bound)?.is_success() {
                return Err(FetchError::Damaged);
            }
        }
        Ok(())
    }
}

/// A repository by hand: git's own configuration of `repo.git`, and the way to its objects.
fn lay_out(quarantine: &Path, repository: &Path) -> io::Result<()> {
    for directory in ["objects/info", "objects/pack", "refs"] {
        fs::create_dir_all(quarantine.join(directory))?;
    }
    fs::copy(repository.join("config"), quarantine.join("config"))?;
    fs::write(quarantine.join("HEAD"), "ref: refs/heads/none\n")?;
    let objects = format!("{}\n", repository.join("objects").display());
    fs::write(quarantine.join("objects/info/alternates"), objects)
}

fn files_of_kind(directory: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == kind)).collect()
}

fn sizes(directory: &Path) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len()))
}
