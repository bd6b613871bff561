//! An `[[access]]` table: a name for a credential, and what it may ask.

use super::claim::Proof;
use super::config::ConfirmMode;
use super::role::{Generation, Rights};
use super::tailscale::TailnetName;
use super::value::{Fingerprint, Name};
use serde::Deserialize;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Access {
    pub name: Name,
    pub credential: Credential,
    /// The `[[role]]` that it names instead of saying its rights. They are none until the configuration as a whole
    /// has put them here.
    pub role: Option<Name>,
    pub rights: Rights,
}

/// What a caller proved to sshd, or tailscaled says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    Key(Fingerprint),
    /// A certificate of this authority that names this principal.
    Certificate {
        authority: Fingerprint,
        principal: String,
    },
    Tailnet(TailnetName),
}

/// The table as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    key: Option<String>,
    authority: Option<String>,
    principal: Option<String>,
    tailscale: Option<String>,
    role: Option<String>,
    verbs: Option<Vec<String>>,
    generation: Option<Generation>,
    windows: Option<Vec<String>>,
    confirm: Option<ConfirmMode>,
}

impl TryFrom<Written> for Access {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let name = |text: &str| Name::parse(text).map_err(|why| why.to_string());
        let own = written.generation.is_some() || written.windows.is_some() || written.confirm.is_some();
        let (role, rights) = match (&written.role, &written.verbs) {
            (Some(role), None) if !own => (Some(name(role)?), Rights::none()),
            (None, Some(verbs)) => {
                let generation = written.generation.unwrap_or_default();
                (None, Rights::read(verbs, generation, written.windows.as_deref(), written.confirm)?)
            }
            _ => return Err("an [[access]] table has either role, or its own verbs".to_owned()),
        };
        Ok(Self { name: name(&written.name)?, credential: written.credential()?, role, rights })
    }
}

impl Written {
    fn credential(self) -> Result<Credential, String> {
        let fingerprint = |text: &str| Fingerprint::parse(text).map_err(|why| why.to_string());
        match (self.key, self.authority, self.principal, self.tailscale) {
            (Some(key), None, None, None) => Ok(Credential::Key(fingerprint(&key)?)),
            (None, Some(authority), Some(principal), None) if is_principal(&principal) => {
                Ok(Credential::Certificate { authority: fingerprint(&authority)?, principal })
            }
            (None, Some(_), Some(_), None) => Err(
                "a principal is 1 to 100 printable characters without spaces, commas, quotes and backslashes"
                    .to_owned(),
            ),
            (None, None, None, Some(name)) => Ok(Credential::Tailnet(TailnetName::parse(&name)?)),
            _ => {
                Err("an [[access]] table has either key, or authority and principal, or tailscale".to_owned())
            }
        }
    }
}

impl Credential {
    pub fn is_proven_by(&self, proof: &Proof) -> bool {
        match (self, proof) {
            (Self::Key(key), Proof::Key(proven)) => key == proven,
            (
                Self::Certificate { authority, principal },
                Proof::Certificate { authority: by, principals, .. },
            ) => authority == by && principals.iter().any(|p| p.as_str() == principal),
            (Self::Tailnet(name), Proof::Tailnet(names)) => names.contains(name),
            _ => false,
        }
    }
}

fn is_principal(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && !b",\"'\\".contains(&b))
}

/// As records keep it: `SHA256:…`, `SHA256:… PRINCIPAL` or `tailscale NAME`.
impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "{key}"),
            Self::Certificate { authority, principal } => write!(f, "{authority} {principal}"),
            Self::Tailnet(name) => write!(f, "tailscale {name}"),
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
        Proof::Tailnet(names) => names.iter().map(|name| format!("tailscale {name}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::claim::Text;
    use super::*;

    fn fingerprint(letter: &str) -> Fingerprint {
        Fingerprint::parse(&format!("SHA256:{}", letter.repeat(43))).unwrap()
    }
    fn table(text: &str) -> Result<Access, String> {
        let text = text.replace("\"A\"", &format!("\"{}\"", fingerprint("A")));
        toml::from_str(&text).map_err(|error| error.to_string())
    }
    fn of(key: Option<&str>, authority: Option<&str>, principal: Option<&str>) -> Result<Credential, String> {
        let line =
            |name: &str, value: Option<&str>| value.map_or(String::new(), |v| format!("{name} = {v:?}\n"));
        let credential =
            [line("key", key), line("authority", authority), line("principal", principal)].concat();
        table(&format!("name = \"x\"\nverbs = []\n{credential}")).map(|access| access.credential)
    }

    #[test]
    fn a_key_and_an_authority_are_not_taken_for_each_other() {
        let key = of(Some("A"), None, None).unwrap();
        let certificate = of(None, Some("A"), Some("deployers")).unwrap();
        let by = |authority: &str, principal: &str| Proof::Certificate {
            authority: fingerprint(authority),
            key_id: Text::from_bytes(b"x"),
            principals: vec![Text::from_bytes(b"other"), Text::from_bytes(principal.as_bytes())],
            valid_before: None,
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
        assert!(table("name = \"x\"\nverbs = []\nkey = \"A\"\ntailscale = \"tag:ci\"\n").is_err());
    }

    #[test]
    fn a_name_of_the_tailnet_is_proven_by_tailscale_alone() {
        let credential = |name: &str| {
            table(&format!("name = \"x\"\nverbs = []\ntailscale = \"{name}\"\n")).unwrap().credential
        };
        let names = |names: &[&str]| {
            Proof::Tailnet(names.iter().map(|name| TailnetName::parse(name).unwrap()).collect())
        };
        let node = names(&["tag:ci", "tag:server"]);
        assert!(credential("tag:ci").is_proven_by(&node) && credential("tag:server").is_proven_by(&node));
        assert!(!credential("tag:other").is_proven_by(&node) && !credential("ci@tag").is_proven_by(&node));
        assert!(spellings(&node).contains(&credential("tag:ci").to_string()));
        assert!(credential("alice@example.org").is_proven_by(&names(&["alice@example.org"])));
        let certificate = Proof::Certificate {
            authority: fingerprint("A"),
            key_id: Text::from_bytes(b"alice@example.org"),
            principals: vec![Text::from_bytes(b"alice@example.org")],
            valid_before: None,
        };
        assert!(!credential("alice@example.org").is_proven_by(&certificate));
    }

    #[test]
    fn a_table_has_a_role_or_rights_of_its_own() {
        let role = table("name = \"x\"\nkey = \"A\"\nrole = \"ops\"\n").unwrap();
        assert_eq!((role.role.unwrap().as_str(), role.rights), ("ops", Rights::none()));
        for both in ["", "role = \"ops\"\nverbs = []\n", "role = \"ops\"\ngeneration = true\n"] {
            assert!(table(&format!("name = \"x\"\nkey = \"A\"\n{both}")).is_err(), "{both}");
        }
    }
}
