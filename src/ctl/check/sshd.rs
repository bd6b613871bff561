//! What sshd would really do with deploy: its effective settings against the block that `render` makes.

use super::{Found, Report, install, said};
use crate::act::machine::Machine;
use crate::decide::privileged::Platform;
use crate::decide::render;
use std::collections::BTreeMap;

const WHO: &str = "user=deploy,host=localhost,addr=127.0.0.1";

pub fn look(report: &mut Report, machine: &mut Machine) {
    let platform = machine.platform;
    let program = match platform {
        Platform::Fhs => "/usr/sbin/sshd".to_owned(),
        Platform::Nixos => format!("{}/sshd", platform.bin()),
    };
    let what = "sshd's settings for deploy";
    match said(machine, &[&program, "-T", "-C", WHO]) {
        None => report.fail(what, format_args!("{program} -T -C {WHO} fails; run it to see why")),
        Some(text) => {
            let wrong = |found: String| format!("{found}; {}, then restart sshd", install(platform));
            report.found(what, in_force(&render::sshd(platform), &text).map_err(wrong));
            match forgives_this_host(&text) {
                Ok(()) => report.ok("sshd's penalties leave this host's own questions alone"),
                Err(mend) => report.warn("sshd's penalties", mend),
            }
        }
    }
}

/// Each deploy asks sshd twice for its key without logging in, which OpenSSH 9.8 and later punish by address: beside
/// a monitor that does the same, a good deploy would look like one that broke sshd.
fn forgives_this_host(effective: &str) -> Found {
    let effective = settings(effective.lines());
    let get = |key| effective.get(key).map_or("", String::as_str);
    if matches!(get("persourcepenalties"), "" | "no")
        || get("persourcepenaltyexemptlist").split(',').any(|range| range.starts_with("127.0.0."))
    {
        return Ok(());
    }
    Err("nixgate's question whether sshd answers counts as an attack when it is put some fifteen times within seconds; \
         put the line PerSourcePenaltyExemptList 127.0.0.1,::1 into a file /etc/ssh/sshd_config.d/00-nixgate.conf (NixOS: services.openssh.settings), then restart sshd"
        .to_owned())
}

/// Every setting of the block, and the global one that it cannot hold.
fn in_force(block: &str, effective: &str) -> Found {
    let effective = settings(effective.lines());
    let mut wanted = settings(block.lines().filter(|line| line.starts_with(' ')));
    wanted.insert("permituserenvironment".to_owned(), "no".to_owned());
    let wrong: Vec<String> = wanted
        .iter()
        .filter(|(key, value)| effective.get(*key) != Some(value))
        .map(|(key, value)| match effective.get(key) {
            Some(other) => format!("{key} is \"{other}\" and has to be \"{value}\""),
            None => format!("{key} is not set and has to be \"{value}\""),
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ")) }
}

/// sshd prints its keys in lower case.
fn settings<'t>(lines: impl Iterator<Item = &'t str>) -> BTreeMap<String, String> {
    let pair = |line: &'t str| line.trim().split_once(' ');
    lines.filter_map(pair).map(|(key, value)| (key.to_lowercase(), value.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_another_block_took_is_seen() {
        let block = render::sshd(Platform::Fhs);
        let lines = block.lines().filter(|line| line.starts_with(' '));
        let mut effective: String =
            settings(lines).iter().map(|(key, value)| format!("{key} {value}\n")).collect();
        effective += "permituserenvironment no\nport 22\n";
        assert_eq!(in_force(&block, &effective), Ok(()));
        let open = effective.replace("permittty no", "permittty yes");
        assert!(in_force(&block, &open).unwrap_err().contains("permittty is \"yes\""));
        let environment = effective.replace("permituserenvironment no", "permituserenvironment yes");
        assert!(in_force(&block, &environment).is_err());
        assert!(in_force(&block, "").unwrap_err().contains("forcecommand is not set"));
    }

    #[test]
    fn penalties_for_this_hosts_own_address_are_seen() {
        let penalties = "persourcepenalties crash:90 authfail:5 noauth:1 min:15\n";
        let wrong = forgives_this_host(&format!("persourcepenaltyexemptlist none\n{penalties}"));
        assert!(wrong.unwrap_err().contains("PerSourcePenaltyExemptList 127.0.0.1,::1"));
        for fine in [
            "port 22\n",
            "persourcepenaltyexemptlist none\npersourcepenalties no\n",
            &format!("persourcepenaltyexemptlist 10.0.0.0/8,127.0.0.1,::1\n{penalties}"),
            &format!("persourcepenaltyexemptlist 127.0.0.0/8\n{penalties}"),
        ] {
            assert_eq!(forgives_this_host(fine), Ok(()), "{fine}");
        }
    }
}
