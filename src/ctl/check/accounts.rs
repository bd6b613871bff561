//! The two accounts: what they are, and that neither is more.

use super::{Found, Report, install, said};
use crate::act::accounts::groups_of;
use crate::act::files::read_trusted;
use crate::act::machine::Machine;
use crate::act::store::ROOT;
use crate::decide::builder::plain;
use crate::decide::observe::properties;
use crate::decide::privileged::{Platform, Program};
use nix::unistd::User;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub fn look(report: &mut Report, machine: &mut Machine) {
    let platform = machine.platform;
    let gate = platform.path(Program::Nixgate);
    for (name, home, shell) in [("deploy", "/var/empty", Some(gate.as_str())), ("nixgate", ROOT, None)] {
        let Some(user) = User::from_name(name).ok().flatten() else {
            report.fail(format!("account {name}"), format_args!("it does not exist; {}", install(platform)));
            continue;
        };
        report.found(format!("account {name}"), as_declared(&user, home, shell));
        report.found(format!("groups of {name}"), plain(name, &groups_of(name).unwrap_or_default()));
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
