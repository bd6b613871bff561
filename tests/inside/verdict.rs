//! What has to hold after every run, whatever happened in it: the host is the old or the new system, whole; it boots
//! one of them; nixgate says which; nothing is left over; and the next deploy works.

use crate::bench::{Bench, CONFIG, Pointers};
use crate::standin::system;
use crate::wire::{Account, Call, Reply};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How a job ended, by its last event in the audit log, and what the host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `none`: no job has begun.
    pub result: String,
    pub code: i64,
    pub is: Is,
}

/// Which of the two systems a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    Old,
    New,
    /// It runs the old one, and boots the new one: after `boot`.
    BootsNew,
    /// It runs the new one, and boots the old one: after `test`.
    RunsNew,
    /// Half of something.
    Neither,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}), {:?}", self.result, self.code, self.is)
    }
}

/// Before the fault.
#[derive(Debug, Clone)]
pub struct Before {
    pub pointers: Pointers,
    pub new: PathBuf,
    /// The commit that becomes the anchor.
    pub commit: Option<String>,
    pub anchor: Value,
    pub jobs: usize,
    pub writes: Writes,
}

/// Whether a last word may be missing, because what it was written to failed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    Work,
    MayFail,
}

type Checked<T> = Result<T, String>;

fn must(holds: bool, what: impl FnOnce() -> String) -> Checked<()> {
    if holds { Ok(()) } else { Err(what()) }
}

pub fn json(bench: &Bench, name: &str) -> Value {
    serde_json::from_str(&bench.read(name)).unwrap_or(Value::Null)
}

pub fn audit(bench: &Bench) -> Vec<Value> {
    let text = bench.read("var/lib/nixgate/audit/log.jsonl");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

pub fn jobs(bench: &Bench) -> Vec<String> {
    let entries = fs::read_dir(bench.path("var/lib/nixgate/jobs")).unwrap().flatten();
    let mut jobs: Vec<String> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
    jobs.sort_by_key(|job| job.split('-').next().unwrap().parse::<u32>().unwrap());
    jobs
}

const RECOVER: [&str; 4] = ["/usr/bin/nixgate-job", "recover", "--platform", "fhs"];

fn run(bench: &Bench, account: Account, words: &[&str]) -> Checked<Reply> {
    let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    bench.call(&Call::Run(account, words, Vec::new())).ok_or_else(|| "the host went down".to_owned())
}

/// All of it. The answer is that of the one who asked, where it was given.
pub fn judge(bench: &mut Bench, before: &Before, answer: Option<&Reply>) -> Checked<Seen> {
    recovers(bench)?;
    must(bench.read("unknown").is_empty(), || bench.read("unknown"))?;
    let left = bench.call(&Call::Units).ok_or("down")?.out;
    let seen = seen(bench, before)?;
    must(left.is_empty() || seen.result == "needs-operator", || format!("left over: {left}"))?;
    consistent(bench, before, &seen)?;
    let verified = run(bench, Account::Root, &["/usr/bin/nixgatectl", "audit", "verify"])?;
    must(verified.code == 0, || format!("audit log: {}", verified.err))?;
    says_the_truth(bench, &seen)?;
    if let Some(answer) = answer {
        answered_truly(answer, &seen)?;
    }
    if seen.result != "needs-operator" {
        next_deploy_works(bench)?;
    }
    Ok(seen)
}

/// Recovery has nothing left to do, and doing it again changes nothing.
fn recovers(bench: &mut Bench) -> Checked<()> {
    bench.call(&Call::Idle);
    if bench.call(&Call::Units).is_none() {
        bench.boot_again();
        bench.call(&Call::Idle).ok_or("recovery takes the host down again")?;
    }
    let first = run(bench, Account::Nixgate, &RECOVER)?;
    must(first.code == 0, || format!("recovery fails: {}", first.err))?;
    let once = snapshot(bench);
    let second = run(bench, Account::Nixgate, &RECOVER)?;
    must(second.code == 0, || format!("the second recovery fails: {}", second.err))?;
    let twice = snapshot(bench);
    let differs = |path: &&PathBuf| once.get(*path) != twice.get(*path);
    let changed: Vec<_> = once.keys().chain(twice.keys()).filter(differs).collect();
    must(changed.is_empty(), || format!("the second recovery changed {changed:?}"))
}

/// Files with what is in them, links with where they lead.
pub fn snapshot(bench: &Bench) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> =
        ["var/lib/nixgate", "nix/var", "boot"].iter().map(|name| bench.path(name)).collect();
    while let Some(path) = open.pop() {
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
            found.insert(path, target);
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn seen(bench: &Bench, before: &Before) -> Checked<Seen> {
    let is = which(&bench.pointers(), before);
    let state = json(bench, "var/lib/nixgate/state.json");
    must(state["job"].is_null(), || format!("state.json still names {}", state["job"]))?;
    let none = || Seen { result: "none".to_owned(), code: 0, is };
    let new_jobs = jobs(bench).split_off(before.jobs);
    must(new_jobs.len() <= 1, || format!("{new_jobs:?}"))?;
    let Some(job) = new_jobs.first() else { return Ok(none()) };
    let file = |name: &str| json(bench, &format!("var/lib/nixgate/jobs/{job}/{name}"));
    let events = audit(bench);
    // A record that nothing names was never announced.
    if !events.iter().any(|e| e["job"] == **job) {
        return Ok(none());
    }
    let ends: Vec<&Value> = events.iter().filter(|e| e["job"] == **job && e["event"] == "ended").collect();
    let result = file("result");
    let end = match ends[..] {
        [end] => end,
        _ => return Err(format!("{} ends of {job} in the audit log", ends.len())),
    };
    let state = file("record")["state"].as_str().unwrap_or_default().to_owned();
    let ended = ["committed", "kept", "done", "reverted", "refused", "needs-operator"];
    let is_end = ended.contains(&state.as_str()) || before.writes == Writes::MayFail;
    must(is_end, || format!("the record of {job} says {state}"))?;
    let code = end["detail"]["code"].as_str().and_then(|c| c.parse().ok()).unwrap_or(-1);
    must(result["code"] == code, || format!("the result of {job} says {result}, the audit log {code}"))?;
    Ok(Seen { result: end["detail"]["result"].as_str().unwrap_or_default().to_owned(), code, is })
}

fn which(now: &Pointers, before: &Before) -> Is {
    let old = &before.pointers;
    let whole = now.running == now.services && now.profile == now.default;
    match (&now.running, &now.default) {
        _ if !whole => Is::Neither,
        (runs, boots) if *runs == old.running && *boots == old.default => Is::Old,
        (runs, boots) if *runs == before.new && *boots == before.new => Is::New,
        (runs, boots) if *runs == old.running && *boots == before.new => Is::BootsNew,
        (runs, boots) if *runs == before.new && *boots == old.default => Is::RunsNew,
        _ => Is::Neither,
    }
}

/// What was said is what is there.
fn consistent(bench: &Bench, before: &Before, seen: &Seen) -> Checked<()> {
    let wrong = || format!("said {}, and is {:?}: {:?}", seen.result, seen.is, bench.pointers());
    let rebooted = bench.ended.is_some();
    let fits = match seen.result.as_str() {
        "committed" => seen.is == Is::New || (seen.is == Is::BootsNew && !rebooted),
        "kept" => seen.is == if rebooted { Is::Old } else { Is::RunsNew },
        "needs-operator" => true,
        _ => seen.is == Is::Old,
    };
    must(fits, wrong)?;
    let now = bench.pointers();
    must(seen.is != Is::Neither || seen.result == "needs-operator", wrong)?;
    let same = now.generation == before.pointers.generation;
    must(same || matches!(seen.result.as_str(), "committed" | "reverted" | "needs-operator"), wrong)?;
    let anchor = &json(bench, "var/lib/nixgate/state.json")["anchor"];
    match (&before.commit, seen.result.as_str()) {
        (Some(commit), "committed") => {
            must(*anchor == **commit, || format!("committed, and the anchor is {anchor}"))
        }
        _ => must(*anchor == before.anchor, || format!("{}, and the anchor is {anchor}", seen.result)),
    }
}

/// `status` is as the host is, and `attach` gives the verdict.
fn says_the_truth(bench: &Bench, seen: &Seen) -> Checked<()> {
    let status = bench.ssh("status --json").ok_or("down")?;
    must(status.code == 0, || format!("status: {} {}", status.code, status.err))?;
    let said: Value = serde_json::from_str(&status.out).map_err(|error| error.to_string())?;
    let now = bench.pointers();
    for (key, path) in [("running", &now.running), ("profile", &now.profile), ("default", &now.default)] {
        must(said[key] == *path.to_string_lossy(), || format!("status says {key} {}", said[key]))?;
    }
    must(said["job"].is_null() && said["problem"].is_null(), || {
        format!("status: {} {}", said["job"], said["problem"])
    })?;
    if seen.result == "none" {
        return Ok(());
    }
    let job = jobs(bench).pop().unwrap();
    let attached = bench.ssh(&format!("attach {job}")).ok_or("down")?;
    must(i64::from(attached.code) == seen.code, || {
        format!("attach ends with {}, and not {seen}", attached.code)
    })
}

/// Whoever asked was told how it ended, or that nobody knows yet.
fn answered_truly(answer: &Reply, seen: &Seen) -> Checked<()> {
    let wrong = || {
        format!("answered {} ({}), and is {seen}", answer.code, answer.err.lines().last().unwrap_or_default())
    };
    match answer.code {
        70 => must(
            answer.err.contains("may still be running") || answer.err.contains("hung up") || seen.code == 70,
            wrong,
        ),
        74 if seen.result == "none" => Ok(()),
        code => must(i64::from(code) == seen.code, wrong),
    }
}

fn next_deploy_works(bench: &mut Bench) -> Checked<()> {
    bench.plan(&[]);
    bench.push(4);
    bench.write("etc/nixgate/config.toml", CONFIG);
    let answer = bench.ssh("switch").ok_or("the next deploy takes the host down")?;
    let why = || format!("the next deploy: {} {}", answer.code, answer.err);
    must(answer.code == 0, why)?;
    let now = bench.pointers();
    let new = PathBuf::from(system(4));
    must([&now.running, &now.services, &now.profile, &now.default].iter().all(|p| **p == new), || {
        format!("{now:?}")
    })?;
    bench.call(&Call::Idle).ok_or("down")?;
    let left = bench.call(&Call::Units).ok_or("down")?.out;
    must(left.is_empty(), || format!("the next deploy leaves {left}"))
}

pub fn before(bench: &Bench, new: &str, commit: Option<String>) -> Before {
    Before {
        pointers: bench.pointers(),
        new: Path::new(new).to_owned(),
        commit,
        anchor: json(bench, "var/lib/nixgate/state.json")["anchor"].clone(),
        jobs: jobs(bench).len(),
        writes: Writes::Work,
    }
}
