//! What Nix is told to evaluate: one expression of ours for each kind of repository.
//!
//! Both are evaluated purely: nothing but the verified commit, and what it names by hash, can be read. Neither way
//! looks at the `nixConfig` of a flake.

use super::config::{Config, Language, Source};
use super::value::Commit;

/// An expression, and the attribute of it that is the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    pub expression: String,
    pub attribute: String,
}

/// What is built, in the words of the configuration: the record of a build holds for it alone.
pub fn built_from(source: &Source, language: Language) -> String {
    match language {
        Language::Flake => attribute(source, language),
        Language::Nix => format!("{}#{}", file(source), attribute(source, language)),
    }
}

fn file(source: &Source) -> &str {
    source.file.as_ref().map_or("default.nix", |file| file.as_str())
}

/// The attribute path of the system.
fn attribute(source: &Source, language: Language) -> String {
    match (&source.attribute, language) {
        (Some(attribute), _) => attribute.as_str().to_owned(),
        (None, Language::Flake) => {
            format!("nixosConfigurations.\"{}\".config.system.build.toplevel", source.system)
        }
        (None, Language::Nix) => format!("\"{}\".config.system.build.toplevel", source.system),
    }
}

/// The flake at a commit of the repository, on a branch of it that we made.
pub fn flake_url(repository: &str, branch: &str, commit: &Commit) -> String {
    format!("git+file://{repository}?ref={branch}&rev={commit}")
}

/// The expression for a commit. Each word in it is ours or was checked by its type: none has a quote, a dollar or a
/// backslash in it.
pub fn of(
    source: &Source,
    language: Language,
    repository: &str,
    branch: &str,
    commit: &Commit,
) -> Evaluation {
    let expression = match language {
        Language::Flake => format!("builtins.getFlake \"{}\"", flake_url(repository, branch, commit)),
        // As a flake's tree is fetched: the exact bytes of the commit, whatever its attributes say of an export.
        Language::Nix => format!(
            "import ((builtins.fetchTree {{ type = \"git\"; url = \"file://{repository}\"; ref = \"{branch}\"; rev = \"{commit}\"; }}) + \"/{}\")",
            file(source)
        ),
    };
    Evaluation { expression, attribute: attribute(source, language) }
}

/// Why an evaluation failed. Nix has one exit code for all reasons, and its text is not to be matched: the lines of
/// the log say what it was, and this names the settings that may have had to do with it.
pub fn failed(config: &Config, code: i32) -> String {
    let memory =
        format!("{} MiB of memory (limits.evaluation-memory)", config.limits.evaluation_memory >> 20);
    let why = match code {
        137 => {
            format!("the evaluation was killed, because the host ran out of memory before it had {memory}")
        }
        _ => format!("the system could not be evaluated; the lines above say why. It may use {memory}"),
    };
    if config.source.import_from_derivation {
        return why;
    }
    format!("{why}, and import from derivation is off (source.import-from-derivation)")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAKE: &str = "version = 1\n[source]\nkind = \"flake\"\nurl = \"ssh://git@h/infra.git\"\nsystem = \"web1.example.org\"\n";

    fn config(add: &str) -> Config {
        Config::parse(&format!("{FLAKE}{add}")).unwrap()
    }
    fn nix(add: &str) -> Config {
        Config::parse(&format!("{FLAKE}{add}").replace("flake", "nix")).unwrap()
    }
    fn language(config: &Config) -> Language {
        config.source.kind.language().unwrap()
    }
    fn at(config: &Config) -> Evaluation {
        let commit = Commit::parse(&"0".repeat(40)).unwrap();
        of(&config.source, language(config), "/var/lib/nixgate/repo.git", "refs/heads/verified", &commit)
    }

    #[test]
    fn a_flake_is_evaluated_at_the_verified_commit() {
        let what = at(&config(""));
        assert_eq!(
            what.expression,
            format!(
                "builtins.getFlake \"git+file:///var/lib/nixgate/repo.git?ref=refs/heads/verified&rev={}\"",
                "0".repeat(40)
            )
        );
        assert_eq!(what.attribute, "nixosConfigurations.\"web1.example.org\".config.system.build.toplevel");
        assert_eq!(at(&config("attribute = \"hosts.web1\"\n")).attribute, "hosts.web1");
    }

    #[test]
    fn a_file_is_evaluated_out_of_the_verified_commit() {
        let what = at(&nix("file = \"nix/hosts.nix\"\n"));
        assert!(what.expression.contains(&format!("rev = \"{}\"", "0".repeat(40))), "{what:?}");
        assert!(what.expression.ends_with(" + \"/nix/hosts.nix\")"), "{what:?}");
        assert_eq!(what.attribute, "\"web1.example.org\".config.system.build.toplevel");
        assert!(at(&nix("")).expression.ends_with(" + \"/default.nix\")"));
    }

    #[test]
    fn a_build_is_known_by_all_that_chooses_it() {
        let from = [
            config(""),
            config("attribute = \"a\"\n"),
            nix("attribute = \"a\"\n"),
            nix("attribute = \"a\"\nfile = \"b.nix\"\n"),
        ]
        .map(|config| built_from(&config.source, language(&config)));
        for (n, one) in from.iter().enumerate() {
            assert!(from.iter().skip(n + 1).all(|other| other != one), "{from:?}");
        }
    }

    #[test]
    fn a_failure_names_the_settings_that_may_be_its_reason() {
        let off = failed(&config("[limits]\nevaluation-memory = \"512M\"\n"), 1);
        assert!(off.contains("512 MiB of memory (limits.evaluation-memory)"), "{off}");
        assert!(off.contains("source.import-from-derivation"), "{off}");
        assert!(!failed(&config("import-from-derivation = true\n"), 1).contains("derivation"));
        assert!(failed(&config(""), 137).contains("was killed"));
    }
}
