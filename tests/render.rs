//! What `nixgatectl render` writes, held by the programs that will read it; and what must never change.
#![cfg(feature = "host")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

use nixgate::decide::chain::{Event, Head, append};
use nixgate::decide::config::{Config, EXAMPLE};
use nixgate::decide::privileged::{Platform, ROWS};
use nixgate::decide::record::{
    Built, Failure, HostState, JobResult, Permanent, Record, Sequence, Triple, read,
};
use nixgate::decide::render::{Content, everything, sshd, sudoers};
use nixgate::decide::state::STATES;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const PLATFORMS: [Platform; 2] = [Platform::Nixos, Platform::Fhs];

fn example() -> Config {
    Config::parse(EXAMPLE).unwrap()
}

// ---- files of this repository ----

/// Whether a file may follow the code.
#[derive(PartialEq)]
enum File {
    Rendered,
    Frozen,
}

/// The file in this repository is exactly that text.
fn is_what_stands_in(path: &str, text: &str, file: File) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let update = std::env::var_os("UPDATE").is_some();
    if update && (file == File::Rendered || !here.exists()) {
        fs::create_dir_all(here.parent().unwrap()).unwrap();
        fs::write(&here, text).unwrap();
    }
    let mend = match file {
        File::Rendered => "regenerate it with: UPDATE=1 cargo test --test render",
        File::Frozen => {
            "it is frozen: a trial of the release before would no longer be finished by this one. Change it back; \
             what has to differ needs a new row, or a new version of the file that this release reads beside the old one"
        }
    };
    let found = fs::read_to_string(&here).unwrap_or_default();
    assert!(found == text, "{path} differs from the code; {mend}\n--- code\n{text}\n--- file\n{found}");
}

#[test]
fn the_files_to_read_in_this_repository_are_what_is_rendered() {
    is_what_stands_in("sudoers/nixgate", &sudoers(&example(), Platform::Nixos), File::Rendered);
    is_what_stands_in("sshd-snippets/nixgate.conf", &sshd(Platform::Nixos), File::Rendered);
}

#[test]
fn frozen_rows_are_those_of_every_release() {
    let mut text = String::new();
    for platform in PLATFORMS {
        for row in ROWS.into_iter().filter(|row| row.is_frozen()) {
            let argv = row.argv(&example(), platform).join(" ");
            text += &format!("{} {row:?}: {argv}\n", platform.as_str());
        }
    }
    is_what_stands_in("tests/golden/frozen-rows.txt", &text, File::Frozen);
}

#[test]
fn the_states_of_a_record_are_those_of_every_release() {
    let text: String = STATES.iter().map(|row| format!("{}\n", row.name)).collect();
    is_what_stands_in("tests/golden/states.txt", &text, File::Frozen);
}

// ---- the files of a transaction ----

const SYSTEM: &str = "/nix/store/00000000000000000000000000000000-nixos-system-web1-25.11";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TIME: &str = "2026-01-02T03:04:05Z";

fn record() -> Record {
    let text = |text: &str| Some(text.to_owned());
    Record {
        v: 1,
        job: "12-0a1b2c3d".into(),
        verb: "switch".into(),
        request: format!("switch {COMMIT}"),
        identity: "ci".into(),
        address: text("192.0.2.7:51234"),
        accepted: TIME.into(),
        boot: "b.1".into(),
        accepted_at: 100,
        state: STATES[6].state,
        state_at: 107,
        commit: text(COMMIT),
        sequence: None,
        new: text(SYSTEM),
        old: Some(Triple {
            running: SYSTEM.into(),
            profile: SYSTEM.into(),
            generation: 41,
            default: text(SYSTEM),
        }),
        may_confirm: Some(vec!["SHA256:AAAA".into()]),
        may_cancel: None,
        confirm_by: Some(240),
        activated_at: Some(120),
        failure: Some(Failure { code: 21, why: "newly failed: web.service".into() }),
    }
}

fn state() -> HostState {
    HostState {
        v: 1,
        job: Some("12-0a1b2c3d".into()),
        anchor: Some(COMMIT.into()),
        sequence: None,
        permanent: vec![Permanent {
            system: SYSTEM.into(),
            generation: 41,
            commit: Some(COMMIT.into()),
            at: TIME.into(),
        }],
        at: 0,
        built: Some(Built { commit: COMMIT.into(), attribute: "a".into(), system: SYSTEM.into() }),
        bad: vec![COMMIT.into()],
    }
}

fn audit_line() -> String {
    let event = Event {
        time: TIME.into(),
        boot: "b.1".into(),
        job: Some("12-0a1b2c3d".into()),
        event: "trial",
        identity: Some("ci".into()),
        detail: serde_json::Map::from_iter([("commit".to_owned(), COMMIT.into())]),
    };
    append(&Head::start(), &event).unwrap().0
}

/// Written as ever, and read as ever.
fn is_frozen<T>(name: &str, value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let path = format!("tests/golden/{name}");
    is_what_stands_in(&path, &serde_json::to_string_pretty(value).unwrap(), File::Frozen);
    let golden = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    assert_eq!(&read::<T>(&golden).unwrap(), value);
}

#[test]
fn the_files_of_a_transaction_are_those_of_every_release() {
    is_frozen("record.json", &record());
    let result = JobResult { v: 1, code: 21, line: "nixgate: v=1 job=12-0a1b2c3d".into() };
    is_frozen("result.json", &result);
    is_frozen("state.json", &state());
    // What only a prebuilt system brings is written only then.
    is_frozen("record-prebuilt.json", &Record { sequence: Some(1_790_000_000), ..record() });
    let sequence = Sequence { number: 1_790_000_000, system: Some(SYSTEM.into()) };
    is_frozen("state-prebuilt.json", &HostState { sequence: Some(sequence), ..state() });
    is_what_stands_in("tests/golden/audit.jsonl", &audit_line(), File::Frozen);
}

// ---- the programs that read what is rendered ----

/// A directory of one test's own, gone at its end.
struct Directory(PathBuf);
impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nixgate-render-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    fn with(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}
impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where a program is. `./test` and CI install what is needed and so set `CI`: there a missing one is a failure.
fn program(paths: &[&str], package: &str) -> Option<PathBuf> {
    let found = paths.iter().map(PathBuf::from).find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing: apt-get install {package}", paths[0]);
        eprintln!("not tried: {} is not installed ({package})", paths[0]);
    }
    found
}

/// Runs it to its end; what it printed.
fn accepts(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C").output().unwrap();
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

#[test]
fn sudo_and_sudo_rs_accept_the_sudoers_file() {
    let directory = Directory::new("sudoers");
    // sudo-rs is not in Debian 12; the container tests run under it.
    let rs = ["/usr/sbin/visudo-rs", "/usr/bin/visudo-rs", "/usr/lib/cargo/bin/visudo"];
    let visudo_rs = rs.iter().map(Path::new).find(|path| path.exists());
    for platform in PLATFORMS {
        let file = directory.with("nixgate", &sudoers(&example(), platform));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
        if let Some(visudo) = program(&["/usr/sbin/visudo"], "sudo") {
            let said = accepts(Command::new(visudo).arg("-c").arg("-s").arg("-f").arg(&file));
            assert!(said.contains("parsed OK"), "{said}");
        }
        if let Some(visudo) = visudo_rs {
            accepts(Command::new(visudo).arg("-c").arg("-f").arg(&file));
        }
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn sshd_gives_deploy_the_gate_and_nothing_else() {
    let Some(sshd_program) = program(&["/usr/sbin/sshd"], "openssh-server") else { return };
    // Made by sshd's unit at other times; as root sshd insists on it even to print its settings.
    let _ = fs::create_dir("/run/sshd");
    let directory = Directory::new("sshd");
    let key = directory.join("host-key");
    accepts(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    for platform in PLATFORMS {
        let block = sshd(platform);
        let file = directory.with("sshd_config", &format!("HostKey {}\n{block}", key.display()));
        let ask = |user: &str| -> BTreeMap<String, String> {
            let who = format!("user={user},host=localhost,addr=127.0.0.1");
            let said = accepts(Command::new(&sshd_program).args(["-T", "-C", &who, "-f"]).arg(&file));
            let pairs = said.lines().filter_map(|line| line.split_once(' '));
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        let (deploy, other) = (ask("deploy"), ask("root"));
        for line in block.lines().filter(|line| line.starts_with(' ')) {
            let (key, value) = line.trim().split_once(' ').unwrap();
            assert_eq!(deploy.get(&key.to_lowercase()).map(String::as_str), Some(value), "{key}");
        }
        assert_eq!(deploy["permituserenvironment"], "no");
        assert_eq!(other["forcecommand"], "none", "the block ends with Match all");
        assert_eq!(other["permittty"], "yes");
    }
}

#[test]
fn systemd_accepts_the_units() {
    let Some(analyze) = program(&["/usr/bin/systemd-analyze"], "systemd") else { return };
    let directory = Directory::new("units");
    for platform in PLATFORMS {
        let root = directory.join(platform.as_str());
        for file in everything(&example(), platform) {
            let path = root.join(file.path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match &file.content {
                Content::Text(text) => fs::write(&path, stand_in(text)).unwrap(),
                Content::Link(to) => symlink(to, &path).unwrap(),
            }
        }
        let units = root.join("etc/systemd/system");
        let names = [
            "nixgate.socket",
            "nixgate-control.socket",
            "nixgate@1.service",
            "nixgate-control@1.service",
            "nixgate-recover.service",
        ];
        let paths = names.map(|name| units.join(name));
        let said = accepts(Command::new(&analyze).args(["--man=no", "verify"]).args(&paths));
        let ours: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("nixgate"))
            // X- lines are for switch-to-configuration; systemd skips them without a word.
            .collect();
        assert!(ours.is_empty(), "{ours:#?}");
    }
}

/// `verify` wants the program of a unit to exist; here it is another one.
fn stand_in(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("ExecStart=") {
        Some(command) => {
            let arguments = command.split_once(' ').map_or("", |(_, arguments)| arguments);
            format!("ExecStart=/bin/true {arguments}\n")
        }
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}
