//! State × fault: every state that a scenario reaches, and every effect in it, with all that can happen there.

use crate::bench::Bench;
use crate::damage::{self, Damage};
use crate::disk::{self, Lost};
use crate::scenario::{Scenario, Work};
use crate::sweep::{self, Place};
use crate::verdict::{Before, Is, Writes, audit, judge};
use crate::wire::{Act, At, Call, Hook, Reply, When};
use nixgate::decide::state::{Recovery, STATES, State};

/// One run: what is injected where, and what may come of it.
#[derive(Debug, Clone)]
pub struct Case {
    pub scenario: Scenario,
    pub state: String,
    pub what: String,
    pub inject: Inject,
    /// Words of `result=` that may come of it.
    pub expected: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub enum Inject {
    /// Nothing: the scenario as it is.
    Nothing,
    /// At a moment of an effect.
    At(usize, When, Act),
    /// When the n-th audit event of the worker is written: its state is on disk, its effect has not begun.
    Recorded(usize, Meanwhile),
    /// A call of the worker's main thread fails.
    Errno(Place, &'static str),
    /// A file of the state is not as it was left.
    Damage(Damage),
    /// What was not synced is lost.
    Lost(Lost),
}

/// What happens while the worker stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meanwhile {
    Killed,
    KilledThenFired,
    PowerCut,
    Fired,
    Cancelled,
}

/// An effect, as a run without faults met it.
#[derive(Debug, Clone)]
struct Effect {
    number: usize,
    name: String,
    state: String,
    armed: bool,
    /// The moments that it came to: what failed half way has no end.
    moments: Vec<When>,
}

pub fn row(state: &str) -> Option<(State, Recovery)> {
    STATES.iter().find(|row| row.name == state).map(|row| (row.state, row.recovery))
}

/// Record before effect: what is on disk when an effect begins, whoever begins it. What is not here belongs to more than
/// one state.
const ON_RECORD: [(&str, &str); 12] = [
    ("git fetch", "accepted"),
    ("nix build", "verified"),
    ("KeepRunning", "built"),
    ("KeepCommitted", "built"),
    ("Stage", "built"),
    ("Arm", "armed"),
    ("Trial", "trial"),
    ("Set", "committing"),
    ("Commit", "committing"),
    ("Revert", "reverting"),
    ("Restore", "reverting"),
    ("Unset", "reverting"),
];

fn recorded_first(scenario: &Scenario, effects: &[Effect]) {
    for effect in effects {
        for (name, state) in ON_RECORD {
            let fits = effect.name != name || effect.state == state;
            assert!(fits, "{}: {name} begins, and on disk is {}", scenario.name, effect.state);
        }
    }
}

/// A run without faults: its audit events and its effects. It has to end as the scenario says.
pub fn cases(scenario: &Scenario, template: &Bench) -> Vec<Case> {
    let (mut bench, before) = scenario.stage(template);
    let events = audit(&bench).len();
    bench.plan(&scenario.hooks());
    let answer = scenario.work(&bench, &[]);
    bench.call(&Call::Idle);
    let events: Vec<String> =
        audit(&bench)[events..].iter().map(|e| e["event"].as_str().unwrap().to_owned()).collect();
    let effects = effects(&bench.read("events"));
    recorded_first(scenario, &effects);
    let answer = answer.filter(|_| scenario.work == Work::Job);
    let seen = judge(&mut bench, &before, answer.as_ref());
    match &seen {
        Ok(seen) if seen.result == scenario.result => {}
        other => panic!("{} without a fault: {other:?}\n{answer:?}\n{}", scenario.name, bench.read("events")),
    }
    let case = |state: &str, what: String, inject, expected| Case {
        scenario: *scenario,
        state: state.to_owned(),
        what,
        inject,
        expected,
    };
    let mut cases = vec![case("", "nothing".to_owned(), Inject::Nothing, vec![scenario.result])];
    cases.extend(at_records(scenario, &events, &effects, &case));
    cases.extend(at_effects(scenario, &effects, &case));
    cases
}

fn effects(events: &str) -> Vec<Effect> {
    let reached = |number: usize, when: When| events.contains(&format!("moment {number} {when:?} "));
    let mut effects: Vec<Effect> = events.lines().filter_map(effect).collect();
    for effect in &mut effects {
        effect.moments = [When::Before, When::Middle, When::After]
            .into_iter()
            .filter(|when| reached(effect.number, *when))
            .collect();
    }
    effects
}

fn effect(line: &str) -> Option<Effect> {
    let mut words = line.strip_prefix("effect ")?.split(' ');
    let number = words.next()?.parse().ok()?;
    let words: Vec<&str> = words.collect();
    let (name, rest) = words.split_at(words.len() - 2);
    Some(Effect {
        number,
        name: name.join(" "),
        state: rest[0].to_owned(),
        armed: rest[1] == "armed",
        moments: Vec::new(),
    })
}

type Make<'m> = dyn Fn(&str, String, Inject, Vec<&'static str>) -> Case + 'm;

fn at_records(scenario: &Scenario, events: &[String], effects: &[Effect], case: &Make<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    let states = events.iter().enumerate().filter(|(_, event)| row(event).is_some());
    for (index, state) in states {
        let (_, recovery) = row(state).unwrap();
        // What is armed when the effects of this state begin.
        let armed = effects.iter().find(|e| e.state == *state).is_some_and(|e| e.armed);
        let mut kinds = vec![Meanwhile::Killed, Meanwhile::PowerCut];
        if armed {
            kinds.extend([Meanwhile::KilledThenFired, Meanwhile::Fired]);
        }
        if scenario.work == Work::Job && recovery != Recovery::Ended {
            kinds.push(Meanwhile::Cancelled);
        }
        for meanwhile in kinds {
            let expected = expected(scenario, state, Happens::of(meanwhile));
            let what = format!("{meanwhile:?} once it is on record");
            cases.push(case(state, what, Inject::Recorded(index + 1, meanwhile), expected));
        }
    }
    cases
}

fn at_effects(scenario: &Scenario, effects: &[Effect], case: &Make<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for effect in effects {
        // Where the scenario has its own fault, another one at the same moment is none.
        let own = |when: When| scenario.fails.iter().any(|(name, at, _)| *name == effect.name && *at == when);
        let possible = |when: When| effect.moments.contains(&when) && !(own(when) && when != When::Before);
        for (when, act) in faults(effect).into_iter().filter(|(when, _)| possible(*when)) {
            let expected = expected(scenario, &effect.state, Happens::at(when, act));
            let what = format!("{act:?} {when:?} {}", effect.name).to_lowercase();
            cases.push(case(&effect.state, what, Inject::At(effect.number, when, act), expected));
        }
    }
    cases
}

/// What can happen to an effect, by its kind.
fn faults(effect: &Effect) -> Vec<(When, Act)> {
    use Act::{FailHalf, Fire, Hang, KillClient, KillJob, PowerCut, Refuse};
    use When::{After, Before, Middle};
    let name = effect.name.as_str();
    let mut faults = vec![(Before, KillJob), (Before, Refuse)];
    if name.starts_with("BootDefault") {
        return faults;
    }
    faults.extend([(Before, PowerCut), (After, KillJob), (After, PowerCut)]);
    let is_tool = name.starts_with("git") || name.starts_with("nix-") || name.starts_with("nix ");
    if !is_tool {
        faults.extend([(Middle, KillJob), (Middle, PowerCut), (Middle, FailHalf), (Middle, KillClient)]);
    }
    let is_unit = ["Trial", "Commit", "Uncommit", "Restore", "Revert"].contains(&name);
    if is_unit {
        faults.push((Middle, Hang));
    } else if !is_tool {
        faults.push((After, KillClient));
    }
    if effect.armed {
        faults.extend([(Before, Fire), (Middle, Fire), (After, Fire)]);
    } else if name == "Arm" {
        faults.push((After, Fire));
    }
    faults
}

/// What a fault means to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happens {
    Death,
    Reboot,
    Fired,
    Cancel,
    Fails,
}

impl Happens {
    fn of(meanwhile: Meanwhile) -> Self {
        match meanwhile {
            Meanwhile::Killed => Self::Death,
            Meanwhile::PowerCut => Self::Reboot,
            Meanwhile::KilledThenFired | Meanwhile::Fired => Self::Fired,
            Meanwhile::Cancelled => Self::Cancel,
        }
    }
    fn at(_when: When, act: Act) -> Self {
        match act {
            Act::KillJob => Self::Death,
            Act::PowerCut => Self::Reboot,
            Act::Fire => Self::Fired,
            Act::Refuse | Act::FailHalf | Act::Hang | Act::KillClient => Self::Fails,
        }
    }
}

/// What may come of it: by the table of states, and by nothing that the code says of this run.
fn expected(scenario: &Scenario, state: &str, happens: Happens) -> Vec<&'static str> {
    let recovery = row(state).map(|(_, recovery)| recovery);
    let end = scenario.result;
    // Twice is too often for a promise: what could not go back either is said to need somebody.
    let helpless = end == "needs-operator" || (state == "reverting" && happens == Happens::Fails);
    let mut words = match (happens, recovery) {
        (_, None) => vec!["none", end],
        (_, Some(Recovery::Ended)) => vec![end],
        (Happens::Death | Happens::Reboot, Some(Recovery::Forget)) => vec!["refused"],
        (Happens::Death | Happens::Reboot, Some(Recovery::Revert)) => vec!["reverted"],
        (_, Some(Recovery::FinishOrUndo)) => vec!["committed", "reverted", end],
        (Happens::Fired, _) => vec!["reverted", end],
        (Happens::Cancel, _) => vec!["cancelled", "refused", "reverted", end],
        (Happens::Fails, Some(Recovery::Forget)) => vec!["refused", end],
        (Happens::Fails, Some(Recovery::Revert)) => vec!["refused", "reverted", end],
    };
    if helpless {
        words.push("needs-operator");
    }
    words
}

/// The run. `Ok` is what was seen.
pub fn run(case: &Case, template: &Bench) -> Result<String, String> {
    match &case.inject {
        Inject::Lost(lost) => return disk::run(lost),
        Inject::Errno(place, error) => return run_errno(case, place, error, template),
        _ => {}
    }
    let (mut bench, before) = case.scenario.stage(template);
    let mut hooks = case.scenario.hooks();
    if let Inject::At(number, when, act) = case.inject {
        hooks.insert(0, Hook { at: At::Nth(number), when, act });
    }
    bench.plan(&hooks);
    let outcome = match case.inject {
        Inject::Damage(damage) => damage::run(case, damage, &mut bench, &before),
        _ => inject(case, &mut bench, &before),
    };
    outcome.map_err(|why| with_logs(&why, &bench))
}

fn with_logs(why: &str, bench: &Bench) -> String {
    format!("{why}\n--- events\n{}--- log\n{}", bench.read("events"), last_log(bench))
}

/// How often a call is looked for.
const RUNS: usize = 5;

/// How many calls of that name come before it depends on the processes that the worker looks at, so a run may meet
/// another one. Then it is made again, with what its trace says of the place.
fn run_errno(case: &Case, place: &Place, error: &str, template: &Bench) -> Result<String, String> {
    let mut place = place.clone();
    for _ in 0..RUNS {
        let (mut bench, mut before) = case.scenario.stage(template);
        before.writes = Writes::MayFail;
        bench.plan(&case.scenario.hooks());
        let answer = errno(case, &bench, &place, error);
        let trace = bench.read("trace");
        if sweep::was_met(&trace) {
            return judged(case, &mut bench, &before, answer).map_err(|why| with_logs(&why, &bench));
        }
        place = place.again(&trace).ok_or_else(|| format!("not made: {trace}"))?;
    }
    Err(format!("{RUNS} runs met another call"))
}

fn inject(case: &Case, bench: &mut Bench, before: &Before) -> Result<String, String> {
    let answer = match case.inject {
        Inject::Nothing | Inject::Damage(_) | Inject::Lost(_) | Inject::Errno(..) => {
            case.scenario.work(bench, &[])
        }
        Inject::At(number, when, act) => {
            let answer = case.scenario.work(bench, &[]);
            if answer.is_some() {
                bench.call(&Call::Idle);
            }
            let planned = format!("planned {act:?} {when:?} {number} ");
            if !bench.read("events").contains(&planned) {
                return Err("the fault was not seen to happen".to_owned());
            }
            answer
        }
        Inject::Recorded(event, meanwhile) => recorded(case, bench, event, meanwhile)?,
    };
    judged(case, bench, before, answer)
}

fn judged(case: &Case, bench: &mut Bench, before: &Before, answer: Option<Reply>) -> Result<String, String> {
    let down = answer.is_none();
    if down {
        bench.boot_again();
    }
    let answer = answer.filter(|_| case.scenario.work == Work::Job);
    let seen = judge(bench, before, answer.as_ref())?;
    if !case.expected.contains(&seen.result.as_str()) {
        return Err(format!("expected {}, seen {seen}", case.expected.join(" or ")));
    }
    // A system that nobody could judge is never kept.
    if down && seen.is == Is::RunsNew {
        return Err(format!("{seen} after a restart"));
    }
    Ok(seen.to_string())
}

fn recorded(
    case: &Case,
    bench: &mut Bench,
    event: usize,
    meanwhile: Meanwhile,
) -> Result<Option<Reply>, String> {
    let signal = if meanwhile == Meanwhile::Killed { "KILL" } else { "STOP" };
    let inject = format!("inject=fdatasync:signal={signal}:when={event}");
    let trace = ["-e", "trace=fdatasync", "-e", &inject].map(str::to_owned);
    if meanwhile == Meanwhile::Killed {
        let answer = case.scenario.work(bench, &trace);
        bench.call(&Call::AwaitStop);
        bench.call(&Call::Idle);
        let killed = bench.read("trace").contains("+++ killed by SIGKILL +++");
        return if killed { Ok(answer) } else { Err(format!("nobody was killed: {}", bench.read("trace"))) };
    }
    std::thread::scope(|scope| {
        let bench = &*bench;
        let working = scope.spawn(|| case.scenario.work(bench, &trace));
        let stopped = bench.call(&Call::AwaitStop).is_some_and(|reply| reply.code == 0);
        if !stopped {
            working.join().unwrap();
            return Err(format!("nobody stopped: {}", bench.read("trace")));
        }
        match meanwhile {
            Meanwhile::PowerCut => drop(bench.call(&Call::PowerOff)),
            Meanwhile::Fired => must_fire(bench)?,
            Meanwhile::KilledThenFired => {
                bench.call(&Call::Recovery(crate::wire::OnFailure::Nothing));
                bench.call(&Call::Kill);
                must_fire(bench)?;
                bench.call(&Call::Recovery(crate::wire::OnFailure::Recover));
            }
            Meanwhile::Cancelled => {
                let told = bench.ssh("cancel").ok_or("down")?;
                if told.code != 0 && told.code != 75 {
                    return Err(format!("cancel: {told:?}"));
                }
            }
            Meanwhile::Killed => {}
        }
        bench.call(&Call::Continue);
        Ok(working.join().unwrap())
    })
}

fn errno(case: &Case, bench: &Bench, place: &Place, error: &str) -> Option<Reply> {
    let Place { call, number, .. } = place;
    let inject = format!("inject={call}:error={error}:when={number}");
    let trace = ["-y".to_owned(), "-e".to_owned(), format!("trace={call}"), "-e".to_owned(), inject];
    let answer = case.scenario.work(bench, &trace);
    bench.call(&Call::AwaitStop);
    answer
}

fn must_fire(bench: &Bench) -> Result<(), String> {
    match bench.call(&Call::Fire) {
        Some(reply) if reply.code == 0 => Ok(()),
        other => Err(format!("it did not fire: {other:?}")),
    }
}

/// Of the last two jobs: the next deploy is the last.
fn last_log(bench: &Bench) -> String {
    let read = |job: &String| format!("{job}:\n{}", bench.read(&format!("var/lib/nixgate/jobs/{job}/log")));
    let jobs = crate::verdict::jobs(bench);
    jobs[jobs.len().saturating_sub(2)..].iter().map(read).collect()
}

/// A state that nobody reaches has no row.
pub fn without_a_row(cases: &[Case]) -> Vec<&'static str> {
    let has = |name: &&str| cases.iter().any(|case| case.state == *name);
    STATES.iter().map(|row| row.name).filter(|name| !has(name)).collect()
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} | {} | {}", self.scenario.name, self.state, self.what)
    }
}
