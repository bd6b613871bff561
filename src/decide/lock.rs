//! `flake.lock` of the verified commit: whatever it brings in is named by its content.
//!
//! Nix refuses most of this by itself. It is judged here before Nix reads anything, so that a lock file which pins
//! nothing is a refusal by name and no build failure, whatever the version of Nix does with it.

use super::escape::escaped;
use serde_json::{Map, Value};

/// The one version that Nix has written since 2.4.
const VERSION: u64 = 7;

/// Why a lock file does not pin what is built. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unlocked {
    #[error("flake.lock is larger than a megabyte, which no lock file is; make it anew: nix flake lock")]
    Large,
    #[error("flake.lock is no lock file that nixgate can read (version 7); make it anew: nix flake lock")]
    Form,
    #[error("flake.lock is of version {0}, and nixgate reads version 7 only; make it anew: nix flake lock")]
    Version(u64),
    #[error("flake.lock: the input {0} is not locked; run nix flake lock and commit the result")]
    NotLocked(String),
    #[error(
        "flake.lock: the input {0} has no narHash, so nothing says what it contains; run nix flake update {0} and commit the result"
    )]
    NoHash(String),
    #[error(
        "flake.lock: the input {0} names no revision, so it was locked from a work tree; commit that, then run nix flake update {0}"
    )]
    NoRevision(String),
    #[error(
        "flake.lock: the input {0} is a path of the machine that it was locked on; take it from a repository, or from a directory of this one (path:./…), then run nix flake lock"
    )]
    Path(String),
    #[error(
        "flake.lock: the input {0} is a name of somebody's registry; give its address in flake.nix, then run nix flake lock"
    )]
    Indirect(String),
    #[error(
        "flake.lock: the input {0} comes from neither https:// nor ssh://; change its address in flake.nix, then run nix flake lock"
    )]
    Address(String),
    #[error("flake.lock: the input {0} is of a kind that nixgate does not know; use git, github or tarball")]
    Kind(String),
}

/// Judges a lock file: every node but the root is pinned.
pub fn pinned(text: &[u8]) -> Result<(), Unlocked> {
    let lock: Value = serde_json::from_slice(text).map_err(|_| Unlocked::Form)?;
    match lock.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(other) => return Err(Unlocked::Version(other)),
        None => return Err(Unlocked::Form),
    }
    let nodes = lock.get("nodes").and_then(Value::as_object).ok_or(Unlocked::Form)?;
    let root = lock.get("root").and_then(Value::as_str).ok_or(Unlocked::Form)?;
    if !nodes.contains_key(root) {
        return Err(Unlocked::Form);
    }
    nodes.iter().filter(|(name, _)| *name != root).try_for_each(|(name, node)| is_pinned(name, node))
}

fn is_pinned(name: &str, node: &Value) -> Result<(), Unlocked> {
    // The name is the author's; it goes to a terminal.
    let name = || escaped(name.as_bytes(), 80);
    let locked = node.get("locked").and_then(Value::as_object).ok_or_else(|| Unlocked::NotLocked(name()))?;
    let text = |key: &str| locked.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = text("type");
    match kind {
        // What lies in the commit itself is as verified as the commit.
        "path" if is_inside(node, text("path")) => return Ok(()),
        "path" => return Err(Unlocked::Path(name())),
        "indirect" => return Err(Unlocked::Indirect(name())),
        "github" | "gitlab" | "sourcehut" | "git" | "hg" | "tarball" | "file" => {}
        _ => return Err(Unlocked::Kind(name())),
    }
    if !is_hash(text("narHash")) {
        return Err(Unlocked::NoHash(name()));
    }
    match kind {
        "tarball" | "file" => from_network(text("url"), &["https://", "http://"], name),
        _ if !is_revision(locked) => Err(Unlocked::NoRevision(name())),
        "git" | "hg" => from_network(text("url"), &["https://", "ssh://"], name),
        _ => Ok(()),
    }
}

/// A directory below the flake that names it; Nix marks such a node with its parent, since 2.26.
fn is_inside(node: &Value, path: &str) -> bool {
    node.get("parent").is_some_and(Value::is_array)
        && !path.is_empty()
        && !path.starts_with('/')
        && !path.split('/').any(|part| part == "..")
}

/// `sha256-` and 32 bytes in base 64.
fn is_hash(text: &str) -> bool {
    text.strip_prefix("sha256-").is_some_and(|digest| {
        digest.len() == 44 && digest.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
    })
}

fn is_revision(locked: &Map<String, Value>) -> bool {
    let revision = locked.get("rev").and_then(Value::as_str).unwrap_or_default();
    matches!(revision.len(), 40 | 64) && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A tarball over http is pinned by its hash as well as any; git speaks only what the fetch allows it.
fn from_network(url: &str, schemes: &[&str], name: impl Fn() -> String) -> Result<(), Unlocked> {
    if schemes.iter().any(|scheme| url.starts_with(scheme)) { Ok(()) } else { Err(Unlocked::Address(name())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    const REV: &str = "0123456789abcdef0123456789abcdef01234567";

    fn lock(node: &str) -> Result<(), Unlocked> {
        let node = node.replace("HASH", HASH).replace("REV", REV);
        let text = format!(
            "{{\"nodes\":{{\"root\":{{\"inputs\":{{\"dep\":\"dep\"}}}},\"dep\":{{{node}}}}},\"root\":\"root\",\"version\":7}}"
        );
        pinned(text.as_bytes())
    }

    fn locked(attributes: &str) -> Result<(), Unlocked> {
        lock(&format!("\"locked\":{{{attributes}}}"))
    }

    #[test]
    fn what_nix_writes_for_each_kind_of_input_is_pinned() {
        for good in [
            r#""type":"github","owner":"NixOS","repo":"nixpkgs","narHash":"HASH","rev":"REV","lastModified":1"#,
            r#""type":"git","url":"ssh://git@forge.example.org/lib.git","narHash":"HASH","rev":"REV","revCount":3"#,
            r#""type":"git","url":"https://forge.example.org/lib.git","narHash":"HASH","rev":"REV","submodules":true"#,
            r#""type":"tarball","url":"https://releases.example.org/x.tar.xz","narHash":"HASH""#,
            r#""type":"file","url":"https://releases.example.org/x","narHash":"HASH""#,
        ] {
            assert_eq!(locked(good), Ok(()), "{good}");
        }
        assert_eq!(lock(r#""locked":{"type":"path","path":"./sub"},"parent":[]"#), Ok(()));
        assert_eq!(lock(r#""locked":{"type":"path","path":"sub"},"parent":["dep"]"#), Ok(()));
        assert_eq!(pinned(br#"{"nodes":{"root":{}},"root":"root","version":7}"#), Ok(()));
    }

    #[test]
    fn what_is_not_pinned_is_refused_by_name() {
        let dep = || "dep".to_owned();
        for (bad, why) in [
            (r#""type":"github","owner":"a","repo":"b","rev":"REV""#, Unlocked::NoHash(dep())),
            (r#""type":"github","owner":"a","repo":"b","rev":"REV","narHash":"""#, Unlocked::NoHash(dep())),
            (r#""type":"tarball","url":"https://h/x","narHash":"sha256-x""#, Unlocked::NoHash(dep())),
            (r#""type":"git","url":"https://h/x","narHash":"HASH""#, Unlocked::NoRevision(dep())),
            (
                r#""type":"git","url":"https://h/x","narHash":"HASH","dirtyRev":"REV-dirty""#,
                Unlocked::NoRevision(dep()),
            ),
            (
                r#""type":"github","owner":"a","repo":"b","narHash":"HASH","rev":"main""#,
                Unlocked::NoRevision(dep()),
            ),
            (r#""type":"git","url":"file:///srv/x","narHash":"HASH","rev":"REV""#, Unlocked::Address(dep())),
            (r#""type":"git","url":"ext::sh -c id","narHash":"HASH","rev":"REV""#, Unlocked::Address(dep())),
            (r#""type":"tarball","url":"file:///srv/x.tar","narHash":"HASH""#, Unlocked::Address(dep())),
            (r#""type":"path","path":"/home/me/lib","narHash":"HASH""#, Unlocked::Path(dep())),
            (r#""type":"path","path":"./sub""#, Unlocked::Path(dep())),
            (r#""type":"indirect","id":"nixpkgs","narHash":"HASH""#, Unlocked::Indirect(dep())),
            (r#""type":"flakehub","narHash":"HASH","rev":"REV""#, Unlocked::Kind(dep())),
            (r#""narHash":"HASH","rev":"REV""#, Unlocked::Kind(dep())),
        ] {
            assert_eq!(locked(bad), Err(why), "{bad}");
        }
        assert_eq!(lock(""), Err(Unlocked::NotLocked(dep())));
        assert_eq!(lock(r#""inputs":{"x":"root"}"#), Err(Unlocked::NotLocked(dep())));
        let outside = r#""locked":{"type":"path","path":"./../x"},"parent":[]"#;
        assert_eq!(lock(outside), Err(Unlocked::Path(dep())));
        let absolute = r#""locked":{"type":"path","path":"/etc"},"parent":[]"#;
        assert_eq!(lock(absolute), Err(Unlocked::Path(dep())));
    }

    #[test]
    fn an_unknown_form_is_refused_and_never_guessed() {
        assert_eq!(pinned(br#"{"nodes":{"root":{}},"root":"root","version":8}"#), Err(Unlocked::Version(8)));
        for bad in [
            &b""[..],
            b"\xff",
            b"[]",
            br#"{"nodes":{"root":{}},"root":"root","version":"7"}"#,
            br#"{"nodes":{},"root":"root","version":7}"#,
            br#"{"nodes":{"root":{}},"version":7}"#,
            br#"{"root":"root","version":7}"#,
        ] {
            assert_eq!(pinned(bad), Err(Unlocked::Form), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn the_name_of_an_input_cannot_move_a_terminal() {
        let text = "{\"nodes\":{\"root\":{},\"a\\u001b[31m\\n\":{}},\"root\":\"root\",\"version\":7}";
        let said = pinned(text.as_bytes()).unwrap_err().to_string();
        assert!(said.chars().all(|c| !c.is_control()) && said.contains("a\\x1b[31m"), "{said}");
    }
}
