//! What a caller may ask, and when: written into an `[[access]]` table, or once into a `[[role]]` that several share.

use super::config::ConfirmMode;
use super::request::{VERBS, Verb};
use super::value::Name;
use super::window::Windows;
use serde::Deserialize;

/// The rights of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    pub verbs: Vec<Verb>,
    /// May choose a generation in `rollback GENERATION`: old systems have old holes.
    pub generation: Generation,
    /// When something new may be deployed; `None` is always.
    pub windows: Option<Windows>,
    /// Whether its trials have to be confirmed; `None`: as `[confirm]` says for the verb.
    pub confirm: Option<ConfirmMode>,
}

/// Written `generation = true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "bool")]
pub enum Generation {
    MayChoose,
    #[default]
    MayNot,
}

impl From<bool> for Generation {
    fn from(written: bool) -> Self {
        if written { Self::MayChoose } else { Self::MayNot }
    }
}

impl Rights {
    /// What a table says about them.
    pub fn read(
        verbs: &[String],
        generation: Generation,
        windows: Option<&[String]>,
        confirm: Option<ConfirmMode>,
    ) -> Result<Self, String> {
        let verb = |name: &String| {
            let known = VERBS.map(|(_, name)| name).join(", ");
            Verb::parse(name).ok_or_else(|| format!("unknown verb; the verbs are {known}"))
        };
        Ok(Self {
            verbs: verbs.iter().map(verb).collect::<Result<_, _>>()?,
            generation,
            windows: windows.map(Windows::parse).transpose()?,
            confirm,
        })
    }

    /// Those of nobody.
    pub fn none() -> Self {
        Self { verbs: Vec::new(), generation: Generation::MayNot, windows: None, confirm: None }
    }
}

/// A `[[role]]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Role {
    pub name: Name,
    pub rights: Rights,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    verbs: Vec<String>,
    #[serde(default)]
    generation: Generation,
    windows: Option<Vec<String>>,
    confirm: Option<ConfirmMode>,
}

impl TryFrom<Written> for Role {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        Ok(Self {
            name: Name::parse(&written.name).map_err(|why| why.to_string())?,
            rights: Rights::read(
                &written.verbs,
                written.generation,
                written.windows.as_deref(),
                written.confirm,
            )?,
        })
    }
}
