//! What is written down is true: tables, examples, links and commands of the documentation against the code.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod repository;

use nixgate::decide::answer::CODES;
use nixgate::decide::config::{Config, EXAMPLE};
use nixgate::decide::privileged::Platform;
use nixgate::decide::render;
use nixgate::decide::request::{Request, VERBS};
use repository::{blocks, files, root, text};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn pages() -> Vec<PathBuf> {
    let mut pages = files("docs", "md");
    pages.extend(["README.md", "SECURITY.md", "CHANGELOG.md"].map(|name| root().join(name)));
    pages
}

/// The cells of the table below a heading line.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let text = text(page);
    let rows: Vec<Vec<String>> = text
        .lines()
        .skip_while(|line| *line != heading)
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "{page} has no table {heading}");
    rows
}

fn plain(cell: &str) -> String {
    cell.replace('`', "")
}

#[test]
fn the_exit_codes_are_those_of_the_code() {
    let written = table("README.md", "| code | meaning | state of the host |");
    let known: Vec<Vec<String>> = CODES
        .iter()
        .map(|(code, meaning, state)| {
            vec![code.number().to_string(), (*meaning).to_owned(), (*state).to_owned()]
        })
        .collect();
    assert_eq!(written, known);
}

/// What `scripts/nixgate-deploy` says of a code, and that its help and the page on CI name the codes of its own.
#[test]
fn the_client_knows_the_exit_codes() {
    let script = text("scripts/nixgate-deploy");
    for (code, meaning, state) in CODES {
        let state = match state {
            "new, or unchanged" => String::new(),
            "see the answer" => "; see the answer".to_owned(),
            "needs an operator" => "; the host needs an operator".to_owned(),
            state => format!("; the host is {state}"),
        };
        let row = format!("\n    {}) echo '{meaning}{state}' ;;\n", code.number());
        assert!(script.contains(&row), "{row}");
    }
    let help = Command::new("sh").arg(root().join("scripts/nixgate-deploy")).arg("--help").output().unwrap();
    assert!(help.status.success() && help.stderr.is_empty());
    let help = String::from_utf8(help.stdout).unwrap();
    for row in table("docs/ci.md", "| code | of the client itself | state of the host |") {
        assert!(help.contains(&format!("\n  {:<5}{}", row[0], row[1])), "{row:?}");
    }
    for option in script.lines().filter_map(|line| line.trim().strip_prefix("--")?.split_once(") ")) {
        let name = option.0.split(' ').next().unwrap_or_default();
        assert!(help.contains(&format!("  --{name}")), "{option:?}");
    }
}

/// Two lines of a job's log that a client acts on, so they stay as they are; the containers of `client.rs` show the rest.
#[test]
fn the_client_acts_on_lines_that_the_job_writes() {
    let script = text("scripts/nixgate-deploy");
    for (source, written, read) in [
        ("src/job.rs", "\"job {}: {} by {}\"", "ask:\"nixgate: job $id: $request by \"*"),
        (
            "src/job/trial.rs",
            "\"waiting {} s for `confirm {}` over a new connection;",
            "\"nixgate: waiting \"*\" s for \\`confirm $job\\` over a new connection\"*",
        ),
    ] {
        assert!(text(source).contains(written) && script.contains(read), "{source}: {written}, {read}");
    }
}

#[test]
fn the_verbs_and_their_arguments_are_those_of_the_parser() {
    let written = table("README.md", "| verb | argument | what it does |");
    let names: Vec<String> = written.iter().map(|row| plain(&row[0])).collect();
    let known: Vec<&str> = VERBS.iter().map(|(_, name)| *name).chain(["true"]).collect();
    assert_eq!(names, known);
    for row in written {
        let argument = match plain(&row[1]).as_str() {
            "[COMMIT]" => "0123456789abcdef0123456789abcdef01234567",
            "[GENERATION]" => "41",
            "[JOB]" => "12-0a1b2c3d",
            "[--json]" => "--json",
            "" => "",
            other => panic!("{other}"),
        };
        let verb = plain(&row[0]);
        assert!(Request::parse(verb.as_bytes()).is_ok(), "{verb}");
        let request = format!("{verb} {argument}");
        assert_eq!(Request::parse(request.as_bytes()).is_ok(), !argument.is_empty(), "{request}");
    }
}

#[test]
fn every_configuration_is_one() {
    let mut seen = 0;
    for page in pages() {
        for block in blocks(&page, "toml") {
            seen += 1;
            assert!(Config::parse(&block).is_ok(), "{page:?}: {:?}\n{block}", Config::parse(&block));
        }
    }
    assert!(seen >= 2);
}

#[test]
fn every_line_of_the_sshd_block_has_its_reason() {
    let block = render::sshd(Platform::Nixos);
    let gate =
        |value: &str| if value.ends_with("/nixgate") { "the gate".to_owned() } else { value.to_owned() };
    let rendered: Vec<(String, String)> = block
        .lines()
        .filter(|line| line.starts_with(' '))
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(key, value)| (key.to_owned(), gate(value)))
        .collect();
    let written: Vec<(String, String)> = table("docs/sshd.md", "| option | value | why |")
        .iter()
        .map(|row| (plain(&row[0]), plain(&row[1])))
        .collect();
    assert_eq!(written, rendered);
}

#[test]
fn every_link_and_every_page_that_a_message_names_is_there() {
    for page in pages() {
        let text = text(&page);
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let target = page.parent().unwrap().join(link);
            assert!(link.contains("://") || target.exists(), "{page:?} links to {link}");
        }
    }
    for source in files("src", "rs") {
        let text = text(&source);
        for rest in text.split("docs/").skip(1) {
            let name: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_./".contains(*c)).collect();
            let name = name.trim_end_matches('.');
            assert!(
                !name.ends_with(".md") || root().join("docs").join(name).exists(),
                "{source:?}: docs/{name}"
            );
        }
    }
    assert!(text("README.md").contains("\n## Exit 30\n"), "the answer of a failed revert names it");
}

#[test]
fn every_command_of_this_repository_that_the_readme_names_is_there() {
    for command in ["./try", "./test"] {
        assert!(text("README.md").contains(command));
        assert!(root().join(command).exists(), "{command}");
    }
}

#[test]
fn every_command_of_nixgatectl_that_is_written_down_exists() {
    let mut commands = BTreeSet::new();
    let sources = [files("src", "rs"), pages()].concat();
    for path in sources {
        let text = text(&path);
        for rest in text.split("nixgatectl ").skip(1) {
            let word: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
            commands.insert(word);
        }
    }
    commands.remove("");
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        let help =
            Command::new(env!("CARGO_BIN_EXE_nixgatectl")).args([&command, "--help"]).output().unwrap();
        assert!(help.status.success(), "nixgatectl {command}");
    }
}

/// Tests by suite: `tests/SUITE.rs`, or `unit` for those beside the code. A row of the exam is a file that it lists.
fn is_a_test(suite: &str, name: &str) -> bool {
    if suite == "exam" {
        let listed = text("tests/exam/rows/mod.rs").lines().any(|line| line.trim() == name);
        return listed && root().join(format!("tests/exam/rows/{name}.rs")).exists();
    }
    let sources =
        if suite == "unit" { files("src", "rs") } else { vec![root().join(format!("tests/{suite}.rs"))] };
    sources.iter().any(|path| text(path).contains(&format!("#[test]\n{}fn {name}()", indent(suite))))
}

fn indent(suite: &str) -> &'static str {
    if suite == "unit" { "    " } else { "" }
}

#[test]
fn every_attack_of_the_security_page_names_tests_that_are_there() {
    let page = text("SECURITY.md");
    let tables: Vec<&str> = page.split("| attempt | what comes of it | shown by |\n").skip(1).collect();
    assert!(tables.len() >= 7, "a table for each boundary");
    let rows = tables.iter().flat_map(|table| table.lines().skip(1).take_while(|line| line.starts_with('|')));
    let (mut named, mut bare) = (0, Vec::new());
    for row in rows {
        let shown = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let tests: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        for test in &tests {
            let (suite, name) = test.split_once("::").unwrap_or_else(|| panic!("{test}"));
            assert!(is_a_test(suite, name), "no test {test}");
        }
        named += tests.len();
        bare.extend(tests.is_empty().then_some(row));
    }
    assert!(named > 40, "{named}");
    // What no test can show is said to be so; a new row has to name one.
    let beginnings = ["| an activation that wants to stay ", "| the deploy key is copied out of the runner "];
    assert!(
        bare.len() == beginnings.len()
            && bare.iter().zip(beginnings).all(|(row, begins)| row.starts_with(begins)),
        "{bare:#?}"
    );
}

#[test]
fn the_changelog_says_what_is_about_security() {
    assert!(text("CHANGELOG.md").contains("### Security"));
    assert!(EXAMPLE.contains("version = 1"));
}

#[test]
fn the_page_of_the_states_is_made_from_their_table() {
    let path = root().join("docs/states.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, nixgate::decide::state::page()).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), nixgate::decide::state::page());
}
