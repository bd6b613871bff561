//! After a restart of the host, which may have been a power cut, a candidate is read before it is trusted.

use super::step;
use crate::act::machine::Machine;
use crate::decide::answer::Code;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::record::HostState;
use crate::decide::value::StorePath;

/// Reads all of a candidate that was not read in this boot yet. What is damaged is removed where nothing else needs it,
/// so that the next deploy makes it anew.
pub fn ensure(machine: &mut Machine, state: &mut HostState, system: &StorePath) -> Result<(), Stop> {
    let known = machine.known_whole();
    if known.contains(system.as_str()) {
        return Ok(());
    }
    let closure = step(machine.closure(system), Code::CheckRefused)?;
    if closure.is_empty() {
        return Err(Stop::new(
            Code::CheckRefused,
            format_args!("Nix does not say what {system} refers to; ask again"),
        ));
    }
    let unknown: Vec<&StorePath> = closure.iter().filter(|path| !known.contains(path.as_str())).collect();
    if !step(machine.are_whole(&unknown), Code::CheckRefused)?.is_success() {
        return Err(refuse(machine, state, system, &unknown));
    }
    // What was built just now is on the disk before it counts.
    nix::unistd::sync();
    if let Err(error) = machine.note_whole(&closure) {
        machine.log.line(format_args!("it will be read again: {error}"));
    }
    Ok(())
}

fn refuse(machine: &mut Machine, state: &mut HostState, system: &StorePath, among: &[&StorePath]) -> Stop {
    machine.drop_candidate();
    state.built = None;
    let written = machine.store.write_state(state).or_stop(Code::NotWritable);
    let what_now = match written.and_then(|()| remove(machine, among)) {
        Ok(damage) if !damage.kept.is_empty() => {
            format!(
                "what runs or is kept needs that, too; on the host: nix-store --repair-path {}",
                damage.kept.join(" ")
            )
        }
        Ok(Damage { removed: true, .. }) => "it is removed: ask again, and it is made anew".to_owned(),
        Ok(_) => "a second look found nothing: ask again".to_owned(),
        Err(stop) => return stop,
    };
    let why = format!(
        "{system} is damaged in the store, as by a power cut (the lines above say where); {what_now}"
    );
    Stop::new(Code::CheckRefused, why)
}

/// What was damaged.
#[derive(Debug, Default)]
struct Damage {
    removed: bool,
    kept: Vec<String>,
}

/// One path is looked at after the other, so that an exit code says which. What needs a damaged one goes with it, unless
/// something else keeps that.
fn remove(machine: &mut Machine, among: &[&StorePath]) -> Result<Damage, Stop> {
    let mut damage = Damage::default();
    for path in among {
        if step(machine.are_whole(&[path]), Code::CheckRefused)?.is_success() {
            continue;
        }
        let needing = step(machine.all_that_needs(path), Code::CheckRefused)?;
        let needing: Vec<&StorePath> = needing.iter().collect();
        if needing.is_empty() {
            continue; // it went with another one
        }
        match step(machine.delete(&needing), Code::CheckRefused)?.is_success() {
            true => damage.removed = true,
            false => damage.kept.push(path.to_string()),
        }
    }
    Ok(damage)
}
