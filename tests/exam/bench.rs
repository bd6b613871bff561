//! One host of the exam, and what has to be true of it after every job, whatever happened.

use crate::host::{Client, Commit, Host, LIMIT, Triple};
use crate::process::until;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a row asks of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Short limits. Shared with other rows, so it is left as it was found.
    Usual,
    /// The same, and every trial has to be confirmed.
    Confirm,
    /// The same as `Usual`; a revert without demo.service has failed, and an operator is needed.
    Stay,
    /// The same as `Usual`; what a `test` leaves running has to be confirmed.
    Mixed,
    /// The row's own.
    Own,
}

#[derive(Debug)]
pub struct Bench {
    pub host: Host,
    pub kind: Kind,
    commits: u32,
}

/// What is looked at when a job has ended.
#[derive(Debug, Clone)]
pub struct Facts {
    pub triple: Triple,
    /// The system behind the profile, and the one that the boot loader starts.
    pub profile: String,
    pub default: String,
    /// Which boot this is.
    pub boot: u32,
}

/// How a job ended, by its record, its result and the audit log, which have agreed.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub job: String,
    pub result: String,
    pub code: i64,
}

const DEPLOYABLE: &str =
    "systemctl is-active --quiet demo.service ssh.service nixgate.socket nixgate-control.socket";

impl Bench {
    pub fn boot(kind: Kind) -> Self {
        let host = Host::boot();
        let short = ["health = \"10s\"", "health = \"3s\""];
        match kind {
            Kind::Confirm => {
                host.config_edit_only("confirm = \"10s\"", "confirm = \"60s\"");
                host.config_edit_only("mode = \"health\"", "mode = \"required\"");
            }
            Kind::Stay => host.config_edit_only(
                "[health]",
                "[revert]\nwhen-it-fails = \"stay\"\nrequired-units = [\"demo.service\"]\n\n[health]",
            ),
            Kind::Mixed => {
                host.config_edit_only("confirm = \"10s\"", "confirm = \"4s\"");
                host.config_edit_only("mode = \"health\"", "mode = \"health\"\ntest = \"required\"");
            }
            Kind::Usual | Kind::Own => {}
        }
        host.config_edit(short[0], short[1]);
        Self { host, kind, commits: 0 }
    }

    /// A new version on the branch, with faults; its name.
    pub fn commit(&mut self, faults: &[&str]) -> String {
        self.commit_with(faults.iter().fold(Commit::signed(), |commit, fault| commit.fault(fault)));
        self.version()
    }
    /// The same, made as said; its id.
    pub fn commit_with(&mut self, commit: Commit) -> String {
        self.commits += 1;
        self.host.commit(&self.version(), &commit)
    }
    /// The newest one.
    pub fn version(&self) -> String {
        format!("e{}", self.commits)
    }
    pub fn start(&self, verb: &str) -> Client {
        self.host.ssh_spawn("ci", &[verb])
    }
    /// A deploy that works, to come from or to end with.
    #[track_caller]
    pub fn deploy(&mut self) {
        self.commit(&[]);
        self.deploy_this("switch");
    }
    /// What is on the branch, to a good end.
    #[track_caller]
    pub fn deploy_this(&self, verb: &str) {
        let client = self.start(verb);
        if self.kind == Kind::Confirm {
            client.await_text("over a new connection", LIMIT);
            self.host.ssh(&["confirm"]).expect(0);
        }
        client.wait().expect(0);
    }

    /// A `switch` that is in the middle of its activation, until `host.go()`.
    #[track_caller]
    pub fn in_activation(&mut self, faults: &[&str]) -> Client {
        self.commit(&[faults, &["wait"]].concat());
        let client = self.start("switch");
        client.await_text("activating the configuration", LIMIT);
        client
    }

    /// Awaits the end of the newest job, which has to be this one.
    #[track_caller]
    pub fn ends(&self, before: &Facts, result: &str) -> String {
        let verdict = self.verdict(before);
        assert_eq!(verdict.result, result, "{verdict:?}");
        format!("{} {}", verdict.result, verdict.code)
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.host.ssh(&["status", "--json"]).expect(0).stdout).expect("status --json")
    }

    /// Whether no job is in progress, by the state on disk.
    pub fn is_idle(&self) -> bool {
        let text = std::fs::read(self.host.outside("/var/lib/nixgate/state.json")).unwrap_or_default();
        serde_json::from_slice::<Value>(&text).is_ok_and(|state| state["job"].is_null())
    }

    /// PID 1 starts a killed sshd again.
    #[track_caller]
    pub fn await_sshd(&self) {
        until("sshd answers again", LIMIT, || self.host.ssh_as("other", &["true"]).code == 0);
    }

    pub fn facts(&self) -> Facts {
        let text = self.host.root(
            "readlink /nix/var/nix/profiles/system; readlink -f /run/current-system; \
             default=$(sed -n 's/^default //p' /boot/loader/loader.conf); echo $default; readlink -f /nix/var/nix/profiles/system; \
             sed -n 's/^options init=\\([^ ]*\\)\\/init .*/\\1/p' /boot/loader/entries/$default",
        );
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let [profile, running, boot, system, default] = lines.try_into().unwrap_or_else(|_| panic!("{text}"));
        let boots = self.host.boots();
        Facts { triple: Triple { profile, running, boot }, profile: system, default, boot: boots }
    }

    /// Awaits that nobody works on anything any more, and judges how the newest job ended.
    #[track_caller]
    pub fn verdict(&self, before: &Facts) -> Verdict {
        until("no job is in progress", LIMIT, || self.is_idle());
        let newest = self.host.root("ls -v /var/lib/nixgate/jobs | tail -n 1");
        self.verdict_of(&newest, before)
    }

    #[track_caller]
    pub fn verdict_of(&self, job: &str, before: &Facts) -> Verdict {
        let host = &self.host;
        host.await_root(
            &format!(
                "[ -e /var/lib/nixgate/jobs/{job}/result ] && {DEPLOYABLE} && \
                 ! systemctl is-active --quiet nixgate-revert.timer nixgate-revert.service nixgate-activate.service nixgate-commit.service \
                 nixgate-recover.service"
            ),
            LIMIT,
        );
        host.await_root("flock --nonblock /run/nixos/switch-to-configuration.lock true", LIMIT);
        let record: Value =
            serde_json::from_str(&host.root(&format!("cat /var/lib/nixgate/jobs/{job}/record"))).unwrap();
        let told: Value =
            serde_json::from_str(&host.root(&format!("cat /var/lib/nixgate/jobs/{job}/result"))).unwrap();
        let line: BTreeMap<&str, &str> =
            told["line"].as_str().unwrap().split(' ').filter_map(|word| word.split_once('=')).collect();
        let verdict = Verdict {
            job: job.to_owned(),
            result: line["result"].to_owned(),
            code: told["code"].as_i64().unwrap(),
        };
        self.audit_agrees(&verdict);
        let attached = host.ssh(&["attach", job]);
        assert_eq!(i64::from(attached.code), verdict.code, "{attached:#?}");
        assert_eq!(attached.value("result"), verdict.result);
        self.it_is_true(&verdict, &record, before);
        verdict
    }

    /// The log is whole, and says of the job what its answer says.
    #[track_caller]
    fn audit_agrees(&self, verdict: &Verdict) {
        self.host.root("nixgatectl audit verify");
        let ends: Vec<Value> =
            self.events(&verdict.job).into_iter().filter(|event| event["event"] == "ended").collect();
        assert!(!ends.is_empty(), "no end of {verdict:?} in the audit log");
        let last = &ends[ends.len() - 1]["detail"];
        assert_eq!(
            (&last["result"], &last["code"]),
            (&verdict.result.as_str().into(), &verdict.code.to_string().into())
        );
    }

    /// The audit log of a job, or all of it, over all of its files.
    pub fn events(&self, job: &str) -> Vec<Value> {
        let only = if job.is_empty() { "cat".to_owned() } else { format!("grep -F '\"{job}\"'") };
        let text = self.host.root(&format!(
            "cd /var/lib/nixgate/audit; shopt -s nullglob; cat [0-9]*.jsonl log.jsonl /dev/null 2>/dev/null | {only} || true"
        ));
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// What nixgate says of the host is what the host is.
    #[track_caller]
    fn it_is_true(&self, verdict: &Verdict, record: &Value, before: &Facts) {
        let now = self.facts();
        let status: Value =
            serde_json::from_str(&self.host.ssh(&["status", "--json"]).expect(0).stdout).unwrap();
        let said = [("running", &now.triple.running), ("profile", &now.profile), ("default", &now.default)];
        for (key, value) in said {
            assert_eq!(status[key], value.as_str(), "{key} {verdict:?} {status:#}");
        }
        assert_eq!(now.profile, now.default, "profile and boot default are two systems: {verdict:?}");
        let new = record["new"].as_str().unwrap_or_default();
        let restarted = now.boot != before.boot;
        // A restart ends what runs until the next one.
        let old = if restarted { &before.default } else { &before.triple.running }.as_str();
        let running = now.triple.running.as_str();
        match (verdict.result.as_str(), record["verb"].as_str().unwrap_or_default()) {
            ("committed", "boot") => {
                assert_eq!(now.profile, new, "{verdict:?}");
                assert!(running == old || (restarted && running == new), "{verdict:?} {now:?}");
            }
            ("committed", _) => assert_eq!((running, now.profile.as_str()), (new, new), "{verdict:?}"),
            ("kept", _) => {
                assert_eq!(now.profile, before.profile, "{verdict:?}");
                assert_eq!(running, if restarted { old } else { new }, "{verdict:?}");
            }
            ("needs-operator", _) => assert!([old, new].contains(&running), "{verdict:?} {now:?}"),
            _ => {
                assert_eq!((running, &now.profile), (old, &before.profile), "{verdict:?}");
                let moved = self.events(&verdict.job).iter().any(|event| event["event"] == "committing");
                let same =
                    (&now.triple.profile, &now.triple.boot) == (&before.triple.profile, &before.triple.boot);
                assert!(moved || same, "{verdict:?} {now:?} {before:?}");
            }
        }
    }

    /// Whether the next row may have it.
    pub fn is_clean(&self) -> bool {
        let units = "systemctl list-units --no-legend 'nixgate*@*.service' 'nixgate-*.service' | grep -c . | grep -qx 0";
        let command = format!(
            "{DEPLOYABLE} && {units} && grep -q '\"job\": null' /var/lib/nixgate/state.json && [ $(readlink -f /run/current-system) = $(readlink -f /nix/var/nix/profiles/system) ]"
        );
        self.kind != Kind::Own && self.host.root_code(&command) == 0
    }
}
