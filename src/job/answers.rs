//! What is answered without a transaction: status, attach, confirm, cancel.

use super::follow::{Stream, follow};
use crate::act::machine::{Machine, profile_system, running_system};
use crate::act::store::{Store, StoreError};
use crate::act::{clock, peer};
use crate::decide::answer::Code;
use crate::decide::config::SourceKind;
use crate::decide::outcome::Stop;
use crate::decide::policy::Identity;
use crate::decide::record::{HostState, Record};
use crate::decide::request::Format;
use crate::decide::session::Session;
use crate::decide::state::State;
use crate::decide::value::JobId;
use serde_json::json;
use std::os::fd::OwnedFd;

/// The job in progress, with its record.
pub fn current(store: &Store) -> Result<Option<(JobId, Record)>, StoreError> {
    let Some(job) = store.state()?.job.and_then(|text| JobId::parse(&text).ok()) else { return Ok(None) };
    Ok(store.record(&job)?.map(|record| (job, record)))
}

/// Who is at work: the answer of a second deploy.
pub fn busy(record: &Record) -> Stop {
    let since = clock::since_boot().as_secs();
    Stop::new(
        Code::Busy,
        format_args!(
            "busy: job {} ({} by {}), state {} for {} s, running for {} s; follow it with `attach {}`",
            record.job,
            record.verb,
            record.identity,
            record.state,
            since.saturating_sub(record.state_at),
            since.saturating_sub(record.accepted_at),
            record.job
        ),
    )
}

/// `attach`: a job's log from its first byte, then its verdict.
pub fn attach(
    store: &Store,
    channel: OwnedFd,
    wanted: Option<JobId>,
    identity: &Identity,
) -> Result<OwnedFd, (OwnedFd, Stop)> {
    let known = |job: &JobId| matches!(store.record(job), Ok(Some(_)));
    let own = |job: &JobId| matches!(store.record(job), Ok(Some(record)) if record.identity == identity.name);
    let job = match wanted {
        Some(job) if known(&job) => Some(job),
        Some(_) => None,
        None => store.jobs().unwrap_or_default().into_iter().rev().find(own),
    };
    match job {
        Some(job) => Ok(follow(store, &job, channel, Stream::Out)),
        None => {
            let why = "there is no such job here; `status` names the last ones";
            Err((channel, Stop::new(Code::Malformed, why)))
        }
    }
}

/// Which word is left for a job, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Confirm,
    Cancel,
}

/// `confirm` and `cancel`: a file that the job awaits. Whose word counts was judged before.
pub fn tell(
    store: &Store,
    word: Word,
    wanted: Option<JobId>,
    identity: &Identity,
    peer_pid: i32,
) -> Result<String, Stop> {
    let nothing = || {
        Stop::new(
            Code::Malformed,
            "no job is in progress, so there is nothing to confirm or cancel; see `status`",
        )
    };
    let (job, record) = current(store).map_err(|e| Stop::new(Code::NotWritable, e))?.ok_or_else(nothing)?;
    if wanted.is_some_and(|wanted| wanted != job) {
        return Err(Stop::new(
            Code::Malformed,
            format_args!("the job in progress is {job}; that one has ended or never was"),
        ));
    }
    let name = match word {
        Word::Confirm => "confirm",
        Word::Cancel => "cancel",
    };
    if word == Word::Confirm {
        confirmable(&record, peer_pid)?;
    } else if matches!(record.state, State::Committing | State::Reverting) {
        return Err(Stop::new(Code::Busy, format_args!("too late to cancel: job {job} is {}", record.state)));
    }
    store.tell_job(&job, name, &identity.name).map_err(|e| Stop::new(Code::NotWritable, e))?;
    Ok(format!("{name}: told job {job}; follow it with `attach {job}`"))
}

/// A confirmation proves that the host can be reached only over a connection opened after the activation ended.
fn confirmable(record: &Record, peer_pid: i32) -> Result<(), Stop> {
    let Some(activated_at) = record.activated_at else {
        let why =
            format!("job {} waits for no confirmation (state {}); see `status`", record.job, record.state);
        return Err(Stop::new(Code::Malformed, why));
    };
    let is_later = |began: std::time::Duration| began.as_millis() > u128::from(activated_at);
    let why = match peer::session(peer_pid) {
        Session::Sshd { began } if is_later(began) => return Ok(()),
        Session::Sshd { .. } => {
            "this connection was opened before the activation ended, so it proves nothing; confirm over a new one (ssh -o ControlPath=none)"
        }
        // No connection outlives tailscaled, so one that it started after the activation took is new.
        Session::Tailscale { daemon, .. } if is_later(daemon) => return Ok(()),
        Session::Tailscale { .. } => {
            "Tailscale SSH does not say when this connection was opened, so it proves nothing; confirm through OpenSSH, or set confirm.mode = \"health\": see docs/tailscale.md"
        }
        Session::Other => {
            "a confirmation counts only through sshd, which is not among the parents of this call"
        }
    };
    Err(Stop::new(Code::NotAllowed, why))
}

/// `status`: where the host stands.
pub fn status(machine: &mut Machine, format: Format) -> Result<String, StoreError> {
    // A state that cannot be read is said; what the host runs is known without it.
    let (state, problem) = match machine.store.state() {
        Ok(state) => (state, None),
        Err(error) => (HostState::default(), Some(error.to_string())),
    };
    let job = current(&machine.store).ok().flatten();
    let text = |path: Option<String>| path.unwrap_or_else(|| "unknown".to_owned());
    let running = running_system().map(|s| s.to_string());
    let booted = crate::act::machine::system_at("/run/booted-system").map(|s| s.to_string());
    let profile = profile_system();
    let default = machine.boot_default().ok().flatten().map(|s| s.to_string());
    let reboot = running_system().is_some_and(|s| crate::act::machine::needs_reboot(&s));
    let head = machine.store.audit_head()?;
    let signatures = match machine.config.source.kind {
        SourceKind::Prebuilt => "manifest",
        SourceKind::Flake | SourceKind::Nix => machine.config.trust.signatures.as_str(),
    };
    let sequence = state.sequence.as_ref().map(|sequence| sequence.number);
    let newest = machine.store.jobs()?.last().map(ToString::to_string);
    if format == Format::Json {
        let value = json!({
            "v": 1,
            "running": running, "booted": booted, "default": default,
            "profile": profile.as_ref().map(|(s, _)| s.to_string()), "generation": profile.as_ref().map(|(_, n)| n),
            "anchor": state.anchor, "sequence": sequence, "permanent": state.permanent, "at": state.at, "bad": state.bad,
            "signatures": signatures, "reboot-required": reboot,
            "job": job.as_ref().map(|(_, record)| json!({
                "job": record.job, "verb": record.verb, "identity": record.identity, "state": record.state,
                "age": clock::since_boot().as_secs().saturating_sub(record.accepted_at),
                "confirm-in": record.confirm_by.map(|by| by.saturating_sub(clock::since_boot().as_secs())),
            })),
            "problem": problem, "newest-job": newest, "audit": head.to_string(),
        });
        return Ok(format!("{value:#}\n"));
    }
    let mut out = format!(
        "running   {}\nbooted    {}\ndefault   {}\nprofile   {}\n",
        text(running.clone()),
        text(booted),
        text(default.clone()),
        profile.map_or("unknown".to_owned(), |(system, number)| format!("{system} (generation {number})")),
    );
    if default.is_some() && default != running {
        out += "note      what runs is not what the next boot starts\n";
    }
    if let Some(problem) = &problem {
        out += &format!("problem   {problem}\n");
    }
    out += &format!("anchor    {}\n", text(state.anchor.clone()));
    out += &sequence.map(|number| format!("sequence  {number}\n")).unwrap_or_default();
    if !state.permanent.is_empty() {
        out += "committed systems, newest first; * is where the host is:\n";
    }
    for (index, permanent) in state.permanent.iter().enumerate().rev().take(5) {
        let mark = if index == state.at { "*" } else { " " };
        let commit = permanent.commit.clone().unwrap_or_else(|| "-".to_owned());
        out += &format!(
            "{mark} generation {} {} {commit} {}\n",
            permanent.generation, permanent.system, permanent.at
        );
    }
    if !state.bad.is_empty() {
        out += "known bad, because their trial failed here; the timer leaves them alone:\n";
    }
    for commit in state.bad.iter().rev().take(5) {
        out += &format!("  {commit}\n");
    }
    out += &format!("signatures {signatures}\nreboot-required {}\n", if reboot { "yes" } else { "no" });
    match job {
        Some((_, record)) => out += &format!("job       {}\n", busy(&record).why),
        None => {
            out += &format!(
                "job       none{}\n",
                newest.map_or(String::new(), |job| format!("; the last was {job}"))
            )
        }
    }
    Ok(out + &format!("audit     {head}\n"))
}
