//! How each kind of check is asked: the argv of it, and the rights, which are none.

use super::machine::Machine;
use super::probe::Ask;
use super::process::{Rights, Spec, Stdout};
use crate::decide::config::{Check, CheckKind, Http};
use crate::decide::privileged::Program;
use crate::decide::units::SHOWN;
use std::time::Duration;

/// How long PID 1 may take to answer.
pub const LOOK: Duration = Duration::from_secs(20);

impl Machine {
    /// All units and their states, in one answer of PID 1's.
    pub fn list_units(&self) -> Spec {
        let args = ["list-units", "--all", "--output=json", "--no-pager"];
        harmless(self.program(Program::Systemctl, &args, LOOK))
    }

    /// What more there is to know of some: their names come last.
    pub fn show_units(&self) -> Spec {
        harmless(self.program(Program::Systemctl, &["show", SHOWN, "--no-pager", "--"], LOOK))
    }

    /// One of the operator's checks; what it prints stands in the log behind its name.
    pub fn ask_check(&self, check: &Check) -> Ask {
        let mut spec = match &check.kind {
            CheckKind::Tcp(endpoint) => return Ask::Connect(endpoint.clone()),
            CheckKind::Unit(_) => return Ask::Run(self.list_units()),
            CheckKind::Http(http) => self.curl(http, check.timeout),
            CheckKind::Command(argv) => {
                let mut spec = self.program(Program::True, &[], check.timeout);
                spec.argv.clone_from(argv);
                spec.rights = Rights::NeverMore;
                spec
            }
        };
        spec.label = Some(format!("check {}", check.name));
        Ask::Run(spec)
    }

    /// curl, without the files and variables that it would read, for one request: no redirects, no proxy, no pattern in
    /// the address. Behind the body it prints the status.
    fn curl(&self, http: &Http, limit: Duration) -> Spec {
        let seconds = limit.as_secs().to_string();
        let body = if http.body.is_some() { "-" } else { "/dev/null" };
        let args = [
            "-q",
            "--silent",
            "--show-error",
            "--globoff",
            "--proto",
            "=http,https",
            "--max-redirs",
            "0",
            "--max-time",
            &seconds,
            "--max-filesize",
            "1048576",
            "--noproxy",
            "*",
            "--output",
            body,
            "--write-out",
            "\n%{http_code}",
            "--url",
            http.url.as_str(),
        ];
        harmless(self.program(Program::Curl, &args, limit))
    }
}

fn harmless(spec: Spec) -> Spec {
    Spec { stdout: Stdout::Captured, rights: Rights::NeverMore, ..spec }
}
