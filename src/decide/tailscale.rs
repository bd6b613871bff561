//! Who a node of a tailnet is, as `tailscale whois --json` says. Only the job asks; no claim of the gate's can say it.
//!
//! The answer is tailscale's `apitype.WhoIsResponse`. Its `UserProfile` is there for every node: that of a tagged one,
//! which has no user, says `tagged-devices` (tailscale/tailscale#4605). Hence the `@` that a login name needs here.

use super::claim::Proof;
use core::net::IpAddr; // the value; nothing here reaches a network
use serde::Deserialize;
use std::fmt;

/// A user's login name (`alice@example.org`) or a tag (`tag:ci`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailnetName(String);

impl TailnetName {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let good = match text.strip_prefix("tag:") {
            Some(tag) => {
                tag.starts_with(|c: char| c.is_ascii_alphabetic())
                    && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            }
            None => text.split_once('@').is_some_and(|(user, domain)| {
                let word = |part: &str| {
                    !part.is_empty()
                        && part.bytes().all(|b| b.is_ascii_graphic() && !b"@,:\"'\\".contains(&b))
                };
                word(user) && word(domain)
            }),
        };
        if good && text.len() <= 100 {
            Ok(Self(text.to_owned()))
        } else {
            Err("a name of a tailnet is a user's login name, as in alice@example.org, or a tag, as in tag:ci")
        }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TailnetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a caller is nobody, although the server that let it in could know more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error(
        "a key counts only through sshd, which is not among the parents of this call; ask over a connection that stays open"
    )]
    NoServer,
    #[error(
        "Tailscale started `su`, which does not say where the connection comes from; use OpenSSH over the tailnet, see docs/tailscale.md"
    )]
    NoNode,
    #[error(
        "tailscale does not say who this connection is from ({0}); on the host: tailscale whois, see docs/tailscale.md"
    )]
    Whois(String),
    #[error("{0} is a node of another tailnet, to which this host is shared; only nodes of its own count")]
    Shared(IpAddr),
}

#[derive(Deserialize)]
struct WhoIs {
    #[serde(rename = "Node")]
    node: Node,
    #[serde(rename = "UserProfile")]
    profile: Profile,
}
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    addresses: Vec<String>,
    /// Left out for a node without any.
    tags: Option<Vec<String>>,
    hostinfo: Option<HostInfo>,
}
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Profile {
    login_name: String,
}
#[derive(Deserialize)]
struct HostInfo {
    /// In the network map only because this host is shared to its owner.
    #[serde(rename = "ShareeNode", default)]
    sharee: bool,
}

/// The proof in an answer about this address: its tags, or else its user.
pub fn proof(answer: &[u8], address: IpAddr) -> Result<Proof, Unknown> {
    let unreadable = |_| Unknown::Whois("its answer is not of the known form".to_owned());
    let WhoIs { node, profile } = serde_json::from_slice(answer).map_err(unreadable)?;
    let own = |text: &String| {
        let (ip, bits) = text.split_once('/')?;
        let ip: IpAddr = ip.parse().ok()?;
        Some(ip == address && bits == if ip.is_ipv4() { "32" } else { "128" })
    };
    if !node.addresses.iter().any(|text| own(text) == Some(true)) {
        return Err(Unknown::Whois(format!("its answer is about another address than {address}")));
    }
    if node.hostinfo.is_some_and(|info| info.sharee) {
        return Err(Unknown::Shared(address));
    }
    let names = match node.tags.unwrap_or_default() {
        tags if tags.is_empty() => vec![profile.login_name],
        tags => tags,
    };
    let parsed: Result<_, _> = names.iter().map(|name| TailnetName::parse(name)).collect();
    parsed.map(Proof::Tailnet).map_err(|rule| Unknown::Whois(rule.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As tailscale 1.94 prints it, shortened to what could matter.
    const USER: &str = r#"{
  "Node": {
    "ID": 1, "StableID": "nAbCdEfG11CNTRL", "Name": "laptop.tail1234.ts.net.", "User": 2, "Key": "nodekey:00",
    "Addresses": ["100.64.0.7/32", "fd7a:115c:a1e0::7/128"], "AllowedIPs": ["100.64.0.7/32", "10.0.0.0/8"],
    "Hostinfo": {"OS": "linux", "Hostname": "laptop"}, "Created": "2026-01-01T00:00:00Z", "Online": true
  },
  "UserProfile": {"ID": 2, "LoginName": "alice@example.org", "DisplayName": "Alice"},
  "CapMap": null
}"#;

    fn names(answer: &str, ip: &str) -> Result<Vec<String>, Unknown> {
        match proof(answer.as_bytes(), ip.parse().unwrap())? {
            Proof::Tailnet(names) => Ok(names.iter().map(ToString::to_string).collect()),
            other => panic!("{other:?}"),
        }
    }
    fn tagged(tags: &str) -> String {
        let node = USER.replace("\"Online\"", &format!("\"Tags\": {tags}, \"Online\""));
        node.replace("alice@example.org", "tagged-devices")
    }

    #[test]
    fn a_node_is_its_user_or_its_tags() {
        assert_eq!(names(USER, "100.64.0.7"), Ok(vec!["alice@example.org".to_owned()]));
        assert_eq!(names(USER, "fd7a:115c:a1e0::7"), Ok(vec!["alice@example.org".to_owned()]));
        let both = Ok(vec!["tag:ci".to_owned(), "tag:server".to_owned()]);
        assert_eq!(names(&tagged("[\"tag:ci\", \"tag:server\"]"), "100.64.0.7"), both);
        let no_tags = USER.replace("\"Online\"", "\"Tags\": null, \"Online\"");
        assert_eq!(names(&no_tags, "100.64.0.7"), Ok(vec!["alice@example.org".to_owned()]));
    }

    #[test]
    fn a_tagged_node_is_never_a_user() {
        for answer in [tagged("[]"), tagged("null"), tagged("[\"tagged-devices\"]"), tagged("[\"tag:\"]")] {
            assert!(matches!(names(&answer, "100.64.0.7"), Err(Unknown::Whois(_))), "{answer}");
        }
        let kept = tagged("[\"tag:ci\"]").replace("tagged-devices", "alice@example.org");
        assert_eq!(names(&kept, "100.64.0.7"), Ok(vec!["tag:ci".to_owned()]));
        assert!(TailnetName::parse("tagged-devices").is_err());
    }

    #[test]
    fn an_answer_about_somebody_else_is_none() {
        assert!(matches!(names(USER, "100.64.0.8"), Err(Unknown::Whois(_))));
        assert!(matches!(names(USER, "10.0.0.1"), Err(Unknown::Whois(_))), "a route is not the node");
        let wide = USER.replace("100.64.0.7/32\", \"fd7a", "100.64.0.7/8\", \"fd7a");
        assert!(matches!(names(&wide, "100.64.0.7"), Err(Unknown::Whois(_))));
        let shared = USER.replace("\"OS\"", "\"ShareeNode\": true, \"OS\"");
        assert!(matches!(names(&shared, "100.64.0.7"), Err(Unknown::Shared(_))));
        for broken in
            ["", "{}", "null", "peer not found\n", "{\"Node\":null,\"UserProfile\":null}", &USER[..200]]
        {
            assert!(matches!(names(broken, "100.64.0.7"), Err(Unknown::Whois(_))), "{broken}");
        }
    }

    #[test]
    fn a_name_is_a_login_or_a_tag() {
        for good in ["alice@example.org", "alice@github", "tag:ci", "tag:A-1"] {
            assert!(TailnetName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "alice", "@x", "a@", "a@b@c", "a b@c", "tag:", "tag:1", "tag:a_b", "tag:x@y", "a@b,c"]
        {
            assert!(TailnetName::parse(bad).is_err(), "{bad}");
        }
    }
}
