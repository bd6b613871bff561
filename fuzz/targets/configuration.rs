//! What an operator writes: an accepted configuration has nothing in it that could not stand in a rule of sudo.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target};
use nixgate::decide::config::{
    CacheKey, CacheUrl, CheckKind, Config, ConfigError, EXAMPLE, Language, Limits, SourceKind, UnitName,
};
use nixgate::decide::evaluation::{self, Evaluation};
use nixgate::decide::policy::{TIMER, UNKNOWN, credentials_that_may};
use nixgate::decide::privileged::{Platform, table};
use nixgate::decide::render::sudoers;
use nixgate::decide::request::VERBS;
use nixgate::decide::tailscale::TailnetName;
use nixgate::decide::value::{Commit, Fingerprint};
use nixgate_fuzz::{PLANTED, Paths, begin, in_one_line};
use std::collections::HashSet;
use std::time::Duration;

const PATHS: Paths = Paths(&[
    "configuration",
    "flake",
    "nix",
    "prebuilt",
    "access by key",
    "access by certificate",
    "access by tailnet",
    "command",
    "unit",
    "tcp",
    "http",
]);

/// The example as it is, and with every line of it in use; each of its tables behind what no configuration is without;
/// the other kinds of source.
fn seeds() -> Vec<Vec<u8>> {
    let used: Vec<&str> = EXAMPLE.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect();
    let bare = |lines: &[&str]| -> String {
        lines
            .iter()
            .map(|line| line.split("  #").next().unwrap_or_default().trim_end())
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect()
    };
    let tables: Vec<&[&str]> = used.chunk_by(|_, next| !next.starts_with('[')).collect();
    let needed = bare(&tables[..2].concat());
    let indented: Vec<&str> = EXAMPLE.lines().filter_map(|line| line.strip_prefix("#     ")).collect();
    let prebuilt = format!("version = 1\n{}", bare(&indented));
    let single = tables[2..].iter().map(|table| needed.clone() + &bare(table));
    [EXAMPLE.to_owned(), bare(&used), include_str!("../../tests/container/config.toml").to_owned()]
        .into_iter()
        .chain([needed.replace("flake", "nix"), prebuilt])
        .chain(single)
        .map(String::into_bytes)
        .collect()
}

fuzz_target!(init: begin(&PATHS, seeds), |data: &[u8]| -> Corpus {
    // Only what was accepted is changed further: errors are many and lead nowhere.
    let Ok(text) = std::str::from_utf8(data) else { return Corpus::Reject };
    match parse(text) {
        Ok(config) => {
            accepted(&config);
            Corpus::Keep
        }
        Err(error) => {
            refused(text, &error);
            Corpus::Reject
        }
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, chance: u32| {
    in_one_line(data, size, max_size, chance)
});

/// The mistake: a limit of ten minutes and more is read as none.
fn parse(text: &str) -> Result<Config, ConfigError> {
    let mut config = Config::parse(text)?;
    let Limits { fetch, check, activation, health, confirm, revert, .. } = &mut config.limits;
    for limit in [fetch, check, activation, health, confirm, revert] {
        if PLANTED && *limit >= Duration::from_secs(600) {
            *limit = Duration::ZERO;
        }
    }
    Ok(config)
}

fn refused(text: &str, error: &ConfigError) {
    assert!((1..=text.matches('\n').count() + 1).contains(&error.line), "{error}");
    assert!(!error.what.is_empty() && !error.what.contains('\n'), "{error}");
}

fn accepted(config: &Config) {
    PATHS.reached("configuration");
    let limits = &config.limits;
    for limit in [
        limits.fetch,
        limits.build,
        limits.check,
        limits.activation,
        limits.health,
        limits.confirm,
        limits.revert,
    ] {
        assert!((1..=86_400).contains(&limit.as_secs()) && limit.subsec_nanos() == 0, "{limit:?}");
    }
    assert!(config.dead_man() >= limits.activation + limits.health + Duration::from_secs(30));
    source(config.source.url.as_str());
    assert!(is_host(config.source.url.host()));
    let key = config.source.ssh_key.to_string();
    let path = key.strip_prefix("$CREDENTIALS_DIRECTORY").unwrap_or(&key);
    assert!(is_path(path) && !path.contains(['$', ' ', '"', '\'', '\\', '%']), "{key}");
    evaluated(config, Language::Flake);
    evaluated(config, Language::Nix);
    PATHS.reached(match config.source.kind {
        SourceKind::Flake => "flake",
        SourceKind::Nix => "nix",
        SourceKind::Prebuilt => "prebuilt",
    });
    for (verb, _) in VERBS {
        assert!(!config.branch(verb).as_str().starts_with('-'));
    }
    for unit in config.revert.required_units.iter().chain([&config.sshd.unit]) {
        assert!(config.requires(unit.as_str()) && UnitName::parse(unit.as_str()).as_ref() == Ok(unit));
    }
    assert_ne!(config.sshd.port, 0, "nobody listens on port 0");
    access(config);
    checks(config);
    privileged(config, Platform::Nixos);
}

/// Neither an option of a program nor a way to run one.
fn source(url: &str) {
    let rest = url.strip_prefix("ssh://").or_else(|| url.strip_prefix("https://"));
    let (authority, path) = rest.and_then(|rest| rest.split_once('/')).expect("a scheme, a host and a path");
    let (user, host) = authority.split_once('@').unwrap_or(("x", authority));
    assert!(!user.is_empty() && !user.starts_with('-') && !host.contains('@'), "{url}");
    assert!(host.ends_with(']') || host.rsplit_once(':').is_none_or(|(_, port)| is_port(port)), "{url}");
    assert!(
        !path.is_empty()
            && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\$`;&|<>?#".contains(&byte)),
        "{url}"
    );
}

/// What Nix is told has no word that ends a string of it, adds a setting or means more than itself.
fn evaluated(config: &Config, language: Language) {
    let commit = Commit::parse(&"0".repeat(40)).expect("a commit");
    let Evaluation { expression, attribute } =
        evaluation::of(&config.source, language, "/r.git", "b", &commit);
    assert!(
        !expression.contains(['$', '\\', '\n']) && expression.matches('"').count().is_multiple_of(2),
        "{expression}"
    );
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-\"".contains(&byte);
    assert!(attribute.bytes().all(plain) && attribute.matches('"').count().is_multiple_of(2), "{attribute}");
    let caches = config.source.caches.iter().map(CacheUrl::as_str);
    for word in caches.chain(config.source.cache_keys.iter().map(CacheKey::as_str)) {
        assert!(
            word.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\$;,?#@".contains(&byte)),
            "{word}"
        );
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.split('/').any(|part| part == "..") && !text.contains(['\0', '\n'])
}

fn access(config: &Config) {
    let Some(tables) = &config.access else { return };
    let mut names = HashSet::from([TIMER, UNKNOWN]);
    let mut credentials = HashSet::new();
    for table in tables {
        assert!(names.insert(table.name.as_str()), "{} stands twice", table.name);
        let credential = table.credential.to_string();
        let (fingerprint, principal) = match credential.split_once(' ') {
            Some(("tailscale", name)) => {
                assert!(TailnetName::parse(name).is_ok());
                PATHS.reached("access by tailnet");
                assert!(credentials.insert(credential.clone()), "{credential} stands twice");
                continue;
            }
            Some((authority, principal)) => (authority, Some(principal)),
            None => (credential.as_str(), None),
        };
        assert!(Fingerprint::parse(fingerprint).is_ok());
        if let Some(principal) = principal {
            assert!(
                !principal.is_empty() && principal.bytes().all(|byte| byte.is_ascii_graphic()),
                "{principal}"
            );
        }
        PATHS.reached(if principal.is_some() { "access by certificate" } else { "access by key" });
        assert!(credentials.insert(credential.clone()), "{credential} stands twice");
    }
    for (verb, _) in VERBS {
        let may = credentials_that_may(config, verb).expect("there are tables");
        assert!(may.iter().all(|credential| credentials.contains(credential)));
        assert_eq!(may.len(), tables.iter().filter(|table| table.rights.verbs.contains(&verb)).count());
    }
}

fn checks(config: &Config) {
    let mut names = HashSet::new();
    for check in &config.checks {
        assert!(names.insert(check.name.as_str()), "{} stands twice", check.name);
        assert!(!check.timeout.is_zero() && !check.interval.is_zero());
        match &check.kind {
            CheckKind::Command(argv) => {
                assert!(argv.first().is_some_and(|program| is_path(program)));
                assert!(argv.iter().all(|word| !word.contains('\0')));
            }
            CheckKind::Unit(unit) => assert_eq!(UnitName::parse(unit.as_str()).as_ref(), Ok(unit)),
            CheckKind::Tcp(endpoint) => assert!(is_host(endpoint.host()) && endpoint.port() != 0),
            CheckKind::Http(http) => asked(http.url.as_str()),
        }
        PATHS.reached(match check.kind {
            CheckKind::Command(_) => "command",
            CheckKind::Unit(_) => "unit",
            CheckKind::Tcp(_) => "tcp",
            CheckKind::Http(_) => "http",
        });
    }
}

fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(plain)
}

/// An address that is one to every program: no password, no port but digits, nothing to quote.
fn asked(url: &str) {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).expect("http or https");
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').expect("the end of an address"),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    assert!(is_host(host), "{url}");
    assert!(port.is_empty() || port.strip_prefix(':').is_some_and(is_port), "{url}");
    assert!(url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\{}[]<>^`|#".contains(&byte)
        || b"[]".contains(&byte) && host.contains(':')));
}

fn is_port(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|port| port != 0)
}

/// What root runs does not depend on who wrote the configuration: every word is plain, and every rule one line.
fn privileged(config: &Config, platform: Platform) {
    let table = table(config, platform);
    for (row, argv) in &table {
        assert!(argv.first().is_some_and(|program| program.starts_with('/')), "{row:?}");
        let plain = |word: &String| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_graphic() && !b"*?[]!\"'$%^".contains(&byte))
        };
        assert!(argv.iter().all(plain), "{row:?}: {argv:?}");
    }
    let rules = sudoers(config, platform);
    assert_eq!(
        rules.lines().filter(|line| line.starts_with("nixgate ALL = (root) NOPASSWD: /")).count(),
        table.len()
    );
    assert_eq!(
        rules.lines().filter(|line| !line.starts_with(['#', 'n'])).count(),
        1,
        "Defaults and nothing else"
    );
}
