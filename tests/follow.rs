//! Who follows a job, and does not read: nobody else waits for it, and nothing is lost.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod host;

use host::{Commit, Host, LIMIT};
use std::time::{Duration, Instant};

/// How many callers of the socket stall, beside those of ssh: with one more deploy, all places but one.
const STALLED: usize = 60;

/// A caller who makes no room for a packet in this time is not followed up any more.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// Callers as account deploy that each follow a job for one packet, and read no further.
fn stall(host: &Host, job: &str) {
    host.write(
        "/root/stall",
        &format!(
            "use Socket; $| = 1;\n\
             for (1..{STALLED}) {{\n\
                 socket(my $s, AF_UNIX, SOCK_SEQPACKET, 0) or die; connect($s, sockaddr_un('/run/nixgate/job.sock')) or die;\n\
                 syswrite($s, \"nixgate 1\\nrequest attach {job}\\n\") or die; sysread($s, my $b, 40000) or die;\n\
                 substr($b, 0, 1) eq 'o' or die $b; push @all, $s;\n\
             }}\n\
             print \"following\\n\"; sleep\n"
        ),
    );
    host.root("systemd-run --quiet --unit=stalled --uid=deploy --property=StandardInput=file:/root/stall --property=StandardOutput=file:/run/stalled perl");
    host.await_line("/run/stalled", "following", LIMIT);
}

#[test]
fn followers_that_stall_hold_up_nobody_and_lose_nothing() {
    let host = Host::boot();
    // The flood takes as long as the machine needs for it.
    host.config_edit_only("activation = \"20s\"", "activation = \"100s\"");
    host.config_edit_only("confirm = \"10s\"", "confirm = \"100s\"");
    host.config_edit("mode = \"health\"", "mode = \"required\"");
    host.commit("v1", &Commit::signed().fault("flood").fault("wait"));
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("activating the configuration", LIMIT);
    // From the middle of the flood on it reads no more, as a terminal in which somebody has pressed Ctrl-S.
    client.freeze();
    let since = Instant::now();
    let job = host.root("sed -n 's/.*\"job\": \"\\(.*\\)\".*/\\1/p' /var/lib/nixgate/state.json");
    stall(&host, &job);

    // The job goes on, and what decides it gets through.
    host.go();
    host.await_root("grep -q '\"state\": \"healthy\"' /var/lib/nixgate/jobs/*/record", LIMIT);
    host.ssh(&["status"]).expect(0);
    host.ssh(&["confirm", &job]).expect(0);
    host.await_root("test -e /var/lib/nixgate/jobs/*/result", LIMIT);
    assert_eq!(host.version(), "v1");

    // The one that comes back has all that the log has, and so has one that comes later.
    let late = host.ssh(&["attach", &job]).expect(0);
    let away = since.elapsed();
    let back = client.wait();
    if back.code == 70 && away > GIVEN_UP {
        // On a machine that is busy with other things; then it is told who gives it the rest.
        assert!(
            back.stderr.contains("then for attach: it gives the log, the verdict and the exit code"),
            "{}",
            away.as_secs()
        );
    } else {
        assert_eq!((back.code, back.value("result")), (0, "committed"));
        assert_eq!(back.last_line, late.last_line);
        assert!(back.stderr.contains("\nnixgate: making it permanent\n"));
    }
    let text = &late.stdout;
    assert!(text.starts_with(&format!("nixgate: job {job}: switch by ")), "{}", &text[..200]);
    assert!(text.contains("\nnixgate: making it permanent\n"));
    let flood = text.lines().filter(|line| line.starts_with("a line of the flood")).count();
    // 64 MiB of it are kept, and 100 MB came.
    assert!(flood > 600_000, "{flood}");
    assert!(flood >= 1_000_000 || text.contains(" MiB of output left out here]\n"), "{flood}");
    host.root("systemctl stop stalled.service");
}
