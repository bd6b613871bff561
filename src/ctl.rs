//! The operator's tool. The only place with a command-line parser. It looks and explains; what it changes is
//! what `render` is told to write, and the anchor.

mod account;
mod anchor;
mod audit;
mod check;
mod explain;
mod manifest;
mod render;

use crate::act::files::{TrustedError, read_trusted};
use crate::act::store::{ROOT, StoreError};
use crate::decide::answer::Code;
use crate::decide::config::{Config, ConfigError, EXAMPLE};
use crate::decide::outcome::Stop;
use crate::decide::privileged::Platform;
use clap::{CommandFactory, Parser, Subcommand};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const CONFIG: &str = "/etc/nixgate/config.toml";

#[derive(Debug, Parser)]
#[command(
    name = "nixgatectl",
    version,
    about = "Set up, inspect and explain nixgate on a host",
    propagate_version = true,
    after_help = "Examples:\n  \
        nixgatectl example > /etc/nixgate/config.toml\n  \
        nixgatectl check\n  \
        nixgatectl explain --key ci.pub switch\n\n\
        Exit codes are those of nixgate: 0 done, 64 wrong usage, 77 not allowed, 78 something is wrong here."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a configuration with every key, its default and what it means.
    #[command(after_help = "Example:\n  nixgatectl example > /etc/nixgate/config.toml")]
    Example,
    /// Write the files that a host needs (sudoers, sshd, units, tmpfiles, sysusers) below a directory.
    #[command(
        after_help = "Examples:\n  nixgatectl render --config config.toml --platform nixos --root out\n  \
        nixgatectl render --platform fhs --root /"
    )]
    Render {
        #[command(flatten)]
        host: Host,
        /// The directory to write below; `/` on the host itself.
        #[arg(long, value_name = "DIR")]
        root: PathBuf,
    },
    /// Try everything that a deploy needs on this host, as root; one line each, and how to mend it.
    #[command(after_help = "Example:\n  sudo nixgatectl check\n\nEach line begins with:\n  \
        ok    as it should be\n  warn  works, and could be safer\n  FAIL  a deploy would fail or be unsafe; the mend follows\n\
        Exit 0 if no line says FAIL, otherwise 78.")]
    Check {
        #[command(flatten)]
        host: Host,
        /// The half that has to be seen as account nixgate; `check` starts it by itself.
        #[arg(long, hide = true)]
        as_account: bool,
    },
    /// Say whether somebody may ask for something, by which rule, and what would run as root.
    #[command(after_help = "Examples:\n  nixgatectl explain switch\n  \
        nixgatectl explain --key ci.pub 'rollback 41'\n  \
        nixgatectl explain --key SHA256:AAAA... --config new.toml boot\n  \
        nixgatectl explain --tailscale alice@example.org --at 2026-11-23T08:00:00Z switch\n\n\
        Exit 0: allowed. 64: not a request. 77: refused.")]
    Explain {
        #[command(flatten)]
        host: Host,
        #[command(flatten)]
        asked: explain::Asked,
    },
    /// Read the audit log.
    #[command(subcommand)]
    Audit(Audit),
    /// Sign, or look at, what a host with source.kind = "prebuilt" may run.
    #[command(subcommand)]
    Manifest(manifest::Words),
    /// Print what every deploy must go forward from, or set it: a commit, and for prebuilt systems a sequence.
    #[command(after_help = "Examples:\n  sudo nixgatectl anchor\n  \
        sudo nixgatectl anchor --set 0123456789abcdef0123456789abcdef01234567\n  \
        sudo nixgatectl anchor --sequence 1790000000\n\n\
        To set it to something older allows older systems to be deployed again. It is noted in the audit log.")]
    Anchor {
        /// The commit, 40 or 64 lower-case hex digits in full.
        #[arg(long, value_name = "COMMIT")]
        set: Option<String>,
        /// The lowest sequence of a manifest that is taken from now on.
        #[arg(long, value_name = "NUMBER", conflicts_with = "set", value_parser = manifest::sequence)]
        sequence: Option<u64>,
    },
    /// Print the completions for a shell.
    #[command(after_help = "Example:\n  nixgatectl completions bash > /etc/bash_completion.d/nixgatectl")]
    Completions {
        /// The shell to complete for.
        shell: clap_complete::Shell,
    },
}

/// What describes a host.
#[derive(Debug, Clone, clap::Args)]
struct Host {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Where programs are: `nixos` or `fhs` [default: what is installed here].
    #[arg(long, value_parser = platform, value_name = "nixos|fhs")]
    platform: Option<Platform>,
}

#[derive(Debug, Subcommand)]
enum Audit {
    /// Follow the chain through all its lines.
    #[command(after_help = "Examples:\n  sudo nixgatectl audit verify\n  \
        sudo nixgatectl audit verify --at 12:4f0c...\n\n\
        `audit=SEQ:HASH` is in the last line of every answer, so a CI log is the witness that shows a log cut short.\n\
        Exit 0: whole. 78: it is not.")]
    Verify {
        #[command(flatten)]
        from: AuditDir,
        /// A head from an answer, `SEQ:HASH`, that has to be in the chain.
        #[arg(long, value_name = "SEQ:HASH")]
        at: Option<String>,
    },
    /// Print the events, oldest first.
    #[command(
        after_help = "Examples:\n  sudo nixgatectl audit show\n  sudo nixgatectl audit show --json | tail -n 5"
    )]
    Show {
        #[command(flatten)]
        from: AuditDir,
        /// The lines as they stand in the log.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct AuditDir {
    /// Where the log lies; a copy can be read as well.
    #[arg(long, value_name = "DIR", default_value_os_t = Path::new(ROOT).join("audit"))]
    dir: PathBuf,
}

fn platform(text: &str) -> Result<Platform, String> {
    Platform::parse(text).ok_or_else(|| "nixos or fhs".to_owned())
}

/// From `ExecStart=… serve --platform fhs`.
fn platform_of(unit: &str) -> Option<Platform> {
    let start = unit.lines().find(|line| line.starts_with("ExecStart="))?;
    Platform::parse(start.rsplit_once(" --platform ")?.1.trim())
}

impl Host {
    /// What the installed job was told; before that, NixOS marks itself by a file that its own tools go by.
    fn platform(&self) -> Platform {
        let unit = fs::read_to_string("/etc/systemd/system/nixgate-job@.service").unwrap_or_default();
        let marked = || if Path::new("/etc/NIXOS").exists() { Platform::Nixos } else { Platform::Fhs };
        self.platform.or_else(|| platform_of(&unit)).unwrap_or_else(marked)
    }

    fn read(&self) -> Result<Config, CtlError> {
        let unreadable = |source| CtlError::Unreadable { path: self.config.clone(), source };
        self.parse(&fs::read_to_string(&self.config).map_err(unreadable)?)
    }

    /// The same, but only if nobody but root could have written it.
    fn read_trusted(&self) -> Result<Config, CtlError> {
        self.parse(&read_trusted(&self.config)?)
    }

    fn parse(&self, text: &str) -> Result<Config, CtlError> {
        Config::parse(text).map_err(|source| CtlError::Wrong { path: self.config.clone(), source })
    }
}

/// What can go wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    #[error("{}: {source}\n  make one with: nixgatectl example", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: {source}\n  `nixgatectl example` shows every key", path.display())]
    Wrong { path: PathBuf, source: ConfigError },
    #[error(transparent)]
    Untrusted(#[from] TrustedError),
    #[error("{}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Account(#[from] account::AccountError),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    #[error("{0}")]
    Stop(#[from] Stop),
}

impl CtlError {
    fn code(&self) -> Code {
        match self {
            Self::Unreadable { .. } | Self::Wrong { .. } | Self::Untrusted(_) | Self::Read { .. } => {
                Code::Misconfigured
            }
            Self::Write { .. } | Self::Store(_) | Self::Print(_) => Code::NotWritable,
            Self::Account(_) => Code::NotAllowed,
            Self::Stop(stop) => stop.code,
        }
    }
}

pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => {
            let _ = said.print();
            return if said.use_stderr() { Code::Malformed } else { Code::Done }.into();
        }
    };
    match run(cli.command) {
        Ok(code) => code.into(),
        // Whoever read the output has seen enough of it.
        Err(CtlError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Code::Done.into(),
        Err(error) => {
            let _ = writeln!(io::stderr(), "nixgatectl: {error}");
            error.code().into()
        }
    }
}

fn run(command: Command) -> Result<Code, CtlError> {
    match command {
        Command::Example => print(EXAMPLE),
        Command::Render { host, root } => render::render(&host, &root),
        Command::Check { host, as_account: false } => check::check(&host),
        Command::Check { host, as_account: true } => check::as_account(&host),
        Command::Explain { host, asked } => explain::explain(&host, &asked),
        Command::Audit(Audit::Verify { from, at }) => audit::verify(&from.dir, at.as_deref()),
        Command::Audit(Audit::Show { from, json }) => audit::show(&from.dir, json.into()),
        Command::Manifest(words) => manifest::run(&words),
        Command::Anchor { set: None, sequence: None } => anchor::show(),
        Command::Anchor { set: Some(commit), .. } => anchor::set(&commit),
        Command::Anchor { sequence: Some(number), .. } => anchor::set_sequence(number),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "nixgatectl", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

/// Standard output, where the reader may have gone.
fn print(text: &str) -> Result<Code, CtlError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Code::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_is_what_the_installed_job_was_told() {
        let config = Config::parse(EXAMPLE).unwrap();
        for platform in [Platform::Nixos, Platform::Fhs] {
            let units: Vec<Platform> = crate::decide::render::everything(&config, platform)
                .into_iter()
                .filter(|file| file.path.ends_with("nixgate-job@.service"))
                .filter_map(|file| match file.content {
                    crate::decide::render::Content::Text(text) => platform_of(&text),
                    crate::decide::render::Content::Link(_) => None,
                })
                .collect();
            assert_eq!(units, [platform]);
        }
        assert_eq!(platform_of(""), None);
    }

    #[test]
    fn the_command_line_holds_together_and_every_command_has_an_example() {
        Cli::command().debug_assert();
        fn leaves(command: &clap::Command) -> Vec<clap::Command> {
            let below: Vec<_> = command.get_subcommands().flat_map(leaves).collect();
            if below.is_empty() { vec![command.clone()] } else { below }
        }
        for command in leaves(&Cli::command()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example") && help.contains("nixgatectl"), "{}", command.get_name());
        }
    }
}
