//! Every verb over real ssh: what it does, what it refuses, what asking again does. A test is named for the promise
//! that it holds. Each looks at the exit code, the last line, the profile, the running system, the boot default and the
//! audit log.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod host;

use host::job::{BUILT, KEEPS, REFUSES, REVERTS, TRIED, ended, is_permanent, leaves};
use host::shared::Shared;
use host::{Answer, Client, Commit, Host, LIMIT, Triple};
use serde_json::Value;

/// In milliseconds. The dead man's switch of these tests fires 70 s after it was armed: a job that is that slow did not
/// return to the old system by itself. A hung activation is killed after 10 s.
const SOON: u128 = 45_000;

/// A commit with this fault becomes what the host is, without nixgate.
fn install(host: &Host, version: &str, fault: &str) {
    let system = host.realise(&host.commit(version, &Commit::signed().fault(fault)));
    host.root(&format!(
        "nix-env --profile /nix/var/nix/profiles/system --set {system}; {system}/bin/switch-to-configuration switch || [ $? = 4 ]"
    ));
}

/// From now on every trial has to be confirmed, within this time.
fn require_confirmation(host: &Host, limit: &str) {
    host.config_edit_only("confirm = \"10s\"", &format!("confirm = \"{limit}\""));
    host.config_edit("mode = \"health\"", "mode = \"required\"");
}

fn fingerprint(host: &Host, key: &str) -> String {
    host.root(&format!("ssh-keygen -lf /root/keys/{key}.pub | cut -d' ' -f2"))
}

/// An [[access]] table for a key, above those that are there.
fn grant(host: &Host, key: &str, verbs: &str, more: &str) {
    let verbs: Vec<String> = verbs.split(' ').map(|verb| format!("\"{verb}\"")).collect();
    let table = format!(
        "[[access]]\nname = \"{key}\"\nkey = \"{}\"\nverbs = [{}]\n{more}\n\n[[check]]",
        fingerprint(host, key),
        verbs.join(", ")
    );
    host.config_edit_only("[[check]]", &table);
}

const ALL: &str = "fetch switch test boot rollback confirm cancel attach status";

fn status(host: &Host) -> Value {
    let answer = host.ssh(&["status", "--json"]).expect(0);
    assert_eq!(answer.stderr, "");
    serde_json::from_str(&answer.stdout).expect(&answer.stdout)
}

/// The job in progress.
fn running_job(host: &Host) -> String {
    status(host)["job"]["job"].as_str().expect("a job in progress").to_owned()
}

fn await_confirmation(host: &Host, request: &[&str]) -> (Client, String) {
    let client = host.ssh_spawn("ci", request);
    client.await_text("over a new connection", LIMIT);
    (client, running_job(host))
}

/// Whoever was refused before there was a job: the code, something that the text says, and nothing else.
#[track_caller]
fn refused(answer: &Answer, code: i32, why: &str) {
    assert_eq!(answer.code, code, "{answer:#?}");
    assert!(answer.stderr.contains(why), "no {why:?} in {answer:#?}");
    assert!(answer.stderr.lines().all(|line| line.starts_with("nixgate: ")), "{answer:#?}");
    assert_eq!(answer.stdout, "");
    assert!(answer.last_line.is_empty(), "{answer:#?}");
}

fn reboot(host: &Host) {
    let next = host.boots() + 1;
    host.root_output("systemctl reboot");
    host.await_boot(next);
}

// ---- switch -----------------------------------------------------------------------------------------------------------

#[test]
fn switch_makes_a_new_version_permanent_and_a_repeat_changes_nothing() {
    let host = Host::boot();
    let old = host.triple();
    let commit = host.commit("v1", &Commit::signed());
    let answer = host.ssh(&["switch"]);
    ended(&host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    assert_eq!(answer.value("commit"), commit);
    assert_eq!(answer.value("old"), old.running);
    assert_eq!((answer.value("reachability"), answer.value("reboot-required")), ("not-proven", "no"));
    assert_eq!(answer.stdout, "");
    is_permanent(&host, answer.value("new"), 2);
    assert_eq!(host.version(), "v1");
    let new = host.triple();
    for request in [&["switch"][..], &["switch", &commit]] {
        let again = host.ssh(request);
        leaves(&host, &new, &again, "switch", "unchanged", 0, &[BUILT, "done ended"]);
        assert_eq!(again.value("new"), new.running);
    }
    assert_eq!(host.root("ls -d /nix/var/nix/profiles/system-*-link | wc -l"), "2");
    // A commit by name is that one, and not the tip.
    let second = host.commit("v2", &Commit::signed());
    host.commit("v3", &Commit::signed());
    let named = host.ssh(&["switch", &second]);
    ended(&host, &named, "switch", "committed", 0, &[TRIED, KEEPS]);
    assert_eq!((named.value("commit"), host.version().as_str()), (second.as_str(), "v2"));
    is_permanent(&host, named.value("new"), 3);
}

#[test]
fn switch_to_another_kernel_works_and_says_that_a_reboot_is_required() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed().fault("new-kernel"));
    let answer = host.ssh(&["switch"]);
    ended(&host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    assert_eq!(answer.value("reboot-required"), "yes");
    assert_eq!(status(&host)["reboot-required"], true);
    let again = host.ssh(&["switch"]);
    ended(&host, &again, "switch", "unchanged", 0, &[BUILT, "done ended"]);
    assert_eq!(again.value("reboot-required"), "yes");
}

#[test]
fn a_system_that_cannot_be_built_is_12_and_touches_nothing() {
    let host = Host::boot();
    let before = host.triple();
    host.write("/root/bad.toml", "version = 2\n");
    host.commit("v1", &Commit::signed().config("/root/bad.toml"));
    for verb in ["fetch", "switch", "switch"] {
        let answer = host.ssh(&[verb]);
        leaves(&host, &before, &answer, verb, "refused", 12, &["accepted fetched verified", REFUSES]);
    }
    host.commit("v2", &Commit::signed());
    ended(&host, &host.ssh(&["switch"]), "switch", "committed", 0, &[TRIED, KEEPS]);
}

#[test]
fn what_its_own_check_refuses_is_13_and_touches_nothing() {
    let host = Host::boot();
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault("exit-1"));
    for verb in ["switch", "test", "switch"] {
        leaves(&host, &before, &host.ssh(&[verb]), verb, "refused", 13, &[BUILT, REFUSES]);
    }
}

#[test]
fn what_only_a_reboot_can_apply_is_14_and_boot_takes_it() {
    let host = Host::boot();
    for (n, fault, reason) in
        [(1, "inhibitor", "dbus-implementation"), (2, "exit-100", "init-interface-version")]
    {
        let before = host.triple();
        host.commit(&format!("v{n}"), &Commit::signed().fault(fault));
        for verb in ["switch", "test"] {
            let answer = host.ssh(&[verb]);
            leaves(&host, &before, &answer, verb, "refused", 14, &[BUILT, REFUSES]);
            assert!(answer.stderr.contains(reason) && answer.stderr.contains("boot"), "{answer:#?}");
        }
        let answer = host.ssh(&["boot"]);
        ended(&host, &answer, "boot", "committed", 0, &[BUILT, "checked committing committed ended"]);
        let after = host.triple();
        assert_eq!((&after.running, after.profile), (&before.running, format!("system-{}-link", n + 1)));
    }
    reboot(&host);
    assert_eq!(host.version(), "v2");
}

#[test]
fn an_activation_that_fails_is_20_and_the_old_system_runs_again() {
    let host = Host::boot();
    let before = host.triple();
    for fault in ["exit-2", "exit-1-late", "exit-101", "exit-11-late"] {
        host.commit(fault, &Commit::signed().fault(fault));
        let answer = host.ssh(&["switch"]);
        leaves(&host, &before, &answer, "switch", "reverted", 20, &[TRIED, REVERTS]);
        assert_eq!(host.root("systemctl is-active demo ssh | paste -sd' '"), "active active", "{fault}");
    }
    // Whoever asks again gets another trial, and the same end.
    leaves(&host, &before, &host.ssh(&["switch"]), "switch", "reverted", 20, &[TRIED, REVERTS]);
    leaves(&host, &before, &host.ssh(&["test"]), "test", "reverted", 20, &[TRIED, REVERTS]);
}

#[test]
fn a_service_that_newly_fails_is_21_and_is_named() {
    let host = Host::boot();
    let before = host.triple();
    // One that dies and is started again is sometimes well when it is looked at: three times.
    for fault in ["service-fails", "service-flaps", "service-flaps", "service-flaps"] {
        host.commit(fault, &Commit::signed().fault(fault));
        let answer = host.ssh(&["switch"]);
        leaves(&host, &before, &answer, "switch", "reverted", 21, &[TRIED, REVERTS]);
        assert!(answer.stderr.contains("newly failed: demo.service"), "{answer:#?}");
        host.root("systemctl is-active demo");
    }
}

#[test]
fn a_health_check_that_hangs_is_21_and_the_job_itself_returns_to_the_old_system() {
    let host = Host::boot();
    host.config_edit_only(
        "command = [\"/usr/bin/grep\", \"-q\", \"^ok\", \"/run/demo-health\"]\ntimeout = \"5s\"",
        "command = [\"/bin/sh\", \"-c\", \"grep -q ^ok /run/demo-health || exec sleep 100\"]\ntimeout = \"1s\"",
    );
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault("health-bad"));
    let answer = host.ssh(&["switch"]);
    leaves(&host, &before, &answer, "switch", "reverted", 21, &[TRIED, REVERTS]);
    assert!(answer.millis < SOON, "the dead man's switch did it: {answer:#?}");
}

#[test]
fn a_service_that_had_failed_before_does_not_matter() {
    let host = Host::boot();
    install(&host, "v1", "service-fails");
    assert_eq!(host.root_code("systemctl -q is-failed demo"), 0);
    host.commit("v2", &Commit::signed().fault("service-fails"));
    let answer = host.ssh(&["switch"]);
    ended(&host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    is_permanent(&host, answer.value("new"), 3);
}

#[test]
fn a_health_check_that_fails_is_21_and_one_that_failed_before_is_not() {
    let host = Host::boot();
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault("health-bad"));
    for verb in ["switch", "test", "switch"] {
        let answer = host.ssh(&[verb]);
        leaves(&host, &before, &answer, verb, "reverted", 21, &[TRIED, REVERTS]);
        assert!(answer.stderr.contains("check demo failed"), "{answer:#?}");
    }
    install(&host, "v2", "health-bad");
    host.commit("v3", &Commit::signed().fault("health-bad"));
    let answer = host.ssh(&["switch"]);
    ended(&host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    assert!(answer.stderr.contains("check demo: still failing"), "{answer:#?}");
    is_permanent(&host, answer.value("new"), 3);
}

#[test]
fn a_boot_loader_that_fails_is_24_and_the_profile_leads_to_the_old_system_again() {
    let host = Host::boot();
    let old = host.triple().running;
    for fault in ["boot-fails", "boot-fails-late"] {
        host.commit(fault, &Commit::signed().fault(fault));
        let answer = host.ssh(&["switch"]);
        let events = [TRIED, "healthy confirmed committing", REVERTS];
        ended(&host, &answer, "switch", "reverted", 24, &events);
        let now = host.triple();
        let generation = now.profile.trim_start_matches("system-").trim_end_matches("-link").to_owned();
        is_permanent(&host, &old, generation.parse().expect("a number"));
        assert!(answer.stderr.contains(&format!("now as generation {generation}")), "{answer:#?}");
    }
    let now = host.triple();
    let answer = host.ssh(&["boot"]);
    ended(&host, &answer, "boot", "reverted", 24, &[BUILT, "checked committing", REVERTS]);
    assert_eq!((host.triple().running, host.version().as_str()), (now.running, "v0"));
    assert_eq!(host.root("readlink -f /nix/var/nix/profiles/system"), old);
    reboot(&host);
    assert_eq!(host.triple().running, old);
    host.commit("v9", &Commit::signed());
    ended(&host, &host.ssh(&["switch"]), "switch", "committed", 0, &[TRIED, KEEPS]);
}

// ---- confirm ----------------------------------------------------------------------------------------------------------

#[test]
fn a_trial_that_nobody_confirms_is_22_and_the_old_system_runs_again() {
    let host = Host::boot();
    require_confirmation(&host, "1s");
    let before = host.triple();
    host.commit("v1", &Commit::signed());
    for verb in ["switch", "test", "switch"] {
        let answer = host.ssh(&[verb]);
        leaves(&host, &before, &answer, verb, "reverted", 22, &[TRIED, "healthy", REVERTS]);
        assert!(answer.stderr.contains("nobody said `confirm` within 1 s"), "{answer:#?}");
    }
}

#[test]
fn a_confirmation_over_a_new_connection_makes_the_trial_permanent() {
    let host = Host::boot();
    require_confirmation(&host, "1m");
    refused(&host.ssh(&["confirm"]), 64, "no job is in progress");
    // By the one who asked, and by somebody else; with the job's name, and without.
    for (n, key, named) in [(3, "ci", false), (4, "other", true)] {
        host.commit(&format!("v{n}"), &Commit::signed());
        let (client, job) = await_confirmation(&host, &["switch"]);
        let waiting = host.triple();
        assert_eq!((waiting.profile, host.version()), (format!("system-{}-link", n - 1), format!("v{n}")));
        refused(&host.ssh(&["confirm", "999-00000000"]), 64, &job);
        let request: &[&str] = if named { &["confirm", &job] } else { &["confirm"] };
        let told = host.ssh_as(key, request).expect(0);
        assert!(told.stdout.is_empty() && told.stderr.contains(&job), "{told:#?}");
        let answer = client.wait();
        let events = [TRIED, "healthy confirmed-by confirmed committing committed ended"];
        ended(&host, &answer, "switch", "committed", 0, &events);
        assert_eq!(answer.value("reachability"), "proven");
        is_permanent(&host, answer.value("new"), n);
        let log = host.audit();
        let by = log.iter().rfind(|event| event["event"] == "confirmed-by").expect("the event");
        assert_eq!(by["detail"]["who"], fingerprint(&host, key));
        refused(&host.ssh_as(key, request), 64, "no job is in progress");
    }
}

#[test]
fn a_confirmation_over_a_connection_from_before_proves_nothing() {
    let host = Host::boot();
    require_confirmation(&host, "1m");
    host.commit("v1", &Commit::signed());
    let shared = Shared::open(&host);
    let (client, job) = await_confirmation(&host, &["switch"]);
    for request in ["confirm".to_owned(), format!("confirm {job}")] {
        let said = shared.ssh(&request);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(77), "{text}");
        assert!(text.contains("opened before the activation ended"), "{text}");
    }
    assert_eq!(status(&host)["job"]["state"], "healthy", "it still waits");
    host.ssh(&["confirm"]).expect(0);
    let answer = client.wait();
    let events = [TRIED, "healthy confirmed-by confirmed committing committed ended"];
    ended(&host, &answer, "switch", "committed", 0, &events);
    assert_eq!(answer.value("reachability"), "proven");
    is_permanent(&host, answer.value("new"), 3);
}

#[test]
fn only_a_key_with_the_right_confirms_or_cancels() {
    let host = Host::boot();
    grant(&host, "ci", ALL, "");
    grant(&host, "other", "attach status", "");
    require_confirmation(&host, "1m");
    host.commit("v1", &Commit::signed());
    let before = host.triple();
    let (client, job) = await_confirmation(&host, &["switch"]);
    for verb in ["confirm", "cancel"] {
        for request in [&[verb][..], &[verb, &job]] {
            refused(&host.ssh_as("other", request), 77, &format!("other may not {verb}"));
            let last = host.audit().pop().expect("an event");
            assert_eq!((&last["event"], &last["identity"]), (&"not-allowed".into(), &"other".into()));
        }
    }
    assert_eq!(status(&host)["job"]["state"], "healthy", "it still waits");
    host.ssh(&["cancel", &job]).expect(0);
    leaves(&host, &before, &client.wait(), "switch", "reverted", 23, &[TRIED, "healthy", REVERTS]);
}

#[test]
fn who_may_confirm_is_settled_when_the_job_is_accepted() {
    let host = Host::boot();
    grant(&host, "ci", ALL, "");
    grant(&host, "other", "attach status", "");
    require_confirmation(&host, "1m");
    host.commit("v1", &Commit::signed());
    let (client, _) = await_confirmation(&host, &["switch"]);
    // During a trial the configuration is the candidate's. It gives nobody the right, and takes it from nobody.
    let path = "/etc/nixgate/config.toml";
    host.root(&format!(
        "sed -i 's/\"rollback\", \"confirm\", \"cancel\"/\"rollback\"/; s/\\[\"attach\"/[\"confirm\", \"cancel\", \"attach\"/' {path}"
    ));
    for verb in ["confirm", "cancel"] {
        refused(&host.ssh_as("other", &[verb]), 77, &format!("other may not {verb}"));
    }
    host.ssh(&["confirm"]).expect(0);
    let events = [TRIED, "healthy confirmed-by confirmed committing committed ended"];
    ended(&host, &client.wait(), "switch", "committed", 0, &events);
}

// ---- cancel -----------------------------------------------------------------------------------------------------------

#[test]
fn a_trial_that_waits_for_its_confirmation_can_be_cancelled() {
    let host = Host::boot();
    require_confirmation(&host, "1m");
    host.commit("v1", &Commit::signed());
    let before = host.triple();
    refused(&host.ssh(&["cancel"]), 64, "no job is in progress");
    for named in [false, true] {
        let (client, job) = await_confirmation(&host, &["switch"]);
        refused(&host.ssh(&["cancel", "999-00000000"]), 64, &job);
        let request: &[&str] = if named { &["cancel", &job] } else { &["cancel"] };
        let told = host.ssh_as("other", request).expect(0);
        assert!(told.stdout.is_empty() && told.stderr.contains(&job), "{told:#?}");
        leaves(&host, &before, &client.wait(), "switch", "reverted", 23, &[TRIED, "healthy", REVERTS]);
        let end = host.audit().pop().expect("an event");
        assert_eq!(end["detail"]["cancelled-by"], fingerprint(&host, "other"), "{end}");
        refused(&host.ssh(request), 64, "no job is in progress");
    }
}

#[test]
fn a_hung_activation_can_be_cancelled() {
    let host = Host::boot();
    let before = host.triple();
    host.commit("v1", &Commit::signed().fault("hang"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("hanging", LIMIT);
    assert_eq!(host.version(), "v1");
    host.ssh(&["cancel"]).expect(0);
    client.await_text("returning to", LIMIT);
    refused(&host.ssh(&["cancel"]), 75, "too late");
    let answer = client.wait();
    leaves(&host, &before, &answer, "switch", "reverted", 23, &[TRIED, REVERTS]);
    assert!(answer.millis < SOON, "the dead man's switch did it: {answer:#?}");
    host.commit("v2", &Commit::signed());
    ended(&host, &host.ssh(&["switch"]), "switch", "committed", 0, &[TRIED, KEEPS]);
}

#[test]
fn a_job_that_has_touched_nothing_yet_is_cancelled_without_a_revert() {
    let host = Host::boot();
    host.config_edit_only(
        "command = [\"/usr/bin/grep\", \"-q\", \"^ok\", \"/run/demo-health\"]\ntimeout = \"5s\"",
        "command = [\"/bin/sh\", \"-c\", \"echo it takes long; exec sleep 100\"]\ntimeout = \"3m\"",
    );
    let before = host.triple();
    host.commit("v1", &Commit::signed());
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("it takes long", LIMIT);
    host.ssh(&["cancel"]).expect(0);
    leaves(&host, &before, &client.wait(), "switch", "cancelled", 23, &[BUILT, REFUSES]);
    assert_ne!(host.root_code("pgrep -x sleep"), 0, "its child has gone with it");
}

// ---- attach -----------------------------------------------------------------------------------------------------------

#[test]
fn attach_gives_the_whole_log_the_same_last_line_and_the_same_code() {
    let host = Host::boot();
    refused(&host.ssh(&["attach"]), 64, "no such job");
    let mut jobs = Vec::new();
    for (fault, code) in [("slow-0", 0), ("health-bad", 21), ("exit-1", 13)] {
        host.commit(fault, &Commit::signed().fault(fault));
        let answer = host.ssh(&["switch"]).expect(code);
        for request in [&["attach"][..], &["attach", answer.value("job")], &["attach"]] {
            let attached = host.ssh(request).expect(code);
            assert_eq!(format!("{}{}", attached.stdout, attached.stderr), answer.stderr);
            assert!(attached.stdout.starts_with(&format!("nixgate: job {}", answer.value("job"))));
            assert_eq!(attached.stderr.lines().count(), 1, "{attached:#?}");
            assert_eq!(attached.last_line, answer.last_line);
        }
        jobs.push(answer);
    }
    let log = host.audit().len();
    for answer in &jobs {
        let attached = host.ssh_as("other", &["attach", answer.value("job")]).expect(answer.code);
        assert_eq!(attached.last_line, answer.last_line);
    }
    refused(&host.ssh_as("other", &["attach"]), 64, "no such job");
    refused(&host.ssh(&["attach", "999-00000000"]), 64, "no such job");
    assert_eq!(host.audit().len(), log, "to look is no event");
}

#[test]
fn attach_follows_a_job_that_runs() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed().fault("wait"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("activating the configuration", LIMIT);
    let job = running_job(&host);
    let attached = host.ssh_spawn("other", &["attach", &job]);
    host.await_root("[ $(systemctl list-units --no-legend 'nixgate*@*.service' | wc -l) = 2 ]", LIMIT);
    host.go();
    let (answer, attached) = (client.wait(), attached.wait());
    ended(&host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    assert_eq!(format!("{}{}", attached.stdout, attached.stderr), answer.stderr);
}

#[test]
fn a_client_that_is_killed_changes_nothing() {
    let host = Host::boot();
    for (fault, result, code, rest) in
        [("slow-0", "committed", 0, KEEPS), ("health-bad", "reverted", 21, REVERTS)]
    {
        let commit = host.commit(fault, &Commit::signed().fault(fault).fault("wait"));
        let client = host.ssh_spawn("ci", &["switch"]);
        client.await_text("activating the configuration", LIMIT);
        let killed = client.kill();
        assert_eq!(killed.code, -1);
        host.go();
        let attached = host.ssh(&["attach"]);
        ended(&host, &attached, "switch", result, code, &[TRIED, rest]);
        assert!(attached.stdout.starts_with(&killed.stderr), "{killed:#?}\n{attached:#?}");
        assert_eq!(attached.value("commit"), commit);
        assert_eq!(host.version(), "slow-0");
    }
}

// ---- two at once ------------------------------------------------------------------------------------------------------

#[test]
fn while_one_runs_the_same_request_joins_it_and_any_other_is_told_who_is_at_work() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed().fault("wait"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("activating the configuration", LIMIT);
    let job = running_job(&host);
    let joined = host.ssh_spawn("ci", &["switch"]);
    let (holder, other) = (fingerprint(&host, "ci"), fingerprint(&host, "other"));
    for (key, request) in [
        ("other", &["switch"][..]),
        ("other", &["fetch"]),
        ("ci", &["test"]),
        ("ci", &["switch", &"f".repeat(40)]),
    ] {
        let answer = host.ssh_as(key, request);
        refused(&answer, 75, &format!("job {job} (switch by {holder}), state trial for "));
        assert!(answer.stderr.contains(&format!("attach {job}")), "{answer:#?}");
        let age = answer.stderr.split("running for ").nth(1).and_then(|rest| rest.split(' ').next());
        assert!(age.and_then(|age| age.parse().ok()).is_some_and(|age: u64| age < 60), "{answer:#?}");
        assert!(!answer.stderr.contains(&other), "{answer:#?}");
    }
    let now = status(&host)["job"].clone();
    for (key, value) in [("job", job.as_str()), ("verb", "switch"), ("identity", &holder), ("state", "trial")]
    {
        assert_eq!(now[key], value, "{now}");
    }
    assert!(now["age"].as_u64().is_some_and(|age| age < 60), "{now}");
    let text = host.ssh(&["status"]).expect(0).stdout;
    assert!(text.contains(&format!("job {job} (switch by {holder})")), "{text}");
    host.go();
    let (answer, joined) = (client.wait(), joined.wait());
    ended(&host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    assert_eq!((joined.code, joined.stderr), (answer.code, answer.stderr.clone()));
    assert_eq!(host.audit().iter().filter(|event| event["event"] == "accepted").count(), 1);
    is_permanent(&host, answer.value("new"), 2);
}

// ---- fetch, test, boot ------------------------------------------------------------------------------------------------

#[test]
fn fetch_builds_and_changes_nothing_else() {
    let host = Host::boot();
    let before = host.triple();
    let commit = host.commit("v1", &Commit::signed());
    let answer = host.ssh(&["fetch"]);
    leaves(&host, &before, &answer, "fetch", "fetched", 0, &[BUILT, "done ended"]);
    assert_eq!(answer.value("commit"), commit);
    let system = answer.value("new").to_owned();
    assert_eq!(host.root(&format!("cat {system}/demo-version")), "v1");
    for request in [&["fetch"][..], &["fetch", &commit]] {
        let again = host.ssh(request);
        leaves(&host, &before, &again, "fetch", "fetched", 0, &[BUILT, "done ended"]);
        assert_eq!(again.value("new"), system);
        assert!(again.stderr.contains("already built"), "{again:#?}");
    }
    // What was fetched does not bind: the anchor has not moved.
    host.commit("v2", &Commit::signed());
    ended(&host, &host.ssh(&["fetch"]), "fetch", "fetched", 0, &[BUILT, "done ended"]);
    let answer = host.ssh(&["switch", &commit]);
    ended(&host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    assert_eq!(answer.value("new"), system);
    host.root("mv /srv/git/infra.git /srv/git/moved.git");
    let now = host.triple();
    leaves(&host, &now, &host.ssh(&["fetch"]), "fetch", "refused", 10, &["accepted", REFUSES]);
}

#[test]
fn test_runs_until_the_next_boot_and_binds_to_nothing() {
    let host = Host::boot();
    let before = host.triple();
    let first = host.commit("v1", &Commit::signed());
    host.commit("v2", &Commit::signed());
    let answer = host.ssh(&["test"]);
    ended(&host, &answer, "test", "kept", 0, &[TRIED, "healthy confirmed kept ended"]);
    let trial = Triple { running: answer.value("new").to_owned(), ..before.clone() };
    assert_eq!((host.triple(), host.version().as_str()), (trial.clone(), "v2"));
    leaves(&host, &trial, &host.ssh(&["test"]), "test", "unchanged", 0, &[BUILT, "done ended"]);
    reboot(&host);
    assert_eq!(host.triple(), before);
    // An older commit than the one that was tried may still be deployed.
    ended(&host, &host.ssh(&["switch", &first]), "switch", "committed", 0, &[TRIED, KEEPS]);
    assert_eq!(host.version(), "v1");
}

#[test]
fn switch_to_what_runs_as_a_test_makes_it_permanent_without_a_second_trial() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    host.ssh(&["test"]).expect(0);
    let starts = "systemctl show -P ExecMainStartTimestampMonotonic demo";
    let before = host.root(starts);
    let answer = host.ssh(&["switch"]);
    ended(&host, &answer, "switch", "committed", 0, &[BUILT, "checked", KEEPS]);
    is_permanent(&host, answer.value("new"), 2);
    assert_eq!(host.root(starts), before, "no service was restarted");
}

#[test]
fn boot_takes_effect_at_the_next_boot_and_stays() {
    let host = Host::boot();
    let before = host.triple();
    host.commit("v1", &Commit::signed());
    let answer = host.ssh(&["boot"]);
    ended(&host, &answer, "boot", "committed", 0, &[BUILT, "checked committing committed ended"]);
    let expected = Triple {
        profile: "system-2-link".to_owned(),
        running: before.running.clone(),
        boot: "nixos-generation-2.conf".to_owned(),
    };
    assert_eq!((host.triple(), host.version().as_str()), (expected.clone(), "v0"));
    let system = answer.value("new").to_owned();
    assert_eq!(host.root("readlink -f /nix/var/nix/profiles/system"), system);
    leaves(&host, &expected, &host.ssh(&["boot"]), "boot", "unchanged", 0, &[BUILT, "done ended"]);
    for _ in 0..2 {
        reboot(&host);
        is_permanent(&host, &system, 2);
    }
    let now = host.triple();
    leaves(&host, &now, &host.ssh(&["switch"]), "switch", "unchanged", 0, &[BUILT, "done ended"]);
    ended(&host, &host.ssh(&["rollback"]), "rollback", "committed", 0, &[BACK, KEEPS]);
    is_permanent(&host, &before.running, 3);
}

#[test]
fn rollback_takes_back_a_boot_that_has_not_happened_and_activates_nothing() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
    let running = host.triple().running;
    host.commit("v2", &Commit::signed());
    assert_eq!(host.ssh(&["boot"]).expect(0).value("reboot-required"), "yes");
    let starts = "systemctl show -P ExecMainStartTimestampMonotonic demo";
    let before = host.root(starts);
    host.ssh(&["rollback"]).expect(0);
    is_permanent(&host, &running, 4);
    assert_eq!(host.root(starts), before, "no service was restarted");
}

// ---- rollback ---------------------------------------------------------------------------------------------------------

const BACK: &str = "accepted built checked armed trial";

#[test]
fn rollback_ends_a_test() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
    let committed = host.triple();
    host.commit("v2", &Commit::signed());
    host.ssh(&["test"]).expect(0);
    assert_eq!(host.version(), "v2");
    let answer = host.ssh(&["rollback"]);
    leaves(&host, &committed, &answer, "rollback", "committed", 0, &[BACK, KEEPS]);
    assert_eq!(answer.value("new"), committed.running);
}

#[test]
fn rollback_goes_to_the_system_before_and_asked_again_one_further_back() {
    let host = Host::boot();
    refused_rollback(&host, &[], "nothing was committed by nixgate yet");
    let mut systems = vec![host.triple().running];
    for version in ["v1", "v2"] {
        host.commit(version, &Commit::signed());
        systems.push(host.ssh(&["switch"]).expect(0).value("new").to_owned());
    }
    for (back, generation) in [(1, 4), (0, 5)] {
        let answer = host.ssh(&["rollback"]);
        ended(&host, &answer, "rollback", "committed", 0, &[BACK, KEEPS]);
        assert_eq!(answer.value("new"), systems[back]);
        is_permanent(&host, &systems[back], generation);
    }
    refused_rollback(&host, &[], "there is nothing to go back to");
    // The way back does not move the anchor: the newest is still the one to go to.
    ended(&host, &host.ssh(&["switch"]), "switch", "committed", 0, &[TRIED, KEEPS]);
    is_permanent(&host, &systems[2], 6);
}

#[test]
fn rollback_to_a_chosen_generation_needs_a_role_that_names_it() {
    let host = Host::boot();
    refused(&host.ssh(&["rollback", "1"]), 77, "generation = true");
    let first = host.triple().running;
    for version in ["v1", "v2"] {
        host.commit(version, &Commit::signed());
        host.ssh(&["switch"]).expect(0);
    }
    // A generation that nixgate never made permanent.
    let foreign = host.realise(&host.commit("v3", &Commit::signed()));
    let profile = "nix-env --profile /nix/var/nix/profiles/system";
    host.root(&format!("{profile} --set {foreign} && {profile} --switch-generation 3"));
    grant(&host, "ci", "switch rollback status", "");
    grant(&host, "other", "rollback", "generation = true");
    let now = host.triple();
    refused(&host.ssh(&["rollback", "1"]), 77, "generation = true");
    let last = host.audit().pop().expect("an event");
    assert_eq!((&last["event"], &last["detail"]["request"]), (&"not-allowed".into(), &"rollback 1".into()));
    for generation in ["4", "99"] {
        let answer = host.ssh_as("other", &["rollback", generation]);
        leaves(&host, &now, &answer, "rollback", "refused", 13, &["accepted", REFUSES]);
        assert!(answer.stderr.contains("no system that nixgate committed"), "{answer:#?}");
    }
    let answer = host.ssh_as("other", &["rollback", "1"]);
    ended(&host, &answer, "rollback", "committed", 0, &[BACK, KEEPS]);
    is_permanent(&host, &first, 5);
    let now = host.triple();
    let again = host.ssh_as("other", &["rollback", "1"]);
    leaves(&host, &now, &again, "rollback", "unchanged", 0, &["accepted built done ended"]);
}

#[track_caller]
fn refused_rollback(host: &Host, argument: &[&str], why: &str) {
    let before = host.triple();
    let answer = host.ssh(&[&["rollback"], argument].concat());
    leaves(host, &before, &answer, "rollback", "refused", 13, &["accepted", REFUSES]);
    assert!(answer.stderr.contains(why), "{answer:#?}");
}

#[test]
fn rollback_works_where_source_and_checks_do_not() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
    host.root("mv /srv/git/infra.git /srv/git/moved.git");
    host.config_edit_only("\"/run/demo-health\"", "\"/run/no-such-file\"");
    ended(&host, &host.ssh(&["rollback"]), "rollback", "committed", 0, &[BACK, KEEPS]);
    assert_eq!(host.version(), "v0");
}

// ---- status, true, and what is no request -----------------------------------------------------------------------------

#[test]
fn status_says_where_the_host_stands_and_changes_nothing() {
    let host = Host::boot();
    let commit = host.commit("v1", &Commit::signed());
    let answer = host.ssh(&["switch"]).expect(0);
    let (old, new) = (answer.value("old").to_owned(), answer.value("new").to_owned());
    let log = host.audit().len();
    let [json, again] = [status(&host), status(&host)];
    assert_eq!(json, again);
    for (key, value) in [
        ("running", new.as_str()),
        ("booted", &old),
        ("default", &new),
        ("profile", &new),
        ("anchor", &commit),
        ("signatures", "tip"),
        ("newest-job", answer.value("job")),
        ("audit", answer.value("audit")),
    ] {
        assert_eq!(json[key], value, "{key} in {json:#}");
    }
    assert_eq!(
        (&json["v"], &json["generation"], &json["reboot-required"]),
        (&1.into(), &2.into(), &false.into())
    );
    assert_eq!((&json["job"], &json["bad"]), (&Value::Null, &Value::Array(Vec::new())));
    let permanent: Vec<_> =
        json["permanent"].as_array().expect("a list").iter().map(|p| &p["system"]).collect();
    assert_eq!(
        (permanent, &json["at"]),
        (vec![&Value::from(old.as_str()), &Value::from(new.as_str())], &1.into())
    );
    let text = host.ssh(&["status"]).expect(0);
    assert_eq!(text.stderr, "");
    for (key, value) in [("running", &new), ("booted", &old), ("default", &new), ("anchor", &commit)] {
        let line = text.stdout.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        assert!(line.ends_with(value), "{}", text.stdout);
    }
    assert_eq!(host.ssh_as("other", &["status"]).expect(0).stdout, text.stdout);
    refused(&host.ssh(&["status", "--xml"]), 64, "the argument does not fit");
    assert_eq!(host.audit().len(), log, "to look is no event");
    host.commit("v2", &Commit::signed().fault("health-bad"));
    let bad = host.ssh(&["test"]).expect(21);
    assert_eq!(status(&host)["bad"], Value::from(vec![bad.value("commit")]));
}

#[test]
fn true_is_silent_and_needs_no_service() {
    let host = Host::boot();
    host.root("systemctl stop nixgate.socket nixgate-control.socket");
    for _ in 0..2 {
        let answer = host.ssh(&["true"]).expect(0);
        assert_eq!((answer.stdout.as_str(), answer.stderr.as_str()), ("", ""));
    }
    refused(&host.ssh(&["true", "x"]), 64, "the argument does not fit");
    for verb in ["switch", "status", "confirm"] {
        refused(&host.ssh(&[verb]), 69, "job service not reachable");
    }
    assert_eq!(host.audit(), Vec::<Value>::new());
}

#[test]
fn what_is_no_request_is_64_and_is_not_repeated() {
    let host = Host::boot();
    let (long, hex) = ("a".repeat(300), "0".repeat(39));
    for request in [
        "sh",
        "SWITCH",
        "switch HEAD",
        "switch  ",
        " switch",
        "switch;id",
        "switch $(id)",
        "switch\nid",
        "switch `id`",
        "switch --help",
        "rollback 0",
        "rollback -1",
        "attach ../../etc",
        "history",
        "fetch a b",
        &long,
        &format!("switch {hex}"),
        "sw\u{ef}tch",
    ] {
        let answer = host.ssh(&[request]);
        refused(&answer, 64, "refused: ");
        let argument = request.split(' ').nth(1).filter(|word| word.len() > 2).unwrap_or("aaaaaaaa");
        assert!(!answer.stderr.contains(argument), "{request:?} {answer:#?}");
    }
    let usage = host.ssh(&[]).expect(64);
    assert!(usage.stderr.contains("switch") && usage.stdout.is_empty(), "{usage:#?}");
    host.ssh_as("stranger", &["true"]).expect(255);
    assert_eq!(host.root("ls /var/lib/nixgate/jobs | wc -l"), "0");
    assert_eq!(host.audit(), Vec::<Value>::new());
}

#[test]
fn with_roles_a_key_may_only_what_its_role_names() {
    let host = Host::boot();
    grant(&host, "ci", "fetch attach", "");
    let before = host.triple();
    host.commit("v1", &Commit::signed());
    ended(&host, &host.ssh(&["fetch"]), "fetch", "fetched", 0, &[BUILT, "done ended"]);
    host.ssh(&["attach"]).expect(0);
    let events = host.audit().len();
    let not_ci = ["switch", "test", "boot", "rollback", "confirm", "cancel", "status"];
    for verb in not_ci {
        refused(&host.ssh(&[verb]), 77, &format!("ci may not {verb}; its verbs are: fetch, attach"));
    }
    for verb in ALL.split(' ') {
        refused(&host.ssh_as("other", &[verb]), 77, &fingerprint(&host, "other"));
    }
    host.ssh_as("other", &["true"]).expect(0);
    let log = host.audit();
    let refusals: Vec<&Value> = log.iter().skip(events).collect();
    assert_eq!(refusals.len(), not_ci.len() + 9);
    for (event, verb) in refusals.iter().zip(not_ci.into_iter().chain(ALL.split(' '))) {
        assert_eq!((&event["event"], &event["detail"]["request"]), (&"not-allowed".into(), &verb.into()));
    }
    host.root("nixgatectl audit verify");
    assert_eq!(host.triple(), before);
}

#[test]
fn a_freeze_stops_what_is_new_and_not_the_way_back() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
    host.write("/etc/nixgate/freeze", "until Monday\n");
    let now = host.triple();
    for verb in ["switch", "test", "boot"] {
        refused(&host.ssh(&[verb]), 77, "until Monday");
        assert_eq!(host.audit().pop().expect("an event")["event"], "not-allowed");
    }
    assert_eq!(host.triple(), now);
    host.ssh(&["fetch"]).expect(0);
    ended(&host, &host.ssh(&["rollback"]), "rollback", "committed", 0, &[BACK, KEEPS]);
}

#[test]
fn a_certificate_is_known_by_its_authority_and_principal_and_not_by_one_of_them() {
    let host = Host::boot();
    let dir = std::env::temp_dir().join(format!("nixgate-ca-{}", host.name()));
    std::fs::create_dir_all(&dir).unwrap();
    let run = |script: &str| {
        let mut command = std::process::Command::new("sh");
        let output = command.current_dir(&dir).args(["-euc", script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    run(
        "ssh-keygen -q -t ed25519 -N '' -f authority; ssh-keygen -q -t ed25519 -N '' -f ann; ssh-keygen -q -t ed25519 -N '' -f bob; \
         ssh-keygen -q -s authority -I ann@laptop -n deployers,deploy ann.pub; ssh-keygen -q -s authority -I bob -n deploy bob.pub",
    );
    let authority = run("ssh-keygen -lf authority.pub | cut -d' ' -f2");
    let line = format!("cert-authority {}", run("cat authority.pub"));
    host.root(&format!("echo '{line}' >>/etc/ssh/authorized_keys.d/deploy"));
    let table = format!(
        "[[access]]\nname = \"people\"\nauthority = \"{authority}\"\nprincipal = \"deployers\"\nverbs = [\"status\"]\n\n[[check]]"
    );
    host.config_edit_only("[[check]]", &table);
    let as_key = |name: &str, verb: &str| host.ssh_as(&dir.join(name).display().to_string(), &[verb]);
    as_key("ann", "status").expect(0);
    refused(&as_key("ann", "switch"), 77, "people may not switch");
    refused(&as_key("bob", "status"), 77, &format!("{authority}/bob"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_runs_as_a_test_is_checked_again_before_it_becomes_permanent() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    host.ssh(&["test"]).expect(0);
    let now = host.triple();
    host.root("echo bad >/run/demo-health");
    let answer = host.ssh(&["switch"]).expect(13);
    assert!(answer.stderr.contains("check demo failed"), "{answer:#?}");
    assert_eq!(host.triple(), now);
    host.root("echo ok >/run/demo-health; systemd-run --quiet --unit=oldfail false; true");
    host.await_root("systemctl is-failed oldfail.service", std::time::Duration::from_secs(20));
    host.ssh(&["switch"]).expect(0);
}

#[test]
fn rollback_to_a_generation_above_keeps_its_place_in_the_history() {
    let host = Host::boot();
    grant(&host, "ci", ALL, "generation = true");
    for version in ["v1", "v2"] {
        host.commit(version, &Commit::signed());
        host.ssh(&["switch"]).expect(0);
    }
    for version in ["v1", "v0"] {
        host.ssh(&["rollback"]).expect(0);
        assert_eq!(host.version(), version);
    }
    host.ssh(&["rollback", "3"]).expect(0);
    assert_eq!(host.version(), "v2");
    host.commit("v3", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
    host.ssh(&["rollback"]).expect(0);
    assert_eq!(host.version(), "v2");
}

#[test]
fn a_revert_that_wins_in_the_last_moment_of_a_test_is_said_and_not_taken_for_kept() {
    let host = Host::boot();
    let before = host.triple();
    // Between the last look at the candidate and the end of the dead man's switch, which is then not there any more.
    host.write(
        "/root/sudo",
        "#!/bin/bash\ncase \"$*\" in *--unit=nixgate-settle*) /usr/bin/sudo.real -n -- /usr/bin/systemctl start nixgate-revert.service ;; esac\n\
         exec /usr/bin/sudo.real \"$@\"\n",
    );
    host.root("cp -Lp /usr/bin/sudo /usr/bin/sudo.real && install -m 0755 /root/sudo /usr/bin/sudo.new && mv /usr/bin/sudo.new /usr/bin/sudo");
    host.commit("v1", &Commit::signed());
    let answer = host.ssh(&["test"]).expect(24);
    assert!(
        answer.stderr.contains("the dead man's switch was faster: it returned to the old system"),
        "{answer:#?}"
    );
    assert_eq!((answer.value("result"), host.triple()), ("reverted", before.clone()));
    host.root("mv /usr/bin/sudo.real /usr/bin/sudo");
    host.ssh(&["test"]).expect(0);
    assert_ne!(host.triple().running, before.running);
}
