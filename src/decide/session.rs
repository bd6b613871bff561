//! Which server stands behind a call, by the processes above it: what it may vouch for.
//!
//! What a client could bring along in its environment (Tailscale's `acceptEnv` may let `SSH_CONNECTION` and
//! `SSH_USER_AUTH` through) decides nothing here.

use core::net::IpAddr; // the value; nothing here reaches a network
use std::time::Duration;

/// A process, as `/proc` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub name: String,
    /// The account that it runs as, by its real and its effective uid.
    pub uids: [u32; 2],
    /// Since boot.
    pub began: Duration,
    pub argv: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// Root's process of sshd for one connection, which began with it.
    Sshd { began: Duration },
    /// Tailscale SSH. Its process per *session* says where the connection comes from, and nothing of the
    /// connection's age: an old connection can open a new session. None outlives tailscaled
    /// (tailscale/tailscale#4478), so that is all there is to go by.
    Tailscale { node: Option<IpAddr>, daemon: Duration },
    /// `su`, another server, or one that has gone.
    Other,
}

impl Session {
    /// The server that is nearest above a call. `above` begins with its parent and goes up.
    pub fn of(above: &[Process]) -> Self {
        let mut at = above.iter();
        while let Some(process) = at.next() {
            // Any process can give itself the name; root's is the one that accepted the connection.
            if process.name.starts_with("sshd") && process.uids == [0, 0] {
                return Self::Sshd { began: process.began };
            }
            if is_tailscaled(process) {
                // `tailscaled be-child ssh` gives up root before it starts the login shell; its parent does not.
                let child = matches!(&process.argv[..], [_, a, b, ..] if a == "be-child" && b == "ssh");
                let daemon = if child { at.next() } else { Some(process) };
                return match daemon.filter(|p| is_tailscaled(p) && p.uids == [0, 0]) {
                    Some(daemon) => Self::Tailscale { node: remote(&process.argv), daemon: daemon.began },
                    None => Self::Other,
                };
            }
        }
        Self::Other
    }
}

/// NixOS wraps it: `.tailscaled-wrapped`, of which the kernel keeps 15 characters.
fn is_tailscaled(process: &Process) -> bool {
    process.name.trim_start_matches('.').starts_with("tailscaled")
}

fn remote(argv: &[String]) -> Option<IpAddr> {
    argv.iter().find_map(|word| word.strip_prefix("--remote-ip="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(name: &str, uid: u32, seconds: u64, argv: &[&str]) -> Process {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        Process { name: name.to_owned(), uids: [uid, uid], began: Duration::from_secs(seconds), argv }
    }
    fn incubator(command: &str) -> Process {
        let words = ["tailscaled", "be-child", "ssh", "--uid=990", "--remote-ip=100.64.0.7", command];
        process("tailscaled", 990, 9, &words)
    }
    fn node(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn the_nearest_server_counts() {
        let began = |seconds| Session::Sshd { began: Duration::from_secs(seconds) };
        let sshd = [process("sshd-session", 990, 7, &[]), process("sshd-session", 0, 6, &[])];
        assert_eq!(Session::of(&sshd), began(6));
        let false_name = [process("sshd-session", 990, 9, &[]), process("systemd", 0, 1, &[])];
        assert_eq!(Session::of(&false_name), Session::Other);
        let shell = [process("sh", 990, 8, &[]), process("sshd", 0, 6, &[]), process("systemd", 0, 1, &[])];
        assert_eq!(Session::of(&shell), began(6));
        assert_eq!(Session::of(&[process("su", 0, 8, &[]), process("bash", 0, 1, &[])]), Session::Other);
        assert_eq!(Session::of(&[]), Session::Other);
    }

    #[test]
    fn tailscale_says_where_from_and_only_its_daemon_how_old() {
        let daemon = process("tailscaled", 0, 2, &["tailscaled", "--port=41641"]);
        let of = |node| Session::Tailscale { node, daemon: Duration::from_secs(2) };
        assert_eq!(Session::of(&[incubator("--cmd=status"), daemon.clone()]), of(node("100.64.0.7")));
        // What is asked comes later and in one word.
        let forged = incubator("--cmd=x --remote-ip=100.64.0.1");
        assert_eq!(Session::of(&[forged, daemon.clone()]), of(node("100.64.0.7")));
        let wrapped = [".tailscaled-wra"; 2].map(str::to_owned);
        let mut pair = [incubator("--shell"), daemon.clone()];
        pair.iter_mut().zip(wrapped).for_each(|(process, name)| process.name = name);
        assert_eq!(Session::of(&pair), of(node("100.64.0.7")));
        // With util-linux' su, which takes the place of the incubator.
        assert_eq!(Session::of(&[process("su", 0, 9, &["su", "-l", "deploy"]), daemon]), of(None));
    }

    #[test]
    fn a_tailscaled_that_is_not_roots_is_none() {
        let own = process("tailscaled", 990, 2, &["tailscaled"]);
        assert_eq!(Session::of(&[incubator("--cmd=status"), own.clone()]), Session::Other);
        assert_eq!(Session::of(&[incubator("--cmd=status"), process("bash", 0, 2, &[])]), Session::Other);
        assert_eq!(Session::of(&[incubator("--cmd=status")]), Session::Other);
        let half = Process { uids: [990, 0], ..own };
        assert_eq!(Session::of(&[incubator("--cmd=status"), half]), Session::Other);
    }
}
