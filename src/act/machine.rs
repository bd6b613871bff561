//! The machine as a job sees it: its programs, its privileged commands, its pointers and its units.

use super::begun::Begun;
use super::inbox::Inbox;
use super::log::Log;
use super::orphans::Orphans;
use super::process::{Ended, OnCancel, RunError, Spec, Stdout, Stopping, run};
use super::store::Store;
use crate::decide::config::{Config, Loader};
use crate::decide::observe;
use crate::decide::privileged::{Platform, Program, RUNNING, Row, SYSTEM};
use crate::decide::record::Triple;
use crate::decide::value::StorePath;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Everything that a job works with.
#[derive(Debug)]
pub struct Machine {
    pub platform: Platform,
    pub config: Config,
    pub store: Store,
    pub log: Log,
    pub inbox: Inbox,
    /// How long others who are at work may still be waited for.
    pub patience: Duration,
}

/// Why a pointer of the host could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error("{0} does not lead to a system in the Nix store; activate one with nixos-rebuild first")]
    NoSystem(&'static str),
    #[error(
        "the boot default cannot be read with boot.loader = {loader:?}; set boot.loader to what this host uses, or to \"none\""
    )]
    NoBootDefault { loader: Loader },
}

/// How long looking at something may take.
const LOOK: Duration = Duration::from_secs(30);

impl Machine {
    /// An unprivileged program with nothing in its environment but what its fixed lines need.
    pub fn program(&self, program: Program, args: &[&str], limit: Duration) -> Spec {
        let mut argv = vec![self.platform.path(program)];
        argv.extend(args.iter().map(|a| (*a).to_owned()));
        let mut spec = Spec::new(argv, limit);
        spec.env = vec![
            ("PATH", self.platform.bin().to_owned()),
            ("LC_ALL", "C".to_owned()),
            ("TZ", "UTC".to_owned()),
        ];
        spec
    }

    pub fn run(&mut self, spec: Spec) -> Result<Ended, RunError> {
        run(spec, &mut self.inbox, &self.log)
    }

    /// Runs a program for what it says; it is over too soon to be worth cancelling.
    pub fn ask(&mut self, program: Program, args: &[&str]) -> Result<Ended, RunError> {
        let mut spec = self.program(program, args, LOOK);
        spec.stdout = Stdout::Captured;
        spec.on_cancel = OnCancel::GoOn;
        self.run(spec)
    }

    /// One row of the table, for a transaction that is on record.
    pub fn privileged(
        &mut self,
        _begun: &Begun,
        row: Row,
        limit: Duration,
        on_cancel: OnCancel,
    ) -> Result<Ended, RunError> {
        self.log.line(format_args!("root: {row}"));
        self.sudo(&row, limit, Stdout::Logged, on_cancel)
    }

    /// Clears failed units of ours. That most of them are not loaded is what it says, and not worth a line.
    pub fn reset(&mut self, _begun: &Begun) {
        let _ = self.sudo(&Row::Reset, LOOK, Stdout::Dropped, OnCancel::GoOn);
    }

    /// Asks whether the rules in force, which during a trial are the candidate's, still let us run a row.
    pub fn ask_sudo(&self, row: &Row) -> Spec {
        let argv = row.argv(&self.config, self.platform);
        let mut words: Vec<&str> = vec!["-n", "-l", "--"];
        words.extend(argv.iter().map(String::as_str));
        let mut spec = self.program(Program::Sudo, &words, LOOK);
        spec.stdout = Stdout::Dropped;
        spec
    }

    pub fn may(&mut self, row: &Row) -> bool {
        let mut spec = self.ask_sudo(row);
        spec.on_cancel = OnCancel::GoOn;
        self.run(spec).is_ok_and(|ended| ended.is_success())
    }

    fn sudo(
        &mut self,
        row: &Row,
        limit: Duration,
        stdout: Stdout,
        on_cancel: OnCancel,
    ) -> Result<Ended, RunError> {
        let argv = row.argv(&self.config, self.platform);
        let mut words: Vec<&str> = vec!["-n", "--"];
        words.extend(argv.iter().map(String::as_str));
        let mut spec = self.program(Program::Sudo, &words, limit);
        spec.on_cancel = on_cancel;
        spec.stdout = stdout;
        spec.stopping = Stopping::Asked;
        let orphans = Orphans::adopt();
        let ended = self.run(spec);
        if !ended.as_ref().is_ok_and(|ended| ended.code < 128) {
            self.outlast(&orphans);
        }
        ended
    }

    /// A sudo that was killed has not ended what it was for. What is looked at next is what is there after that.
    fn outlast(&self, orphans: &Orphans) {
        while let Some(left) = orphans.of_root() {
            self.log.line(format_args!(
                "sudo has ended, but not what it began (process {left}); waiting for that"
            ));
            orphans.outlast(left);
        }
    }

    /// The three pointers. The boot default is the one thing that only root can read.
    pub fn triple(&mut self) -> Result<Triple, ObserveError> {
        let (profile, generation) = profile_system().ok_or(ObserveError::NoSystem(SYSTEM))?;
        Ok(Triple {
            running: running_system().ok_or(ObserveError::NoSystem(RUNNING))?.to_string(),
            profile: profile.to_string(),
            generation,
            default: self.boot_default()?.map(|system| system.to_string()),
        })
    }

    pub fn boot_default(&mut self) -> Result<Option<StorePath>, ObserveError> {
        let loader = self.config.boot.loader;
        let row = match loader {
            Loader::None => return Ok(None),
            Loader::SystemdBoot => Row::BootDefaultSystemdBoot,
            Loader::Grub => Row::BootDefaultGrub,
        };
        let text = self
            .sudo(&row, LOOK, Stdout::Captured, OnCancel::GoOn)
            .map(|ended| ended.text())
            .unwrap_or_default();
        match observe::boot_default(loader, &text) {
            Some(system) => Ok(Some(system)),
            None => Err(ObserveError::NoBootDefault { loader }),
        }
    }

    /// Properties of a unit; `None` while systemd cannot be asked.
    pub fn show(&mut self, unit: &str) -> Option<BTreeMap<String, String>> {
        let what = "--property=LoadState,ActiveState,SubState,Result,ExecMainStatus,ExecMainCode";
        let ended = self.ask(Program::Systemctl, &["show", unit, what, "--no-pager"]).ok()?;
        let text = ended.text();
        let owned = observe::properties(&text).into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        ended.is_success().then(|| owned.collect())
    }

    /// Whether a unit of ours is doing something; `None` while systemd cannot be asked.
    pub fn is_busy(&mut self, unit: &str) -> Option<bool> {
        let properties = self.show(unit)?;
        let state = properties.get("ActiveState").map_or("", String::as_str);
        Some(matches!(state, "active" | "activating" | "deactivating" | "reloading"))
    }
}

/// The target of `/run/current-system`.
pub fn running_system() -> Option<StorePath> {
    system_at(RUNNING)
}

pub fn system_at(link: &str) -> Option<StorePath> {
    StorePath::parse(fs::canonicalize(link).ok()?.to_str()?).ok()
}

/// The system of the profile, and its generation: `system` → `system-N-link` → store.
pub fn profile_system() -> Option<(StorePath, u32)> {
    let link = fs::read_link(SYSTEM).ok()?;
    let number = link.file_name()?.to_str()?.strip_prefix("system-")?.strip_suffix("-link")?;
    Some((system_at(SYSTEM)?, number.parse().ok()?))
}

/// The commit that a system says it was made from, where it says so.
pub fn revision_of(system: &StorePath) -> Option<crate::decide::value::Commit> {
    observe::revision(&fs::read_to_string(system.join("sw/bin/nixos-version")).ok()?)
}
