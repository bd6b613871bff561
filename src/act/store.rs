//! `/var/lib/nixgate`: the state and the jobs. The audit log has a file of its own.

use super::files::{self, Lock, replace};
use super::log::{self, Log};
use super::reserve::{self, Reserve, with_room};
use crate::decide::record::{self, HostState, JobResult, Record, RecordError};
use crate::decide::state::State;
use crate::decide::value::JobId;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub const ROOT: &str = "/var/lib/nixgate";

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: {source}; on the host: look at free space and at `systemd-tmpfiles --create nixgate.conf`", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {source}; on the host: move it away if nothing of a newer nixgate wrote it", path.display())]
    Record { path: PathBuf, source: RecordError },
    #[error("the end of the audit log was edited; on the host: nixgatectl audit verify")]
    AuditBroken,
    #[error("a job that is {from} cannot become {to}; this is a fault in nixgate: please report it")]
    Step { from: State, to: State },
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    move |source| StoreError::Io { path: path.to_owned(), source }
}

/// Where everything is; made once per process.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    reserve: Reserve,
}

impl Store {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), reserve: Reserve::Keep }
    }
    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn reserve(&self) -> Reserve {
        self.reserve
    }
    /// Sets aside what the end of a transaction will need. A disk too full for that begins none.
    pub fn fill_reserve(&self) -> Result<(), StoreError> {
        let path = reserve::path(&self.root);
        reserve::fill(&path).map_err(io_at(&path))
    }
    pub fn set_reserve(&mut self, reserve: Reserve) {
        self.reserve = reserve;
    }
    fn with_room<T>(&self, write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        with_room(self.reserve, &reserve::path(&self.root), write)
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
    pub fn job_dir(&self, job: &JobId) -> PathBuf {
        self.root.join("jobs").join(job.as_str())
    }

    /// The lock of the transaction, or `None` while another job has it.
    pub fn lock(&self) -> Result<Option<Lock>, StoreError> {
        let path = self.path("lock");
        files::lock(&path).map_err(io_at(&path))
    }

    /// A job that it names and that nobody could find is refused like anything else that nixgate did not write:
    /// taken for none, a transaction would be forgotten.
    pub fn state(&self) -> Result<HostState, StoreError> {
        let path = self.path("state.json");
        let state: HostState = read_record(&path)?.unwrap_or_default();
        match state.job.as_deref().map(JobId::parse).transpose() {
            Ok(_) => Ok(state),
            Err(wrong) => Err(StoreError::Record { path, source: wrong.into() }),
        }
    }
    pub fn write_state(&self, state: &HostState) -> Result<(), StoreError> {
        self.write_file(&self.path("state.json"), state)
    }

    pub fn record(&self, job: &JobId) -> Result<Option<Record>, StoreError> {
        read_record(&self.job_dir(job).join("record"))
    }
    pub fn write_record(&self, job: &JobId, record: &Record) -> Result<(), StoreError> {
        self.write_file(&self.job_dir(job).join("record"), record)
    }
    pub fn result(&self, job: &JobId) -> Result<Option<JobResult>, StoreError> {
        read_record(&self.job_dir(job).join("result"))
    }
    pub fn write_result(&self, job: &JobId, result: &JobResult) -> Result<(), StoreError> {
        self.write_file(&self.job_dir(job).join("result"), result)
    }

    /// The jobs, oldest first.
    pub fn jobs(&self) -> Result<Vec<JobId>, StoreError> {
        let path = self.path("jobs");
        let entries = fs::read_dir(&path).map_err(io_at(&path))?;
        let names: Vec<_> = entries
            .map(|entry| entry.map(|e| e.file_name()))
            .collect::<io::Result<_>>()
            .map_err(io_at(&path))?;
        let mut jobs: Vec<JobId> =
            names.iter().filter_map(|name| JobId::parse(name.to_str()?).ok()).collect();
        jobs.sort_by_key(JobId::number);
        Ok(jobs)
    }

    /// A new job's directory and log. The caller holds the lock, so the number is its own.
    pub fn new_job(&self) -> Result<(JobId, Log), StoreError> {
        let number = self.jobs()?.last().map_or(0, JobId::number) + 1;
        let mut chance = [0; 4];
        let urandom = Path::new("/dev/urandom");
        fs::File::open(urandom).and_then(|mut f| f.read_exact(&mut chance)).map_err(io_at(urandom))?;
        let text = format!("{number}-{:08x}", u32::from_ne_bytes(chance));
        let path = self.path("jobs");
        let job = JobId::parse(&text).map_err(|_| StoreError::Io {
            path: path.clone(),
            source: io::ErrorKind::QuotaExceeded.into(),
        })?;
        let directory = self.job_dir(&job);
        self.with_room(|| fs::create_dir(&directory)).map_err(io_at(&directory))?;
        files::sync_directory(&directory).map_err(io_at(&directory))?;
        let log = Log::open(&directory.join("log")).map_err(io_at(&directory))?;
        Ok((job, log))
    }

    pub fn remove_job(&self, job: &JobId) -> Result<(), StoreError> {
        let directory = self.job_dir(job);
        fs::remove_dir_all(&directory).map_err(io_at(&directory))
    }

    /// Keeps the last `keep` jobs and at most `bytes` of logs.
    pub fn prune_jobs(&self, keep: usize, bytes: u64) -> Result<(), StoreError> {
        let mut total = 0;
        for (age, job) in self.jobs()?.iter().rev().enumerate() {
            let directory = self.job_dir(job);
            total += log::length(&directory.join("log"));
            if age >= keep || (age > 0 && total > bytes) {
                self.remove_job(job)?;
            }
        }
        Ok(())
    }

    /// Leaves a word for a running job: a file that says who, complete before it can be seen.
    pub fn tell_job(&self, job: &JobId, word: &str, who: &str) -> Result<(), StoreError> {
        let path = self.job_dir(job).join(word);
        self.with_room(|| replace(&path, who.as_bytes())).map_err(io_at(&path))
    }

    fn write_file<T: serde::Serialize>(&self, path: &Path, value: &T) -> Result<(), StoreError> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|source| StoreError::Record { path: path.to_owned(), source: source.into() })?;
        self.with_room(|| replace(path, text.as_bytes())).map_err(io_at(path))
    }
}

fn read_record<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => match record::read(&text) {
            Ok(value) => Ok(Some(value)),
            Err(source) => Err(StoreError::Record { path: path.to_owned(), source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_at(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_names_no_job_of_ours_is_refused_and_not_taken_for_idle() {
        let root = std::env::temp_dir().join(format!("nixgate-state-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let store = Store::new(&root);
        let named = |job: Option<&str>| HostState { job: job.map(str::to_owned), ..HostState::default() };
        for good in [None, Some("1-00ff00ff")] {
            store.write_state(&named(good)).unwrap();
            assert_eq!(store.state().unwrap().job.as_deref(), good);
        }
        for bad in ["", "1", "../../etc", "1-00FF00FF"] {
            store.write_state(&named(Some(bad))).unwrap();
            let Err(StoreError::Record { source: RecordError::Job(_), .. }) = store.state() else {
                panic!("{bad:?}")
            };
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
