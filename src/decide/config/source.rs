//! `[source]`, `[refs]` and `[trust]`: what is deployed, and who has to vouch for it.

use super::super::value::{Branch, Commit, Name};
use super::caches::{CacheKey, CacheUrl, list};
use super::probes::is_authority;
use super::values::{AbsolutePath, AttributePath, FromText, RelativePath, optional_age, optional_text, text};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::fmt;
use std::time::Duration;

/// Where systems come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Source {
    pub kind: SourceKind,
    #[serde(deserialize_with = "text")]
    pub url: SourceUrl,
    /// The name of this host's system in the repository.
    #[serde(deserialize_with = "text")]
    pub system: Name,
    /// The attribute path of the system, where it is not the usual one of its kind.
    #[serde(default, deserialize_with = "optional_text")]
    pub attribute: Option<AttributePath>,
    /// Of kind `nix` alone: the file that is evaluated.
    #[serde(default, deserialize_with = "optional_text")]
    pub file: Option<RelativePath>,
    /// `host=token` lines, for private inputs.
    #[serde(default, deserialize_with = "optional_text")]
    pub access_tokens_file: Option<ReadKey>,
    /// Whether the evaluation may build and then read what it built.
    #[serde(default)]
    pub import_from_derivation: bool,
    #[serde(default = "default_key", deserialize_with = "text")]
    pub ssh_key: ReadKey,
    /// Of a prebuilt system.
    #[serde(default, deserialize_with = "list")]
    pub caches: Vec<CacheUrl>,
    #[serde(default, deserialize_with = "list")]
    pub cache_keys: Vec<CacheKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// The host fetches, verifies, evaluates and builds.
    Flake,
    /// A file with a Nix expression.
    Nix,
    /// The host takes what a signed manifest on the branch names from a cache.
    Prebuilt,
}

/// What the host evaluates by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Flake,
    Nix,
}

impl SourceKind {
    /// `None`: nothing is evaluated here.
    pub fn language(self) -> Option<Language> {
        match self {
            Self::Flake => Some(Language::Flake),
            Self::Nix => Some(Language::Nix),
            Self::Prebuilt => None,
        }
    }
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
    /// No manifest below it is taken.
    #[serde(deserialize_with = "first_sequence")]
    pub first_sequence: Option<u64>,
    /// Nothing older is taken, by this host's clock: whoever withholds new commits is noticed.
    #[serde(deserialize_with = "optional_age")]
    pub max_commit_age: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signatures {
    /// The commit that is deployed carries a good signature; its signer vouches for the tree.
    Tip,
    /// So does each commit between the anchor and it, those that a merge brought among them.
    EveryCommit,
    /// Nothing is checked. It has to be written out, and `status` shows it.
    None,
}

impl Signatures {
    /// As the configuration spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tip => "tip",
            Self::EveryCommit => "every-commit",
            Self::None => "none",
        }
    }
}

/// Where the private key is that reads the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadKey {
    File(AbsolutePath),
    /// A credential of this name, which systemd hands to the job's unit alone (`LoadCredential=`).
    Credential(Name),
}

const CREDENTIALS: &str = "$CREDENTIALS_DIRECTORY/";

impl FromText for ReadKey {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.strip_prefix(CREDENTIALS) {
            Some(name) => Name::from_text(name).map(Self::Credential),
            None => AbsolutePath::from_text(text).map(Self::File),
        }
    }
}

impl fmt::Display for ReadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(path.as_str()),
            Self::Credential(name) => write!(f, "{CREDENTIALS}{name}"),
        }
    }
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
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let is_user = |word: &str| {
            word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                && !word.is_empty()
                && !word.starts_with('-')
        };
        let good = match scheme {
            "ssh" => user.is_none_or(is_user),
            "https" => user.is_none(),
            _ => false,
        } && is_authority(host)
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
    /// The name or address of the host.
    pub fn host(&self) -> &str {
        let authority = self.0.split('/').nth(2).unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => host.split(':').next().unwrap_or_default(),
        }
    }
}

impl FromText for SourceUrl {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(str::to_owned)
    }
}

fn first_sequence<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    super::super::manifest::sequence(u64::deserialize(d)?).map(Some).map_err(D::Error::custom)
}

fn default_key() -> ReadKey {
    ReadKey::File(AbsolutePath::fixed("/var/lib/nixgate/keys/source"))
}
impl Default for Refs {
    fn default() -> Self {
        let main = Branch::main();
        Self { fetch: main.clone(), switch: main.clone(), test: main.clone(), boot: main }
    }
}
impl Default for Trust {
    fn default() -> Self {
        Self { signatures: Signatures::Tip, first_commit: None, first_sequence: None, max_commit_age: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_source_is_known_without_its_user_and_port() {
        for url in ["ssh://git@h.example:2222/x", "https://h.example/x", "ssh://h.example/~u/x"] {
            assert_eq!(SourceUrl::parse(url).unwrap().host(), "h.example", "{url}");
        }
        assert_eq!(SourceUrl::parse("ssh://git@[fd00:0::1]:22/x").unwrap().host(), "fd00:0::1");
    }

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
            "ssh://@h/x",
            "ssh://:22/x",
            "ssh://h:/x",
            "ssh://h:x/x",
            "https://@h/x",
            "https://[h/x",
        ] {
            assert!(SourceUrl::parse(bad).is_err(), "{bad}");
        }
        assert!(SourceUrl::parse("https://forge.example.org:8443/team/infra.git").is_ok());
    }
}
