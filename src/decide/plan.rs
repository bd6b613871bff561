//! What a permitted request means: the steps that it takes. Only [`Authorized`] can become a [`Plan`].

use super::config::{Config, ConfirmMode};
use super::policy::{Authorized, Identity, credentials_that_may, table_of};
use super::request::{Request, Verb};
use super::value::{Branch, Commit, Generation};

/// Where the candidate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidate {
    /// A commit of this branch: the one that was named, or its tip.
    Source { branch: Branch, commit: Option<Commit> },
    /// A system that was permanent before.
    Earlier(Option<Generation>),
}

/// How far the candidate goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// It exists.
    Built,
    /// It runs until the next boot.
    Running,
    /// It starts at the next boot.
    AtBoot,
    /// It runs and starts at every boot.
    Permanent,
}

/// A permitted job, with all that the configuration says about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    request: Request,
    verb: Verb,
    identity: Identity,
    candidate: Candidate,
    goal: Goal,
    confirm: ConfirmMode,
    may_confirm: Option<Vec<String>>,
    may_cancel: Option<Vec<String>>,
}

impl Plan {
    /// `None` for requests that are answered and not run: status, attach, confirm, cancel.
    pub fn of(authorized: Authorized, config: &Config) -> Option<Self> {
        let (request, identity) = authorized.into_parts();
        let verb = request.verb()?;
        let access = config.access.as_deref().unwrap_or_default();
        let own = table_of(access, &identity.proofs).and_then(|table| table.rights.confirm);
        let source = |commit: &Option<Commit>| Candidate::Source {
            branch: config.branch(verb).clone(),
            commit: commit.clone(),
        };
        let (candidate, goal) = match &request {
            Request::Fetch(commit) => (source(commit), Goal::Built),
            Request::Switch(commit) => (source(commit), Goal::Permanent),
            Request::Test(commit) => (source(commit), Goal::Running),
            Request::Boot(commit) => (source(commit), Goal::AtBoot),
            Request::Rollback(generation) => (Candidate::Earlier(*generation), Goal::Permanent),
            _ => return None,
        };
        Some(Self {
            verb,
            candidate,
            goal,
            confirm: own.unwrap_or_else(|| config.confirm.of(verb)),
            may_confirm: credentials_that_may(config, Verb::Confirm),
            may_cancel: credentials_that_may(config, Verb::Cancel),
            request,
            identity,
        })
    }

    pub fn request(&self) -> &Request {
        &self.request
    }
    pub fn verb(&self) -> Verb {
        self.verb
    }
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }
    pub fn goal(&self) -> Goal {
        self.goal
    }
    pub fn confirm(&self) -> ConfirmMode {
        self.confirm
    }
    pub fn may_confirm(&self) -> Option<Vec<String>> {
        self.may_confirm.clone()
    }
    pub fn may_cancel(&self) -> Option<Vec<String>> {
        self.may_cancel.clone()
    }
}
