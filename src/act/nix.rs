//! Nix, as an untrusted user: evaluation that the repository cannot steer.

use super::files;
use super::git::VERIFIED;
use super::inputs::Inputs;
use super::machine::Machine;
use super::process::{Ended, RunError, Spec, Stdout};
use super::quarantine::OUTGROWN;
use crate::decide::config::Language;
use crate::decide::evaluation;
use crate::decide::privileged::{CANDIDATE_ROOT, Program};
use crate::decide::value::{Commit, StorePath};
use std::fs;
use std::time::Duration;

/// What an evaluation made, as a GC root until it is built.
const DERIVATION_ROOT: &str = "/var/lib/nixgate/roots/derivation";

impl Machine {
    /// Whether `flake.lock` locks all that `flake.nix` asks for: exit 0. Only the inputs are evaluated, which are
    /// literals, and what is locked is not fetched.
    ///
    /// `--no-write-lock-file` must never be added: it disables `--no-update-lock-file`, and unlocked inputs
    /// would be resolved from the network now.
    pub fn locks_everything(&mut self, commit: &Commit) -> Result<Ended, RunError> {
        let url = evaluation::flake_url(&self.repository().to_string_lossy(), VERIFIED, commit);
        let args = [
            "--extra-experimental-features",
            "nix-command flakes",
            "flake",
            "metadata",
            "--json",
            "--no-update-lock-file",
            "--no-use-registries",
            "--option",
            "accept-flake-config",
            "false",
            "--option",
            "flake-registry",
            "",
            &url,
        ];
        let spec = self.confined(Program::Nix, &args);
        self.run(spec)
    }

    /// Evaluates the verified commit to a derivation, which is a GC root from its first moment. The evaluator that
    /// knows no `nixConfig` does it, and it knows no cache of evaluations either.
    pub fn evaluate(
        &mut self,
        commit: &Commit,
        language: Language,
        inputs: &Inputs,
    ) -> Result<Ended, RunError> {
        let source = &self.config.source;
        let what = evaluation::of(source, language, &self.repository().to_string_lossy(), VERIFIED, commit);
        let import = if source.import_from_derivation { "true" } else { "false" };
        let args = [
            "--extra-experimental-features",
            "flakes",
            "--option",
            "pure-eval",
            "true",
            "--option",
            "allow-import-from-derivation",
            import,
            "--option",
            "flake-registry",
            "",
            "--add-root",
            DERIVATION_ROOT,
            "--indirect",
            "--expr",
            &what.expression,
            "--attr",
            &what.attribute,
        ];
        let mut spec = self.confined(Program::NixInstantiate, &args);
        spec.env.extend(inputs.environment());
        self.run(spec)
    }

    /// What the last evaluation made.
    pub fn derivation(&self) -> Option<StorePath> {
        super::machine::system_at(DERIVATION_ROOT).filter(|path| path.as_str().ends_with(".drv"))
    }

    /// Builds a derivation into `roots/candidate`, a GC root from its first moment, with the host's own builders
    /// and caches.
    pub fn build(&mut self, derivation: &StorePath) -> Result<Ended, RunError> {
        let limit = self.config.limits.build;
        let (seconds, output) = (limit.as_secs().to_string(), format!("{derivation}^out"));
        let args = [
            "--extra-experimental-features",
            "nix-command",
            "build",
            "--print-build-logs",
            "--timeout",
            &seconds,
            "--max-silent-time",
            &seconds,
            "--out-link",
            CANDIDATE_ROOT,
            &output,
        ];
        let mut spec = self.program(Program::Nix, &args, limit);
        spec.env.extend(self.nix_environment());
        let ended = self.run(spec)?;
        // The candidate holds what it needs; a link that stays would hold the sources of a build, too.
        let _ = fs::remove_file(DERIVATION_ROOT);
        Ok(ended)
    }

    /// A program that reads what the repository says: it has so much memory and time, and where the host runs out of
    /// memory all the same, it is the first to go.
    fn confined(&self, program: Program, args: &[&str]) -> Spec {
        let limits = &self.config.limits;
        let mut spec = self.program(program, args, limits.evaluation);
        let memory = format!("--data={}", limits.evaluation_memory);
        spec.under = vec![
            self.platform.path(Program::Choom),
            "-n".to_owned(),
            "500".to_owned(),
            "--".to_owned(),
            self.platform.path(Program::Prlimit),
            memory,
            "--".to_owned(),
        ];
        spec.env.extend(self.nix_environment());
        spec.stdout = Stdout::Captured;
        spec
    }

    /// Private directories: a `trusted-settings.json` or a registry of anybody's would be obeyed.
    pub(super) fn nix_environment(&self) -> Vec<(&'static str, String)> {
        let below = |name: &str| self.store.path(name).to_string_lossy().into_owned();
        vec![
            ("HOME", below("nix/home")),
            ("XDG_CACHE_HOME", below("nix/cache")),
            ("XDG_CONFIG_HOME", "/var/empty".to_owned()),
            ("XDG_DATA_HOME", "/var/empty".to_owned()),
            ("XDG_STATE_HOME", below("nix/state")),
            ("NIX_CONFIG", String::new()),
            ("NIX_REMOTE", "daemon".to_owned()),
            ("NIX_USER_CONF_FILES", String::new()),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
            ("GIT_CONFIG_GLOBAL", "/dev/null".to_owned()),
            ("GIT_TERMINAL_PROMPT", "0".to_owned()),
            // Our own repository. Where inputs are fetched, there is more.
            ("GIT_ALLOW_PROTOCOL", "file".to_owned()),
        ]
    }

    /// Before Nix is asked for anything that needs them. What it keeps of inputs that it fetched only grows: a cache
    /// that has outgrown what a repository may is begun anew.
    pub fn ensure_nix_directories(&self) -> std::io::Result<()> {
        let cache = self.store.path("nix/cache");
        if files::has_more_than(&cache, self.config.limits.fetch_size.saturating_mul(OUTGROWN)) {
            fs::remove_dir_all(&cache)?;
        }
        ["nix/home", "nix/cache", "nix/state"]
            .iter()
            .try_for_each(|name| fs::create_dir_all(self.store.path(name)))
    }

    /// What `roots/candidate` leads to.
    pub fn candidate(&self) -> Option<StorePath> {
        super::machine::system_at(CANDIDATE_ROOT)
    }

    /// Makes a system that is already in the store the candidate, as a GC root.
    pub fn root_candidate(&mut self, system: &StorePath) -> Result<Ended, RunError> {
        let args = ["--realise", system.as_str(), "--add-root", CANDIDATE_ROOT, "--indirect"];
        let mut spec = self.program(Program::NixStore, &args, Duration::from_secs(120));
        spec.env.extend(self.nix_environment());
        spec.stdout = Stdout::Captured;
        self.run(spec)
    }
}
