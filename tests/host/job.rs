//! What is asserted of every job: its answer, what it left, and what it noted in the audit log.

use super::{Answer, Host, Triple};
use serde_json::Value;

// What a job notes on its way: the names of its audit records, in order.
pub const BUILT: &str = "accepted fetched verified built";
pub const TRIED: &str = "accepted fetched verified built checked armed trial";
pub const KEEPS: &str = "healthy confirmed committing committed ended";
pub const REFUSES: &str = "refused ended";
pub const REVERTS: &str = "reverting reverted ended";

/// What a job answered, left and noted, but for where the host stands.
#[track_caller]
pub fn ended(host: &Host, answer: &Answer, verb: &str, result: &str, code: i32, events: &[&str]) {
    assert_eq!(answer.code, code, "{answer:#?}");
    let said = ["v", "verb", "result", "code"].map(|key| answer.value(key).to_owned());
    assert_eq!(said, ["1", verb, result, code.to_string().as_str()], "{answer:#?}");
    let last = answer.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("nixgate: v=1 job="), "the verdict is the last line: {answer:#?}");
    let job = answer.value("job");
    let log = host.audit();
    let own: Vec<&Value> = log.iter().filter(|event| event["job"] == job).collect();
    let names = own.iter().filter_map(|event| event["event"].as_str());
    // A measurement is no step.
    let names: Vec<&str> = names.filter(|name| *name != "health").collect();
    assert_eq!(names.join(" "), events.join(" "), "{answer:#?}");
    let end = own.last().expect("events");
    let head = format!("{}:{}", end["seq"], end["hash"].as_str().unwrap_or_default());
    assert_eq!(answer.value("audit"), head);
    assert_eq!(
        (end["detail"]["result"].as_str(), end["detail"]["code"].as_str()),
        (Some(result), Some(said[3].as_str()))
    );
    host.root(&format!("nixgatectl audit verify --at {head}"));
    let armed = "systemctl -q is-active nixgate-revert.timer nixgate-revert.service nixgate-activate.service";
    assert_ne!(host.root_code(armed), 0, "something of the trial is left");
}

/// The same, for a job that leaves the host as it was.
#[track_caller]
pub fn leaves(
    host: &Host,
    before: &Triple,
    answer: &Answer,
    verb: &str,
    result: &str,
    code: i32,
    events: &[&str],
) {
    ended(host, answer, verb, result, code, events);
    assert_eq!(&host.triple(), before, "{answer:#?}");
}

/// Profile, running system and boot default are all this system, in this generation.
#[track_caller]
pub fn is_permanent(host: &Host, system: &str, generation: u32) {
    let (profile, boot) =
        (format!("system-{generation}-link"), format!("nixos-generation-{generation}.conf"));
    assert_eq!(host.triple(), Triple { profile, running: system.to_owned(), boot });
    assert_eq!(host.root("readlink -f /nix/var/nix/profiles/system"), system);
    let entry = format!("cat /boot/loader/entries/nixos-generation-{generation}.conf");
    assert!(host.root(&entry).contains(&format!("init={system}/init ")));
}
