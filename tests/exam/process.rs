//! The processes of a host, as this machine numbers them, and their end.

use crate::host::{Host, LIMIT};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::time::{Duration, Instant};

/// A process inside of a host.
#[derive(Debug, Clone)]
pub struct Inside {
    pub pid: i32,
    pub parent: i32,
    pub name: String,
}

impl Inside {
    /// Those of a host, in no order.
    pub fn all(host: &Host) -> Vec<Self> {
        let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = space(&host.leader());
        let pids =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        pids.filter(|pid| own.is_some() && space(pid) == own)
            .filter_map(|pid| Self::read(pid.parse().ok()?))
            .collect()
    }
    pub fn named(host: &Host, name: &str) -> Vec<Self> {
        Self::all(host).into_iter().filter(|process| process.name == name).collect()
    }
    pub fn comm(pid: i32) -> String {
        fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
    }
    pub fn read(pid: i32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        // What has ended and was not waited for yet is gone.
        if value("State:")?.starts_with(['Z', 'X']) {
            return None;
        }
        Some(Self { pid, parent: value("PPid:")?.parse().ok()?, name: value("Name:")?.to_owned() })
    }
    /// The job that works, which is the one among the instances that the state's own unit runs.
    pub fn ancestor(pid: i32, name: &str) -> Option<Self> {
        let mut at = Self::read(pid)?;
        let mut found = None;
        while at.pid > 1 {
            if at.name == name {
                found = Some(at.clone());
            }
            at = Self::read(at.parent)?;
        }
        found
    }
}

/// SIGKILL, and the sight of its end.
#[track_caller]
pub fn kill_and_see(process: i32) -> String {
    let name = Inside::comm(process);
    kill(Pid::from_raw(process), Signal::SIGKILL)
        .unwrap_or_else(|error| panic!("kill {name} {process}: {error}"));
    until("a killed process ends", LIMIT, || Inside::read(process).is_none());
    format!("{name} {process} gone")
}

/// Kills all of these names, of which there has to be one.
#[track_caller]
pub fn kill_all(host: &Host, names: &[&str]) -> String {
    let found: Vec<Inside> = names.iter().flat_map(|name| Inside::named(host, name)).collect();
    assert!(!found.is_empty(), "there is none of {names:?} to be killed");
    for process in &found {
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
    until("killed processes end", LIMIT, || found.iter().all(|process| Inside::read(process.pid).is_none()));
    format!("{} gone: {}", names[0], found.iter().map(|p| p.pid.to_string()).collect::<Vec<_>>().join(" "))
}

/// Awaits a condition, which has no event of its own, so it is asked again 50 times a second.
#[track_caller]
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
