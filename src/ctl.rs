//! The operator's tool. The only place with a command-line parser; it prints, and changes nothing but what
//! `render` is told to write.

use crate::decide::answer::Code;
use crate::decide::config::{Config, ConfigError, EXAMPLE};
use crate::decide::privileged::Platform;
use crate::decide::render::{self, Content};
use clap::{Parser, Subcommand};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(
    name = "nixgatectl",
    version,
    about = "Set up, inspect and explain nixgate on a host",
    propagate_version = true
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
        after_help = "Example:\n  nixgatectl render --config /etc/nixgate/config.toml --platform fhs --root /tmp/out"
    )]
    Render {
        /// The configuration to render.
        #[arg(long, default_value = "/etc/nixgate/config.toml")]
        config: PathBuf,
        /// Where programs are: `nixos` or `fhs`.
        #[arg(long, value_parser = platform)]
        platform: Platform,
        /// The directory to write below; `/` on the host itself.
        #[arg(long)]
        root: PathBuf,
    },
}

fn platform(text: &str) -> Result<Platform, String> {
    Platform::parse(text).ok_or_else(|| "nixos or fhs".to_owned())
}

/// What can go wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    #[error("{}: {source}\n  make one with: nixgatectl example", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: {source}\n  `nixgatectl example` shows every key", path.display())]
    Wrong { path: PathBuf, source: ConfigError },
    #[error("{}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "nixgatectl: {error}");
            match error {
                CtlError::Unreadable { .. } | CtlError::Wrong { .. } => Code::Misconfigured.into(),
                CtlError::Write { .. } | CtlError::Print(_) => Code::NotWritable.into(),
            }
        }
    }
}

fn run(command: Command) -> Result<(), CtlError> {
    match command {
        Command::Example => Ok(io::stdout().write_all(EXAMPLE.as_bytes())?),
        Command::Render { config, platform, root } => write_files(&read(&config)?, platform, &root),
    }
}

fn read(path: &Path) -> Result<Config, CtlError> {
    let text =
        fs::read_to_string(path).map_err(|source| CtlError::Unreadable { path: path.to_owned(), source })?;
    Config::parse(&text).map_err(|source| CtlError::Wrong { path: path.to_owned(), source })
}

/// Each file is replaced as a whole: half a sudoers file would be worse than none.
fn write_files(config: &Config, platform: Platform, root: &Path) -> Result<(), CtlError> {
    for file in render::everything(config, platform) {
        let path = root.join(file.path);
        write_one(&path, &file).map_err(|source| CtlError::Write { path, source })?;
    }
    Ok(())
}

fn write_one(path: &Path, file: &render::Rendered) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    // sudo ignores files in sudoers.d whose name has a dot, so a temporary one is never read.
    let temporary = path.with_extension("nixgate-new");
    let _ = fs::remove_file(&temporary);
    match &file.content {
        Content::Text(text) => {
            fs::write(&temporary, text)?;
            fs::set_permissions(&temporary, fs::Permissions::from_mode(file.mode))?;
        }
        Content::Link(to) => symlink(to, &temporary)?,
    }
    fs::rename(&temporary, path)
}
