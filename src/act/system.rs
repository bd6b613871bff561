//! A system's own files, read and not run.

use super::machine::system_at;
use crate::decide::preflight::reboot::{self, SystemFiles};
use crate::decide::privileged::{PROFILES, SYSTEM};
use crate::decide::value::StorePath;
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

/// The name of a system that is a specialisation of one of these, and of which.
pub fn specialisation_of(system: &StorePath, parents: &[String]) -> Option<(String, String)> {
    parents.iter().find_map(|parent| {
        let entries = fs::read_dir(Path::new(parent).join("specialisation")).ok()?;
        let is =
            |path: &Path| fs::canonicalize(path).is_ok_and(|target| target == Path::new(system.as_str()));
        let entry = entries.flatten().find(|entry| is(&entry.path()))?;
        Some((entry.file_name().to_string_lossy().into_owned(), parent.clone()))
    })
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
