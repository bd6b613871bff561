//! What a job would meet: the source, the systems, sshd, the state.

use super::Report;
use crate::act::log::Log;
use crate::act::machine::Machine;
use crate::act::store::ROOT;
use crate::ctl::audit;
use crate::decide::config::Loader;
use crate::decide::privileged::Program;
use crate::decide::request::Verb;
use crate::decide::value::Branch;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub fn look(report: &mut Report, machine: &mut Machine) {
    state(report, machine);
    let verbs = [Verb::Fetch, Verb::Switch, Verb::Test, Verb::Boot];
    let branches: BTreeSet<String> = verbs.map(|verb| machine.config.branch(verb).to_string()).into();
    for branch in branches {
        let what = format!("the source answers for branch {branch}");
        report
            .found(what, Branch::parse(&branch).map_err(|e| e.to_string()).and_then(|b| source(machine, &b)));
    }
    systems(report, machine);
    let mend = "it does not; see sshd.port, and that /etc/ssh/ssh_host_*_key.pub can be read";
    let answers = machine.sshd_answers(Duration::from_secs(10));
    report.found("sshd on this host answers with its key", if answers { Ok(()) } else { Err(mend) });
    if machine.config.knows_the_tailnet() {
        report.found("tailscale says who a node is, as for Tailscale SSH", whois_of_this_host(machine));
    }
}

/// What a job asks about a caller, asked about this host.
fn whois_of_this_host(machine: &mut Machine) -> Result<(), String> {
    let ended = machine.ask(Program::Tailscale, &["ip", "-1"]).map_err(|error| error.to_string())?;
    let node =
        ended.text().parse().map_err(|_| "`tailscale ip -1` names no address; is it up?".to_owned())?;
    machine.whois(node).map(drop).map_err(|why| why.to_string())
}

/// The very command that the health check of a trial runs. What git says about a failure is worth a line.
fn source(machine: &mut Machine, branch: &Branch) -> Result<(), String> {
    let url = machine.config.source.url.as_str().to_owned();
    let path = machine.store.path("check.log");
    let _ = fs::remove_file(&path);
    let quiet = machine.log.clone();
    machine.log = Log::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let answers = machine.source_answers(branch, machine.config.limits.fetch);
    machine.log = quiet;
    let said = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(&path);
    match answers {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{url} does not answer; git says: {}", last_lines(&said))),
        Err(error) => Err(format!("{url}: {error}")),
    }
}

/// Of what a program printed, as one line.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(" / ")
}

/// The three pointers, the boot default among them.
fn systems(report: &mut Report, machine: &mut Machine) {
    let what = match machine.config.boot.loader {
        Loader::SystemdBoot => "running system, profile and systemd-boot's default can be read",
        Loader::Grub => "running system, profile and GRUB's default can be read",
        Loader::None => "running system and profile can be read (boot.loader = \"none\": no boot default)",
    };
    report.found(what, machine.triple().map(drop));
}

fn state(report: &mut Report, machine: &Machine) {
    report.found("the state can be read", machine.store.state().map(drop));
    let log = fs::read(Path::new(ROOT).join("audit/log.jsonl")).unwrap_or_default();
    let judged = audit::judge(&String::from_utf8_lossy(&log), None);
    report.found("the audit log is whole", judged.map(drop));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text_is_one_line() {
        assert_eq!(last_lines("a\n\nb\r\nc\nd\n"), "b / c / d");
        assert_eq!(last_lines(""), "");
    }
}
