//! Values that cannot be wrong. Each is made by one constructor, from text, and by nothing else.

use std::fmt;

/// Why a piece of text is not the value it claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("a commit is 40 or 64 lower-case hex digits, in full")]
    Commit,
    #[error("a generation is a number from 1 to 999999999")]
    Generation,
    #[error("not a job identifier that nixgate issued")]
    Job,
    #[error("not a system's store path: /nix/store/<32 characters>-<name>")]
    StorePath,
    #[error(
        "a ref is a branch name: letters, digits and . _ / -, beginning with a letter or digit, without '..'"
    )]
    Branch,
    #[error("a name is 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit")]
    Name,
    #[error("a fingerprint is SHA256: and 43 characters of base64, as ssh-keygen -l prints it")]
    Fingerprint,
}

/// The bytes that make up hexadecimal text in lower case.
fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A commit id in full: SHA-1 (40 digits) or SHA-256 (64 digits).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Commit(String);

impl Commit {
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        match text.len() {
            40 | 64 if is_hex(text) => Ok(Self(text.to_owned())),
            _ => Err(ValueError::Commit),
        }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A generation of the system profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(u32);

impl Generation {
    /// `[1-9][0-9]{0,8}`: no sign, no leading zero, nothing that overflows.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let plain = (1..=9).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_digit())
            && !text.starts_with('0');
        match text.parse() {
            Ok(number) if plain => Ok(Self(number)),
            _ => Err(ValueError::Generation),
        }
    }
    pub fn number(self) -> u32 {
        self.0
    }
}

/// A job: its number on this host, a dash, eight hex digits of chance.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JobId {
    number: u32,
    text: String,
}

impl JobId {
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let (number, chance) = text.split_once('-').ok_or(ValueError::Job)?;
        let number = Generation::parse(number).map_err(|_| ValueError::Job)?.number();
        if chance.len() != 8 || !is_hex(chance) {
            return Err(ValueError::Job);
        }
        Ok(Self { number, text: text.to_owned() })
    }
    pub fn number(&self) -> u32 {
        self.number
    }
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The store path of a system, `/nix/store/HASH-NAME`, nothing below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StorePath(String);

impl StorePath {
    /// The alphabet and the lengths are Nix's: 32 digits of base 32 without e, o, t, u; 211 bytes of name.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let good = text
            .strip_prefix("/nix/store/")
            .and_then(|base| base.split_at_checked(32))
            .and_then(|(hash, rest)| Some((hash, rest.strip_prefix('-')?)))
            .is_some_and(|(hash, name)| {
                hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z') && !b"eotu".contains(&b))
                    && (1..=211).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._?=".contains(&b))
                    && !name.starts_with('.')
            });
        if good { Ok(Self(text.to_owned())) } else { Err(ValueError::StorePath) }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn join(&self, below: &str) -> std::path::PathBuf {
        std::path::Path::new(&self.0).join(below)
    }
}

/// A branch of the source repository, as it stands behind `refs/heads/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Branch(String);

impl Branch {
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let good = (1..=200).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/-".contains(&b))
            && !text.contains("..")
            && !text.contains("//")
            && !text.ends_with(['/', '.'])
            && !text.ends_with(".lock");
        if good { Ok(Self(text.to_owned())) } else { Err(ValueError::Branch) }
    }
    /// The branch that every verb takes unless the configuration names another.
    pub fn main() -> Self {
        Self("main".to_owned())
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A short name that the configuration gives to an identity, a check or a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let good = (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if good { Ok(Self(text.to_owned())) } else { Err(ValueError::Name) }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The SHA-256 fingerprint of a public key, in the form that OpenSSH prints.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let good = text.strip_prefix("SHA256:").is_some_and(|digest| {
            digest.len() == 43 && digest.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b))
        });
        if good { Ok(Self(text.to_owned())) } else { Err(ValueError::Fingerprint) }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! shown_as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}
shown_as_text!(Commit, JobId, StorePath, Branch, Name, Fingerprint);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_full_lower_case_hex() {
        assert!(Commit::parse(&"a".repeat(40)).is_ok());
        assert!(Commit::parse(&"0".repeat(64)).is_ok());
        for bad in ["", "HEAD", &"a".repeat(39), &"a".repeat(41), &"A".repeat(40), &"g".repeat(40)] {
            assert_eq!(Commit::parse(bad), Err(ValueError::Commit), "{bad}");
        }
    }

    #[test]
    fn a_generation_is_a_plain_number() {
        assert_eq!(Generation::parse("999999999").map(Generation::number), Ok(999_999_999));
        for bad in ["", "0", "01", "+1", "-1", "1e3", "1 ", "1000000000", "\u{663}"] {
            assert_eq!(Generation::parse(bad), Err(ValueError::Generation), "{bad}");
        }
    }

    #[test]
    fn a_job_is_one_that_nixgate_issued() {
        assert_eq!(JobId::parse("42-00ff00ff").map(|j| j.number()), Ok(42));
        for bad in
            ["", "42", "42-", "0-00ff00ff", "42-00FF00FF", "42-00ff00f", "../42-00ff00ff", "42-00ff00ff/"]
        {
            assert!(JobId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_store_path_names_one_store_object() {
        let good = format!("/nix/store/{}-nixos-system-web1-25.11", "0".repeat(32));
        assert!(StorePath::parse(&good).is_ok());
        for bad in [
            format!("{good}/bin/sh"),
            format!("{good}/../x"),
            "/nix/store/../etc".to_owned(),
            format!("/nix/store/{}-x", "e".repeat(32)),
            format!("/nix/store/{}-", "0".repeat(32)),
            format!("/nix/store/{}-.x", "0".repeat(32)),
            format!("{good}\n"),
        ] {
            assert!(StorePath::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_branch_cannot_be_an_option_or_a_path() {
        assert!(Branch::parse("release/25.11").is_ok());
        for bad in
            ["", "-x", "a..b", "a//b", "a/", "a b", "a:b", "a.lock", "refs/heads/\n", "/a", "a~1", "@{-1}"]
        {
            assert!(Branch::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fingerprint_has_the_form_of_openssh() {
        assert!(Fingerprint::parse(&format!("SHA256:{}", "A".repeat(43))).is_ok());
        assert!(Fingerprint::parse(&format!("MD5:{}", "A".repeat(43))).is_err());
        assert!(Fingerprint::parse(&format!("SHA256:{}=", "A".repeat(42))).is_err());
    }
}
