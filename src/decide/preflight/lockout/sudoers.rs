//! nixgate's sudo rules in a system's sudoers: each command of the table, in whatever form its rule is written.

use super::{Case, Verdict};
use crate::decide::config::Config;
use crate::decide::privileged::{Row, table};

/// `/etc/sudoers` of a system with what it includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sudoers {
    pub text: String,
    pub include: Include,
}

/// Where the includes of a sudoers file lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    Inside,
    /// Out of the system, so that not every rule can be seen.
    Outside,
}

/// The files and directories that a sudoers file includes.
pub fn includes(text: &str) -> Vec<&str> {
    let words = ["@includedir", "#includedir", "@include", "#include"];
    let lines = text.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
    lines.filter(|(word, _)| words.contains(word)).map(|(_, path)| path.trim().trim_matches('"')).collect()
}

pub(super) fn judge(case: &Case<'_>, running: Option<&Sudoers>, candidate: Option<&Sudoers>) -> Verdict {
    let mut verdict = Verdict::default();
    let Some(candidate) = candidate else {
        match running {
            Some(_) => verdict.lost.push("it has no sudoers file, so nixgate may nothing".to_owned()),
            None => verdict.not_judged.push("sudo rules: the systems have no etc/sudoers".to_owned()),
        }
        return verdict;
    };
    let missing: Vec<Row> = required(case)
        .into_iter()
        .filter(|(row, argv, config)| {
            let own = |sudoers: &Sudoers| grants(&sudoers.text, argv);
            // A rule of the candidate's own configuration cannot be in the running system.
            !own(candidate)
                && (*config == Rests::OnItsConfiguration || row.is_frozen() && running.is_some_and(own))
        })
        .map(|(row, ..)| row)
        .collect();
    if missing.is_empty() {
        return verdict;
    }
    match candidate.include {
        Include::Outside => {
            verdict
                .not_judged
                .push("sudo rules: its sudoers includes files outside of the system".to_owned());
        }
        Include::Inside => {
            let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
            verdict.lost.push(format!("its sudo rules do not let nixgate {}", names.join(", ")));
        }
    }
    verdict
}

/// What a rule has to be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rests {
    OnTheRunningSystem,
    OnItsConfiguration,
}

/// Where the candidate brings its own configuration, all that it grants; otherwise what is the same for every one.
fn required(case: &Case<'_>) -> Vec<(Row, Vec<String>, Rests)> {
    let rows = |config: &Config, rests: Rests| -> Vec<(Row, Vec<String>, Rests)> {
        table(config, case.platform).into_iter().map(|(row, argv)| (row, argv, rests)).collect()
    };
    match case.next {
        Some(next) => rows(next, Rests::OnItsConfiguration),
        None => {
            let mut rows = rows(case.config, Rests::OnTheRunningSystem);
            // Granted by configuration alone.
            rows.retain(|(row, ..)| *row != Row::Reboot);
            rows
        }
    }
}

/// Whether the command stands in it whole, or account nixgate may run everything.
fn grants(text: &str, argv: &[String]) -> bool {
    let plain = |text: &str| {
        let text: String = text.chars().filter(|c| *c != '\\').collect();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let command = argv.join(" ").replace('\\', "");
    let joined = text.replace("\\\n", " ");
    joined.lines().filter(|line| !line.trim_start().starts_with('#')).map(plain).any(|line| {
        let everything = line.starts_with("nixgate ") && line.ends_with("NOPASSWD: ALL");
        let whole = |(at, _): (usize, &str)| {
            let rest = line.get(at + command.len()..).unwrap_or_default().trim_start();
            rest.is_empty() || rest.starts_with(',')
        };
        everything || line.match_indices(command.as_str()).any(whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::config::EXAMPLE;
    use crate::decide::privileged::Platform;
    use crate::decide::render;

    fn sudoers(text: impl Into<String>) -> Sudoers {
        Sudoers { text: text.into(), include: Include::Inside }
    }

    #[test]
    fn every_rendered_rule_is_found_in_what_was_rendered_and_in_the_form_of_nixos() {
        let config = Config::parse(EXAMPLE).unwrap();
        for platform in [Platform::Nixos, Platform::Fhs] {
            let text = render::sudoers(&config, platform);
            let nixos: String = table(&config, platform)
                .iter()
                .map(|(_, argv)| {
                    format!("nixgate\tALL=(root:ALL) \tNOPASSWD: {}, NOPASSWD: /bin/x\n", argv.join(" "))
                })
                .collect();
            for (row, argv) in table(&config, platform) {
                assert!(grants(&text, &argv) && grants(&nixos, &argv), "{row:?}");
                assert!(
                    !grants("", &argv) && !grants(&text.replace("nixgate ALL", "# nixgate ALL"), &argv),
                    "{row:?}"
                );
                assert!(grants("nixgate ALL = (root) NOPASSWD: ALL", &argv));
            }
            let longer = ["/x/systemctl".to_owned(), "reboot".to_owned()];
            assert!(!grants("nixgate ALL = (root) NOPASSWD: /x/systemctl reboot --force", &longer));
        }
    }

    #[test]
    fn a_rule_that_is_lost_is_named_and_one_of_another_configuration_is_not_lost() {
        let config = Config::parse(EXAMPLE).unwrap();
        let mut other = config.clone();
        other.limits.activation *= 2;
        let full = |config: &Config| sudoers(render::sudoers(config, Platform::Nixos));
        let case = |next| Case { config: &config, platform: Platform::Nixos, proofs: &[], next };
        let lost = |case: &Case<'_>, new: &Sudoers| judge(case, Some(&full(&config)), Some(new)).lost;
        assert_eq!(lost(&case(None), &full(&other)), [""; 0]);
        assert_eq!(lost(&case(Some(&other)), &full(&other)), [""; 0]);
        assert_eq!(
            lost(&case(Some(&other)), &full(&config)),
            ["its sudo rules do not let nixgate Arm, Trial"]
        );
        let without: String = full(&config)
            .text
            .lines()
            .filter(|l| !l.contains("--unit\\=nixgate-commit"))
            .map(|l| format!("{l}\n"))
            .collect();
        assert_eq!(lost(&case(None), &sudoers(&without)), ["its sudo rules do not let nixgate Commit"]);
        let outside = Sudoers { text: without, include: Include::Outside };
        assert_eq!(lost(&case(None), &outside), [""; 0]);
    }

    #[test]
    fn includes_are_found_in_both_spellings() {
        let text = "root ALL=(ALL) ALL\n@includedir /etc/sudoers.d\n#include \"/etc/a b\"\n# include no\n#included x\n";
        assert_eq!(includes(text), ["/etc/sudoers.d", "/etc/a b"]);
    }
}
