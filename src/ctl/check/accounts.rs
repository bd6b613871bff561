//! The two accounts: what they are, and that neither is more.

use super::{Found, Report, install, said};
use crate::act::files::read_trusted;
use crate::act::machine::Machine;
use crate::act::store::ROOT;
use crate::decide::observe::properties;
use crate::decide::privileged::{Platform, Program};
use nix::unistd::{Group, User, getgrouplist};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whoever is in one of these is root, or can become it.
const MIGHTY: [&str; 12] = [
    "adm",
    "disk",
    "docker",
    "incus-admin",
    "kmem",
    "kvm",
    "libvirtd",
    "lxd",
    "root",
    "shadow",
    "sudo",
    "wheel",
];

pub fn look(report: &mut Report, machine: &mut Machine) {
    let platform = machine.platform;
    let gate = platform.path(Program::Nixgate);
    for (name, home, shell) in [("deploy", "/var/empty", Some(gate.as_str())), ("nixgate", ROOT, None)] {
        let Some(user) = User::from_name(name).ok().flatten() else {
            report.fail(format!("account {name}"), format_args!("it does not exist; {}", install(platform)));
            continue;
        };
        report.found(format!("account {name}"), as_declared(&user, home, shell));
        report.found(format!("groups of {name}"), plain(&groups(&user)));
    }
    report.found("home of deploy", empty_home(Path::new("/var/empty")));
    let mend = |error| format!("{error}; put the public keys of those who may ask there, one a line");
    let keys = read_trusted(Path::new("/etc/ssh/authorized_keys.d/deploy")).map(drop).map_err(mend);
    report.found("keys of deploy", keys);
    user_manager(report, machine);
}

fn as_declared(user: &User, home: &str, shell: Option<&str>) -> Found {
    if user.uid.is_root() {
        return Err("it has uid 0; give it one of its own".to_owned());
    }
    if user.dir != Path::new(home) {
        return Err(format!(
            "its home is {} and has to be {home}; usermod --home {home}",
            user.dir.display()
        ));
    }
    match shell {
        Some(shell) if user.shell != Path::new(shell) => Err(format!(
            "its shell is {} and has to be {shell}; usermod --shell {shell}",
            user.shell.display()
        )),
        _ => Ok(()),
    }
}

fn groups(user: &User) -> Vec<String> {
    let name = CString::new(user.name.as_str()).unwrap_or_default();
    let ids = getgrouplist(&name, user.gid).unwrap_or_default();
    ids.into_iter().filter_map(|id| Group::from_gid(id).ok().flatten()).map(|group| group.name).collect()
}

fn plain(groups: &[String]) -> Found {
    let mighty: Vec<&str> =
        groups.iter().map(String::as_str).filter(|group| MIGHTY.contains(group)).collect();
    if mighty.is_empty() {
        return Ok(());
    }
    Err(format!("it is in {}, which is as good as root; gpasswd --delete ACCOUNT GROUP", mighty.join(", ")))
}

/// sshd tells every caller of a home that is missing; one that deploy owns could hold files that ssh obeys.
fn empty_home(path: &Path) -> Found {
    let about = fs::metadata(path).map_err(|error| format!("{error}; systemd-tmpfiles --create"))?;
    let roots = about.is_dir() && about.uid() == 0 && about.mode() & 0o022 == 0;
    if roots {
        Ok(())
    } else {
        Err(format!("{} has to be root's alone; chown root, chmod 0555", path.display()))
    }
}

/// pam_systemd starts one at login; it and what it starts outlive the call.
fn user_manager(report: &mut Report, machine: &mut Machine) {
    let Some(user) = User::from_name("deploy").ok().flatten() else { return };
    let systemctl = machine.platform.path(Program::Systemctl);
    let unit = format!("user@{}.service", user.uid);
    let text = said(machine, &[&systemctl, "show", &unit, "--property=LoadState"]).unwrap_or_default();
    let what = "no user manager for deploy";
    match properties(&text).get("LoadState") {
        Some(&"masked") => report.ok(what),
        _ => report.warn(what, mask(machine.platform, &unit)),
    }
}

fn mask(platform: Platform, unit: &str) -> String {
    match platform {
        Platform::Fhs => format!("a login starts one, which outlives the call; systemctl mask {unit}"),
        Platform::Nixos => format!(
            "a login starts one, which outlives the call; in the system's configuration: systemd.units.\"{unit}\".enable = false"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_as_good_as_root_is_named() {
        let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(plain(&groups(&["deploy", "nix-users"])).is_ok());
        assert!(plain(&groups(&["deploy", "docker", "wheel"])).unwrap_err().contains("docker, wheel"));
    }
}
