//! Units: the sockets listen, recovery comes with every boot, and systemd is new enough.

use super::{Found, Report, said};
use crate::act::machine::Machine;
use crate::decide::observe::properties;
use crate::decide::privileged::Program;
use nix::unistd::Group;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// `RestartMode=direct`, by which the revert waits for a lock that somebody else holds.
const OLDEST: u32 = 254;

pub fn look(report: &mut Report, machine: &mut Machine) {
    let systemctl = machine.platform.path(Program::Systemctl);
    let version = said(machine, &[&systemctl, "--version"]).unwrap_or_default();
    report.found(format!("systemd {OLDEST} or newer"), new_enough(&version));
    let wanted = [
        ("nixgate.socket", "listening", "sockets.target"),
        ("nixgate-control.socket", "listening", "sockets.target"),
        ("nixgate-recover.service", "", "multi-user.target"),
    ];
    for (unit, sub, by) in wanted {
        let what = "--property=LoadState,SubState,WantedBy,NeedDaemonReload";
        let text = said(machine, &[&systemctl, "show", unit, what]).unwrap_or_default();
        report.found(unit, in_force(&text, unit, sub, by));
    }
    for name in ["job.sock", "control.sock"] {
        let path = Path::new("/run/nixgate").join(name);
        report.found(path.display(), only_deploy_connects(&path));
    }
    let sshd = machine.config.sshd.unit.as_str().to_owned();
    let active = said(machine, &[&systemctl, "is-active", &sshd]).is_some();
    let mend = format!("it is not active; name the unit of sshd as sshd.unit, or systemctl start {sshd}");
    report.found(format!("sshd's unit {sshd}"), if active { Ok(()) } else { Err(mend) });
}

/// `systemd 257 (257.8-1~deb13u2)` and more lines.
fn new_enough(text: &str) -> Found {
    let version = text.strip_prefix("systemd ").and_then(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    match version {
        Some(version) if version >= OLDEST => Ok(()),
        Some(version) => {
            Err(format!("this is {version}, which knows no RestartMode=direct; upgrade the system"))
        }
        None => Err("systemctl --version does not say; is this system run by systemd?".to_owned()),
    }
}

fn in_force(text: &str, unit: &str, sub: &str, by: &str) -> Found {
    let properties = properties(text);
    let get = |key: &str| properties.get(key).copied().unwrap_or_default();
    if get("LoadState") != "loaded" {
        return Err("systemd does not know it; systemctl daemon-reload".to_owned());
    }
    if get("NeedDaemonReload") == "yes" {
        return Err("its file has changed since systemd read it; systemctl daemon-reload".to_owned());
    }
    if !get("WantedBy").split(' ').any(|target| target == by) {
        return Err(format!("it is not started at boot; systemctl enable {unit}"));
    }
    if !sub.is_empty() && get("SubState") != sub {
        return Err(format!("it is not {sub}; systemctl start {unit}"));
    }
    Ok(())
}

fn only_deploy_connects(path: &Path) -> Found {
    let about = fs::metadata(path).map_err(|error| format!("{error}; systemctl start nixgate.socket"))?;
    let group = Group::from_name("deploy").ok().flatten().map(|group| group.gid.as_raw());
    let good = about.file_type().is_socket()
        && about.uid() == 0
        && Some(about.gid()) == group
        && about.mode() & 0o777 == 0o660;
    if good {
        Ok(())
    } else {
        Err("it has to be a socket, 0660 root:deploy; systemctl restart its unit".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_systemd_is_refused_by_its_number() {
        assert!(new_enough("systemd 257 (257.8-1~deb13u2)\n+PAM").is_ok());
        assert!(new_enough("systemd 254").is_ok());
        assert!(new_enough("systemd 252 (252.39-1~deb12u1)").unwrap_err().contains("252"));
        assert!(new_enough("").is_err());
    }

    #[test]
    fn a_unit_that_would_be_missing_after_a_boot_is_seen() {
        let state = |sub: &str, by: &str, reload: &str| {
            format!("LoadState=loaded\nSubState={sub}\nWantedBy={by}\nNeedDaemonReload={reload}\n")
        };
        let judge = |text: &str| in_force(text, "nixgate.socket", "listening", "sockets.target");
        assert!(judge(&state("listening", "sockets.target", "no")).is_ok());
        assert!(judge(&state("listening", "", "no")).unwrap_err().contains("enable"));
        assert!(judge(&state("dead", "sockets.target", "no")).unwrap_err().contains("start"));
        assert!(judge(&state("listening", "sockets.target", "yes")).unwrap_err().contains("daemon-reload"));
        assert!(judge("LoadState=not-found\n").is_err());
    }
}
