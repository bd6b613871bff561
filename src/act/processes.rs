//! The oldest process of each service: while it is the same one, the service has not been started again.

use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;

/// When a process began, in ticks since the machine started, and its number: no two have both.
pub type Process = (u64, i32);

/// By unit. A service whose processes are hidden from us is not there.
pub fn oldest_of_services() -> BTreeMap<String, Process> {
    let mut oldest: BTreeMap<String, Process> = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        if let (Some(unit), Some(began)) = (service(pid), field(Pid::from_raw(pid), 22)) {
            let process = (began, pid);
            let entry = oldest.entry(unit).or_insert(process);
            *entry = process.min(*entry);
        }
    }
    oldest
}

/// A number out of `/proc/PID/stat`, by its place as in proc(5); the second field is a name in parentheses, which may
/// hold anything.
pub fn field(pid: Pid, place: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split(' ').nth(place.checked_sub(2)?)?.parse().ok()
}

/// The service in whose control group a process is.
fn service(pid: i32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.split('/').find(|part| part.ends_with(".service")).map(str::to_owned)
}
