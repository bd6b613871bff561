//! An `[[access]]` table: a name for a credential, and what it may ask.

use super::claim::Proof;
use super::request::{VERBS, Verb};
use super::value::{Fingerprint, Name};
use serde::Deserialize;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Access {
    pub name: Name,
    pub credential: Credential,
    pub verbs: Vec<Verb>,
    /// May choose a generation in `rollback GENERATION`: old systems have old holes.
    pub generation: Generation,
}

/// What a caller proved to sshd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    Key(Fingerprint),
    /// A certificate of this authority that names this principal.
    Certificate {
        authority: Fingerprint,
        principal: String,
    },
}

/// Written `generation = true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    MayChoose,
    MayNot,
}

/// The table as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    key: Option<String>,
    authority: Option<String>,
    principal: Option<String>,
    verbs: Vec<String>,
    #[serde(default)]
    generation: bool,
}

impl TryFrom<Written> for Access {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let verb = |name: &String| {
            let known = VERBS.map(|(_, name)| name).join(", ");
            Verb::parse(name).ok_or_else(|| format!("unknown verb; the verbs are {known}"))
        };
        Ok(Self {
            name: Name::parse(&written.name).map_err(|why| why.to_string())?,
            verbs: written.verbs.iter().map(verb).collect::<Result<_, _>>()?,
            generation: if written.generation { Generation::MayChoose } else { Generation::MayNot },
            credential: Credential::of(written.key, written.authority, written.principal)?,
        })
    }
}

impl Credential {
    fn of(key: Option<String>, authority: Option<String>, principal: Option<String>) -> Result<Self, String> {
        let fingerprint = |text: &str| Fingerprint::parse(text).map_err(|why| why.to_string());
        match (key, authority, principal) {
            (Some(key), None, None) => Ok(Self::Key(fingerprint(&key)?)),
            (None, Some(authority), Some(principal)) if is_principal(&principal) => {
                Ok(Self::Certificate { authority: fingerprint(&authority)?, principal })
            }
            (None, Some(_), Some(_)) => Err(
                "a principal is 1 to 100 printable characters without spaces, commas, quotes and backslashes"
                    .to_owned(),
            ),
            _ => Err("an [[access]] table has either key, or authority and principal".to_owned()),
        }
    }

    pub fn is_proven_by(&self, proof: &Proof) -> bool {
        match (self, proof) {
            (Self::Key(key), Proof::Key(proven)) => key == proven,
            (
                Self::Certificate { authority, principal },
                Proof::Certificate { authority: by, principals, .. },
            ) => authority == by && principals.iter().any(|p| p.as_str() == principal),
            _ => false,
        }
    }
}

fn is_principal(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && !b",\"'\\".contains(&b))
}

/// As records keep it: `SHA256:…`, or `SHA256:… PRINCIPAL`.
impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "{key}"),
            Self::Certificate { authority, principal } => write!(f, "{authority} {principal}"),
        }
    }
}

/// The same for what was proven: each credential, so spelled, that this proof would satisfy.
pub fn spellings(proof: &Proof) -> Vec<String> {
    match proof {
        Proof::Key(key) => vec![key.to_string()],
        Proof::Certificate { authority, principals, .. } => {
            principals.iter().map(|principal| format!("{authority} {}", principal.as_str())).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::claim::Text;
    use super::*;

    fn fingerprint(letter: &str) -> Fingerprint {
        Fingerprint::parse(&format!("SHA256:{}", letter.repeat(43))).unwrap()
    }
    fn of(key: Option<&str>, authority: Option<&str>, principal: Option<&str>) -> Result<Credential, String> {
        let own = |text: Option<&str>| {
            text.map(|t| if t.len() == 1 { fingerprint(t).to_string() } else { t.to_owned() })
        };
        Credential::of(own(key), own(authority), own(principal))
    }

    #[test]
    fn a_key_and_an_authority_are_not_taken_for_each_other() {
        let key = of(Some("A"), None, None).unwrap();
        let certificate = of(None, Some("A"), Some("deployers")).unwrap();
        let by = |authority: &str, principal: &str| Proof::Certificate {
            authority: fingerprint(authority),
            key_id: Text::from_bytes(b"x"),
            principals: vec![Text::from_bytes(b"other"), Text::from_bytes(principal.as_bytes())],
        };
        assert!(key.is_proven_by(&Proof::Key(fingerprint("A"))) && !key.is_proven_by(&by("A", "deployers")));
        assert!(certificate.is_proven_by(&by("A", "deployers")));
        assert!(
            !certificate.is_proven_by(&by("B", "deployers"))
                && !certificate.is_proven_by(&by("A", "deployer"))
        );
        assert!(!certificate.is_proven_by(&Proof::Key(fingerprint("A"))));
        assert!(spellings(&by("A", "deployers")).contains(&certificate.to_string()));
    }

    #[test]
    fn a_table_names_exactly_one_credential() {
        for (key, authority, principal) in [
            (None, None, None),
            (Some("A"), Some("A"), Some("pp")),
            (None, Some("A"), None),
            (None, None, Some("pp")),
            (Some("A"), None, Some("pp")),
        ] {
            assert!(of(key, authority, principal).is_err());
        }
        for bad in ["", "a b", "a,b", "a\"b", "\u{e9}"] {
            assert!(of(None, Some("A"), Some(bad)).is_err(), "{bad}");
        }
    }
}
