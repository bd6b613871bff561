//! Clients that `host ssh` does not make: a connection that is shared, another command line.

use super::Host;
use std::process::{Command, Output, Stdio};

/// A connection that stays open and is used again, as `ControlPersist` does.
pub struct Shared {
    ssh: String,
    socket: String,
}

impl Shared {
    /// One call over a connection of its own, with another beginning of the client's command line.
    pub fn line(host: &Host, beginning: &str, request: &str) -> Output {
        bash(&format!("{} {request}", command_of(host).replacen("ssh", beginning, 1))).output().expect("bash")
    }
    pub fn open(host: &Host) -> Self {
        let socket = std::env::temp_dir().join(format!("nixgate-{}", host.name())).display().to_string();
        let ssh = command_of(host).replace("ControlPath=none", &format!("ControlPath={socket}"));
        let shared = Self { ssh, socket };
        let master = shared.ssh.replacen("ssh ", "ssh -f -N -o ControlMaster=yes ", 1);
        let status = bash(&master).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("bash");
        assert!(status.success(), "{master}");
        shared
    }
    pub fn ssh(&self, request: &str) -> Output {
        bash(&format!("{} {request}", self.ssh)).output().expect("bash")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = bash(&self.ssh.replacen("ssh ", "ssh -O exit ", 1)).output();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// What a person would type to reach the host.
fn command_of(host: &Host) -> String {
    let printed =
        Command::new(super::SCRIPT).args(["ssh-command", host.name()]).output().expect("ssh-command");
    String::from_utf8(printed.stdout).expect("text").trim_end().to_owned()
}

fn bash(text: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["60", "bash", "-c", text]).stdin(Stdio::null());
    command
}
