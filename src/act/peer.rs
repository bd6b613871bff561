//! Who is on the other end of the socket: what the kernel says, and nothing else.

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Uid, User};
use std::fs;
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

/// When the sshd session above a process began, since boot: its nearest ancestor whose name begins with `sshd`.
pub fn session_start(pid: i32) -> Option<Duration> {
    let mut pid = pid;
    for _ in 0..16 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let parent: i32 = fields.nth(1)?.parse().ok()?;
        if name.starts_with("sshd") {
            // Field 22, in clock ticks; the kernel's unit for programs is 100 a second.
            let ticks: u64 = fields.nth(17)?.parse().ok()?;
            return Some(Duration::from_millis(ticks * 10));
        }
        pid = parent;
    }
    None
}
