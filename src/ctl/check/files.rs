//! Files: those that decide what root does, the read key, what `render` made, programs, and room.

use super::{Found, Report, install};
use crate::act::files::{read_trusted, read_trusted_bytes};
use crate::act::git::KNOWN_HOSTS;
use crate::act::keys::{ALLOWED_SIGNERS, Namespace, REVOKED};
use crate::act::machine::Machine;
use crate::act::store::ROOT;
use crate::decide::config::{CheckKind, ReadKey, Signatures, SourceKind};
use crate::decide::privileged::{Platform, Program};
use crate::decide::render::{Content, Rendered, everything};
use nix::sys::statvfs::{Statvfs, statvfs};
use nix::unistd::User;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

pub fn look(report: &mut Report, machine: &Machine) {
    trusted(report, machine);
    if machine.config.source.url.is_ssh() {
        let key = &machine.config.source.ssh_key;
        // A credential exists in the job's unit alone; a fetch says whether it is there.
        if let ReadKey::File(path) = key {
            report.found(format!("read key {key}"), source_key(Path::new(path.as_str())));
        }
    }
    report.found("programs", programs(machine));
    let found = differing(&everything(&machine.config, machine.platform), machine.platform, Path::new("/"));
    report.found("installed files are what this configuration renders", found);
    for (path, megabytes) in [("/nix/store", 1024), (ROOT, 256)] {
        report.found(format!("room in {path}"), room(path, megabytes));
    }
}

/// Both lists have to be there: without its list of revoked keys ssh-keygen would trust them all.
fn trusted(report: &mut Report, machine: &Machine) {
    let namespace = match machine.config.source.kind {
        SourceKind::Prebuilt => Namespace::Manifest,
        SourceKind::Flake | SourceKind::Nix => Namespace::Git,
    };
    match machine.config.trust.signatures {
        Signatures::None => {
            report.warn(
                "signatures are not checked",
                "whoever may push is root here; set trust.signatures to \"tip\"",
            );
        }
        Signatures::Tip | Signatures::EveryCommit => {
            let signers = read_trusted(Path::new(ALLOWED_SIGNERS)).map_err(|error| error.to_string());
            report.found(ALLOWED_SIGNERS, signers.and_then(|text| somebody_signs(&text, namespace)));
            let mend = |error| format!("{error}; an empty file will do: touch {REVOKED}");
            report.found(REVOKED, read_trusted_bytes(Path::new(REVOKED)).map(drop).map_err(mend));
        }
    }
    if machine.config.source.url.is_ssh() {
        let mend =
            |error| format!("{error}; ssh-keyscan HOST, compare its fingerprint, and put the line there");
        report.found(KNOWN_HOSTS, read_trusted(Path::new(KNOWN_HOSTS)).map(drop).map_err(mend));
    }
}

/// A line without namespaces is good for all; what a pattern in them means is left to ssh-keygen.
fn somebody_signs(text: &str, namespace: Namespace) -> Found {
    let namespace = namespace.as_str();
    let entry = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let suits = |line: &str| match line.split_once("namespaces=\"") {
        None => true,
        Some((_, rest)) => rest
            .split('"')
            .next()
            .is_some_and(|list| list.split(',').any(|name| name == namespace || name.contains(['*', '?']))),
    };
    if text.lines().filter(entry).any(suits) {
        return Ok(());
    }
    Err(format!("nobody may sign; add a line: NAME namespaces=\"{namespace}\" ssh-ed25519 AAAA..."))
}

fn source_key(path: &Path) -> Found {
    let mend = format!("install -m 0600 -o nixgate -g nixgate KEY {}", path.display());
    let about = fs::metadata(path).map_err(|error| format!("{error}; {mend}"))?;
    let owner = User::from_name("nixgate").ok().flatten().map(|user| user.uid.as_raw());
    let good = about.is_file() && Some(about.uid()) == owner && about.mode() & 0o077 == 0;
    if good { Ok(()) } else { Err(format!("it has to be nixgate's alone; {mend}")) }
}

fn programs(machine: &Machine) -> Found {
    use Program::{
        Choom, Curl, Git, Grep, Nix, NixEnv, NixInstantiate, NixStore, Nixgate, NixgateJob, Prlimit, Ssh,
        SshKeygen, SshKeyscan, Sudo, Systemctl, SystemdRun, True,
    };
    let all = [
        Choom,
        Git,
        Grep,
        Nix,
        NixEnv,
        NixInstantiate,
        NixStore,
        Nixgate,
        NixgateJob,
        Prlimit,
        Ssh,
        SshKeygen,
        SshKeyscan,
        Sudo,
        Systemctl,
        SystemdRun,
        True,
    ];
    // Only checks by http need it; tailscale is looked at where it is used.
    let http = machine.config.checks.iter().any(|check| matches!(check.kind, CheckKind::Http(_)));
    let all = all.into_iter().chain(http.then_some(Curl));
    let there =
        |path: &String| fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let missing: Vec<String> =
        all.map(|program| machine.platform.path(program)).filter(|path| !there(path)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("install what is missing: {}", missing.join(", "))) }
}

/// On NixOS sudoers and sshd's configuration are parts of larger files; there `sudo -l` and `sshd -T` are asked
/// instead, and accounts are declared.
fn is_a_file_of_its_own(path: &str, platform: Platform) -> bool {
    platform == Platform::Fhs || path.starts_with("etc/systemd/") || path.starts_with("etc/tmpfiles.d/")
}

fn differing(rendered: &[Rendered], platform: Platform, root: &Path) -> Found {
    let text_of = |file: &Rendered| match &file.content {
        Content::Text(text) => Some(text.clone()),
        Content::Link(to) => {
            let name = Path::new(file.path).with_file_name(to);
            rendered.iter().find(|other| Path::new(other.path) == name).and_then(|other| {
                match &other.content {
                    Content::Text(text) => Some(text.clone()),
                    Content::Link(_) => None,
                }
            })
        }
    };
    let differs = |file: &&Rendered| fs::read_to_string(root.join(file.path)).ok() != text_of(file);
    let differing: Vec<String> = rendered
        .iter()
        .filter(|file| is_a_file_of_its_own(file.path, platform))
        .filter(differs)
        .map(|file| format!("/{}", file.path))
        .collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(format!("missing or different: {}; {}", differing.join(", "), install(platform)))
}

fn room(path: &str, megabytes: u64) -> Found {
    let about = statvfs(path).map_err(|error| format!("{path}: {error}"))?;
    enough(&about, megabytes)
}

fn enough(about: &Statvfs, megabytes: u64) -> Found {
    let free = about.blocks_available().saturating_mul(about.fragment_size()) >> 20;
    // Some file systems count no inodes.
    let few_inodes = about.files() > 0 && about.files_available() < 10_000;
    if free < megabytes {
        return Err(format!(
            "{free} MiB are free, {megabytes} are wanted; nix-collect-garbage --delete-older-than 30d"
        ));
    }
    if few_inodes {
        return Err(
            "fewer than 10000 inodes are free; nix-collect-garbage --delete-older-than 30d".to_owned()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::config::{Config, EXAMPLE};

    #[test]
    fn an_empty_list_of_signers_is_seen() {
        let (git, manifest) = (Namespace::Git, Namespace::Manifest);
        assert!(somebody_signs("", git).is_err());
        assert!(somebody_signs("# nobody\n\n", git).is_err());
        let us = "# us\nops namespaces=\"git\" ssh-ed25519 AAAA\n";
        assert!(somebody_signs(us, git).is_ok());
        assert!(somebody_signs(us, manifest).unwrap_err().contains("namespaces=\"nixgate-manifest\""));
        let ci = format!("{us}ci namespaces=\"file,nixgate-manifest\" ssh-ed25519 AAAA\n");
        assert!(somebody_signs(&ci, manifest).is_ok());
        assert!(somebody_signs("ci ssh-ed25519 AAAA\n", manifest).is_ok());
    }

    #[test]
    fn a_changed_and_a_missing_file_are_named_and_links_are_followed() {
        let config = Config::parse(EXAMPLE).unwrap();
        let rendered = everything(&config, Platform::Fhs);
        let root = std::env::temp_dir().join(format!("nixgate-check-files-{}", std::process::id()));
        for file in &rendered {
            let path = root.join(file.path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match &file.content {
                Content::Text(text) => fs::write(&path, text).unwrap(),
                Content::Link(to) => std::os::unix::fs::symlink(to, &path).unwrap(),
            }
        }
        assert_eq!(differing(&rendered, Platform::Fhs, &root), Ok(()));
        fs::write(root.join("etc/sudoers.d/nixgate"), "nixgate ALL = (root) NOPASSWD: ALL\n").unwrap();
        let said = differing(&rendered, Platform::Fhs, &root).unwrap_err();
        assert!(said.contains("different: /etc/sudoers.d/nixgate;"), "{said}");
        assert_eq!(differing(&rendered, Platform::Nixos, &root), Ok(()));
        fs::remove_dir_all(&root).unwrap();
        assert!(differing(&rendered, Platform::Nixos, &root).unwrap_err().contains("nixgate.socket"));
    }
}
