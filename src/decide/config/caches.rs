//! `source.caches` and `source.cache-keys`: where a prebuilt system is taken from, and whose word it is that its
//! contents are what they are called.

use super::source::{Signatures, Source, SourceKind, Trust};
use super::values::FromText;
use serde::{Deserialize, Deserializer, de::Error as _};

/// A binary cache: `https://host[:port][/path]`, or `http://`, because what it serves is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheUrl(String);

impl CacheUrl {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let rule = "a cache is https://host[:port][/path] or http://, without a user and a query";
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or(rule)?;
        let host = rest.split('/').next().unwrap_or_default();
        let plain = |also: &'static [u8]| {
            move |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b) || also.contains(&b)
        };
        let good = host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && host.bytes().all(plain(b":[]"))
            && rest.bytes().all(plain(b":[]/~+"))
            && text.len() <= 500;
        if good { Ok(Self(text.to_owned())) } else { Err(rule) }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key that signs what a cache holds, as `nix key convert-secret-to-public` prints it: `NAME:BASE64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheKey(String);

impl CacheKey {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let rule =
            "a key of a cache is its name, ':' and 44 characters of base64, as in cache.example.org-1:AAAA…=";
        let (name, key) = text.split_once(':').ok_or(rule)?;
        let good = (1..=100).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && key.strip_suffix('=').is_some_and(|digits| {
                digits.len() == 43 && digits.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b))
            });
        if good { Ok(Self(text.to_owned())) } else { Err(rule) }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromText for CacheUrl {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(str::to_owned)
    }
}
impl FromText for CacheKey {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(str::to_owned)
    }
}

pub(super) fn list<'de, T: FromText, D: Deserializer<'de>>(d: D) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(d)?;
    texts.iter().map(|text| T::from_text(text).map_err(D::Error::custom)).collect()
}

/// What only one kind of source can have, or has to have: the text to look for, and what is wrong with it.
pub(super) fn contradiction(source: &Source, trust: &Trust) -> Option<(String, String)> {
    let found = match source.kind {
        SourceKind::Prebuilt => of_prebuilt(source, trust),
        SourceKind::Flake if source.file.is_some() => {
            Some(("file", "a flake is evaluated from its flake.nix; source.file is for kind = \"nix\""))
        }
        SourceKind::Flake | SourceKind::Nix if !source.caches.is_empty() => {
            Some(("caches", "the host builds by itself; source.caches is for kind = \"prebuilt\""))
        }
        SourceKind::Flake | SourceKind::Nix if !source.cache_keys.is_empty() => {
            Some(("cache-keys", "the host builds by itself; source.cache-keys is for kind = \"prebuilt\""))
        }
        SourceKind::Flake | SourceKind::Nix => None,
    };
    found.map(|(needle, what)| (needle.to_owned(), what.to_owned()))
}

/// What would be set without having a meaning is an error, above all where it seems to protect from something.
fn of_prebuilt(source: &Source, trust: &Trust) -> Option<(&'static str, &'static str)> {
    let kind = "\"prebuilt\"";
    let evaluated = source.attribute.is_some()
        || source.file.is_some()
        || source.import_from_derivation
        || source.access_tokens_file.is_some();
    if source.caches.is_empty() {
        Some((kind, "a prebuilt system is taken from a cache: set source.caches"))
    } else if source.cache_keys.is_empty() {
        Some((kind, "a prebuilt system is proven by its cache's key: set source.cache-keys"))
    } else if evaluated {
        let what = "nothing is evaluated for a prebuilt system: remove attribute, file, import-from-derivation and access-tokens-file from [source]";
        Some((kind, what))
    } else if trust.signatures != Signatures::Tip {
        let what = "what counts for a prebuilt system is its manifest, which is always signed: remove trust.signatures";
        Some(("signatures", what))
    } else if trust.max_commit_age.is_some() {
        let what =
            "a prebuilt system is as old as its manifest says (not-after): remove trust.max-commit-age";
        Some(("max-commit-age", what))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const KEY: &str = "cache.example.org-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    #[test]
    fn a_cache_can_add_no_setting_and_no_option() {
        for good in ["https://cache.example.org", "http://127.0.0.1:8080/a/b/", "https://[::1]:1/~x"] {
            assert!(CacheUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "https://",
            "https:///x",
            "https://a b",
            "https://a\nb",
            "https://u@h/x",
            "https://h/x?trusted=1",
            "https://h#x",
            "https://-x/",
            "file:///x",
            "ssh://h",
            "daemon",
        ] {
            assert!(CacheUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_one_key() {
        assert!(CacheKey::parse(KEY).is_ok());
        for bad in
            ["", "x", ":AAAA=", &format!("{KEY} {KEY}"), &KEY.replace('=', ""), &KEY.replace("-1", "*")]
        {
            assert!(CacheKey::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_example_of_a_prebuilt_source_is_one() {
        let table: Vec<&str> =
            super::super::EXAMPLE.lines().filter_map(|line| line.strip_prefix("#     ")).collect();
        let config = Config::parse(&format!("version = 1\n{}\n", table.join("\n"))).unwrap();
        assert_eq!(config.source.kind, SourceKind::Prebuilt);
        assert_eq!(config.source.cache_keys, [CacheKey::parse(KEY).unwrap()]);
    }

    fn config(kind: &str, more: &str) -> Result<Config, String> {
        let url = "ssh://git@forge.example.org/infra.git";
        let text =
            format!("version = 1\n[source]\nkind = \"{kind}\"\nurl = \"{url}\"\nsystem = \"web1\"\n{more}");
        Config::parse(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_prebuilt_system_has_caches_and_keys_and_is_always_signed() {
        let (caches, keys) =
            ("caches = [\"https://c.example.org\"]\n", format!("cache-keys = [\"{KEY}\"]\n"));
        let both = format!("{caches}{keys}");
        let good = config("prebuilt", &both).unwrap();
        assert_eq!((good.source.caches.len(), good.source.cache_keys.len()), (1, 1));
        let refused = |kind: &str, more: &str, line: &str, why: &str| {
            let said = config(kind, more).unwrap_err();
            assert!(said.starts_with(line) && said.contains(why), "{said}");
        };
        refused("prebuilt", "", "line 3", "set source.caches");
        refused("prebuilt", caches, "line 3", "set source.cache-keys");
        refused("prebuilt", &format!("{both}[trust]\nsignatures = \"none\"\n"), "line 9", "always signed");
        refused("prebuilt", &format!("{both}[trust]\nmax-commit-age = \"9d\"\n"), "line 9", "not-after");
        for evaluated in ["file = \"a.nix\"", "attribute = \"a\"", "import-from-derivation = true"] {
            refused("prebuilt", &format!("{both}{evaluated}\n"), "line 3", "nothing is evaluated");
        }
        refused("flake", caches, "line 6", "builds by itself");
        refused("flake", &keys, "line 6", "builds by itself");
    }
}
