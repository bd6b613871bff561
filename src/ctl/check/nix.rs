//! Nix: nobody here may be trusted by it, and builds stay in their sandbox. The job refuses to build otherwise.

use super::Report;
use crate::act::accounts::groups_of;
use crate::act::inputs::InputError;
use crate::act::keys::KeyError;
use crate::act::machine::Machine;
use crate::decide::builder::{ACCOUNTS, Settings, sandboxed, untrusted, untrusted_by_daemon};
use crate::decide::config::{Source, SourceKind};

/// A trusted user of the Nix daemon can put anything into the store, and so is root.
pub fn look(report: &mut Report, machine: &mut Machine) {
    let settings = match machine.nix_settings() {
        Ok(settings) => settings,
        Err(unfit) => return report.fail("Nix's settings", unfit),
    };
    for account in ACCOUNTS {
        let groups = groups_of(account).unwrap_or_default();
        report.found(format!("Nix does not trust {account}"), untrusted(&settings, account, &groups));
    }
    match machine.config.source.kind {
        SourceKind::Flake | SourceKind::Nix => {
            report.found("Nix builds in its sandbox alone", sandboxed(&settings));
        }
        SourceKind::Prebuilt => names_caches(report, &machine.config.source, &settings),
    }
}

/// The daemon of an untrusted user fetches only from caches, and believes only keys, that its own nix.conf names.
fn names_caches(report: &mut Report, source: &Source, settings: &Settings) {
    let caches = [settings.words("substituters"), settings.words("trusted-substituters")].concat();
    let keys = settings.words("trusted-public-keys");
    for cache in source.caches.iter().map(|cache| cache.as_str()) {
        let plain = |url: &str| url.trim_end_matches('/').to_owned();
        let named = caches.iter().any(|known| plain(known) == plain(cache));
        let mend = "it does not, so its daemon would not fetch from there; add it to trusted-substituters (nix.settings.trusted-substituters)";
        report.found(format!("nix.conf names the cache {cache}"), if named { Ok(()) } else { Err(mend) });
    }
    for key in source.cache_keys.iter().map(|key| key.as_str()) {
        let mend = "it does not, so its daemon would refuse what that key signed; add it to trusted-public-keys (nix.settings.trusted-public-keys)";
        let named = keys.contains(&key);
        report.found(format!("nix.conf names the cache's key {key}"), if named { Ok(()) } else { Err(mend) });
    }
}

/// As account nixgate: whether each cache answers. Not all have to: the daemon may have a password that we have not.
fn caches_answer(report: &mut Report, machine: &mut Machine) {
    for cache in machine.config.source.caches.clone() {
        let what = format!("the cache {} answers account nixgate", cache.as_str());
        if machine.cache_answers(&cache) {
            report.ok(what);
        } else {
            let mend =
                "it does not; where only the Nix daemon has its password (netrc), that is as it should be";
            report.warn(what, mend);
        }
    }
}

/// As account nixgate: what the daemon itself says.
pub fn look_as_account(report: &mut Report, machine: &mut Machine) {
    let found = machine.word_of_daemon().and_then(|word| untrusted_by_daemon(&word));
    report.found("the Nix daemon answers nixgate and does not trust it", found);
    if machine.config.source.kind.language().is_some() {
        inputs(report, machine);
    }
    caches_answer(report, machine);
}

fn inputs(report: &mut Report, machine: &Machine) {
    let what = "keys and tokens of private inputs";
    match machine.inputs() {
        Err(InputError::Key(KeyError::NoCredential(name))) => {
            report.warn(
                what,
                format_args!("the credential {name} exists in the job's unit alone; a build looks at it"),
            );
        }
        found => report.found(what, found.map(drop)),
    }
}
