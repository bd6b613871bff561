//! Binary caches: a system that was built elsewhere, asked for, taken, and held against the keys of the configuration.
//!
//! The daemon fetches, from those caches alone that its own nix.conf names too; the proof is ours, with our keys.
//! Exit codes only, never text.

use super::files;
use super::machine::Machine;
use super::process::{Ended, RunError, Spec, Stdout};
use crate::decide::config::{CacheKey, CacheUrl};
use crate::decide::privileged::{CANDIDATE_ROOT, Program};
use crate::decide::value::StorePath;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What `nix store verify` says. Its exit code is a sum: 1 damaged, 2 not signed by a key of ours, 4 not there. Damage is
/// said first, because what is signed can only be known of what is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    Good,
    /// Something of it is signed by no key of ours.
    Untrusted,
    /// It is not there.
    Missing,
    /// Its bytes are not those that were signed; or there was nobody to ask, for which Nix has the same code.
    Damaged,
}

/// Whole, and not signed by a key of ours.
const UNSIGNED: i32 = 2;

impl Proof {
    fn of(code: i32) -> Self {
        match code {
            0 => Self::Good,
            UNSIGNED | 6 => Self::Untrusted,
            4 => Self::Missing,
            _ => Self::Damaged,
        }
    }
}

/// How much of a system is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The path alone.
    Top,
    /// And all that it refers to.
    Closure,
}

impl Machine {
    /// Whether a cache has a system, signed by a key of ours. Asked as account nixgate before the daemon is: what is
    /// not there yet the daemon would take to be missing for an hour (`narinfo-cache-negative-ttl`).
    pub fn cache_has(
        &mut self,
        cache: &CacheUrl,
        system: &StorePath,
        extent: Extent,
    ) -> Result<Proof, RunError> {
        let mut args = vec!["--store", cache.as_str(), "--no-contents"];
        args.extend((extent == Extent::Closure).then_some("--recursive"));
        let limit = Duration::from_secs(60).min(self.config.limits.build);
        match self.run(self.verification(&args, system, limit)) {
            // One that is too slow to ask may still serve the daemon.
            Err(RunError::Deadline { .. }) => Ok(Proof::Damaged),
            ended => ended.map(|ended| Proof::of(ended.code)),
        }
    }

    /// Whether the whole closure, as it lies in this store, is what somebody with a key of ours signed, byte for byte. That a
    /// path was built here proves nothing: any local user may have built it.
    pub fn closure_is_signed(&mut self, system: &StorePath) -> Result<Proof, RunError> {
        let limit = self.config.limits.build;
        let alone = self.run(self.verification(&["--recursive"], system, limit))?;
        if alone.code != UNSIGNED {
            return Ok(Proof::of(alone.code));
        }
        // What is here without a signature is good if a cache has one over the same contents, which were read above.
        self.log.line("asking the caches for signatures of what has none here");
        let caches = self.config.source.caches.clone();
        let mut args = vec!["--recursive", "--no-contents"];
        args.extend(caches.iter().flat_map(|cache| ["--substituter", cache.as_str()]));
        let asked = self.run(self.verification(&args, system, limit))?;
        Ok(if asked.is_success() { Proof::Good } else { Proof::Untrusted })
    }

    /// Whether a cache answers account nixgate at all.
    pub fn cache_answers(&mut self, cache: &CacheUrl) -> bool {
        let args =
            ["--extra-experimental-features", "nix-command", "store", "info", "--store", cache.as_str()];
        let mut spec = self.program(Program::Nix, &args, Duration::from_secs(30));
        spec.env.extend(self.nix_environment());
        spec.stdout = Stdout::Dropped;
        self.run(spec).is_ok_and(|ended| ended.is_success())
    }

    fn verification(&self, args: &[&str], system: &StorePath, limit: Duration) -> Spec {
        let words =
            [&["--quiet", "store", "verify", "--sigs-needed", "1"], args, &[system.as_str()]].concat();
        let mut spec = self.program(Program::Nix, &words, limit);
        spec.env.extend(self.nix_environment());
        spec.env.push(("NIX_CONF_DIR", self.settings().to_string_lossy().into_owned()));
        spec
    }

    fn settings(&self) -> PathBuf {
        self.store.path("nix/conf")
    }

    /// The settings of a verification, instead of the host's: our keys and no others, and no memory of what a cache said
    /// before. In a file, because the daemon is told of what stands in arguments, and warns that it ignores it.
    pub fn write_verification_settings(&self) -> io::Result<()> {
        self.ensure_nix_directories()?;
        let keys: Vec<&str> = self.config.source.cache_keys.iter().map(CacheKey::as_str).collect();
        let text = format!(
            "experimental-features = nix-command\ntrusted-public-keys = {}\n\
             narinfo-cache-negative-ttl = 0\nnarinfo-cache-positive-ttl = 0\n",
            keys.join(" ")
        );
        fs::create_dir_all(self.settings())?;
        files::replace(&self.settings().join("nix.conf"), text.as_bytes())
    }

    /// Whether the store has a path already, whoever made it.
    pub fn is_in_store(&mut self, system: &StorePath) -> Result<bool, RunError> {
        let args = ["--check-validity", system.as_str()];
        let mut spec = self.program(Program::NixStore, &args, Duration::from_secs(60));
        spec.env.extend(self.nix_environment());
        spec.stdout = Stdout::Dropped;
        Ok(self.run(spec)?.is_success())
    }

    /// Takes a system from the configured caches, and makes it the candidate: a GC root before it is verified.
    pub fn take(&mut self, system: &StorePath) -> Result<Ended, RunError> {
        let caches: Vec<&str> = self.config.source.caches.iter().map(CacheUrl::as_str).collect();
        let caches = caches.join(" ");
        let args = [
            "--realise",
            system.as_str(),
            "--add-root",
            CANDIDATE_ROOT,
            "--indirect",
            "--max-jobs",
            "0",
            "--option",
            "substituters",
            &caches,
        ];
        let mut spec = self.program(Program::NixStore, &args, self.config.limits.build);
        spec.env.extend(self.nix_environment());
        self.run(spec)
    }

    /// What was not proven is no candidate, and need not be kept.
    pub fn drop_candidate(&self) {
        let _ = fs::remove_file(CANDIDATE_ROOT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zero_is_good_and_a_signal_says_nothing() {
        assert_eq!(Proof::of(0), Proof::Good);
        for code in [2, 6] {
            assert_eq!(Proof::of(code), Proof::Untrusted, "{code}");
        }
        assert_eq!(Proof::of(4), Proof::Missing);
        for code in [1, 3, 5, 7, 8, 128 + 2, 128 + 9, 255, -1] {
            assert_eq!(Proof::of(code), Proof::Damaged, "{code}");
        }
    }
}
