//! How many refusals are written out: whoever has a key could otherwise fill the audit log with them.

use serde::{Deserialize, Serialize};

/// Refusals that get an event of their own, in [`WINDOW`] seconds. What comes beyond them is counted.
pub const EVENTS: u32 = 20;
pub const WINDOW: u64 = 60;

/// What was refused lately.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refusals {
    boot: String,
    since: u64,
    written: u32,
    left_out: u64,
}

/// What becomes of one refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// An event, which also tells how many before it got none.
    Event { left_out: u64 },
    /// It is counted, and the next event tells.
    Count,
}

impl Refusals {
    /// `now`: seconds since the boot of that name.
    pub fn admit(&mut self, boot: &str, now: u64) -> Admit {
        let over = self.boot != boot || now.saturating_sub(self.since) >= WINDOW;
        if over {
            let left_out = self.left_out;
            *self = Self { boot: boot.to_owned(), since: now, written: 1, left_out: 0 };
            return Admit::Event { left_out };
        }
        if self.written < EVENTS {
            self.written += 1;
            return Admit::Event { left_out: 0 };
        }
        self.left_out += 1;
        Admit::Count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_the_count_is_told() {
        let mut refusals = Refusals::default();
        let events = (0..1000).filter(|_| refusals.admit("a", 5) != Admit::Count).count();
        assert_eq!(events, EVENTS as usize);
        assert_eq!(refusals.admit("a", 64), Admit::Count);
        assert_eq!(refusals.admit("a", 65), Admit::Event { left_out: 981 });
        assert_eq!(refusals.admit("a", 66), Admit::Event { left_out: 0 });
    }

    #[test]
    fn a_restart_begins_anew_and_forgets_no_count() {
        let mut refusals = Refusals::default();
        for _ in 0..EVENTS + 3 {
            refusals.admit("a", 5);
        }
        assert_eq!(refusals.admit("b", 1), Admit::Event { left_out: 3 });
    }
}
