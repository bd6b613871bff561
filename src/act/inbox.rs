//! The one place where a job waits.

use super::clock::Instant;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// What a job waits for.
#[derive(Debug)]
pub enum Event {
    /// Somebody asked the job to stop; who.
    Cancel(String),
    /// Somebody confirmed the trial; who.
    Confirm(String),
    /// The task of this number has ended. One that was stopped says so when others run already.
    Ended(u64),
}

#[derive(Debug)]
pub struct Inbox {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
    /// The number of the last task.
    task: u64,
    pub cancelled: Option<String>,
    pub confirmed: Option<String>,
}

impl Default for Inbox {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver, task: 0, cancelled: None, confirmed: None }
    }
}

/// What a wait ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    Cancelled,
    Confirmed,
    /// The task of this number has ended; it may be one that nobody waits for any more.
    Ended(u64),
    Deadline,
}

/// A wait for a message stands still while the host sleeps. So none is longer than this, and a deadline that has passed
/// meanwhile is noticed.
const SLEEP: Duration = Duration::from_secs(5);

impl Inbox {
    pub fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// A number for a task, which says [`Event::Ended`] with it.
    pub fn number(&mut self) -> u64 {
        self.task += 1;
        self.task
    }

    /// Who asked the job to stop, up to now. While tasks run it would miss their ends.
    pub fn cancelled(&mut self) -> Option<&str> {
        while self.wait(Instant::now()) != Woken::Deadline {}
        self.cancelled.as_deref()
    }

    /// Waits for the next event, or until the deadline.
    pub fn wait(&mut self, deadline: Instant) -> Woken {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.receiver.recv_timeout(left.min(SLEEP)) {
                Ok(Event::Cancel(who)) => {
                    self.cancelled = Some(who);
                    return Woken::Cancelled;
                }
                Ok(Event::Confirm(who)) => {
                    self.confirmed = Some(who);
                    return Woken::Confirmed;
                }
                Ok(Event::Ended(number)) => return Woken::Ended(number),
                // We hold a sender, so the channel cannot be disconnected; if it were, nothing could come.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) if left <= SLEEP => {
                    return Woken::Deadline;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }
}
