//! What is answered without a transaction: attach, confirm, cancel.

use super::follow::{Stream, follow};
use crate::act::store::{Store, StoreError};
use crate::act::{clock, peer};
use crate::decide::answer::Code;
use crate::decide::outcome::Stop;
use crate::decide::policy::Identity;
use crate::decide::record::Record;
use crate::decide::session::Session;
use crate::decide::state::State;
use crate::decide::value::JobId;
use std::os::fd::OwnedFd;

/// The job in progress, with its record. One that has its result is over, also while the state still names it.
pub fn current(store: &Store) -> Result<Option<(JobId, Record)>, StoreError> {
    let Some(job) = store.state()?.job.and_then(|text| JobId::parse(&text).ok()) else { return Ok(None) };
    if store.result(&job)?.is_some() {
        return Ok(None);
    }
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
        Some(job) if has_no_end(store, &job) => {
            let why = "that job has ended, and how is not written yet; `status` says where the host stands";
            Err((channel, Stop::new(Code::Internal, why)))
        }
        Some(job) => Ok(follow(store, &job, channel, Stream::Out)),
        None => {
            let why = "there is no such job here; `status` names the last ones";
            Err((channel, Stop::new(Code::Malformed, why)))
        }
    }
}

/// Whether nobody is at work who could still say how it ended: looked at again once nobody has the lock. Whoever died
/// before the end is waited for: recovery comes at once. Where the disk took no end, nobody knows when it will.
fn has_no_end(store: &Store, job: &JobId) -> bool {
    let is_silent = || matches!(store.result(job), Ok(None));
    let goes_on =
        matches!(current(store), Ok(Some((now, record))) if now == *job && !record.state.has_ended());
    is_silent() && !goes_on && matches!(store.lock(), Ok(Some(_))) && is_silent()
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
    } else if matches!(record.state, State::Committing | State::Reverting) || record.state.has_ended() {
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
