//! Who builds: what has to be true of Nix and of the two accounts before anything of a repository is evaluated.
//!
//! The job asks before each build, and `nixgatectl check` asks the same: one judgement for both.

use std::collections::BTreeMap;

/// The two accounts. Neither may be more than it is.
pub const ACCOUNTS: [&str; 2] = ["deploy", "nixgate"];

/// Whoever is in one of these is root, or can become it: by a device, a daemon or a file that they may write.
const MIGHTY: [&str; 16] = [
    "adm",
    "disk",
    "docker",
    "incus",
    "incus-admin",
    "kmem",
    "kvm",
    "libvirt",
    "libvirtd",
    "lxd",
    "nixbld",
    "root",
    "shadow",
    "staff",
    "sudo",
    "wheel",
];

/// Why nothing is built here. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error(
        "Nix builds without its sandbox here (sandbox = {0}), so what it builds could read and change the host; set sandbox = true in nix.conf (nix.settings) and restart nix-daemon"
    )]
    NoSandbox(String),
    #[error(
        "Nix would build without its sandbox where that cannot be made (sandbox-fallback = {0}); set sandbox-fallback = false in nix.conf (nix.settings) and restart nix-daemon"
    )]
    Fallback(String),
    #[error(
        "account {account} is trusted by Nix (trusted-users has {entry}), and a trusted user of Nix is root; remove it from nix.conf (nix.settings.trusted-users) and restart nix-daemon"
    )]
    Trusted { account: &'static str, entry: String },
    #[error(
        "the Nix daemon trusts account nixgate, by name or by group, and a trusted user of Nix is root; remove that from trusted-users and restart nix-daemon"
    )]
    TrustedByDaemon,
    #[error("the Nix daemon does not say whether it trusts account nixgate; Nix 2.18 or newer is needed")]
    TooOld,
    #[error(
        "account {account} is in the group {group}, which is as good as root; gpasswd --delete {account} {group}"
    )]
    Mighty { account: &'static str, group: String },
    #[error("account {0} does not exist; nixgatectl check says what is missing")]
    NoAccount(&'static str),
    #[error("Nix does not tell its settings; on the host, as account nixgate: nix config show")]
    NoSettings,
    #[error(
        "the Nix daemon does not answer account nixgate; see `systemctl status nix-daemon.socket` and who may connect"
    )]
    NoDaemon,
}

/// What `nix config show` prints: `key = value`, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    pub fn parse(text: &str) -> Self {
        let pair =
            |line: &str| line.split_once(" =").map(|(key, value)| (key.to_owned(), value.trim().to_owned()));
        Self(text.lines().filter_map(pair).collect())
    }
    /// Of a setting that is a list.
    pub fn words(&self, key: &str) -> Vec<&str> {
        self.get(key).split_whitespace().collect()
    }
    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }
}

/// Builds stay in their sandbox, or do not happen. `relaxed` lets a derivation leave it.
pub fn sandboxed(settings: &Settings) -> Result<(), Unfit> {
    match (settings.get("sandbox"), settings.get("sandbox-fallback")) {
        ("true", "false") => Ok(()),
        ("true", fallback) => Err(Unfit::Fallback(fallback.to_owned())),
        (sandbox, _) => Err(Unfit::NoSandbox(sandbox.to_owned())),
    }
}

/// An account is not trusted by Nix, by its name or by one of its groups.
pub fn untrusted(settings: &Settings, account: &'static str, groups: &[String]) -> Result<(), Unfit> {
    let means = |entry: &&str| {
        *entry == "*"
            || *entry == account
            || entry.strip_prefix('@').is_some_and(|group| groups.iter().any(|own| own == group))
    };
    match settings.get("trusted-users").split_whitespace().find(means) {
        None => Ok(()),
        Some(entry) => Err(Unfit::Trusted { account, entry: entry.to_owned() }),
    }
}

/// An account is in no group that is as good as root.
pub fn plain(account: &'static str, groups: &[String]) -> Result<(), Unfit> {
    match groups.iter().find(|group| MIGHTY.contains(&group.as_str())) {
        None => Ok(()),
        Some(group) => Err(Unfit::Mighty { account, group: group.clone() }),
    }
}

/// The daemon's own word on account nixgate, from `nix store info --json`:
/// `{"trusted":false,"url":"daemon","version":"2.26.3"}`; some versions say 0 and 1.
pub fn untrusted_by_daemon(text: &str) -> Result<(), Unfit> {
    let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
    match value.as_ref().and_then(|value| value.get("trusted")) {
        Some(serde_json::Value::Bool(false)) => Ok(()),
        Some(number) if number.as_u64() == Some(0) => Ok(()),
        Some(_) => Err(Unfit::TrustedByDaemon),
        None => Err(Unfit::TooOld),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::parse(text)
    }
    fn groups(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn settings_are_read_as_nix_prints_them() {
        let text = "sandbox = true\nsandbox-fallback = false\nsubstituters = https://a https://b\npost-build-hook =\n";
        let settings = settings(text);
        assert_eq!(settings.get("substituters"), "https://a https://b");
        assert_eq!((settings.get("post-build-hook"), settings.get("absent")), ("", ""));
    }

    #[test]
    fn only_a_sandbox_that_cannot_be_left_is_one() {
        let judge = |sandbox: &str, fallback: &str| {
            sandboxed(&settings(&format!("sandbox = {sandbox}\nsandbox-fallback = {fallback}\n")))
        };
        assert_eq!(judge("true", "false"), Ok(()));
        assert_eq!(judge("true", "true"), Err(Unfit::Fallback("true".to_owned())));
        assert_eq!(judge("relaxed", "false"), Err(Unfit::NoSandbox("relaxed".to_owned())));
        assert_eq!(judge("false", "false"), Err(Unfit::NoSandbox("false".to_owned())));
        assert_eq!(sandboxed(&settings("")), Err(Unfit::NoSandbox(String::new())));
    }

    #[test]
    fn trust_by_name_by_group_and_by_everybody_is_seen() {
        let judge = |users: &str| {
            untrusted(
                &settings(&format!("trusted-users = {users}\n")),
                "deploy",
                &groups(&["deploy", "people"]),
            )
        };
        for users in ["", "root", "root @wheel nixgate deployer", "@deployers"] {
            assert_eq!(judge(users), Ok(()), "{users}");
        }
        for (users, entry) in
            [("root deploy", "deploy"), ("*", "*"), ("@deploy", "@deploy"), ("root @people", "@people")]
        {
            let refusal = Unfit::Trusted { account: "deploy", entry: entry.to_owned() };
            assert_eq!(judge(users), Err(refusal), "{users}");
        }
    }

    #[test]
    fn a_group_that_is_as_good_as_root_is_named() {
        assert_eq!(plain("deploy", &groups(&["deploy", "nix-users"])), Ok(()));
        for group in ["wheel", "sudo", "docker", "libvirtd", "lxd", "disk", "kvm", "root"] {
            let refusal = Unfit::Mighty { account: "deploy", group: group.to_owned() };
            assert_eq!(plain("deploy", &groups(&["deploy", group])), Err(refusal));
        }
    }

    #[test]
    fn the_daemons_own_word_counts() {
        assert!(untrusted_by_daemon("{\"trusted\":false,\"url\":\"daemon\",\"version\":\"2.26.3\"}").is_ok());
        assert!(untrusted_by_daemon("{\"trusted\":0,\"url\":\"daemon\"}").is_ok());
        assert_eq!(untrusted_by_daemon("{\"trusted\":true}"), Err(Unfit::TrustedByDaemon));
        assert_eq!(untrusted_by_daemon("{\"trusted\":1}"), Err(Unfit::TrustedByDaemon));
        assert_eq!(untrusted_by_daemon("{\"url\":\"daemon\"}"), Err(Unfit::TooOld));
        assert_eq!(untrusted_by_daemon(""), Err(Unfit::TooOld));
    }
}
