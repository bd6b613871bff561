//! Verify: the commit's own bytes, who signed it, how old it is, and that it goes forward. What passes leaves
//! quarantine.

use super::fetch::settle;
use super::step;
use crate::act::begun::Begun;
use crate::act::clock;
use crate::act::files::{read_trusted, read_trusted_bytes};
use crate::act::keys::{ALLOWED_SIGNERS, Namespace, REVOKED};
use crate::act::machine::{Machine, profile_system, revision_of};
use crate::decide::answer::Code;
use crate::decide::config::Signatures;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::policy::TIMER;
use crate::decide::record::HostState;
use crate::decide::state::State;
use crate::decide::trust::{self, Untrusted};
use crate::decide::value::Commit;
use std::fs;
use std::path::Path;

/// How many commits one deploy may bring where each has to be signed.
const MOST_COMMITS: usize = 1000;

pub fn verify(
    machine: &mut Machine,
    begun: &mut Begun,
    state: &HostState,
    commit: &Commit,
) -> Result<(), Stop> {
    let verified = judge(machine, begun, state, commit);
    settle(machine, commit, verified)?;
    begun.enter(&machine.store, State::Verified).or_stop(Code::NotWritable)
}

fn judge(machine: &mut Machine, begun: &Begun, state: &HostState, commit: &Commit) -> Result<(), Stop> {
    let signatures = machine.config.trust.signatures;
    let raw = objects(machine, std::slice::from_ref(commit))?;
    match signatures {
        Signatures::None => machine.log.line("signatures = \"none\": the commit's signature is not checked"),
        Signatures::Tip | Signatures::EveryCommit => {
            raw.iter().try_for_each(|raw| signature(machine, begun, commit, raw))?;
        }
    }
    raw.iter().try_for_each(|raw| age(machine, raw))?;
    let anchor = forward_only(machine, state, commit)?;
    if signatures == Signatures::EveryCommit {
        every_signature(machine, begun, &anchor, commit)?;
    }
    not_known_bad(machine, begun, state, commit)
}

/// The bytes of commits, each as its id says.
fn objects(machine: &mut Machine, commits: &[Commit]) -> Result<Vec<Vec<u8>>, Stop> {
    let found = step(machine.commit_objects(commits), Code::NotTrusted)?;
    let found = found.ok_or_else(|| Stop::new(Code::NotTrusted, Untrusted::Form))?;
    match found.iter().zip(commits).find(|(raw, commit)| !trust::hashes_to(raw, commit.as_str())) {
        Some((_, commit)) => Err(Stop::new(Code::NotTrusted, Untrusted::WrongBytes(commit.to_string()))),
        None => Ok(found),
    }
}

fn signature(machine: &mut Machine, begun: &Begun, commit: &Commit, raw: &[u8]) -> Result<(), Stop> {
    let signed = trust::split(raw, commit.as_str()).or_stop(Code::NotTrusted)?;
    if is_signed(machine, begun, Namespace::Git, &signed.payload, &signed.signature)? {
        return Ok(());
    }
    let why = "the commit's signature is by no key that may sign here (unknown, revoked or expired); the keys stand in /etc/nixgate/allowed_signers";
    Err(Stop::new(Code::NotTrusted, why))
}

/// Whether somebody who may sign this kind of thing, today, signed exactly these bytes.
pub fn is_signed(
    machine: &mut Machine,
    begun: &Begun,
    namespace: Namespace,
    payload: &[u8],
    signature: &[u8],
) -> Result<bool, Stop> {
    // Both have to be there, and nobody's but root's: without its list of revoked keys git trusts them all.
    read_trusted(Path::new(ALLOWED_SIGNERS)).or_stop(Code::Misconfigured)?;
    read_trusted_bytes(Path::new(REVOKED)).or_stop(Code::Misconfigured)?;
    let file = machine.store.job_dir(begun.job()).join("signature");
    fs::write(&file, signature).or_stop(Code::NotWritable)?;
    step(machine.is_signed_by_allowed(namespace, payload, &file), Code::NotTrusted)
}

/// Each commit that would come along, those that merges bring included.
fn every_signature(machine: &mut Machine, begun: &Begun, anchor: &Commit, tip: &Commit) -> Result<(), Stop> {
    let found = step(machine.commits_since(anchor, tip, MOST_COMMITS + 1), Code::NotTrusted)?;
    let commits = found.ok_or_else(|| Stop::new(Code::NotTrusted, Untrusted::Form))?;
    if commits.len() > MOST_COMMITS {
        let why = format!(
            "more than {MOST_COMMITS} commits lie between {anchor}, the last one made permanent here, and {tip}, and each signature would have to be checked; look at them, then on the host: nixgatectl anchor --set COMMIT"
        );
        return Err(Stop::new(Code::NotTrusted, why));
    }
    let objects = objects(machine, &commits)?;
    machine.log.line(format_args!("checking the signatures of {} commits", commits.len()));
    for (commit, raw) in commits.iter().zip(&objects).filter(|(commit, _)| *commit != tip) {
        signature(machine, begun, commit, raw).map_err(|stop| Stop {
            why: format!(
                "{commit}, which comes along with {tip}: {} (trust.signatures = \"every-commit\")",
                stop.why
            ),
            ..stop
        })?;
    }
    Ok(())
}

fn age(machine: &Machine, raw: &[u8]) -> Result<(), Stop> {
    let (committed, now) = (trust::committed(raw).or_stop(Code::NotTrusted)?, clock::wall_seconds());
    trust::not_from_the_future(committed, now).or_stop(Code::NotTrusted)?;
    match machine.config.trust.max_commit_age {
        Some(limit) => trust::not_too_old(committed, now, limit).or_stop(Code::NotTrusted),
        None => Ok(()),
    }
}

/// The anchor is the highest commit made permanent; whatever is taken descends from it.
fn forward_only(machine: &mut Machine, state: &HostState, commit: &Commit) -> Result<Commit, Stop> {
    let refuse = |why: String| Err(Stop::new(Code::NotTrusted, why));
    let deployed = profile_system().and_then(|(system, _)| revision_of(&system));
    let recorded = state.anchor.as_deref().and_then(|text| Commit::parse(text).ok());
    let anchor = match (recorded, deployed) {
        (Some(anchor), Some(deployed)) => {
            if !step(machine.is_ancestor(&deployed, &anchor), Code::NotTrusted)? {
                return refuse(format!(
                    "the system of the profile was made from {deployed}, which is not in the history of {anchor}, the last commit made permanent here; on the host: nixgatectl anchor --set {deployed}"
                ));
            }
            anchor
        }
        (Some(anchor), None) | (None, Some(anchor)) => anchor,
        (None, None) => match machine.config.trust.first_commit.clone() {
            Some(first) => first,
            None => {
                return refuse(format!(
                    "nobody knows which commit this host is at: neither the state nor the system says it; on the host, if that is right: nixgatectl anchor --set {commit} (or first-commit below [trust])"
                ));
            }
        },
    };
    if step(machine.is_ancestor(&anchor, commit), Code::NotTrusted)? {
        return Ok(anchor);
    }
    refuse(format!(
        "the commit {commit} does not descend from {anchor}, the last one made permanent here; nixgate goes forward only (rollback returns to systems that ran here); if the branch was rewritten on purpose, on the host: nixgatectl anchor --set COMMIT"
    ))
}

/// What failed here is not tried again by itself, and not without a word.
pub fn not_known_bad(
    machine: &Machine,
    begun: &Begun,
    state: &HostState,
    commit: &Commit,
) -> Result<(), Stop> {
    if !state.bad.iter().any(|bad| bad == commit.as_str()) {
        return Ok(());
    }
    if begun.record().identity == TIMER {
        let why = "the trial of this commit failed here before, so the timer does not try it again; an explicit request may";
        return Err(Stop::new(Code::NotTrusted, why));
    }
    machine
        .log
        .line("the trial of this commit failed here before; it is tried again because it was asked for");
    Ok(())
}
