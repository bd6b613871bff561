//! Quarantine: a throw-away repository that a fetch goes into. It sees all that `repo.git` has; what comes in is
//! moved there only after it was verified, so that nothing bad lies in wait for a later fetch. What a killed job
//! left is removed by the next fetch.

use super::fetch::FetchError;
use super::files;
use super::machine::Machine;
use super::process::RunError;
use crate::decide::value::Commit;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Every deploy leaves a pack; so many make one.
const MANY_PACKS: usize = 40;
/// A repository of so many times the most that one fetch may bring is fetched anew: whoever may push to a branch of
/// manifests, and may sign nothing, could otherwise fill the disk. What Nix keeps of inputs has the same bound.
pub(super) const OUTGROWN: u64 = 4;

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> FetchError + '_ {
    move |source| FetchError::Io { path: path.to_owned(), source }
}

impl Machine {
    pub(super) fn quarantine(&self) -> PathBuf {
        self.store.path("quarantine.git")
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
        if self.quarantine().exists() {
            self.move_packs()?;
        }
        match self.publish(commit)? {
            ended if ended.is_success() => Ok(()),
            _ => Err(io_at(&self.repository())(io::ErrorKind::Other.into())),
        }
    }

    fn move_packs(&mut self) -> Result<(), FetchError> {
        let (from, to) = (self.quarantine().join("objects/pack"), self.repository().join("objects/pack"));
        for kind in ["pack", "rev", "idx"] {
            for pack in files_of_kind(&from, kind) {
                let name = pack.file_name().unwrap_or_default();
                fs::rename(&pack, to.join(name)).map_err(io_at(&pack))?;
            }
        }
        files::sync_directory(&to.join("pack")).map_err(io_at(&to))?;
        self.discard()
    }

    /// History that is cut off makes ancestry lie, and many packs make every look slow.
    pub(super) fn look_after_repository(&mut self) -> Result<(), FetchError> {
        let repository = self.repository();
        for file in ["shallow", "info/grafts"].map(|name| repository.join(name)) {
            if file.exists() {
                return Err(FetchError::ShallowHere { file, repository });
            }
        }
        let packs = repository.join("objects/pack");
        if sizes(&packs).sum::<u64>() > self.config.limits.fetch_size.saturating_mul(OUTGROWN) {
            return fs::remove_dir_all(&repository).map_err(io_at(&repository));
        }
        if files_of_kind(&packs, "idx").len() <= MANY_PACKS {
            return Ok(());
        }
        // That they stay many is no reason to deploy nothing.
        match self.run(self.git(&repository, &["repack", "--quiet", "-d", "--geometric=2"])) {
            Err(RunError::Cancelled) => Err(RunError::Cancelled.into()),
            _ => Ok(()),
        }
    }

    /// A bare repository that nixgate made itself: a hostile one's configuration never comes into it. Its kind of ids
    /// is the source's.
    pub(super) fn ensure_repository(&mut self, tip: &Commit) -> Result<(), FetchError> {
        let repository = self.repository();
        if repository.join("HEAD").exists() {
            return Ok(());
        }
        let format = match tip.as_str().len() {
            64 => "--object-format=sha256",
            _ => "--object-format=sha1",
        };
        let init = ["init", "--quiet", "--bare", "--template=", "--initial-branch=verified", format];
        // Under the other name, so that a half-made one is never taken for it.
        let unfinished = self.quarantine();
        match self.run(self.git(&unfinished, &init))? {
            ended if ended.is_success() => fs::rename(&unfinished, &repository).map_err(io_at(&repository)),
            _ => Err(io_at(&repository)(io::ErrorKind::Other.into())),
        }
    }
}

/// A repository by hand: git's own configuration of `repo.git`, and the way to its objects.
pub(super) fn lay_out(quarantine: &Path, repository: &Path) -> io::Result<()> {
    for directory in ["objects/info", "objects/pack", "refs"] {
        fs::create_dir_all(quarantine.join(directory))?;
    }
    fs::copy(repository.join("config"), quarantine.join("config"))?;
    fs::write(quarantine.join("HEAD"), "ref: refs/heads/none\n")?;
    let objects = format!("{}\n", repository.join("objects").display());
    fs::write(quarantine.join("objects/info/alternates"), objects)
}

pub(super) fn files_of_kind(directory: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == kind)).collect()
}

pub(super) fn sizes(directory: &Path) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len()))
}
