//! What opens private inputs while Nix evaluates: one ssh key a host, and tokens of forges. Nothing of it stands in an
//! argument or in a log.

use super::files;
use super::machine::Machine;
use crate::decide::config::AbsolutePath;
use crate::decide::inputs::{AccessTokens, NoToken, ssh_config};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The keys and tokens of one evaluation.
#[derive(Debug)]
pub struct Inputs {
    ssh_command: String,
    tokens: AccessTokens,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("{}: {source}; on the host: install -m 0600 -o nixgate -g nixgate FILE {}", path.display(), path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} can be read by others than nixgate; on the host: chown nixgate {} && chmod 0600 {}", .0.display(), .0.display(), .0.display())]
    Open(PathBuf),
    #[error("{}: {source}", path.display())]
    Token { path: PathBuf, source: NoToken },
    #[error("{}: {source}; on the host: look at free space", path.display())]
    NotWritten { path: PathBuf, source: io::Error },
}

impl Inputs {
    /// Beside what every Nix of ours gets.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("NIX_CONFIG", self.tokens.setting()),
            ("GIT_ALLOW_PROTOCOL", "file:https:ssh".to_owned()),
            ("GIT_SSH_COMMAND", self.ssh_command.clone()),
            ("GIT_SSH_VARIANT", "ssh".to_owned()),
        ]
    }
}

impl Machine {
    /// Everything that the configuration names is there, and nobody else's.
    pub fn inputs(&self) -> Result<Inputs, InputError> {
        let source = &self.config.source;
        let own = self.read_key_path().map(|key| key.to_string_lossy().into_owned());
        let mut keys = Vec::new();
        for input in &self.config.input_keys {
            secret(&input.key)?;
            keys.push((input.host.as_str(), input.key.as_str()));
        }
        // The source's own host is opened with its own key, where no other is named for it.
        let host = source.url.host();
        if let Some(own) =
            own.as_deref().filter(|_| source.url.is_ssh() && !keys.iter().any(|(h, _)| *h == host))
        {
            keys.push((host, own));
        }
        let tokens = match &source.access_tokens_file {
            None => AccessTokens::default(),
            Some(path) => AccessTokens::parse(&secret(path)?)
                .map_err(|source| InputError::Token { path: path.as_str().into(), source })?,
        };
        let path = self.store.path("nix/ssh_config");
        files::replace(&path, ssh_config(keys).as_bytes())
            .map_err(|source| InputError::NotWritten { path: path.clone(), source })?;
        Ok(Inputs { ssh_command: self.pinned_ssh(&path.to_string_lossy()), tokens })
    }
}

/// What stands in a file that is ours alone.
fn secret(path: &AbsolutePath) -> Result<String, InputError> {
    let path = PathBuf::from(path.as_str());
    let unreadable = |source| InputError::Unreadable { path: path.clone(), source };
    let mut file = fs::File::open(&path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.mode() & 0o077 != 0 {
        return Err(InputError::Open(path));
    }
    let mut text = String::new();
    file.by_ref().take(1 << 20).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}
