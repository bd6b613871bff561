//! Children: argv, an environment from nothing, a deadline, and an end for their whole process group.

use super::clock::Instant;
use super::inbox::{Event, Inbox, Woken};
use super::kernel::without_new_privileges;
use super::labelled::copy_lines;
use super::log::Log;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::io::{self, PipeReader, Read, Write, pipe};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Whether a `cancel` ends this wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCancel {
    Stop,
    /// Past the point where it could be stopped, or on the way back.
    GoOn,
}

/// A child to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub argv: Vec<String>,
    pub env: Vec<(&'static str, String)>,
    pub stdin: Vec<u8>,
    pub limit: Duration,
    pub on_cancel: OnCancel,
    pub stdout: Stdout,
    pub rights: Rights,
    pub stopping: Stopping,
    /// What it runs under: the words of programs that become it.
    pub under: Vec<String>,
    /// Stands before each line of its output in the log, and bounds how much of it is kept.
    pub label: Option<String>,
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

/// What a child may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// What its program gives: sudo is one.
    Ours,
    /// Never more than account nixgate has: no setuid program works for it, sudo neither.
    NeverMore,
}

/// How a child ends that is not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// At once, with its process group.
    AtOnce,
    /// It is asked first. A killed sudo leaves behind what it has become: that is root's and out of our reach, and would
    /// do its work at a time when nobody counts on it any more. SIGTERM is handed on.
    Asked,
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
            rights: Rights::Ours,
            stopping: Stopping::AtOnce,
            under: Vec::new(),
            label: None,
        }
    }
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
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
    let (limit, on_cancel) = (spec.limit, spec.on_cancel);
    if on_cancel == OnCancel::Stop && inbox.cancelled().is_some() {
        return Err(RunError::Cancelled);
    }
    let running = Running::start(spec, inbox, log)?;
    let deadline = Instant::now() + limit;
    loop {
        match inbox.wait(deadline) {
            Woken::Ended(number) if number == running.number => break,
            Woken::Cancelled if on_cancel == OnCancel::Stop => return Err(RunError::Cancelled),
            Woken::Deadline => return Err(RunError::Deadline { program: running.program.clone(), limit }),
            Woken::Ended(_) | Woken::Cancelled | Woken::Confirmed => {}
        }
    }
    let (code, output) = running.end()?;
    // Whoever still holds the pipe left the group; its output is not worth waiting for.
    Ok(Ended { code, stdout: output.within(Duration::from_secs(5)) })
}

/// How long one that was asked to end may take.
const GRACE: Duration = Duration::from_secs(10);

/// A child that runs. Dropped, it is stopped with its process group.
#[derive(Debug)]
pub struct Running {
    program: String,
    number: u64,
    child: Option<Child>,
    stopping: Stopping,
    /// Disconnected by its end.
    ended: Receiver<()>,
    output: Option<Output>,
}

impl Running {
    /// Starts a child. Its end is an event of its number.
    pub fn start(spec: Spec, inbox: &mut Inbox, log: &Log) -> Result<Self, RunError> {
        let (program, stopping) = (spec.program().to_owned(), spec.stopping);
        let started = start(spec, log);
        let (child, output) =
            started.map_err(|source| RunError::Start { program: program.clone(), source })?;
        let number = inbox.number();
        let ended = watch(pid(&child), number, inbox.sender());
        Ok(Self { program, number, child: Some(child), stopping, ended, output: Some(output) })
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    /// What an ended child leaves: its exit code, and its output as soon as nobody holds that any more.
    pub fn end(mut self) -> Result<(i32, Output), RunError> {
        let program = std::mem::take(&mut self.program);
        let status = self.stop().map_err(|source| RunError::Start { program, source })?;
        let code = status.map_or(-1, |s| s.code().unwrap_or_else(|| 128 + s.signal().unwrap_or(0)));
        Ok((code, self.output.take().unwrap_or_default()))
    }

    /// Its process id is its own until it was waited for, so this stops its group and no other.
    fn stop(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        let Some(mut child) = self.child.take() else { return Ok(None) };
        // A group that is gone, or root's, is not ours to stop: units have deadlines of PID 1's.
        let _ = killpg(pid(&child), Signal::SIGTERM);
        if self.stopping == Stopping::Asked {
            // Nothing is ever sent.
            let _ = self.ended.recv_timeout(GRACE);
        }
        let _ = killpg(pid(&child), Signal::SIGKILL);
        child.wait().map(Some)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// The output of a child, which somebody that it left behind may still hold open.
#[derive(Debug, Default)]
pub struct Output(Option<Receiver<Vec<u8>>>);

impl Output {
    /// What was captured; empty, once it is in the log, for any other.
    pub fn within(self, patience: Duration) -> Vec<u8> {
        self.0.and_then(|done| done.recv_timeout(patience).ok()).unwrap_or_default()
    }
}

fn start(spec: Spec, log: &Log) -> io::Result<(Child, Output)> {
    let mut words = spec.under.iter().chain(&spec.argv);
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words).env_clear().envs(spec.env).current_dir("/").process_group(0);
    command.stdin(if spec.stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
    let output = connect(&mut command, spec.stdout, spec.label, log)?;
    let mut child = match spec.rights {
        Rights::Ours => command.spawn(),
        Rights::NeverMore => without_new_privileges(|| command.spawn()),
    }?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that does not read its input says so by its exit code.
        thread::spawn(move || drop(stdin.write_all(&spec.stdin)));
    }
    Ok((child, output))
}

/// What is printed goes to the log as it comes; standard output of a captured child comes back whole. The writing
/// ends are the command's, and closed with it.
fn connect(command: &mut Command, stdout: Stdout, label: Option<String>, log: &Log) -> io::Result<Output> {
    if stdout == Stdout::Dropped {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        return Ok(Output(None));
    }
    let (done, output) = channel();
    let (printed, writer) = pipe()?;
    if stdout == Stdout::Captured {
        let (captured, writer) = pipe()?;
        command.stdout(writer);
        let done = done.clone();
        thread::spawn(move || {
            let mut text = Vec::new();
            let _ = captured.take(CAPTURE_LIMIT).read_to_end(&mut text);
            done.send(text)
        });
    } else {
        command.stdout(writer.try_clone()?);
    }
    command.stderr(writer);
    let log = log.clone();
    thread::spawn(move || {
        copy(printed, label, &log);
        if stdout == Stdout::Logged {
            let _ = done.send(Vec::new());
        }
    });
    Ok(Output(Some(output)))
}

fn copy(printed: PipeReader, label: Option<String>, log: &Log) {
    match label {
        None => log.copy_from(printed),
        Some(label) => copy_lines(printed, &label, log),
    }
}

/// Tells when the child has ended, without reaping it: by an event, and by the end of the channel.
fn watch(pid: Pid, number: u64, sender: Sender<Event>) -> Receiver<()> {
    let (runs, ended) = channel();
    thread::spawn(move || {
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        drop(runs);
        sender.send(Event::Ended(number))
    });
    ended
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}
