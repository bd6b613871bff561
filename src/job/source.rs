//! From a permitted request to a candidate in the store: fetch, verify, build. Nothing is activated.

use crate::act::begun::Begun;
use crate::act::files::read_trusted;
use crate::act::keys::{ALLOWED_SIGNERS, REVOKED};
use crate::act::machine::{Machine, profile_system, revision_of, system_at};
use crate::act::process::RunError;
use crate::act::{clock, files};
use crate::decide::answer::Code;
use crate::decide::config::Signatures;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::plan::Candidate;
use crate::decide::policy::TIMER;
use crate::decide::privileged::SYSTEM;
use crate::decide::record::{Built, HostState};
use crate::decide::state::State;
use crate::decide::trust;
use crate::decide::value::{Branch, Commit, Generation, StorePath};
use std::path::Path;

/// The system that is to run, and the commit that it was made from.
pub fn candidate(
    machine: &mut Machine,
    begun: &mut Begun,
    state: &mut HostState,
    what: &Candidate,
) -> Result<StorePath, Stop> {
    let system = match what {
        Candidate::Source { branch, commit } => {
            let commit = fetch(machine, begun, branch, commit.as_ref())?;
            verify(machine, begun, state, &commit)?;
            build(machine, begun, state, &commit)?
        }
        Candidate::Earlier(generation) => earlier(machine, begun, state, *generation)?,
    };
    begun.note_candidate(system.as_str());
    begun.enter(&machine.store, State::Built).or_stop(Code::NotWritable)?;
    Ok(system)
}

/// A step that a child does: what its failure means to the caller.
pub fn step<T>(result: Result<T, RunError>, code: Code) -> Result<T, Stop> {
    result.map_err(|error| match error {
        RunError::Cancelled => Stop::new(Code::Cancelled, "cancelled; nothing was changed"),
        error => Stop::new(code, error),
    })
}

fn fetch(
    machine: &mut Machine,
    begun: &mut Begun,
    branch: &Branch,
    wanted: Option<&Commit>,
) -> Result<Commit, Stop> {
    let failed = |why: &str| Stop::new(Code::FetchFailed, why);
    machine.log.line(format_args!("fetching {branch}"));
    step(machine.ensure_repository(), Code::FetchFailed)?;
    if !step(machine.fetch(branch), Code::FetchFailed)?.is_success() {
        return Err(failed(&format!(
            "the branch {branch} could not be fetched (the lines above say why); on the host: nixgatectl check"
        )));
    }
    let tip =
        step(machine.incoming(), Code::FetchFailed)?.ok_or_else(|| failed("the branch names no commit"))?;
    let commit = match wanted {
        None => tip,
        Some(wanted) if step(machine.is_ancestor(wanted, &tip), Code::FetchFailed)? => wanted.clone(),
        Some(_) => {
            let why = format!("the commit that was asked for is not on {branch}; push it there first");
            return Err(Stop::new(Code::NotTrusted, why));
        }
    };
    begun.note_commit(commit.as_str());
    begun.enter(&machine.store, State::Fetched).or_stop(Code::NotWritable)?;
    Ok(commit)
}

fn verify(machine: &mut Machine, begun: &mut Begun, state: &HostState, commit: &Commit) -> Result<(), Stop> {
    let raw = step(machine.commit_object(commit), Code::NotTrusted)?
        .ok_or_else(|| Stop::new(Code::NotTrusted, trust::Untrusted::Form))?;
    if !trust::hashes_to(&raw, commit.as_str()) {
        return Err(Stop::new(Code::NotTrusted, trust::Untrusted::WrongBytes(commit.to_string())));
    }
    match machine.config.trust.signatures {
        Signatures::None => machine.log.line("signatures = \"none\": the commit's signature is not checked"),
        Signatures::Tip => signature(machine, begun, &raw)?,
    }
    forward_only(machine, state, commit)?;
    if begun.record().identity == TIMER && state.bad.iter().any(|bad| bad == commit.as_str()) {
        let why = "the trial of this commit failed here before, so the timer does not try it again; an explicit request may";
        return Err(Stop::new(Code::NotTrusted, why));
    }
    begun.enter(&machine.store, State::Verified).or_stop(Code::NotWritable)
}

fn signature(machine: &mut Machine, begun: &Begun, raw: &[u8]) -> Result<(), Stop> {
    let signed = trust::split(raw).or_stop(Code::NotTrusted)?;
    trust::not_from_the_future(signed.committed, clock::wall_seconds()).or_stop(Code::NotTrusted)?;
    // Both have to be there, and nobody's but root's: without its list of revoked keys git trusts them all.
    read_trusted(Path::new(ALLOWED_SIGNERS)).or_stop(Code::Misconfigured)?;
    read_trusted(Path::new(REVOKED)).or_stop(Code::Misconfigured)?;
    let file = machine.store.job_dir(begun.job()).join("signature");
    files::replace(&file, &signed.signature).or_stop(Code::NotWritable)?;
    if step(machine.is_signed_by_allowed(&signed, &file), Code::NotTrusted)? {
        return Ok(());
    }
    let why = "the commit's signature is by no key that may sign here (unknown, revoked or expired); the keys stand in /etc/nixgate/allowed_signers";
    Err(Stop::new(Code::NotTrusted, why))
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

fn build(
    machine: &mut Machine,
    begun: &mut Begun,
    state: &mut HostState,
    commit: &Commit,
) -> Result<StorePath, Stop> {
    let attribute = machine.attribute();
    let known = state.built.as_ref().filter(|b| b.commit == commit.as_str() && b.attribute == attribute);
    if let Some(system) = known.and_then(|b| StorePath::parse(&b.system).ok())
        && machine.candidate().as_ref() == Some(&system)
    {
        machine.log.line(format_args!("already built: {system}"));
        return Ok(system);
    }
    machine.log.line(format_args!("building {commit}"));
    machine.ensure_nix_directories().or_stop(Code::NotWritable)?;
    step(machine.publish(commit), Code::BuildFailed)?;
    if !step(machine.build(commit), Code::BuildFailed)?.is_success() {
        return Err(Stop::new(Code::BuildFailed, "the system could not be built; the lines above say why"));
    }
    let system =
        machine.candidate().ok_or_else(|| Stop::new(Code::BuildFailed, "nix made no system in the store"))?;
    if let Some(revision) = revision_of(&system).filter(|revision| revision != commit) {
        let why = format!(
            "the system says that it was made from {revision} and not from the verified commit; set system.configurationRevision to self.rev"
        );
        return Err(Stop::new(Code::NotTrusted, why));
    }
    state.built = Some(Built { commit: commit.to_string(), attribute, system: system.to_string() });
    machine.store.write_state(state).or_stop(Code::NotWritable)?;
    let _ = begun;
    Ok(system)
}

/// The target of a rollback, by record and never by "generation minus one".
fn earlier(
    machine: &mut Machine,
    begun: &mut Begun,
    state: &mut HostState,
    generation: Option<Generation>,
) -> Result<StorePath, Stop> {
    let now = machine.triple().or_stop(Code::CheckRefused)?;
    let refuse = |why: &str| Stop::new(Code::CheckRefused, why);
    let foreign = "that generation holds no system that nixgate committed; `status` lists those";
    let nothing = "there is nothing to go back to: no system was committed before this one";
    let none = "nothing was committed by nixgate yet; use nixos-rebuild --rollback on the host";
    let target = match generation {
        Some(generation) => system_at(&format!("{SYSTEM}-{generation}-link"))
            .and_then(|system| state.permanent.iter().rev().find(|p| p.system == system.as_str()))
            .ok_or_else(|| refuse(foreign))?,
        None => match state.last().ok_or_else(|| refuse(none))? {
            // It only waits for a boot: nobody has tried it, and what runs is the one before.
            last if now.is_kept(&last.system)
                && Some(&now.running) == state.before_last().map(|p| &p.system) =>
            {
                state.before_last().unwrap_or(last)
            }
            last if !now.is_all(&last.system) => last,
            _ => state.before_last().ok_or_else(|| refuse(nothing))?,
        },
    };
    let system = StorePath::parse(&target.system).or_stop(Code::CheckRefused)?;
    if let Some(commit) = target.commit.clone() {
        begun.note_commit(&commit);
    }
    machine.log.line(format_args!("going back to {system}"));
    if !step(machine.root_candidate(&system), Code::CheckRefused)?.is_success() {
        return Err(refuse("that system is no longer in the store; deploy its commit again"));
    }
    // The out-link of the last build is gone.
    state.built = None;
    machine.store.write_state(state).or_stop(Code::NotWritable)?;
    Ok(system)
}
