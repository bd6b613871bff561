//! Verify: the commit's own bytes, who signed it, and that it goes forward.

use super::step;
use crate::act::begun::Begun;
use crate::act::clock;
use crate::act::files::{self, read_trusted, read_trusted_bytes};
use crate::act::keys::{ALLOWED_SIGNERS, Namespace, REVOKED};
use crate::act::machine::{Machine, profile_system, revision_of};
use crate::decide::answer::Code;
use crate::decide::config::Signatures;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::policy::TIMER;
use crate::decide::record::HostState;
use crate::decide::state::State;
use crate::decide::trust;
use crate::decide::value::Commit;
use std::path::Path;

pub fn verify(
    machine: &mut Machine,
    begun: &mut Begun,
    state: &HostState,
    commit: &Commit,
) -> Result<(), Stop> {
    let raw = step(machine.commit_object(commit), Code::NotTrusted)?
        .ok_or_else(|| Stop::new(Code::NotTrusted, trust::Untrusted::Form))?;
    if !trust::hashes_to(&raw, commit.as_str()) {
        return Err(Stop::new(Code::NotTrusted, trust::Untrusted::WrongBytes(commit.to_string())));
    }
    match machine.config.trust.signatures {
        Signatures::None => machine.log.line("signatures = \"none\": the commit's signature is not checked"),
        Signatures::Tip => signature(machine, begun, commit, &raw)?,
    }
    forward_only(machine, state, commit)?;
    not_known_bad(begun, state, commit)?;
    begun.enter(&machine.store, State::Verified).or_stop(Code::NotWritable)
}

/// What failed here is not for the timer to try again.
pub fn not_known_bad(begun: &Begun, state: &HostState, commit: &Commit) -> Result<(), Stop> {
    if begun.record().identity == TIMER && state.bad.iter().any(|bad| bad == commit.as_str()) {
        let why = "the trial of this commit failed here before, so the timer does not try it again; an explicit request may";
        return Err(Stop::new(Code::NotTrusted, why));
    }
    Ok(())
}

fn signature(machine: &mut Machine, begun: &Begun, commit: &Commit, raw: &[u8]) -> Result<(), Stop> {
    let signed = trust::split(raw, commit.as_str()).or_stop(Code::NotTrusted)?;
    trust::not_from_the_future(signed.committed, clock::wall_seconds()).or_stop(Code::NotTrusted)?;
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
    files::replace(&file, signature).or_stop(Code::NotWritable)?;
    step(machine.is_signed_by_allowed(namespace, payload, &file), Code::NotTrusted)
}

/// The anchor is the highest commit made permanent; whatever is taken descends from it.
fn forward_only(machine: &mut Machine, state: &HostState, commit: &Commit) -> Result<(), Stop> {
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
                    "this system does not say which commit it was made from; on the host, in /etc/nixgate/config.toml below [trust]: first-commit = \"{commit}\""
                ));
            }
        },
    };
    if step(machine.is_ancestor(&anchor, commit), Code::NotTrusted)? {
        return Ok(());
    }
    refuse(format!(
        "the commit {commit} does not descend from {anchor}, the last one made permanent here; nixgate goes forward only (rollback returns to systems that ran here)"
    ))
}
