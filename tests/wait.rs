//! A deploy that finds somebody at work, with `limits.wait`: it waits in turn, for a limited time, while its caller is
//! there, and is judged anew. Without it, busy at once: `verbs.rs`. And what a caller who comes back can see of the
//! audit log.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod host;

use host::{Answer, Client, Commit, Host, LIMIT};

const ACTIVATING: &str = "activating the configuration";

fn set_wait(host: &Host, from: &str, to: &str) {
    host.config_edit_only(&format!("wait = \"{from}\""), &format!("wait = \"{to}\""));
}

/// A host whose deploys wait for each other.
fn patient() -> Host {
    let host = Host::boot();
    host.config_edit_only("revert = \"20s\"", "revert = \"20s\"\nwait = \"0s\"");
    host.config_edit("wait = \"0s\"", "wait = \"60s\"");
    host
}

/// A switch whose activation goes on when the test says so, and its job.
fn at_work(host: &Host, version: &str) -> (Client, String) {
    host.commit(version, &Commit::signed().fault("wait"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text(ACTIVATING, LIMIT);
    let job = host.root("sed -n 's/.*\"job\": \"\\(.*\\)\".*/\\1/p' /var/lib/nixgate/state.json");
    (client, job)
}

/// One more, which waits.
fn behind(host: &Host, request: &[&str], seconds: u32) -> Client {
    let client = host.ssh_spawn("ci", request);
    client.await_text(&format!("waiting for it, at most {seconds} s"), LIMIT);
    client
}

/// The requests that were accepted after this many events, in order.
fn accepted(host: &Host, since: usize) -> Vec<String> {
    let events = host.audit();
    let accepted = events.iter().skip(since).filter(|event| event["event"] == "accepted");
    accepted.map(|event| event["detail"]["request"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn says(answer: &Answer, code: i32, what: &str) {
    assert_eq!(answer.code, code, "{answer:#?}");
    assert!(answer.stderr.contains(what), "no {what:?} in {answer:#?}");
}

#[test]
fn a_deploy_behind_another_one_waits_in_turn_and_is_judged_when_it_has_the_lock() {
    let host = patient();

    // In the order in which they asked, and each is told for whom it waits.
    let (first, job) = at_work(&host, "v1");
    let second = behind(&host, &["test"], 60);
    second.await_text(&format!("busy: job {job} (switch by "), LIMIT);
    let third = behind(&host, &["fetch"], 60);
    let fourth = behind(&host, &["boot"], 60);
    assert_eq!(accepted(&host, 0), ["switch"]);
    host.ssh(&["status"]).expect(0);
    host.go();
    let ends = [first, second, third, fourth].map(Client::wait);
    let results = ends.each_ref().map(|answer| (answer.code, answer.value("result")));
    assert_eq!(results, [(0, "committed"), (0, "unchanged"), (0, "fetched"), (0, "unchanged")]);
    assert_eq!(accepted(&host, 0), ["switch", "test", "fetch", "boot"]);

    // A freeze that came while it waited counts.
    let (first, _) = at_work(&host, "v2");
    let second = behind(&host, &["test"], 60);
    let since = host.audit().len();
    host.root("echo 'the forge is being moved' >/etc/nixgate/freeze");
    host.go();
    first.wait().expect(0);
    says(&second.wait(), 77, "the forge is being moved");
    assert_eq!(accepted(&host, since), [""; 0]);
    host.root("rm /etc/nixgate/freeze");

    // So does a configuration that cannot be read any more.
    let (first, _) = at_work(&host, "v3");
    let second = behind(&host, &["test"], 60);
    host.root("cp -a /etc/nixgate/config.toml /root/good.toml; echo 'no = 1' >>/etc/nixgate/config.toml");
    host.go();
    first.wait().expect(0);
    says(&second.wait(), 78, "/etc/nixgate/config.toml: ");
    host.root("cp -a /root/good.toml /etc/nixgate/config.toml");

    // A job that died under the one who waits is recovered before anything new.
    host.root("systemctl mask --runtime nixgate-recover.service");
    let (first, job) = at_work(&host, "v4");
    let pid = host.root("systemctl show --property=MainPID --value 'nixgate-job@*.service' | grep -v '^0$'");
    let second = behind(&host, &["fetch"], 60);
    host.root(&format!("kill -9 {pid}"));
    first.wait().expect(70);
    second.wait().expect(0);
    let events = host.audit();
    let names: Vec<_> =
        events.iter().filter(|event| event["job"] == job.as_str()).map(|e| &e["event"]).collect();
    assert_eq!(*names.last().unwrap(), "ended", "{names:?}");
    assert_eq!(host.version(), "v3");
}

#[test]
fn a_wait_is_bounded_and_ends_with_its_caller() {
    let host = patient();
    let (first, job) = at_work(&host, "v1");
    let since = host.audit().len();

    // So many wait, and no more.
    let waiting: Vec<Client> = (0..8).map(|_| behind(&host, &["fetch"], 60)).collect();
    let ninth = host.ssh(&["fetch"]);
    says(&ninth, 75, "8 others wait for it already");
    assert!(ninth.stderr.contains(&format!("job {job} ")), "{ninth:#?}");
    // They are no hindrance to what decides the trial, and neither to who follows it.
    host.ssh(&["status"]).expect(0);
    let follower = host.ssh_spawn("ci", &["attach", &job]);

    // Whoever leaves has left: nothing of it stays, and nothing begins for it later.
    for client in waiting {
        client.kill();
    }
    host.await_root("[ $(systemctl list-units --no-legend 'nixgate-job@*.service' | wc -l) = 2 ]", LIMIT);

    // Not longer than the configuration says.
    set_wait(&host, "60s", "1s");
    let late = host.ssh(&["fetch"]);
    says(&late, 75, "waited 1 s (limits.wait); busy: job ");
    assert!(late.stderr.contains(&format!("attach {job}")), "{late:#?}");
    assert!(late.last_line.is_empty(), "{late:#?}");

    host.go();
    let answer = first.wait().expect(0);
    assert_eq!(follower.wait().code, 0);
    assert_eq!(accepted(&host, since), [""; 0]);
    assert_eq!(answer.value("result"), "committed");
}

#[test]
fn a_trial_that_waits_for_its_confirmation_is_not_overtaken() {
    let host = patient();
    host.config_edit_only("confirm = \"10s\"", "confirm = \"60s\"");
    host.config_edit("mode = \"health\"", "mode = \"required\"");
    host.commit("v1", &Commit::signed());
    let trial = host.ssh_spawn("ci", &["switch"]);
    trial.await_text("over a new connection", LIMIT);
    let next = host.commit("v2", &Commit::signed());
    let second = behind(&host, &["fetch", &next], 60);
    second.await_text("state healthy", LIMIT);
    assert_eq!(accepted(&host, 0), ["switch"]);
    host.ssh(&["confirm"]).expect(0);
    assert_eq!(trial.wait().expect(0).value("result"), "committed");
    assert_eq!(second.wait().expect(0).value("commit"), next);
    assert_eq!(host.version(), "v1");
}

#[test]
fn somebody_elses_activation_is_waited_for_as_long() {
    let host = patient();
    let hold = |unit: &str| {
        host.root("mkdir -p /run/nixos");
        host.root(&format!(
            "systemd-run --quiet --collect --unit={unit} flock /run/nixos/switch-to-configuration.lock sleep infinity"
        ));
        host.await_root("! flock --nonblock /run/nixos/switch-to-configuration.lock true", LIMIT);
    };
    let before = host.triple();
    host.commit("v1", &Commit::signed());

    // By the lock of switch-to-configuration; and who waits can be told to stop.
    hold("somebody");
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("somebody else is activating a system on this host; waiting for it, at most ", LIMIT);
    host.ssh(&["cancel"]).expect(0);
    says(&client.wait(), 23, "cancelled; nothing was changed");
    assert_eq!(host.triple(), before);

    // Not longer than the configuration says.
    set_wait(&host, "60s", "1s");
    let late = host.ssh(&["switch"]);
    says(&late, 75, "somebody else is activating a system on this host");
    assert_eq!(late.value("result"), "refused");
    assert_eq!(host.triple(), before);
    host.root("systemctl stop somebody.service");

    // By the unit of nixos-rebuild, and on it goes when that has ended.
    set_wait(&host, "1s", "60s");
    hold("nixos-rebuild-switch-to-configuration");
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("nixos-rebuild-switch-to-configuration.service is activating a system", LIMIT);
    host.root("systemctl stop nixos-rebuild-switch-to-configuration.service");
    assert_eq!(client.wait().expect(0).value("result"), "committed");
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_caller_sees_by_the_head_that_it_was_told_that_the_audit_log_was_cut_or_written_anew() {
    let host = Host::boot();
    let heads = || {
        let answer = host.ssh(&["status", "--json"]).expect(0);
        let status: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
        let heads = status["audit-heads"].as_array().unwrap().clone();
        (heads, status["audit"].as_str().unwrap().to_owned(), status["problem"].clone())
    };
    assert_eq!(heads().0.len(), 0);
    host.commit("v1", &Commit::signed());
    let told = ["fetch", "fetch", "switch"].map(|verb| host.ssh(&[verb]).expect(0).value("audit").to_owned());
    // What is no job's end stands behind them.
    host.root("touch /etc/nixgate/freeze");
    host.ssh(&["switch"]).expect(77);
    let (listed, now, problem) = heads();
    assert_eq!(
        (listed, problem.is_null()),
        (told.iter().cloned().map(serde_json::Value::from).collect::<Vec<_>>(), true)
    );
    assert!(!told.contains(&now));

    // Cut: the log is whole, but it is not the one of the last answer.
    let log = "/var/lib/nixgate/audit/log.jsonl";
    host.root(&format!("cp -a {log} /root/log; head -n -4 /root/log >{log}"));
    let (listed, now, problem) = heads();
    let number = |head: &str| head.split(':').next().unwrap().parse::<u64>().unwrap();
    assert_eq!(
        (listed, problem.is_null()),
        (told[..2].iter().cloned().map(serde_json::Value::from).collect(), true)
    );
    assert!(number(&now) < number(&told[2]), "{now}");
    host.root(&format!(
        "nixgatectl audit verify --at {} && ! nixgatectl audit verify --at {}",
        told[1], told[2]
    ));

    // Gone on from there: at the number of the last answer stands another event.
    host.root("rm /etc/nixgate/freeze");
    for _ in 0..2 {
        host.ssh(&["fetch"]).expect(0);
    }
    let (listed, now, _) = heads();
    assert!(number(&now) > number(&told[2]) && !listed.contains(&told[2].clone().into()), "{listed:?}");

    // Edited: said, and nothing is listed.
    host.root(&format!("cat /root/log >{log}; sed -i '2s/fetched/fetcher/' {log}"));
    let (listed, _, problem) = heads();
    assert!(listed.is_empty() && problem.as_str().unwrap().contains("nixgatectl audit verify"), "{problem}");
}
