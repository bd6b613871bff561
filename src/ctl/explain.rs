//! `explain`: the verdict on a request, by the very function that the job judges with, and what would follow.

use super::{CtlError, Host, print};
use crate::act::clock;
use crate::decide::answer::Code;
use crate::decide::claim::{Claim, Proof};
use crate::decide::config::{Config, Loader};
use crate::decide::identity;
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::plan::{Candidate, Goal, Plan};
use crate::decide::policy::{Caller, Facts, Identity, judge, table_of};
use crate::decide::privileged::{Platform, Program, Row, table};
use crate::decide::request::Request;
use crate::decide::tailscale::TailnetName;
use crate::decide::value::Fingerprint;
use crate::decide::window::Moment;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Who asks, and when.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// Who asks: a fingerprint (SHA256:...) or the file of a public key or certificate.
    #[arg(long, value_name = "FINGERPRINT|FILE")]
    key: Option<String>,
    /// Who asks through Tailscale SSH: a user's login name, or a tag (tag:ci).
    #[arg(long, value_name = "LOGIN|TAG", conflicts_with = "key")]
    tailscale: Option<String>,
    /// When, as in 2026-11-23T08:00:00Z [default: now].
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Moment>,
    /// What is asked, as one word of the shell: 'switch', 'rollback 41'.
    request: String,
}

fn moment(text: &str) -> Result<Moment, String> {
    let time = humantime::parse_rfc3339(text).map_err(|error| error.to_string())?;
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
    Ok(Moment::from_unix(seconds.as_secs()))
}

pub fn explain(host: &Host, asked: &Asked) -> Result<Code, CtlError> {
    let request = Request::parse(asked.request.as_bytes()).or_stop(Code::Malformed)?;
    let config = host.read()?;
    let proofs = match (&asked.key, &asked.tailscale) {
        (Some(key), _) => proofs(key)?,
        (None, Some(name)) => vec![Proof::Tailnet(vec![TailnetName::parse(name).or_stop(Code::Malformed)?])],
        (None, None) => Vec::new(),
    };
    let facts = Facts {
        freeze: freeze(&host.config.with_file_name("freeze")),
        now: asked.at.unwrap_or_else(|| Moment::from_unix(clock::wall_seconds())),
        ..Facts::default()
    };
    let (code, text) = explained(&config, host.platform(), proofs, request, &facts);
    print(&text)?;
    Ok(code)
}

/// The reason of a freeze, where there is one. What is there and cannot be read freezes, too.
fn freeze(path: &Path) -> Option<String> {
    match fs::read_to_string(path) {
        Ok(text) => Some(text.lines().next().unwrap_or("no reason given").to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("{}: {error}", path.display())),
    }
}

/// What sshd would have said of this key.
fn proofs(key: &str) -> Result<Vec<Proof>, CtlError> {
    if key.starts_with("SHA256:") {
        return Ok(vec![Proof::Key(Fingerprint::parse(key).or_stop(Code::Malformed)?)]);
    }
    let path = Path::new(key);
    let text = fs::read_to_string(path).map_err(|source| CtlError::Read { path: path.to_owned(), source })?;
    let found = proofs_in(&text);
    if found.is_empty() {
        let why = format!("{key}: not a public key as ssh-keygen writes one (KEY.pub or KEY-cert.pub)");
        return Err(Stop::new(Code::Malformed, why).into());
    }
    Ok(found)
}

/// Of the first key in the text of a `.pub` file.
fn proofs_in(text: &str) -> Vec<Proof> {
    let mut words = text.split_whitespace();
    match (words.next(), words.next()) {
        (Some(kind), Some(blob)) => identity::proofs(format!("publickey {kind} {blob}\n").as_bytes()).read,
        _ => Vec::new(),
    }
}

fn explained(
    config: &Config,
    platform: Platform,
    proofs: Vec<Proof>,
    request: Request,
    facts: &Facts,
) -> (Code, String) {
    if request == Request::True {
        return (Code::Done, "verdict  allowed: the gate answers it by itself, to anybody\n".to_owned());
    }
    let caller = Caller::Gate(Claim { address: None, proofs });
    match judge(config, &caller, request, facts) {
        Err(refusal) => (Code::NotAllowed, format!("verdict  refused: {refusal}\n")),
        Ok(authorized) => {
            let mut out = "verdict  allowed\n".to_owned();
            let _ = writeln!(out, "rule     {}", rule(config, authorized.identity()));
            match Plan::of(authorized, config) {
                None => out += "as root  nothing: it is answered from the state\n",
                Some(plan) => out += &commands(config, platform, &plan),
            }
            (Code::Done, out)
        }
    }
}

fn rule(config: &Config, identity: &Identity) -> String {
    let Some(tables) = &config.access else {
        return "no [[access]] table: every key that sshd accepts, all but `rollback GENERATION`".to_owned();
    };
    match table_of(tables, &identity.proofs) {
        Some(access) => {
            let role = access.role.as_ref().map_or(String::new(), |role| format!("role = \"{role}\", "));
            format!("[[access]] name = \"{}\", {role}credential {}", access.name, access.credential)
        }
        None => "none".to_owned(),
    }
}

/// The exact lines, in order; then those that only a failure needs.
fn commands(config: &Config, platform: Platform, plan: &Plan) -> String {
    let granted = table(config, platform);
    let sudo = platform.path(Program::Sudo);
    let lines = |rows: &[Row]| -> String {
        rows.iter()
            .filter_map(|row| granted.iter().find(|(other, _)| other == row))
            .map(|(row, argv)| format!("  # {row}\n  {sudo} -n -- {}\n", argv.join(" ")))
            .collect()
    };
    let (always, failing) = rows(plan.goal(), plan.candidate(), config.boot.loader);
    let mut out = match always.is_empty() {
        true => "as root  nothing: it fetches, verifies and builds\n".to_owned(),
        false => format!(
            "as root  in this order, and less of it where the host is there already:\n{}",
            lines(&always)
        ),
    };
    for name in config.specialisation.names() {
        if config.specialisation.kept(plan.verb(), name.as_str()).is_some() {
            let instead = [Row::CheckSpecialisation(name.clone()), Row::TrialSpecialisation(name.clone())];
            out += &format!(
                "while the specialisation {name} runs, in the place of Check and Trial:\n{}",
                lines(&instead)
            );
        }
    }
    if !failing.is_empty() {
        out += &format!("if it fails, as far as it is needed:\n{}", lines(&failing));
    }
    out
}

/// The rows that a job with this goal meets, as `job/deploy.rs` and those below it go through them. What sudo logs of a
/// real job is compared with it: `what_explain_says_is_what_runs_as_root_in_the_same_order`.
fn rows(goal: Goal, candidate: &Candidate, loader: Loader) -> (Vec<Row>, Vec<Row>) {
    let default = match loader {
        Loader::SystemdBoot => vec![Row::BootDefaultSystemdBoot],
        Loader::Grub => vec![Row::BootDefaultGrub],
        Loader::None => vec![],
    };
    let stage = [Row::Reset, Row::KeepRunning, Row::KeepCommitted, Row::Stage];
    let prune = [Row::PruneRevert, Row::PruneCandidate, Row::PruneCommitted];
    // Which system was before this one depends on where the host stands.
    let which = match candidate {
        Candidate::Source { .. } => &[][..],
        Candidate::Earlier(_) => &default,
    };
    let begin = [which, &default, &stage, &prune].concat();
    let trial = [&begin[..], &[Row::Check, Row::Arm, Row::Trial]].concat();
    let commit = [&[Row::Set, Row::Commit], &default[..]].concat();
    let back = [Row::Revert, Row::Restore, Row::Disarm, Row::Reboot];
    let undo = [Row::Unset, Row::Reset, Row::Uncommit];
    match goal {
        Goal::Built => (Vec::new(), Vec::new()),
        Goal::Running => ([&trial[..], &[Row::Settle]].concat(), back.to_vec()),
        Goal::AtBoot => ([begin, commit].concat(), [&undo[..], &back].concat()),
        Goal::Permanent => ([trial, commit].concat(), [&undo[..], &back].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::config::EXAMPLE;
    use crate::decide::privileged::ROWS;

    fn ask(more: &str, key: Option<&str>, request: &str) -> (Code, String) {
        let config = Config::parse(&format!("{EXAMPLE}\n{more}")).unwrap();
        let proofs = key.map(|key| Proof::Key(Fingerprint::parse(key).unwrap())).into_iter().collect();
        let request = Request::parse(request.as_bytes()).unwrap();
        explained(&config, Platform::Fhs, proofs, request, &Facts::default())
    }

    #[test]
    fn the_verdict_names_its_rule_and_the_exact_commands_in_order() {
        let key = format!("SHA256:{}", "A".repeat(43));
        let access = format!("[[access]]\nname = \"ci\"\nkey = \"{key}\"\nverbs = [\"switch\"]\n");
        let (code, text) = ask(&access, Some(&key), "switch");
        assert_eq!(code, Code::Done);
        assert!(text.contains("name = \"ci\""), "{text}");
        let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("no {word} in {text}"));
        assert!(at("# Stage") < at("# Arm") && at("# Arm") < at("# Trial") && at("# Trial") < at("# Set"));
        assert!(text.contains("/usr/bin/sudo -n -- /usr/bin/systemctl start nixgate-revert.service"));
        assert_eq!(ask(&access, Some(&key), "boot").0, Code::NotAllowed);
        assert_eq!(ask(&access, None, "switch").0, Code::NotAllowed);
    }

    #[test]
    fn another_hour_and_a_node_of_the_tailnet_can_be_asked_about() {
        let at = |text: &str| Facts { now: moment(text).unwrap(), ..Facts::default() };
        let text = format!(
            "{EXAMPLE}\n[[access]]\nname = \"bot\"\ntailscale = \"tag:ci\"\nrole = \"night\"\n\
             [[role]]\nname = \"night\"\nverbs = [\"fetch\"]\nwindows = [\"Mon..Fri 22:00-04:00 UTC\"]\n"
        );
        let config = Config::parse(&text).unwrap();
        let ask = |facts: &Facts| {
            let proofs = vec![Proof::Tailnet(vec![TailnetName::parse("tag:ci").unwrap()])];
            explained(&config, Platform::Fhs, proofs, Request::parse(b"fetch").unwrap(), facts)
        };
        let (code, text) = ask(&at("2026-11-23T22:00:00Z"));
        assert!(
            code == Code::Done && text.contains("role = \"night\", credential tailscale tag:ci"),
            "{text}"
        );
        let (code, text) = ask(&at("2026-11-23T21:59:59Z"));
        assert!(code == Code::NotAllowed && text.contains("opens Mon 22:00 UTC"), "{text}");
        assert!(moment("tomorrow").is_err() && moment("1969-12-31T23:59:59Z").is_err());
    }

    #[test]
    fn a_specialisation_that_stays_has_its_own_lines() {
        let text = EXAMPLE.replacen("keep = []", "keep = [\"gui\"]\nrollback = []", 1);
        let config = Config::parse(&text).unwrap();
        let ask = |request: &[u8]| {
            let request = Request::parse(request).unwrap();
            explained(&config, Platform::Fhs, Vec::new(), request, &Facts::default()).1
        };
        let switch = ask(b"switch");
        let (_, instead) = switch.split_once("while the specialisation gui runs").unwrap();
        let link = "nixgate-candidate/specialisation/gui/bin/switch-to-configuration";
        assert!(instead.contains(&format!("{link} check\n")) && instead.contains(&format!("{link} test\n")));
        for without in [ask(b"boot"), ask(b"rollback"), ask(b"fetch")] {
            assert!(!without.contains("specialisation"), "{without}");
        }
    }

    #[test]
    fn what_only_answers_runs_nothing_as_root() {
        for request in ["status", "fetch", "confirm", "attach"] {
            let (code, text) = ask("", None, request);
            assert_eq!(code, Code::Done);
            assert!(text.contains("as root  nothing") && !text.contains("sudo"), "{text}");
        }
        assert_eq!(ask("", None, "true").0, Code::Done);
    }

    #[test]
    fn every_row_of_the_table_is_met_by_some_verb() {
        let goals = [Goal::Built, Goal::Running, Goal::AtBoot, Goal::Permanent];
        let loaders = [Loader::SystemdBoot, Loader::Grub];
        let met: Vec<Row> = goals
            .into_iter()
            .flat_map(|goal| loaders.map(|loader| rows(goal, &Candidate::Earlier(None), loader)))
            .flat_map(|(always, failing)| [always, failing].concat())
            .collect();
        for row in ROWS {
            assert!(met.contains(&row), "{row:?}");
        }
    }

    #[test]
    fn a_key_file_is_read_as_sshd_would_show_it() {
        let line = include_str!("../../tests/data/auth-info").lines().next().unwrap();
        let key = line.strip_prefix("publickey ").unwrap();
        assert_eq!(proofs_in(&format!("{key} ci@forge\n")).len(), 1);
        assert!(proofs_in("-----BEGIN OPENSSH PRIVATE KEY-----").is_empty());
        assert!(proofs_in("").is_empty());
    }
}
