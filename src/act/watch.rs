//! Waiting for files to change: inotify, with a second descriptor to look at where there is one.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Tells when anything in one directory changes.
#[derive(Debug)]
pub struct Watch(Inotify);

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Something changed, or the time is over: look.
    Look,
    /// The other side of the second descriptor is gone.
    HungUp,
}

impl Watch {
    pub fn new(directory: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let what = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVED_TO;
        inotify.add_watch(directory, what)?;
        Ok(Self(inotify))
    }

    pub fn wait(&self, patience: Duration, peer: Option<BorrowedFd<'_>>) -> Change {
        let mut fds = vec![PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        // No events asked for: a hang-up is always told.
        fds.extend(peer.map(|fd| PollFd::new(fd, PollFlags::empty())));
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        if !matches!(poll(&mut fds, timeout), Ok(_) | Err(Errno::EINTR)) {
            return Change::HungUp;
        }
        let gone = fds.get(1).and_then(PollFd::revents).is_some_and(|events| !events.is_empty());
        while self.0.read_events().is_ok() {}
        if gone { Change::HungUp } else { Change::Look }
    }
}

/// Reads a growing file from where it was left. A file that was truncated and written anew is read from its
/// first byte: that is seen by its length, or by other bytes before the place where we stopped.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    offset: u64,
    before: Vec<u8>,
}

/// How many bytes before the place are remembered.
const REMEMBERED: u64 = 64;

impl Tail {
    pub fn from_start(path: &Path) -> Self {
        Self { path: path.to_owned(), offset: 0, before: Vec::new() }
    }

    /// From the present end, because what is there belongs to somebody else.
    pub fn from_end(path: &Path) -> Self {
        let mut tail = Self::from_start(path);
        if let Ok(mut file) = File::open(path) {
            tail.offset = file.metadata().map_or(0, |m| m.len());
            tail.before = tail.bytes_before(&mut file).unwrap_or_default();
        }
        tail
    }

    /// What is new, at most `limit` bytes; empty at the end, or while the file is not there.
    pub fn read(&mut self, limit: usize) -> Vec<u8> {
        self.try_read(limit).unwrap_or_default()
    }

    fn try_read(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        let same = file.metadata()?.len() >= self.offset && self.bytes_before(&mut file)? == self.before;
        if !same {
            self.offset = 0;
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut new = Vec::new();
        file.by_ref().take(limit as u64).read_to_end(&mut new)?;
        self.offset += new.len() as u64;
        self.before = self.bytes_before(&mut file)?;
        Ok(new)
    }

    fn bytes_before(&self, file: &mut File) -> io::Result<Vec<u8>> {
        let from = self.offset.saturating_sub(REMEMBERED);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.by_ref().take(self.offset - from).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
