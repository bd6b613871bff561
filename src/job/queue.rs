//! A deploy that finds another one at work: it joins, waits for its turn, or is refused.

use super::{answers, note};
use crate::act::channel::send;
use crate::act::clock::Instant;
use crate::act::files::Lock;
use crate::act::machine::Machine;
use crate::act::turn::{PLACES, Turn};
use crate::decide::answer::{Code, Packet};
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::plan::Plan;
use crate::decide::record::Record;
use crate::decide::value::JobId;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What became of it.
#[derive(Debug)]
pub enum Behind {
    /// This very request is what runs.
    Same(JobId),
    /// The others have ended, and it has waited as long as this.
    Turn(Lock, Duration),
    /// Nobody is there any more who waits.
    Left,
}

/// The same request by the same identity joins the job that runs. Any other waits for it, as long as the configuration
/// allows, and as long as somebody is there to wait.
pub fn behind(machine: &Machine, channel: &OwnedFd, plan: &Plan) -> Result<Behind, Stop> {
    let current = answers::current(&machine.store).or_stop(Code::NotWritable)?;
    let same = |record: &Record| {
        record.request == plan.request().to_string() && record.identity == plan.identity().name
    };
    match current {
        Some((job, record)) if same(&record) => Ok(Behind::Same(job)),
        _ if machine.patience.is_zero() => Err(who_is_at_work(machine)),
        _ => await_turn(machine, channel, plan),
    }
}

fn await_turn(machine: &Machine, channel: &OwnedFd, plan: &Plan) -> Result<Behind, Stop> {
    let busy = who_is_at_work(machine);
    let seconds = machine.patience.as_secs();
    let Some(place) = machine.store.place_to_wait().or_stop(Code::NotWritable)? else {
        let why = format!("{busy}; {PLACES} others wait for it already, which is all that may");
        return Err(Stop::new(Code::Busy, why));
    };
    let said = format!("nixgate: {busy}\nnixgate: waiting for it, at most {seconds} s\n");
    let _ = send(channel, &Packet::Err(said.as_bytes()).render());
    let since = Instant::now();
    match machine.store.await_lock(&place, machine.patience, channel).or_stop(Code::NotWritable)? {
        Turn::Mine(lock) => Ok(Behind::Turn(lock, since.elapsed())),
        Turn::TooLate => {
            let why = format!("waited {seconds} s (limits.wait); {}", who_is_at_work(machine));
            Err(Stop::new(Code::Busy, why))
        }
        Turn::CallerGone => {
            note(&format!("{} by {}: its caller left while it waited", plan.request(), plan.identity().name));
            Ok(Behind::Left)
        }
    }
}

/// The answer of a second deploy.
fn who_is_at_work(machine: &Machine) -> Stop {
    match answers::current(&machine.store) {
        Ok(Some((_, record))) => answers::busy(&record),
        Ok(None) => Stop::new(Code::Busy, "busy: another job is just starting or ending; ask again"),
        Err(error) => Stop::new(Code::NotWritable, error),
    }
}
