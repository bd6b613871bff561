//! Reads what two systems' files say about who could still get in, and has it judged.

use crate::act::machine::Machine;
use crate::act::process::{OnCancel, Spec, Stdout};
use crate::decide::answer::Code;
use crate::decide::config::{Config, LockOut};
use crate::decide::outcome::Stop;
use crate::decide::plan::Plan;
use crate::decide::preflight::lockout::{
    Case, Files, Include, Sshd, Sudoers, Unit, Verdict, accounts_file, includes, judge, rooted,
};
use crate::decide::value::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
const CONFIG: &str = "/etc/nixgate/config.toml";

/// Refuses a candidate that takes away what lets somebody in, unless the configuration wants it tried.
pub fn refuse(machine: &mut Machine, plan: &Plan, running: &str, candidate: &StorePath) -> Result<(), Stop> {
    let verdict = verdict(machine, plan, running, candidate);
    if !verdict.not_judged.is_empty() {
        let what = verdict.not_judged.join("; ");
        machine.log.line(format_args!("not judged, because no file of the systems shows it: {what}"));
    }
    if verdict.lost.is_empty() {
        return Ok(());
    }
    let lost = verdict.lost.join("; ");
    match machine.config.preflight.lock_out {
        LockOut::Refuse => {
            let next = "put it back, or set preflight.lock-out = \"allow\" for this one deploy";
            Err(Stop::new(
                Code::CheckRefused,
                format_args!("the candidate would lock us out: {lost}; {next}"),
            ))
        }
        LockOut::Allow => {
            machine.log.line(format_args!("tried all the same (preflight.lock-out = \"allow\"): {lost}"));
            Ok(())
        }
    }
}

fn verdict(machine: &mut Machine, plan: &Plan, running: &str, candidate: &StorePath) -> Verdict {
    let (old, new) = (files(machine, running), files(machine, candidate.as_str()));
    let own = own_config(running, candidate.as_str());
    let next = own.as_ref().and_then(|own| own.as_ref().ok());
    let (config, platform) = (&machine.config, machine.platform);
    let mut verdict = judge(&Case { config, platform, proofs: &plan.identity().proofs, next }, &old, &new);
    if let Some(Err(wrong)) = own {
        verdict.lost.push(format!("its {CONFIG}, {wrong}"));
    }
    verdict
}

/// The candidate's configuration, where it brings one and the nixgate that runs now: another version may read it
/// differently, and speaks for itself.
fn own_config(running: &str, candidate: &str) -> Option<Result<Config, String>> {
    let job = |system: &str| fs::canonicalize(Path::new(system).join("sw/bin/nixgate-job")).ok();
    let text = fs::read_to_string(format!("{candidate}{CONFIG}")).ok()?;
    let same = job(running).is_some() && job(running) == job(candidate);
    same.then(|| Config::parse(&text).map_err(|error| error.to_string()))
}

fn files(machine: &mut Machine, system: &str) -> Files {
    let sshd = sshd(machine, system);
    let authorities = sshd.as_ref().and_then(Sshd::authorities).and_then(|path| inside(system, path));
    let has = |name: &&str| Path::new(system).join("sw/bin").join(name).exists();
    Files {
        units: units(Path::new(system)),
        programs: ["nixgate", "nixgate-job"]
            .iter()
            .filter(|name| has(name))
            .map(|n| (*n).to_owned())
            .collect(),
        accounts: accounts(system),
        sshd,
        keys: read(system, "/etc/ssh/authorized_keys.d/deploy"),
        authorities: authorities.and_then(|path| fs::read_to_string(path).ok()),
        sudoers: sudoers(system),
    }
}

/// Where a path of the host will lead once the system runs; `None` where the system does not decide it.
fn inside(system: &str, path: &str) -> Option<PathBuf> {
    match path.strip_prefix("/etc/") {
        Some(below) => Some(Path::new(system).join("etc").join(below)),
        None => path.starts_with("/nix/store/").then(|| PathBuf::from(path)),
    }
}

fn read(system: &str, path: &str) -> Option<String> {
    fs::read_to_string(inside(system, path)?).ok()
}

/// Masked ones are not there.
fn units(system: &Path) -> Option<BTreeMap<String, Unit>> {
    let directory = system.join("etc/systemd/system");
    let is_there = |path: &Path| fs::canonicalize(path).is_ok_and(|target| target != Path::new("/dev/null"));
    let names = |directory: &Path| -> BTreeSet<PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| is_there(path)).collect()
    };
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let (targets, units): (Vec<PathBuf>, Vec<PathBuf>) =
        fs::read_dir(&directory).ok().map(|_| names(&directory))?.into_iter().partition(|path| path.is_dir());
    let mut found: BTreeMap<String, Unit> =
        units.iter().filter_map(|path| name(path)).map(|name| (name, Unit::There)).collect();
    let asks = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "wants" || kind == "requires");
    for unit in targets.iter().filter(|path| asks(path)).flat_map(|target| names(target)) {
        found.extend(name(&unit).map(|name| (name, Unit::Wanted)));
    }
    Some(found)
}

fn accounts(system: &str) -> Option<String> {
    let named_by = [format!("{system}/activate"), format!("{system}/etc/systemd/system/userborn.service")];
    let mut texts = named_by.iter().filter_map(|path| fs::read_to_string(path).ok());
    texts.find_map(|text| fs::read_to_string(accounts_file(&text)?).ok())
}

/// As the system's own sshd reads its own files; `-G` needs neither root nor host keys (OpenSSH 9.3), and takes `-C` only beside `-T`.
fn sshd(machine: &mut Machine, system: &str) -> Option<Sshd> {
    let text = read(system, SSHD_CONFIG)?;
    let program = format!("{system}/sw/bin/sshd");
    let words = ["-T", "-G", "-f", "/dev/stdin", "-C", "user=deploy,host=localhost,addr=127.0.0.1"];
    let argv = std::iter::once(program.as_str()).chain(words).map(str::to_owned).collect();
    let mut spec = Spec::new(argv, Duration::from_secs(10));
    spec.stdin = rooted(&text, system).into_bytes();
    spec.stdout = Stdout::Captured;
    spec.on_cancel = OnCancel::GoOn;
    match machine.run(spec) {
        Ok(ended) if ended.is_success() => Some(Sshd::Effective(ended.text())),
        _ => Some(Sshd::Written(text)),
    }
}

/// With what it includes, as far as that is in the system.
fn sudoers(system: &str) -> Option<Sudoers> {
    let mut found = Sudoers { text: read(system, "/etc/sudoers")?, include: Include::Inside };
    let mut open: Vec<String> = includes(&found.text).into_iter().map(str::to_owned).collect();
    // Whoever includes himself is not followed for ever.
    for _ in 0..100 {
        let Some(path) = open.pop() else { break };
        match inside(system, &path) {
            Some(directory) if directory.is_dir() => {
                let files = fs::read_dir(&directory).into_iter().flatten().flatten();
                let names = files.filter_map(|file| file.file_name().into_string().ok());
                // As sudo does it: editors' left-overs and packagers' copies do not count.
                let counts = |name: &String| !name.ends_with('~') && !name.contains('.');
                open.extend(names.filter(counts).map(|name| format!("{path}/{name}")));
            }
            Some(file) => match fs::read_to_string(file) {
                Ok(text) => {
                    open.extend(includes(&text).into_iter().map(str::to_owned));
                    found.text += &text;
                }
                Err(_) => found.include = Include::Outside,
            },
            None => found.include = Include::Outside,
        }
    }
    Some(found)
}
