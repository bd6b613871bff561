//! A file system that keeps nothing but what was synced, and of the rest whatever it likes, in any order.
//!
//! What the worker's main thread does to the files of the state is read from a trace of it. After each operation the
//! power may go: then a file has the content of its last fsync and any part of what was written since, and a directory
//! has the names of its last fsync and any of the changes since. Recovery runs on each different result, on a host whose
//! pointers are those of that moment. Root's pointers are not part of it: the job calls sync(2) behind each of them.

use crate::bench::Bench;
use crate::product::{Case, Inject, row};
use crate::scenario::{SCENARIOS, Scenario};
use crate::verdict::{Before, audit, judge};
use crate::wire::{Act, At, Call, Hook, When};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const STATE: &str = "/var/lib/nixgate/";

/// What is on a disk: directories and files, below the state.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    directories: BTreeSet<String>,
    files: BTreeMap<String, Vec<u8>>,
}

/// An image to recover from, and the host that it is on.
#[derive(Debug, Clone)]
pub struct Lost {
    host: Arc<(Bench, Before)>,
    image: Arc<Image>,
}

/// A change that is not on disk yet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Name(Name),
    Data { inode: usize, at: Option<u64>, bytes: Vec<u8> },
    Length { inode: usize, length: usize },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Made(String, usize),
    Directory(String),
    Moved(String, String),
    Gone(String),
}

impl Name {
    /// The directory whose fsync makes it last.
    fn parent(&self) -> &Path {
        let (Self::Made(path, _) | Self::Directory(path) | Self::Moved(_, path) | Self::Gone(path)) = self;
        Path::new(path).parent().unwrap()
    }
}

#[derive(Debug, Clone, Default)]
struct Disk {
    directories: BTreeSet<String>,
    names: BTreeMap<String, usize>,
    contents: Vec<Vec<u8>>,
}

impl Image {
    /// How many whole lines.
    fn lines(&self, name: &str) -> usize {
        self.files.get(name).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count())
    }
    /// What each record says.
    fn states<'i>(&'i self) -> Vec<(&'i str, String)> {
        let records = self.files.iter().filter(|(name, _)| name.ends_with("/record"));
        let state = |(name, text): (&'i String, &'i Vec<u8>)| {
            let record: Value = serde_json::from_slice(text).ok()?;
            Some((name.as_str(), record["state"].as_str()?.to_owned()))
        };
        records.filter_map(state).collect()
    }
}

impl Disk {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Name(Name::Made(path, inode)) => drop(self.names.insert(path.clone(), *inode)),
            Change::Name(Name::Directory(path)) => drop(self.directories.insert(path.clone())),
            Change::Name(Name::Gone(path)) => drop(self.names.remove(path)),
            Change::Name(Name::Moved(from, to)) => {
                if let Some(inode) = self.names.remove(from) {
                    self.names.insert(to.clone(), inode);
                }
            }
            Change::Data { inode, at, bytes } => {
                let content = &mut self.contents[*inode];
                let at = at.map_or(content.len(), |at| usize::try_from(at).unwrap());
                content.resize(content.len().max(at + bytes.len()), 0);
                content[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Change::Length { inode, length } => self.contents[*inode].resize(*length, 0),
        }
    }

    /// A name in a directory that is not there is not there either.
    fn image(&self) -> Image {
        let there = |path: &String| {
            Path::new(path).ancestors().skip(1).all(|above| {
                above.as_os_str().is_empty() || self.directories.contains(above.to_str().unwrap())
            })
        };
        let files = self.names.iter().filter(|(path, _)| there(path));
        Image {
            directories: self.directories.clone(),
            files: files.map(|(path, inode)| (path.clone(), self.contents[*inode].clone())).collect(),
        }
    }
}

/// The disk, and what is on its way to it.
#[derive(Debug, Default)]
struct Model {
    durable: Disk,
    pending: Vec<Change>,
    /// As programs see it.
    seen: Disk,
    /// Inode and place of each descriptor; no place: it appends.
    open: BTreeMap<String, (usize, Option<u64>)>,
}

impl Model {
    fn of(bench: &Bench) -> Self {
        let mut disk = Disk::default();
        let root = bench.path(STATE);
        let mut open: Vec<PathBuf> = ["jobs", "audit"].iter().map(|name| root.join(name)).collect();
        open.push(root.join("state.json"));
        while let Some(path) = open.pop() {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
                disk.directories.insert(name);
            } else if let Ok(content) = fs::read(&path) {
                disk.names.insert(name, disk.contents.len());
                disk.contents.push(content);
            }
        }
        Self { seen: disk.clone(), durable: disk, ..Self::default() }
    }

    fn change(&mut self, change: Change) {
        self.seen.apply(&change);
        self.pending.push(change);
    }

    fn sync(&mut self, is_synced: impl Fn(&Change) -> bool) {
        let (now, later) = std::mem::take(&mut self.pending).into_iter().partition(is_synced);
        let now: Vec<Change> = now;
        now.iter().for_each(|change| self.durable.apply(change));
        self.pending = later;
    }

    /// One line of the trace.
    fn operation(&mut self, line: &str) {
        let Some((call, rest)) = line.split_once('(') else { return };
        let Some((_, result)) = rest.rsplit_once(" = ") else { return };
        if result.starts_with('-') {
            return;
        }
        let words: Vec<String> = rest.split('"').skip(1).step_by(2).map(text).collect();
        let ours = |path: &str| path.strip_prefix(STATE).filter(|name| is_modelled(name)).map(str::to_owned);
        let descriptor = || rest.split('<').next().unwrap().to_owned();
        match call {
            "open" | "openat" => {
                let descriptor = result.split('<').next().unwrap().to_owned();
                self.open.remove(&descriptor);
                if let Some(path) = ours(&words[0]).filter(|path| !self.seen.directories.contains(path)) {
                    self.opened(path, rest, descriptor);
                }
            }
            "write" => {
                let bytes = bytes(rest.split('"').nth(1).unwrap_or_default());
                if let Some((inode, at)) = self.open.get_mut(&descriptor()) {
                    let (inode, from) = (*inode, *at);
                    *at = at.map(|at| at + bytes.len() as u64);
                    self.change(Change::Data { inode, at: from, bytes });
                }
            }
            "ftruncate" => {
                let length =
                    rest.split(", ").nth(1).and_then(|n| n.split(')').next()).and_then(|n| n.parse().ok());
                if let (Some((inode, _)), Some(length)) = (self.open.get(&descriptor()).copied(), length) {
                    self.change(Change::Length { inode, length });
                }
            }
            "fsync" | "fdatasync" => {
                let path = text(rest.split(['<', '>']).nth(1).unwrap());
                match self.open.get(&descriptor()).copied() {
                    Some((synced, _)) => self.sync(|change| match change {
                        Change::Data { inode, .. } | Change::Length { inode, .. } => *inode == synced,
                        Change::Name(_) => false,
                    }),
                    None => {
                        let directory = path.strip_prefix(STATE).unwrap_or_default();
                        let is = path.starts_with(STATE.trim_end_matches('/'));
                        self.sync(|change| {
                            matches!(change, Change::Name(name) if is && name.parent() == Path::new(directory))
                        });
                    }
                }
            }
            "rename" => {
                if let (Some(from), Some(to)) = (ours(&words[0]), ours(&words[1])) {
                    self.change(Change::Name(Name::Moved(from, to)));
                }
            }
            "unlink" => {
                ours(&words[0]).into_iter().for_each(|path| self.change(Change::Name(Name::Gone(path))))
            }
            "mkdir" => {
                ours(&words[0]).into_iter().for_each(|path| self.change(Change::Name(Name::Directory(path))))
            }
            "sync" => self.sync(|_| true),
            _ => {}
        }
    }

    fn opened(&mut self, path: String, flags: &str, descriptor: String) {
        let known = self.seen.names.get(&path).copied();
        if known.is_none() && !flags.contains("O_CREAT") {
            return;
        }
        let inode = known.unwrap_or(self.seen.contents.len());
        if known.is_none() {
            self.seen.contents.push(Vec::new());
            self.durable.contents.push(Vec::new());
            self.change(Change::Name(Name::Made(path, inode)));
        } else if flags.contains("O_TRUNC") {
            self.change(Change::Length { inode, length: 0 });
        }
        let at = (!flags.contains("O_APPEND")).then_some(0);
        self.open.insert(descriptor, (inode, at));
    }

    /// What may be on disk if the power goes now.
    fn images(&self) -> BTreeSet<Image> {
        let is_log = |change: &&Change| match change {
            Change::Data { inode, .. } => {
                self.seen.names.iter().any(|(path, own)| own == inode && path.ends_with("/log"))
            }
            _ => false,
        };
        let single: Vec<usize> = (0..self.pending.len()).filter(|n| !is_log(&&self.pending[*n])).collect();
        let with = |chosen: &dyn Fn(usize) -> bool| {
            let mut disk = self.durable.clone();
            let kept = self.pending.iter().enumerate().filter(|(n, _)| chosen(*n));
            kept.for_each(|(_, change)| disk.apply(change));
            disk.image()
        };
        let is_name = |n: usize| matches!(self.pending[n], Change::Name(_));
        let mut images =
            BTreeSet::from([with(&|_| false), with(&|_| true), with(&is_name), with(&|n| !is_name(n))]);
        for n in single {
            images.insert(with(&|m| m != n));
            images.insert(with(&|m| m == n));
            images.insert(with(&|m| m <= n));
            images.extend(self.torn(n));
        }
        images
    }

    /// All of it, and half of one write; or its length without its bytes, as a journal leaves it.
    fn torn(&self, torn: usize) -> Vec<Image> {
        let Change::Data { inode, at, bytes } = &self.pending[torn] else { return Vec::new() };
        let half = bytes[..bytes.len() / 2].to_vec();
        [half, vec![0; bytes.len()]]
            .into_iter()
            .map(|bytes| {
                let mut disk = self.durable.clone();
                for (n, change) in self.pending.iter().enumerate() {
                    let part = Change::Data { inode: *inode, at: *at, bytes: bytes.clone() };
                    disk.apply(if n == torn { &part } else { change });
                }
                disk.image()
            })
            .collect()
    }
}

/// The reserve is room and nothing else; what git and Nix keep is not the state's.
fn is_modelled(name: &str) -> bool {
    name.starts_with("state") || name.starts_with("jobs/") || name.starts_with("audit/")
}

/// strace -xx: `\x2f\x76…`
fn bytes(hex: &str) -> Vec<u8> {
    hex.split("\\x").skip(1).map(|byte| u8::from_str_radix(&byte[..2], 16).unwrap()).collect()
}
fn text(hex: &str) -> String {
    String::from_utf8(bytes(hex)).unwrap()
}

/// The scenarios whose every operation is followed by a loss.
pub fn chosen(all: bool) -> Vec<Scenario> {
    let names: &[&str] = match all {
        true => &[
            "switch",
            "switch, activation fails",
            "test",
            "boot",
            "rollback",
            "fetch",
            "recovery of a trial",
            "recovery of a loader",
        ],
        false => &["switch"],
    };
    SCENARIOS.into_iter().filter(|scenario| names.contains(&scenario.name)).collect()
}

pub fn cases(scenario: &Scenario, template: &Bench) -> Vec<Case> {
    let (bench, _) = scenario.stage(template);
    bench.plan(&scenario.hooks());
    let known = audit(&bench).len();
    let mut model = Model::of(&bench);
    let calls = "trace=open,openat,write,rename,fsync,fdatasync,ftruncate,unlink,mkdir,sync";
    let trace = ["-y", "-xx", "-s", "1000000", "-ttt", "-e", calls].map(str::to_owned);
    scenario.work(&bench, &trace);
    bench.call(&Call::AwaitStop);
    let ends: Vec<(f64, usize)> = bench.read("events").lines().filter_map(end).collect();
    let mut hosts: BTreeMap<usize, Arc<(Bench, Before)>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut cases = Vec::new();
    for (number, line) in bench.read("trace").lines().enumerate() {
        let Some((time, line)) = line.split_once(' ') else { continue };
        let time: f64 = time.parse().unwrap();
        let effects =
            ends.iter().filter(|(end, _)| *end <= time).map(|(_, number)| *number).max().unwrap_or(0);
        model.operation(line);
        for image in model.images() {
            if !seen.insert((effects, image.clone())) {
                continue;
            }
            let host =
                hosts.entry(effects).or_insert_with(|| Arc::new(host_after(scenario, template, effects)));
            let call = line.split('(').next().unwrap_or_default();
            cases.push(Case {
                scenario: *scenario,
                state: "disk".to_owned(),
                what: format!("loss {} at operation {number}, {call}, behind effect {effects}", cases.len()),
                inject: Inject::Lost(Lost { host: host.clone(), image: Arc::new(image) }),
                expected: vec!["none", "refused", "reverted", "committed", scenario.result],
            });
        }
    }
    assert_eq!(
        model.seen.image(),
        Model::of(&bench).seen.image(),
        "{}: the model lost its way",
        scenario.name
    );
    covers(scenario, &audit(&bench), known, &seen.into_iter().map(|(_, image)| image).collect::<Vec<_>>());
    cases
}

/// Each event that the worker wrote is the last one of a log that a loss left, and each state is that of a record. Both
/// are asked of the files that it left, not of the trace.
fn covers(scenario: &Scenario, events: &[Value], known: usize, images: &[Image]) {
    let ends: BTreeSet<usize> = images.iter().map(|image| image.lines("audit/log.jsonl")).collect();
    let says: BTreeSet<(&str, String)> = images.iter().flat_map(Image::states).collect();
    assert!(events.len() > known, "{}: a worker that writes nothing", scenario.name);
    for (index, event) in events.iter().enumerate().skip(known) {
        let name = event["event"].as_str().unwrap();
        assert!(ends.contains(&(index + 1)), "{}: no loss behind event {name}", scenario.name);
        if row(name).is_some() {
            let record = format!("jobs/{}/record", event["job"].as_str().unwrap());
            let is = says.contains(&(record.as_str(), name.to_owned()));
            assert!(is, "{}: no loss behind state {name}", scenario.name);
        }
    }
}

/// `moment N After TIME`
fn end(line: &str) -> Option<(f64, usize)> {
    let words: Vec<&str> = line.strip_prefix("moment ")?.split(' ').collect();
    (words[1] == "After").then(|| Some((words[2].parse().ok()?, words[0].parse().ok()?)))?
}

/// The host whose power went when the n-th effect was over.
fn host_after(scenario: &Scenario, template: &Bench, effects: usize) -> (Bench, Before) {
    let (mut bench, before) = scenario.stage(template);
    let mut hooks = scenario.hooks();
    hooks.insert(0, Hook { at: At::Nth(effects), when: When::After, act: Act::PowerCut });
    bench.plan(&hooks);
    if effects == 0 {
        bench.power_cut();
    } else {
        let answer = scenario.work(&bench, &[]);
        assert!(
            answer.is_none(),
            "{}: effect {effects} did not come\n{}",
            scenario.name,
            bench.read("events")
        );
        bench.await_end();
    }
    (bench, before)
}

pub fn run(lost: &Lost) -> Result<String, String> {
    let (host, before) = &*lost.host;
    let mut bench = host.copy();
    bench.ended = host.ended;
    let root = bench.path(STATE);
    for name in ["jobs", "audit"] {
        fs::remove_dir_all(root.join(name)).unwrap();
    }
    let _ = fs::remove_file(root.join("state.json"));
    let owned = |path: &Path| chown(path, Some(crate::pid1::NIXGATE), Some(crate::pid1::NIXGATE)).unwrap();
    for name in &lost.image.directories {
        fs::create_dir_all(root.join(name)).unwrap();
        owned(&root.join(name));
    }
    for (name, content) in &lost.image.files {
        fs::write(root.join(name), content).unwrap();
        owned(&root.join(name));
    }
    bench.boot();
    let jobs = lost.image.directories.iter().filter(|name| name.starts_with("jobs/")).count();
    let outcome = judge(&mut bench, before, None);
    outcome
        .map(|seen| seen.to_string())
        .map_err(|why| format!("{why} ({jobs} jobs)\n{}", bench.read("programs.log")))
}
