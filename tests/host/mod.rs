//! A booted host for a test: `Host::boot()`, then real ssh. The container, its fixture system and the faults that a
//! commit can ask for are described in `tests/container/`.
//!
//! Needs root and the programs that `tests/container/host needs` names. `NIXGATE_BIN` is a directory with the three
//! programs (else they are built), `NIXGATE_HOSTS` how many hosts may be up at once, `NIXGATE_KEEP` keeps the host of a
//! failed test.
#![cfg(feature = "host")] // for serde_json
#![allow(
    dead_code, // each test program uses a part of it
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

pub mod job;
pub mod shared;

use nix::fcntl::{Flock, FlockArg};
use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/container/host");
const BUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/container/build");
/// Longer than any deploy with the limits of `tests/container/config.toml`; a test that reaches it has failed.
pub const LIMIT: Duration = Duration::from_secs(180);
/// How many hosts are up at once, over all test programs that run.
const HOSTS: usize = 3;

/// Where a host stands: the three names that a failed deploy must leave as they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triple {
    /// The system profile's link, such as `system-1-link`.
    pub profile: String,
    /// The store path behind `/run/current-system`.
    pub running: String,
    /// The boot default, such as `nixos-generation-1.conf`.
    pub boot: String,
}

/// What a client got.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The pairs of the last `nixgate: key=value …` line, if there is one.
    pub last_line: BTreeMap<String, String>,
    pub millis: u128,
}

impl Answer {
    fn new(output: &Output, since: Instant) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = stderr.lines().rev().find_map(|line| line.strip_prefix("nixgate: v=").map(|_| line));
        let pairs = last.unwrap_or_default().split(' ').filter_map(|word| word.split_once('='));
        Self {
            // ssh killed by a signal has no code; nothing else answers -1.
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            last_line: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            stderr,
            millis: since.elapsed().as_millis(),
        }
    }
    /// A value of the last line; the test fails, with all that was said, where it is missing.
    pub fn value(&self, key: &str) -> &str {
        self.last_line.get(key).unwrap_or_else(|| panic!("no {key} in the last line: {self:#?}"))
    }
    /// Fails the test with all that was said, unless the code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

/// How a commit is made. The default is signed by the trusted key and on top of `main`.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    words: Vec<String>,
}

impl Commit {
    pub fn signed() -> Self {
        Self::default()
    }
    pub fn unsigned() -> Self {
        Self::default().word("--unsigned", None)
    }
    pub fn unknown_key() -> Self {
        Self::default().word("--unknown-key", None)
    }
    /// A word of `tests/container/system/faults.md`; may be said several times.
    pub fn fault(self, fault: &str) -> Self {
        self.word("--fault", Some(fault))
    }
    pub fn branch(self, branch: &str) -> Self {
        self.word("--branch", Some(branch))
    }
    /// Another parent than the branch's head: a fork, or a branch that was forced back.
    pub fn parent(self, commit: &str) -> Self {
        self.word("--parent", Some(commit))
    }
    /// The configuration (a path inside the host) whose rendering this system brings, instead of the host's own.
    pub fn config(self, path: &str) -> Self {
        self.word("--config", Some(path))
    }
    /// A file of the commit, from a path inside the host.
    pub fn put(self, path: &str, from: &str) -> Self {
        self.word("--put", Some(path)).word(from, None)
    }
    fn word(mut self, option: &str, value: Option<&str>) -> Self {
        self.words.extend([Some(option), value].into_iter().flatten().map(str::to_owned));
        self
    }
}

/// One booted host. It is removed when this is dropped, also by a panic.
#[derive(Debug)]
pub struct Host {
    name: String,
    dir: PathBuf,
    _slot: Flock<File>,
}

impl Host {
    pub fn boot() -> Self {
        static PREPARED: OnceLock<String> = OnceLock::new();
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let prepared = PREPARED.get_or_init(|| {
            let bin = env::var("NIXGATE_BIN").unwrap_or_else(|_| line(&mut Command::new(BUILD), 1800));
            line(Command::new(SCRIPT).args(["prepare", &bin]), 600)
        });
        let slot = slot();
        let name = format!("t{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let owner = std::process::id().to_string();
        let host = Self { dir: cache().join("run").join(&name), name, _slot: slot };
        line(Command::new(SCRIPT).args(["boot", &host.name, "--from", prepared, "--owner", &owner]), 120);
        host
    }

    // ---- as a client ----

    /// ssh as `deploy` with the key `ci`.
    pub fn ssh(&self, request: &[&str]) -> Answer {
        self.ssh_as("ci", request)
    }
    /// With the key `ci`, `other`, `stranger` or a file.
    pub fn ssh_as(&self, key: &str, request: &[&str]) -> Answer {
        self.ssh_spawn(key, request).wait()
    }
    /// A client that runs, to be watched or killed.
    pub fn ssh_spawn(&self, key: &str, request: &[&str]) -> Client {
        let mut command = Command::new(SCRIPT);
        Client::start(command.args(["ssh", &self.name, "-i", key]).args(request))
    }

    // ---- as the operator ----

    /// A shell command as root inside; its standard output without the last newline. The test fails where it fails.
    #[track_caller]
    pub fn root(&self, command: &str) -> String {
        let output = self.root_output(command);
        assert!(output.status.success(), "{command}\n{}", said(&output));
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    }
    /// The same, whatever its exit code is.
    pub fn root_output(&self, command: &str) -> Output {
        run(Command::new(SCRIPT).args(["exec", &self.name, "--", "bash", "-c", command]), LIMIT.as_secs())
    }
    pub fn root_code(&self, command: &str) -> i32 {
        self.root_output(command).status.code().unwrap_or(-1)
    }
    /// Lets an activation with the fault `wait` go on.
    pub fn go(&self) {
        self.root("echo go >/run/demo-go");
    }
    /// Awaits that a shell condition holds. A condition has no event of its own, so it is asked again 20 times a second;
    /// prefer `await_line`, `Client::await_text` and `await_boot`.
    #[track_caller]
    pub fn await_root(&self, condition: &str, limit: Duration) {
        let seconds = limit.as_secs();
        let code = self.root_code(&format!(
            "exec {{tick}}<> <(:); end=$((SECONDS + {seconds})); \
             until {{ {condition}; }} >/dev/null 2>&1; do [ $SECONDS -le $end ] || exit 99; read -rt 0.05 -u $tick; done; true"
        ));
        assert_eq!(code, 0, "not true within {seconds} s: {condition}");
    }
    /// Awaits a line (extended regular expression) in a file that is being written, from its first byte.
    #[track_caller]
    pub fn await_line(&self, path: &str, pattern: &str, limit: Duration) {
        let seconds = limit.as_secs();
        let code = self.root_code(&format!(
            "coproc timeout {seconds} tail -n +1 -F {path} 2>/dev/null; pattern='{pattern}'; \
             while read -r line <&${{COPROC[0]}}; do [[ $line =~ $pattern ]] && kill $COPROC_PID && exit 0; done; exit 99"
        ));
        assert_eq!(code, 0, "no line {pattern} in {path} within {seconds} s");
    }
    /// A commit on the host's own forge, as if it had been pushed; its id.
    pub fn commit(&self, version: &str, commit: &Commit) -> String {
        line(Command::new(SCRIPT).args(["commit", &self.name, version]).args(&commit.words), 60)
    }
    /// The host's own forge as a remote of git on this machine, which needs `GIT_ALLOW_PROTOCOL=ext`. It lets everything be
    /// pushed, as a forge that was taken over would.
    pub fn forge(&self) -> String {
        let (cache, script) = (cache().display().to_string(), SCRIPT.replace(' ', "% "));
        // git may be started without our environment.
        let cache = cache.replace(' ', "% ");
        format!("ext::env NIXGATE_CACHE={cache} {script} exec {} -- %S /srv/git/infra.git", self.name)
    }
    /// Builds a commit as the operator would, without nixgate; the store path.
    pub fn realise(&self, commit: &str) -> String {
        self.root(&format!("/root/fixture/system/realise {commit} 2>/dev/null"))
    }
    pub fn triple(&self) -> Triple {
        let text = self.root(
            "readlink /nix/var/nix/profiles/system; readlink -f /run/current-system; \
             sed -n 's/^default //p' /boot/loader/loader.conf",
        );
        let mut lines = text.lines().map(str::to_owned);
        let mut next = || lines.next().unwrap_or_else(|| panic!("three lines, not {text:?}"));
        Triple { profile: next(), running: next(), boot: next() }
    }
    /// The version (first word of `commit`) of the running system.
    pub fn version(&self) -> String {
        self.root("cat /run/current-system/demo-version")
    }
    /// The records of the audit log, oldest first.
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let text = self.root("cat /var/lib/nixgate/audit/log.jsonl 2>/dev/null || true");
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
    pub fn write(&self, path: &str, text: &str) {
        let mut command = limited(
            Command::new(SCRIPT).args(["exec", &self.name, "--", "sh", "-c", "cat >\"$0\"", path]),
            LIMIT.as_secs(),
        );
        let mut child = command.stdin(Stdio::piped()).spawn().expect("host exec");
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "write {path}");
    }
    /// Replaces a text in `/etc/nixgate/config.toml` and does what an operator does then: commits it, builds that and
    /// switches to it, which makes a new generation of the same version. Before the first deploy of a test: later the
    /// operator's own commit would be a revision that nixgate has not made permanent.
    #[track_caller]
    pub fn config_edit(&self, from: &str, to: &str) {
        self.config_edit_only(from, to);
        self.root("/root/fixture/system/configure '' 2>&1");
    }
    /// Only the file: what the job reads, but neither units nor sudoers.
    #[track_caller]
    pub fn config_edit_only(&self, from: &str, to: &str) {
        let path = "/etc/nixgate/config.toml";
        let text = self.root(&format!("cat {path}"));
        assert!(text.contains(from), "no {from:?} in {text}");
        self.write(path, &format!("{}\n", text.replacen(from, to, 1)));
    }
    /// sudo-rs in the place of sudo.
    pub fn use_sudo_rs(&self) {
        self.root("ln -sf sudo-rs /usr/bin/sudo");
    }

    // ---- power ----

    /// Ends process 1 as a power cut would. What was written stays, also where it was not synced.
    pub fn power_cut(&self) {
        line(Command::new(SCRIPT).args(["power-cut", &self.name]), 60);
    }
    /// Boots it again, into what the boot loader names.
    pub fn start(&self) {
        line(Command::new(SCRIPT).args(["start", &self.name]), 120);
    }
    /// How often it was booted.
    pub fn boots(&self) -> u32 {
        fs::read_to_string(self.dir.join("boots")).unwrap().trim().parse().unwrap()
    }
    /// Awaits that it is up for the Nth time: after a reboot that it does by itself.
    pub fn await_boot(&self, n: u32) {
        line(Command::new(SCRIPT).args(["await-boot", &self.name, &n.to_string()]), 120);
    }
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Its process 1, as this machine numbers it.
    pub fn leader(&self) -> String {
        fs::read_to_string(self.dir.join("leader")).unwrap_or_default().trim().to_owned()
    }
    /// A path inside, as this machine reaches it while the host runs.
    pub fn outside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader()))
    }

    // ---- as a client of its own ----

    /// An entry of `~/.ssh/config` by which `web1` is this host, as of this boot. Its connections come from 127.0.0.2, so
    /// that they can be told from those that the host makes to itself.
    pub fn ssh_config(&self) -> String {
        let proxy = format!("nsenter -t {} -n socat - TCP:127.0.0.1:22,bind=127.0.0.2", self.leader());
        format!("Host web1\n  HostKeyAlias 127.0.0.1\n  ProxyCommand {proxy}\n")
    }
    /// The directory with the keys of clients and `known_hosts`.
    pub fn keys(&self) -> PathBuf {
        let prepared = fs::read_to_string(self.dir.join("prepared")).unwrap();
        Path::new(prepared.trim()).join("upper/root/keys")
    }
    /// A program in the host's network that is none of its own: what is needed of it comes from this machine.
    #[track_caller]
    pub fn network(&self, command: &[&str]) -> String {
        line(Command::new("nsenter").args(["-t", &self.leader(), "-n"]).args(command), 20)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- console of {}\n{}", self.name, tail(&self.dir.join("log"), 20));
            let journal = self.root_output("journalctl --no-pager -b -n 60 2>&1");
            eprintln!("--- journal of {}\n{}", self.name, said(&journal));
            if env::var_os("NIXGATE_KEEP").is_some() {
                eprintln!("--- kept: tests/container/host exec {} -- bash", self.name);
                return;
            }
        }
        let output = run(Command::new(SCRIPT).args(["rm", &self.name]), 60);
        if !output.status.success() {
            eprintln!("{}", said(&output));
        }
    }
}

/// An ssh client that runs.
#[derive(Debug)]
pub struct Client {
    child: Child,
    since: Instant,
    stderr: Arc<(Mutex<Heard>, Condvar)>,
    readers: [JoinHandle<Vec<u8>>; 2],
}

#[derive(Debug, Default)]
struct Heard {
    text: String,
    ended: bool,
}

impl Client {
    fn start(command: &mut Command) -> Self {
        let since = Instant::now();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("tests/container/host");
        let stderr = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let heard = Arc::clone(&stderr);
        let readers = [
            thread::spawn(move || copy(BufReader::new(out), |_| ())),
            thread::spawn(move || {
                let bytes = copy(BufReader::new(err), |line| {
                    heard.0.lock().unwrap().text.push_str(&String::from_utf8_lossy(line));
                    heard.1.notify_all();
                });
                heard.0.lock().unwrap().ended = true;
                heard.1.notify_all();
                bytes
            }),
        ];
        Self { child, since, stderr, readers }
    }
    /// Awaits that a text stands on the client's standard error.
    #[track_caller]
    pub fn await_text(&self, text: &str, limit: Duration) {
        let heard = self.stderr.0.lock().unwrap();
        let more = |heard: &mut Heard| !heard.text.contains(text) && !heard.ended;
        let (heard, _) = self.stderr.1.wait_timeout_while(heard, limit, more).unwrap();
        assert!(heard.text.contains(text), "never said {text:?} within {limit:?}: {}", heard.text);
    }
    /// Whether it has closed its standard error, which is its last sign of life.
    pub fn has_ended(&self) -> bool {
        self.stderr.0.lock().unwrap().ended
    }
    /// SIGKILL to the client, as a CI runner does.
    pub fn kill(mut self) -> Answer {
        self.child.kill().unwrap();
        self.wait()
    }
    /// The client stops reading and answering, but does not go away. `SIGCONT` is sent by `wait` and `kill`.
    pub fn freeze(&self) {
        self.signal(nix::sys::signal::Signal::SIGSTOP);
    }
    pub fn wait(mut self) -> Answer {
        // A watchman, so that a client that hangs fails its test and not the whole run.
        let pid = self.child.id();
        let (done, watched) = std::sync::mpsc::channel::<()>();
        let watchman = thread::spawn(move || {
            if watched.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        });
        self.signal(nix::sys::signal::Signal::SIGCONT);
        // Not before its output is read and it is waited for may its pid be anybody else's.
        let [stdout, stderr] = self.readers.map(|reader| reader.join().unwrap());
        let status = self.child.wait().unwrap();
        drop(done);
        watchman.join().unwrap();
        Answer::new(&Output { status, stdout, stderr }, self.since)
    }
    fn signal(&self, signal: nix::sys::signal::Signal) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id().cast_signed()), signal);
    }
}

fn copy(mut from: impl BufRead, mut each: impl FnMut(&[u8])) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let start = all.len();
        match from.read_until(b'\n', &mut all) {
            Ok(0) | Err(_) => return all,
            Ok(_) => each(&all[start..]),
        }
    }
}

fn cache() -> PathBuf {
    env::var_os("NIXGATE_CACHE").map_or_else(|| "/var/cache/nixgate-try".into(), PathBuf::from)
}

/// How many hosts may be up at once.
pub fn places() -> usize {
    env::var("NIXGATE_HOSTS").ok().and_then(|n| n.parse().ok()).unwrap_or(HOSTS).max(1)
}

/// One of the places for hosts; awaits one where all are taken, also by other test programs.
fn slot() -> Flock<File> {
    let places = places();
    let open = |n: usize| File::create(cache().join(format!("slot.{n}"))).expect("the cache directory");
    let first = thread::current().id();
    let free = (0..places).find_map(|n| Flock::lock(open(n), FlockArg::LockExclusiveNonblock).ok());
    free.unwrap_or_else(|| {
        let n = format!("{first:?}{}", std::process::id()).bytes().map(usize::from).sum::<usize>() % places;
        Flock::lock(open(n), FlockArg::LockExclusive).map_err(|(_, errno)| errno).expect("flock")
    })
}

fn limited(command: &Command, seconds: u64) -> Command {
    let mut limited = Command::new("timeout");
    limited
        .args(["--kill-after=5", &seconds.to_string()])
        .arg(command.get_program())
        .args(command.get_args());
    limited.stdin(Stdio::null());
    limited
}

fn run(command: &Command, seconds: u64) -> Output {
    limited(command, seconds).output().expect("timeout")
}

/// Standard output of a command that must succeed.
#[track_caller]
fn line(command: &mut Command, seconds: u64) -> String {
    let output = run(command, seconds);
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
