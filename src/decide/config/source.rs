//! `[source]`, `[refs]` and `[trust]`: what is deployed, and who has to vouch for it.

use super::super::value::{Branch, Commit, Name};
use super::values::{AbsolutePath, FromText, optional_text, text};
use serde::Deserialize;

/// Where systems come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Source {
    pub kind: SourceKind,
    #[serde(deserialize_with = "text")]
    pub url: SourceUrl,
    /// `nixosConfigurations.<system>`.
    #[serde(deserialize_with = "text")]
    pub system: Name,
    #[serde(default = "default_key", deserialize_with = "text")]
    pub ssh_key: AbsolutePath,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    Flake,
}

/// The branch that each verb takes its commit from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Refs {
    #[serde(deserialize_with = "text")]
    pub fetch: Branch,
    #[serde(deserialize_with = "text")]
    pub switch: Branch,
    #[serde(deserialize_with = "text")]
    pub test: Branch,
    #[serde(deserialize_with = "text")]
    pub boot: Branch,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Trust {
    pub signatures: Signatures,
    #[serde(deserialize_with = "optional_text")]
    pub first_commit: Option<Commit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signatures {
    /// The commit that is deployed carries a good signature; its signer vouches for the tree.
    Tip,
    /// Nothing is checked. It has to be written out, and `status` shows it.
    None,
}

/// The address of the repository: `ssh://[user@]host[:port]/path` or `https://host[:port]/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceUrl(String);

impl SourceUrl {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let rule =
            "a source is ssh://[user@]host[:port]/path or https://host[:port]/path, without a password";
        let (scheme, rest) = text.split_once("://").ok_or(rule)?;
        let (authority, path) = rest.split_once('/').ok_or(rule)?;
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let word = |word: &str, also: &[u8]| {
            word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b) || also.contains(&b))
                && !word.starts_with('-')
        };
        let good = match scheme {
            "ssh" => word(user, b""),
            "https" => user.is_empty(),
            _ => false,
        } && !host.is_empty()
            && word(host, b":[]")
            && !path.is_empty()
            && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~/+-".contains(&b))
            && text.len() <= 500;
        if good { Ok(Self(text.to_owned())) } else { Err(rule) }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn is_ssh(&self) -> bool {
        self.0.starts_with("ssh://")
    }
}

impl FromText for SourceUrl {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(str::to_owned)
    }
}

fn default_key() -> AbsolutePath {
    AbsolutePath::fixed("/var/lib/nixgate/keys/source")
}
impl Default for Refs {
    fn default() -> Self {
        let main = Branch::main();
        Self { fetch: main.clone(), switch: main.clone(), test: main.clone(), boot: main }
    }
}
impl Default for Trust {
    fn default() -> Self {
        Self { signatures: Signatures::Tip, first_commit: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_no_way_to_run_a_program() {
        for bad in [
            "ext::sh -c id",
            "ssh://-oProxyCommand=id/x",
            "ssh://-oProxyCommand=id@h/x",
            "file:///etc",
            "git@host:x",
            "https://user:secret@host/x",
            "https://host",
            "ssh://host/a b",
            "http://host/x",
            "ssh://h/x?ref=y",
            "ssh://h/x#y",
        ] {
            assert!(SourceUrl::parse(bad).is_err(), "{bad}");
        }
        assert!(SourceUrl::parse("https://forge.example.org:8443/team/infra.git").is_ok());
    }
}
