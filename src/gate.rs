//! The gate: what sshd starts instead of a shell. It reads no configuration, writes no file, never forks and
//! never execs. This page is all that it does, in order.

use crate::act::channel;
use crate::act::client::{Client, Wake};
use crate::act::syslog::{self, Severity};
use crate::act::{authinfo, kernel};
use crate::decide::answer::{Code, MAX_PACKET, Packet};
use crate::decide::claim::{self, Claim, Text};
use crate::decide::identity::{self, Proofs};
use crate::decide::request::{Request, Verb};
use crate::decide::start::{self, Channel, Start};
use crate::decide::verdict::{self, Answer, Seen, Verdict};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const JOB: &str = "/run/nixgate/job.sock";
/// For what decides a trial, so that stalled followers on the other socket never shut it out.
const CONTROL: &str = "/run/nixgate/control.sock";
/// How long a service that does not accept is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn run() -> ExitCode {
    // 1. Give up every right that is not needed, before a byte of the caller's is looked at.
    let fit = kernel::harden();

    // 2. How was it started, and what is asked? Bytes: neither argv nor the environment need be UTF-8.
    let argv: Vec<OsString> = std::env::args_os().collect();
    let argv: Vec<&[u8]> = argv.iter().map(|word| word.as_bytes()).collect();
    let original = std::env::var_os("SSH_ORIGINAL_COMMAND");
    let (start, injected) = start::read(&argv, original.as_deref().map(OsStrExt::as_bytes));
    let verdict = match fit {
        Ok(()) => Verdict::on(start),
        Err(unfit) => Verdict::Answered(Answer::Misconfigured(unfit.to_string())),
    };

    // 3. Who asks?
    let Proofs { read, ignored } = proofs(start, &verdict);
    let claim = Claim { address: address(), proofs: read };

    // 4. One line, whatever comes next.
    let arguments = argv.get(1..).unwrap_or_default().join(&b' ');
    let bytes = match start {
        Start::Request { bytes, .. } => bytes,
        Start::Interactive | Start::Unknown => &arguments,
    };
    let seen = Seen { start, injected, claim: &claim, ignored_lines: ignored, bytes };
    syslog::log("nixgate", severity(&verdict), &verdict::line(&verdict, &seen));

    // 5. Answer, or let the job answer.
    let mut client = Client::default();
    match verdict {
        Verdict::Passed(request) => ask(&request, &claim, &mut client),
        Verdict::Answered(answer) => end(&mut client, answer.code(), &answer.text()),
    }
}

/// Only sshd's ForceCommand comes with an environment that sshd wrote. With the gate as a mere login shell the
/// variable may be the client's, and so may the file (Tailscale SSH lets it upload one).
fn proofs(start: Start<'_>, verdict: &Verdict) -> Proofs {
    match (start, verdict) {
        (_, Verdict::Answered(Answer::Misconfigured(_))) => Proofs::default(),
        (Start::Request { channel: Channel::Forced, .. }, _) => std::env::var_os("SSH_USER_AUTH")
            .and_then(|path| authinfo::read(Path::new(&path)))
            .map_or_else(Proofs::default, |file| identity::proofs(&file)),
        _ => Proofs::default(),
    }
}

fn address() -> Option<Text> {
    let connection = std::env::var_os("SSH_CONNECTION").or_else(|| std::env::var_os("SSH_CLIENT"))?;
    identity::address(connection.as_bytes())
}

fn severity(verdict: &Verdict) -> Severity {
    match verdict {
        Verdict::Passed(_) | Verdict::Answered(Answer::Probe | Answer::Usage) => Severity::LOG_INFO,
        Verdict::Answered(Answer::Malformed(_) | Answer::UnknownStart) => Severity::LOG_WARNING,
        Verdict::Answered(Answer::Misconfigured(_)) => Severity::LOG_ERR,
    }
}

/// Hands request and claim to the job and copies what it says, until it says its exit code.
fn ask(request: &Request, claim: &Claim, client: &mut Client) -> ExitCode {
    let path = match request.verb() {
        Some(Verb::Confirm | Verb::Cancel | Verb::Status) => CONTROL,
        _ => JOB,
    };
    let hello = claim::render(request, claim);
    let sent = channel::connect(Path::new(path), PATIENCE)
        .and_then(|job| channel::send(&job, hello.as_bytes()).map(|()| job));
    let Ok(job) = sent else { return end(client, Code::Unreachable, UNREACHABLE) };
    let mut buffer = vec![0; MAX_PACKET];
    let mut silence = NOT_A_WORD;
    loop {
        if client.wait(&job) == Wake::ClientGone {
            return ExitCode::FAILURE; // nobody is there to see it; the job goes on
        }
        match channel::receive(&job, &mut buffer).map(Packet::parse) {
            Ok(Some(Packet::Out(bytes))) => client.out(bytes),
            Ok(Some(Packet::Err(bytes))) => client.err(bytes),
            Ok(Some(Packet::Exit(code))) => return ExitCode::from(code),
            Ok(None) => return end(client, Code::Internal, STRANGE),
            Err(_) => return end(client, Code::Internal, silence),
        }
        silence = NO_VERDICT;
    }
}

fn end(client: &mut Client, code: Code, text: &str) -> ExitCode {
    client.err(text.as_bytes());
    code.into()
}

const UNREACHABLE: &str = "nixgate: job service not reachable. Nothing was done.\n\
    nixgate: on the host: systemctl status nixgate.socket nixgate-control.socket\n";
const NOT_A_WORD: &str = "nixgate: the job service hung up before its first word: too many callers at once, or it cannot start.\n\
    nixgate: ask for status: it says whether a job runs; attach follows it.\n";
const NO_VERDICT: &str = "nixgate: the connection to the job ended without a verdict; the job may still be running.\n\
    nixgate: ask for status, then for attach: it gives the log, the verdict and the exit code.\n";
const STRANGE: &str = "nixgate: the job service speaks another version of the protocol; the job may still be running.\n\
    nixgate: install gate and job of the same release; ask for status to see where the host stands.\n";
