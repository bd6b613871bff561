//! A host in a directory: made once, copied for each run, booted in namespaces of its own.

use crate::host::{self, link};
use crate::pid1::{NIXGATE, POWER_CUT, REBOOT};
use crate::standin::system;
use crate::wire::{Call, Hook, Reply, call};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nixgate::decide::privileged::SYSTEM;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many commits the source has.
pub const COMMITS: usize = 6;

pub const CONFIG: &str = r#"version = 1
[source]
kind = "flake"
url = "https://source.example.org/infra.git"
system = "demo"
[trust]
signatures = "none"
[space]
store = "0"
state = "0"
boot = "0"
inodes = 0
[preflight]
lock-out = "allow"
[health]
settle = "0s"
[revert]
when-it-fails = "stay"
[limits]
confirm = "20s"
"#;

/// Where all benches are: a file system of its own, in a mount namespace of our own, so that nothing stays.
pub fn workplace() -> PathBuf {
    unshare(CloneFlags::CLONE_NEWNS).expect("the exam needs root");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("inside");
    fs::create_dir_all(&place).unwrap();
    mount(Some("inside"), &place, Some("tmpfs"), MsFlags::empty(), Some("size=4g,mode=755")).unwrap();
    tools(&place.join("bin"));
    place
}

/// `/usr/bin` of every bench: the real programs, strace, and this one by the names of those that it stands in for.
fn tools(bin: &Path) {
    fs::create_dir(bin).unwrap();
    for program in [
        env!("CARGO_BIN_EXE_nixgate"),
        env!("CARGO_BIN_EXE_nixgate-job"),
        env!("CARGO_BIN_EXE_nixgatectl"),
        "/usr/bin/strace",
    ] {
        fs::copy(program, bin.join(Path::new(program).file_name().unwrap())).unwrap();
    }
    fs::copy("/proc/self/exe", bin.join("inside")).unwrap();
    for name in ["sudo", "systemctl", "git", "nix", "nix-store", "nix-instantiate", "choom", "prlimit"] {
        symlink("inside", bin.join(name)).unwrap();
    }
    // Without it each start of a program looks for its libraries in every directory.
    let _ = fs::copy("/etc/ld.so.cache", bin.join("ld.so.cache"));
}

/// A host.
#[derive(Debug)]
pub struct Bench {
    pub root: PathBuf,
    pid1: Option<Child>,
    /// How PID 1 ended last.
    pub ended: Option<i32>,
}

/// Where a host stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointers {
    pub running: PathBuf,
    pub services: PathBuf,
    pub profile: PathBuf,
    pub generation: String,
    pub default: PathBuf,
}

impl Bench {
    fn at(root: PathBuf) -> Self {
        Self { root, pid1: None, ended: None }
    }

    /// A host as it was installed: the first system, and nixgate without a state.
    pub fn install(place: &Path) -> Self {
        let bench = Self::at(place.join("template"));
        let make = |name: &str| fs::create_dir_all(bench.root.join(name)).unwrap();
        for directory in [
            "proc",
            "dev",
            "run",
            "tmp",
            "usr/bin",
            "usr/lib",
            "usr/lib64",
            "usr/sbin",
            "etc/nixgate",
            "srv/objects",
            "boot/loader/entries",
            "nix/store",
            "nix/var/nix/profiles",
            "var/log/nixgate",
            "var/empty",
        ] {
            make(directory);
        }
        for (name, target) in [
            ("lib", "usr/lib"),
            ("lib64", "usr/lib64"),
            ("bin", "usr/bin"),
            ("usr/sbin/sshd", "../bin/inside"),
            ("etc/ld.so.cache", "/usr/bin/ld.so.cache"),
        ] {
            symlink(target, bench.root.join(name)).unwrap();
        }
        for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
            let path = bench.root.join("dev").join(name);
            mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(1, minor)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        }
        bench.write(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\nnixgate:x:993:993::/:/bin/sh\ndeploy:x:992:992::/:/bin/sh\n",
        );
        bench.write("etc/group", "root:x:0:\nnixgate:x:993:\ndeploy:x:992:\n");
        bench.write("etc/nixgate/config.toml", CONFIG);
        for name in ["activate", "commit", "revert"] {
            bench.write(&format!("var/log/nixgate/{name}.log"), "");
        }
        bench.write("unknown", "");
        fs::set_permissions(bench.root.join("unknown"), fs::Permissions::from_mode(0o666)).unwrap();
        for name in ["", "roots", "jobs", "audit", "keys"] {
            make(&format!("var/lib/nixgate/{name}"));
            chown(bench.root.join("var/lib/nixgate").join(name), Some(NIXGATE), Some(NIXGATE)).unwrap();
        }
        bench.make_source();
        let profile = bench.root.join(SYSTEM.trim_start_matches('/'));
        link(&profile.with_file_name("system-1-link"), Path::new(&system(1)));
        link(&profile, Path::new("system-1-link"));
        bench.write(
            "boot/loader/entries/nixos-generation-1.conf",
            &format!("options init={}/init\n", system(1)),
        );
        bench.write("boot/loader/loader.conf", "default nixos-generation-1.conf\n");
        bench
    }

    /// A line of commits, and the system that each makes.
    fn make_source(&self) {
        let mut ids: Vec<String> = Vec::new();
        for place in 1..=COMMITS {
            let parent = ids.last().map(|id| format!("parent {id}\n")).unwrap_or_default();
            let raw = format!(
                "tree {}\n{parent}author a <a> {place} +0000\ncommitter a <a> {place} +0000\n\n{place}\n",
                "0".repeat(64)
            );
            let digest = Sha256::digest(format!("commit {}\0{raw}", raw.len()));
            let id: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            self.write(&format!("srv/objects/{id}"), &raw);
            // Nobody writes there, so all benches have the same.
            let name = system(place).replace("/nix/store/", "../store/");
            for program in ["bin/switch-to-configuration", "activate", "init"] {
                self.write(&format!("{name}/{program}"), "");
                fs::set_permissions(
                    self.path(&format!("{name}/{program}")),
                    fs::Permissions::from_mode(0o755),
                )
                .unwrap();
            }
            self.write(
                &format!("{name}/sw/bin/nixos-version"),
                &format!("{{\"configurationRevision\":\"{id}\"}}\n"),
            );
            self.write(&format!("{name}.drv"), "");
            ids.push(id);
        }
        self.write("srv/commits", &(ids.join("\n") + "\n"));
    }

    /// A host that has nothing in common with this one but what is on disk.
    pub fn copy(&self) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let root = self.root.with_file_name(format!("b{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        copy(&self.root, &root);
        Self::at(root)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name.trim_start_matches('/'))
    }
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
    pub fn configure(&self, from: &str, to: &str) {
        let text = self.read("etc/nixgate/config.toml");
        assert!(text.contains(from), "{from}");
        self.write("etc/nixgate/config.toml", &text.replace(from, to));
    }
    pub fn commit(&self, place: usize) -> String {
        self.read("srv/commits").lines().nth(place - 1).unwrap().to_owned()
    }
    /// The branch is at the n-th commit.
    pub fn push(&self, place: usize) {
        self.write("srv/tip", &self.commit(place));
    }

    /// Starts it from its boot default; recovery is on its way then.
    pub fn boot(&mut self) {
        let mut command = Command::new(self.root.with_file_name("pid1"));
        command.arg(&self.root);
        let log = fs::OpenOptions::new().append(true).create(true).open(self.root.join("pid1.log")).unwrap();
        let mut child = first_of_its_own(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log));
        let is_up = child.stdout.take().unwrap().read_exact(&mut [0]);
        self.pid1 = Some(child);
        assert!(is_up.is_ok(), "it does not boot: {}", self.read("pid1.log"));
    }

    /// PID 1 is gone, or will be: how it ended.
    pub fn await_end(&mut self) -> i32 {
        let status = self.pid1.take().map(|mut child| child.wait().unwrap());
        let code = status.and_then(|s| s.code()).unwrap_or(-1);
        self.ended = Some(code);
        code
    }

    /// After a call that had no answer: a power cut or a restart, which are followed by a boot.
    pub fn boot_again(&mut self) {
        let code = self.await_end();
        assert!([POWER_CUT, REBOOT].contains(&code), "PID 1 died ({code}): {}", self.read("pid1.log"));
        self.boot();
    }

    pub fn power_cut(&mut self) {
        let _ = call(&self.root, &Call::PowerOff);
        self.await_end();
    }

    /// `None`: the host went down meanwhile.
    pub fn call(&self, asked: &Call) -> Option<Reply> {
        call(&self.root, asked)
    }
    pub fn plan(&self, hooks: &[Hook]) {
        self.call(&Call::Plan(hooks.to_vec())).unwrap();
    }
    pub fn ssh(&self, request: &str) -> Option<Reply> {
        self.call(&Call::Ssh(request.to_owned(), Vec::new()))
    }

    pub fn pointers(&self) -> Pointers {
        let read = |name: &str| fs::read_link(self.path(name)).unwrap();
        let generation = read(SYSTEM).to_string_lossy().into_owned();
        Pointers {
            running: read(host::RUNNING),
            services: read(host::SERVICES),
            profile: read(&format!("/nix/var/nix/profiles/{generation}")),
            generation,
            default: host::boot_default(&self.root),
        }
    }
}

/// Starts a program as PID 1 of a new namespace. Only this thread's next child is meant, so the others may do the same.
fn first_of_its_own(command: &mut Command) -> Child {
    let ours = fs::File::open("/proc/thread-self/ns/pid").unwrap();
    unshare(CloneFlags::CLONE_NEWPID).unwrap();
    let child = command.spawn().unwrap();
    setns(ours, CloneFlags::CLONE_NEWPID).unwrap();
    child
}

/// With owners, modes and links. Times are not kept: nobody reads them.
fn copy(from: &Path, to: &Path) {
    let about = fs::symlink_metadata(from).unwrap();
    let kind = about.file_type();
    if kind.is_symlink() {
        symlink(fs::read_link(from).unwrap(), to).unwrap();
    } else if kind.is_char_device() {
        mknod(to, SFlag::S_IFCHR, Mode::empty(), about.rdev()).unwrap();
    } else if kind.is_dir() {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap().flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else if kind.is_file() {
        fs::write(to, fs::read(from).unwrap()).unwrap();
    } else {
        return; // a socket of the boot before
    }
    lchown(to, Some(about.uid()), Some(about.gid())).unwrap();
    if !kind.is_symlink() {
        fs::set_permissions(to, about.permissions()).unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.pid1.is_some() {
            self.power_cut();
        }
        if std::env::var_os("NIXGATE_KEEP").is_none() || !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}
