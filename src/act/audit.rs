//! The audit log on disk: one write and one fdatasync for each event, before the effect that it announces.
//!
//! `audit/log.jsonl` grows to a limit and then becomes `audit/FIRST.jsonl`, named for its first event; the chain
//! goes on in the next file. The oldest files go when there are too many, and the chain says so first.

use super::files::{self, replace};
use super::reserve::with_room;
use super::store::{Store, StoreError, io_at};
use super::{clock, reserve};
use crate::decide::chain::{self, Event, Head, PRUNED};
use crate::decide::limit::{Admit, Refusals};
use crate::decide::value::JobId;
use serde_json::{Map, Value};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// No audit line is longer: every field in it is capped.
const LONGEST_LINE: u64 = 64 * 1024;
/// When a file is full, and how many full ones are kept: some 300,000 events. Tests fill files sooner.
const FULL: u64 = if cfg!(test) { 16 << 10 } else { 4 << 20 };
const KEPT: usize = 24;
/// How many ends of jobs are told.
const ENDS: usize = 100;

impl Store {
    /// Where the audit log ends, by its last whole line; `nixgatectl audit verify` reads them all.
    pub fn audit_head(&self) -> Result<Head, StoreError> {
        let directory = self.path("audit");
        for path in files_of(&directory).map_err(io_at(&directory))?.iter().rev() {
            let tail = File::open(path).and_then(|mut file| read_tail(&mut file)).map_err(io_at(path))?;
            if !tail.is_empty() {
                return chain::head_of(&String::from_utf8_lossy(&tail)).ok_or(StoreError::AuditBroken);
            }
        }
        Ok(Head::start())
    }

    /// The heads at which the last jobs ended, oldest first; each was in an answer. Nothing is locked for that.
    pub fn audit_ends(&self) -> Result<Vec<Head>, StoreError> {
        let directory = self.path("audit");
        let (mut text, mut ends) = (String::new(), Vec::new());
        for mut file in newest_of(&directory).map_err(io_at(&directory))? {
            let mut before = Vec::new();
            file.read_to_end(&mut before).map_err(io_at(&directory))?;
            text = String::from_utf8_lossy(&before).into_owned() + &text;
            ends = chain::ends(&text).ok_or(StoreError::AuditBroken)?;
            if ends.len() >= ENDS {
                break;
            }
        }
        let surplus = ends.len().saturating_sub(ENDS);
        ends.drain(..surplus);
        Ok(ends)
    }

    /// The head at which a job ended with this code, if that is among the last events: who died after it had said so need
    /// not say it twice.
    pub fn audit_end_of(&self, job: &JobId, code: &str) -> Option<Head> {
        let mut file = File::open(current(&self.path("audit"))).ok()?;
        let tail = read_tail(&mut file).ok()?;
        chain::end_of(&String::from_utf8_lossy(&tail), job.as_str(), code)
    }

    /// Appends one event.
    pub fn audit(&self, event: &Event) -> Result<Head, StoreError> {
        let _lock = self.audit_lock()?;
        self.append(event)
    }

    /// Appends a refusal, or counts it where there were many: whoever has a key could fill the log with them.
    pub fn audit_refusal(&self, mut event: Event) -> Result<(), StoreError> {
        let path = self.path("audit/refusals");
        let _lock = self.audit_lock()?;
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut lately: Refusals = serde_json::from_str(&text).unwrap_or_default();
        let admit = lately.admit(&clock::boot_id(), clock::since_boot().as_secs());
        // What a crash loses of a count is no event.
        let _ = serde_json::to_string(&lately).map(|text| fs::write(&path, text));
        match admit {
            Admit::Count => return Ok(()),
            Admit::Event { left_out: 0 } => {}
            Admit::Event { left_out } => {
                event.detail.insert("refusals-left-out-before".to_owned(), Value::from(left_out));
            }
        }
        self.append(&event).map(drop)
    }

    fn append(&self, event: &Event) -> Result<Head, StoreError> {
        let directory = self.path("audit");
        let path = current(&directory);
        self.mend_torn_tail(&path)?;
        if fs::metadata(&path).is_ok_and(|m| m.len() >= FULL) {
            self.turn_over(&directory, event)?;
        }
        self.append_line(&path, event)
    }

    fn append_line(&self, path: &Path, event: &Event) -> Result<Head, StoreError> {
        let head = self.audit_head()?;
        let (line, next) = chain::append(&head, event)
            .map_err(|source| StoreError::Record { path: path.to_owned(), source: source.into() })?;
        let new = !path.try_exists().map_err(io_at(path))?;
        let write = || {
            let mut file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
            let length = file.metadata()?.len();
            let written = match file.write(line.as_bytes()) {
                Ok(written) if written == line.len() => file.sync_data(),
                Ok(_) => Err(io::ErrorKind::StorageFull.into()),
                Err(error) => Err(error),
            };
            // Half a line would be taken for a crash by the next one.
            written.inspect_err(|_| drop(file.set_len(length)))
        };
        with_room(self.reserve(), &reserve::path(self.root()), write).map_err(io_at(path))?;
        if new {
            files::sync_directory(path).map_err(io_at(path))?;
        }
        Ok(next)
    }

    /// Closes a full file, and announces and removes the oldest where there are too many.
    fn turn_over(&self, directory: &Path, cause: &Event) -> Result<(), StoreError> {
        let path = current(directory);
        let event = |name, detail| Event {
            time: cause.time.clone(),
            boot: cause.boot.clone(),
            job: None,
            event: name,
            identity: None,
            detail,
        };
        self.append_line(&path, &event("rotate", Map::new()))?;
        let first = fs::read_to_string(&path).map_err(io_at(&path))?;
        let first = chain::beginning(&first).ok_or(StoreError::AuditBroken)?.seq + 1;
        let closed = directory.join(format!("{first:012}.jsonl"));
        fs::rename(&path, &closed).and_then(|()| files::sync_directory(&closed)).map_err(io_at(&closed))?;
        let all = files_of(directory).map_err(io_at(directory))?;
        let surplus = all.len().saturating_sub(KEPT);
        let Some((old, kept)) = all.split_at_checked(surplus).filter(|(old, _)| !old.is_empty()) else {
            return Ok(());
        };
        let next = kept.first().unwrap_or(&closed);
        let text = fs::read_to_string(next).map_err(io_at(next))?;
        let until = chain::beginning(&text).ok_or(StoreError::AuditBroken)?;
        let detail = Map::from_iter([("until".to_owned(), Value::from(until.to_string()))]);
        self.append_line(&path, &event(PRUNED, detail))?;
        old.iter().try_for_each(|path| fs::remove_file(path).map_err(io_at(path)))
    }

    /// Two instances may audit at once (a refusal beside a job): the second waits, for one write.
    fn audit_lock(&self) -> Result<nix::fcntl::Flock<File>, StoreError> {
        let path = self.path("audit/lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(&path);
        let file = file.map_err(io_at(&path))?;
        nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive)
            .map_err(|(_, error)| io_at(&path)(error.into()))
    }

    /// What a crash left of a last line is kept beside the log, and cut off.
    fn mend_torn_tail(&self, path: &Path) -> Result<(), StoreError> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(io_at(path))?,
        };
        let length = file.metadata().map_err(io_at(path))?.len();
        let tail = read_tail(&mut file).map_err(io_at(path))?;
        let whole = tail.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let (_, torn) = tail.split_at(whole);
        if torn.is_empty() {
            return Ok(());
        }
        let aside = self.path(&format!("audit/torn-{}-{whole}", clock::wall_seconds()));
        replace(&aside, torn).map_err(io_at(&aside))?;
        file.set_len(length - torn.len() as u64).and_then(|()| file.sync_all()).map_err(io_at(path))
    }
}

fn current(directory: &Path) -> PathBuf {
    directory.join("log.jsonl")
}

/// The files of the log, oldest first; the one that grows is last. One that cannot be looked at is not left out: the
/// chain would begin anew.
pub fn files_of(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let closed = |name: &str| name.len() == 18 && name.bytes().take(12).all(|b| b.is_ascii_digit());
    let paths = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files: Vec<PathBuf> = paths.collect::<io::Result<_>>()?;
    files.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.ends_with(".jsonl") && closed(name))
    });
    files.sort();
    if current(directory).try_exists()? {
        files.push(current(directory));
    }
    Ok(files)
}

/// The two newest files, newest first: what has some thousand ends of jobs in it, and is read in no time. The one that
/// grows is opened before the others are listed, so that it is not taken for two when it is closed meanwhile.
fn newest_of(directory: &Path) -> io::Result<Vec<File>> {
    let grows = File::open(current(directory)).ok();
    let known = grows.as_ref().map(File::metadata).transpose()?.map(|m| (m.dev(), m.ino()));
    let mut newest: Vec<File> = grows.into_iter().collect();
    for path in files_of(directory)?.iter().rev() {
        let file = File::open(path)?;
        let about = file.metadata()?;
        if known != Some((about.dev(), about.ino())) && path != &current(directory) {
            newest.push(file);
        }
        if newest.len() == 2 {
            break;
        }
    }
    Ok(newest)
}

/// The end of a file, as long as the longest audit line may be.
fn read_tail(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut tail = Vec::new();
    file.seek(io::SeekFrom::Start(length.saturating_sub(LONGEST_LINE)))?;
    file.read_to_end(&mut tail)?;
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::chain::{Chain, verify};

    struct Scratch(PathBuf);
    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("nixgate-audit-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("audit")).unwrap();
            Self(path)
        }
        fn store(&self) -> Store {
            Store::new(&self.0)
        }
        fn text(&self) -> String {
            let files = files_of(&self.0.join("audit")).unwrap();
            files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
        }
    }
    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn event(length: usize) -> Event {
        let detail = Map::from_iter([("why".to_owned(), Value::from("x".repeat(length)))]);
        Event { time: "t".into(), boot: "b".into(), job: None, event: "accepted", identity: None, detail }
    }

    #[test]
    fn a_full_file_is_closed_and_the_chain_goes_on_and_says_what_it_forgets() {
        let scratch = Scratch::new("rotate");
        let store = scratch.store();
        // Each file holds some 3 of these.
        for _ in 0..3 * (KEPT + 3) {
            store.audit(&event(6_000)).unwrap();
        }
        let files = files_of(&scratch.0.join("audit")).unwrap();
        assert!(files.len() <= KEPT + 1, "{}", files.len());
        let text = scratch.text();
        assert!(text.contains("\"event\":\"pruned\""));
        assert_eq!(verify(&text), Chain::Whole(store.audit_head().unwrap()));
        fs::remove_file(&files[0]).unwrap();
        assert_eq!(verify(&scratch.text()), Chain::Broken(1));
    }

    #[test]
    fn a_crash_between_two_files_loses_no_link() {
        let scratch = Scratch::new("crash");
        let (store, audit) = (scratch.store(), scratch.0.join("audit"));
        let head = store.audit(&event(1)).unwrap();
        fs::rename(current(&audit), audit.join("000000000001.jsonl")).unwrap();
        assert_eq!(store.audit_head().unwrap(), head);
        store.audit(&event(1)).unwrap();
        assert!(matches!(verify(&scratch.text()), Chain::Whole(Head { seq: 2, .. })));
    }

    #[test]
    fn a_torn_line_is_put_aside_and_the_chain_goes_on() {
        let scratch = Scratch::new("torn");
        let store = scratch.store();
        store.audit(&event(1)).unwrap();
        let tear = || {
            let log = current(&scratch.0.join("audit"));
            let mut file = OpenOptions::new().append(true).open(log).unwrap();
            file.write_all(b"{\"v\":1,\"seq").unwrap();
            store.audit(&event(1)).unwrap();
        };
        tear();
        assert!(matches!(verify(&scratch.text()), Chain::Whole(Head { seq: 2, .. })));
        tear();
        let aside = fs::read_dir(scratch.0.join("audit")).unwrap().flatten();
        let aside = aside.filter(|entry| entry.file_name().to_string_lossy().starts_with("torn-"));
        assert_eq!(aside.count(), 2, "each is kept, also of the same second");
    }

    #[test]
    fn a_flood_of_refusals_is_some_events_and_a_count() {
        let scratch = Scratch::new("flood");
        let store = scratch.store();
        for _ in 0..500 {
            store.audit_refusal(event(1)).unwrap();
        }
        assert!(scratch.text().lines().count() <= 40);
    }
}
