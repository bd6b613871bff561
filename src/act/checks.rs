//! How each kind of check is asked: the argv of it, and the rights, which are none.

use super::machine::Machine;
use super::probe::Ask;
use super::process::{Rights, Spec, Stdout};
use crate::decide::config::{Check, CheckKind, Http};
use crate::decide::privileged::Program;
use crate::decide::units::SHOWN;
use std::fs;
use std::time::Duration;

/// How long PID 1 may take to answer.
pub const LOOK: Duration = Duration::from_secs(20);

impl Machine {
    /// All units and their states, in one answer of PID 1's.
    pub fn list_units(&self) -> Spec {
        let args = ["list-units", "--all", "--output=json", "--no-pager"];
        self.captured(self.program(Program::Systemctl, &args, LOOK))
    }

    /// What more there is to know of some: their names come last.
    pub fn show_units(&self) -> Spec {
        self.captured(self.program(Program::Systemctl, &["show", SHOWN, "--no-pager", "--"], LOOK))
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
                self.harmless(spec)
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
        self.captured(self.program(Program::Curl, &args, limit))
    }

    fn captured(&self, spec: Spec) -> Spec {
        Spec { stdout: Stdout::Captured, ..self.harmless(spec) }
    }

    /// What judges a system, and may be anybody's program: it never has more rights than account nixgate, and where the
    /// host runs out of memory it does not stand under the protection of the job that has to revert.
    pub fn harmless(&self, spec: Spec) -> Spec {
        let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
        let under = if is_protected(&own) {
            vec![self.platform.path(Program::Choom), "-n".to_owned(), "0".to_owned(), "--".to_owned()]
        } else {
            Vec::new()
        };
        Spec { rights: Rights::NeverMore, under, ..spec }
    }
}

/// Whether a process is spared where memory runs out: an `oom_score_adj` below 0. To give that up needs no right, and to
/// go below what an operator gave the job would.
fn is_protected(oom_score_adj: &str) -> bool {
    oom_score_adj.trim().parse::<i32>().is_ok_and(|value| value < 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_protected_gives_that_up() {
        assert!(is_protected("-500\n") && is_protected("-1"));
        assert!(!is_protected("0\n") && !is_protected("300\n") && !is_protected(""));
    }
}
