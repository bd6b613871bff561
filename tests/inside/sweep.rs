//! Errors of the kernel: each call of the worker's main thread that touches the state, the log or the audit log fails
//! once, with each errno. Which calls there are is read from a trace without a fault; a run counts if strace says that
//! it injected.

use crate::bench::Bench;
use crate::product::{Case, Inject};
use crate::scenario::{SCENARIOS, Scenario};
use crate::wire::Call;
use std::collections::BTreeMap;

/// What a full, broken or busy host answers.
const ERRORS: [&str; 4] = ["ENOSPC", "EIO", "EMFILE", "EINTR"];

/// Every call that changes a file or its durability, opens one or asks about one. Not read and getdents64: how many there
/// are of them depends on the processes that are looked at meanwhile. glibc and musl have different words for some.
const CALLS: &str = "open,openat,write,fsync,fdatasync,rename,ftruncate,fallocate,mkdir,unlink,unlinkat,rmdir,flock,lseek,statx,stat,lstat,newfstatat,fstat,sync";
/// Those of them that CI lets fail, and how. The reserve makes good for ENOSPC; what ends with an EIO is left to recovery.
const IN_CI: [(&str, &[&str]); 9] = [
    ("write", &["ENOSPC"]),
    ("fsync", &["ENOSPC"]),
    ("fdatasync", &["ENOSPC", "EIO"]),
    ("rename", &["ENOSPC", "EIO"]),
    ("ftruncate", &["ENOSPC"]),
    ("mkdir", &["ENOSPC"]),
    ("statx", &["ENOSPC"]),
    ("stat", &["ENOSPC"]),
    ("fstat", &["ENOSPC"]),
];

/// Which calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Each with each errno.
    All,
    InCi,
}

impl Which {
    fn errors(self, call: &str) -> &'static [&'static str] {
        match self {
            Self::All => &ERRORS,
            Self::InCi => IN_CI.iter().find(|(name, _)| *name == call).map_or(&[], |(_, errors)| errors),
        }
    }
}

/// A call: its name, which of that name in the thread it is, and which of those that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub call: String,
    pub number: usize,
    ours: usize,
}

impl Place {
    /// Where the same call was in another run: how many there are before it depends on the processes that the worker
    /// looks at. `None`: it was not made.
    pub fn again(&self, trace: &str) -> Option<Self> {
        places(trace).into_iter().find(|place| place.call == self.call && place.ours == self.ours)
    }
}

/// What belongs to the state: not the source's repository, nor what Nix keeps.
fn is_ours(line: &str) -> bool {
    let below = |name: &str| line.contains(&format!("/var/lib/nixgate/{name}"));
    ["state", "jobs", "audit", "lock", "reserve"].iter().any(|name| below(name))
}

/// Whether one of those calls was made to fail.
pub fn was_met(trace: &str) -> bool {
    trace.lines().any(|line| line.ends_with("(INJECTED)") && is_ours(line))
}

pub fn cases(scenario: &Scenario, template: &Bench, which: Which) -> Vec<Case> {
    let case = |place: &Place, error: &'static str| Case {
        scenario: *scenario,
        state: "each".to_owned(),
        what: format!("{error} of {} number {}", place.call, place.number),
        inject: Inject::Errno(place.clone(), error),
        expected: vec!["none", "refused", "reverted", scenario.result],
    };
    let places = places(&traced(scenario, template));
    let all =
        places.iter().flat_map(|place| which.errors(&place.call).iter().map(move |error| (place, error)));
    all.map(|(place, error)| case(place, error)).collect()
}

fn traced(scenario: &Scenario, template: &Bench) -> String {
    let (bench, _) = scenario.stage(template);
    bench.plan(&scenario.hooks());
    let trace = ["-y".to_owned(), "-e".to_owned(), format!("trace={CALLS}")];
    scenario.work(&bench, &trace);
    bench.call(&Call::AwaitStop);
    let trace = bench.read("trace");
    assert!(places(&trace).len() > 50, "a trace without a state: {trace}");
    trace
}

fn places(trace: &str) -> Vec<Place> {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut places = Vec::new();
    for line in trace.lines() {
        let Some((call, _)) = line.split_once('(') else { continue };
        let (number, ours) = counts.entry(call).or_default();
        *number += 1;
        // What found nothing to open needs no other error.
        if is_ours(line) && !line.contains("= -1 ENOENT") {
            *ours += 1;
            places.push(Place { call: call.to_owned(), number: *number, ours: *ours });
        }
    }
    places
}

/// In CI: what a deploy that works and one that does not would meet on a full or broken disk.
pub fn chosen(all: bool) -> Vec<(Scenario, Which)> {
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
        return named(&names).into_iter().map(|scenario| (scenario, Which::All)).collect();
    }
    named(&["switch"]).into_iter().map(|scenario| (scenario, Which::InCi)).collect()
}
