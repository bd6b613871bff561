//! What is asked of a host, and how that goes: every state of `STATES` is reached by one of these.

use crate::bench::Bench;
use crate::standin::system;
use crate::verdict::{Before, before};
use crate::wire::{Account, Act, At, Call, Hook, OnFailure, Reply, When};
use nixgate::act::watch::Watch;
use std::time::Duration;

/// Who works on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The job that was asked for.
    Job,
    /// Recovery, of a job that died at this moment of this effect.
    Recovery(&'static str, When),
}

#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub request: &'static str,
    pub work: Work,
    /// What goes wrong in it without any fault of the exam's.
    pub fails: &'static [(&'static str, When, Act)],
    /// The commit that the branch is at, and the system that the job would make of it.
    pub tip: usize,
    pub new: usize,
    /// What its end is called: `result` of the last line.
    pub result: &'static str,
    pub confirm: Confirm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    No,
    /// Somebody says `confirm`.
    Said,
}

const SWITCH: Scenario = Scenario {
    name: "switch",
    request: "switch",
    work: Work::Job,
    fails: &[],
    tip: 3,
    new: 3,
    result: "committed",
    confirm: Confirm::No,
};

const fn recovery(name: &'static str, effect: &'static str, when: When, result: &'static str) -> Scenario {
    Scenario { name, work: Work::Recovery(effect, when), result, ..SWITCH }
}

pub const SCENARIOS: [Scenario; 16] = {
    use When::{After, Before, Middle};
    [
        SWITCH,
        Scenario { name: "switch, confirmed", confirm: Confirm::Said, ..SWITCH },
        Scenario { name: "switch, nothing new", tip: 2, new: 2, result: "unchanged", ..SWITCH },
        Scenario {
            name: "switch, refused",
            fails: &[("nix build", Before, Act::Refuse)],
            result: "refused",
            ..SWITCH
        },
        Scenario {
            name: "switch, activation fails",
            fails: &[("Trial", Middle, Act::FailHalf)],
            result: "reverted",
            ..SWITCH
        },
        Scenario {
            name: "switch, loader fails",
            fails: &[("Commit", Middle, Act::FailHalf)],
            result: "reverted",
            ..SWITCH
        },
        Scenario {
            name: "switch, revert fails",
            fails: &[
                ("Trial", Middle, Act::FailHalf),
                ("Revert", Middle, Act::FailHalf),
                ("Fired", Middle, Act::FailHalf),
                ("Restore", Middle, Act::FailHalf),
            ],
            result: "needs-operator",
            ..SWITCH
        },
        Scenario { name: "test", request: "test", result: "kept", ..SWITCH },
        Scenario { name: "boot", request: "boot", ..SWITCH },
        Scenario { name: "fetch", request: "fetch", result: "fetched", ..SWITCH },
        Scenario { name: "rollback", request: "rollback", new: 1, ..SWITCH },
        recovery("recovery of a build", "nix build", After, "refused"),
        recovery("recovery of a trial", "Trial", Middle, "reverted"),
        recovery("recovery before the profile", "Set", Middle, "committed"),
        recovery("recovery of a loader", "Commit", Middle, "committed"),
        recovery("recovery of a commit", "Commit", After, "committed"),
    ]
};

impl Scenario {
    /// What goes wrong in every run of it.
    pub fn hooks(&self) -> Vec<Hook> {
        let hook = |&(name, when, act): &(&str, When, Act)| Hook { at: At::Each(name.to_owned()), when, act };
        self.fails.iter().map(hook).collect()
    }

    /// A host on which it is about to begin.
    pub fn stage(&self, template: &Bench) -> (Bench, Before) {
        let mut bench = template.copy();
        bench.push(self.tip);
        if self.confirm == Confirm::Said {
            bench.configure("version = 1\n", "version = 1\n[confirm]\nswitch = \"required\"\n");
        }
        bench.boot();
        bench.call(&Call::Idle).unwrap();
        let forward = matches!(self.request, "switch" | "boot");
        let commit = (forward && self.result != "unchanged").then(|| bench.commit(self.tip));
        let before = before(&bench, &system(self.new), commit);
        if let Work::Recovery(effect, when) = self.work {
            bench.call(&Call::Recovery(OnFailure::Nothing)).unwrap();
            bench.plan(&[Hook { at: At::Next(effect.to_owned()), when, act: Act::KillJob }]);
            bench.ssh(self.request).unwrap();
            bench.call(&Call::Idle).unwrap();
            bench.call(&Call::Recovery(OnFailure::Recover)).unwrap();
        }
        std::fs::remove_file(bench.path("events")).unwrap();
        (bench, before)
    }

    /// Lets it work. `None`: the host went down.
    pub fn work(&self, bench: &Bench, trace: &[String]) -> Option<Reply> {
        match self.work {
            Work::Job => std::thread::scope(|scope| {
                let asked = scope.spawn(|| bench.call(&Call::Ssh(self.request.to_owned(), trace.to_vec())));
                if self.confirm == Confirm::Said {
                    say_confirm(bench, || asked.is_finished());
                }
                asked.join().unwrap_or_else(|why| std::panic::resume_unwind(why))
            }),
            Work::Recovery(..) => {
                let words = ["/usr/bin/nixgate-job", "recover", "--platform", "fhs"].map(str::to_owned);
                bench.call(&Call::Run(Account::Nixgate, words.to_vec(), trace.to_vec()))
            }
        }
    }
}

/// As soon as it is waited for.
fn say_confirm(bench: &Bench, over: impl Fn() -> bool) {
    let jobs = bench.path("var/lib/nixgate/jobs");
    let watch = Watch::new(&jobs).unwrap();
    let known = crate::verdict::jobs(bench).len();
    while !over() && crate::verdict::jobs(bench).len() == known {
        watch.wait(Duration::from_millis(200), None);
    }
    let job = crate::verdict::jobs(bench).pop().unwrap();
    let watch = Watch::new(&jobs.join(&job)).unwrap();
    while !over() {
        let record = crate::verdict::json(bench, &format!("var/lib/nixgate/jobs/{job}/record"));
        if record["confirm-by"].is_number() && record["state"] == "healthy" {
            // A connection of the same hundredth of a second proves nothing yet.
            if bench.ssh("confirm").is_none_or(|reply| reply.code != 77) {
                return;
            }
        }
        watch.wait(Duration::from_millis(200), None);
    }
}
