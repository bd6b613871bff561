//! Whether a candidate would shut the door behind itself: sshd, the accounts, the key that asks, nixgate and its sudo
//! rules, as far as the files of a system show them.
//!
//! What the running system's files do not show either is not judged: it works from somewhere else today, so that the
//! candidate's files do not show it proves nothing.

mod accounts;
mod sshd;
mod sudoers;

pub use accounts::accounts_file;
pub use sshd::{Sshd, rooted};
pub use sudoers::{Include, Sudoers, includes};

use crate::decide::claim::Proof;
use crate::decide::config::Config;
use crate::decide::privileged::Platform;
use std::collections::{BTreeMap, BTreeSet};

/// The files of one system, as text, where it has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Below `etc/systemd/system`.
    pub units: Option<BTreeMap<String, Unit>>,
    /// Below `sw/bin`.
    pub programs: BTreeSet<String>,
    /// `users-groups.json` or `userborn.json`.
    pub accounts: Option<String>,
    pub sshd: Option<Sshd>,
    /// `etc/ssh/authorized_keys.d/deploy`.
    pub keys: Option<String>,
    /// What `TrustedUserCAKeys` names.
    pub authorities: Option<String>,
    pub sudoers: Option<Sudoers>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    There,
    /// A target wants or requires it.
    Wanted,
}

/// What the files of one system say to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Says {
    Yes,
    No(String),
    /// Why they do not say it.
    Nothing(&'static str),
}

/// What was found in a candidate.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Each shuts somebody out.
    pub lost: Vec<String>,
    pub not_judged: Vec<String>,
}

/// What the judgement rests on beside the two systems' files.
#[derive(Debug)]
pub struct Case<'c> {
    pub config: &'c Config,
    pub platform: Platform,
    /// What the caller proved to sshd.
    pub proofs: &'c [Proof],
    /// The candidate's own `/etc/nixgate/config.toml`, where it has one that this nixgate can read.
    pub next: Option<&'c Config>,
}

pub fn judge(case: &Case<'_>, running: &Files, candidate: &Files) -> Verdict {
    let mut verdict = Verdict::default();
    for ((what, was), (_, is)) in questions(case, running).into_iter().zip(questions(case, candidate)) {
        match (was, is) {
            (_, Says::Yes) => {}
            (Says::Yes, Says::No(why)) => verdict.lost.push(why),
            (_, Says::No(_)) => {
                verdict.not_judged.push(format!("{what}: the running system does not show it either"))
            }
            (_, Says::Nothing(why)) => verdict.not_judged.push(format!("{what}: {why}")),
        }
    }
    let rules = sudoers::judge(case, running.sudoers.as_ref(), candidate.sudoers.as_ref());
    verdict.lost.extend(rules.lost);
    verdict.not_judged.extend(rules.not_judged);
    verdict
}

fn questions(case: &Case<'_>, files: &Files) -> Vec<(&'static str, Says)> {
    vec![
        ("sshd", sshd_is_wanted(case.config.sshd.unit.as_str(), files)),
        ("the sshd block", sshd::has_force_command(files.sshd.as_ref())),
        ("ExposeAuthInfo", sshd::exposes_the_key(files.sshd.as_ref())),
        ("AllowUsers and DenyUsers", sshd::admits_deploy(files.sshd.as_ref())),
        ("account deploy", accounts::has(files.accounts.as_deref(), "deploy")),
        ("account nixgate", accounts::has(files.accounts.as_deref(), "nixgate")),
        ("the shell of deploy", accounts::shell_runs_commands(files.accounts.as_deref(), "deploy")),
        ("the key that asks", accounts::lets_in(case.proofs, files)),
        ("nixgate's programs", programs(files)),
        ("nixgate's units", units(files)),
    ]
}

/// The service, or the socket that starts one for each connection (`startWhenNeeded`).
fn sshd_is_wanted(unit: &str, files: &Files) -> Says {
    let Some(units) = &files.units else { return Says::Nothing("the system has no etc/systemd/system") };
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let names = [unit.to_owned(), format!("{stem}.service"), format!("{stem}.socket")];
    let found: Vec<Unit> = names.iter().filter_map(|name| units.get(name)).copied().collect();
    match (found.contains(&Unit::Wanted), found.is_empty()) {
        (true, _) => Says::Yes,
        (false, true) => Says::No(format!("it has no {unit}: nobody could log in")),
        (false, false) => Says::No(format!("no target wants its {unit}: it would not start")),
    }
}

fn programs(files: &Files) -> Says {
    let missing: Vec<&str> =
        ["nixgate", "nixgate-job"].into_iter().filter(|name| !files.programs.contains(*name)).collect();
    match missing.as_slice() {
        [] => Says::Yes,
        missing => Says::No(format!("it has no program {}", missing.join(", "))),
    }
}

fn units(files: &Files) -> Says {
    let Some(units) = &files.units else { return Says::Nothing("the system has no etc/systemd/system") };
    let wanted = ["nixgate.socket", "nixgate-control.socket", "nixgate-recover.service"];
    let there = ["nixgate-job@.service", "nixgate@.service", "nixgate-control@.service"];
    let mut missing: Vec<&str> =
        wanted.into_iter().filter(|name| units.get(*name) != Some(&Unit::Wanted)).collect();
    missing.extend(there.into_iter().filter(|name| !units.contains_key(*name)));
    match missing.as_slice() {
        [] => Says::Yes,
        missing => Says::No(format!("it has not, or does not start, {}", missing.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::config::EXAMPLE;
    use crate::decide::render;

    const PLATFORM: Platform = Platform::Nixos;

    fn whole(config: &Config) -> Files {
        let units = ["nixgate-job@.service", "nixgate@.service", "nixgate-control@.service"];
        let wanted = ["sshd.service", "nixgate.socket", "nixgate-control.socket", "nixgate-recover.service"];
        let there = units.map(|name| (name.to_owned(), Unit::There));
        let wanted = wanted.map(|name| (name.to_owned(), Unit::Wanted));
        Files {
            units: Some(there.into_iter().chain(wanted).collect()),
            programs: ["nixgate", "nixgate-job"].map(str::to_owned).into(),
            accounts: Some(
                r#"{"users":[{"name":"deploy","shell":"/s/nixgate"},{"name":"nixgate"}]}"#.to_owned(),
            ),
            sshd: Some(Sshd::Effective("forcecommand /s/nixgate\nexposeauthinfo yes\n".to_owned())),
            sudoers: Some(Sudoers { text: render::sudoers(config, PLATFORM), include: Include::Inside }),
            ..Files::default()
        }
    }

    fn judged(change: impl Fn(&mut Files)) -> Verdict {
        let config = Config::parse(EXAMPLE).unwrap();
        let (old, mut new) = (whole(&config), whole(&config));
        change(&mut new);
        let case = Case { config: &config, platform: PLATFORM, proofs: &[], next: None };
        judge(&case, &old, &new)
    }

    #[test]
    fn a_candidate_that_is_as_the_running_system_locks_nobody_out() {
        let verdict = judged(|_| ());
        assert_eq!(verdict.lost, [""; 0]);
        assert_eq!(verdict.not_judged, ["the key that asks: which key asks is not known"]);
    }

    #[test]
    fn each_missing_part_is_named() {
        type Change = fn(&mut Files);
        let cases: [(&str, Change); 9] = [
            ("no sshd.service", |f| {
                let _ = f.units.as_mut().unwrap().remove("sshd.service");
            }),
            ("no target wants its sshd.service", |f| {
                f.units.as_mut().unwrap().insert("sshd.service".to_owned(), Unit::There);
            }),
            ("nixgate.socket", |f| {
                let _ = f.units.as_mut().unwrap().remove("nixgate.socket");
            }),
            ("nixgate-job@.service", |f| {
                let _ = f.units.as_mut().unwrap().remove("nixgate-job@.service");
            }),
            ("no program nixgate-job", |f| {
                let _ = f.programs.remove("nixgate-job");
            }),
            ("no account deploy", |f| f.accounts = Some(r#"{"users":[{"name":"nixgate"}]}"#.to_owned())),
            ("account nixgate", |f| f.accounts = Some(r#"{"users":[{"name":"deploy"}]}"#.to_owned())),
            ("no ForceCommand", |f| {
                f.sshd = Some(Sshd::Effective("forcecommand none\nexposeauthinfo yes\n".to_owned()));
            }),
            ("sudo rules", |f| {
                f.sudoers = Some(Sudoers { text: String::new(), include: Include::Inside });
            }),
        ];
        for (named, change) in cases {
            let verdict = judged(change);
            assert!(matches!(verdict.lost.as_slice(), [why] if why.contains(named)), "{named}: {verdict:?}");
        }
    }

    #[test]
    fn sshd_for_each_connection_is_sshd_too() {
        let verdict = judged(|f| {
            let units = f.units.as_mut().unwrap();
            units.remove("sshd.service");
            units.insert("sshd.socket".to_owned(), Unit::Wanted);
        });
        assert_eq!(verdict.lost, [""; 0]);
    }

    #[test]
    fn what_the_running_system_does_not_show_either_is_not_judged() {
        let config = Config::parse(EXAMPLE).unwrap();
        let case = Case { config: &config, platform: PLATFORM, proofs: &[], next: None };
        let verdict = judge(&case, &Files::default(), &Files::default());
        assert_eq!(verdict.lost, [""; 0]);
        assert_eq!(verdict.not_judged.len(), 11, "{verdict:?}");
    }
}
