//! `status`: looks at all that says where the host stands. It takes no lock and changes nothing.

use super::answers;
use super::caller::freeze;
use crate::act::clock;
use crate::act::machine::{Machine, profile_system, revision_of, running_system, system_at};
use crate::act::store::StoreError;
use crate::act::system::{self, BOOTED, reboot_reasons};
use crate::decide::config::SourceKind;
use crate::decide::privileged::CANDIDATE;
use crate::decide::record::{HostState, Record};
use crate::decide::request::Format;
use crate::decide::status::{Generation, Job, Pointers, Status, standing};
use std::time::Duration;

/// How many generations are listed.
const LISTED: usize = 50;

pub fn status(machine: &mut Machine, format: Format) -> Result<String, StoreError> {
    let status = look(machine, format)?;
    match format {
        Format::Text => Ok(status.text()),
        Format::Json => status.json().map_err(|source| StoreError::Record {
            path: machine.store.path("state.json"),
            source: source.into(),
        }),
    }
}

fn look(machine: &mut Machine, format: Format) -> Result<Status, StoreError> {
    // A state that cannot be read is said; what the host runs is known without it.
    let (state, problem) = match machine.store.state() {
        Ok(state) => (state, None),
        Err(error) => (HostState::default(), Some(error.to_string())),
    };
    // So is a log that was edited: a caller who looks for a head in it has to know.
    let (heads, broken) = match (format, machine.store.audit_ends()) {
        (Format::Text, _) => (Vec::new(), None),
        (Format::Json, Ok(heads)) => (heads, None),
        (Format::Json, Err(error)) => (Vec::new(), Some(error.to_string())),
    };
    let record = answers::current(&machine.store).ok().flatten().map(|(_, record)| record);
    let running = running_system();
    let profile = profile_system();
    let text = |system: Option<crate::decide::value::StorePath>| system.map(|system| system.to_string());
    let default = text(machine.boot_default().ok().flatten());
    let (booted, candidate) = (text(system_at(BOOTED)), text(system_at(CANDIDATE)));
    let reboot_reasons = running.as_ref().map(reboot_reasons).unwrap_or_default();
    let specialisation = machine.running_specialisation();
    // GRUB's default may be the specialisation itself.
    let apart = specialisation.as_ref().filter(|_| default != text(running.clone()));
    let whole = apart.map(|special| special.of.clone()).or_else(|| text(running.clone()));
    let pointers = Pointers {
        running: whole.as_deref(),
        booted: booted.as_deref(),
        // Without a boot loader that can be read, the profile is taken for it.
        default: default.as_deref(),
    };
    Ok(Status {
        v: 1,
        standing: standing(pointers, &state, record.as_ref()),
        running: text(running),
        booted,
        default,
        generation: profile.as_ref().map(|(_, number)| *number),
        profile: profile.map(|(system, _)| system.to_string()),
        candidate,
        specialisation,
        generations: generations(&state),
        signatures: match (machine.config.source.kind, machine.config.trust.signatures) {
            (SourceKind::Prebuilt, _) => "manifest",
            (_, signatures) => signatures.as_str(),
        }
        .to_owned(),
        frozen: freeze(),
        reboot_required: !reboot_reasons.is_empty(),
        reboot_reasons,
        job: record.map(|record| job(&record)),
        newest_job: machine.store.jobs()?.last().map(ToString::to_string),
        problem: problem.or(broken),
        audit_heads: heads.iter().map(ToString::to_string).collect(),
        audit: machine.store.audit_head()?.to_string(),
        anchor: state.anchor,
        sequence: state.sequence.map(|sequence| sequence.number),
        permanent: state.permanent,
        at: state.at,
        bad: state.bad,
    })
}

/// Dates are those of the links; a commit is the one that nixgate noted, or the one that the system names.
fn generations(state: &HostState) -> Vec<Generation> {
    let noted = |system: &str| state.permanent.iter().rev().find(|p| p.system == system)?.commit.clone();
    let of = |(generation, at, system): (u32, Option<String>, crate::decide::value::StorePath)| Generation {
        commit: noted(system.as_str()).or_else(|| revision_of(&system).map(|commit| commit.to_string())),
        generation,
        at,
        system: system.to_string(),
    };
    system::generations().into_iter().rev().take(LISTED).map(of).collect()
}

fn job(record: &Record) -> Job {
    let now = clock::since_boot().as_secs();
    let confirm_in = record.confirm_by.map(|by| by.saturating_sub(now));
    Job {
        job: record.job.clone(),
        verb: record.verb.clone(),
        identity: record.identity.clone(),
        state: record.state,
        age: now.saturating_sub(record.accepted_at),
        state_age: now.saturating_sub(record.state_at),
        confirm_in,
        confirm_by: confirm_in.map(|left| clock::wall_in(Duration::from_secs(left))),
    }
}
