//! `check`: everything that a deploy needs, tried on the host before the first one. One half looks as root, the
//! other, which is what a job would see, as account nixgate in a process of its own.

mod accounts;
mod files;
mod job;
mod nix;
mod sshd;
mod sudo;
mod units;

use super::account::{AccountError, become_nixgate};
use super::{CtlError, Host};
use crate::act::inbox::Inbox;
use crate::act::log::Log;
use crate::act::machine::Machine;
use crate::act::process::{Spec, Stdout};
use crate::act::store::{ROOT, Store};
use crate::decide::answer::Code;
use crate::decide::config::Config;
use crate::decide::privileged::Platform;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(30);

/// What was looked at, line by line as it is found.
#[derive(Debug, Default)]
pub struct Report {
    failed: bool,
}

/// What is wrong, and how to mend it.
type Found = Result<(), String>;

impl Report {
    fn ok(&mut self, what: impl Display) {
        line(&format!("ok    {what}"));
    }
    /// It works, and could be safer.
    fn warn(&mut self, what: impl Display, mend: impl Display) {
        line(&format!("warn  {what}: {mend}"));
    }
    fn fail(&mut self, what: impl Display, mend: impl Display) {
        self.failed = true;
        line(&format!("FAIL  {what}: {mend}"));
    }
    fn found(&mut self, what: impl Display, found: Result<(), impl Display>) {
        match found {
            Ok(()) => self.ok(what),
            Err(mend) => self.fail(what, mend),
        }
    }
    fn code(&self) -> Code {
        if self.failed { Code::Misconfigured } else { Code::Done }
    }
}

/// A reader who has gone does not change the verdict.
fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{}", text.replace('\n', " "));
}

pub fn check(host: &Host) -> Result<Code, CtlError> {
    if !::nix::unistd::geteuid().is_root() {
        return Err(AccountError::NotRoot.into());
    }
    let mut report = Report::default();
    let Some(config) = configuration(&mut report, host) else { return Ok(report.code()) };
    let mut machine = machine(host.platform(), config)?;
    files::look(&mut report, &machine);
    accounts::look(&mut report, &mut machine);
    units::look(&mut report, &mut machine);
    sshd::look(&mut report, &mut machine);
    sudo::look(&mut report, &mut machine);
    nix::look(&mut report, &mut machine);
    match other_half(host) {
        Ok(Code::Done) => {}
        Ok(_) => report.failed = true,
        Err(error) => report.fail("as account nixgate", format_args!("cannot be looked at: {error}")),
    }
    Ok(report.code())
}

fn configuration(report: &mut Report, host: &Host) -> Option<Config> {
    let what = format!("configuration {}, root's alone", host.config.display());
    match host.read_trusted() {
        Ok(config) => {
            report.ok(what);
            Some(config)
        }
        Err(error) => {
            report.fail(what, error);
            None
        }
    }
}

/// The same program as account nixgate: what it prints stands between our lines.
fn other_half(host: &Host) -> io::Result<Code> {
    // The name of the running program itself: no other file can take its place.
    let status = Command::new("/proc/self/exe")
        .args(["check", "--as-account", "--platform", host.platform().as_str(), "--config"])
        .arg(&host.config)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .status()?;
    Ok(status.code().and_then(|code| Code::from_number(u8::try_from(code).ok()?)).unwrap_or(Code::Internal))
}

/// The half that is seen with the eyes of a job.
pub fn as_account(host: &Host) -> Result<Code, CtlError> {
    become_nixgate()?;
    let mut report = Report::default();
    let mut machine = machine(host.platform(), host.read_trusted()?)?;
    sudo::look_as_account(&mut report, &mut machine);
    nix::look_as_account(&mut report, &mut machine);
    job::look(&mut report, &mut machine);
    Ok(report.code())
}

fn machine(platform: Platform, config: Config) -> Result<Machine, CtlError> {
    Ok(Machine {
        platform,
        config,
        store: Store::new(ROOT),
        log: Log::nowhere(),
        inbox: Inbox::default(),
        patience: Duration::ZERO,
    })
}

/// What a program prints; `None` if it cannot be started, does not end or says no.
fn said(machine: &mut Machine, argv: &[&str]) -> Option<String> {
    let mut spec = Spec::new(argv.iter().map(|word| (*word).to_owned()).collect(), LOOK);
    spec.env = vec![("PATH", machine.platform.bin().to_owned()), ("LC_ALL", "C".to_owned())];
    spec.stdout = Stdout::Captured;
    machine.run(spec).ok().filter(crate::act::process::Ended::is_success).map(|ended| ended.text())
}

/// How the files that `render` makes come to a host.
fn install(platform: Platform) -> &'static str {
    match platform {
        Platform::Fhs => {
            "nixgatectl render --platform fhs --root / && systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload"
        }
        Platform::Nixos => {
            "put the output of nixgatectl render --platform nixos into the system's configuration (README, A first host)"
        }
    }
}
