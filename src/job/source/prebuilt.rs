//! Prebuilt: a signed manifest on the branch names the system; it is taken from a cache, and nothing is evaluated.
//! The manifest takes the place of the commit's signature, and its sequence that of ancestry.

use super::fetch::{fetch, settle};
use super::step;
use super::verify::{is_signed, not_known_bad};
use crate::act::begun::Begun;
use crate::act::cache::{Extent, Proof};
use crate::act::keys::Namespace;
use crate::act::machine::{Machine, revision_of};
use crate::decide::answer::Code;
use crate::decide::manifest::{self, Here, Manifest};
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::record::{Built, HostState};
use crate::decide::state::State;
use crate::decide::value::{Branch, Commit, StorePath};
use crate::job::preflight::space::for_the_store;
use std::time::SystemTime;

pub fn prebuilt(
    machine: &mut Machine,
    begun: &mut Begun,
    state: &mut HostState,
    branch: &Branch,
    wanted: Option<&Commit>,
) -> Result<StorePath, Stop> {
    let tip = fetch(machine, begun, branch, None)?;
    let manifest = signed(machine, begun, branch, &tip).and_then(|manifest| {
        permit(machine, begun, state, &manifest, wanted)?;
        Ok(manifest)
    });
    let manifest = settle(machine, &tip, manifest)?;
    begun.enter(&machine.store, State::Verified).or_stop(Code::NotWritable)?;
    take(machine, state, &manifest)
}

/// The manifest of this host, once somebody who may has signed its bytes; before that nothing of it is read.
fn signed(machine: &mut Machine, begun: &Begun, branch: &Branch, tip: &Commit) -> Result<Manifest, Stop> {
    let path = format!("nixgate/{}.manifest", machine.config.source.system);
    let Some(bytes) = step(machine.file_at(tip, &path), Code::FetchFailed)? else {
        let why = format!("{branch} has no {path}; make one and push it: nixgatectl manifest sign");
        return Err(Stop::new(Code::FetchFailed, why));
    };
    let Some(signature) = step(machine.file_at(tip, &format!("{path}.sig")), Code::FetchFailed)? else {
        let why = format!("the manifest is not signed: {branch} has {path} and no {path}.sig; push both");
        return Err(Stop::new(Code::NotTrusted, why));
    };
    if !is_signed(machine, begun, Namespace::Manifest, &bytes, &signature)? {
        let why = "the manifest's signature is by no key that may sign manifests here (unknown, revoked, expired, for another namespace or other bytes); the keys stand in /etc/nixgate/allowed_signers with namespaces=\"nixgate-manifest\"";
        return Err(Stop::new(Code::NotTrusted, why));
    }
    Manifest::parse(&bytes).or_stop(Code::NotTrusted)
}

fn permit(
    machine: &mut Machine,
    begun: &mut Begun,
    state: &HostState,
    manifest: &Manifest,
    wanted: Option<&Commit>,
) -> Result<(), Stop> {
    let here = Here {
        host: &machine.config.source.system,
        now: SystemTime::now(),
        wanted,
        last: state.sequence.as_ref(),
        first: machine.config.trust.first_sequence,
    };
    manifest::judge(manifest, &here).or_stop(Code::NotTrusted)?;
    begun.note_manifest(manifest.commit.as_str(), manifest.sequence);
    not_known_bad(machine, begun, state, &manifest.commit)?;
    let until = manifest::written(manifest.not_after);
    machine.log.line(format_args!(
        "the manifest is good until {until}: sequence {}, commit {}",
        manifest.sequence, manifest.commit
    ));
    Ok(())
}

/// Taken and proven once: while the root stays, the signatures under the same keys do too.
fn take(machine: &mut Machine, state: &mut HostState, manifest: &Manifest) -> Result<StorePath, Stop> {
    let system = &manifest.path;
    let keys: Vec<&str> = machine.config.source.cache_keys.iter().map(|key| key.as_str()).collect();
    let built = Built {
        commit: manifest.commit.to_string(),
        attribute: format!("prebuilt {}", keys.join(" ")),
        system: system.to_string(),
    };
    if state.built.as_ref() == Some(&built) && machine.candidate().as_ref() == Some(system) {
        machine.log.line(format_args!("already taken: {system}"));
        return Ok(system.clone());
    }
    machine.fit_to_take().or_stop(Code::Misconfigured)?;
    machine.write_verification_settings().or_stop(Code::NotWritable)?;
    bring(machine, system)?;
    if let Err(stop) = prove(machine, manifest) {
        machine.drop_candidate();
        return Err(stop);
    }
    state.built = Some(built);
    machine.store.write_state(state).or_stop(Code::NotWritable)?;
    Ok(system.clone())
}

/// From a cache into the store, where it is not there yet.
fn bring(machine: &mut Machine, system: &StorePath) -> Result<(), Stop> {
    if step(machine.is_in_store(system), Code::BuildFailed)? {
        machine.log.line(format_args!("in the store already, to be verified: {system}"));
    } else {
        for_the_store(machine)?;
        machine.log.line(format_args!("taking {system} from a cache"));
        is_offered(machine, system)?;
    }
    if step(machine.take(system), Code::BuildFailed)?.is_success() {
        return Ok(());
    }
    for cache in machine.config.source.caches.clone() {
        if step(machine.cache_has(&cache, system, Extent::Closure), Code::BuildFailed)? == Proof::Untrusted {
            let why = format!(
                "{} has a part of the system that no key of source.cache-keys signed (named above); sign it there: nix store sign --recursive",
                cache.as_str()
            );
            return Err(Stop::new(Code::NotTrusted, why));
        }
    }
    let why = "the system could not be taken from source.caches (the lines above say why); on the host: nixgatectl check, which says whether nix.conf names each cache and key";
    Err(Stop::new(Code::BuildFailed, why))
}

/// Whether some cache has it, signed. One that account nixgate cannot ask is left to the daemon, which may have a
/// password for it.
fn is_offered(machine: &mut Machine, system: &StorePath) -> Result<(), Stop> {
    let mut untrusted = None;
    let mut asked_all = true;
    for cache in machine.config.source.caches.clone() {
        match step(machine.cache_has(&cache, system, Extent::Top), Code::BuildFailed)? {
            Proof::Good => return Ok(()),
            Proof::Untrusted => untrusted = Some(cache),
            Proof::Missing => {}
            Proof::Damaged => asked_all = false,
        }
    }
    match untrusted {
        _ if !asked_all => Ok(()),
        Some(cache) => {
            let why = format!(
                "{} has the system, and no key of source.cache-keys signed it; sign it there (nix store sign), or add the cache's key",
                cache.as_str()
            );
            Err(Stop::new(Code::NotTrusted, why))
        }
        None => {
            let why = format!("no cache of source.caches has {system}; push it there before its manifest");
            Err(Stop::new(Code::BuildFailed, why))
        }
    }
}

/// What lies in the store now is what was signed, a system, and made from the commit that the manifest names.
fn prove(machine: &mut Machine, manifest: &Manifest) -> Result<(), Stop> {
    let system = &manifest.path;
    match step(machine.closure_is_signed(system), Code::BuildFailed)? {
        Proof::Good => {}
        Proof::Untrusted => {
            let why = "the system has paths that no key of source.cache-keys signed (named above), whoever put them into this store; push them to the cache, signed";
            return Err(Stop::new(Code::NotTrusted, why));
        }
        Proof::Missing | Proof::Damaged => {
            let why = "the system's paths are not whole in this store (the lines above say which); on the host: nix-store --verify --check-contents --repair";
            return Err(Stop::new(Code::BuildFailed, why));
        }
    }
    for name in ["nixos-version", "bin/switch-to-configuration"] {
        if !system.join(name).is_file() {
            let why = format!(
                "what the manifest names is no NixOS system: it has no {name}; sign the path of config.system.build.toplevel"
            );
            return Err(Stop::new(Code::CheckRefused, why));
        }
    }
    match revision_of(system).filter(|revision| *revision != manifest.commit) {
        None => Ok(()),
        Some(revision) => {
            let why = format!(
                "the system says that it was made from {revision}, and its manifest says {}; sign it with the commit that it was built at",
                manifest.commit
            );
            Err(Stop::new(Code::NotTrusted, why))
        }
    }
}
