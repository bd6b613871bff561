//! What is said to a bench's PID 1, by the stand-ins and by the exam: one JSON line there, one back.

use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Where it listens, below the bench's root.
pub const SOCKET: &str = "run/pid1";
/// No run takes as long: what does hangs.
pub const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Call {
    /// Behind `sudo -n --`.
    Sudo(Vec<String>),
    Systemctl(Vec<String>),
    /// A program without privileges is about to do something, or has done it. Another code than 0: it fails.
    Tool(String, When),
    /// What is to happen, from now on.
    Plan(Vec<Hook>),
    /// Somebody asks over ssh; the job is traced with these words for strace, where there are some.
    Ssh(String, Vec<String>),
    /// Somebody else than a job: recovery (as nixgate) or `nixgatectl` (as root).
    Run(Account, Vec<String>, Vec<String>),
    /// Whether failed jobs start recovery (`OnFailure=`); else the exam does.
    Recovery(OnFailure),
    /// The traced process has stopped.
    AwaitStop,
    Continue,
    /// SIGKILL to every job.
    Kill,
    /// The time of the dead man's switch has come. Code 1: it is not armed.
    Fire,
    /// Until no job, recovery or unit is at work.
    Idle,
    /// Whether a unit of nixgate's is armed, at work or failed: their names.
    Units,
    PowerOff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Account {
    Root,
    Nixgate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnFailure {
    #[default]
    Recover,
    Nothing,
}

/// A moment of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum When {
    Before,
    Middle,
    After,
}

/// Something that happens at a moment, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    pub at: At,
    pub when: When,
    pub act: Act,
}

/// Which effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum At {
    /// The n-th since the plan was made.
    Nth(usize),
    /// The next of this name.
    Next(String),
    /// Each of this name.
    Each(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Act {
    /// SIGKILL to the job, and to what of its control group is not PID 1's.
    KillJob,
    PowerCut,
    /// The dead man's switch.
    Fire,
    /// The command fails, and nothing was done.
    Refuse,
    /// The command fails half way.
    FailHalf,
    /// It does half, and then nothing until its limit ends it. Limits of PID 1's are over at once.
    Hang,
    /// Who asked for it dies; PID 1 goes on.
    KillClient,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Reply {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Reply {
    pub fn code(code: i32) -> Self {
        Self { code, ..Self::default() }
    }
    pub fn text(out: impl Into<String>) -> Self {
        Self { out: out.into(), ..Self::default() }
    }
}

/// `None`: PID 1 is gone, and everything with it.
pub fn call(root: &Path, call: &Call) -> Option<Reply> {
    let mut stream = UnixStream::connect(root.join(SOCKET)).ok()?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    writeln!(stream, "{}", serde_json::to_string(call).unwrap()).ok()?;
    let mut line = String::new();
    let read = BufReader::new(stream).read_line(&mut line);
    if let Err(error) = &read
        && error.kind() == std::io::ErrorKind::WouldBlock
    {
        let events = std::fs::read_to_string(root.join("events")).unwrap_or_default();
        panic!("no answer within {} s to {call:?}\n{events}", LIMIT.as_secs());
    }
    serde_json::from_str(&line).ok()
}
