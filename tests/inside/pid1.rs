//! The bench's PID 1: it starts jobs from their sockets, runs units, holds the dead man's switch, and lets happen what
//! is planned. What it knows of units is in [`crate::units`]; what of them is real on a host was measured there.

use crate::host::{self, Half, RUNNING, SERVICES};
use crate::units::{Ended, Switching, Units};
use crate::wire::{Account, Act, At, Call, Hook, LIMIT, OnFailure, Reply, SOCKET, When};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, chroot, mkfifo};
use nixgate::decide::config::{Config, WhenRevertFails};
use nixgate::decide::privileged::{CANDIDATE, COMMITTED, Platform, REVERT, Row, SYSTEM, table};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio, exit};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime};

pub const NIXGATE: u32 = 993;
pub const DEPLOY: u32 = 992;
/// How PID 1 ends: the exam sees it.
pub const POWER_CUT: i32 = 8;
pub const REBOOT: i32 = 9;

const JOB: &str = "/usr/bin/nixgate-job";
const TRACE: &str = "/run/trace.fifo";

#[derive(Default)]
pub struct Inner {
    pub units: Units,
    plan: Vec<Hook>,
    /// Effects since the plan was made.
    effects: usize,
    /// Jobs and recoveries that live, and what PID 1 was asked.
    processes: usize,
    asked: usize,
    /// What root's programs and the dead man's switch are in the middle of: their last moment comes behind their unit's end.
    acting: usize,
    /// How often in a row it was asked about the timer and nothing else but its service.
    watched: usize,
    on_failure: OnFailure,
    /// Words for strace, for the next job.
    trace: Vec<String>,
    /// The traced process stands still; it is gone.
    stopped: bool,
    traced: bool,
}

pub struct Pid1 {
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// In a process namespace of its own. The word: the bench's root; beside it is what all benches share.
pub fn main(root: &Path) -> ! {
    // A host whose PID 1 is broken is down.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |why| {
        print(why);
        exit(1)
    }));
    // It ends with whoever started it, however that ends.
    set_pdeathsig(Signal::SIGKILL).unwrap();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let bound = MsFlags::MS_BIND | MsFlags::MS_REC;
    for (from, to) in [
        (root.with_file_name("bin"), "usr/bin"),
        (root.with_file_name("store"), "nix/store"),
        ("/usr/lib".into(), "usr/lib"),
        ("/usr/lib64".into(), "usr/lib64"),
    ] {
        if from.exists() {
            mount(Some(&from), &root.join(to), None::<&str>, bound, None::<&str>).unwrap();
        }
    }
    mount(None::<&str>, &root.join("proc"), Some("proc"), MsFlags::empty(), None::<&str>).unwrap();
    chroot(root).unwrap();
    std::env::set_current_dir("/").unwrap();
    boot();
    let pid1 = Arc::new(Pid1 { inner: Mutex::default(), changed: Condvar::new() });
    for name in ["job.sock", "control.sock"] {
        let listener = job_socket(name);
        let pid1 = pid1.clone();
        thread::spawn(move || pid1.accept_jobs(&listener));
    }
    let listener = UnixListener::bind(Path::new("/").join(SOCKET)).unwrap();
    fs::set_permissions(Path::new("/").join(SOCKET), fs::Permissions::from_mode(0o777)).unwrap();
    pid1.recover(&mut pid1.lock());
    // It is up: whoever started it waits for this.
    std::io::stdout().write_all(b"\n").unwrap();
    for stream in listener.incoming() {
        let (pid1, stream) = (pid1.clone(), stream.unwrap());
        thread::spawn(move || pid1.answer(stream));
    }
    exit(1)
}

/// The boot default runs, and nothing is left of what ran before.
fn boot() {
    for entry in fs::read_dir("/run").unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => fs::remove_dir_all(entry.path()).unwrap(),
            false => fs::remove_file(entry.path()).unwrap(),
        }
    }
    fs::create_dir_all("/run/nixgate").unwrap();
    let system = host::boot_default(Path::new("/"));
    for name in [RUNNING, SERVICES, "/run/booted-system"] {
        host::link(Path::new(name), &system);
    }
}

/// std knows no SOCK_SEQPACKET, but accepts on whatever listens.
fn job_socket(name: &str) -> UnixListener {
    let path = Path::new("/run/nixgate").join(name);
    let fd = socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(fd.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    listen(&fd, Backlog::new(16).unwrap()).unwrap();
    fd.into()
}

/// The configuration, and what root may be asked for by it. sudo asks for it all the time: parsed once for each text.
#[derive(Debug)]
struct Rules {
    text: String,
    config: Config,
    table: Vec<(Row, Vec<String>)>,
}

fn rules() -> Arc<Rules> {
    static KNOWN: Mutex<Option<Arc<Rules>>> = Mutex::new(None);
    let text = fs::read_to_string("/etc/nixgate/config.toml").unwrap();
    let mut known = KNOWN.lock().unwrap();
    if let Some(rules) = known.as_ref().filter(|rules| rules.text == text) {
        return rules.clone();
    }
    let config = Config::parse(&text).unwrap();
    let table = table(&config, Platform::Fhs);
    known.insert(Arc::new(Rules { text, config, table })).clone()
}

/// One line in `/events`, which the exam reads.
pub fn note(text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open("/events").unwrap();
    file.write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// The state of the job in progress, as it is on disk.
fn state_on_disk() -> String {
    let read = |path: &str| serde_json::from_str::<serde_json::Value>(&fs::read_to_string(path).ok()?).ok();
    let state = || {
        let state = read("/var/lib/nixgate/state.json")?;
        let record = read(&format!("/var/lib/nixgate/jobs/{}/record", state["job"].as_str()?))?;
        Some(record["state"].as_str()?.to_owned())
    };
    state().unwrap_or_else(|| "none".to_owned())
}

/// What a moment left of an effect.
enum Left {
    All,
    /// It ends here, with this result of its unit, and this exit code.
    Ends(Ended),
    /// Whoever asked is dead; it goes on.
    Unheard,
}

impl Pid1 {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn until<'a>(&self, inner: MutexGuard<'a, Inner>, met: impl Fn(&Inner) -> bool) -> MutexGuard<'a, Inner> {
        let (inner, timeout) = self.changed.wait_timeout_while(inner, LIMIT, |inner| !met(inner)).unwrap();
        assert!(!timeout.timed_out(), "nothing came of it");
        inner
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    // Jobs.

    fn accept_jobs(self: &Arc<Self>, listener: &UnixListener) {
        loop {
            let connection = OwnedFd::from(listener.accept().unwrap().0);
            let mut inner = self.lock();
            let trace = std::mem::take(&mut inner.trace);
            let mut command = self.traced(&trace, &[JOB, "serve", "--platform", "fhs"], Account::Nixgate);
            command.stdin(Stdio::from(connection));
            let child = command.spawn().unwrap();
            drop(command); // and its copy of the connection
            inner.processes += 1;
            drop(inner);
            let pid1 = self.clone();
            thread::spawn(move || pid1.await_job(child));
        }
    }

    /// A unit that failed starts recovery (`OnFailure=`).
    fn await_job(self: &Arc<Self>, mut child: Child) {
        let status = child.wait().unwrap();
        let mut inner = self.lock();
        inner.processes -= 1;
        if status.signal().is_some() || !status.success() {
            note(&format!("job ended: {status}"));
            self.recover(&mut inner);
        }
        self.changed.notify_all();
    }

    fn recover(self: &Arc<Self>, inner: &mut Inner) {
        if inner.on_failure == OnFailure::Nothing {
            return;
        }
        inner.processes += 1;
        let pid1 = self.clone();
        thread::spawn(move || {
            let mut command = pid1.traced(&[], &[JOB, "recover", "--platform", "fhs"], Account::Nixgate);
            let status = command.stdin(Stdio::null()).status().unwrap();
            note(&format!("recovery ended: {status}"));
            pid1.change(|inner| inner.processes -= 1);
        });
    }

    /// A program, under strace where it has words for that. The trace comes through a pipe, so that a stop is seen.
    fn traced(self: &Arc<Self>, trace: &[String], argv: &[&str], account: Account) -> Command {
        let mut command = Command::new(argv[0]);
        let log = || OpenOptions::new().append(true).create(true).open("/programs.log").unwrap();
        if trace.is_empty() {
            command.args(&argv[1..]);
            if account == Account::Nixgate {
                command.uid(NIXGATE).gid(NIXGATE);
            }
        } else {
            let _ = mkfifo(TRACE, Mode::S_IRWXU);
            command = Command::new("/usr/bin/strace");
            command.args(["-o", TRACE]).args(trace);
            if account == Account::Nixgate {
                command.args(["-u", "nixgate"]);
            }
            command.arg("--").args(argv);
            let pid1 = self.clone();
            thread::spawn(move || pid1.copy_trace());
        }
        command.env_clear().env("PATH", "/usr/bin").current_dir("/").stdout(log()).stderr(log());
        command
    }

    fn copy_trace(&self) {
        let mut copy = OpenOptions::new().append(true).create(true).open("/trace").unwrap();
        for line in BufReader::new(File::open(TRACE).unwrap()).split(b'\n').map_while(Result::ok) {
            copy.write_all(&[&line[..], b"\n"].concat()).unwrap();
            if line.ends_with(b"--- stopped by SIGSTOP ---") {
                self.change(|inner| inner.stopped = true);
            }
        }
        self.change(|inner| inner.traced = true);
    }

    /// SIGKILL to all that is a job or a recovery now; they are gone afterwards.
    fn kill_jobs(&self) {
        let pids = jobs();
        note(&format!("killing {pids:?}"));
        pids.iter().for_each(|pid| {
            let _ = kill(*pid, Signal::SIGKILL);
        });
        let mut inner = self.lock();
        while jobs().iter().any(|pid| pids.contains(pid)) {
            inner = self.changed.wait_timeout(inner, Duration::from_millis(5)).unwrap().0;
        }
    }

    // Calls.

    fn answer(self: &Arc<Self>, mut stream: UnixStream) {
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        let Ok(call) = serde_json::from_str::<Call>(&line) else { return };
        let mut say = |reply: Reply| {
            let _ = writeln!(stream, "{}", serde_json::to_string(&reply).unwrap());
        };
        let reply = match call {
            Call::Sudo(words) => {
                self.change(|inner| inner.acting += 1);
                let reply = self.sudo(&words, &mut say);
                self.change(|inner| inner.acting -= 1);
                reply
            }
            Call::Systemctl(words) => Some(self.systemctl(&words)),
            Call::Tool(name, when) => Some(self.tool(&name, when)),
            Call::Plan(plan) => {
                self.change(|inner| {
                    (inner.plan, inner.effects) = (plan, 0);
                    (inner.stopped, inner.traced) = (false, false);
                });
                Some(Reply::default())
            }
            Call::Ssh(request, trace) => {
                self.change(|inner| inner.trace = trace);
                let mut command = Command::new("/usr/sbin/sshd");
                let output = command.arg(request).env_clear().stdin(Stdio::null()).output().unwrap();
                Some(said(&output))
            }
            Call::Run(account, words, trace) => Some(self.run(account, &words, &trace)),
            Call::Recovery(on_failure) => {
                self.change(|inner| inner.on_failure = on_failure);
                Some(Reply::default())
            }
            Call::AwaitStop => {
                // Or until there is nobody who could stop.
                drop(self.until(self.lock(), |inner| inner.stopped || inner.traced));
                Some(Reply::code(i32::from(!self.lock().stopped)))
            }
            Call::Continue => {
                jobs().iter().for_each(|pid| {
                    let _ = kill(*pid, Signal::SIGCONT);
                });
                Some(Reply::default())
            }
            Call::Kill => {
                self.kill_jobs();
                Some(Reply::default())
            }
            Call::Fire => Some(Reply::code(i32::from(!self.fire(None)))),
            Call::Idle => {
                drop(self.until(self.lock(), |inner| {
                    inner.processes == 0 && inner.acting == 0 && !inner.units.at_work()
                }));
                Some(Reply::default())
            }
            Call::Units => Some(Reply::text(self.lock().units.left().join(" "))),
            Call::PowerOff => power_cut(),
        };
        if let Some(reply) = reply.filter(|_| !DOWN.load(Ordering::SeqCst)) {
            say(reply);
        }
    }

    fn run(self: &Arc<Self>, account: Account, words: &[String], trace: &[String]) -> Reply {
        self.change(|inner| inner.processes += 1);
        let argv: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.traced(trace, &argv, account);
        let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        self.change(|inner| inner.processes -= 1);
        said(&output.unwrap())
    }

    // What root does.

    fn sudo(self: &Arc<Self>, words: &[String], say: &mut dyn FnMut(Reply)) -> Option<Reply> {
        let refused = Reply { code: 1, err: "sudo: a password is required\n".to_owned(), out: String::new() };
        let (asks, argv) = match words {
            [n, l, end, argv @ ..] if n == "-n" && l == "-l" && end == "--" => (true, argv),
            [n, end, argv @ ..] if n == "-n" && end == "--" => (false, argv),
            _ => return Some(refused),
        };
        let rules = rules();
        let Some((row, _)) = rules.table.iter().find(|(_, allowed)| allowed == argv) else {
            return Some(refused);
        };
        if asks { Some(Reply::default()) } else { self.row(row.clone(), say) }
    }

    /// The table of `decide/privileged.rs`: what each row does to this host.
    fn row(self: &Arc<Self>, row: Row, say: &mut dyn FnMut(Reply)) -> Option<Reply> {
        let name = format!("{row:?}");
        let path = Path::new;
        let set = |profile: &'static str, to: &'static str| {
            move |half: Half| host::set(Path::new(profile), Path::new(to), half)
        };
        let late = |act: &dyn Fn() -> i32, half: Half| if half == Half::Second { act() } else { 0 };
        let code = match row {
            Row::KeepRunning => self.plain(&name, set(REVERT, RUNNING)),
            Row::KeepCommitted => self.plain(&name, set(COMMITTED, SYSTEM)),
            Row::Stage => self.plain(&name, set(CANDIDATE, nixgate::decide::privileged::CANDIDATE_ROOT)),
            Row::Set => self.plain(&name, set(SYSTEM, CANDIDATE)),
            Row::Unset => self.plain(&name, set(SYSTEM, COMMITTED)),
            Row::PruneRevert => self.plain(&name, |h| late(&|| host::prune(path(REVERT), 1), h)),
            Row::PruneCommitted => self.plain(&name, |h| late(&|| host::prune(path(COMMITTED), 5), h)),
            Row::PruneCandidate => self.plain(&name, |h| late(&|| host::prune(path(CANDIDATE), 1), h)),
            Row::Reset => self.plain(&name, |h| late(&|| self.on_units(Units::reset_failed), h)),
            Row::Arm => self.plain(&name, |h| late(&|| self.on_units(Units::arm), h)),
            Row::Disarm => self.plain(&name, |h| late(&|| self.on_units(Units::disarm), h)),
            Row::Reboot => self.plain(&name, |h| if h == Half::Second { reboot(&name) } else { 0 }),
            Row::BootDefaultSystemdBoot => {
                let mut files = String::new();
                let code = self.plain(&name, |h| {
                    late(&|| 0, h);
                    0
                });
                if code == 0 {
                    files = host::loader_files(path("/"));
                }
                return Some(Reply { code, out: files, err: String::new() });
            }
            // No bench has such a host.
            Row::BootDefaultGrub | Row::CheckSpecialisation(_) | Row::TrialSpecialisation(_) => 1,
            Row::Check => self.plain(&name, |_| 0),
            Row::Revert => self.start_revert(&name),
            Row::Trial => {
                return self.unit(&name, "nixgate-activate", say, |h| host::activate(path(CANDIDATE), h));
            }
            Row::Restore => {
                return self.unit(&name, "nixgate-restore", say, |h| host::activate(path(REVERT), h));
            }
            Row::Settle => return self.disarming(&name, "nixgate-settle", say, |_| 0),
            Row::Commit => {
                return self
                    .disarming(&name, "nixgate-commit", say, |h| host::install_loader(path(CANDIDATE), h));
            }
            Row::Uncommit => {
                return self
                    .unit(&name, "nixgate-uncommit", say, |h| host::install_loader(path(COMMITTED), h));
            }
        };
        (code != UNHEARD).then(|| Reply::code(code))
    }

    fn on_units(&self, change: fn(&mut Units) -> i32) -> i32 {
        let code = change(&mut self.lock().units);
        self.changed.notify_all();
        code
    }

    /// An effect of a client's own process, which dies with the job.
    fn plain(self: &Arc<Self>, name: &str, act: impl Fn(Half) -> i32) -> i32 {
        let number = self.begin(name);
        for (when, half) in [(When::Before, Half::First), (When::Middle, Half::Second)] {
            match self.moment(number, name, when, None) {
                Left::All => {}
                Left::Ends(Ended { status, .. }) => return status,
                Left::Unheard => return UNHEARD,
            }
            match act(half) {
                0 => {}
                code => return code,
            }
        }
        match self.moment(number, name, When::After, None) {
            Left::All => 0,
            Left::Ends(Ended { status, .. }) => status,
            Left::Unheard => UNHEARD,
        }
    }

    /// `systemd-run --wait` of a unit that disarms: PID 1 refuses it once the revert has begun.
    fn disarming(
        self: &Arc<Self>,
        name: &str,
        unit: &str,
        say: &mut dyn FnMut(Reply),
        act: impl Fn(Half) -> i32,
    ) -> Option<Reply> {
        self.unit_with(name, unit, true, say, act)
    }
    fn unit(
        self: &Arc<Self>,
        name: &str,
        unit: &str,
        say: &mut dyn FnMut(Reply),
        act: impl Fn(Half) -> i32,
    ) -> Option<Reply> {
        self.unit_with(name, unit, false, say, act)
    }

    fn unit_with(
        self: &Arc<Self>,
        name: &str,
        unit: &str,
        disarms: bool,
        say: &mut dyn FnMut(Reply),
        act: impl Fn(Half) -> i32,
    ) -> Option<Reply> {
        let number = self.begin(name);
        // Before PID 1 knows of it.
        match self.moment(number, name, When::Before, None) {
            Left::All => {}
            Left::Ends(ended) => return Some(Reply::code(ended.status)),
            Left::Unheard => return None,
        }
        {
            let mut inner = self.lock();
            if !inner.units.start(unit, disarms) {
                return Some(Reply::code(1));
            }
        }
        self.changed.notify_all();
        let mut heard = true;
        let ended = self.run_unit(number, name, unit, act, &mut heard, say);
        note(&format!("unit {unit}: {} {}", ended.result, ended.status));
        self.change(|inner| inner.units.end(unit, &ended));
        let code = if ended.result == "success" { 0 } else { ended.status };
        match self.moment(number, name, When::After, None) {
            Left::Unheard => None,
            _ => heard.then(|| Reply::code(code)),
        }
    }

    fn run_unit(
        self: &Arc<Self>,
        number: usize,
        name: &str,
        unit: &str,
        act: impl Fn(Half) -> i32,
        heard: &mut bool,
        say: &mut dyn FnMut(Reply),
    ) -> Ended {
        // `true` and nixgate's own have no lock; every switch-to-configuration has the same.
        if unit != "nixgate-settle" && self.lock().units.switching(unit) == Switching::Busy {
            return Ended::code(11);
        }
        for half in [Half::First, Half::Second] {
            if half == Half::Second {
                match self.moment(number, name, When::Middle, Some(unit)) {
                    Left::All => {}
                    Left::Ends(ended) => return ended,
                    Left::Unheard => {
                        *heard = false;
                        say(Reply::code(128 + 9));
                        self.linger(unit);
                    }
                }
                if self.lock().units.is_stopped(unit) {
                    return Ended::STOPPED;
                }
            }
            match act(half) {
                0 => {}
                code => return Ended::code(code),
            }
        }
        Ended::SUCCESS
    }

    /// It is at work until somebody asks PID 1 for something, it is stopped, or nobody is left who could ask.
    fn linger(&self, unit: &str) {
        let inner = self.lock();
        let asked = inner.asked;
        drop(self.until(inner, |inner| {
            inner.asked > asked || inner.units.is_stopped(unit) || inner.processes == 0
        }));
    }

    /// `systemctl start nixgate-revert.service`
    fn start_revert(self: &Arc<Self>, name: &str) -> i32 {
        let number = self.begin(name);
        match self.moment(number, name, When::Before, None) {
            Left::All => {}
            Left::Ends(ended) => return ended.status,
            Left::Unheard => return UNHEARD,
        }
        if !self.lock().units.knows_revert() {
            return 5;
        }
        self.revert(Some((number, name)))
    }

    /// The time has come: the service starts, and goes on by itself. Where it has to wait for `within`, so do we not.
    fn fire(self: &Arc<Self>, within: Option<&str>) -> bool {
        if !self.lock().units.elapse() {
            return false;
        }
        note("fired");
        self.change(|inner| inner.acting += 1);
        let pid1 = self.clone();
        thread::spawn(move || {
            pid1.revert(None);
            pid1.change(|inner| inner.acting -= 1);
        });
        drop(self.until(self.lock(), |inner| {
            !inner.units.is_reverting() || within.is_some_and(|unit| inner.units.holds_up_revert(unit))
        }));
        true
    }

    /// The armed service: it stops the activation, waits for the lock, returns, and starts recovery.
    fn revert(self: &Arc<Self>, asked: Option<(usize, &str)>) -> i32 {
        let unit = "nixgate-revert";
        if !self.lock().units.start_revert() {
            // One is at work already.
            drop(self.until(self.lock(), |inner| !inner.units.is_reverting()));
            return self.lock().units.revert_code();
        }
        self.changed.notify_all();
        drop(self.until(self.lock(), |inner| !inner.units.is_running("nixgate-activate")));
        let mut inner = self.until(self.lock(), |inner| inner.units.lock_is_free());
        inner.units.switching(unit);
        drop(inner);
        let number = asked.map_or_else(|| self.begin("Fired"), |(number, _)| number);
        let name = asked.map_or("Fired", |(_, name)| name);
        let mut unheard = false;
        let ended = match self.switch_back(number, name, &mut unheard) {
            0 => Ended::SUCCESS,
            code => Ended::code(code),
        };
        note(&format!("unit {unit}: {} {}", ended.result, ended.status));
        if ended.status != 0 && rules().config.revert.when_it_fails == WhenRevertFails::Reboot {
            reboot("FailureAction");
        }
        {
            let mut inner = self.lock();
            inner.units.end_revert(&ended);
            self.recover(&mut inner);
        }
        self.changed.notify_all();
        match self.moment(number, name, When::After, None) {
            Left::Unheard => UNHEARD,
            _ if unheard => UNHEARD,
            _ => i32::from(ended.status != 0),
        }
    }

    fn switch_back(self: &Arc<Self>, number: usize, name: &str, unheard: &mut bool) -> i32 {
        match host::activate(Path::new(REVERT), Half::First) {
            0 => {}
            code => return code,
        }
        match self.moment(number, name, When::Middle, Some("nixgate-revert")) {
            Left::All => {}
            Left::Ends(ended) => return ended.status,
            Left::Unheard => *unheard = true,
        }
        host::activate(Path::new(REVERT), Half::Second)
    }

    // What is planned.

    fn begin(&self, name: &str) -> usize {
        let mut inner = self.lock();
        inner.effects += 1;
        inner.asked += 1;
        inner.watched = 0;
        self.changed.notify_all();
        let armed = if inner.units.is_armed() { "armed" } else { "unarmed" };
        note(&format!("effect {} {name} {} {armed}", inner.effects, state_on_disk()));
        inner.effects
    }

    /// What is planned for a moment, in its order; all but what is for each of a name happens once.
    fn planned(&self, number: usize, name: &str, when: When) -> Vec<Act> {
        let mut inner = self.lock();
        let meant = |hook: &Hook| {
            hook.when == when
                && match &hook.at {
                    At::Nth(n) => *n == number,
                    At::Next(next) | At::Each(next) => next == name,
                }
        };
        let acts: Vec<Act> = inner.plan.iter().filter(|hook| meant(hook)).map(|hook| hook.act).collect();
        inner.plan.retain(|hook| !meant(hook) || matches!(hook.at, At::Each(_)));
        acts.iter().for_each(|act| note(&format!("planned {act:?} {when:?} {number} {name}")));
        acts
    }

    fn moment(self: &Arc<Self>, number: usize, name: &str, when: When, unit: Option<&str>) -> Left {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        note(&format!("moment {number} {when:?} {now:.6}"));
        let mut left = Left::All;
        for act in self.planned(number, name, when) {
            if !matches!(left, Left::All) {
                break;
            }
            left = match act {
                Act::PowerCut => power_cut(),
                Act::KillJob => {
                    self.kill_jobs();
                    match unit {
                        None if when != When::After => Left::Ends(Ended::code(128 + 9)),
                        Some(unit) if unit != "nixgate-revert" => {
                            self.linger(unit);
                            Left::All
                        }
                        _ => Left::All,
                    }
                }
                Act::Fire => {
                    note(&format!("fire: {}", self.fire(unit)));
                    Left::All
                }
                Act::Refuse | Act::FailHalf => Left::Ends(Ended::code(1)),
                Act::Hang if unit.is_some() => Left::Ends(Ended::TIMEOUT),
                Act::Hang => {
                    thread::park();
                    Left::Unheard
                }
                Act::KillClient if unit.is_some() => Left::Unheard,
                Act::KillClient => Left::Ends(Ended::code(128 + 9)),
            };
        }
        left
    }

    fn tool(self: &Arc<Self>, name: &str, when: When) -> Reply {
        let number = match when {
            When::Before => self.begin(name),
            _ => self.lock().effects,
        };
        match self.moment(number, name, when, None) {
            Left::All => Reply::default(),
            Left::Ends(ended) => Reply::code(ended.status),
            Left::Unheard => Reply::code(1),
        }
    }

    fn systemctl(self: &Arc<Self>, words: &[String]) -> Reply {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["show", unit, what, "--no-pager"] if what.starts_with("--property=LoadState,") => {
                let mut inner = self.lock();
                inner.asked += 1;
                self.changed.notify_all();
                match *unit {
                    "nixgate-revert.timer" => inner.watched += 1,
                    "nixgate-revert.service" => {}
                    _ => inner.watched = 0,
                }
                let shown = inner.units.show(unit);
                // Who does nothing but look at it waits for it: its time has come.
                if inner.watched >= PATIENCE && inner.units.is_armed() {
                    drop(inner);
                    self.fire(None);
                }
                Reply::text(shown)
            }
            ["list-units", "--all", "--output=json", "--no-pager"] => Reply::text(
                r#"[{"unit":"sshd.service","load":"loaded","active":"active","sub":"running","description":"sshd"}]"#,
            ),
            ["list-units", .., "nixos-rebuild-switch-to-configuration*"] => Reply::default(),
            ["show", _, "--no-pager", "--", ..] => Reply::default(),
            _ => Reply { code: 97, err: unknown("systemctl", &words), out: String::new() },
        }
    }
}

/// How many looks at the timer are taken for its whole time.
const PATIENCE: usize = 4;

/// No answer: whoever asked is dead.
const UNHEARD: i32 = -9;

/// From now on nobody gets an answer.
static DOWN: AtomicBool = AtomicBool::new(false);

/// Nobody sees it coming: jobs are dead before what they wait for is.
fn power_cut() -> ! {
    DOWN.store(true, Ordering::SeqCst);
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    exit(POWER_CUT)
}

fn reboot(why: &str) -> ! {
    note(&format!("reboot by {why}"));
    exit(REBOOT)
}

/// A call that the model does not know makes the run fail.
pub fn unknown(program: &str, words: &[&str]) -> String {
    let text = format!("the bench knows no {program} {}", words.join(" "));
    let _ = OpenOptions::new().append(true).open("/unknown").and_then(|mut f| f.write_all(text.as_bytes()));
    text
}

fn said(output: &std::process::Output) -> Reply {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    Reply { code, out: text(&output.stdout), err: text(&output.stderr) }
}

fn jobs() -> Vec<Pid> {
    let name =
        |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|n| n == "nixgate-job\n");
    let alive =
        |pid: &i32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "));
    let numbers =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    numbers.filter(|pid| name(pid) && alive(pid)).map(Pid::from_raw).collect()
}
