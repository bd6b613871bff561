//! Every state of every verb, times every fault: generated from the table of the states in the code.

use crate::bench::{Bench, Kind};
use crate::collector;
use crate::host::{Client, Commit};
use crate::process::{Inside, kill_all, kill_and_see};
use crate::table;
use crate::trap::{Moment, Trap};
use nixgate::decide::state::{Recovery, Row, STATES, State};

/// A way of a job through the states, in their order.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    name: &'static str,
    verb: &'static str,
    faults: &'static [&'static str],
    on: Kind,
    states: &'static [State],
    /// How it ends where nothing is injected.
    result: &'static str,
    code: i64,
}

#[rustfmt::skip]
const PATHS: [Path; 9] = {
    use State::*;
    const TRIED: [State; 11] = [Accepted, Fetched, Verified, Built, Checked, Armed, Trial, Healthy, Confirmed, Committing, Committed];
    const KEPT: [State; 10] = [Accepted, Fetched, Verified, Built, Checked, Armed, Trial, Healthy, Confirmed, Kept];
    const BACK: [State; 9] = [Accepted, Built, Checked, Armed, Trial, Healthy, Confirmed, Committing, Committed];
    [
        Path { name: "switch", verb: "switch", faults: &[], on: Kind::Usual, states: &TRIED, result: "committed", code: 0 },
        Path { name: "test", verb: "test", faults: &[], on: Kind::Usual, states: &KEPT, result: "kept", code: 0 },
        Path { name: "boot", verb: "boot", faults: &[], on: Kind::Usual, states: &[Accepted, Fetched, Verified, Built, Checked, Committing, Committed], result: "committed", code: 0 },
        Path { name: "rollback", verb: "rollback", faults: &[], on: Kind::Usual, states: &BACK, result: "committed", code: 0 },
        Path { name: "fetch", verb: "fetch", faults: &[], on: Kind::Usual, states: &[Accepted, Fetched, Verified, Built, Done], result: "fetched", code: 0 },
        Path { name: "switch, service-fails", verb: "switch", faults: &["service-fails"], on: Kind::Usual, states: &[Reverting, Reverted], result: "reverted", code: 21 },
        Path { name: "switch, boot-fails-late", verb: "switch", faults: &["boot-fails-late"], on: Kind::Usual, states: &[Reverting, Reverted], result: "reverted", code: 24 },
        Path { name: "switch, unsigned", verb: "switch", faults: &["unsigned"], on: Kind::Usual, states: &[Refused], result: "refused", code: 11 },
        Path { name: "switch, service-broken", verb: "switch", faults: &["service-broken"], on: Kind::Stay, states: &[NeedsOperator], result: "needs-operator", code: 30 },
    ]
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Job,
    Gate,
    Sshd,
    NixDaemon,
    /// Of a command that sudo is about to become.
    Sudo,
    SystemdRun,
    PowerCut,
    Garbage,
}

const FAULTS: [Fault; 8] = [
    Fault::Job,
    Fault::Gate,
    Fault::Sshd,
    Fault::NixDaemon,
    Fault::Sudo,
    Fault::SystemdRun,
    Fault::PowerCut,
    Fault::Garbage,
];

impl Fault {
    fn injected(self) -> &'static str {
        match self {
            Self::Job => "kill -9 of the job",
            Self::Gate => "kill -9 of the gate",
            Self::Sshd => "kill -9 of every sshd",
            Self::NixDaemon => "kill -9 of nix-daemon",
            Self::Sudo => "kill -9 of sudo",
            Self::SystemdRun => "kill -9 of systemd-run",
            Self::PowerCut => "power cut",
            Self::Garbage => "nix-collect-garbage -d",
        }
    }
    /// Where in a state it hits, or `None` where there is nothing that it could hit.
    fn moment(self, path: &Path, state: State) -> Option<Moment> {
        let name = state.as_str();
        let boots = path.verb == "boot";
        match (self, state) {
            (Self::Sudo, State::Built) => Some(Moment::Sudo(name, "nix")).filter(|_| path.verb != "fetch"),
            (Self::Sudo, State::Armed) => Some(Moment::Sudo(name, "systemd-run")),
            (Self::Sudo, State::Trial) => Some(Moment::Sudo(name, "systemd-run")),
            (Self::Sudo, State::Confirmed) if path.verb == "test" => Some(Moment::Sudo(name, "systemd-run")),
            (Self::Sudo, State::Committing) => {
                Some(Moment::Sudo(name, if boots { "systemd-run" } else { "nix" }))
            }
            (Self::Sudo, State::Reverting) => Some(Moment::Sudo(name, "systemctl")),
            (Self::SystemdRun, State::Armed | State::Trial | State::Committing) => {
                Some(Moment::SystemdRun(name))
            }
            (Self::SystemdRun, State::Confirmed) if path.verb == "test" => Some(Moment::SystemdRun(name)),
            (Self::SystemdRun, State::Reverting) if path.faults.contains(&"boot-fails-late") => {
                Some(Moment::SystemdRun(name))
            }
            (Self::Sudo | Self::SystemdRun, _) => None,
            (Self::NixDaemon, State::Verified) => Some(Moment::Build(name)),
            _ => Some(Moment::Announced(name)),
        }
    }
    /// The results that are true answers, given that the host then is what they say.
    fn allowed(self, path: &Path, state: State) -> Vec<&'static str> {
        match (self, state.recovery()) {
            (Self::Gate | Self::Garbage, _) => vec![path.result],
            (Self::NixDaemon, _) if state == State::Verified => vec!["refused"],
            (Self::NixDaemon, _) => vec![path.result],
            (Self::Job | Self::PowerCut, Recovery::Forget) => vec!["refused"],
            (Self::Job | Self::PowerCut, Recovery::Revert) => vec!["reverted"],
            // What runs decides: after a restart the old system does, as it does for `boot`.
            (Self::Job, Recovery::FinishOrUndo) if path.verb != "boot" => vec!["committed"],
            (Self::Job | Self::PowerCut, Recovery::FinishOrUndo) => vec!["reverted"],
            (Self::Job | Self::PowerCut, Recovery::Ended) => vec![path.result],
            (Self::Sshd | Self::Sudo | Self::SystemdRun, _) => vec![path.result, "reverted", "refused"],
        }
    }
}

/// Where a verb leads, as far as anybody knows before.
pub fn way(verb: &str, fault: &str) -> Vec<State> {
    let with = |path: &&Path| path.verb == verb && path.faults.contains(&fault);
    let plain = |path: &&Path| path.verb == verb && path.faults.is_empty();
    let known = PATHS.iter().find(with).or_else(|| PATHS.iter().find(plain));
    known.map_or_else(Vec::new, |path| path.states.to_vec())
}

/// One row for each state, with a job that dies in it, and one with a power cut.
pub fn states() -> Vec<table::Row> {
    let one = |state: State, fault: Fault| {
        let path = PATHS.iter().find(|path| path.states.contains(&state));
        path.unwrap_or_else(|| panic!("the state {state} has no row")).row(state, fault)
    };
    let each = |row: &Row| [one(row.state, Fault::Job), one(row.state, Fault::PowerCut)];
    STATES.iter().flat_map(each).flatten().collect()
}

/// Everything.
pub fn all() -> Vec<table::Row> {
    states(); // every state is on a path
    let each = |path: &'static Path| {
        path.states
            .iter()
            .flat_map(move |state| FAULTS.iter().flat_map(move |fault| path.row(*state, *fault)))
    };
    PATHS.iter().flat_map(each).collect()
}

impl Path {
    /// A last state is hit twice: when it is announced, and before it could say so.
    fn row(&'static self, state: State, fault: Fault) -> Vec<table::Row> {
        let ending = matches!(fault, Fault::Job | Fault::PowerCut) && state.has_ended();
        let moments = [fault.moment(self, state), ending.then_some(Moment::Ending(state.as_str()))];
        moments.into_iter().flatten().map(|moment| self.at(state, fault, moment)).collect()
    }

    fn at(&'static self, state: State, fault: Fault, moment: Moment) -> table::Row {
        let allowed = fault.allowed(self, state);
        let ending = if matches!(moment, Moment::Ending(_)) { ", ending" } else { "" };
        let same = state.has_ended() || matches!(fault, Fault::Gate | Fault::Garbage);
        let code = same.then_some(self.code);
        table::Row {
            name: format!("{}: {state}{ending}", self.name),
            injected: fault.injected().to_owned(),
            expected: allowed.join(" or "),
            on: self.on,
            scenario: Box::new(move |bench| run(bench, self, &moment, fault, &allowed, code)),
        }
    }
}

/// Where the end is on record, and where nothing of ours was hit, the code is what it would have been.
fn run(
    bench: &mut Bench,
    path: &Path,
    moment: &Moment,
    fault: Fault,
    allowed: &[&str],
    code: Option<i64>,
) -> String {
    prepare(bench, path);
    let before = bench.facts();
    let trap = Trap::set(&bench.host, moment.clone());
    let client = bench.start(path.verb);
    let held = trap.caught();
    let hit = inject(bench, fault, held);
    trap.release();
    let hit =
        if fault == Fault::Garbage { format!("{hit}: {}", collector::goes_on(&bench.host)) } else { hit };
    let client = if fault == Fault::PowerCut {
        drop(client.kill());
        bench.host.start();
        None
    } else {
        Some(client)
    };
    if fault == Fault::Sshd {
        bench.await_sshd();
    }
    let verdict = bench.verdict(&before);
    assert!(allowed.contains(&verdict.result.as_str()), "{hit}; {verdict:?}");
    assert!(code.is_none_or(|code| code == verdict.code), "{hit}; {verdict:?}");
    assert_eq!(verdict.result == "needs-operator", verdict.code == 30, "{hit}; {verdict:?}");
    drop(client.map(Client::wait));
    mend(bench, path);
    format!("{hit}; {} {}", verdict.result, verdict.code)
}

fn prepare(bench: &mut Bench, path: &Path) {
    if path.verb == "rollback" {
        bench.deploy();
    } else if path.faults == ["unsigned"] {
        bench.commit_with(Commit::unsigned());
    } else {
        bench.commit(path.faults);
    }
}

fn inject(bench: &Bench, fault: Fault, held: i32) -> String {
    let host = &bench.host;
    match fault {
        Fault::Job => kill_and_see(held),
        Fault::Gate => kill_all(host, &["nixgate"]),
        Fault::Sshd => kill_all(host, &["sshd", "sshd-session"]),
        Fault::NixDaemon => {
            host.root("systemctl start nix-daemon.service");
            kill_all(host, &["nix-daemon"])
        }
        // The one that the job waits for; what it was about to start may go on without it.
        Fault::Sudo => kill_and_see(Inside::ancestor(held, "sudo").expect("sudo").pid),
        Fault::SystemdRun => kill_and_see(held),
        Fault::PowerCut => {
            let process = host.leader();
            host.power_cut();
            format!("process 1 ({process}) gone")
        }
        // It deletes while the job goes on.
        Fault::Garbage => {
            collector::at_work(host);
            "a collection has the lock".to_owned()
        }
    }
}

/// The host runs what it keeps and boots, as the next row expects it.
fn mend(bench: &mut Bench, path: &Path) {
    let host = &bench.host;
    if path.faults.contains(&"service-broken") {
        host.root(
            "rm -rf /run/systemd/system/demo.service.d; systemctl daemon-reload; systemctl restart demo",
        );
    }
    let facts = bench.facts();
    if facts.triple.running != facts.profile {
        host.root(&format!("{}/bin/switch-to-configuration test 2>&1", facts.profile));
    }
}
