//! Units of nixgate's, as PID 1 keeps them: what was observed of systemd 252 and 257 with the table's rows (DESIGN,
//! section 5), and nothing more.

use std::collections::BTreeMap;

/// How a unit ended, in systemd's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub result: &'static str,
    pub status: i32,
}

impl Ended {
    pub const SUCCESS: Self = Self { result: "success", status: 0 };
    /// By another unit's start: no failure, and no exit code either.
    pub const STOPPED: Self = Self { result: "success", status: 15 };
    pub const TIMEOUT: Self = Self { result: "timeout", status: 15 };
    pub fn code(status: i32) -> Self {
        Self { result: "exit-code", status }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Running,
    Stopping,
    Ended(Ended),
}

/// The lock of switch-to-configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switching {
    Got,
    Busy,
}

const REVERT: &str = "nixgate-revert";
const ACTIVATE: &str = "nixgate-activate";

#[derive(Debug, Default)]
pub struct Units {
    units: BTreeMap<String, Unit>,
    /// The timer of the dead man's switch waits, or has elapsed while its service is at work.
    armed: bool,
    elapsed: bool,
    lock: Option<String>,
    /// How the last revert ended.
    reverted: i32,
}

impl Units {
    /// `systemd-run --unit=nixgate-revert --on-active=…`: refused while there is one of that name.
    pub fn arm(&mut self) -> i32 {
        let free = !self.armed && !self.units.contains_key(REVERT);
        (self.armed, self.elapsed) = (self.armed || free, false);
        i32::from(!free)
    }
    /// `systemctl stop nixgate-revert.timer`: 0 as long as it is loaded, and a service at work goes on.
    pub fn disarm(&mut self) -> i32 {
        let was = std::mem::take(&mut self.armed);
        self.collect();
        if was { 0 } else { 5 }
    }
    pub fn reset_failed(&mut self) -> i32 {
        self.units.retain(|_, unit| !matches!(unit, Unit::Ended(_)));
        0
    }
    pub fn is_armed(&self) -> bool {
        self.armed && !self.elapsed
    }
    pub fn elapse(&mut self) -> bool {
        let armed = self.is_armed();
        self.elapsed |= armed;
        armed
    }

    /// Starts a unit; one that disarms stops the timer, and is refused once the revert has begun.
    pub fn start(&mut self, unit: &str, disarms: bool) -> bool {
        if self.units.contains_key(unit) || (disarms && self.is_reverting()) {
            return false;
        }
        if disarms {
            self.disarm();
        }
        self.units.insert(unit.to_owned(), Unit::Running);
        true
    }
    pub fn end(&mut self, unit: &str, ended: &Ended) {
        self.unlock(unit);
        // `--collect` with the armed revert's `After=`; of any other unit, only a failure stays.
        let stays = if unit == ACTIVATE { self.armed } else { ended.result != "success" };
        if stays {
            self.units.insert(unit.to_owned(), Unit::Ended(*ended));
        } else {
            self.units.remove(unit);
        }
    }
    fn collect(&mut self) {
        if matches!(self.units.get(ACTIVATE), Some(Unit::Ended(_))) && !self.is_reverting() {
            self.units.remove(ACTIVATE);
        }
    }
    fn unlock(&mut self, unit: &str) {
        self.lock.take_if(|holder| holder == unit);
    }
    pub fn switching(&mut self, unit: &str) -> Switching {
        if self.lock.is_some() {
            return Switching::Busy;
        }
        self.lock = Some(unit.to_owned());
        Switching::Got
    }
    pub fn lock_is_free(&self) -> bool {
        self.lock.is_none()
    }

    pub fn knows_revert(&self) -> bool {
        self.armed || self.is_reverting()
    }
    /// Starts the service, which conflicts with the activation; `false`: it is at work.
    pub fn start_revert(&mut self) -> bool {
        if self.is_reverting() {
            return false;
        }
        self.units.insert(REVERT.to_owned(), Unit::Running);
        if let Some(unit @ Unit::Running) = self.units.get_mut(ACTIVATE) {
            *unit = Unit::Stopping;
        }
        true
    }
    pub fn end_revert(&mut self, ended: &Ended) {
        self.unlock(REVERT);
        self.reverted = i32::from(ended.status != 0);
        if ended.status == 0 {
            self.units.remove(REVERT);
        } else {
            self.units.insert(REVERT.to_owned(), Unit::Ended(*ended));
        }
        if self.elapsed {
            (self.armed, self.elapsed) = (false, false);
            self.collect();
        }
    }
    pub fn revert_code(&self) -> i32 {
        self.reverted
    }
    pub fn is_reverting(&self) -> bool {
        self.is_running(REVERT)
    }
    /// It waits for that unit: for its end, or for its lock.
    pub fn holds_up_revert(&self, unit: &str) -> bool {
        self.units.get(unit) == Some(&Unit::Stopping) || self.lock.as_deref() == Some(unit)
    }

    pub fn is_running(&self, unit: &str) -> bool {
        matches!(self.units.get(unit), Some(Unit::Running | Unit::Stopping))
    }
    pub fn is_stopped(&self, unit: &str) -> bool {
        self.units.get(unit) == Some(&Unit::Stopping)
    }
    pub fn at_work(&self) -> bool {
        self.units.keys().any(|unit| self.is_running(unit))
    }
    /// What is there of ours, in words.
    pub fn left(&self) -> Vec<String> {
        let armed = self.armed.then(|| "nixgate-revert.timer".to_owned());
        let running = self.units.keys().filter(|unit| self.is_running(unit)).cloned();
        running.chain(armed).collect()
    }

    /// `systemctl show`
    pub fn show(&self, unit: &str) -> String {
        let active = |load, active, sub, Ended { result, status }| {
            format!(
                "LoadState={load}\nActiveState={active}\nSubState={sub}\nResult={result}\nExecMainStatus={status}\nExecMainCode=1\n"
            )
        };
        let nothing = active("not-found", "inactive", "dead", Ended::SUCCESS);
        if unit == "nixgate-revert.timer" {
            return if self.armed { active("loaded", "active", "waiting", Ended::SUCCESS) } else { nothing };
        }
        let name = unit.strip_suffix(".service").unwrap_or(unit);
        match self.units.get(name) {
            None if name == REVERT && self.armed => active("loaded", "inactive", "dead", Ended::SUCCESS),
            None => nothing,
            Some(Unit::Stopping) => active("loaded", "deactivating", "stop-sigterm", Ended::SUCCESS),
            Some(Unit::Running) if name == REVERT => active("loaded", "activating", "start", Ended::SUCCESS),
            Some(Unit::Running) => active("loaded", "active", "running", Ended::SUCCESS),
            Some(Unit::Ended(ended)) if ended.result == "success" => {
                active("loaded", "inactive", "dead", *ended)
            }
            Some(Unit::Ended(ended)) => active("loaded", "failed", "failed", *ended),
        }
    }
}
