//! A transaction whose record is on disk. What was not recorded cannot be run: every privileged command asks
//! for one of these, and only this file makes them.

use super::clock;
use super::store::{Store, StoreError};
use crate::decide::chain::{Event, Head};
use crate::decide::plan::Plan;
use crate::decide::policy::Identity;
use crate::decide::record::{Failure, HostState, Record, Triple, VERSION};
use crate::decide::state::State;
use crate::decide::value::JobId;
use serde_json::{Map, Value};
use std::time::Duration;

/// The job that holds the lock, with its record as it stands on disk.
#[derive(Debug)]
pub struct Begun {
    job: JobId,
    record: Record,
}

impl Begun {
    /// Writes the first record, names the job in the state, and puts it into the audit log: in this order, so
    /// that recovery finds whatever was announced.
    pub fn begin(store: &Store, job: JobId, plan: &Plan, state: &mut HostState) -> Result<Self, StoreError> {
        let identity = plan.identity();
        let record = Record {
            v: VERSION,
            job: job.to_string(),
            verb: plan.verb().to_string(),
            request: plan.request().to_string(),
            identity: identity.name.clone(),
            address: identity.address.clone(),
            accepted: clock::wall(),
            boot: clock::boot_id(),
            accepted_at: clock::since_boot().as_secs(),
            state: State::Accepted,
            state_at: clock::since_boot().as_secs(),
            commit: None,
            sequence: None,
            new: None,
            old: None,
            may_confirm: plan.may_confirm(),
            may_cancel: plan.may_cancel(),
            confirm_by: None,
            activated_at: None,
            failure: None,
        };
        let begun = Self { job, record };
        begun.announce(store, state).inspect_err(|_| begun.forget(store, state))?;
        Ok(begun)
    }

    fn announce(&self, store: &Store, state: &mut HostState) -> Result<(), StoreError> {
        store.write_record(&self.job, &self.record)?;
        state.job = Some(self.job.to_string());
        store.write_state(state)?;
        self.audit(store, "accepted", &[("request", self.record.request.clone())]).map(drop)
    }

    /// What could not be announced never was: the caller is told so, and recovery has not to end it once more. Where
    /// this cannot be written either, it does.
    fn forget(&self, store: &Store, state: &mut HostState) {
        state.job = None;
        let _ = store.write_state(state);
        let _ = store.remove_job(&self.job);
    }

    /// A transaction that another process began: for recovery, which holds the lock.
    pub fn resume(job: JobId, record: Record) -> Self {
        Self { job, record }
    }

    pub fn job(&self) -> &JobId {
        &self.job
    }
    pub fn record(&self) -> &Record {
        &self.record
    }
    pub fn state(&self) -> State {
        self.record.state
    }

    /// Announces a state, before its effect: record, then audit. What may not follow is refused.
    pub fn enter(&mut self, store: &Store, state: State) -> Result<(), StoreError> {
        self.step(state)?;
        store.write_record(&self.job, &self.record)?;
        self.audit(store, state.as_str(), &[]).map(|_| ())
    }

    /// The same on the way back, where a write that fails must not stop what returns the host. Nor does a step
    /// that may not be: the record keeps the state in which recovery knows what to do, and the audit log tells.
    pub fn enter_if_possible(&mut self, store: &Store, state: State, failure: Option<Failure>) {
        if failure.is_some() {
            self.record.failure = failure;
        }
        let mut why = self.record.failure.as_ref().map(|f| f.why.clone()).unwrap_or_default();
        if let Err(error) = self.step(state) {
            why = format!("{error}; {why}");
        }
        let _ = store.write_record(&self.job, &self.record);
        let _ = self.audit(store, state.as_str(), &[("why", why)]);
    }

    fn step(&mut self, state: State) -> Result<(), StoreError> {
        let from = self.record.state;
        if !from.may_become(state) {
            return Err(StoreError::Step { from, to: state });
        }
        self.record.state = state;
        self.record.state_at = clock::since_boot().as_secs();
        Ok(())
    }

    /// Facts that the next states rest on; they are on disk with the next [`Begun::enter`].
    pub fn note_commit(&mut self, commit: &str) {
        self.record.commit = Some(commit.to_owned());
    }
    /// The commit of a manifest, and where it stands among those of this host.
    pub fn note_manifest(&mut self, commit: &str, sequence: u64) {
        self.note_commit(commit);
        self.record.sequence = Some(sequence);
    }
    pub fn note_candidate(&mut self, system: &str) {
        self.record.new = Some(system.to_owned());
    }
    pub fn note_old(&mut self, old: Triple) {
        self.record.old = Some(old);
    }

    /// A confirmation is awaited: who wants to give it needs to know since when and until when.
    pub fn await_confirmation(
        &mut self,
        store: &Store,
        activated_at: Duration,
        by: Duration,
    ) -> Result<(), StoreError> {
        self.record.activated_at = u64::try_from(activated_at.as_millis()).ok();
        self.record.confirm_by = Some(by.as_secs());
        store.write_record(&self.job, &self.record)
    }

    pub fn audit(
        &self,
        store: &Store,
        event: &'static str,
        detail: &[(&str, String)],
    ) -> Result<Head, StoreError> {
        let identity = Identity {
            name: self.record.identity.clone(),
            address: self.record.address.clone(),
            proofs: Vec::new(),
        };
        let mut detail: Vec<(&str, String)> = detail.to_vec();
        detail.extend(self.record.commit.iter().map(|c| ("commit", c.clone())));
        detail.extend(self.record.sequence.iter().map(|n| ("sequence", n.to_string())));
        detail.extend(self.record.new.iter().map(|new| ("new", new.clone())));
        store.audit(&audit_event(event, Some(&self.job), &identity, &detail))
    }
}

/// An event with its time; every text in it was escaped where it came in.
pub fn audit_event(
    event: &'static str,
    job: Option<&JobId>,
    identity: &Identity,
    detail: &[(&str, String)],
) -> Event {
    let mut map: Map<String, Value> =
        detail.iter().map(|(k, v)| ((*k).to_owned(), Value::from(capped(v)))).collect();
    if let Some(address) = &identity.address {
        map.insert("address".to_owned(), Value::from(address.as_str()));
    }
    Event {
        time: clock::wall(),
        boot: clock::boot_id(),
        job: job.map(ToString::to_string),
        event,
        identity: Some(identity.name.clone()),
        detail: map,
    }
}

/// A line has to fit into what is read back of the log.
fn capped(text: &str) -> String {
    text.chars().take(2048).collect()
}
