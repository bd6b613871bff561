//! The host's pointers, as files: profiles, the running system, the boot loader. What root's programs do to them, in
//! two halves, so that something can happen between them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Which part of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    First,
    Second,
}

pub const RUNNING: &str = "/run/current-system";
/// What the services run: an activation that died half way leaves another one here than in [`RUNNING`].
pub const SERVICES: &str = "/run/services";
const LOADER: &str = "/boot/loader/loader.conf";

pub fn link(path: &Path, target: &Path) {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    symlink(target, &new).unwrap();
    fs::rename(&new, path).unwrap();
}

/// Generations of a profile: number, and where it leads.
pub fn generations(profile: &Path) -> Vec<(u32, PathBuf)> {
    let name = profile.file_name().unwrap().to_str().unwrap();
    let number =
        |entry: &str| entry.strip_prefix(name)?.strip_prefix('-')?.strip_suffix("-link")?.parse().ok();
    let entries = fs::read_dir(profile.parent().unwrap()).unwrap().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|e| Some((number(e.file_name().to_str()?)?, fs::read_link(e.path()).ok()?)))
        .collect();
    found.sort();
    found
}

fn generation_link(profile: &Path, number: u32) -> PathBuf {
    profile.with_file_name(format!("{}-{number}-link", profile.file_name().unwrap().to_str().unwrap()))
}

/// `nix-env --profile PROFILE --set PATH`: the generation, then the profile.
pub fn set(profile: &Path, path: &Path, half: Half) -> i32 {
    let Ok(target) = fs::canonicalize(path) else { return 1 };
    let all = generations(profile);
    let number = match all.last() {
        // Nix makes no second generation of the newest one.
        Some((number, newest)) if *newest == target => *number,
        newest => newest.map_or(0, |(number, _)| *number) + 1,
    };
    let generation = generation_link(profile, number);
    match half {
        Half::First => link(&generation, &target),
        Half::Second => link(profile, generation.file_name().unwrap().as_ref()),
    }
    0
}

/// `--delete-generations +KEEP`
pub fn prune(profile: &Path, keep: usize) -> i32 {
    let current = fs::read_link(profile).ok();
    let all = generations(profile);
    for (number, _) in all.iter().rev().skip(keep) {
        let generation = generation_link(profile, *number);
        if current.as_deref() != generation.file_name().map(Path::new) {
            fs::remove_file(generation).unwrap();
        }
    }
    0
}

/// `switch-to-configuration test`: the link, then the services.
pub fn activate(profile: &Path, half: Half) -> i32 {
    let Ok(system) = fs::canonicalize(profile) else { return 203 };
    match half {
        Half::First => link(Path::new(RUNNING), &system),
        Half::Second => link(Path::new(SERVICES), &system),
    }
    0
}

/// `switch-to-configuration boot`: an entry for each generation, then the default.
pub fn install_loader(profile: &Path, half: Half) -> i32 {
    let Ok(system) = fs::canonicalize(profile) else { return 203 };
    let all = generations(Path::new(nixgate::decide::privileged::SYSTEM));
    let write = |path: &Path, text: String| {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, path).unwrap();
    };
    let name = |number: u32| format!("nixos-generation-{number}.conf");
    if half == Half::First {
        for (number, system) in &all {
            let path = Path::new(LOADER).with_file_name("entries").join(name(*number));
            write(&path, format!("title NixOS\noptions init={}/init loglevel=4\n", system.display()));
        }
        return 0;
    }
    match all.iter().rev().find(|(_, target)| *target == system) {
        Some((number, _)) => write(Path::new(LOADER), format!("timeout 5\ndefault {}\n", name(*number))),
        None => return 1,
    }
    0
}

/// What grep prints of /boot/loader.
pub fn loader_files(root: &Path) -> String {
    let loader = root.join(LOADER.trim_start_matches('/'));
    let entries = fs::read_dir(loader.with_file_name("entries")).unwrap().flatten().map(|e| e.path());
    let files = std::iter::once(loader.clone()).chain(entries);
    let lines = files.filter(|path| path.extension().is_some_and(|e| e == "conf")).flat_map(|path| {
        let shown = Path::new("/").join(path.strip_prefix(root).unwrap());
        let text = fs::read_to_string(&path).unwrap();
        let found = text.lines().filter(|l| l.contains("default") || l.contains("init=")).map(str::to_owned);
        found.map(|line| format!("{}:{line}\n", shown.display())).collect::<Vec<_>>()
    });
    lines.collect()
}

/// The system that the next boot starts.
pub fn boot_default(root: &Path) -> PathBuf {
    let loader = root.join(LOADER.trim_start_matches('/'));
    let text = fs::read_to_string(&loader).unwrap();
    let entry = text.lines().find_map(|line| line.strip_prefix("default ")).unwrap();
    let text = fs::read_to_string(loader.with_file_name("entries").join(entry)).unwrap();
    let init = text.split_whitespace().find_map(|word| word.strip_prefix("init=")).unwrap();
    init.strip_suffix("/init").unwrap().into()
}
