//! Files of the state as no nixgate of this version would leave them: refused with their name and what to do, never
//! guessed, and left as they are. A host that was put in order again goes on.

use crate::bench::Bench;
use crate::product::{Case, Inject};
use crate::scenario::{SCENARIOS, Scenario, Work};
use crate::verdict::{Before, Is, jobs, snapshot};
use crate::wire::{Account, Call, Reply, When};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

/// What is done to a file, and what has to come of it.
#[derive(Debug, Clone, Copy)]
pub struct Damage {
    /// Below /var/lib/nixgate; JOB is the newest job.
    pub file: &'static str,
    pub how: How,
    pub end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Empty,
    FirstByte,
    Half,
    /// Without its last byte.
    Short,
    /// Without its last line.
    WithoutTail,
    Zeros,
    NotText,
    Garbage,
    /// Behind what is there, without and with the end of a line.
    Torn,
    OneLineMore,
    NextVersion,
    UnknownKey,
    /// One letter in the first line, and in the last one.
    FirstLineEdited,
    LastLineEdited,
    Swapped,
    Directory,
    Unreadable,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// 74 that names the file; nothing was done, nothing was lost.
    Refused,
    /// It deploys, and the audit log is whole.
    GoesOn,
    /// It deploys; `nixgatectl audit verify` names a line.
    Told,
    /// It deploys, and who saw the end of the log before knows that it was cut.
    Witnessed,
}

use End::{GoesOn, Refused, Told, Witnessed};
use How::*;

const fn row(file: &'static str, how: How, end: End) -> Damage {
    Damage { file, how, end }
}

const STATE: &str = "state.json";
const AUDIT: &str = "audit/log.jsonl";
const RECORD: &str = "jobs/JOB/record";

#[rustfmt::skip]
const IDLE: [Damage; 33] = [
    row(STATE, Empty, Refused), row(STATE, FirstByte, Refused), row(STATE, Half, Refused), row(STATE, Short, Refused),
    row(STATE, Zeros, Refused), row(STATE, NotText, Refused), row(STATE, Garbage, Refused), row(STATE, Torn, Refused),
    row(STATE, NextVersion, Refused), row(STATE, UnknownKey, Refused), row(STATE, Directory, Refused),
    row(STATE, Unreadable, Refused),
    row(AUDIT, Short, GoesOn), row(AUDIT, Torn, GoesOn), row(AUDIT, OneLineMore, Refused), row(AUDIT, LastLineEdited, Refused),
    row(AUDIT, Directory, Refused), row(AUDIT, Unreadable, Refused), row(AUDIT, Zeros, Witnessed),
    row(AUDIT, FirstLineEdited, Told), row(AUDIT, Swapped, Told), row(AUDIT, WithoutTail, Witnessed),
    row("audit/refusals", Garbage, GoesOn), row("audit/lock", Garbage, GoesOn), row("lock", Garbage, GoesOn),
    row("reserve", Empty, GoesOn), row("reserve", Gone, GoesOn),
    row(RECORD, Garbage, GoesOn), row(RECORD, NextVersion, GoesOn), row(RECORD, Empty, GoesOn),
    row("jobs/JOB/result", Garbage, GoesOn), row("jobs/JOB/log", Gone, GoesOn), row("jobs/JOB/log", Zeros, GoesOn),
];

/// Of a job that died in its trial: without its record nobody knows what it was.
#[rustfmt::skip]
const IN_TRIAL: [Damage; 10] = [
    row(RECORD, Empty, Refused), row(RECORD, FirstByte, Refused), row(RECORD, Half, Refused), row(RECORD, Short, Refused),
    row(RECORD, NotText, Refused), row(RECORD, Garbage, Refused), row(RECORD, NextVersion, Refused),
    row(RECORD, UnknownKey, Refused), row(RECORD, Directory, Refused), row(RECORD, Unreadable, Refused),
];

pub fn cases() -> Vec<Case> {
    let scenario = |work| Scenario { name: "damage", work, ..SCENARIOS[0] };
    let case = |damage: &Damage, work: Work| Case {
        scenario: scenario(work),
        state: if work == Work::Job { "idle" } else { "trial" }.to_owned(),
        what: format!("{} {:?}", damage.file, damage.how),
        inject: Inject::Damage(*damage),
        expected: vec![match damage.end {
            Refused => "refused by name",
            GoesOn => "goes on",
            Told => "told by audit verify",
            Witnessed => "told by audit verify --at",
        }],
    };
    let idle = IDLE.iter().map(|damage| case(damage, Work::Job));
    idle.chain(IN_TRIAL.iter().map(|damage| case(damage, Work::Recovery("Trial", When::Middle)))).collect()
}

pub fn run(case: &Case, damage: Damage, bench: &mut Bench, before: &Before) -> Result<String, String> {
    let job = jobs(bench).pop().unwrap();
    let path = bench.path("var/lib/nixgate").join(damage.file.replace("JOB", &job));
    let whole = fs::read(&path).unwrap_or_default();
    let head = said(bench, Account::Root, &["/usr/bin/nixgatectl", "audit", "verify"]).out;
    do_it(&path, &whole, damage.how);
    if damage.end == Refused {
        is_refused(bench, &path)?;
        if case.scenario.work != Work::Job {
            // Nobody needs the record for the way back.
            bench.call(&Call::Fire).filter(|reply| reply.code == 0).ok_or("it did not fire")?;
            bench.call(&Call::Idle);
            if bench.pointers() != before.pointers {
                return Err(format!("the dead man's switch left {:?}", bench.pointers()));
            }
        } else if bench.pointers() != before.pointers {
            return Err(format!("refused, and is {:?}", bench.pointers()));
        }
        mend(&path, &whole);
        bench.call(&Call::Idle);
        return crate::verdict::judge(bench, before, None)
            .map(|seen| format!("refused by name; mended: {seen}"));
    }
    let answer = bench.ssh("switch").ok_or("down")?;
    if answer.code != 0 {
        return Err(format!("{} {}", answer.code, answer.err));
    }
    let verified = said(bench, Account::Root, &["/usr/bin/nixgatectl", "audit", "verify"]);
    match damage.end {
        Told if verified.code == 78 && verified.err.contains("does not continue") => Ok("told".to_owned()),
        Told | Refused => Err(format!("{verified:?}")),
        Witnessed => {
            let at = head
                .split_whitespace()
                .find(|word| word.contains(':') && word.len() > 64)
                .ok_or(head.clone())?;
            let at = at.trim_end_matches(['.', ',', ';']);
            let asked = said(bench, Account::Root, &["/usr/bin/nixgatectl", "audit", "verify", "--at", at]);
            if verified.code == 0 && asked.code != 0 {
                Ok("told by its witness".to_owned())
            } else {
                Err(format!("{asked:?}"))
            }
        }
        GoesOn => crate::verdict::judge(bench, before, None).and_then(|seen| {
            if seen.is == Is::New { Ok(format!("goes on: {seen}")) } else { Err(seen.to_string()) }
        }),
    }
}

/// A deploy and a recovery say which file it is and what to do, and lose nothing of it; `status` still answers.
fn is_refused(bench: &Bench, path: &PathBuf) -> Result<(), String> {
    let was = snapshot(bench).remove(path);
    let name = format!("/{}", path.strip_prefix(&bench.root).unwrap().display());
    let answer = bench.ssh("switch").ok_or("down")?;
    // A log that was edited has its own words.
    let named = answer.err.contains(&name) || answer.err.contains("the audit log was edited");
    if answer.code != 74 || !named || !answer.err.contains("on the host:") {
        return Err(format!("answered {} {}", answer.code, answer.err));
    }
    let status = bench.ssh("status --json").ok_or("down")?;
    let said_it =
        status.out.contains("\"running\"") || (status.code == 74 && status.err.contains("on the host:"));
    if !said_it {
        return Err(format!("status: {status:?}"));
    }
    if path.is_file() && snapshot(bench).remove(path) != was {
        return Err("the file is not as it was".to_owned());
    }
    Ok(())
}

fn said(bench: &Bench, account: Account, words: &[&str]) -> Reply {
    let words = words.iter().map(|w| (*w).to_owned()).collect();
    bench.call(&Call::Run(account, words, Vec::new())).unwrap()
}

fn do_it(path: &PathBuf, whole: &[u8], how: How) {
    let text = String::from_utf8_lossy(whole).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let joined = |lines: &[&str]| (lines.join("\n") + "\n").into_bytes();
    let new = match how {
        Empty => Vec::new(),
        FirstByte => whole[..1].to_vec(),
        Half => whole[..whole.len() / 2].to_vec(),
        Short => whole[..whole.len() - 1].to_vec(),
        WithoutTail => joined(&lines[..lines.len() - 1]),
        Zeros => vec![0; whole.len().max(1)],
        NotText => vec![0xff; 64],
        Garbage => b"no record\n".to_vec(),
        Torn => [whole, b"{\"v\":1,\"seq"].concat(),
        OneLineMore => [whole, b"{}\n"].concat(),
        NextVersion => text.replacen("\"v\": 1", "\"v\": 2", 1).into_bytes(),
        UnknownKey => text.replacen('{', "{ \"more\": 1,", 1).into_bytes(),
        FirstLineEdited => text.replacen("accepted", "acceptee", 1).into_bytes(),
        LastLineEdited => {
            let (rest, last) = text.trim_end().rsplit_once('\n').unwrap();
            format!("{rest}\n{}\n", last.replacen("ended", "endee", 1)).into_bytes()
        }
        Swapped => joined(&[&lines[..2], &[lines[3], lines[2]], &lines[4..]].concat()),
        Directory => {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
            return;
        }
        Unreadable => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o0)).unwrap();
            chown(path, Some(0), Some(0)).unwrap();
            return;
        }
        Gone => return fs::remove_file(path).unwrap(),
    };
    assert_ne!(new, whole, "{how:?} changes nothing in {}", path.display());
    fs::write(path, new).unwrap();
}

fn mend(path: &PathBuf, whole: &[u8]) {
    let _ = fs::remove_dir(path);
    fs::write(path, whole).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    chown(path, Some(crate::pid1::NIXGATE), Some(crate::pid1::NIXGATE)).unwrap();
}
