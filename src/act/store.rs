//! `/var/lib/nixgate`: the state, the jobs and the audit log.

use super::files::{self, Lock};
use super::log::{self, Log};
use super::{clock, files::replace};
use crate::decide::record::{self, Event, Head, HostState, JobResult, Record, RecordError};
use crate::decide::state::State;
use crate::decide::value::JobId;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub const ROOT: &str = "/var/lib/nixgate";

/// No audit line is longer: every field in it is capped.
const LONGEST_LINE: u64 = 64 * 1024;

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

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    move |source| StoreError::Io { path: path.to_owned(), source }
}

/// Where everything is; made once per process.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
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

    pub fn state(&self) -> Result<HostState, StoreError> {
        let path = self.path("state.json");
        Ok(read_record(&path)?.unwrap_or_default())
    }
    pub fn write_state(&self, state: &HostState) -> Result<(), StoreError> {
        write_record(&self.path("state.json"), state)
    }

    pub fn record(&self, job: &JobId) -> Result<Option<Record>, StoreError> {
        read_record(&self.job_dir(job).join("record"))
    }
    pub fn write_record(&self, job: &JobId, record: &Record) -> Result<(), StoreError> {
        write_record(&self.job_dir(job).join("record"), record)
    }
    pub fn result(&self, job: &JobId) -> Result<Option<JobResult>, StoreError> {
        read_record(&self.job_dir(job).join("result"))
    }
    pub fn write_result(&self, job: &JobId, result: &JobResult) -> Result<(), StoreError> {
        write_record(&self.job_dir(job).join("result"), result)
    }

    /// The jobs, oldest first.
    pub fn jobs(&self) -> Result<Vec<JobId>, StoreError> {
        let path = self.path("jobs");
        let entries = fs::read_dir(&path).map_err(io_at(&path))?;
        let mut jobs: Vec<JobId> =
            entries.flatten().filter_map(|entry| JobId::parse(entry.file_name().to_str()?).ok()).collect();
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
        fs::create_dir(&directory).map_err(io_at(&directory))?;
        files::sync_directory(&directory).map_err(io_at(&directory))?;
        let log = Log::open(&directory.join("log")).map_err(io_at(&directory))?;
        Ok((job, log))
    }

    /// Keeps the last `keep` jobs and at most `bytes` of logs.
    pub fn prune_jobs(&self, keep: usize, bytes: u64) -> Result<(), StoreError> {
        let mut total = 0;
        for (age, job) in self.jobs()?.iter().rev().enumerate() {
            let directory = self.job_dir(job);
            total += log::length(&directory.join("log"));
            if age >= keep || (age > 0 && total > bytes) {
                fs::remove_dir_all(&directory).map_err(io_at(&directory))?;
            }
        }
        Ok(())
    }

    /// Leaves a word for a running job: a file that says who, complete before it can be seen.
    pub fn tell_job(&self, job: &JobId, word: &str, who: &str) -> Result<(), StoreError> {
        let path = self.job_dir(job).join(word);
        replace(&path, who.as_bytes()).map_err(io_at(&path))
    }

    fn audit_path(&self) -> PathBuf {
        self.path("audit/log.jsonl")
    }

    /// Where the audit log ends, by its last whole line; `nixgatectl audit verify` reads them all.
    pub fn audit_head(&self) -> Result<Head, StoreError> {
        let path = self.audit_path();
        let mut file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Head::start()),
            Err(error) => return Err(io_at(&path)(error)),
        };
        let length = file.metadata().map_err(io_at(&path))?.len();
        let tail = read_tail(&mut file, length).map_err(io_at(&path))?;
        record::head_of(&String::from_utf8_lossy(&tail)).ok_or(StoreError::AuditBroken)
    }

    /// Appends one event: one write, then fdatasync, before the effect that it announces.
    pub fn audit(&self, event: &Event) -> Result<Head, StoreError> {
        let path = self.audit_path();
        let _lock = self.audit_lock()?;
        self.mend_torn_tail(&path)?;
        let head = self.audit_head()?;
        let (line, next) = record::append(&head, event)
            .map_err(|source| StoreError::Record { path: path.clone(), source: source.into() })?;
        let mut file =
            OpenOptions::new().append(true).create(true).mode(0o640).open(&path).map_err(io_at(&path))?;
        let new = head.seq == 0;
        match file.write(line.as_bytes()) {
            Ok(length) if length == line.len() => {}
            Ok(_) => return Err(io_at(&path)(io::ErrorKind::WriteZero.into())),
            Err(error) => return Err(io_at(&path)(error)),
        }
        file.sync_data().map_err(io_at(&path))?;
        if new {
            files::sync_directory(&path).map_err(io_at(&path))?;
        }
        Ok(next)
    }

    /// Two instances may audit at once (a refusal beside a job): the second waits, for one write.
    fn audit_lock(&self) -> Result<nix::fcntl::Flock<fs::File>, StoreError> {
        let path = self.path("audit/lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(&path);
        let file = file.map_err(io_at(&path))?;
        nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive)
            .map_err(|(_, error)| io_at(&path)(error.into()))
    }

    /// What a crash left of a last line is kept beside the log, and cut off.
    fn mend_torn_tail(&self, path: &Path) -> Result<(), StoreError> {
        let Ok(mut file) = OpenOptions::new().read(true).write(true).open(path) else { return Ok(()) };
        let length = file.metadata().map_err(io_at(path))?.len();
        let tail = read_tail(&mut file, length).map_err(io_at(path))?;
        let whole = tail.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let (_, torn) = tail.split_at(whole);
        if torn.is_empty() {
            return Ok(());
        }
        let aside = self.path(&format!("audit/torn-{}", clock::wall_seconds()));
        replace(&aside, torn).map_err(io_at(&aside))?;
        file.set_len(length - torn.len() as u64).and_then(|()| file.sync_all()).map_err(io_at(path))
    }
}

/// The end of a file, as long as the longest audit line may be.
fn read_tail(file: &mut fs::File, length: u64) -> io::Result<Vec<u8>> {
    let mut tail = Vec::new();
    file.seek(io::SeekFrom::Start(length.saturating_sub(LONGEST_LINE)))?;
    file.read_to_end(&mut tail)?;
    Ok(tail)
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

fn write_record<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|source| StoreError::Record { path: path.to_owned(), source: source.into() })?;
    replace(path, text.as_bytes()).map_err(io_at(path))
}
