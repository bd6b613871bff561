//! A system's own files, read and not run.

use super::machine::{Machine, running_system, system_at};
use super::store::Store;
use crate::decide::preflight::reboot::{self, SystemFiles};
use crate::decide::privileged::{CANDIDATE, PROFILES, SYSTEM};
use crate::decide::specialisation::Specialisation;
use crate::decide::value::{Name, StorePath};
use std::fs;
use std::path::Path;

/// What the running machine was started with.
pub const BOOTED: &str = "/run/booted-system";

pub fn files_of(system: &Path) -> SystemFiles {
    let read = |name: &str| fs::read_to_string(system.join(name)).ok();
    let target = |name: &str| fs::canonicalize(system.join(name)).ok()?.to_str().map(str::to_owned);
    SystemFiles {
        init_interface: read("init-interface-version").unwrap_or_default().trim().to_owned(),
        inhibitors: read("switch-inhibitors"),
        triggers: read("reboot-triggers"),
        kernel: target("kernel"),
        initrd: target("initrd"),
        kernel_modules: target("kernel-modules"),
        kernel_params: read("kernel-params"),
        systemd: target("systemd"),
    }
}

/// What of a system is in force only after a restart. Of the booted one, nothing is.
pub fn reboot_reasons(system: &StorePath) -> Vec<String> {
    if system_at(BOOTED).as_ref() == Some(system) {
        return Vec::new();
    }
    reboot::reasons(&files_of(Path::new(BOOTED)), &files_of(Path::new(system.as_str())))
}

/// The specialisation of a system that has this name.
pub fn specialisation(of: &StorePath, name: &Name) -> Option<StorePath> {
    system_at(of.join("specialisation").join(name.as_str()).to_str()?)
}

/// What a system is of another one, where it is a specialisation of that.
pub fn specialisation_of(system: &StorePath, of: &StorePath) -> Option<Specialisation> {
    let entries = fs::read_dir(of.join("specialisation")).ok()?;
    let is = |path: &Path| fs::canonicalize(path).is_ok_and(|target| target == Path::new(system.as_str()));
    let entry = entries.flatten().find(|entry| is(&entry.path()))?;
    Some(Specialisation { name: entry.file_name().to_string_lossy().into_owned(), of: of.to_string() })
}

/// Whether what runs is this system, as such or by one of its specialisations.
pub fn is_of(running: &StorePath, system: &StorePath) -> bool {
    running == system || specialisation_of(running, system).is_some()
}

impl Machine {
    /// What runs, where that is a specialisation. It does not know its own name; the systems know it that may have been
    /// activated here, and are still in the store.
    pub fn running_specialisation(&self) -> Option<Specialisation> {
        let running = running_system()?;
        holders(&self.store).iter().find_map(|of| specialisation_of(&running, of))
    }
}

/// The profile, what was tried last, what was booted, every generation, and whatever else a job tried: newest first.
fn holders(store: &Store) -> Vec<StorePath> {
    let links = [SYSTEM, CANDIDATE, BOOTED].into_iter().filter_map(system_at);
    let kept = generations().into_iter().rev().map(|(.., system)| system);
    let jobs = store.jobs().unwrap_or_default().into_iter().rev();
    let tried = jobs.filter_map(|job| StorePath::parse(&store.record(&job).ok()??.new?).ok());
    links.chain(kept).chain(tried).collect()
}

/// The generations of the system profile, oldest first: number, when it was made, system.
pub fn generations() -> Vec<(u32, Option<String>, StorePath)> {
    let entries = fs::read_dir(PROFILES).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix("system-")?.strip_suffix("-link")?.parse().ok()?;
            let made = fs::symlink_metadata(entry.path()).ok().and_then(|link| link.modified().ok());
            let at = made.map(|at| humantime::format_rfc3339_seconds(at).to_string());
            Some((number, at, system_at(&format!("{SYSTEM}-{number}-link"))?))
        })
        .collect();
    found.sort_by_key(|(number, ..)| *number);
    found
}
