//! The job: one process per connection, started by systemd from the socket, as account nixgate. It alone
//! judges, and it never runs as root. Read from top to bottom.

mod answers;
mod caller;
mod commit;
mod deploy;
mod follow;
mod health;
mod preflight;
mod queue;
mod recover;
mod revert;
mod source;
mod status;
mod trial;

use crate::act::begun::Begun;
use crate::act::channel::send;
use crate::act::files::{Lock, read_trusted};
use crate::act::inbox::{Event, Inbox};
use crate::act::kernel;
use crate::act::log::Log;
use crate::act::machine::Machine;
use crate::act::reserve::Reserve;
use crate::act::store::{ROOT, Store};
use crate::act::syslog::{self, Severity};
use crate::act::watch::Watch;
use crate::decide::answer::{Code, Packet};
use crate::decide::config::Config;
use crate::decide::escape::escaped;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::plan::{Candidate, Plan};
use crate::decide::privileged::Platform;
use crate::decide::request::Request;
use crate::decide::state::State;
use answers::Word;
use caller::{Asked, hear, permit};
use deploy::{End, Finished, Restart};
use queue::{Behind, behind};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const CONFIG: &str = "/etc/nixgate/config.toml";

/// One connection, which is standard input.
pub fn serve(platform: Platform) -> ExitCode {
    if let Err(stop) = not_root() {
        return said_in_log(&stop);
    }
    kernel::outlast_signals();
    let Ok(channel) = std::io::stdin().as_fd().try_clone_to_owned() else { return Code::Internal.into() };
    let (channel, stop) = match answer(platform, channel) {
        Ok(End::OnDisk) => return ExitCode::SUCCESS,
        // The unit fails, which starts recovery.
        Ok(End::Owed) => return Code::NotWritable.into(),
        Err(refusal) => refusal,
    };
    let _ = send(&channel, &Packet::Err(format!("nixgate: {stop}\n").as_bytes()).render());
    let _ = send(&channel, &Packet::Exit(stop.code.number()).render());
    ExitCode::SUCCESS
}

/// Recovery alone, as a unit of its own.
pub fn recover_only(platform: Platform) -> ExitCode {
    kernel::outlast_signals();
    let machine = not_root().and_then(|()| machine(platform, Log::nowhere()));
    let result = machine.and_then(|mut machine| match machine.store.lock().or_stop(Code::NotWritable)? {
        None => Ok(()), // A job is alive; the transaction is its own.
        Some(_lock) => recover::recover(&mut machine).map(drop).or_stop(Code::NotWritable),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => said_in_log(&stop),
    }
}

/// The one thing that is looked at before anything else.
fn not_root() -> Result<(), Stop> {
    kernel::plain_account().map_err(|unfit| {
        Stop::new(Code::Misconfigured, format_args!("nixgate-job runs as account nixgate: {unfit}"))
    })
}

/// Where nobody is on the other end: the journal, and an exit code for systemd.
fn said_in_log(stop: &Stop) -> ExitCode {
    note(&stop.why);
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("nixgate-job: {stop}\n").as_bytes());
    stop.code.into()
}

/// A refusal goes back with the channel that it is said on.
type Answered = Result<End, (OwnedFd, Stop)>;

fn answer(platform: Platform, channel: OwnedFd) -> Answered {
    let asked = match hear(&channel) {
        Ok(asked) => asked,
        Err(stop) => return Err((channel, stop)),
    };
    let permitted = machine(platform, Log::nowhere()).and_then(|machine| permit(machine, &asked));
    let (mut machine, authorized) = match permitted {
        Ok(permitted) => permitted,
        Err(stop) => return Err((channel, stop)),
    };
    let identity = authorized.identity().clone();
    match authorized.request().clone() {
        Request::Status(format) => {
            let said = status::status(&mut machine, format).or_stop(Code::NotWritable);
            reply(channel, said.map(|text| (text, String::new())))
        }
        Request::Confirm(job) => {
            machine.store.set_reserve(Reserve::Spend);
            let told = answers::tell(&machine.store, Word::Confirm, job, &identity, asked.pid);
            reply(channel, told.map(|text| (String::new(), format!("nixgate: {text}\n"))))
        }
        Request::Cancel(job) => {
            machine.store.set_reserve(Reserve::Spend);
            let told = answers::tell(&machine.store, Word::Cancel, job, &identity, asked.pid);
            reply(channel, told.map(|text| (String::new(), format!("nixgate: {text}\n"))))
        }
        Request::Attach(job) => answers::attach(&machine.store, channel, job, &identity).map(|_| End::OnDisk),
        _ => match Plan::of(authorized, &machine.config) {
            Some(plan) => work(machine, channel, &asked, &plan),
            None => reply(channel, Ok((String::new(), String::new()))),
        },
    }
}

/// The configuration, which has to be root's, and all that a job works with.
fn machine(platform: Platform, log: Log) -> Result<Machine, Stop> {
    let text = read_trusted(Path::new(CONFIG)).or_stop(Code::Misconfigured)?;
    let config = Config::parse(&text).map_err(|error| {
        Stop::new(
            Code::Misconfigured,
            format_args!("{CONFIG}: {error}; `nixgatectl example` shows every key"),
        )
    })?;
    let patience = config.limits.wait;
    Ok(Machine { platform, config, store: Store::new(ROOT), log, inbox: Inbox::default(), patience })
}

/// One line of ours in the system's log.
fn note(text: &str) {
    syslog::log("nixgate-job", Severity::LOG_NOTICE, &escaped(text.as_bytes(), 480));
}

/// What was asked for on standard output, what is said beside it on standard error, and an end.
fn reply(channel: OwnedFd, said: Result<(String, String), Stop>) -> Answered {
    let (out, err) = match said {
        Ok(said) => said,
        Err(stop) => return Err((channel, stop)),
    };
    for chunk in out.as_bytes().chunks(16 * 1024) {
        let _ = send(&channel, &Packet::Out(chunk).render());
    }
    if !err.is_empty() {
        let _ = send(&channel, &Packet::Err(err.as_bytes()).render());
    }
    let _ = send(&channel, &Packet::Exit(Code::Done.number()).render());
    Ok(End::OnDisk)
}

/// A deploy has the lock, or comes behind whoever has it.
fn work(machine: Machine, channel: OwnedFd, asked: &Asked, plan: &Plan) -> Answered {
    let turn = match machine.store.lock().or_stop(Code::NotWritable) {
        Ok(Some(lock)) => return deploy(machine, channel, plan, lock),
        Ok(None) => behind(&machine, &channel, plan),
        Err(stop) => Err(stop),
    };
    match turn {
        Ok(Behind::Same(job)) => {
            drop(follow::follow(&machine.store, &job, channel, follow::Stream::Err));
            Ok(End::OnDisk)
        }
        Ok(Behind::Turn(lock, waited)) => match judged_anew(machine.platform, asked, waited) {
            Ok((machine, plan)) => deploy(machine, channel, &plan, lock),
            Err(stop) => Err((channel, stop)),
        },
        Ok(Behind::Left) => Ok(End::OnDisk),
        Err(stop) => Err((channel, stop)),
    }
}

/// After a wait the configuration, a freeze or a window may be others, and a job that died may have left its work to
/// whoever has the lock next.
fn judged_anew(platform: Platform, asked: &Asked, waited: Duration) -> Result<(Machine, Plan), Stop> {
    let mut machine = machine(platform, Log::nowhere())?;
    recover_first(&mut machine)?;
    machine.patience = machine.patience.saturating_sub(waited);
    let (machine, authorized) = permit(machine, asked)?;
    let plan = Plan::of(authorized, &machine.config);
    plan.map(|plan| (machine, plan)).ok_or_else(|| Stop::new(Code::Internal, "what waited is no deploy"))
}

/// A deploy: what a dead job left, the record, and then the pipeline, followed by whoever asked.
fn deploy(mut machine: Machine, channel: OwnedFd, plan: &Plan, lock: Lock) -> Answered {
    let (mut begun, mut state) = match begin(&mut machine, plan) {
        Ok(begun) => begun,
        Err(stop) => return Err((channel, stop)),
    };
    machine.log.line(format_args!("job {}: {} by {}", begun.job(), plan.request(), plan.identity().name));
    let _listener = listen(&machine, &begun);
    let (store, job) = (machine.store.clone(), begun.job().clone());
    let (tell, told) = std::sync::mpsc::channel();
    let spoken = Arc::new(follow::Spoken::new());
    let heard = spoken.clone();
    let follower = std::thread::spawn(move || {
        tell.send(follow::follow_own(&store, &job, channel, follow::Stream::Err, &heard))
    });
    let outcome = deploy::run(&mut machine, &mut begun, &mut state, plan);
    note(&format!(
        "job {}: {} by {}: {} ({})",
        begun.job(),
        plan.request(),
        plan.identity().name,
        outcome.result,
        outcome.code.number()
    ));
    let Finished { result, end } = deploy::finish(&mut machine, &mut begun, &mut state, &outcome);
    let _ = spoken.set(result);
    if begun.state() == State::NeedsOperator {
        // The caller is told first, but a slow one does not keep a broken host from its restart; and nobody
        // begins anything before it.
        let _ = told.recv_timeout(Duration::from_secs(30));
        deploy::restart_if_configured(&mut machine, &begun);
    }
    drop::<Lock>(lock);
    let _ = follower.join();
    Ok(end)
}

/// What a dead job left comes before anything new.
fn recover_first(machine: &mut Machine) -> Result<(), Stop> {
    match recover::recover(machine).or_stop(Code::NotWritable)? {
        Restart::No => Ok(()),
        Restart::Asked => {
            let why = "the job before this one left the host where only a restart leads back, and it restarts now; ask again when it is up";
            Err(Stop::new(Code::Busy, why))
        }
    }
}

fn begin(machine: &mut Machine, plan: &Plan) -> Result<(Begun, crate::decide::record::HostState), Stop> {
    recover_first(machine)?;
    machine.store.prune_jobs(49, 1 << 30).or_stop(Code::NotWritable)?;
    match plan.candidate() {
        // The way out of a full disk, too.
        Candidate::Earlier(_) => machine.store.set_reserve(Reserve::Spend),
        Candidate::Source { .. } => machine.store.fill_reserve().or_stop(Code::NotWritable)?,
    }
    let mut state = machine.store.state().or_stop(Code::NotWritable)?;
    let (job, log) = machine.store.new_job().or_stop(Code::NotWritable)?;
    machine.log = log;
    let begun = Begun::begin(&machine.store, job, plan, &mut state).or_stop(Code::NotWritable)?;
    Ok((begun, state))
}

/// Turns the files that `confirm` and `cancel` leave into events.
fn listen(machine: &Machine, begun: &Begun) -> Option<std::thread::JoinHandle<()>> {
    let directory = machine.store.job_dir(begun.job());
    let sender = machine.inbox.sender();
    let watch = Watch::new(&directory).ok()?;
    Some(std::thread::spawn(move || {
        let read = |word: &str| fs::read_to_string(directory.join(word)).ok();
        let (mut confirmed, mut cancelled) = (false, false);
        loop {
            if let Some(who) = read("confirm").filter(|_| !confirmed) {
                confirmed = true;
                let _ = sender.send(Event::Confirm(who));
            }
            if let Some(who) = read("cancel").filter(|_| !cancelled) {
                cancelled = true;
                let _ = sender.send(Event::Cancel(who));
            }
            watch.wait(Duration::from_secs(10), None);
        }
    }))
}
