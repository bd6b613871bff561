//! Holds a process of a host at an exact moment, and lets it go on later: the kernel asks us before it opens a file.
//!
//! Every state is on disk, record first and audit event second, before its effect. So a job that is about to open the
//! lock of the audit log has announced the state of its record, and has done nothing of it: there it is held, however
//! short the state is. A program that sudo is about to become is held in the same way.

use crate::host::{Host, LIMIT};
use crate::process::Inside;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyEvent, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response,
};
use serde_json::Value;
use std::fs;
use std::io::{PipeWriter, pipe};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// A moment in the life of a job.
#[derive(Debug, Clone)]
pub enum Moment {
    /// The record says this state; its effect has not begun.
    Announced(&'static str),
    /// The last state is in the audit log; its end, and the result, are not written.
    Ending(&'static str),
    /// In this state, when sudo is about to become a program of this name.
    Sudo(&'static str, &'static str),
    /// In this state, when `systemd-run` runs and has not asked PID 1 for anything.
    SystemdRun(&'static str),
    /// In this state, when the builder is about to start.
    Build(&'static str),
}

/// What sudo becomes in the table of privileged commands, but for the systems' own programs; nix-env is a name of nix.
const BY_SUDO: [&str; 4] = ["systemd-run", "systemctl", "nix", "grep"];
const LIBRARY: &str = "libsystemd-shared";

/// Set until it is dropped; whatever was held goes on then.
#[derive(Debug)]
pub struct Trap {
    caught: Receiver<i32>,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Trap {
    pub fn set(host: &Host, moment: Moment) -> Self {
        let root = host.outside("/");
        let group = Fanotify::init(
            InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC,
            EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC,
        )
        .expect("fanotify");
        let mark = |mask: MaskFlags, path: &Path| {
            let directory = fs::File::open("/").unwrap();
            group.mark(MarkFlags::FAN_MARK_ADD, mask, directory.as_fd(), Some(path)).expect("fanotify_mark");
        };
        let inside = |path: &str| root.join(path.trim_start_matches('/'));
        let executed = MaskFlags::FAN_OPEN_EXEC_PERM;
        match moment {
            Moment::Announced(_) | Moment::Ending(_) => {
                mark(
                    MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_EVENT_ON_CHILD,
                    &inside("/var/lib/nixgate/audit"),
                );
            }
            Moment::Sudo(..) => {
                BY_SUDO.iter().for_each(|name| mark(executed, &inside(&format!("/usr/bin/{name}"))));
            }
            Moment::SystemdRun(_) => mark(MaskFlags::FAN_OPEN_PERM, &find(&inside("/usr/lib"), LIBRARY)),
            Moment::Build(_) => {
                let busybox = host.root("readlink -f /nix/store/*-busybox/bin/busybox | head -n 1");
                mark(executed, &inside(&busybox));
            }
        }
        let (tell, caught) = channel();
        let (stopped, stop) = pipe().unwrap();
        let state = inside("/var/lib/nixgate");
        let thread = std::thread::spawn(move || watch(&group, &moment, &state, &tell, &stopped));
        Self { caught, stop: Some(stop), thread: Some(thread) }
    }

    /// The process that is held, as this machine numbers it. The exam fails where the moment never comes.
    #[track_caller]
    pub fn caught(&self) -> i32 {
        self.caught.recv_timeout(LIMIT).expect("the moment never came")
    }
    /// The same, unless what would come to it has ended first.
    pub fn caught_or(&self, ended: impl Fn() -> bool) -> Option<i32> {
        loop {
            match self.caught.recv_timeout(std::time::Duration::from_millis(50)) {
                Ok(pid) => return Some(pid),
                Err(_) if ended() => return None,
                Err(_) => {}
            }
        }
    }
    pub fn release(self) {}
}

impl Drop for Trap {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(group: &Fanotify, moment: &Moment, state: &Path, tell: &Sender<i32>, stopped: &std::io::PipeReader) {
    let mut held: Vec<FanotifyEvent> = Vec::new();
    let mut to_pass = usize::from(matches!(moment, Moment::Ending(_)));
    loop {
        let mut ready =
            [PollFd::new(group.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::NONE).expect("poll");
        if ready[1].revents().is_some_and(|events| !events.is_empty()) {
            return; // The group is closed, and the kernel lets everybody go on.
        }
        for event in group.read_events().expect("fanotify") {
            let is_it = held.is_empty() && is(moment, &event, state);
            if is_it && to_pass == 0 {
                let _ = tell.send(event.pid());
                held.push(event);
                continue;
            }
            to_pass -= usize::from(is_it);
            if let Some(file) = event.fd() {
                let _ = group.write_response(FanotifyResponse::new(file, Response::FAN_ALLOW));
            }
        }
    }
}

fn is(moment: &Moment, event: &FanotifyEvent, root: &Path) -> bool {
    let path = event.fd().and_then(|file| fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok());
    let path = path.unwrap_or_default();
    let by = Inside::comm(event.pid());
    match moment {
        Moment::Announced(state) | Moment::Ending(state) => {
            path.ends_with("audit/lock") && by == "nixgate-job" && state_in(root).as_deref() == Some(state)
        }
        Moment::Sudo(state, program) => {
            path.ends_with(program) && by == "sudo" && state_in(root).as_deref() == Some(state)
        }
        Moment::SystemdRun(state) => by == "systemd-run" && state_in(root).as_deref() == Some(state),
        Moment::Build(state) => state_in(root).as_deref() == Some(state),
    }
}

/// The state of the job in progress, as its record has it.
pub fn state_in(root: &Path) -> Option<String> {
    let read = |path: PathBuf| -> Option<Value> { serde_json::from_slice(&fs::read(path).ok()?).ok() };
    let job = read(root.join("state.json"))?["job"].as_str()?.to_owned();
    Some(read(root.join("jobs").join(job).join("record"))?["state"].as_str()?.to_owned())
}

/// The first file below a directory whose name begins so.
fn find(below: &Path, name: &str) -> PathBuf {
    let mut open = vec![below.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            } else if entry.file_name().to_string_lossy().starts_with(name) {
                return entry.path();
            }
        }
    }
    panic!("no {name} below {}", below.display())
}
