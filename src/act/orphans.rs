//! What children leave behind: a process that left the group of the child that started it, say a daemon.

use super::clock::Instant;
use super::processes::field;
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::{Pid, getpid};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How long ending them may take: a process in the middle of a disk access dies when that is over.
const PATIENCE: Duration = Duration::from_secs(2);

/// While this lives, orphans become children of this process instead of PID 1's. Dropped, it ends every child: so
/// it is made before the children whose orphans are meant, and outlives them.
#[derive(Debug)]
pub struct Orphans(());

impl Orphans {
    pub fn adopt() -> Self {
        // Where the kernel refuses, they stay PID 1's, which ends them with the job's own unit.
        let _ = set_child_subreaper(true);
        Self(())
    }

    /// One that is root's, and so not ours to end: what a killed sudo has become, which does its work all the same.
    pub fn of_root(&self) -> Option<Pid> {
        children().into_iter().find(|child| is_roots(*child))
    }

    /// Waits until it has ended, however long that takes.
    pub fn outlast(&self, child: Pid) {
        let _ = waitpid(child, None);
    }
}

/// By its effective user. One that is gone is nobody's.
fn is_roots(pid: Pid) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok_and(|process| process.uid() == 0)
}

impl Drop for Orphans {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        // Each that dies leaves us its own children.
        while Instant::now() < deadline && has_children() && end_children(deadline) {}
        let _ = set_child_subreaper(false);
    }
}

fn has_children() -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, look) != Err(Errno::ECHILD)
}

/// Ends those that are here now; whether there were any. Root's are not ours to end.
fn end_children(deadline: Instant) -> bool {
    let (gone, told) = channel::<()>();
    let mut found = false;
    for child in children() {
        if kill(child, Signal::SIGKILL).is_ok() {
            found = true;
            let gone = gone.clone();
            thread::spawn(move || {
                let _ = waitpid(child, None);
                drop(gone);
            });
        }
    }
    drop(gone);
    // Nothing is ever sent: the last one that is gone disconnects.
    let left = deadline.saturating_duration_since(Instant::now());
    found && told.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
}

fn children() -> Vec<Pid> {
    let ours = u64::try_from(getpid().as_raw()).ok();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.map(Pid::from_raw).filter(|pid| field(*pid, 4) == ours).collect()
}
