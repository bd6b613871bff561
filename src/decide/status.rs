//! Where a host stands: one value, rendered as text and as JSON. docs/status.md and docs/status.schema.json say what each
//! key means.

use super::record::{HostState, Permanent, Record};
use super::specialisation::Specialisation;
use super::state::State;
use serde::Serialize;

/// Keys are only added within one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    pub v: u32,
    /// Where `/run/current-system` leads, `/run/booted-system`, the boot loader and the system profile.
    pub running: Option<String>,
    pub booted: Option<String>,
    pub default: Option<String>,
    pub profile: Option<String>,
    pub generation: Option<u32>,
    /// What was staged last.
    pub candidate: Option<String>,
    pub standing: Standing,
    /// The specialisation that runs.
    pub specialisation: Option<Specialisation>,
    pub anchor: Option<String>,
    /// The highest sequence number of a prebuilt system that was made permanent.
    pub sequence: Option<u64>,
    /// Of the profile, newest first.
    pub generations: Vec<Generation>,
    /// What nixgate committed, oldest first, and where in it the host is.
    pub permanent: Vec<Permanent>,
    pub at: usize,
    pub bad: Vec<String>,
    pub signatures: String,
    /// The first line of the freeze file.
    pub frozen: Option<String>,
    pub reboot_required: bool,
    pub reboot_reasons: Vec<String>,
    /// The job in progress, which holds the lock.
    pub job: Option<Job>,
    pub newest_job: Option<String>,
    /// Why the state could not be read.
    pub problem: Option<String>,
    pub audit: String,
    /// The heads at which the last jobs ended, oldest first. Empty where the log is broken, and for people.
    pub audit_heads: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Generation {
    pub generation: u32,
    pub system: String,
    /// When it was made.
    pub at: Option<String>,
    pub commit: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Job {
    pub job: String,
    pub verb: String,
    pub identity: String,
    pub state: State,
    /// Seconds since it was accepted, and since it entered this state.
    pub age: u64,
    pub state_age: u64,
    /// While a confirmation is awaited: how many seconds are left, and until when.
    pub confirm_in: Option<u64>,
    pub confirm_by: Option<String>,
}

/// What lies between what runs and what the next boot starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing.
    Settled,
    /// A candidate is being tried.
    Trial,
    /// What runs does so until the next boot.
    Test,
    /// What the next boot starts was committed and does not run yet.
    BootWaiting,
    /// A pointer cannot be read.
    Unknown,
}

/// The pointers of a host, a running specialisation taken for the system that it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Pointers<'p> {
    pub running: Option<&'p str>,
    pub booted: Option<&'p str>,
    pub default: Option<&'p str>,
}

pub fn standing(now: Pointers<'_>, state: &HostState, job: Option<&Record>) -> Standing {
    let on_trial = [State::Trial, State::Healthy, State::Confirmed, State::Committing, State::Reverting];
    if job.is_some_and(|record| on_trial.contains(&record.state)) {
        return Standing::Trial;
    }
    let (Some(running), Some(default)) = (now.running, now.default) else { return Standing::Unknown };
    let committed = |system: &str| state.permanent.iter().any(|permanent| permanent.system == system);
    if running == default {
        Standing::Settled
    } else if now.booted == Some(running) || committed(running) {
        Standing::BootWaiting
    } else {
        Standing::Test
    }
}

impl Status {
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    pub fn text(&self) -> String {
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
        let profile = match (&self.profile, self.generation) {
            (Some(system), Some(number)) => format!("{system} (generation {number})"),
            _ => "unknown".to_owned(),
        };
        let mut lines = vec![
            format!("running   {}", known(&self.running)),
            format!("booted    {}", known(&self.booted)),
            format!("default   {}", known(&self.default)),
            format!("profile   {profile}"),
        ];
        let mut also =
            |name: &str, value: Option<String>| lines.extend(value.map(|value| format!("{name}{value}")));
        also("candidate ", self.candidate.clone());
        also("note      ", self.standing.note());
        also(
            "special   ",
            self.specialisation.as_ref().map(|s| format!("{}, a specialisation of {}", s.name, s.of)),
        );
        also("problem   ", self.problem.clone());
        also("frozen    ", self.frozen.clone());
        also("anchor    ", Some(known(&self.anchor)));
        also("sequence  ", self.sequence.map(|number| number.to_string()));
        if !self.bad.is_empty() {
            lines.push("known bad, because their trial failed here; the timer leaves them alone:".to_owned());
        }
        lines.extend(self.bad.iter().rev().take(5).map(|commit| format!("  {commit}")));
        lines.extend(self.generation_lines());
        lines.push(format!("signatures {}", self.signatures));
        lines.push(match self.reboot_reasons.as_slice() {
            [] => "reboot-required no".to_owned(),
            reasons => format!("reboot-required yes: {}", reasons.join(", ")),
        });
        lines.push(format!("job       {}", self.job_line()));
        lines.push(format!("audit     {}", self.audit));
        lines.join("\n") + "\n"
    }

    fn generation_lines(&self) -> Vec<String> {
        let mark = |generation: &Generation| {
            let is = |permanent: &&Permanent| permanent.system == generation.system;
            match (self.permanent.get(self.at).filter(is), self.permanent.iter().find(is)) {
                (Some(_), _) => "*",
                (None, Some(_)) => "+",
                (None, None) => " ",
            }
        };
        let line = |generation: &Generation| {
            let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let (number, system) = (generation.generation, &generation.system);
            let (commit, at) = (or_dash(&generation.commit), or_dash(&generation.at));
            format!("{} {number} {at} {commit} {system}", mark(generation))
        };
        let head = "generations, newest first; + was committed by nixgate, * is where rollback starts from:";
        let lines = self.generations.iter().take(5).map(line);
        if self.generations.is_empty() {
            Vec::new()
        } else {
            std::iter::once(head.to_owned()).chain(lines).collect()
        }
    }

    fn job_line(&self) -> String {
        let Some(job) = &self.job else {
            return match &self.newest_job {
                Some(newest) => format!("none; the last was {newest}"),
                None => "none".to_owned(),
            };
        };
        let mut line = format!(
            "busy: job {} ({} by {}), state {} for {} s, running for {} s; follow it with `attach {}`",
            job.job, job.verb, job.identity, job.state, job.state_age, job.age, job.job
        );
        if let (Some(left), Some(by)) = (job.confirm_in, &job.confirm_by) {
            line += &format!(
                "\nconfirm   {left} s are left, until {by}: `confirm {}` over a new connection",
                job.job
            );
        }
        line
    }
}

impl Standing {
    fn note(self) -> Option<String> {
        let what = match self {
            Self::Settled => return None,
            Self::Trial => "a candidate is on trial; the boot default is untouched",
            Self::Test => "a test deployment: what runs is not what the next boot starts",
            Self::BootWaiting => "a boot is waiting: what the next boot starts is not what runs",
            Self::Unknown => "what runs, or what the next boot starts, cannot be read",
        };
        Some(what.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(systems: &[&str]) -> HostState {
        let permanent = |system: &&str| Permanent {
            system: (*system).to_owned(),
            generation: 1,
            commit: None,
            at: String::new(),
        };
        HostState { permanent: systems.iter().map(permanent).collect(), ..HostState::default() }
    }

    #[test]
    fn what_runs_and_what_boots_are_told_apart() {
        let stands = |running, booted, default, committed: &[&str]| {
            let pointers = Pointers { running: Some(running), booted: Some(booted), default: Some(default) };
            standing(pointers, &state(committed), None)
        };
        assert_eq!(stands("a", "a", "a", &[]), Standing::Settled);
        assert_eq!(stands("b", "a", "b", &["a", "b"]), Standing::Settled);
        assert_eq!(stands("b", "a", "a", &[]), Standing::Test);
        assert_eq!(stands("c", "a", "b", &["a", "b"]), Standing::Test);
        assert_eq!(stands("a", "a", "b", &[]), Standing::BootWaiting);
        assert_eq!(stands("b", "a", "c", &["a", "b", "c"]), Standing::BootWaiting);
        let unknown = Pointers { running: Some("a"), booted: None, default: None };
        assert_eq!(standing(unknown, &state(&[]), None), Standing::Unknown);
    }
}
