//! sshd's configuration: as `sshd -G -C user=deploy` puts it, or as it is written where that cannot be asked.

use super::Says;

/// What sshd would do with deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sshd {
    /// What `sshd -G` printed: lower-case keys.
    Effective(String),
    /// The file itself.
    Written(String),
}

const UNKNOWN: &str = "the system has no etc/ssh/sshd_config that can be read";

impl Sshd {
    fn value(&self, key: &str) -> Option<&str> {
        self.values(key).next()
    }
    fn values<'s>(&'s self, key: &str) -> impl Iterator<Item = &'s str> {
        let text = match self {
            Self::Effective(text) => text.as_str(),
            Self::Written(_) => "",
        };
        let line = format!("{key} ");
        text.lines().filter_map(move |l| l.strip_prefix(&line)).map(str::trim)
    }
    /// Where `TrustedUserCAKeys` leads.
    pub fn authorities(&self) -> Option<&str> {
        self.value("trustedusercakeys").filter(|path| *path != "none")
    }
    /// Keys may come from where no file of the system shows them.
    pub(super) fn asks_elsewhere_for_keys(&self) -> bool {
        let files = self.value("authorizedkeysfile").unwrap_or_default();
        let ours = |file: &str| file.starts_with("/etc/ssh/authorized_keys.d/") || file == "none";
        !files.split_whitespace().all(ours)
            || self.value("authorizedkeyscommand").is_some_and(|c| c != "none")
    }
}

fn is_the_gate(command: &str) -> bool {
    command.split_whitespace().next().is_some_and(|program| program.rsplit('/').next() == Some("nixgate"))
}

pub(super) fn has_force_command(sshd: Option<&Sshd>) -> Says {
    let missing = || Says::No("its sshd has no ForceCommand nixgate for deploy".to_owned());
    match sshd {
        None => Says::Nothing(UNKNOWN),
        Some(effective @ Sshd::Effective(_)) => match effective.value("forcecommand") {
            Some(command) if is_the_gate(command) => Says::Yes,
            _ => missing(),
        },
        Some(Sshd::Written(text)) => {
            let words = |keyword: &'static str| {
                written(text).filter(move |(key, _)| key.eq_ignore_ascii_case(keyword))
            };
            if words("forcecommand").any(|(_, command)| is_the_gate(command)) {
                Says::Yes
            } else if words("include").next().is_some() {
                Says::Nothing("it includes other files, and its sshd cannot be asked")
            } else {
                missing()
            }
        }
    }
}

/// Without it nobody's key is known, and roles refuse everybody.
pub(super) fn exposes_the_key(sshd: Option<&Sshd>) -> Says {
    match sshd.and_then(|sshd| sshd.value("exposeauthinfo")) {
        None => Says::Nothing("its sshd cannot be asked"),
        Some("yes") => Says::Yes,
        Some(_) => Says::No("its sshd does not tell which key was used (ExposeAuthInfo)".to_owned()),
    }
}

pub(super) fn admits_deploy(sshd: Option<&Sshd>) -> Says {
    let Some(sshd @ Sshd::Effective(_)) = sshd else { return Says::Nothing("its sshd cannot be asked") };
    let may_match = |pattern: &str| pattern == "deploy" || pattern.contains(['*', '?', '@', '!']);
    let denied = sshd.values("denyusers").any(|user| user == "deploy");
    let mut allowed = sshd.values("allowusers").peekable();
    if denied || (allowed.peek().is_some() && !allowed.any(may_match)) {
        return Says::No("its sshd does not let deploy in (AllowUsers, DenyUsers)".to_owned());
    }
    Says::Yes
}

/// The lines that are not comments, as keyword and the rest.
fn written(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        line.split_once([' ', '\t', '=']).map(|(key, rest)| (key, rest.trim_start_matches([' ', '\t', '='])))
    })
}

/// The same configuration with its includes led into a system's own `/etc`, to be read before that system runs.
pub fn rooted(text: &str, system: &str) -> String {
    let lead = |path: &str| match path.trim_matches('"') {
        path if path.starts_with("/etc/") => format!("{system}{path}"),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("{system}/etc/ssh/{path}"),
    };
    let line = |line: &str| match written(line).next() {
        Some((key, files)) if key.eq_ignore_ascii_case("include") => {
            let files: Vec<String> = files.split_whitespace().map(lead).collect();
            format!("Include {}\n", files.join(" "))
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective(text: &str) -> Option<Sshd> {
        Some(Sshd::Effective(text.to_owned()))
    }
    fn as_written(text: &str) -> Option<Sshd> {
        Some(Sshd::Written(text.to_owned()))
    }

    #[test]
    fn the_force_command_has_to_be_the_gate() {
        let says = |sshd: Option<Sshd>| has_force_command(sshd.as_ref());
        assert_eq!(says(effective("port 22\nforcecommand /run/current-system/sw/bin/nixgate\n")), Says::Yes);
        for bad in ["forcecommand none", "forcecommand /bin/sh -c nixgate", "forcecommand /x/nixgatectl", ""]
        {
            assert!(matches!(says(effective(bad)), Says::No(_)), "{bad}");
        }
        assert_eq!(says(as_written("Match User deploy\n\tforceCommand /s/nixgate\n")), Says::Yes);
        assert!(matches!(says(as_written("# ForceCommand /s/nixgate\nPort 22")), Says::No(_)));
        assert!(matches!(says(as_written("Include /etc/ssh/sshd_config.d/*.conf")), Says::Nothing(_)));
        assert!(matches!(says(None), Says::Nothing(_)));
    }

    #[test]
    fn deploy_may_be_shut_out_by_name() {
        let says = |text: &str| admits_deploy(effective(text).as_ref());
        for good in ["port 22\n", "allowusers ann\nallowusers deploy\n", "allowusers d*\n", "denyusers ann\n"]
        {
            assert_eq!(says(good), Says::Yes, "{good}");
        }
        for bad in ["allowusers ann\n", "denyusers deploy\n"] {
            assert!(matches!(says(bad), Says::No(_)), "{bad}");
        }
    }

    #[test]
    fn includes_are_those_of_the_system_and_not_of_the_host() {
        let text = "Port 22\n  Include /etc/ssh/sshd_config.d/*.conf extra.conf /srv/x\nMatch User deploy\n";
        let system = "/nix/store/x-system";
        assert_eq!(
            rooted(text, system),
            format!(
                "Port 22\nInclude {system}/etc/ssh/sshd_config.d/*.conf {system}/etc/ssh/extra.conf /srv/x\nMatch User deploy\n"
            )
        );
    }
}
