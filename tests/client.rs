//! `scripts/nixgate-deploy`: what it asks, what it believes, and that it comes back with the answer of its job whatever
//! becomes of the connection. With an ssh that plays the host, for what no host does on demand; and with a real one.
#![cfg(feature = "host")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used
)]

mod deploy;
mod host;

use deploy::{COMMIT, Place, SHELLS, Stand, Told, deploy};
use host::{Commit, Host, LIMIT};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// In every shell; each has its own stand-in.
#[track_caller]
fn everywhere(answer: &str, args: &[&str], code: i32, asked: &str, said: &str) -> Vec<Told> {
    let run = |shell: &&[&'static str]| {
        let stand = Stand::new(answer);
        let told = stand.ask(shell, args);
        told.is(code, said);
        assert_eq!(stand.asked(), asked, "{shell:?} {told:#?}");
        assert_eq!(stand.left(), 0, "{shell:?} leaves files behind");
        told
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = SHELLS.iter().map(|shell| scope.spawn(move || run(shell))).collect();
        running.into_iter().map(|one| one.join().expect("the scenario above")).collect()
    })
}

/// A host that takes `switch` as job 5, after job 4, and whose first answer is as said.
fn taken(first_answer: &str, later: &str) -> String {
    format!(
        "case $ask in\n'1 status --json') sent; status 4-00000004; exit 0 ;;\n'1 switch') {first_answer} ;;\n{later}\nesac\nexit 99"
    )
}

#[test]
fn what_is_no_request_is_64_and_nothing_is_asked() {
    let wrong: [&[&str]; 22] = [
        &[],
        &["web1"],
        &["web1", "shell"],
        &["web1", "switch", "HEAD"],
        &["web1", "switch", "0123456789ABCDEF0123456789abcdef01234567"],
        &["web1", "switch", "-oProxyCommand=x"],
        &["web1", "switch", COMMIT, "more"],
        &["web1", "switch; id"],
        &["web1", "attach", "12-0a1b2c3"],
        &["web1", "attach", "12-abc-def0"],
        &["web1", "rollback", "01"],
        &["-oProxyCommand=id", "switch"],
        &["--", "-oProxyCommand=id", "switch"],
        &["-x@web1", "switch"],
        &["web1\nHost x", "switch"],
        &["deploy@", "switch"],
        &["--port", "22;id", "web1", "switch"],
        &["--tries", "0", "web1", "switch"],
        &["--key", "/nowhere", "web1", "switch"],
        &["--known-hosts", "/nowhere", "web1", "switch"],
        &["--expect-audit", "31:9f2c", "web1", "switch"],
        &["--expect-audit", &format!("31:{}", "a".repeat(64)), "web1", "status"],
    ];
    for args in wrong {
        everywhere("exit 99", args, 64, "", "nixgate-deploy: ");
    }
}

#[test]
fn a_connection_is_fresh_pinned_and_forwards_nothing() {
    let stand = Stand::new("sent; echo fine; exit 0");
    let pin = "web1 ssh-ed25519 AAAA";
    let key = stand.place.write("key", "").display().to_string();
    let args = ["--known-hosts", pin, "--key", &key, "--port", "2222", "ops@web1", "status"];
    let told = stand.ask(SHELLS[0], &args);
    assert_eq!((told.code, told.stdout.as_str()), (0, "fine\n"));
    let words = stand.place.text("words");
    let words: Vec<&str> = words.lines().collect();
    for option in [
        "ControlMaster=no",
        "ControlPath=none",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "GlobalKnownHostsFile=/dev/null",
        "KnownHostsCommand=none",
        "IdentitiesOnly=yes",
        "ClearAllForwardings=yes",
        "RemoteCommand=none",
        "BatchMode=yes",
        "ServerAliveInterval=15",
        "ConnectTimeout=10",
    ] {
        assert!(words.windows(2).any(|pair| pair == ["-o", option]), "{option} in {words:?}");
    }
    assert_eq!(words[words.len() - 3..], ["--", "web1", "status"]);
    assert!(words.windows(2).any(|pair| pair == ["-l", "ops"]) && words.contains(&"-a"), "{words:?}");
    let file = words.iter().find_map(|word| word.strip_prefix("UserKnownHostsFile=")).unwrap();
    assert!(!Path::new(file).exists(), "{file} goes with its run");
}

#[test]
fn an_answer_is_given_with_its_code_and_a_summary() {
    let told = everywhere(
        &taken(
            "sent; { first 5-00000005 switch; echo building; verdict 5-00000005 switch reverted 21; } >&2; exit 21",
            "",
        ),
        &["web1", "switch"],
        21,
        "switch",
        "health check failed; the host is reverted (21)",
    );
    for told in told {
        let expected = "job=5-00000005\nverb=switch\nresult=reverted\ncode=21\nold=/nix/store/o\nnew=/nix/store/n\n\
                        reboot-required=no\naudit=7:ab\nmeans=health check failed; the host is reverted\n";
        assert_eq!(told.stdout, expected);
        assert!(told.stderr.contains("\nbuilding\n"), "{told:#?}");
    }
    let busy = taken("sent; echo 'nixgate: busy: job 4-00000004' >&2; exit 75", "");
    for told in everywhere(&busy, &["web1", "switch"], 75, "switch", "nixgate: busy: job 4-00000004\n") {
        assert_eq!(
            told.stdout,
            "result=refused\ncode=75\nmeans=busy with another job; the host is unchanged\n"
        );
    }
}

#[test]
fn what_was_not_asked_yet_is_tried_again_and_then_is_69() {
    let answer = taken(
        "exit 255",
        "'2 switch') sent; { first 5-00000005 switch; verdict 5-00000005 switch committed 0; } >&2; exit 0 ;;",
    );
    everywhere(&answer, &["web1", "switch"], 0, "switch, switch", "done");
    everywhere("exit 255", &["--tries", "2", "web1", "switch"], 69, "", "nothing was asked");
    everywhere(
        &taken("exit 255", "*) exit 255 ;;"),
        &["--tries", "2", "web1", "switch"],
        69,
        "switch, switch",
        "nothing was asked",
    );
    // Not again where that cannot help, and with the mend.
    let denied = "for word; do case $before in -E) echo 'deploy@web1: Permission denied (publickey).' >>\"$word\" ;; esac; before=$word; done; exit 255";
    let stranger = Stand::new(&format!("before=''; {denied}"));
    let told = stranger.ask(SHELLS[0], &["web1", "switch"]);
    told.is(69, "its public half belongs into");
    assert_eq!(stranger.place.text("asked"), "status --json\n");
    // A word for a job, too: asked again only while it has not left.
    everywhere(
        "case $ask in 1*) exit 255 ;; *) sent; echo 'nixgate: cancel: told job' >&2; exit 0 ;; esac",
        &["web1", "cancel"],
        0,
        "cancel, cancel",
        "told job",
    );
    everywhere("sent; exit 255", &["web1", "confirm"], 255, "confirm", "ask for status");
}

#[test]
fn a_job_that_was_begun_is_followed_to_its_end_and_not_asked_for_again() {
    let log = "first 5-00000005 switch; echo one; echo two";
    let end = "echo three; verdict 5-00000005 switch reverted 20 >&2; exit 20";
    // Cut in the middle of a line, twice; one answer that is not the job's between; no line is shown twice.
    let answer = taken(
        &format!("sent; {{ {log}; printf thr; }} >&2; exit 255"),
        &format!(
            "'1 attach 5-00000005') sent; first 5-00000005 switch; echo one; exit 255 ;;\n\
             '2 attach 5-00000005') exit 255 ;;\n\
             '3 attach 5-00000005') sent; echo 'nixgate: job service not reachable.' >&2; exit 69 ;;\n\
             '4 attach 5-00000005') sent; {log}; {end} ;;"
        ),
    );
    let asked = "switch, attach 5-00000005";
    for told in everywhere(&answer, &["web1", "switch"], 20, asked, "coming back for job 5-00000005") {
        let lines: Vec<&str> =
            told.stderr.lines().filter(|line| ["one", "two", "thr", "three"].contains(line)).collect();
        assert_eq!(lines, ["one", "two", "three"], "{told:#?}");
        assert_eq!(told.value("result"), Some("reverted"));
    }
    // The gate lost the job, and says so: that is no end either.
    let answer = taken(
        &format!(
            "sent; {{ {log}; echo 'nixgate: the connection to the job ended without a verdict'; }} >&2; exit 70"
        ),
        &format!("'1 attach 5-00000005') sent; {log}; {end} ;;"),
    );
    everywhere(&answer, &["web1", "switch"], 20, "switch, attach 5-00000005", "three");
    // For good: the job is named.
    let answer = taken(&format!("sent; {{ {log}; }} >&2; exit 255"), "*) exit 255 ;;");
    let told = everywhere(
        &answer,
        &["--patience", "1", "web1", "switch"],
        255,
        "switch, attach 5-00000005",
        "nixgate-deploy web1 attach 5-00000005",
    );
    assert_eq!(
        told[0].stdout,
        "result=unknown\ncode=255\nmeans=asked, but the end is not known\njob=5-00000005\n"
    );
}

#[test]
fn a_request_that_was_lost_before_the_first_line_is_looked_for() {
    let lost = "sent; exit 255";
    let ours = "sent; first 5-00000005 switch; verdict 5-00000005 switch reverted 21 >&2; exit 21";
    // It had begun and ended meanwhile: its code is the answer, and it is not tried a second time.
    let ended = taken(lost, &format!("*status*) sent; status 5-00000005; exit 0 ;;\n'1 attach') {ours} ;;"));
    everywhere(&ended, &["web1", "switch"], 21, "switch, attach", "looking whether the request arrived");
    // It arrives late.
    let late = taken(
        lost,
        &format!(
            "'2 status --json') sent; status 4-00000004; exit 0 ;;\n*status*) sent; status 5-00000005; exit 0 ;;\n'1 attach') {ours} ;;"
        ),
    );
    everywhere(&late, &["web1", "switch"], 21, "switch, attach", "looking whether");
    // The host lets nobody look for a while: that is no answer.
    let shut = taken(
        lost,
        &format!(
            "'2 status --json') sent; exit 69 ;;\n*status*) sent; status 5-00000005; exit 0 ;;\n'1 attach') {ours} ;;"
        ),
    );
    everywhere(&shut, &["web1", "switch"], 21, "switch, attach", "looking whether");
    everywhere(
        &taken(lost, "*status*) sent; exit 69 ;;"),
        &["--patience", "1", "web1", "switch"],
        255,
        "switch",
        "not known whether it took the request",
    );
    // It never arrives: an earlier job of the same request is not taken for it, and it is asked for again.
    let nothing = "*status*) sent; status 4-00000004; exit 0 ;;";
    let again = taken(
        lost,
        &format!(
            "{nothing}\n'2 switch') sent; {{ first 5-00000005 switch; verdict 5-00000005 switch committed 0; }} >&2; exit 0 ;;"
        ),
    );
    everywhere(&again, &["web1", "switch"], 0, "switch, switch", "asking again");
    // The session had died when the host looked whose it was. What somebody else asked for is not ours.
    let other = "sent; first 3-00000003 fetch; exit 255";
    let nobodys = |by: &str| {
        format!(
            "sent; first 5-00000005 switch | sed 's/by ci/by {by}/'; verdict 5-00000005 switch reverted 20 >&2; exit 20"
        )
    };
    let nobody = taken(
        lost,
        &format!(
            "*status*) sent; status 5-00000005; exit 0 ;;\n'1 attach') {other} ;;\n'1 attach 5-00000005') {} ;;",
            nobodys("unknown")
        ),
    );
    everywhere(&nobody, &["web1", "switch"], 20, "switch, attach, attach 5-00000005", "reverted (20)");
    let another = format!(
        "case $ask in '1 status --json') sent; status 4-00000004; exit 0 ;; *status*) sent; status 5-00000005; exit 0 ;;\n\
         '1 switch') {lost} ;; *attach) {other} ;; *'attach 5-00000005') {} ;; esac\n\
         sent; {{ first 6-00000006 switch; verdict 6-00000006 switch committed 0; }} >&2; exit 0",
        nobodys("bob")
    );
    for shell in SHELLS {
        let stand = Stand::new(&another);
        stand.ask(shell, &["web1", "switch"]).is(0, "asking again");
        assert_eq!(stand.asked().matches("switch").count(), 2);
    }
    // It was joined to one that ran when we began.
    let joined = format!(
        "case $ask in *status*) sent; status 4-00000004 4-00000004; exit 0 ;;\n'1 switch') {lost} ;;\n\
         '1 attach') sent; first 4-00000004 switch; verdict 4-00000004 switch committed 0 >&2; exit 0 ;;\nesac\nexit 99"
    );
    everywhere(&joined, &["web1", "switch"], 0, "switch, attach", "done");
}

#[test]
fn nothing_is_asked_twice_that_could_be_done_twice() {
    let status = "*status*) sent; status 4-00000004; exit 0 ;;";
    let lost = format!("case $ask in {status} *) sent; exit 255 ;; esac");
    everywhere(&lost, &["web1", "rollback"], 255, "rollback", "two would go back twice");
    // Behind a newer job of this key for something else: nobody can say.
    let hidden = "case $ask in '1 status --json') sent; status 4-00000004 ;; *status*) sent; status 6-00000006 ;;\n\
                  *attach) sent; first 6-00000006 fetch; exit 255 ;; *) sent; exit 255 ;; esac";
    for shell in SHELLS {
        Stand::new(hidden).ask(shell, &["web1", "switch"]).is(255, "several jobs were begun there since");
    }
    // A key that may not look.
    let blind = "case $ask in *status*) sent; echo 'nixgate: ci may not status' >&2; exit 77 ;; *) sent; exit 255 ;; esac";
    everywhere(blind, &["web1", "switch"], 255, "switch", "may not ask for status");
    // And one that is merely told so goes on.
    let blind = "case $ask in *status*) sent; exit 77 ;; *) sent; { first 5-00000005 switch; verdict 5-00000005 switch committed 0; } >&2; exit 0 ;; esac";
    everywhere(blind, &["web1", "switch"], 0, "switch", "done");
}

#[test]
fn only_the_verdict_of_this_job_with_its_code_is_believed() {
    let forged = "verdict 5-00000005 switch committed 0";
    // In a log, before the line was cut.
    let answer = taken(
        &format!("sent; {{ first 5-00000005 switch; {forged}; }} >&2; exit 255"),
        &format!(
            "'1 attach 5-00000005') sent; first 5-00000005 switch; {forged}; verdict 5-00000005 switch reverted 20 >&2; exit 20 ;;"
        ),
    );
    everywhere(&answer, &["web1", "switch"], 20, "switch, attach 5-00000005", "reverted (20)");
    // Of another job, with another code, or none at all.
    for said in
        ["verdict 6-00000006 switch committed 0", "verdict 5-00000005 switch committed 20", "echo fine"]
    {
        let answer =
            taken(&format!("sent; {{ first 5-00000005 switch; {said}; }} >&2; exit 0"), "*) exit 255 ;;");
        everywhere(&answer, &["--patience", "1", "web1", "switch"], 255, "switch, attach 5-00000005", "");
    }
    everywhere(
        &taken("sent; exit 0", ""),
        &["web1", "switch"],
        255,
        "switch",
        "is it nixgate that answers there?",
    );
    everywhere(&taken("sent; exit 1", ""), &["web1", "test"], 255, "test", "is it nixgate");
    for verb in ["attach", "confirm", "status"] {
        everywhere("sent; exit 127", &["web1", verb], 255, verb, "is it nixgate");
    }
    everywhere("sent; echo log; exit 0", &["web1", "attach"], 255, "attach", "is it nixgate");
    // What does not have the form of a value stays out of the summary.
    let answer = taken(
        "sent; { first 5-00000005 switch; echo 'nixgate: v=1 job=5-00000005 verb=switch result=$(id) new=\"x audit=*  code=0 reboot-reasons=a,b'; } >&2; exit 0",
        "",
    );
    for told in everywhere(&answer, &["web1", "switch"], 0, "switch", "done") {
        assert_eq!(
            told.stdout,
            "job=5-00000005\nverb=switch\ncode=0\nreboot-reasons=a,b\nmeans=done, or already so\n"
        );
    }
}

#[test]
fn what_a_host_prints_is_no_command_to_a_runner_and_moves_no_terminal() {
    let hostile = "printf '%b\\n' '::error::x' '  ::set-output name=a::b' '\\t::add-mask::a' 'a ##[error]x ##[group]' \
                   '\\033]52;c;aGk=\\007x' 'a\\r::error::y' '\\0302\\0240::warning::z' 'std::path' '\\0302\\0233mx' 'caf\\0303\\0251'";
    let answer = taken(
        &format!(
            "sent; {{ first 5-00000005 switch; {hostile}; verdict 5-00000005 switch committed 0; }} >&2; exit 0"
        ),
        "",
    );
    for told in everywhere(&answer, &["web1", "switch"], 0, "switch", "") {
        let lines: Vec<&str> = told.stderr.lines().skip(1).take(10).collect();
        assert_eq!(
            lines,
            [
                "| ::error::x",
                "|   ::set-output name=a::b",
                "| \t::add-mask::a",
                "a ## [error]x ## [group]",
                "]52;c;aGk=x",
                "a::error::y",
                "| \u{a0}::warning::z",
                "std::path",
                "mx",
                "café"
            ]
        );
    }
}

#[test]
fn a_confirmation_is_given_when_the_job_asks_for_it_and_not_for_another_one() {
    let waits = |job| {
        format!(
            "echo 'nixgate: waiting 10 s for `confirm {job}` over a new connection; without it the old system returns'"
        )
    };
    let asks = format!("first 5-00000005 switch; {}; {}", waits("6-00000006"), waits("5-00000005"));
    let kept = "verdict 5-00000005 switch committed 0";
    let told = "*confirm*) sent; echo 'nixgate: confirm: told job' >&2; exit 0 ;;";
    let answer = taken(&format!("sent; {{ {asks}; {kept}; }} >&2; exit 0"), told);
    everywhere(
        &answer,
        &["web1", "switch"],
        0,
        "switch, confirm 5-00000005",
        "confirmed over a connection of its own",
    );
    everywhere(
        &answer,
        &["--no-confirm", "web1", "switch"],
        0,
        "switch",
        "nixgate-deploy web1 confirm 5-00000005",
    );
    // Once, also where the log comes a second time; and not for a job that is only watched.
    let again = taken(
        &format!("sent; {{ {asks}; }} >&2; exit 255"),
        &format!("{told}\n'1 attach 5-00000005') sent; {asks}; {kept} >&2; exit 0 ;;"),
    );
    everywhere(&again, &["web1", "switch"], 0, "switch, confirm 5-00000005, attach 5-00000005", "done");
    let watched = format!("case $ask in *attach*) sent; {asks}; {kept} >&2; exit 0 ;; esac; exit 99");
    everywhere(&watched, &["web1", "attach", "5-00000005"], 0, "attach 5-00000005", "done");
    // A log that asks for it again and again, before the job does, gets five refusals.
    let flood =
        format!("first 5-00000005 switch; for n in 1 2 3 4 5 6 7 8 9; do {}; done", waits("5-00000005"));
    let answer = taken(
        &format!("sent; {{ {flood}; verdict 5-00000005 switch reverted 22; }} >&2; exit 22"),
        "*confirm*) sent; echo 'nixgate: waits for none' >&2; exit 64 ;;",
    );
    let asked = format!("switch{}", ", confirm 5-00000005".repeat(5));
    everywhere(&answer, &["web1", "switch"], 22, &asked, "nixgate: waits for none");
}

#[test]
fn an_audit_log_that_lost_what_an_earlier_answer_named_stops_a_deploy_before_it_is_asked() {
    let hash = |letter: &str| letter.repeat(64);
    let [a, b, c] = ["a", "b", "c"].map(hash);
    let log = format!("10:{a} 20:{b}");
    let good = format!("21:{c} {log}");
    let cases = [
        (format!("10:{a}"), good.clone(), 0, "done"),
        (format!("20:{b}"), good.clone(), 0, "done"),
        (format!("0:{c}"), good.clone(), 0, "done"),
        (format!("22:{c}"), good.clone(), 1, "was cut: it ends at 21, and event 22 is missing"),
        (format!("9:{c}"), good.clone(), 1, "too old to be told from here"),
        (format!("20:{a}"), good.clone(), 1, "written anew: event 20 is another one"),
        (format!("15:{a}"), good.clone(), 1, "written anew: event 15"),
        (format!("10:{a}"), format!("21:{c}"), 1, "too old to be told from here"),
        (format!("10:{a}"), String::new(), 1, "too old for --expect-audit"),
    ];
    for (expected, status, code, said) in cases {
        let heads = if status.is_empty() { String::new() } else { format!("4-00000004 {status}") };
        let answer = format!(
            "case $ask in *status*) sent; status 4-00000004 {heads}; exit 0 ;; esac\n\
             sent; {{ first 5-00000005 switch; verdict 5-00000005 switch committed 0; }} >&2; exit 0"
        );
        let asked = if code == 0 { "switch" } else { "" };
        for told in everywhere(&answer, &["--expect-audit", &expected, "web1", "switch"], code, asked, said) {
            assert!(code == 0 || told.stdout.starts_with("result=not-asked\ncode=1\n"), "{told:#?}");
        }
    }
}

#[test]
fn a_client_that_is_told_to_end_ends_at_once_and_takes_its_ssh_with_it() {
    use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM};
    let waits = "case $ask in *status*) sent; status 4-00000004; exit 0 ;; esac\n\
                 echo $$ >$stand/pid; sent; mkfifo $stand/go; first 5-00000005 switch >&2; exec cat $stand/go";
    for shell in SHELLS {
        for (signal, code) in [(SIGHUP, 129), (SIGINT, 130), (SIGTERM, 143)] {
            let stand = Stand::new(waits);
            let mut command = deploy(shell, &stand.place, &["web1", "switch"]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut said = BufReader::new(child.stderr.take().unwrap());
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            assert!(line.starts_with("nixgate: job 5-00000005: switch by"), "{line}");
            let ssh: i32 = stand.place.text("pid").trim().parse().unwrap();
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), signal).unwrap();
            let mut rest = String::new();
            said.read_to_string(&mut rest).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(code), "{shell:?} {signal}: {rest}");
            assert!(rest.contains("job 5-00000005 goes on without us"), "{shell:?} {signal}: {rest}");
            // Its standard error was ours, too: at the end of that it is gone, or as good as.
            let gone =
                || fs::read_to_string(format!("/proc/{ssh}/comm")).map_or(true, |comm| comm.trim() != "cat");
            let until = Instant::now() + LIMIT;
            while !gone() {
                assert!(Instant::now() < until, "{shell:?} {signal}: its ssh lives on");
                std::thread::yield_now();
            }
            assert_eq!(stand.left(), 0, "{shell:?} {signal}");
        }
    }
}

// ---- with a real host -------------------------------------------------------------------------------------------------

/// A real host, and the files of a client.
struct Bench {
    host: Host,
    place: Place,
    versions: u32,
}

impl Bench {
    fn boot() -> Self {
        let host = Host::boot();
        // Killed sessions are no crashes: OpenSSH 10 would refuse the next callers for a while.
        host.root(
            "echo 'PerSourcePenalties no' >/etc/ssh/sshd_config.d/penalties.conf; systemctl reload ssh",
        );
        let place = Place::new();
        let bench = Self { place, versions: 0, host };
        bench.place.write("ssh_config", &bench.host.ssh_config());
        for name in ["ci", "other"] {
            fs::copy(bench.host.keys().join(name), bench.place.path(name)).unwrap();
        }
        fs::copy(bench.host.keys().join("known_hosts"), bench.place.path("known_hosts")).unwrap();
        bench
    }
    fn commit(&mut self, fault: Option<&str>) -> String {
        self.versions += 1;
        let commit = Commit::signed();
        let commit = fault.map_or(commit.clone(), |fault| commit.fault(fault));
        self.host.commit(&format!("v{}", self.versions), &commit)
    }
    fn command(&self, shell: &[&str], more: &[&str], request: &[&str]) -> Command {
        let text = |name: &str| self.place.path(name).display().to_string();
        let (config, known, key) = (text("ssh_config"), text("known_hosts"), text("ci"));
        let mut args = vec!["--ssh-config", &config, "--known-hosts", &known, "--key", &key];
        args.extend(["--keepalive", "1", "--connect-timeout", "3"]);
        args.extend(more);
        args.push("web1");
        args.extend(request);
        deploy(shell, &self.place, &args)
    }
    fn ask(&self, more: &[&str], request: &[&str]) -> Told {
        Told::of(&self.command(SHELLS[0], more, request).output().unwrap())
    }
    /// Job, result and code of what began behind this many events.
    fn jobs_since(&self, events: usize, answer: &Told) -> Vec<(String, String, String)> {
        let log = self.host.audit();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let new = &log[events..];
        let named = |event: &str| new.iter().filter(|e| e["event"] == event).collect::<Vec<_>>();
        let (accepted, ended) = (named("accepted"), named("ended"));
        assert_eq!(accepted.len(), ended.len(), "{answer:#?} {new:#?}");
        ended
            .iter()
            .map(|e| (text(&e["job"]), text(&e["detail"]["result"]), text(&e["detail"]["code"])))
            .collect()
    }
}

/// Splitmix: the same numbers for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 1).unwrap() % limit
    }
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// The server's process of the session is killed.
    Server,
    /// The client's ssh is killed.
    Client,
    /// Every packet of the client's connections is dropped, for this long.
    Packets(Duration),
}

impl Cut {
    fn make(self, bench: &Bench, script: u32) {
        match self {
            Self::Server => drop(bench.host.root_output(
                "kill -KILL $(ss -tnpH 'sport = :22 and dst 127.0.0.2' | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u)",
            )),
            Self::Client => children(script, "ssh").iter().for_each(|pid| {
                let _ = nix::sys::signal::kill(*pid, nix::sys::signal::Signal::SIGKILL);
            }),
            Self::Packets(time) => {
                let rules = "add table ip cut; add chain ip cut lost { type filter hook output priority 0; }; \
                             add rule ip cut lost ip saddr 127.0.0.2 drop; add rule ip cut lost ip daddr 127.0.0.2 drop";
                bench.host.network(&["nft", rules]);
                std::thread::sleep(time); // the outage itself
                bench.host.network(&["nft", "delete table ip cut"]);
            }
        }
    }
}

fn children(of: u32, name: &str) -> Vec<nix::unistd::Pid> {
    let stat = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let all =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let ours = all.filter(|pid| {
        let stat = stat(pid);
        let parent =
            stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).unwrap_or_default().to_owned();
        stat.contains(&format!("({name})")) && parent == of.to_string()
    });
    ours.filter_map(|pid| pid.parse().ok()).map(nix::unistd::Pid::from_raw).collect()
}

/// Verb, fault of the commit, how many lines it tells at least, and the code: `None` where it depends on what was before.
const SCENES: [(&str, Option<&str>, usize, Option<i32>); 6] = [
    ("switch", None, 36, Some(0)),
    ("switch", Some("exit-2"), 28, Some(20)),
    ("switch", Some("health-bad"), 36, Some(21)),
    ("test", None, 36, Some(0)), // has to be confirmed
    ("fetch", None, 10, Some(0)),
    ("rollback", None, 24, None),
];

/// `NIXGATE_CUTS` cuts (12), of `NIXGATE_SEED`.
#[test]
fn whatever_is_cut_the_answer_is_that_of_the_job() {
    let number = |name: &str, or| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(or);
    let (cuts, seed) = (number("NIXGATE_CUTS", 12), number("NIXGATE_SEED", 20_261_121));
    eprintln!("{cuts} cuts, seed {seed}");
    let mut chance = Chance(seed);
    let mut bench = Bench::boot();
    bench.host.config_edit_only("confirm = \"10s\"", "confirm = \"60s\"");
    bench.host.config_edit("mode = \"health\"", "mode = \"health\"\ntest = \"required\"");
    for _ in 0..2 {
        bench.commit(None);
        bench.ask(&[], &["switch"]).is(0, "");
    }
    let (mut not_asked, mut came_back, mut kinds) = (0, 0, BTreeSet::new());
    for n in 1..=cuts {
        if n == cuts / 2 + 1 {
            // Without a table of keys a request whose session has died is nobody's and is taken; with one it is refused.
            let key = bench.host.root("ssh-keygen -lf /root/keys/ci.pub | cut -d' ' -f2");
            let verbs = "\"fetch\", \"switch\", \"test\", \"rollback\", \"confirm\", \"attach\", \"status\"";
            let table = format!("[[access]]\nname = \"ci\"\nkey = \"{key}\"\nverbs = [{verbs}]\n\n[[check]]");
            bench.host.config_edit_only("[[check]]", &table);
        }
        let (verb, fault, lines, code) = SCENES[chance.below(SCENES.len())];
        let (line, then) = (chance.below(lines), Duration::from_millis(chance.below(300) as u64));
        let shell = SHELLS[chance.below(SHELLS.len())];
        let cut = match chance.below(8) {
            0..=2 => Cut::Server,
            3..=5 => Cut::Client,
            _ => Cut::Packets(Duration::from_millis(2000 + chance.below(3000) as u64)),
        };
        let commit = if verb == "rollback" { String::new() } else { bench.commit(fault) };
        let request: Vec<&str> = [verb, &commit].into_iter().filter(|word| !word.is_empty()).collect();
        let (before, since) = (bench.host.audit().len(), Instant::now());
        let child = bench
            .command(shell, &[], &request)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let script = child.id();
        let answer = std::thread::scope(|scope| {
            let (told, lines) = std::sync::mpsc::channel();
            let answer = scope.spawn(|| ended(child, told));
            // So many lines, or all that it tells.
            (0..line).map_while(|_| lines.recv().ok()).for_each(drop);
            std::thread::sleep(then); // at random: that is the test
            cut.make(&bench, script);
            answer.join().unwrap()
        });
        let jobs = bench.jobs_since(before, &answer);
        let took = since.elapsed().as_millis();
        let what = format!(
            "cut {n}: {verb} {fault:?} {shell:?} {cut:?} {then:?} behind line {line}, {took} ms: {} {jobs:?}",
            answer.code
        );
        eprintln!("{what}");
        if verb == "rollback" && jobs.is_empty() {
            // Of two that would go back twice neither is asked, and that is said.
            answer.is(255, "two would go back twice");
            not_asked += 1;
            continue;
        }
        let [(job, result, ended_with)] = &jobs[..] else { panic!("not one job: {what} {answer:#?}") };
        assert_eq!(answer.value("job"), Some(job.as_str()), "{what} {answer:#?}");
        assert_eq!(answer.value("result"), Some(result.as_str()), "{what} {answer:#?}");
        assert_eq!(answer.code.to_string(), *ended_with, "{what} {answer:#?}");
        assert!(code.is_none_or(|code| code == answer.code), "{what} {answer:#?}");
        kinds.insert(answer.code);
        came_back += usize::from(
            answer.stderr.contains("coming back for job") || answer.stderr.contains("looking whether"),
        );
    }
    eprintln!(
        "{cuts} of {cuts} right: {came_back} came back, {not_asked} were rollbacks that did not arrive and are not repeated"
    );
    assert!(came_back * 4 > usize::try_from(cuts).unwrap(), "the cuts meet something");
    assert!(kinds.len() > 1, "more than one end: {kinds:?}");
    assert_eq!(fs::read_dir(bench.place.path("tmp")).unwrap().count(), 0, "no file is left behind");
}

/// Awaits a client, but not for ever, and tells of each line as it comes.
fn ended(mut child: Child, told: std::sync::mpsc::Sender<()>) -> Told {
    let (done, watched) = std::sync::mpsc::channel::<()>();
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let watchman = std::thread::spawn(move || {
        if watched.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    });
    let (mut out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = std::thread::spawn(move || {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut out, &mut text).unwrap();
        text
    });
    let mut stderr = Vec::new();
    let mut err = std::io::BufReader::new(err);
    while std::io::BufRead::read_until(&mut err, b'\n', &mut stderr).unwrap() > 0 {
        let _ = told.send(()); // who listens for fewer lines has gone
    }
    drop(told);
    let stdout = read.join().unwrap();
    let status = child.wait().unwrap();
    drop(done);
    watchman.join().unwrap();
    Told::of(&std::process::Output { status, stdout, stderr })
}
