//! Children: argv, an environment from nothing, a deadline, and an end for their whole process group.

use super::log::Log;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// What a job waits for.
#[derive(Debug)]
pub enum Event {
    /// Somebody asked the job to stop; who.
    Cancel(String),
    /// Somebody confirmed the trial; who.
    Confirm(String),
    /// The child of this number has ended. One that was stopped says so when the next one runs already.
    Ended(u64),
}

/// The one place where a job waits.
#[derive(Debug)]
pub struct Inbox {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
    /// The number of the child that runs, or ran last.
    child: u64,
    pub cancelled: Option<String>,
    pub confirmed: Option<String>,
}

impl Default for Inbox {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver, child: 0, cancelled: None, confirmed: None }
    }
}

/// What a wait ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    Cancelled,
    Confirmed,
    ChildEnded,
    Deadline,
}

impl Inbox {
    pub fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Who asked the job to stop, up to now.
    pub fn cancelled(&mut self) -> Option<&str> {
        while self.wait(Instant::now()) != Woken::Deadline {}
        self.cancelled.as_deref()
    }

    /// Waits for the next event, or until the deadline.
    pub fn wait(&mut self, deadline: Instant) -> Woken {
        loop {
            match self.receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Cancel(who)) => {
                    self.cancelled = Some(who);
                    return Woken::Cancelled;
                }
                Ok(Event::Confirm(who)) => {
                    self.confirmed = Some(who);
                    return Woken::Confirmed;
                }
                Ok(Event::Ended(child)) if child == self.child => return Woken::ChildEnded,
                Ok(Event::Ended(_)) => {}
                // We hold a sender, so the channel cannot be disconnected; if it were, nothing could come.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Woken::Deadline,
            }
        }
    }
}

/// Whether a `cancel` ends this wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCancel {
    Stop,
    /// Past the point where it could be stopped, or on the way back.
    GoOn,
}

/// A child to run.
#[derive(Debug)]
pub struct Spec {
    pub argv: Vec<String>,
    pub env: Vec<(&'static str, String)>,
    pub stdin: Vec<u8>,
    pub limit: Duration,
    pub on_cancel: OnCancel,
    pub stdout: Stdout,
}

/// Where standard output goes; standard error goes to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// To the caller of [`run`].
    Captured,
    Logged,
    /// Nowhere, and standard error neither: only the exit code counts, or not even that.
    Dropped,
}

impl Spec {
    pub fn new(argv: Vec<String>, limit: Duration) -> Self {
        Self {
            argv,
            env: Vec::new(),
            stdin: Vec::new(),
            limit,
            on_cancel: OnCancel::Stop,
            stdout: Stdout::Logged,
        }
    }
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The exit code; 128 and the signal's number for a killed one.
    pub code: i32,
    pub stdout: Vec<u8>,
}

impl Ended {
    pub fn is_success(&self) -> bool {
        self.code == 0
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

/// Why there is no exit code.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot start {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error("{program} did not end within {} s and was stopped", limit.as_secs())]
    Deadline { program: String, limit: Duration },
    #[error("cancelled")]
    Cancelled,
}

/// The most that is kept of a captured output.
const CAPTURE_LIMIT: u64 = 16 << 20;

/// Runs a child to its end. Whatever ends first, nothing of its process group is left.
pub fn run(spec: Spec, inbox: &mut Inbox, log: &Log) -> Result<Ended, RunError> {
    let program = spec.argv.first().cloned().unwrap_or_default();
    if spec.on_cancel == OnCancel::Stop && inbox.cancelled().is_some() {
        return Err(RunError::Cancelled);
    }
    let start = |source| RunError::Start { program: program.clone(), source };
    let mut child = Command::new(&program)
        .args(spec.argv.iter().skip(1))
        .env_clear()
        .envs(spec.env)
        .current_dir("/")
        .stdin(if spec.stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(start)?;
    feed(&mut child, spec.stdin);
    let (done, outputs) = channel();
    read_output(&mut child, spec.stdout, log, &done);
    inbox.child += 1;
    watch(&child, inbox.child, inbox.sender());
    let end = await_end(inbox, Instant::now() + spec.limit, spec.on_cancel);
    // The child is not reaped yet, so its process id is still its own.
    stop_group(&child);
    let status = child.wait().map_err(start)?;
    match end {
        Woken::Cancelled => return Err(RunError::Cancelled),
        Woken::Deadline => return Err(RunError::Deadline { program, limit: spec.limit }),
        _ => {}
    }
    // Whoever still holds the pipe left the group; its output is not worth waiting for.
    let stdout = outputs.recv_timeout(Duration::from_secs(5)).unwrap_or_default();
    Ok(Ended { code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)), stdout })
}

fn await_end(inbox: &mut Inbox, deadline: Instant, on_cancel: OnCancel) -> Woken {
    loop {
        match inbox.wait(deadline) {
            Woken::Cancelled if on_cancel == OnCancel::Stop => return Woken::Cancelled,
            end @ (Woken::ChildEnded | Woken::Deadline) => return end,
            Woken::Cancelled | Woken::Confirmed => {}
        }
    }
}

fn feed(child: &mut Child, bytes: Vec<u8>) {
    if let Some(mut stdin) = child.stdin.take() {
        // A child that does not read its input says so by its exit code.
        thread::spawn(move || drop(stdin.write_all(&bytes)));
    }
}

/// Standard error goes to the log as it comes; standard output too, or is sent whole to `done`.
fn read_output(child: &mut Child, stdout: Stdout, log: &Log, done: &Sender<Vec<u8>>) {
    if let Some(stderr) = child.stderr.take() {
        let log = log.clone();
        thread::spawn(move || match stdout {
            Stdout::Dropped => drain(stderr),
            Stdout::Captured | Stdout::Logged => log.copy_from(stderr),
        });
    }
    if let Some(pipe) = child.stdout.take() {
        let (log, done) = (log.clone(), done.clone());
        thread::spawn(move || {
            let mut text = Vec::new();
            match stdout {
                Stdout::Logged => log.copy_from(pipe),
                Stdout::Dropped => drain(pipe),
                Stdout::Captured => drop(pipe.take(CAPTURE_LIMIT).read_to_end(&mut text)),
            }
            done.send(text)
        });
    }
}

fn drain(mut from: impl Read) {
    drop(io::copy(&mut from, &mut io::sink()));
}

/// Tells when the child has ended, without reaping it.
fn watch(child: &Child, number: u64, sender: Sender<Event>) {
    let pid = pid(child);
    thread::spawn(move || {
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
            == Err(nix::errno::Errno::EINTR)
        {}
        sender.send(Event::Ended(number))
    });
}

fn stop_group(child: &Child) {
    // A group that is gone, or root's, is not ours to stop: units have deadlines of PID 1's.
    let _ = killpg(pid(child), Signal::SIGTERM);
    let _ = killpg(pid(child), Signal::SIGKILL);
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}
