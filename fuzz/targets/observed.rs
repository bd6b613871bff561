//! What others made and the job reads: commit objects, what systemctl prints, the files of the boot loader.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nixgate::decide::claim::Proof;
use nixgate::decide::config::Loader;
use nixgate::decide::inputs::AccessTokens;
use nixgate::decide::lock::pinned;
use nixgate::decide::manifest::Manifest;
use nixgate::decide::observe::{boot_default, revision};
use nixgate::decide::tailscale::proof;
use nixgate::decide::trust::{Signed, Untrusted, hashes_to, split};
use nixgate::decide::units::Units;
use nixgate_fuzz::{PLANTED, Paths, begin};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const PATHS: Paths = Paths(&[
    "signed commit",
    "signed commit of SHA-256",
    "units",
    "failed unit",
    "lost unit",
    "systemd-boot",
    "grub",
    "revision",
    "lock file",
    "node",
    "manifest",
    "tokens",
]);

const SYSTEM: &str = "/nix/store/00000000000000000000000000000000-nixos-system-web1-25.11";
/// Of two units, the first of which should run and does not.
const SHOWN: &str = "Id=web.service\nNRestarts=0\nLoadState=loaded\nActiveState=inactive\n\
     WantedBy=multi-user.target\nType=simple\nExecMainCode=1\nExecMainStatus=1\n\nId=flap.service\nNRestarts=2\n";
const SIGNATURE: &str = "gpgsig -----BEGIN SSH SIGNATURE-----\n U1NI\n -----END SSH SIGNATURE-----\n";

fn seeds() -> Vec<Vec<u8>> {
    let commit = |more: &str| {
        format!("tree 0\nauthor A <a> 1 +0000\ncommitter A <a> 1700000000 +0000\n{more}\nmessage\n\nmore\n")
    };
    let units = |web: &str| {
        format!(
            "[{{\"unit\":\"multi-user.target\",\"active\":\"active\",\"sub\":\"active\"}},\
             {{\"unit\":\"web.service\",\"active\":\"{web}\",\"sub\":\"running\"}},\
             {{\"unit\":\"nixgate-job@1.service\",\"active\":\"failed\",\"sub\":\"failed\"}},\
             {{\"unit\":\"flap.service\",\"active\":\"activating\",\"sub\":\"auto-restart\"}}]"
        )
    };
    let entry = "/boot/loader/entries/nixos-generation-2+3.conf";
    [
        "# of the team\n\ngithub.com=ghp_x=\ngitlab.com/a=PAT:y\n".to_owned(),
        commit(SIGNATURE),
        commit(&SIGNATURE.replace("gpgsig", "gpgsig-sha256")),
        commit(&format!("mergetag object 0\n type commit\n{SIGNATURE}encoding x\n")),
        commit("gpgsig -----BEGIN PGP SIGNATURE-----\n"),
        commit(""),
        format!("{}\0{}\0{SHOWN}", units("active"), units("failed")),
        format!("/boot/loader/loader.conf:default nixos-generation-2.conf\n{entry}:options init={SYSTEM}/init loglevel=4\n"),
        format!("/boot/loader/loader.conf:preferred nixos-generation-2\n{entry}:linux init={SYSTEM}/init\n"),
        r#"{"Node":{"Addresses":["100.64.0.7/32"],"Hostinfo":{"OS":"linux"}},"UserProfile":{"LoginName":"alice@example.org"}}"#.to_owned(),
        r#"{"Node":{"Addresses":["100.64.0.7/32"],"Tags":["tag:ci"]},"UserProfile":{"LoginName":"tagged-devices"}}"#.to_owned(),
        format!(
            "{{\"version\":1,\"host\":\"web1\",\"path\":\"{SYSTEM}\",\"commit\":\"{}\",\"sequence\":7,\"not-after\":\"2026-01-02T03:04:05Z\"}}\n",
            "0".repeat(40)
        ),
        r#"{"nodes":{"root":{"inputs":{"a":"a","b":"b","c":"c"}},
"a":{"locked":{"type":"github","owner":"NixOS","narHash":"sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","rev":"0123456789abcdef0123456789abcdef01234567"}},
"b":{"locked":{"type":"tarball","url":"https://example.org/x.tar.xz","narHash":"sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}},
"c":{"locked":{"type":"path","path":"./sub"},"parent":[]}},"root":"root","version":7}"#
            .to_owned(),
        format!("{{\"configurationRevision\":\"{}\",\"nixosVersion\":\"x\"}}\n", "0".repeat(40)),
    ]
    .map(String::into_bytes)
    .to_vec()
}

fuzz_target!(init: begin(&PATHS, seeds), |data: &[u8]| {
    for kind in [Kind::Sha1, Kind::Sha256] {
        if let Ok(signed) = taken_apart(data, kind) {
            commit(data, &signed, kind);
        }
    }
    let mut words = data.split(|byte| *byte == 0);
    if let (Some(before), Some(after), Some(shown)) = (words.next(), words.next(), words.next()) {
        units(before, after, &String::from_utf8_lossy(shown));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    loader(text);
    lock(text);
    node(text);
    manifest(text);
    tokens(text);
    if let Some(commit) = revision(text) {
        PATHS.reached("revision");
        assert!(text.contains(&format!("\"{commit}\"")));
    }
});

/// Of repository, which git names the signature by.
#[derive(Clone, Copy)]
enum Kind {
    Sha1,
    Sha256,
}

/// The mistake: line ends of another system are mended before the bytes are looked at.
fn taken_apart(raw: &[u8], kind: Kind) -> Result<Signed, Untrusted> {
    let mended = raw.split(|byte| PLANTED && *byte == b'\r').collect::<Vec<_>>().concat();
    let digits = match kind {
        Kind::Sha1 => 40,
        Kind::Sha256 => 64,
    };
    split(&mended, &"0".repeat(digits))
}

/// What was signed is the object without its signature, byte for byte: put back, it is the object.
fn commit(raw: &[u8], signed: &Signed, kind: Kind) {
    let (path, name) = match kind {
        Kind::Sha1 => ("signed commit", "gpgsig "),
        Kind::Sha256 => ("signed commit of SHA-256", "gpgsig-sha256 "),
    };
    PATHS.reached(path);
    let lines: Vec<&[u8]> = signed.signature.split_inclusive(|byte| *byte == b'\n').collect();
    let header = [name.as_bytes(), lines.join(&b" "[..]).as_slice()].concat();
    let whole = |at: usize| [&signed.payload[..at], &header, &signed.payload[at..]].concat() == raw;
    let starts =
        || signed.payload.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    assert!(
        signed.payload.len() + header.len() == raw.len() && std::iter::once(0).chain(starts()).any(whole)
    );
    assert!(signed.signature.starts_with(b"-----BEGIN SSH SIGNATURE-----"));
    let id = |raw: &[u8]| -> String {
        let digest =
            Sha256::new().chain_update(format!("commit {}\0", raw.len())).chain_update(raw).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    assert!(hashes_to(raw, &id(raw)) && !hashes_to(&signed.payload, &id(raw)));
}

/// Nothing is broken by staying as it is, and what is broken or lost was named by systemctl and is not our own.
fn units(before: &[u8], after: &[u8], shown: &str) {
    let parse = |seconds, json| Units::parse(Duration::from_secs(seconds), json);
    let (Some(before), Some(after)) = (parse(1, before), parse(100, after)) else { return };
    PATHS.reached("units");
    let after = after.with_shown(shown);
    assert!(after.newly_failed(&after).is_empty() && after.lost(&after).is_empty());
    for unit in after.newly_failed(&before) {
        PATHS.reached("failed unit");
        assert!(!unit.starts_with("nixgate") && !unit.starts_with("user@"), "{unit}");
    }
    for unit in after.lost(&before) {
        PATHS.reached("lost unit");
        assert!(before.is_active(&unit) && !after.is_active(&unit), "{unit}");
    }
}

/// Every input is named by its content, or lies in the commit itself.
fn lock(text: &str) {
    if pinned(text.as_bytes()).is_err() {
        return;
    }
    PATHS.reached("lock file");
    let lock: Value = serde_json::from_str(text).expect("JSON");
    let inputs =
        lock["nodes"].as_object().expect("nodes").iter().filter(|(name, _)| lock["root"] != name.as_str());
    for (name, node) in inputs {
        let word = |key: &str| node["locked"][key].as_str().unwrap_or_default();
        if word("type") == "path" {
            assert!(!word("path").starts_with('/') && !word("path").contains("/../"), "{name}");
            continue;
        }
        assert!(word("narHash").len() == 51, "{name}");
        assert!(["tarball", "file"].contains(&word("type")) || word("rev").len() >= 40, "{name}");
        assert!(!word("url").starts_with(['-', '/']) && !word("url").starts_with("file:"), "{name}");
    }
}

/// What is read of a manifest is what would be written into one.
fn manifest(text: &str) {
    let Ok(manifest) = Manifest::parse(text.as_bytes()) else { return };
    PATHS.reached("manifest");
    let written = manifest.render().expect("JSON");
    assert_eq!(Manifest::parse(written.as_bytes()), Ok(manifest));
}

/// The setting is one line, with nothing in it that no line of the file says.
fn tokens(text: &str) {
    let Ok(tokens) = AccessTokens::parse(text) else { return };
    let setting = tokens.setting();
    let Some(words) = setting.strip_prefix("access-tokens = ") else { return assert!(setting.is_empty()) };
    PATHS.reached("tokens");
    assert!(setting.bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
    assert!(words.split(' ').all(|word| word.contains('=') && text.lines().any(|line| line.trim() == word)));
}

/// A node is the one that was asked about; its tags say who it is, and without any its user does.
fn node(text: &str) {
    let Ok(Proof::Tailnet(names)) = proof(text.as_bytes(), IpAddr::V4(Ipv4Addr::new(100, 64, 0, 7))) else {
        return;
    };
    PATHS.reached("node");
    let answer: Value = serde_json::from_str(text).expect("JSON");
    let addresses = answer["Node"]["Addresses"].as_array().expect("addresses");
    assert!(addresses.iter().any(|address| address == "100.64.0.7/32"));
    let expected: Vec<&Value> = match answer["Node"]["Tags"].as_array() {
        Some(tags) if !tags.is_empty() => tags.iter().collect(),
        _ => vec![&answer["UserProfile"]["LoginName"]],
    };
    assert!(
        names.len() == expected.len() && names.iter().zip(expected).all(|(name, text)| text == name.as_str())
    );
}

/// The system that boots is one that the loader's own files name.
fn loader(text: &str) {
    assert_eq!(boot_default(Loader::None, text), None);
    for (kind, path) in [(Loader::SystemdBoot, "systemd-boot"), (Loader::Grub, "grub")] {
        if let Some(system) = boot_default(kind, text) {
            PATHS.reached(path);
            assert!(text.contains(&format!("init={system}/init")), "{system}");
        }
    }
}
