//! Nix, as an untrusted user: evaluation that the repository cannot steer.

use super::git::VERIFIED;
use super::machine::Machine;
use super::process::{Ended, RunError, Stdout};
use crate::decide::privileged::{CANDIDATE_ROOT, Program};
use crate::decide::value::{Commit, StorePath};
use std::fs;
use std::time::Duration;

impl Machine {
    /// The attribute that is built: a system of the flake.
    pub fn attribute(&self) -> String {
        format!("nixosConfigurations.\"{}\".config.system.build.toplevel", self.config.source.system)
    }

    /// Builds the verified commit into `roots/candidate`, a GC root from its first moment.
    ///
    /// `--no-write-lock-file` must never be added: it disables `--no-update-lock-file`, and unlocked inputs
    /// would be resolved from the network now.
    pub fn build(&mut self, commit: &Commit) -> Result<Ended, RunError> {
        let limit = self.config.limits.build;
        let (seconds, repository) = (limit.as_secs().to_string(), self.repository());
        let installable =
            format!("git+file://{}?ref={VERIFIED}&rev={commit}#{}", repository.display(), self.attribute());
        let args = [
            "--extra-experimental-features",
            "nix-command flakes",
            "build",
            "--print-build-logs",
            "--no-update-lock-file",
            "--no-use-registries",
            "--pure-eval",
            "--option",
            "accept-flake-config",
            "false",
            "--option",
            "allow-dirty",
            "false",
            "--option",
            "allow-import-from-derivation",
            "false",
            "--option",
            "flake-registry",
            "",
            "--max-jobs",
            "auto",
            "--timeout",
            &seconds,
            "--max-silent-time",
            &seconds,
            "--out-link",
            CANDIDATE_ROOT,
            &installable,
        ];
        let mut spec = self.program(Program::Nix, &args, limit);
        spec.env.extend(self.nix_environment());
        self.run(spec)
    }

    /// Private directories: a `trusted-settings.json` or a registry of anybody's would be obeyed.
    fn nix_environment(&self) -> Vec<(&'static str, String)> {
        let below = |name: &str| self.store.path(name).to_string_lossy().into_owned();
        vec![
            ("HOME", below("nix/home")),
            ("XDG_CACHE_HOME", below("nix/cache")),
            ("XDG_CONFIG_HOME", "/var/empty".to_owned()),
            ("XDG_DATA_HOME", "/var/empty".to_owned()),
            ("XDG_STATE_HOME", below("nix/state")),
            ("NIX_CONFIG", String::new()),
            ("NIX_USER_CONF_FILES", String::new()),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
            ("GIT_CONFIG_GLOBAL", "/dev/null".to_owned()),
            ("GIT_TERMINAL_PROMPT", "0".to_owned()),
            ("GIT_ALLOW_PROTOCOL", "file:https:ssh".to_owned()),
            ("GIT_SSH_COMMAND", self.ssh_command()),
            ("GIT_SSH_VARIANT", "ssh".to_owned()),
        ]
    }

    pub fn ensure_nix_directories(&self) -> std::io::Result<()> {
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
