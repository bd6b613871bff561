//! A job's log: appended by all that the job runs, read by whoever follows. A file never breaks as a pipe does.
//!
//! It is bounded by leaving out its middle: a first segment, `log`, and then `log.1`, `log.2`, … of which the last
//! few are kept. How it began and how it ended is always there, while it runs and after.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The length of `log`, of each further segment, and how many of those are kept: 64 MiB in all.
const FIRST: u64 = 32 << 20;
const SEGMENT: u64 = 8 << 20;
const KEPT: u64 = 4;

/// A handle to the log; clones write to the same file.
#[derive(Debug, Clone)]
pub struct Log(Arc<Mutex<Option<Writer>>>);

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    segment: u64,
    file: File,
    room: u64,
}

impl Log {
    /// Where there is no job, there is nobody to follow it.
    pub fn nowhere() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// A new log, or the end of one that a dead job left.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut segment = 0;
        while let Some(next) = next_segment(path, segment) {
            segment = next;
        }
        Ok(Self(Arc::new(Mutex::new(Some(Writer::open(path, segment)?)))))
    }

    /// A line of nixgate's own. A log that cannot be written never stops a job: the records do that.
    pub fn line(&self, text: impl std::fmt::Display) {
        self.write(format!("nixgate: {text}\n").as_bytes());
    }

    /// What a child printed.
    pub fn write(&self, bytes: &[u8]) {
        if let Some(writer) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writer.write(bytes);
        }
    }

    /// Copies until the end, so that a child never blocks on us.
    pub fn copy_from(&self, mut from: impl Read) {
        let mut buffer = [0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            self.write(buffer.get(..length).unwrap_or_default());
        }
    }
}

impl Writer {
    fn open(path: &Path, segment: u64) -> io::Result<Self> {
        let name = segment_path(path, segment);
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(name)?;
        let whole = if segment == 0 { FIRST } else { SEGMENT };
        let room = whole.saturating_sub(file.metadata()?.len());
        Ok(Self { path: path.to_owned(), segment, file, room })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.room == 0 {
                self.turn_over()?;
            }
            let fits = usize::try_from(self.room).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(fits);
            self.file.write_all(now)?;
            self.room -= now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    /// The next segment is made before an old one goes, so a reader always finds one to go on with.
    fn turn_over(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path, self.segment + 1)?;
        if let Some(old) = self.segment.checked_sub(KEPT).filter(|old| *old > 0) {
            let _ = fs::remove_file(segment_path(&self.path, old));
        }
        Ok(())
    }
}

fn segment_path(path: &Path, segment: u64) -> PathBuf {
    match segment {
        0 => path.to_owned(),
        number => {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            name.into()
        }
    }
}

/// The first segment after this one that is there.
fn next_segment(path: &Path, after: u64) -> Option<u64> {
    if segment_path(path, after + 1).exists() {
        return Some(after + 1);
    }
    let entries = fs::read_dir(path.parent()?).ok()?.flatten();
    let prefix = format!("{}.", path.file_name()?.to_str()?);
    entries
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok())
        .filter(|number| *number > after)
        .min()
}

/// All that a log takes on disk.
pub fn length(path: &Path) -> u64 {
    let length = |segment| fs::metadata(segment_path(path, segment)).map_or(0, |m| m.len());
    let segments = std::iter::successors(Some(0), |segment| next_segment(path, *segment));
    segments.map(length).sum()
}

/// Reads a growing log from its first byte.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    segment: u64,
    file: Option<File>,
}

impl Reader {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), segment: 0, file: File::open(path).ok() }
    }

    /// What is new, at most as long as the buffer; nothing at the present end.
    pub fn read<'b>(&mut self, buffer: &'b mut [u8]) -> &'b [u8] {
        loop {
            let length = self.read_here(buffer);
            if length > 0 {
                return buffer.get(..length).unwrap_or_default();
            }
            let Some(next) = next_segment(&self.path, self.segment) else { return &[] };
            // A segment with one behind it is full. What came between the two looks is still to be read.
            let length = self.read_here(buffer);
            if length > 0 {
                return buffer.get(..length).unwrap_or_default();
            }
            let missing = next - self.segment - 1;
            (self.segment, self.file) = (next, None);
            if missing > 0 {
                return left_out(buffer, missing * SEGMENT);
            }
        }
    }

    fn read_here(&mut self, buffer: &mut [u8]) -> usize {
        if self.file.is_none() {
            self.file = File::open(segment_path(&self.path, self.segment)).ok();
        }
        self.file.as_mut().map_or(0, |file| file.read(buffer).unwrap_or(0))
    }
}

/// What a reader is told in place of what is gone.
fn left_out(buffer: &mut [u8], bytes: u64) -> &[u8] {
    let text = format!("\nnixgate: [{} MiB of output left out here]\n", bytes >> 20);
    let length = text.len().min(buffer.len());
    if let (Some(to), Some(from)) = (buffer.get_mut(..length), text.as_bytes().get(..length)) {
        to.copy_from_slice(from);
    }
    buffer.get(..length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);
    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("nixgate-log-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }
    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn rest(reader: &mut Reader) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
        loop {
            let new = reader.read(&mut buffer);
            if new.is_empty() {
                return all;
            }
            all.extend_from_slice(new);
        }
    }

    #[test]
    fn the_middle_of_a_long_log_is_left_out_and_its_length_is_said() {
        let scratch = Scratch::new("middle");
        let path = scratch.0.join("log");
        let log = Log::open(&path).unwrap();
        log.line("the first line");
        let block = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            log.write(&block);
        }
        log.line("the last line");
        let all = String::from_utf8(rest(&mut Reader::new(&path))).unwrap();
        assert!(all.starts_with("nixgate: the first line\n") && all.ends_with("nixgate: the last line\n"));
        assert!(all.contains("\nnixgate: [40 MiB of output left out here]\n"));
        assert!(length(&path) <= 64 << 20);
    }

    #[test]
    fn whoever_follows_meanwhile_misses_nothing_that_it_could_keep_up_with() {
        let scratch = Scratch::new("follow");
        let path = scratch.0.join("log");
        let (log, mut reader) = (Log::open(&path).unwrap(), Reader::new(&path));
        let (mut written, mut read) = (0_u64, 0);
        for round in 0..90_u8 {
            log.write(&vec![round; 1 << 20]);
            written += 1 << 20;
            read += rest(&mut reader).len() as u64;
        }
        assert_eq!(read, written);
    }

    #[test]
    fn recovery_goes_on_where_a_dead_job_stopped() {
        let scratch = Scratch::new("again");
        let path = scratch.0.join("log");
        Log::open(&path).unwrap().write(&vec![b'x'; (FIRST + 10) as usize]);
        Log::open(&path).unwrap().line("again");
        let all = rest(&mut Reader::new(&path));
        assert_eq!(all.len() as u64, FIRST + 10 + "nixgate: again\n".len() as u64);
    }

    #[test]
    fn nothing_is_written_where_there_is_no_job() {
        Log::nowhere().line("x");
    }
}
