//! What is asked of a host to know whether it is well: nixgate's own questions and the operator's checks.

use crate::act::checks::LOOK;
use crate::act::keys::shows_key;
use crate::act::machine::Machine;
use crate::act::probe::{Answer, Ask, Question, Step};
use crate::act::process::Spec;
use crate::decide::config::{Check, CheckKind, When};
use crate::decide::health;
use crate::decide::privileged::Row;
use crate::decide::units::Units;
use crate::decide::value::Branch;
use std::time::Duration;

/// One of them, with its name and kind in the table.
#[derive(Debug)]
pub struct Asked {
    pub name: String,
    pub kind: &'static str,
    pub what: What,
    pub question: Question,
}

/// What an answer has to be like.
#[derive(Debug)]
pub enum What {
    /// The units, by two questions; the second one is for those that the first one names.
    Units {
        show: Spec,
    },
    /// A row of the table is allowed.
    Sudo,
    /// sshd shows this key.
    Ssh(String),
    /// The command ends with 0.
    Success,
    Check(CheckKind),
}

/// What the table calls nixgate's own.
pub const OWN_KIND: &str = "built-in";

impl Asked {
    fn own(name: &str, what: What, spec: Spec, retries: u8) -> Self {
        let ask = Ask::Run(spec);
        let question = Question { ask, limit: LOOK, retries, interval: Duration::from_secs(1) };
        Self { name: name.to_owned(), kind: OWN_KIND, what, question }
    }

    pub fn units(machine: &Machine) -> Self {
        let show = machine.show_units();
        Self::own("units", What::Units { show }, machine.list_units(), 0)
    }

    /// The rules in force have to let us make the system permanent.
    pub fn sudo(machine: &Machine) -> [Self; 2] {
        [("sudo-set", Row::Set), ("sudo-commit", Row::Commit)]
            .map(|(name, row)| Self::own(name, What::Sudo, machine.ask_sudo(&row), 0))
    }

    /// `None`: this host has no key that could be shown.
    pub fn ssh(machine: &Machine) -> Option<Self> {
        let (spec, key) = machine.ask_sshd(LOOK)?;
        let spec = machine.harmless(spec);
        Some(Self::own("ssh", What::Ssh(key), spec, 1))
    }

    pub fn source(machine: &Machine, branch: &Branch) -> Self {
        let spec = machine.ask_source(branch, LOOK);
        let spec = Spec { label: Some("check source".to_owned()), ..machine.harmless(spec) };
        Self::own("source", What::Success, spec, 1)
    }

    /// The operator's checks of a trial.
    pub fn checks(machine: &Machine) -> Vec<Self> {
        let on_trial = machine.config.checks.iter().filter(|check| check.when == When::Trial);
        on_trial.map(|check| Self::check(machine, check)).collect()
    }

    fn check(machine: &Machine, check: &Check) -> Self {
        let Check { timeout, retries, interval, .. } = *check;
        let ask = machine.ask_check(check);
        Self {
            name: check.name.to_string(),
            kind: check.kind.as_str(),
            what: What::Check(check.kind.clone()),
            question: Question { ask, limit: timeout, retries, interval },
        }
    }

    /// Whether an answer is a good one. What is in an answer to [`What::Units`] is judged where there is one to compare with.
    pub fn judge(&self, answer: Answer<'_>, at: Duration) -> Step {
        let (code, printed) = match answer {
            Answer::Connected => return Step::Well,
            Answer::Nothing(why) => return Step::Failed(why.to_owned()),
            Answer::Ended(code, printed) => (code, printed),
        };
        let well = |result: Result<(), String>| result.map_or_else(Step::Failed, |()| Step::Well);
        match &self.what {
            What::Ssh(key) if shows_key(printed, key) => Step::Well,
            What::Ssh(_) => Step::Failed(SSH.to_owned()),
            What::Check(CheckKind::Http(http)) => well(health::answers_as(http, code, printed)),
            What::Check(CheckKind::Unit(unit)) => match Units::parse(at, printed) {
                Some(units) => well(health::is_active(&units, unit.as_str())),
                None => Step::Failed(format!("systemctl ended with {code}")),
            },
            What::Sudo | What::Success | What::Check(_) | What::Units { .. } if code == 0 => Step::Well,
            What::Sudo => Step::Failed(SUDO.to_owned()),
            What::Success => Step::Failed(SOURCE.to_owned()),
            What::Check(_) | What::Units { .. } => Step::Failed(format!("it ended with {code}")),
        }
    }
}

const SUDO: &str =
    "the candidate's sudo rules do not let nixgate make it permanent; on the host: nixgatectl render";
const SSH: &str = "sshd on this host does not answer with this host's key";
const SOURCE: &str =
    "the source repository can no longer be reached, so nothing could be deployed after this";
