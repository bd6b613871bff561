//! Everything that runs as root on nixgate's behalf: one table.
//!
//! The executor, the sudoers file, `nixgatectl explain` and the tests are made from it. Each argv is a
//! constant of the host's configuration. A *frozen* row is the same in every version and configuration,
//! because the program that needs it may not be the one whose rules are in force: once a trial runs,
//! `/etc/sudoers` is the candidate's.

use super::config::{Config, WhenRevertFails};
use super::value::Name;
use std::fmt;

/// Where the programs are. Two fixed tables; no path of a program is a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    Nixos,
    /// The file system hierarchy of Debian and its kin: for tests and `./try`.
    Fhs,
}

/// A program that nixgate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Choom,
    Curl,
    Git,
    Grep,
    Nix,
    NixEnv,
    NixInstantiate,
    NixStore,
    Nixgate,
    NixgateJob,
    Prlimit,
    Ssh,
    SshKeygen,
    SshKeyscan,
    Sudo,
    Systemctl,
    SystemdRun,
    Tailscale,
    True,
}

impl Platform {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "nixos" => Some(Self::Nixos),
            "fhs" => Some(Self::Fhs),
            _ => None,
        }
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nixos => "nixos",
            Self::Fhs => "fhs",
        }
    }
    /// The directory that holds the programs.
    pub fn bin(self) -> &'static str {
        match self {
            Self::Nixos => "/run/current-system/sw/bin",
            Self::Fhs => "/usr/bin",
        }
    }
    pub fn path(self, program: Program) -> String {
        let name = match program {
            Program::Choom => "choom",
            Program::Curl => "curl",
            Program::Git => "git",
            Program::Grep => "grep",
            Program::Nix => "nix",
            Program::NixEnv => "nix-env",
            Program::NixInstantiate => "nix-instantiate",
            Program::NixStore => "nix-store",
            Program::Nixgate => "nixgate",
            Program::NixgateJob => "nixgate-job",
            Program::Prlimit => "prlimit",
            Program::Ssh => "ssh",
            Program::SshKeygen => "ssh-keygen",
            Program::SshKeyscan => "ssh-keyscan",
            Program::Sudo if self == Self::Nixos => return "/run/wrappers/bin/sudo".to_owned(),
            Program::Sudo => "sudo",
            Program::Systemctl => "systemctl",
            Program::SystemdRun => "systemd-run",
            Program::Tailscale => "tailscale",
            Program::True => "true",
        };
        format!("{}/{name}", self.bin())
    }
}

/// One privileged command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Row {
    /// Clear what an earlier job left; its exit code is ignored.
    Reset,
    /// `nixgate-revert` becomes the running system.
    KeepRunning,
    /// `nixgate-committed` becomes the system of the profile.
    KeepCommitted,
    /// `nixgate-candidate` becomes `roots/candidate`: from here on nothing outside root's reach is read.
    Stage,
    /// The dead man's switch.
    Arm,
    /// The candidate's own pre-switch checks.
    Check,
    Trial,
    Revert,
    /// What the revert does, when its unit is gone.
    Restore,
    /// After a revert by hand.
    Disarm,
    /// Disarm in favour of what runs: PID 1 decides the race, as in `Commit`. The end of `test`.
    Settle,
    Set,
    Unset,
    /// The boot entry; it conflicts with timer and revert, so PID 1 decides the race.
    Commit,
    Uncommit,
    BootDefaultSystemdBoot,
    BootDefaultGrub,
    PruneRevert,
    PruneCommitted,
    PruneCandidate,
    Reboot,
    /// `Check` and `Trial` of the candidate's specialisation of a name that the configuration keeps.
    CheckSpecialisation(Name),
    TrialSpecialisation(Name),
}

/// Every row that is there once, in the order in which a deploy meets them.
pub const ROWS: [Row; 21] = [
    Row::Reset,
    Row::KeepRunning,
    Row::KeepCommitted,
    Row::Stage,
    Row::Arm,
    Row::Check,
    Row::Trial,
    Row::Revert,
    Row::Restore,
    Row::Disarm,
    Row::Settle,
    Row::Set,
    Row::Unset,
    Row::Commit,
    Row::Uncommit,
    Row::BootDefaultSystemdBoot,
    Row::BootDefaultGrub,
    Row::PruneRevert,
    Row::PruneCommitted,
    Row::PruneCandidate,
    Row::Reboot,
];

pub const PROFILES: &str = "/nix/var/nix/profiles";
pub const SYSTEM: &str = "/nix/var/nix/profiles/system";
pub const REVERT: &str = "/nix/var/nix/profiles/nixgate-revert";
pub const COMMITTED: &str = "/nix/var/nix/profiles/nixgate-committed";
pub const CANDIDATE: &str = "/nix/var/nix/profiles/nixgate-candidate";
pub const RUNNING: &str = "/run/current-system";
pub const CANDIDATE_ROOT: &str = "/var/lib/nixgate/roots/candidate";
pub const ACTIVATE_LOG: &str = "/var/log/nixgate/activate.log";
pub const COMMIT_LOG: &str = "/var/log/nixgate/commit.log";
pub const REVERT_LOG: &str = "/var/log/nixgate/revert.log";

/// Our transient units, for `reset` and for telling our noise from the system's.
pub const UNITS: [&str; 7] = [
    "nixgate-activate.service",
    "nixgate-commit.service",
    "nixgate-restore.service",
    "nixgate-revert.service",
    "nixgate-revert.timer",
    "nixgate-settle.service",
    "nixgate-uncommit.service",
];

/// How long a killed activation may take to end, and PID 1 waits before SIGKILL.
pub const STOP_SECONDS: u64 = 10;
/// How long the boot loader may take, and `restore`.
pub const COMMIT_SECONDS: u64 = 300;

impl Row {
    /// The same in every version and configuration of nixgate; a golden file guards it.
    pub fn is_frozen(&self) -> bool {
        !matches!(
            self,
            Self::Arm
                | Self::Check
                | Self::Trial
                | Self::CheckSpecialisation(_)
                | Self::TrialSpecialisation(_)
        )
    }

    /// Whether this configuration has the row at all.
    fn is_granted(&self, config: &Config) -> bool {
        *self != Self::Reboot || config.revert.when_it_fails == WhenRevertFails::Reboot
    }

    /// The exact argv behind `sudo -n`.
    pub fn argv(&self, config: &Config, platform: Platform) -> Vec<String> {
        let words = |program: Program, words: &[&str]| -> Vec<String> {
            std::iter::once(platform.path(program)).chain(words.iter().map(|w| (*w).to_owned())).collect()
        };
        let systemctl = |args: &[&str]| words(Program::Systemctl, args);
        let set = |profile, path| words(Program::NixEnv, &["--profile", profile, "--set", path]);
        let prune =
            |profile, keep| words(Program::NixEnv, &["--profile", profile, "--delete-generations", keep]);
        let grep = |args: &[&str]| words(Program::Grep, args);
        match self {
            Self::Reset => systemctl(&[&["reset-failed"], &UNITS[..]].concat()),
            Self::KeepRunning => set(REVERT, RUNNING),
            Self::KeepCommitted => set(COMMITTED, SYSTEM),
            Self::Stage => set(CANDIDATE, CANDIDATE_ROOT),
            Self::Arm => arm(config, platform),
            Self::Check => vec![switch_program(CANDIDATE), "check".to_owned()],
            Self::Trial => trial(config, platform, CANDIDATE),
            Self::CheckSpecialisation(name) => {
                vec![switch_program(&specialisation(name)), "check".to_owned()]
            }
            Self::TrialSpecialisation(name) => trial(config, platform, &specialisation(name)),
            Self::Revert => systemctl(&["start", "nixgate-revert.service"]),
            Self::Restore => {
                unit(platform, "nixgate-restore", REVERT_LOG, COMMIT_SECONDS, &[]).running(REVERT, "test")
            }
            Self::Disarm => systemctl(&["stop", "nixgate-revert.timer"]),
            Self::Settle => unit(platform, "nixgate-settle", COMMIT_LOG, COMMIT_SECONDS, &DISARMING)
                .running_program(platform.path(Program::True)),
            Self::Set => set(SYSTEM, CANDIDATE),
            Self::Unset => set(SYSTEM, COMMITTED),
            Self::Commit => unit(platform, "nixgate-commit", COMMIT_LOG, COMMIT_SECONDS, &DISARMING)
                .running(CANDIDATE, "boot"),
            Self::Uncommit => {
                unit(platform, "nixgate-uncommit", COMMIT_LOG, COMMIT_SECONDS, &[]).running(COMMITTED, "boot")
            }
            Self::BootDefaultSystemdBoot => {
                grep(&["-rs", "-e", "default", "-e", "preferred", "-e", "init=", "/boot/loader"])
            }
            Self::BootDefaultGrub => grep(&["-hs", "-e", "init=", "-e", "default=", "/boot/grub/grub.cfg"]),
            Self::PruneRevert => prune(REVERT, "+1"),
            Self::PruneCommitted => prune(COMMITTED, "+5"),
            Self::PruneCandidate => prune(CANDIDATE, "+1"),
            Self::Reboot => systemctl(&["reboot"]),
        }
    }
}

/// The name of a row, in the rules and in the log.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CheckSpecialisation(name) => write!(f, "CheckSpecialisation {name}"),
            Self::TrialSpecialisation(name) => write!(f, "TrialSpecialisation {name}"),
            once => write!(f, "{once:?}"),
        }
    }
}

/// The rows that this configuration grants, with their argv: what sudoers has to allow, no more and no less.
pub fn table(config: &Config, platform: Platform) -> Vec<(Row, Vec<String>)> {
    let names = config.specialisation.names().into_iter().cloned();
    let kept =
        names.flat_map(|name| [Row::CheckSpecialisation(name.clone()), Row::TrialSpecialisation(name)]);
    ROWS.into_iter()
        .filter(|row| row.is_granted(config))
        .chain(kept)
        .map(|row| {
            let argv = row.argv(config, platform);
            (row, argv)
        })
        .collect()
}

/// Where a specialisation of the candidate is.
fn specialisation(name: &Name) -> String {
    format!("{CANDIDATE}/specialisation/{name}")
}

/// What makes a unit the winner or the loser of the race with the dead man's switch.
const DISARMING: [&str; 4] = [
    "Conflicts=nixgate-revert.timer",
    "Conflicts=nixgate-revert.service",
    "After=nixgate-revert.timer",
    "After=nixgate-revert.service",
];

fn switch_program(profile: &str) -> String {
    format!("{profile}/bin/switch-to-configuration")
}

/// The beginning of a `systemd-run` line, up to the program.
struct Unit(Vec<String>);

/// A transient unit that is waited for, with a deadline of PID 1's and its output in a root-owned file:
/// a pipe would break with its reader, and the journal loses lines.
fn unit(platform: Platform, name: &str, log: &str, seconds: u64, properties: &[&str]) -> Unit {
    let mut argv = vec![platform.path(Program::SystemdRun)];
    argv.extend(["--quiet", "--wait", "--no-ask-password", "--service-type=exec"].map(str::to_owned));
    argv.push(format!("--unit={name}"));
    let mut property = |text: String| argv.push(format!("--property={text}"));
    property(format!("RuntimeMaxSec={seconds}"));
    property(format!("TimeoutStopSec={STOP_SECONDS}"));
    property(format!("StandardOutput=truncate:{log}"));
    property("StandardError=inherit".to_owned());
    properties.iter().for_each(|text| property((*text).to_owned()));
    Unit(argv)
}

impl Unit {
    fn running(self, profile: &str, action: &str) -> Vec<String> {
        let mut argv = self.running_program(switch_program(profile));
        argv.push(action.to_owned());
        argv
    }
    fn running_program(mut self, program: String) -> Vec<String> {
        self.0.push(program);
        self.0
    }
}

/// The trial. `--collect` with the armed revert's `After=` keeps its result readable until it is disarmed
/// and leaves no failed unit behind that would block the next one.
/// Where the dead man's switch was faster (the job, or the host, had stood still), PID 1 refuses it: its own line of
/// conflict is needed, because that of the revert may be passed over. The lock alone would not do: up to 24.11
/// switch-to-configuration waits for it, and then the candidate would run without a way back.
fn trial(config: &Config, platform: Platform, system: &str) -> Vec<String> {
    let seconds = config.limits.activation.as_secs();
    let mut unit =
        unit(platform, "nixgate-activate", ACTIVATE_LOG, seconds, &["Conflicts=nixgate-revert.service"]);
    unit.0.push("--collect".to_owned());
    unit.running(system, "test")
}

/// The dead man's switch: a timer of PID 1's that needs no nixgate, no sudo, no network and no sshd to fire.
///
/// Without default dependencies emergency mode does not stop it. `After=` makes it wait until a hung
/// activation is dead. A lock that somebody else holds (11) is tried again every 2 s, 60 times, without
/// passing through `failed` (`RestartMode=direct`), so that `FailureAction=` means the end of all tries.
fn arm(config: &Config, platform: Platform) -> Vec<String> {
    let mut argv = vec![platform.path(Program::SystemdRun)];
    let mut word = |text: String| argv.push(text);
    for text in ["--quiet", "--no-ask-password", "--unit=nixgate-revert", "--service-type=oneshot"] {
        word(text.to_owned());
    }
    word(format!("--on-active={}", config.dead_man().as_secs()));
    for text in ["AccuracySec=1s", "DefaultDependencies=no"] {
        word(format!("--timer-property={text}"));
    }
    let reboot = match config.revert.when_it_fails {
        WhenRevertFails::Reboot => Some("FailureAction=reboot"),
        WhenRevertFails::Stay => None,
    };
    let seconds = format!("TimeoutStartSec={}", config.limits.revert.as_secs());
    let stop = format!("TimeoutStopSec={STOP_SECONDS}");
    let log = format!("StandardOutput=append:{REVERT_LOG}");
    let properties = [
        "DefaultDependencies=no",
        "Conflicts=nixgate-activate.service",
        "After=nixgate-activate.service",
        &seconds,
        &stop,
        &log,
        "StandardError=inherit",
        "SuccessExitStatus=4",
        "RestartForceExitStatus=11",
        "RestartMode=direct",
        "RestartSec=2",
        "StartLimitIntervalSec=3600",
        "StartLimitBurst=60",
        "OnSuccess=nixgate-recover.service",
        "OnFailure=nixgate-recover.service",
    ];
    for text in properties.into_iter().chain(reboot) {
        word(format!("--property={text}"));
    }
    word(switch_program(REVERT));
    word("test".to_owned());
    argv
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::parse(super::super::config::EXAMPLE).unwrap()
    }

    fn keeping(names: &str) -> Config {
        let text = super::super::config::EXAMPLE.replacen("keep = []", &format!("keep = [{names}]"), 1);
        Config::parse(&text).unwrap()
    }

    #[test]
    fn every_command_is_absolute_and_needs_no_quoting() {
        for platform in [Platform::Nixos, Platform::Fhs] {
            for (row, argv) in table(&keeping("\"gui\", \"on-site_2.x\""), platform) {
                assert!(argv[0].starts_with('/'), "{row:?}");
                for word in &argv {
                    assert!(!word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic()), "{row:?} {word}");
                    assert!(!word.contains(['*', '?', '[', ']', '!', '"', '\'', '$', '%']), "{row:?} {word}");
                }
                // ^…$ would be a regular expression to sudo, and an error to sudo-rs.
                assert!(!argv.iter().any(|w| w.starts_with('^')), "{row:?}");
            }
        }
    }

    #[test]
    fn frozen_rows_do_not_depend_on_the_configuration() {
        let mut other = keeping("\"gui\"");
        other.limits.activation *= 2;
        other.limits.revert *= 3;
        other.revert.when_it_fails = WhenRevertFails::Stay;
        for row in ROWS.into_iter().filter(|row| row.is_frozen()) {
            assert_eq!(row.argv(&config(), Platform::Nixos), row.argv(&other, Platform::Nixos), "{row:?}");
        }
        assert!(!table(&other, Platform::Nixos).iter().any(|(row, _)| *row == Row::Reboot));
    }

    #[test]
    fn a_kept_specialisation_adds_its_check_and_its_trial_and_no_other_row() {
        let (plain, kept) = (config(), keeping("\"gui\", \"rescue\", \"gui\""));
        let before = table(&plain, Platform::Nixos);
        let (same, more) =
            table(&kept, Platform::Nixos).into_iter().partition::<Vec<_>, _>(|r| before.contains(r));
        assert_eq!(same, before);
        let names: Vec<String> = more.iter().map(|(row, _)| row.to_string()).collect();
        let wanted = ["gui", "rescue"]
            .map(|n| [format!("CheckSpecialisation {n}"), format!("TrialSpecialisation {n}")]);
        assert_eq!(names, wanted.concat());
        // The same unit with the same limits: the dead man's switch waits for it, and the job reads its result.
        let trial = Row::Trial.argv(&kept, Platform::Nixos).join(" ");
        assert_eq!(more[1].1.join(" "), trial.replace(CANDIDATE, &format!("{CANDIDATE}/specialisation/gui")));
        assert!(more.iter().all(|(row, _)| !row.is_frozen()));
    }

    #[test]
    fn the_only_path_that_root_reads_outside_its_own_reach_is_the_candidate_root() {
        let var: Vec<String> = table(&config(), Platform::Nixos)
            .into_iter()
            .flat_map(|(_, argv)| argv)
            .filter(|word| word.contains("/var/lib"))
            .collect();
        assert_eq!(var, [CANDIDATE_ROOT]);
    }
}
