//! The gate as a program: every start form, every hostile request, every answer of the job.
//!
//! Needs root: each test has a mount namespace of its own with an empty `/run` and `/dev`, in which it plays the
//! job service and the system's log, and starts the gate as an account that is nobody else's.
#![cfg(feature = "host")] // for serde_json
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod attacks;

use attacks::{Row, corpus};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nixgate::act::channel;
use nixgate::decide::answer::{Code, Packet};
use nixgate::decide::claim::{self, Claim};
use nixgate::decide::identity;
use nixgate::decide::request::{Malformed, Request};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const NOBODY: u32 = 65534;
const GATE: &str = "/run/gate";
const JOB: &str = "/run/nixgate/job.sock";
const CONTROL: &str = "/run/nixgate/control.sock";
const AUTH_INFO: &str = include_str!("data/auth-info");
/// Longer than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

// ---- what the requests are ----

#[test]
fn every_hostile_request_is_parsed_as_its_row_says() {
    let rows = corpus();
    assert!(rows.len() > 1800);
    for Row { id, bytes, expect } in rows {
        let parsed = Request::parse(&bytes);
        match expect.as_str() {
            "allow" => assert_eq!(parsed.map(|r| r.to_string().into_bytes()), Ok(bytes), "{id}"),
            "probe" => assert_eq!(parsed, Ok(Request::True), "{id}"),
            "usage" => assert_eq!(parsed, Err(Malformed::Empty), "{id}"),
            "deny" => assert!(parsed.is_err(), "{id}"),
            other => panic!("{id}: {other}"),
        }
    }
}

#[test]
fn every_hostile_request_is_answered_by_its_code_and_logged_in_one_line() {
    let log = sandbox();
    for Row { id, bytes, expect } in corpus().iter().filter(|row| !row.bytes.contains(&0)) {
        let request = OsStr::from_bytes(bytes);
        for command in [gate().env("SSH_ORIGINAL_COMMAND", request), gate().arg("-c").arg(request)] {
            let output = run(command);
            // 69: it went past the parser, and there is no job service here.
            let code = match expect.as_str() {
                "allow" => Code::Unreachable,
                "probe" => Code::Done,
                _ => Code::Malformed,
            };
            assert_eq!(output.status.code(), Some(code.number().into()), "{id}");
            assert!(output.stdout.is_empty(), "{id}");
            assert_eq!(output.stderr.is_empty(), expect == "probe", "{id}");
            assert!(output.stderr.iter().all(|b| matches!(b, 0x20..=0x7e | b'\n')), "{id}");
            let lines = logged(&log);
            assert_eq!(lines.len(), 1, "{id}: {lines:?}");
            let printable = lines[0].bytes().all(|b| matches!(b, 0x20..=0x7e));
            assert!(printable && lines[0].len() <= 512, "{id}: {}", lines[0]);
            assert!(lines[0].contains(">nixgate["), "{id}: {}", lines[0]);
        }
    }
}

#[test]
fn a_request_of_more_than_128_kib_is_refused() {
    let log = sandbox();
    let request = "A".repeat(131_050);
    let output = run(gate().env("SSH_ORIGINAL_COMMAND", &request));
    assert_eq!(output.status.code(), Some(64));
    let request = "A".repeat(131_071);
    assert_eq!(run(gate().arg("-c").arg(&request)).status.code(), Some(64));
    let lines = logged(&log);
    assert_eq!(lines.len(), 2);
    assert!(lines[1].contains(" length=131071 sha256="), "{}", lines[1]);
}

// ---- how it is started ----

#[test]
fn nothing_and_interactive_logins_get_the_usage_text_and_never_a_shell() {
    let log = sandbox();
    for command in [
        gate().arg("-l"),
        gate().arg0("-nixgate"),
        &mut gate(),
        gate().env("SSH_ORIGINAL_COMMAND", ""),
        gate().args(["-c", ""]),
        gate().args(["-c", "/usr/bin/nixgate"]),
    ] {
        let output = run(command);
        assert_eq!(output.status.code(), Some(64));
        assert!(String::from_utf8(output.stderr).unwrap().contains("rollback [GENERATION]"));
        assert!(logged(&log)[0].contains("verdict=usage"));
    }
}

#[test]
fn argv_decides_and_an_injected_original_command_is_ignored_and_logged() {
    let log = sandbox();
    let rc = "/bin/sh /home/deploy/.ssh/rc";
    let output = run(gate().args(["-c", rc]).env("SSH_ORIGINAL_COMMAND", "switch"));
    assert_eq!(output.status.code(), Some(64));
    let line = logged(&log).remove(0);
    assert!(line.contains("verdict=refused") && line.contains("original-command=ignored"), "{line}");
    let output = run(gate().args(["-c", "true"]).env("SSH_ORIGINAL_COMMAND", "switch"));
    assert_eq!(output.status.code(), Some(0));
    let output =
        run(gate().args(["-c", "/run/current-system/sw/bin/nixgate"]).env("SSH_ORIGINAL_COMMAND", "true"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_empty_argument_vector_and_unknown_forms_are_refused() {
    let log = sandbox();
    // Linux makes an empty vector one empty argument.
    let forms =
        [gate().arg0(""), gate().arg0("").args(["-c", "true"]), gate().arg("true"), gate().arg("--help")]
            .map(|command| run(command.env("SSH_ORIGINAL_COMMAND", "true")).status.code());
    assert_eq!(forms, [Some(64); 4]);
    assert!(logged(&log).iter().all(|line| line.contains("unknown way to start")));
}

#[test]
fn as_root_it_refuses_and_says_the_mend() {
    let log = sandbox();
    let output = run(Command::new(GATE).env_clear().env("SSH_ORIGINAL_COMMAND", "true"));
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("runs as root") && text.contains("account deploy"), "{text}");
    assert!(logged(&log)[0].contains("verdict=misconfigured reason=\"it runs as root\""));
}

#[test]
fn with_a_second_identity_or_any_capability_it_refuses() {
    let log = sandbox();
    let plain = "--reuid=65534 --regid=65534 --clear-groups --inh-caps=-all";
    for (rights, code) in [
        (plain.to_owned(), 0),
        (format!("{plain},+net_raw"), 0), // inheritable only: what container managers do, and nothing without exec
        (format!("{plain},+net_raw --ambient-caps=+net_raw"), 78),
        (plain.replace("--reuid", "--ruid") + " --euid=65533", 78),
        (plain.replace("--regid", "--rgid") + " --egid=65533", 78),
    ] {
        let output = run(Command::new("setpriv").args(rights.split(' ')).args([GATE, "-c", "true"]));
        assert_eq!(output.status.code(), Some(code), "{rights}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(logged(&log).len(), 1);
    }
}

#[test]
fn closed_descriptors_limits_and_ignored_signals_change_nothing() {
    let log = sandbox();
    for before in [
        "exec <&- >&- 2>&-",
        "exec <&-",
        "ulimit -f 0; exec 2>/run/scratch/file",
        "ulimit -c unlimited; ulimit -n 16",
        "trap '' CHLD HUP PIPE TERM ALRM",
        "umask 0; cd /run/scratch; exec 7</etc/passwd",
    ] {
        let mut shell = as_nobody("/bin/sh");
        let output = run(shell.arg("-c").arg(format!("{before}; exec {GATE} -c 'rm -rf /'")));
        assert_eq!(output.status.code(), Some(64), "{before}");
        assert_eq!(logged(&log).len(), 1, "{before}");
    }
}

#[test]
fn a_missing_or_stuck_log_does_not_hold_up_a_caller() {
    let log = sandbox();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", "/dev/log").is_ok() {}
    let begin = Instant::now();
    assert_eq!(run(gate().args(["-c", "true"])).status.code(), Some(0));
    assert!(begin.elapsed() < PATIENCE, "it waited for the log");
    drop(log);
    fs::remove_file("/run/nixgate/log").unwrap();
    assert_eq!(run(gate().args(["-c", "true"])).status.code(), Some(0));
}

/// A list of what a start may open, connect to and run, after the loader is done.
#[test]
fn it_never_forks_or_execs_and_opens_only_what_it_must() {
    let _log = sandbox();
    if Command::new("strace").arg("-V").output().is_err() {
        return eprintln!("strace is not installed: nothing was looked at");
    }
    auth_info("/run/scratch/auth", AUTH_INFO.as_bytes());
    let output = run(Command::new("strace")
        .args(["-f", "-o", "/run/trace", "-e", "trace=%process,%file,%network"])
        .args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", GATE])
        .env("SSH_USER_AUTH", "/run/scratch/auth")
        .env("SSH_ORIGINAL_COMMAND", "switch"));
    assert_eq!(output.status.code(), Some(69), "{}", String::from_utf8_lossy(&output.stderr));
    let trace = fs::read_to_string("/run/trace").unwrap();
    let own = &trace[trace.find("\"/proc/self/fd\"").expect("the gate's first open")..];
    let calls: Vec<_> = own
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(' ').map(|(_, call)| call.trim_start()))
        .filter(|call| {
            ["open", "connect", "exec", "clone", "fork", "vfork"].iter().any(|name| call.starts_with(name))
        })
        .map(|call| call.split('"').nth(1).unwrap_or(call))
        .collect();
    assert_eq!(calls, ["/run/scratch/auth", "/dev/log", JOB], "{own}");
}

// ---- what the job is told ----

#[test]
fn the_job_gets_the_request_and_the_identity_that_sshd_vouches_for() {
    let log = sandbox();
    auth_info("/run/scratch/auth", AUTH_INFO.as_bytes());
    let job = service(JOB);
    let start = gate()
        .env("SSH_ORIGINAL_COMMAND", "switch")
        .env("SSH_USER_AUTH", "/run/scratch/auth")
        .env("SSH_CONNECTION", "192.0.2.7 51234 192.0.2.1 22")
        .spawn()
        .unwrap();
    let (request, claim, channel) = hello(&job);
    channel::send(&channel, &Packet::Exit(0).render()).unwrap();
    assert_eq!(start.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(request, b"switch");
    assert_eq!(claim.proofs, identity::proofs(AUTH_INFO.as_bytes()).read);
    assert_eq!(claim.address.unwrap().as_str(), "192.0.2.7:51234");
    let line = logged(&log).remove(0);
    assert!(line.contains("verdict=passed") && line.contains("address=192.0.2.7:51234"), "{line}");
    assert!(line.contains("identity=SHA256:6tRWKFnKMvLArzK+wMQ8EEy9X+RdwZKf8WMT0IbDdEs"), "{line}");
}

#[test]
fn an_auth_info_file_that_is_not_from_sshd_proves_nothing() {
    let _log = sandbox();
    let job = service(JOB);
    auth_info("/run/scratch/good", AUTH_INFO.as_bytes());
    symlink("/run/scratch/good", "/run/scratch/link").unwrap();
    auth_info("/run/scratch/readable", AUTH_INFO.as_bytes());
    fs::set_permissions("/run/scratch/readable", Permissions::from_mode(0o644)).unwrap();
    auth_info("/run/scratch/roots", AUTH_INFO.as_bytes());
    chown("/run/scratch/roots", Some(0), Some(0)).unwrap();
    auth_info("/run/scratch/large", AUTH_INFO.repeat(100).as_bytes());
    nix::unistd::mkfifo("/run/scratch/fifo", nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    chown("/run/scratch/fifo", Some(NOBODY), Some(NOBODY)).unwrap();
    auth_info("/run/scratch/broken", b"publickey ssh-ed25519 AAAA\npublickey \xff\n\x00\n");
    let other = ["link", "readable", "roots", "large", "fifo", "broken", "missing", ".", ""];
    let forced = other.map(|name| (vec![], format!("/run/scratch/{name}")));
    // As a mere login shell: Tailscale SSH lets a client upload a file and set the variable.
    let shell = (vec!["-c", "switch"], "/run/scratch/good".to_owned());
    for (arguments, file) in forced.into_iter().chain([shell]) {
        let start = gate()
            .args(arguments)
            .env("SSH_ORIGINAL_COMMAND", "switch")
            .env("SSH_USER_AUTH", &file)
            .spawn()
            .unwrap();
        let (_, claim, channel) = hello(&job);
        channel::send(&channel, &Packet::Exit(0).render()).unwrap();
        assert_eq!(start.wait_with_output().unwrap().status.code(), Some(0));
        assert_eq!(claim, Claim::default(), "{file}");
    }
}

#[test]
fn what_decides_a_trial_has_a_socket_of_its_own() {
    let _log = sandbox();
    let (job, control) = (service(JOB), service(CONTROL));
    for (request, listener) in [
        ("confirm 12-0a1b2c3d", &control),
        ("cancel", &control),
        ("status --json", &control),
        ("attach", &job),
        ("rollback 7", &job),
        ("fetch", &job),
    ] {
        let start = gate().args(["-c", request]).spawn().unwrap();
        let (asked, _, channel) = hello(listener);
        channel::send(&channel, &Packet::Exit(0).render()).unwrap();
        assert_eq!(start.wait_with_output().unwrap().status.code(), Some(0));
        assert_eq!(asked, request.as_bytes());
    }
}

// ---- what the caller gets ----

#[test]
fn the_answer_arrives_on_its_streams_without_escapes_and_with_its_code() {
    let _log = sandbox();
    let output = answered(&[
        Packet::Err(b"building \x1b[31m\xe2\x80"),
        Packet::Out(b"{}\n"),
        Packet::Err(b"\x98x\xe2\x80\x99\x07\r\n"),
        Packet::Err(&[b'z'; 32 * 1024 - 1]),
        Packet::Exit(21),
    ]);
    assert_eq!(output.status.code(), Some(21));
    assert_eq!(output.stdout, b"{}\n");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.trim_end_matches('z'), "building [31m‘x’\n");
    assert_eq!(text.len() - text.trim_end_matches('z').len(), 32 * 1024 - 1);
}

#[test]
fn an_end_without_verdict_or_a_strange_packet_is_70_and_says_what_to_do() {
    let _log = sandbox();
    for packets in [&[][..], &[Packet::Err(b"log\n")]] {
        let output = answered(packets);
        assert_eq!(output.status.code(), Some(70));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("status") && text.contains("attach"), "{text}");
    }
    fs::remove_file(JOB).unwrap();
    let job = service(JOB);
    for strange in [&b"?"[..], b"x", b"x12", &[b'e'; 32 * 1024 + 1]] {
        let start = gate().args(["-c", "switch"]).spawn().unwrap();
        let (.., channel) = hello(&job);
        channel::send(&channel, strange).unwrap();
        assert_eq!(start.wait_with_output().unwrap().status.code(), Some(70));
    }
}

#[test]
fn without_a_job_service_it_is_69_and_says_where_to_look() {
    let _log = sandbox();
    let output = run(gate().args(["-c", "switch"]));
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8(output.stderr).unwrap().contains("systemctl status nixgate.socket"));
}

#[test]
fn a_caller_who_left_keeps_no_process_though_the_job_is_silent() {
    let _log = sandbox();
    let job = service(JOB);
    let mut start = gate().args(["-c", "switch"]).spawn().unwrap();
    let (.., channel) = hello(&job);
    channel::send(&channel, &Packet::Err(b"first line\n").render()).unwrap();
    let mut first = [0; 11];
    start.stderr.as_mut().unwrap().read_exact(&mut first).unwrap();
    drop((start.stdout.take(), start.stderr.take()));
    assert!(!finished(&mut start).success());
    let mut buffer = [0; 16];
    assert_eq!(channel::receive_within(&channel, &mut buffer, PATIENCE), Err(channel::ChannelError::Closed));
}

#[test]
fn one_lost_stream_does_not_end_the_other() {
    let _log = sandbox();
    let job = service(JOB);
    let mut start = gate().args(["-c", "attach"]).spawn().unwrap();
    let (.., channel) = hello(&job);
    drop(start.stdout.take());
    for packet in [Packet::Out(b"nobody reads this"), Packet::Err(b"but this\n"), Packet::Exit(5)] {
        channel::send(&channel, &packet.render()).unwrap();
    }
    let output = start.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(5), &b"but this\n"[..]));
}

// ---- the stage ----

/// A mount namespace for this thread and what it starts; gone when the thread ends. Returns `/dev/log`.
fn sandbox() -> UnixDatagram {
    unshare(CloneFlags::CLONE_NEWNS).expect("these tests need root");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("none"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).unwrap();
    for (directory, mode) in [("/run/nixgate", 0o755), ("/run/scratch", 0o1777), ("/run/dev", 0o755)] {
        fs::create_dir(directory).unwrap();
        fs::set_permissions(directory, Permissions::from_mode(mode)).unwrap();
    }
    for (from, to) in [(env!("CARGO_BIN_EXE_nixgate"), GATE), ("/dev/null", "/run/dev/null")] {
        fs::write(to, "").unwrap();
        mount(Some(from), to, none, MsFlags::MS_BIND, none).unwrap();
    }
    symlink("/run/nixgate/log", "/run/dev/log").unwrap();
    mount(Some("/run/dev"), "/dev", none, MsFlags::MS_BIND | MsFlags::MS_REC, none).unwrap();
    // Containers may start with inheritable capabilities, which a change of uid keeps.
    caps::clear(None, caps::CapSet::Inheritable).unwrap();
    let log = UnixDatagram::bind("/run/nixgate/log").unwrap();
    fs::set_permissions("/run/nixgate/log", Permissions::from_mode(0o666)).unwrap();
    log.set_nonblocking(true).unwrap();
    log
}

fn logged(log: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 2048];
    std::iter::from_fn(|| {
        log.recv(&mut buffer).ok().map(|n| String::from_utf8(buffer[..n].to_vec()).unwrap())
    })
    .collect()
}

fn as_nobody(program: &str) -> Command {
    let mut command = Command::new(program);
    command.uid(NOBODY).gid(NOBODY).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn gate() -> Command {
    as_nobody(GATE)
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn finished(child: &mut std::process::Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status,
            None if Instant::now() > deadline => panic!("still there"),
            None => thread::yield_now(),
        }
    }
}

/// Written as sshd does it: by the account, for the account alone.
fn auth_info(path: &str, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

/// std knows no SOCK_SEQPACKET, but accepts on whatever listens.
fn service(path: &str) -> UnixListener {
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
    listen(&listener, Backlog::new(8).unwrap()).unwrap();
    listener.into()
}

/// Takes one connection and its hello.
fn hello(listener: &UnixListener) -> (Vec<u8>, Claim, OwnedFd) {
    let channel = OwnedFd::from(listener.accept().unwrap().0);
    let mut buffer = vec![0; claim::MAX_HELLO + 1];
    let packet = channel::receive_within(&channel, &mut buffer, PATIENCE).unwrap();
    let (request, claim) = claim::parse(packet).unwrap();
    (request, claim, channel)
}

/// What a caller of `switch` gets when the job sends these packets and goes.
fn answered(packets: &[Packet<'_>]) -> Output {
    let _ = fs::remove_file(JOB);
    let job = service(JOB);
    let start = gate().args(["-c", "switch"]).spawn().unwrap();
    let (.., channel) = hello(&job);
    for packet in packets {
        channel::send(&channel, &packet.render()).unwrap();
    }
    drop(channel);
    start.wait_with_output().unwrap()
}
