//! Whether what lies in the store is what Nix put there. A power cut can leave a path that is registered, and files in
//! it that are empty: the database of Nix is written through to the disk, and the store is not (`fsync-store-paths`).
//!
//! So a path is taken for whole once it was read in this boot, and no longer than that: whether the boot before ended
//! well nobody can tell.

use super::clock;
use super::files::replace;
use super::machine::Machine;
use super::process::{Ended, RunError, Spec, Stdout};
use crate::decide::privileged::Program;
use crate::decide::value::StorePath;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

/// The name of the file: the boot, and the paths of one system that were read in it.
const KNOWN: &str = "whole";
const LOOK: Duration = Duration::from_secs(120);

impl Machine {
    /// A system and all that it refers to.
    pub fn closure(&mut self, system: &StorePath) -> Result<Vec<StorePath>, RunError> {
        self.ask_store(&["--query", "--requisites", system.as_str()])
    }

    /// What refers to a path, however indirectly, and the path itself.
    pub fn all_that_needs(&mut self, path: &StorePath) -> Result<Vec<StorePath>, RunError> {
        self.ask_store(&["--query", "--referrers-closure", path.as_str()])
    }

    fn ask_store(&mut self, args: &[&str]) -> Result<Vec<StorePath>, RunError> {
        let mut spec = self.program(Program::NixStore, args, LOOK);
        spec.env.extend(self.nix_environment());
        spec.stdout = Stdout::Captured;
        let ended = self.run(spec)?;
        Ok(ended.text().lines().filter_map(|line| StorePath::parse(line).ok()).collect())
    }

    /// The paths that were read in this boot.
    pub fn known_whole(&self) -> BTreeSet<String> {
        let text = fs::read_to_string(self.store.path(KNOWN)).unwrap_or_default();
        let mut lines = text.lines().map(str::to_owned);
        if lines.next() == Some(clock::boot_id()) { lines.collect() } else { BTreeSet::new() }
    }

    pub fn note_whole(&self, paths: &[StorePath]) -> io::Result<()> {
        let lines = std::iter::once(clock::boot_id()).chain(paths.iter().map(ToString::to_string));
        let text: String = lines.map(|line| line + "\n").collect();
        replace(&self.store.path(KNOWN), text.as_bytes())
    }

    /// Reads paths and compares each with its hash. Nix names in the log those that differ.
    pub fn are_whole(&mut self, paths: &[&StorePath]) -> Result<Ended, RunError> {
        let words =
            ["--extra-experimental-features", "nix-command", "--quiet", "store", "verify", "--no-trust"];
        let mut spec = self.about_store(Program::Nix, &words, paths);
        spec.limit = self.config.limits.build;
        self.run(spec)
    }

    /// Removes paths that nothing needs any more. Nix refuses where something does.
    pub fn delete(&mut self, paths: &[&StorePath]) -> Result<Ended, RunError> {
        let mut spec = self.about_store(Program::NixStore, &["--delete"], paths);
        spec.stdout = Stdout::Captured;
        self.run(spec)
    }

    fn about_store(&self, program: Program, words: &[&str], paths: &[&StorePath]) -> Spec {
        let args: Vec<&str> = words.iter().copied().chain(paths.iter().map(|path| path.as_str())).collect();
        let mut spec = self.program(program, &args, LOOK);
        spec.env.extend(self.nix_environment());
        spec
    }
}
