//! A specialisation that runs, and what a deploy activates because of it.
//!
//! To NixOS it is a system of its own below `specialisation/NAME` of another one. The profile and the boot default are
//! always that other one, as with `nixos-rebuild --specialisation` (nixpkgs, systemd-boot-builder.py; nixpkgs#325233).

use super::privileged::Row;
use super::request::Verb;
use super::value::{Name, StorePath};
use serde::Serialize;

/// One that runs, known by the system that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Specialisation {
    pub name: String,
    /// The system that it belongs to.
    pub of: String,
}

/// What a job activates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The candidate.
    Whole(StorePath),
    /// Its specialisation of this name.
    Part(Name, StorePath),
}

impl Target {
    pub fn system(&self) -> &StorePath {
        match self {
            Self::Whole(system) | Self::Part(_, system) => system,
        }
    }
    /// The rows that check and activate it.
    pub fn check(&self) -> Row {
        match self {
            Self::Whole(_) => Row::Check,
            Self::Part(name, _) => Row::CheckSpecialisation(name.clone()),
        }
    }
    pub fn trial(&self) -> Row {
        match self {
            Self::Whole(_) => Row::Trial,
            Self::Part(name, _) => Row::TrialSpecialisation(name.clone()),
        }
    }
}

/// What a trial makes of the specialisation that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The candidate's own of its name takes its place.
    Stays,
    /// The configuration does not keep it.
    Ends,
    /// The configuration keeps it, and the candidate has none of its name.
    Missing,
}

/// `kept`: its name, where the configuration keeps it through this verb; `own`: the candidate's own of that name.
pub fn target(candidate: &StorePath, kept: Option<&Name>, own: Option<StorePath>) -> (Fate, Target) {
    match (kept, own) {
        (Some(name), Some(own)) => (Fate::Stays, Target::Part(name.clone(), own)),
        (Some(_), None) => (Fate::Missing, Target::Whole(candidate.clone())),
        (None, _) => (Fate::Ends, Target::Whole(candidate.clone())),
    }
}

/// Whether a system ran when the job began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Ran,
    DidNotRun,
}

/// Whether the configuration keeps a specialisation through the verb of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Yes,
    No,
}

/// Whether a specialisation of the candidate, which runs, is what a job that died had activated or had found to run: for
/// recovery, which has only the record. One that ran before is it where it was to stay; else the old system has returned,
/// for two systems can share a specialisation that takes nothing from either.
pub fn was_activated(before: Before, kept: Kept) -> bool {
    before == Before::DidNotRun || kept == Kept::Yes
}

impl Specialisation {
    /// What is said before a trial; the error is why there is none. A rollback is the way out of a broken system, so
    /// that one goes on without it.
    pub fn before_trial(&self, fate: Fate, verb: Verb) -> Result<String, String> {
        let Self { name, of } = self;
        match (fate, verb) {
            (Fate::Stays, _) => Ok(format!(
                "the specialisation {name} of {of} runs and stays: the candidate's own is activated"
            )),
            (Fate::Ends, _) => Ok(format!(
                "the specialisation {name} of {of} runs; the candidate is activated without one, and a revert returns to it"
            )),
            (Fate::Missing, Verb::Rollback) => Ok(format!(
                "the specialisation {name} of {of} runs, and what is gone back to has none of that name: it is activated without one"
            )),
            (Fate::Missing, _) => Err(format!(
                "the specialisation {name} runs and should stay (specialisation.keep), but the candidate has none of that name; \
                 put it back, or end it first: ask for `boot` and restart the host, or as root: {of}/bin/switch-to-configuration test"
            )),
        }
    }

    /// What is said where nothing is activated.
    pub fn before_boot(&self) -> String {
        let Self { name, of } = self;
        format!(
            "the specialisation {name} of {of} goes on running; the next boot starts the candidate without one"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(letter: &str) -> StorePath {
        StorePath::parse(&format!("/nix/store/{}-nixos-system-web1", letter.repeat(32))).unwrap()
    }

    #[test]
    fn what_is_kept_and_there_is_activated_and_anything_else_is_the_candidate() {
        let (new, own, name) = (system("a"), system("b"), Name::parse("gui").unwrap());
        let (fate, part) = target(&new, Some(&name), Some(own.clone()));
        assert_eq!((fate, part.system()), (Fate::Stays, &own));
        assert_eq!(part.trial(), Row::TrialSpecialisation(name.clone()));
        assert_eq!(part.check(), Row::CheckSpecialisation(name.clone()));
        let whole = Target::Whole(new.clone());
        assert_eq!(target(&new, Some(&name), None), (Fate::Missing, whole.clone()));
        assert_eq!(target(&new, None, Some(own)), (Fate::Ends, whole.clone()));
        assert_eq!((whole.trial(), whole.check(), whole.system()), (Row::Trial, Row::Check, &new));
    }

    #[test]
    fn one_that_two_systems_share_is_the_old_one_unless_it_was_to_stay() {
        assert!(was_activated(Before::DidNotRun, Kept::Yes));
        // The candidate's configuration, which is in force then, may keep another one.
        assert!(was_activated(Before::DidNotRun, Kept::No));
        assert!(was_activated(Before::Ran, Kept::Yes));
        assert!(!was_activated(Before::Ran, Kept::No));
    }

    #[test]
    fn one_that_is_missing_stops_what_is_new_and_no_rollback() {
        let gui = Specialisation { name: "gui".to_owned(), of: system("c").to_string() };
        for verb in [Verb::Switch, Verb::Test] {
            let why = gui.before_trial(Fate::Missing, verb).unwrap_err();
            assert!(why.contains("gui") && why.contains("ask for `boot`"), "{why}");
        }
        for (fate, verb) in
            [(Fate::Missing, Verb::Rollback), (Fate::Ends, Verb::Switch), (Fate::Stays, Verb::Test)]
        {
            assert!(gui.before_trial(fate, verb).unwrap().contains("the specialisation gui of "));
        }
        assert!(gui.before_boot().contains("goes on running"));
    }
}
