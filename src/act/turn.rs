//! Waiting for the lock of the transaction: in turn, for a limited time, and only while the caller is there.

use super::clock::Instant;
use super::files::{self, Lock};
use super::store::{Store, StoreError, io_at};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, PipeReader, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// How many may wait at once. Each is a process and one of the places of `job.sock`, which followers need, too.
pub const PLACES: usize = 8;

/// How a wait for the lock ended.
#[derive(Debug)]
pub enum Turn {
    Mine(Lock),
    /// Somebody still has it.
    TooLate,
    /// Nobody is there any more who waits.
    CallerGone,
}

/// One of the places to wait in; free again when this is gone.
#[derive(Debug)]
pub struct Place(#[allow(dead_code, reason = "held, never used")] Lock);

/// No single wait of the kernel's is longer: it stands still while the host sleeps, and the time that may be waited
/// does not.
const SLEEP: Duration = Duration::from_secs(5);

impl Store {
    /// A place to wait in, where one is left.
    pub fn place_to_wait(&self) -> Result<Option<Place>, StoreError> {
        for number in 0..PLACES {
            let path = self.path(&format!("waiting.{number}"));
            if let Some(lock) = files::lock(&path).map_err(io_at(&path))? {
                return Ok(Some(Place(lock)));
            }
        }
        Ok(None)
    }

    /// Waits for the lock behind those who came before: the kernel lets them have it in the order in which they asked.
    pub fn await_lock(&self, _place: &Place, patience: Duration, caller: &OwnedFd) -> io::Result<Turn> {
        let until = Instant::now() + patience;
        let (mine, told) = ask(files::open_lock(&self.path("lock"))?)?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [
                PollFd::new(told.as_fd(), PollFlags::POLLIN),
                // No events asked for: a hang-up is always told.
                PollFd::new(caller.as_fd(), PollFlags::empty()),
            ];
            match poll(&mut fds, PollTimeout::try_from(left.min(SLEEP)).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [_, gone] = fds.map(|fd| fd.any().unwrap_or(true));
            // A lock that came at the last moment is one that came.
            match mine.try_recv() {
                Ok(lock) => return lock.map(Turn::Mine),
                Err(_) if gone => return Ok(Turn::CallerGone),
                Err(_) if left.is_zero() => return Ok(Turn::TooLate),
                Err(_) => {}
            }
        }
    }
}

/// Asks for the lock on a thread, which can do nothing else meanwhile: the pipe's end tells that there is an answer.
/// Whoever does not take it leaves it, with the thread, to the end of the process.
fn ask(file: std::fs::File) -> io::Result<(Receiver<io::Result<Lock>>, PipeReader)> {
    let (told, tell) = pipe()?;
    let (give, mine) = channel();
    thread::spawn(move || {
        let _ = give.send(files::lock_in_turn(file));
        drop(tell);
    });
    Ok((mine, told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Scratch(PathBuf);
    impl Scratch {
        fn new(name: &str) -> (Self, Store) {
            let path = std::env::temp_dir().join(format!("nixgate-turn-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            let store = Store::new(&path);
            (Self(path), store)
        }
    }
    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn caller() -> (OwnedFd, OwnedFd) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        (ours.into(), theirs.into())
    }

    #[test]
    fn the_lock_comes_when_its_holder_lets_go_and_not_before() {
        let (_scratch, store) = Scratch::new("comes");
        let (ours, _theirs) = caller();
        let holder = store.lock().unwrap().unwrap();
        let place = store.place_to_wait().unwrap().unwrap();
        assert!(matches!(store.await_lock(&place, Duration::ZERO, &ours).unwrap(), Turn::TooLate));
        let waiter = {
            let store = store.clone();
            thread::spawn(move || store.await_lock(&place, Duration::from_secs(60), &ours).unwrap())
        };
        drop(holder);
        assert!(matches!(waiter.join().unwrap(), Turn::Mine(_)));
    }

    #[test]
    fn who_left_does_not_wait() {
        let (_scratch, store) = Scratch::new("left");
        let (ours, theirs) = caller();
        let _holder = store.lock().unwrap().unwrap();
        let place = store.place_to_wait().unwrap().unwrap();
        drop(theirs);
        let turn = store.await_lock(&place, Duration::from_secs(60), &ours).unwrap();
        assert!(matches!(turn, Turn::CallerGone));
    }

    #[test]
    fn so_many_may_wait_and_no_more_until_one_leaves() {
        let (_scratch, store) = Scratch::new("places");
        let mut places: Vec<Place> =
            std::iter::from_fn(|| store.place_to_wait().unwrap()).take(PLACES + 1).collect();
        assert_eq!(places.len(), PLACES);
        places.pop();
        assert!(store.place_to_wait().unwrap().is_some());
    }
}
