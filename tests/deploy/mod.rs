//! Runs `scripts/nixgate-deploy` in every shell that it is written for: against a real host, or against an ssh that plays
//! one, for what no real host does on demand.
#![allow(dead_code, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/nixgate-deploy");
pub const SHELLS: [&[&str]; 3] = [&["dash"], &["bash"], &["busybox", "sh"]];
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A directory that goes with its test.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nixgate-client-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("tmp")).unwrap();
        Self(path)
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
    pub fn program(&self, name: &str, text: &str) {
        fs::set_permissions(self.write(name, text), Permissions::from_mode(0o755)).unwrap();
    }
    pub fn root(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a client of nixgate got.
#[derive(Debug)]
pub struct Told {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Told {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
    /// A value of the summary.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.stdout.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }
    #[track_caller]
    pub fn is(&self, code: i32, said: &str) {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(self.stderr.contains(said), "no {said:?} in {self:#?}");
    }
}

/// The script in a shell, with nothing in its environment but what it needs.
pub fn deploy(shell: &[&str], place: &Place, args: &[&str]) -> Command {
    // A shell cannot trap what was ignored when it began, as under nohup.
    let mut command = Command::new("/usr/bin/env");
    command.arg("--default-signal=HUP,INT,TERM").args(shell).arg(SCRIPT).args(args);
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", place.path("bin").display());
    command.env_clear().env("PATH", path).env("HOME", place.root()).env("TMPDIR", place.path("tmp"));
    command.stdin(Stdio::null());
    command
}

/// A host that is played by the `ssh` of a test. `answer` is shell: it looks at `$ask`, the request and how often it was
/// asked, says `sent` where the request leaves, and ends with what ssh would.
pub struct Stand {
    pub place: Place,
}

impl Stand {
    pub fn new(answer: &str) -> Self {
        let place = Place::new();
        place.write("answer", answer);
        let stand = place.root().display();
        let text = format!(
            "#!/bin/sh\nfor request; do :; done\necho \"$request\" >>{stand}/asked\nprintf '%s\\n' \"$@\" >{stand}/words\n\
             times=$(grep -cxF -- \"$request\" {stand}/asked)\nask=\"$times $request\"\n\
             sent() {{ rm -f \"$NIXGATE_UNSENT\"; }}\nstand={stand}\n{TALK}\n. {stand}/answer\n"
        );
        place.program("bin/ssh", &text);
        Self { place }
    }
    pub fn ask(&self, shell: &[&str], args: &[&str]) -> Told {
        fs::write(self.place.path("asked"), "").unwrap();
        Told::of(&deploy(shell, &self.place, args).output().expect(shell[0]))
    }
    /// What was asked of the host, in order, but for where it stands. To follow a job again is no other question.
    pub fn asked(&self) -> String {
        let all = self.place.text("asked");
        let mut asked: Vec<&str> = all.lines().filter(|line| *line != "status --json").collect();
        asked.dedup_by(|later, earlier| later == earlier && later.starts_with("attach "));
        asked.join(", ")
    }
    pub fn left(&self) -> usize {
        fs::read_dir(self.place.path("tmp")).unwrap().count()
    }
}

/// What a host says: `status NEWEST [CURRENT [HEADS…]]`, `first JOB REQUEST` and `verdict JOB VERB RESULT CODE`.
const TALK: &str = r#"
status() {
  newest=null current='  "job": null,'
  [ "$1" = none ] || newest="\"$1\""
  [ -z "${2-}" ] || current="$(printf '  "job": {\n    "job": "%s",\n    "verb": "switch"\n  },' "$2")"
  shift; [ $# = 0 ] || shift
  printf '{\n  "v": 1,\n  "problem": "\\"newest-job\\": \\"99-00000000\\"",\n%s\n  "newest-job": %s,\n' "$current" "$newest"
  if [ $# != 0 ]; then
    head=$1; shift
    printf '  "audit-heads": [\n'
    for each; do printf '    "%s",\n' "$each"; done | sed '$s/,$//'
    printf '  ],\n  "audit": "%s"\n}\n' "$head"
  else
    printf '  "audit": "1:00"\n}\n'
  fi
}
first() { echo "nixgate: job $1: $2 by ci"; }
verdict() { echo "nixgate: v=1 job=$1 verb=$2 result=$3 code=$4 old=/nix/store/o new=/nix/store/n reboot-required=no audit=7:ab"; }
"#;
