//! Whether a system is well, over real ssh: each kind of check, each policy of a unit, what is left of a check, and the
//! way back when the old system is not well either. Each refusal has a twin that passes.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod host;

use host::job::{KEEPS, REVERTS, TRIED, ended, leaves};
use host::{Answer, Commit, Host, LIMIT};

/// In milliseconds. The dead man's switch of these tests fires 70 s after it was armed: a job that is that slow did not
/// return to the old system by itself.
const SOON: u128 = 45_000;

/// These checks instead of those that are there, and what else has to be well: the file's last tables.
fn look_for(host: &Host, tables: &str) {
    let path = "/etc/nixgate/config.toml";
    let text = host.root(&format!("cat {path}"));
    let kept = text.split("[health]").next().expect("a beginning");
    host.write(path, &format!("{kept}[health]\nsettle = \"0s\"\n\n{tables}\n"));
}

/// A check named `it`.
fn it(kind: &str) -> String {
    format!("[[check]]\nname = \"it\"\nretries = 0\n{kind}\n")
}

/// A script that a check can be; `$version` is what runs.
fn script(host: &Host, name: &str, text: &str) -> String {
    let path = format!("/usr/local/bin/{name}");
    host.write(&path, &format!("#!/bin/sh\nversion=$(cat /run/current-system/demo-version)\n{text}\n"));
    host.root(&format!("chmod 755 {path}"));
    format!("command = [\"{path}\"]")
}

fn commit(host: &Host, version: &str, faults: &[&str]) {
    let commit = faults.iter().fold(Commit::signed(), |commit, fault| commit.fault(fault));
    host.commit(version, &commit);
}

/// What the table says of a check: kind, before, now and tries.
#[track_caller]
fn row(answer: &Answer, name: &str) -> String {
    let lines = answer.stderr.lines().filter_map(|line| line.strip_prefix("nixgate: "));
    let mut rows = lines.map(|line| line.split_whitespace().collect::<Vec<&str>>());
    let row = rows.find(|words| words.len() == 6 && words[0] == name);
    let row = row.unwrap_or_else(|| panic!("no row {name} in {answer:#?}"));
    format!("{} {} {} {}", row[1], row[2], row[3], row[5])
}

#[track_caller]
fn committed(host: &Host) -> Answer {
    let answer = host.ssh(&["switch"]);
    ended(host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    answer
}

/// Reverted for its health, and by the job itself.
#[track_caller]
fn reverted(host: &Host, why: &str) -> Answer {
    let before = host.triple();
    let answer = host.ssh(&["switch"]);
    leaves(host, &before, &answer, "switch", "reverted", 21, &[TRIED, REVERTS]);
    assert!(answer.stderr.contains(why), "no {why:?} in {answer:#?}");
    assert!(answer.millis < SOON, "the dead man's switch did it: {answer:#?}");
    answer
}

fn require_confirmation(host: &Host) {
    host.config_edit_only("confirm = \"10s\"", "confirm = \"1m\"");
    host.config_edit("mode = \"health\"", "mode = \"required\"");
}

// ---- the kinds of checks ------------------------------------------------------------------------------------------------

#[test]
fn each_kind_of_check_passes_fails_and_is_excused_where_it_failed_before() {
    let host = Host::boot();
    let ask = script(&host, "ask", "systemctl is-active demo.service || exit 3");
    let mut n = 0;
    let mut next = |faults: &[&str]| {
        n += 1;
        commit(&host, &format!("v{n}"), faults);
    };
    for (kind, table, why) in [
        ("unit", "unit = \"demo.service\"", "demo.service is not active"),
        ("tcp", "tcp = \"127.0.0.1:8080\"", "127.0.0.1:8080: Connection refused"),
        ("http", "http = \"http://127.0.0.1:8080/version\"", "no answer; curl ended with 7"),
        ("command", ask.as_str(), "it ended with 3"),
    ] {
        look_for(&host, &it(table));
        next(&[]);
        assert_eq!(row(&committed(&host), "it"), format!("{kind} well well 1"));
        // Nothing wants the service in this one, so only the check misses it.
        next(&["service-unwanted"]);
        let answer = reverted(&host, &format!("check it failed: {why}"));
        assert_eq!(row(&answer, "it"), format!("{kind} well failed 1"));
        host.root("systemctl stop demo.service");
        let answer = committed(&host);
        assert_eq!(row(&answer, "it"), format!("{kind} failed failed 1"));
        assert!(answer.stderr.contains("check it: still failing"), "{answer:#?}");
        next(&[]);
        assert_eq!(row(&committed(&host), "it"), format!("{kind} failed well 1"));
    }
}

#[test]
fn an_http_answer_has_the_status_and_the_body_that_are_asked_for() {
    let host = Host::boot();
    let url = "http = \"http://127.0.0.1:8080/version\"";
    // The page is the version.
    look_for(&host, &it(&format!("{url}\nbody = \"^good-[0-9]\"")));
    commit(&host, "good-1", &[]);
    assert_eq!(row(&committed(&host), "it"), "http failed well 1");
    commit(&host, "bad-2", &[]);
    reverted(&host, "check it failed: the answer has nothing that matches ^good-[0-9]");
    let missing = it("http = \"http://127.0.0.1:8080/missing\"");
    look_for(&host, &format!("{missing}status = 404\n"));
    assert_eq!(row(&committed(&host), "it"), "http well well 1");
    look_for(&host, &missing);
    commit(&host, "good-3", &[]);
    let answer = committed(&host);
    assert!(
        answer.stderr.contains("fails already, before the trial: status 404 instead of 200"),
        "{answer:#?}"
    );
}

#[test]
fn a_failed_try_is_made_again_as_often_as_it_is_asked_for() {
    let host = Host::boot();
    let at_second =
        script(&host, "at-second", "[ $version = v0 ] || ! mkdir /tmp/first-$version 2>/dev/null");
    commit(&host, "v1", &[]);
    look_for(&host, &it(&at_second));
    assert_eq!(row(&reverted(&host, "check it failed: it ended with 1"), "it"), "command well failed 1");
    commit(&host, "v2", &[]);
    look_for(&host, &it(&at_second).replace("retries = 0", "retries = 1"));
    assert_eq!(row(&committed(&host), "it"), "command well well 2");
}

#[test]
fn a_check_has_no_privileges_no_environment_and_no_input() {
    let host = Host::boot();
    let who = script(
        &host,
        "who",
        "id -un; env | sort | cut -d= -f1 | paste -sd' '; readlink /proc/self/fd/0; echo $(cat /proc/$PPID/oom_score_adj /proc/self/oom_score_adj); sudo -n -l",
    );
    look_for(&host, &it(&who));
    commit(&host, "v1", &[]);
    let answer = committed(&host);
    let said: Vec<&str> = answer.stderr.lines().filter_map(|line| line.strip_prefix("check it: ")).collect();
    // Once before the trial, and once in it.
    assert_eq!(said.len() % 2, 0, "{answer:#?}");
    assert_eq!(said[..3], ["nixgate", "LC_ALL PATH PWD TZ", "/dev/null"], "{answer:#?}");
    // The job's protection where memory runs out is not its checks'. Some containers grant none.
    assert!(matches!(said[3], "-500 0" | "0 0"), "{answer:#?}");
    assert!(said[4].contains("no new privileges"), "{answer:#?}");
    assert_eq!(row(&answer, "it"), "command failed failed 1");
    // The same account outside of a check may ask sudo.
    host.root("setpriv --reuid nixgate --regid nixgate --clear-groups sudo -n -l");
}

#[test]
fn checks_run_at_once_and_their_output_is_told_apart_and_bounded() {
    let host = Host::boot();
    // Each waits for the other.
    let meet = |name: &str, other: &str| {
        let text = format!(
            "mkfifo /tmp/{name}-$version; echo here; (echo >/tmp/{name}-$version) & until [ -p /tmp/{other}-$version ]; do :; done; cat /tmp/{other}-$version && wait"
        );
        format!("[[check]]\nname = \"{name}\"\nretries = 0\n{}\n", script(&host, name, &text))
    };
    let flood = script(&host, "flood", "yes 'a line of the flood' | head -c 200000");
    look_for(&host, &format!("{}{}{}", meet("one", "two"), meet("two", "one"), it(&flood)));
    commit(&host, "v1", &[]);
    let answer = committed(&host);
    for name in ["one", "two", "it"] {
        assert_eq!(row(&answer, name), "command well well 1");
    }
    let lines = |start: &str| answer.stderr.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((lines("check one: here"), lines("check two: here")), (2, 2), "{answer:#?}");
    assert!((6000..7000).contains(&lines("check it: a line of the flood")), "{}", lines("check it: "));
    assert_eq!(lines("nixgate: check it: 134"), 2, "{answer:#?}");
}

// ---- what is left of a check --------------------------------------------------------------------------------------------

/// Processes of account nixgate that sleep this long: an argument that nothing else has.
fn sleepers(host: &Host, seconds: &str) -> String {
    host.root(&format!("pgrep -u nixgate -fx 'sleep {seconds}' | wc -l"))
}

#[test]
fn nothing_that_a_check_starts_outlives_it() {
    let host = Host::boot();
    require_confirmation(&host);
    // A daemon of a daemon, which holds the check's output open, in sessions of their own.
    let daemon = "setsid setsid sh -c 'sleep 4321 & exec setsid sleep 4321' & exec setsid sleep 4321 & ";
    let well = script(&host, "well", &format!("{daemon} echo started; exit 0"));
    look_for(&host, &it(&well));
    commit(&host, "v1", &[]);
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("over a new connection", LIMIT);
    assert_eq!(sleepers(&host, "4321"), "0", "the job is still there, and nothing of its checks");
    host.ssh(&["confirm"]).expect(0);
    let answer = client.wait().expect(0);
    assert_eq!(row(&answer, "it"), "command well well 1");
    assert_eq!(answer.stderr.lines().filter(|line| *line == "check it: started").count(), 2, "{answer:#?}");
    // Outside of a check the same leaves three.
    host.root("setpriv --reuid nixgate --regid nixgate --clear-groups /usr/local/bin/well >/dev/null 2>&1");
    host.await_root("[ $(pgrep -u nixgate -fx 'sleep 4321' | wc -l) -ge 2 ]", LIMIT);
    host.root("kill $(pgrep -u nixgate -fx 'sleep 4321')");
}

#[test]
fn a_check_that_hangs_is_stopped_at_its_limit_or_at_that_of_all() {
    let host = Host::boot();
    let hang = script(
        &host,
        "hang",
        "[ $version = v0 ] && exit; trap '' TERM HUP INT; setsid sleep 8765 & echo hanging; sleep 8765; sleep 8765",
    );
    commit(&host, "v1", &[]);
    look_for(&host, &it(&format!("{hang}\ntimeout = \"1s\"")));
    reverted(&host, "check it failed: no answer within 1 s");
    look_for(&host, &it(&format!("{hang}\ntimeout = \"5m\"")));
    reverted(&host, "check it failed: no answer within the time of all checks (limits.health)");
    // Also when somebody asks for it.
    let before = host.triple();
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("check it: hanging", LIMIT);
    host.ssh(&["cancel"]).expect(0);
    client.await_text("returning to", LIMIT);
    assert_eq!(sleepers(&host, "8765"), "0");
    leaves(&host, &before, &client.wait(), "switch", "reverted", 23, &[TRIED, REVERTS]);
    commit(&host, "v0", &[]);
    committed(&host);
}

// ---- units --------------------------------------------------------------------------------------------------------------

#[test]
fn a_unit_that_fails_stops_or_keeps_dying_is_worth_what_its_policy_says() {
    let host = Host::boot();
    let settle =
        |host: &Host, time: &str| host.config_edit_only("settle = \"0s\"", &format!("settle = \"{time}\""));
    look_for(&host, "");
    settle(&host, "3s");
    for (n, fault, why) in [
        (1, "service-fails", "newly failed: demo.service"),
        (2, "service-flaps-slowly", "newly failed: demo.service"),
        (3, "service-stopped", "demo.service was active and is not"),
    ] {
        let policy = |policy: &str| {
            look_for(&host, policy);
            settle(&host, "3s");
        };
        policy("[units]\n\"demo.service\" = \"revert\"\n\"*.service\" = \"ignore\"");
        commit(&host, &format!("v{n}"), &[fault]);
        let answer = reverted(&host, why);
        assert!(row(&answer, "units").starts_with("built-in well failed "), "{answer:#?}");
        policy("[units]\n\"dem*.service\" = \"warn\"");
        let answer = committed(&host);
        assert!(
            answer.stderr.contains("nixgate: warning: demo.service has failed or stopped"),
            "{answer:#?}"
        );
        policy("");
        commit(&host, &format!("v{n}-mended"), &[]);
        committed(&host);
    }
    look_for(&host, "[units]\n\"demo.service\" = \"ignore\"");
    commit(&host, "v4", &["service-fails"]);
    let answer = committed(&host);
    assert!(!answer.stderr.contains("warning: demo.service has"), "{answer:#?}");
}

#[test]
fn a_unit_that_the_new_system_does_not_want_is_not_missed_unless_it_is_required() {
    let host = Host::boot();
    look_for(&host, "");
    commit(&host, "v1", &["service-unwanted"]);
    committed(&host);
    commit(&host, "v2", &[]);
    committed(&host);
    host.config_edit_only("[health]", "[revert]\nrequired-units = [\"demo.service\"]\n\n[health]");
    commit(&host, "v3", &["service-unwanted"]);
    reverted(&host, "demo.service was active and is not");
}

#[test]
fn services_are_watched_for_a_while_only_where_the_activation_started_any() {
    let host = Host::boot();
    look_for(&host, "");
    host.config_edit_only("settle = \"0s\"", "settle = \"5s\"");
    commit(&host, "v1", &[]);
    let settled = |answer: &Answer| {
        let log = host.audit();
        let health = log.iter().rfind(|event| event["event"] == "health").expect("the event");
        assert_eq!(health["job"], answer.value("job"));
        assert_eq!((&health["detail"]["failed"], &health["detail"]["checks"]), (&"".into(), &"5".into()));
        health["detail"]["milliseconds"].as_str().and_then(|n| n.parse::<u64>().ok()).expect("a number")
    };
    assert!(settled(&committed(&host)) >= 4500, "demo.service was started");
    host.root("systemctl stop demo.service");
    commit(&host, "v2", &["service-unwanted"]);
    assert!(settled(&committed(&host)) < 4500, "nothing was started");
}

#[test]
fn a_unit_that_fails_while_a_confirmation_is_awaited_counts() {
    let host = Host::boot();
    require_confirmation(&host);
    look_for(&host, "");
    let before = host.triple();
    commit(&host, "v1", &[]);
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("over a new connection", LIMIT);
    host.root_output("systemd-run --quiet --wait --unit=later false");
    host.ssh(&["confirm"]).expect(0);
    let answer = client.wait();
    leaves(&host, &before, &answer, "switch", "reverted", 21, &[TRIED, "healthy confirmed-by", REVERTS]);
    assert!(answer.stderr.contains("newly failed: later.service"), "{answer:#?}");
}

// ---- codes of switch-to-configuration -----------------------------------------------------------------------------------

#[test]
fn a_failed_activation_script_reverts_also_where_4_hides_it() {
    let host = Host::boot();
    look_for(&host, "[units]\n\"demo.service\" = \"warn\"");
    let before = host.triple();
    commit(&host, "v1", &["exit-2", "service-fails"]);
    let answer = host.ssh(&["switch"]);
    leaves(&host, &before, &answer, "switch", "reverted", 20, &[TRIED, REVERTS]);
    assert!(answer.stderr.contains("the activation script failed (2)"), "{answer:#?}");
    // 4 alone is judged by the units, which are only worth a warning here.
    commit(&host, "v2", &["service-fails"]);
    committed(&host);
}

#[test]
fn a_lock_that_somebody_takes_before_the_trial_is_75_and_nothing_is_activated_twice() {
    let host = Host::boot();
    let before = host.triple();
    commit(&host, "v1", &["busy-later"]);
    let answer = host.ssh(&["switch"]);
    leaves(&host, &before, &answer, "switch", "refused", 75, &[TRIED, REVERTS]);
    assert!(!answer.stderr.contains("returning to"), "{answer:#?}");
    host.await_root("flock -n /run/nixos/switch-to-configuration.lock true", LIMIT);
    commit(&host, "v2", &[]);
    committed(&host);
}

// ---- the way back -------------------------------------------------------------------------------------------------------

#[test]
fn what_the_old_system_lacks_after_a_revert_is_named_and_30_where_it_is_required() {
    let host = Host::boot();
    host.config_edit_only("[health]", "[revert]\nwhen-it-fails = \"stay\"\n\n[health]");
    host.config_edit("settle = \"0s\"", "settle = \"0s\" ");
    let mend = || {
        host.root("rm -r /run/systemd/system/demo.service.d; systemctl daemon-reload; systemctl restart demo")
    };
    commit(&host, "v1", &["service-broken"]);
    let answer = reverted(&host, "not as well as before: demo.service");
    mend();
    let before = host.triple();
    host.config_edit_only("[revert]\n", "[revert]\nrequired-units = [\"demo.service\"]\n");
    let answer_30 = host.ssh(&["switch"]);
    let events = [TRIED, "reverting needs-operator ended"];
    leaves(&host, &before, &answer_30, "switch", "needs-operator", 30, &events);
    assert!(
        answer_30.stderr.contains("the old system runs again, but not with demo.service"),
        "{answer_30:#?}"
    );
    assert_eq!(host.boots(), 1, "{answer:#?}");
    mend();
    commit(&host, "v2", &[]);
    committed(&host);
}

#[test]
fn a_commit_that_cannot_be_taken_back_is_30_and_the_host_is_left_as_it_is() {
    let host = Host::boot();
    let before = host.triple();
    commit(&host, "v1", &["boot-breaks"]);
    let answer = host.ssh(&["switch"]);
    let events = [TRIED, "healthy confirmed committing", "reverting needs-operator ended"];
    ended(&host, &answer, "switch", "needs-operator", 30, &events);
    assert!(answer.stderr.contains("the old system runs again, but the profile leads to"), "{answer:#?}");
    let now = host.triple();
    assert_eq!(now.running, before.running);
    assert_ne!(now.boot, before.boot, "the entry could not be taken back");
    // A restart would lead into the new system, so there is none, although it is configured.
    assert_eq!(host.boots(), 1);
    assert_eq!(host.version(), "v0");
}

#[test]
fn nothing_is_kept_where_the_timer_was_faster() {
    let host = Host::boot();
    require_confirmation(&host);
    let before = host.triple();
    commit(&host, "v1", &[]);
    for verb in ["test", "switch"] {
        let client = host.ssh_spawn("ci", &[verb]);
        client.await_text("over a new connection", LIMIT);
        host.root("systemctl start nixgate-revert.service");
        assert_eq!(host.triple(), before);
        host.ssh(&["confirm"]).expect(0);
        let answer = client.wait();
        leaves(&host, &before, &answer, verb, "reverted", 21, &[TRIED, "healthy confirmed-by", REVERTS]);
        assert!(answer.stderr.contains("the old system returned while the trial waited"), "{answer:#?}");
    }
    let client = host.ssh_spawn("ci", &["test"]);
    client.await_text("over a new connection", LIMIT);
    host.ssh(&["confirm"]).expect(0);
    ended(&host, &client.wait(), "test", "kept", 0, &[TRIED, "healthy confirmed-by confirmed kept ended"]);
}
