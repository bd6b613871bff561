//! The clocks: deadlines by CLOCK_BOOTTIME, units by CLOCK_MONOTONIC, records by the wall, boots by their id.

use nix::time::{ClockId, clock_gettime};
use std::ops::Add;
use std::time::{Duration, SystemTime};

/// A moment by CLOCK_BOOTTIME. The standard library's stands still while the host sleeps, so a deadline would too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    pub fn now() -> Self {
        Self(since_boot())
    }
    /// What is left until then; nothing once it is over.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

/// Time since this boot, suspended time included.
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// The clock of systemd's timestamps.
pub fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// RFC 3339, for people.
pub fn wall() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// The same, of a moment to come.
pub fn wall_in(time: Duration) -> String {
    humantime::format_rfc3339_seconds(SystemTime::now() + time).to_string()
}

/// Seconds since 1970.
pub fn wall_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Which boot of the machine this is: the kernel's boot id and the start of process 1, because a container
/// has the machine's id.
pub fn boot_id() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/1/stat");
    let started = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19)).unwrap_or("0");
    format!("{}.{started}", read("/proc/sys/kernel/random/boot_id").trim())
}
