//! Whoever else is activating a system on this host, by hand or by `nixos-rebuild`.

use crate::act::clock::Instant;
use crate::act::inbox::Woken;
use crate::act::machine::Machine;
use crate::decide::answer::Code;
use crate::decide::outcome::Stop;
use crate::decide::preflight::locks::{Inode, is_locked};
use crate::decide::privileged::Program;
use crate::job::source::step;
use nix::sys::stat::{major, minor};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// Under this lock switch-to-configuration works, whoever started it.
const LOCK: &str = "/run/nixos/switch-to-configuration.lock";
/// Neither a unit of somebody else's nor that lock tells us of its end.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Waits until nobody is, for as long as the configuration has others waited for.
pub fn await_others(machine: &mut Machine) -> Result<(), Stop> {
    let since = Instant::now();
    let mut told = None;
    while let Some(who) = who_switches(machine)? {
        let left = machine.patience.saturating_sub(since.elapsed());
        if left.is_zero() {
            return Err(busy(&who));
        }
        if told.as_ref() != Some(&who) {
            machine.log.line(format_args!(
                "{who} is activating a system on this host; waiting for it, at most {} s",
                left.as_secs()
            ));
            told = Some(who);
        }
        if machine.inbox.wait(Instant::now() + LOOK_AGAIN.min(left)) == Woken::Cancelled {
            return Err(Stop::new(Code::Cancelled, "cancelled; nothing was changed"));
        }
    }
    machine.patience = machine.patience.saturating_sub(since.elapsed());
    Ok(())
}

/// Once more, when waiting would let what was looked at change.
pub fn refuse_others(machine: &mut Machine) -> Result<(), Stop> {
    who_switches(machine)?.map_or(Ok(()), |who| Err(busy(&who)))
}

fn busy(who: &str) -> Stop {
    Stop::new(
        Code::Busy,
        format_args!("{who} is activating a system on this host; ask again when it has ended"),
    )
}

/// switch-to-configuration has one lock, and nixos-rebuild runs it in a unit of this name, in some versions with a
/// suffix (nixos-rebuild-ng, services.py).
fn who_switches(machine: &mut Machine) -> Result<Option<String>, Stop> {
    let args = ["list-units", "--plain", "--no-legend", "--no-pager", "--full"];
    let which =
        ["--state=active,activating,deactivating,reloading", "nixos-rebuild-switch-to-configuration*"];
    let ended = step(machine.ask(Program::Systemctl, &[&args[..], &which[..]].concat()), Code::CheckRefused)?;
    let unit = ended.text().split_whitespace().next().map(str::to_owned);
    Ok(unit.or_else(|| is_held(LOCK).then(|| "somebody else".to_owned())))
}

/// What cannot be seen here, the activation itself says later (11).
fn is_held(lock: &str) -> bool {
    let Ok(file) = fs::metadata(lock) else { return false };
    let inode = Inode { major: major(file.dev()), minor: minor(file.dev()), number: file.ino() };
    fs::read_to_string("/proc/locks").is_ok_and(|locks| is_locked(&locks, inode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::files;

    #[test]
    fn a_lock_that_is_held_is_seen_and_not_taken() {
        // A tmpfs, as /run is: there a file has the same number for everybody.
        let name = format!("/dev/shm/nixgate-held-{}", std::process::id());
        let lock = files::lock(name.as_ref()).unwrap().unwrap();
        assert!(is_held(&name));
        drop(lock);
        assert!(!is_held(&name));
        fs::remove_file(&name).unwrap();
        assert!(!is_held(&name));
    }
}
