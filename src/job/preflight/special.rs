//! The specialisation that runs, where one does, and what a deploy makes of it.

use super::Course;
use crate::act::machine::Machine;
use crate::act::system::specialisation;
use crate::decide::answer::Code;
use crate::decide::outcome::Stop;
use crate::decide::plan::Plan;
use crate::decide::specialisation::{Fate, Specialisation, Target, target};
use crate::decide::value::StorePath;

/// What is activated, and because of what.
#[derive(Debug)]
pub struct Chosen {
    pub target: Target,
    running: Option<(Specialisation, Fate)>,
}

pub fn choose(machine: &Machine, plan: &Plan, candidate: &StorePath) -> Chosen {
    let Some(running) = machine.running_specialisation() else {
        return Chosen { target: Target::Whole(candidate.clone()), running: None };
    };
    let kept = machine.config.specialisation.kept(plan.verb(), &running.name);
    let own = kept.and_then(|name| specialisation(candidate, name));
    let (fate, target) = target(candidate, kept, own);
    Chosen { target, running: Some((running, fate)) }
}

impl Chosen {
    /// Names it before it ends or stays. A trial that would end what should stay is refused.
    pub fn say(&self, machine: &Machine, plan: &Plan, course: Course) -> Result<(), Stop> {
        let Some((running, fate)) = &self.running else { return Ok(()) };
        let said = match course {
            Course::Nothing | Course::CommitOnly => return Ok(()),
            Course::Boot => running.before_boot(),
            Course::Trial => {
                running.before_trial(*fate, plan.verb()).map_err(|why| Stop::new(Code::CheckRefused, why))?
            }
        };
        machine.log.line(said);
        Ok(())
    }
}
