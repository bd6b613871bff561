//! A job's log: appended by all that the job runs, followed by whoever watches. A file never breaks as a pipe does.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What a log may hold of what is printed; nixgate's own lines always fit.
pub const LOG_LIMIT: u64 = 64 << 20;

/// A handle to the log; clones write to the same file.
#[derive(Debug, Clone)]
pub struct Log(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    file: File,
    written: u64,
    dropped: u64,
}

impl Log {
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        Ok(Self(Arc::new(Mutex::new(Inner { file, written: 0, dropped: 0 }))))
    }

    /// A line of nixgate's own. A log that cannot be written never stops a job: the records do that.
    pub fn line(&self, text: impl std::fmt::Display) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.note_what_was_dropped();
        let _ = inner.file.write_all(format!("nixgate: {text}\n").as_bytes());
    }

    /// What a child printed. Past the limit it is counted and dropped.
    pub fn write(&self, bytes: &[u8]) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.written + bytes.len() as u64 > LOG_LIMIT {
            inner.dropped += bytes.len() as u64;
            return;
        }
        inner.written += bytes.len() as u64;
        let _ = inner.file.write_all(bytes);
    }

    /// Copies until the end, so that a child never blocks on us.
    pub fn copy_from(&self, mut from: impl Read) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            self.write(buffer.get(..length).unwrap_or_default());
        }
    }
}

impl Inner {
    fn note_what_was_dropped(&mut self) {
        if self.dropped > 0 {
            let _ = self.file.write_all(
                format!("\nnixgate: [{} bytes of output left out here]\n", self.dropped).as_bytes(),
            );
            self.dropped = 0;
        }
    }
}
