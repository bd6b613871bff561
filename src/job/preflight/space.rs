//! Room, asked before it is needed. What cannot be known is said and not guessed.

use crate::act::machine::Machine;
use crate::act::space::free;
use crate::decide::config::{Bytes, Loader};
use crate::decide::outcome::Stop;
use crate::decide::preflight::space::{Need, enough};
use crate::decide::value::StorePath;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const STORE: &str = "/nix/store";
const BOOT: &str = "/boot";

/// Before a build, which writes the most, and again before what was built is tried.
pub fn for_the_store(machine: &Machine) -> Result<(), Stop> {
    let space = &machine.config.space;
    for (place, left, key) in [
        (STORE, space.store, "space.store"),
        ("/nix/var", space.store, "space.store"),
        (crate::act::store::ROOT, space.state, "space.state"),
    ] {
        ask(machine, place, 0, left, key)?;
    }
    Ok(())
}

/// Before the boot loader has to copy a kernel and an initrd.
pub fn for_the_boot_loader(machine: &Machine, system: &StorePath) -> Result<(), Stop> {
    match machine.config.boot.loader {
        Loader::None => Ok(()),
        // NixOS copies into /boot only what GRUB cannot read from the store.
        Loader::Grub if device(BOOT).is_some() && device(BOOT) == device(STORE) => {
            ask(machine, BOOT, 0, machine.config.space.boot, "space.boot")
        }
        Loader::Grub | Loader::SystemdBoot => {
            ask(machine, BOOT, to_be_copied(system), machine.config.space.boot, "space.boot")
        }
    }
}

fn ask(machine: &Machine, place: &str, candidate: u64, left: Bytes, key: &'static str) -> Result<(), Stop> {
    let inodes = machine.config.space.inodes;
    match free(Path::new(place)) {
        Ok(free) => enough(place, free, Need { candidate, left: left.count(), inodes, key }),
        Err(error) => {
            machine.log.line(format_args!("how much room {place} has cannot be known: {error}"));
            Ok(())
        }
    }
}

fn device(path: &str) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.dev())
}

/// The sizes of what the installer names by store path (systemd-boot-builder.py, install-grub.pl) and has not copied
/// for a generation of the profile yet.
fn to_be_copied(system: &StorePath) -> u64 {
    let generations = fs::read_dir("/nix/var/nix/profiles").into_iter().flatten().flatten();
    let there: BTreeSet<PathBuf> = generations
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("system-"))
        .flat_map(|entry| boot_files(&entry.path()))
        .collect();
    let needed: BTreeSet<PathBuf> = boot_files(Path::new(system.as_str())).into_iter().collect();
    needed.difference(&there).filter_map(|file| fs::metadata(file).ok()).map(|metadata| metadata.len()).sum()
}

/// Kernel and initrd of a system and of its specialisations, where they lead.
fn boot_files(system: &Path) -> Vec<PathBuf> {
    let special = fs::read_dir(system.join("specialisation")).into_iter().flatten().flatten();
    let systems = std::iter::once(system.to_owned()).chain(special.map(|entry| entry.path()));
    let files = systems.flat_map(|system| ["kernel", "initrd"].map(|name| system.join(name)));
    files.filter_map(|file| fs::canonicalize(file).ok()).collect()
}
