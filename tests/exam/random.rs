//! Verbs and faults by chance against one host, each step judged as a row is, and the audit log over all of them.

use crate::bench::{Bench, Facts, Kind};
use crate::host::{Client, Commit, LIMIT};
use crate::process::{kill_all, kill_and_see, until};
use crate::product;
use crate::trap::{Moment, Trap};
use nixgate::decide::state::STATES;
use serde_json::Value;
use std::time::{Duration, Instant};

/// The same seed makes the same choices; what the host makes of them may differ by a moment.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    /// splitmix64
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.next() % choices.len() as u64).unwrap()]
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

const VERBS: [&str; 10] =
    ["switch", "switch", "switch", "switch", "test", "test", "boot", "rollback", "rollback", "fetch"];

/// What the candidate brings, one or two of them; none, mostly.
const BRINGS: [&str; 24] = [
    "",
    "",
    "",
    "",
    "",
    "",
    "service-fails",
    "health-bad",
    "exit-1",
    "exit-2",
    "exit-4",
    "exit-101",
    "exit-11-late",
    "slow-1",
    "boot-fails",
    "boot-fails-late",
    "boot-slow-1",
    "kill-sshd",
    "restart-dbus",
    "reexec",
    "nixgate-next",
    "new-sshd-config",
    "unsigned",
    "service-flaps",
];

const ILL: [&str; 4] = ["service-fails", "exit-4", "service-flaps", "kill-sshd"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Nothing,
    KillJob,
    KillJobAndRecovery,
    KillGate,
    KillSshd,
    KillNixDaemon,
    PowerCut,
    Reboot,
    Garbage,
    TimerFires,
    Recover,
    Cancel,
    SecondDeploy,
    ClientGone,
    Reload,
    LockHeld,
}

const EVENTS: [Event; 23] = [
    Event::Nothing,
    Event::Nothing,
    Event::Nothing,
    Event::KillJob,
    Event::KillJob,
    Event::KillJob,
    Event::KillJobAndRecovery,
    Event::KillJobAndRecovery,
    Event::KillGate,
    Event::KillSshd,
    Event::KillNixDaemon,
    Event::PowerCut,
    Event::PowerCut,
    Event::Reboot,
    Event::Garbage,
    Event::TimerFires,
    Event::TimerFires,
    Event::Recover,
    Event::Cancel,
    Event::SecondDeploy,
    Event::ClientGone,
    Event::LockHeld,
    Event::Reload,
];

/// How many steps were survived, and of how many the fault was seen. Panics at the first that was not.
pub fn run(limit: Duration, seed: u64) -> (usize, usize) {
    let mut chance = Chance(seed);
    let mut bench = Bench::boot(Kind::Mixed);
    let (end, mut steps, mut hit, mut log) = (Instant::now() + limit, 0, 0, Log::default());
    // What `nixgate-next` brings was put there and cannot be built: a collection that took it would end its part in this.
    bench.host.root("ln -s /nix/store/*-nixgate-next /nix/var/nix/gcroots/nixgate-next");
    bench.deploy_this("switch");
    while Instant::now() < end {
        steps += 1;
        let what = step(&mut bench, &mut chance, &mut hit);
        println!("random {seed} step {steps}: {what}");
        log.check(&bench);
    }
    (steps, hit)
}

fn step(bench: &mut Bench, chance: &mut Chance, hit: &mut usize) -> String {
    let verb = chance.of(&VERBS);
    let brings = chance.of(&BRINGS);
    // Nobody tries what `boot` makes permanent, so it may be ill; but the exam has to get in.
    let brings = if verb == "boot" && ILL.contains(&brings) { "" } else { brings };
    if verb != "rollback" && !chance.one_in(8) {
        match brings {
            "unsigned" => drop(bench.commit_with(Commit::unsigned())),
            "" => drop(bench.commit(&[])),
            fault => drop(bench.commit(&[fault])),
        }
    }
    let event = chance.of(&EVENTS);
    let way = product::way(verb, brings);
    let state = if chance.one_in(6) { chance.of(&STATES).name } else { chance.of(&way).as_str() };
    let second = if chance.one_in(2) { chance.of(&["reverting", "reverted", "refused"]) } else { state };
    let confirms = chance.one_in(2);
    let before = bench.facts();
    let jobs = newest(bench);
    let trap = (event != Event::Nothing).then(|| Trap::set(&bench.host, Moment::Announced(state)));
    let mut client = Some(bench.start(verb));
    let mut seen = String::from("nothing");
    if let Some(trap) = trap {
        // It may never come to that state, or wait for a word that nobody gives.
        if let Some(held) = trap.caught_or(|| is_over(bench, &jobs, &client) || wants_confirmation(bench)) {
            *hit += 1;
            seen = format!("at {state}: {}", happen(bench, event, held, trap, second, &mut client));
        }
    }
    let mut confirmed = false;
    until("the end of a step", LIMIT, || {
        if confirms && !confirmed && wants_confirmation(bench) {
            drop(bench.host.ssh(&["confirm"]));
            confirmed = true;
        }
        is_over(bench, &jobs, &client)
    });
    let verdict = if newest(bench) == jobs {
        drop(client.map(Client::wait));
        "no job".to_owned()
    } else {
        let verdict = bench.verdict(&before);
        drop(client.map(Client::wait));
        format!("{} {}", verdict.result, verdict.code)
    };
    bench.host.root(LOGIND);
    let facts: Facts = bench.facts();
    format!(
        "{verb} [{brings}] {event:?} {seen}; {verdict}; {} {}",
        facts.triple.profile, facts.triple.running
    )
}

fn newest(bench: &Bench) -> String {
    let jobs = std::fs::read_dir(bench.host.outside("/var/lib/nixgate/jobs")).into_iter().flatten().flatten();
    let number = |name: &str| name.split('-').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
    let names = jobs.filter_map(|entry| entry.file_name().into_string().ok());
    names.max_by_key(|name| number(name)).unwrap_or_default()
}

/// The job that was asked for has its result, or there is none and its client has ended.
fn is_over(bench: &Bench, before: &str, client: &Option<Client>) -> bool {
    let newest = newest(bench);
    if newest == before {
        return client.as_ref().is_none_or(Client::has_ended);
    }
    bench.is_idle() && bench.host.outside(&format!("/var/lib/nixgate/jobs/{newest}/result")).exists()
}

fn wants_confirmation(bench: &Bench) -> bool {
    let record = bench.host.outside(&format!("/var/lib/nixgate/jobs/{}/record", newest(bench)));
    let record: Value =
        serde_json::from_slice(&std::fs::read(record).unwrap_or_default()).unwrap_or_default();
    record["state"] == "healthy" && record["confirm-by"].is_number()
}

/// Something happens while the job is held; then it goes on, if it lives.
fn happen(
    bench: &Bench,
    event: Event,
    held: i32,
    trap: Trap,
    second: &'static str,
    client: &mut Option<Client>,
) -> String {
    let host = &bench.host;
    match event {
        Event::Nothing => String::new(),
        Event::KillJob => kill_and_see(held),
        Event::KillJobAndRecovery => {
            let next = Trap::set(host, Moment::Announced(second));
            let first = kill_and_see(held);
            trap.release();
            let Some(recovery) = next.caught_or(|| bench.is_idle()) else { return first };
            let killed = kill_and_see(recovery);
            next.release();
            // The next job does it, or the timer's end; nobody waits for either here.
            host.root("systemctl start nixgate-recover.service");
            format!("{first}; at {second}: {killed}")
        }
        Event::KillGate => kill_all(host, &["nixgate"]),
        Event::KillSshd => {
            let killed = kill_all(host, &["sshd", "sshd-session"]);
            trap.release();
            bench.await_sshd();
            killed
        }
        Event::KillNixDaemon => {
            host.root("systemctl start nix-daemon.service");
            kill_all(host, &["nix-daemon"])
        }
        Event::PowerCut => {
            host.power_cut();
            trap.release();
            drop(client.take().map(Client::kill));
            host.start();
            "the power was cut".to_owned()
        }
        Event::Reboot => {
            let boots = host.boots();
            host.root_output("systemctl --no-block reboot");
            trap.release();
            host.await_boot(boots + 1);
            drop(client.take().map(Client::kill));
            "restarted".to_owned()
        }
        Event::Garbage => host.root("nix-collect-garbage -d 2>&1 | tail -n 1"),
        Event::TimerFires => {
            let code = host.root_code("systemctl start --no-block nixgate-revert.service");
            if code == 0 { "the timer's unit started" } else { "there was no timer" }.to_owned()
        }
        Event::Recover => {
            host.root("systemctl start --no-block nixgate-recover.service");
            "recovery was started".to_owned()
        }
        Event::Cancel => {
            let told = host.ssh_as("other", &["cancel"]);
            format!("cancel: {}", told.code)
        }
        Event::SecondDeploy => {
            let answer = host.ssh_as("other", &["switch"]);
            assert_eq!(answer.code, 75, "{answer:#?}");
            "a second deploy was refused: 75".to_owned()
        }
        Event::ClientGone => {
            drop(client.take().map(Client::kill));
            "the client is gone".to_owned()
        }
        Event::Reload => {
            host.root("systemctl daemon-reload; systemctl daemon-reexec");
            "systemd was started anew".to_owned()
        }
        Event::LockHeld => {
            host.root("systemd-run --quiet --collect flock /run/nixos/switch-to-configuration.lock sleep 3");
            "somebody takes the activation's lock for 3 s".to_owned()
        }
    }
}

/// Each login waits 25 s for a logind that lost its bus. Candidates restart that one, and so does whoever returns to them.
const LOGIND: &str = "started() { systemctl show --property=ExecMainStartTimestampMonotonic --value $1; }; \
    [ $(started dbus.service) -lt $(started systemd-logind.service) ] || systemctl restart systemd-logind.service";

/// What the audit log has to be, over everything that happened.
#[derive(Debug, Default)]
struct Log {
    seq: u64,
    open: Option<(String, String)>,
    anchor: String,
}

impl Log {
    /// One transaction at a time, each by steps that may follow one another, and forward only.
    fn check(&mut self, bench: &Bench) {
        for event in bench.events("") {
            let seq = event["seq"].as_u64().unwrap();
            if seq <= self.seq {
                continue;
            }
            self.seq = seq;
            let (Some(job), Some(name)) = (event["job"].as_str(), event["event"].as_str()) else { continue };
            if let Some((open, _)) = &self.open {
                assert_eq!(open, job, "two transactions at once: {event}");
            }
            let Some(row) = STATES.iter().find(|row| row.name == name) else {
                if name == "ended" {
                    self.open = None;
                }
                continue;
            };
            if let Some((_, last)) = &self.open {
                let from = STATES.iter().find(|row| row.name == last).expect("a state");
                // One that died between record and event has a step that is on record only.
                let unsaid = from.next.iter().any(|step| step.may_become(row.state));
                assert!(from.state.may_become(row.state) || unsaid, "{last} became {name}: {event}");
            }
            self.open = Some((job.to_owned(), name.to_owned()));
        }
        assert_eq!(self.open, None, "a transaction without an end");
        let anchor =
            bench.host.root("grep -o '\"anchor\": \"[0-9a-f]*' /var/lib/nixgate/state.json | cut -d'\"' -f4");
        if !self.anchor.is_empty() {
            bench.host.root(&format!(
                "git -C /srv/git/infra.git merge-base --is-ancestor {} {anchor}",
                self.anchor
            ));
        }
        self.anchor = anchor;
        bench.host.root(OVERLAP);
    }
}

/// Never two activations at once: what PID 1 notes of the units that activate, in this boot.
/// A oneshot is over when it is said to be started.
const OVERLAP: &str = "journalctl -b -q -o json --output-fields=UNIT,MESSAGE_ID -u nixgate-activate.service -u nixgate-revert.service -u nixgate-restore.service | python3 -c '
import json, sys
at_work = set()
for line in sys.stdin:
    entry = json.loads(line)
    unit, kind = entry.get(\"UNIT\"), entry.get(\"MESSAGE_ID\")
    if kind == \"7d4958e842da4a758f6c1cdc7b36dcc5\":
        others = at_work - {unit}
        at_work.add(unit)
        if others: sys.exit(f\"{unit} beside {others}\")
    elif kind == \"39f53479d3a045ac8e11786248231fbf\" and unit == \"nixgate-revert.service\" or kind in (\"9d1aaa27d60140bd96365438aad20286\", \"7ad2d189f7e94e70a38c781354912448\", \"d9b373ed55a64feb8242e02dbe79a49c\", \"be02cf6855d2428ba40df7e9d022f03d\"):
        at_work.discard(unit)
'";
