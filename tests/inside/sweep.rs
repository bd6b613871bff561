//! Errors of the kernel: each call of the worker's main thread that touches the state, the log or the audit log fails
//! once, with each errno. Which calls there are is read from a trace without a fault; a run counts if strace says that
//! it injected.

use crate::bench::Bench;
use crate::product::{Case, Inject};
use crate::scenario::{SCENARIOS, Scenario};
use crate::wire::Call;
use std::collections::BTreeMap;

/// What a full, broken or busy host answers.
pub const ERRORS: [&str; 4] = ["ENOSPC", "EIO", "EMFILE", "EINTR"];

/// Every call that changes a file or its durability, opens one or asks about one. Not read and getdents64: how many there
/// are of them depends on the processes that are looked at meanwhile.
pub const CALLS: &str = "openat,write,fsync,fdatasync,rename,ftruncate,fallocate,mkdir,unlink,unlinkat,flock,lseek,statx,newfstatat,fstat,sync";
/// Those of them that CI lets fail.
const IN_CI: [&str; 7] = ["write", "fsync", "fdatasync", "rename", "ftruncate", "mkdir", "statx"];

/// A call: its name, and which of that name in the thread it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub call: String,
    pub number: usize,
}

/// What belongs to the state: not the source's repository, nor what Nix keeps.
fn is_ours(line: &str) -> bool {
    let below = |name: &str| line.contains(&format!("/var/lib/nixgate/{name}"));
    ["state", "jobs", "audit", "lock", "reserve"].iter().any(|name| below(name))
}

pub fn cases(scenario: &Scenario, template: &Bench, errors: &[&'static str]) -> Vec<Case> {
    let mut places = places(scenario, template);
    places.retain(|place| errors == ERRORS || IN_CI.contains(&place.call.as_str()));
    let case = |place: &Place, error: &'static str| Case {
        scenario: *scenario,
        state: "each".to_owned(),
        what: format!("{error} of {} number {}", place.call, place.number),
        inject: Inject::Errno(place.clone(), error),
        expected: vec!["none", "refused", "reverted", scenario.result],
    };
    places
        .iter()
        .flat_map(|place| errors.iter().map(|error| case(place, error)).collect::<Vec<_>>())
        .collect()
}

fn places(scenario: &Scenario, template: &Bench) -> Vec<Place> {
    let (bench, _) = scenario.stage(template);
    bench.plan(&scenario.hooks());
    let trace = ["-y".to_owned(), "-e".to_owned(), format!("trace={CALLS}")];
    scenario.work(&bench, &trace);
    bench.call(&Call::AwaitStop);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut places = Vec::new();
    for line in bench.read("trace").lines() {
        let Some((call, _)) = line.split_once('(') else { continue };
        let number = counts.entry(call.to_owned()).or_default();
        *number += 1;
        // What found nothing to open needs no other error.
        if is_ours(line) && !line.contains("= -1 ENOENT") {
            places.push(Place { call: call.to_owned(), number: *number });
        }
    }
    assert!(places.len() > 50, "a trace without a state: {}", bench.read("trace"));
    places
}

/// In CI: what a deploy that works and one that does not would meet on a full or broken disk.
pub fn chosen(all: bool) -> Vec<(Scenario, &'static [&'static str])> {
    let named = |names: &[&str]| -> Vec<Scenario> {
        SCENARIOS.into_iter().filter(|scenario| names.contains(&scenario.name)).collect()
    };
    if all {
        let names = [
            "switch",
            "switch, activation fails",
            "test",
            "boot",
            "rollback",
            "recovery of a trial",
            "recovery of a loader",
        ];
        return named(&names).into_iter().map(|scenario| (scenario, &ERRORS[..])).collect();
    }
    named(&["switch"]).into_iter().map(|scenario| (scenario, &ERRORS[..1])).collect()
}
