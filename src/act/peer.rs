//! Who is on the other end of the socket: what the kernel says, and nothing else.

use crate::decide::session::{Process, Session};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Uid, User};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::time::Duration;

/// The account of the peer, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Account deploy: the gate.
    Deploy,
    /// Account nixgate: the timer.
    Nixgate,
    Other(u32),
}

/// The peer and its process.
pub fn peer(channel: &impl AsFd) -> nix::Result<(Peer, i32)> {
    let credentials = getsockopt(&channel.as_fd(), PeerCredentials)?;
    let uid = Uid::from_raw(credentials.uid());
    let is = |name: &str| User::from_name(name).ok().flatten().is_some_and(|user| user.uid == uid);
    let peer = if is("deploy") {
        Peer::Deploy
    } else if uid == Uid::current() {
        Peer::Nixgate
    } else {
        Peer::Other(credentials.uid())
    };
    Ok((peer, credentials.pid()))
}

/// The server that a process of account deploy was started by.
pub fn session(pid: i32) -> Session {
    let mut above = Vec::new();
    let mut next = process(pid).map(|(_, parent)| parent);
    while let Some((process, parent)) = next.filter(|_| above.len() < 16).and_then(process) {
        above.push(process);
        next = Some(parent);
    }
    Session::of(&above)
}

/// A process and the number of its parent.
fn process(pid: i32) -> Option<(Process, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let parent = fields.nth(1)?.parse().ok()?;
    // Field 22, in clock ticks; the kernel's unit for programs is 100 a second.
    let ticks: u64 = fields.nth(17)?.parse().ok()?;
    let uids: Vec<u32> = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_whitespace()
        .filter_map(|uid| uid.parse().ok())
        .collect();
    let mut words = Vec::new();
    File::open(format!("/proc/{pid}/cmdline")).ok()?.take(64 * 1024).read_to_end(&mut words).ok()?;
    let argv = words.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let uids = [*uids.first()?, *uids.get(1)?];
    Some((Process { name: name.to_owned(), uids, began: Duration::from_millis(ticks * 10), argv }, parent))
}
