//! Accounts and keys. NixOS makes accounts from a JSON file that the activation script names
//! (`users-groups.json`, nixos/modules/config/users-groups.nix) or a unit does (`userborn.json`), and removes or
//! locks what is no longer in it. systemd-sysusers removes nobody.

use super::{Files, Says, Sshd};
use crate::decide::claim::Proof;
use crate::decide::identity::{Listed, listed_keys};
use serde_json::Value;

/// The file that an activation script, or the unit of userborn, makes the accounts from.
pub fn accounts_file(text: &str) -> Option<&str> {
    let words = text.split(|c: char| c.is_whitespace() || c == '"' || c == '\'');
    let is_list = |word: &&str| word.ends_with("users-groups.json") || word.ends_with("userborn.json");
    words.filter(|word| word.starts_with("/nix/store/")).find(is_list)
}

const UNKNOWN: &str = "the system has no file that names its accounts";

fn account(json: &str, name: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(json).ok()?;
    let is = |user: &&Value| user.get("name").and_then(Value::as_str) == Some(name);
    Some(value.get("users")?.as_array()?.iter().find(is).cloned().unwrap_or(Value::Null))
}

pub(super) fn has(json: Option<&str>, name: &str) -> Says {
    match json.and_then(|json| account(json, name)) {
        None => Says::Nothing(UNKNOWN),
        Some(Value::Null) => Says::No(format!("it has no account {name}: its activation would remove it")),
        Some(_) => Says::Yes,
    }
}

/// sshd runs a ForceCommand through the account's shell.
pub(super) fn shell_runs_commands(json: Option<&str>, name: &str) -> Says {
    let account = json.and_then(|json| account(json, name));
    let shell = account.as_ref().and_then(|account| account.get("shell")?.as_str());
    match shell.map(|shell| shell.rsplit('/').next().unwrap_or(shell)) {
        Some("nologin" | "false") => {
            Says::No(format!("the shell of its account {name} runs nothing, so no ForceCommand either"))
        }
        Some(_) => Says::Yes,
        None => Says::Nothing("the system does not name it"),
    }
}

/// Whether one of the caller's proofs would be taken again.
pub(super) fn lets_in(proofs: &[Proof], files: &Files) -> Says {
    if !proofs.iter().any(|proof| matches!(proof, Proof::Key(_) | Proof::Certificate { .. })) {
        return Says::Nothing("which key asks is not known");
    }
    if files.sshd.as_ref().is_some_and(Sshd::asks_elsewhere_for_keys) {
        return Says::Nothing("sshd looks for keys outside of the system's files, too");
    }
    let read = |text: &Option<String>| text.as_deref().map(listed_keys);
    let (keys, authorities) = (read(&files.keys), read(&files.authorities));
    if keys.is_none() && authorities.is_none() {
        return Says::Nothing("the system does not list the keys of deploy");
    }
    let (keys, authorities) = (keys.unwrap_or_default(), authorities.unwrap_or_default());
    let is_taken = |proof: &Proof| match proof {
        Proof::Key(key) => keys.contains(&Listed::Key(key.clone())),
        Proof::Certificate { authority, .. } => {
            keys.contains(&Listed::Authority(authority.clone()))
                || authorities.contains(&Listed::Key(authority.clone()))
        }
        Proof::Tailnet(_) => false,
    };
    if proofs.iter().any(is_taken) {
        Says::Yes
    } else {
        Says::No("it does not list the key that asks for this among those of deploy".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::value::Fingerprint;

    #[test]
    fn an_account_is_in_the_list_or_not_and_a_file_of_another_form_says_nothing() {
        let list = r#"{"mutableUsers":true,"users":[{"name":"root","shell":"/bin/sh"},{"name":"deploy","shell":"/run/current-system/sw/bin/nologin"}],"groups":[{"name":"nixgate"}]}"#;
        assert_eq!(has(Some(list), "deploy"), Says::Yes);
        assert!(matches!(has(Some(list), "nixgate"), Says::No(_)), "a group is no account");
        assert!(matches!(shell_runs_commands(Some(list), "deploy"), Says::No(_)));
        assert_eq!(shell_runs_commands(Some(list), "root"), Says::Yes);
        for other in [None, Some(""), Some("[]"), Some(r#"{"users":{}}"#)] {
            assert_eq!(has(other, "deploy"), Says::Nothing(UNKNOWN), "{other:?}");
        }
    }

    #[test]
    fn the_list_is_the_one_that_the_activation_names() {
        let script = "install -m 0700 -d /root\n/nix/store/p/bin/perl \\\n-w /nix/store/a-update-users-groups.pl /nix/store/b-users-groups.json\n";
        assert_eq!(accounts_file(script), Some("/nix/store/b-users-groups.json"));
        let unit = "ExecStart=/nix/store/u/bin/userborn /nix/store/c-userborn.json /etc\n";
        assert_eq!(accounts_file(unit), Some("/nix/store/c-userborn.json"));
        assert_eq!(accounts_file("/tmp/users-groups.json"), None);
    }

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn the_key_that_asks_has_to_be_taken_again() {
        let [Listed::Key(key)] = &listed_keys(KEY)[..] else { panic!("one key") };
        let proof = [Proof::Key(key.clone())];
        let other = [Proof::Key(Fingerprint::parse(&format!("SHA256:{}", "A".repeat(43))).unwrap())];
        let files = |keys: Option<&str>| Files { keys: keys.map(str::to_owned), ..Files::default() };
        assert_eq!(lets_in(&proof, &files(Some(KEY))), Says::Yes);
        assert!(matches!(lets_in(&other, &files(Some(KEY))), Says::No(_)));
        assert!(matches!(lets_in(&proof, &files(Some("# nobody"))), Says::No(_)));
        assert!(matches!(lets_in(&proof, &files(None)), Says::Nothing(_)));
        assert!(matches!(lets_in(&[], &files(Some(KEY))), Says::Nothing(_)));
        let elsewhere = "authorizedkeysfile .ssh/authorized_keys /etc/ssh/authorized_keys.d/%u\n";
        let home = Files { sshd: Some(Sshd::Effective(elsewhere.to_owned())), ..files(Some("")) };
        assert!(matches!(lets_in(&proof, &home), Says::Nothing(_)));
    }

    #[test]
    fn a_certificate_is_taken_where_its_authority_is_trusted() {
        let [Listed::Key(authority)] = &listed_keys(KEY)[..] else { panic!("one key") };
        let proof = [Proof::Certificate {
            authority: authority.clone(),
            key_id: crate::decide::claim::Text::from_bytes(b"x"),
            valid_before: None,
            principals: Vec::new(),
        }];
        let trusted = Files { authorities: Some(KEY.to_owned()), ..Files::default() };
        assert_eq!(lets_in(&proof, &trusted), Says::Yes);
        let by_option =
            Files { keys: Some(format!("cert-authority,principals=\"a b\" {KEY}")), ..Files::default() };
        assert_eq!(lets_in(&proof, &by_option), Says::Yes);
        let plain = Files { keys: Some(KEY.to_owned()), ..Files::default() };
        assert!(matches!(lets_in(&proof, &plain), Says::No(_)));
    }
}
