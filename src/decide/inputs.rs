//! Private inputs of a flake: which key opens which host, and which token which forge.

use std::fmt::Write as _;

/// What ssh is told about keys while Nix fetches: a host has its own, or none at all. What pins hosts and shuts the
/// rest stands on its command line, which wins.
pub fn ssh_config<'a>(keys: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::from("# Made by nixgate before each evaluation.\n");
    for (host, key) in keys {
        let _ = writeln!(text, "Host {host}\n    IdentityFile {key}");
    }
    // Each matching block adds its keys, and this one adds nobody's defaults.
    text + "Host *\n    IdentityFile none\n"
}

/// Tokens of forges, for Nix alone. They are not for any log.
#[derive(Default, PartialEq, Eq)]
pub struct AccessTokens(String);

impl std::fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessTokens(…)")
    }
}

/// Where a file of tokens is none. What stands there is a secret and is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is no host=token, as in forge.example.org=TOKEN")]
pub struct NoToken(usize);

impl AccessTokens {
    /// `host=token`, one a line; empty lines and those that begin with `#` are left out.
    pub fn parse(text: &str) -> Result<Self, NoToken> {
        let mut tokens = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                tokens.push(token(line).ok_or(NoToken(number + 1))?);
            }
        }
        Ok(Self(tokens.join(" ")))
    }
    /// The line of nix.conf.
    pub fn setting(&self) -> String {
        if self.0.is_empty() { String::new() } else { format!("access-tokens = {}", self.0) }
    }
}

/// Words that nix.conf reads as they are: no space, no comment, no second line.
fn token(line: &str) -> Option<&str> {
    let (host, token) = line.split_once('=')?;
    let host = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/-".contains(&b))
        && !host.starts_with('-');
    let token = (1..=1000).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    (host && token).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_opened_with_its_own_key_and_no_other() {
        let text = ssh_config([("forge.example.org", "/var/lib/nixgate/keys/inputs"), ("h", "/k")]);
        let lines: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
        assert_eq!(
            lines.join("|"),
            "Host forge.example.org|IdentityFile /var/lib/nixgate/keys/inputs|Host h|IdentityFile /k|Host *|IdentityFile none"
        );
    }

    #[test]
    fn a_file_of_tokens_says_nothing_but_tokens() {
        let tokens = AccessTokens::parse("# of the team\n\ngithub.com=ghp_x=\ngitlab.com/a=PAT:y\n").unwrap();
        assert_eq!(tokens.setting(), "access-tokens = github.com=ghp_x= gitlab.com/a=PAT:y");
        assert_eq!(AccessTokens::parse("\n").unwrap().setting(), "");
        for (bad, line) in [
            ("secret", 1),
            ("a=b\nh=", 2),
            ("=x", 1),
            ("h=x y", 1),
            ("h=x#", 1),
            ("h=x\npost-build-hook = /x", 2),
            ("-h=x", 1),
        ] {
            assert_eq!(AccessTokens::parse(bad), Err(NoToken(line)), "{bad}");
        }
    }

    #[test]
    fn a_token_is_in_no_message() {
        let tokens = AccessTokens::parse("h=s3cret").unwrap();
        assert!(!format!("{tokens:?}").contains("s3cret"));
        assert!(!AccessTokens::parse("s3cret").unwrap_err().to_string().contains("s3cret"));
    }
}
