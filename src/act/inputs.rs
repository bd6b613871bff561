//! What opens private inputs while Nix evaluates: one ssh key a host, and tokens of forges. Nothing of it stands in an
//! argument or in a log.

use super::files;
use super::keys::{KeyError, private};
use super::machine::Machine;
use crate::decide::config::ReadKey;
use crate::decide::inputs::{AccessTokens, NoToken, ssh_config};
use std::io::{self, Read};
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
    #[error(transparent)]
    Key(#[from] KeyError),
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
        let path = self.store.path("nix/ssh_config");
        let config = ssh_config(self.keys_of_hosts()?.iter().map(|(host, key)| (*host, key.as_str())));
        self.ensure_nix_directories()
            .and_then(|()| files::replace(&path, config.as_bytes()))
            .map_err(|source| InputError::NotWritten { path: path.clone(), source })?;
        let tokens = self.config.source.access_tokens_file.as_ref().map(tokens).transpose()?;
        Ok(Inputs {
            ssh_command: self.pinned_ssh(&path.to_string_lossy()),
            tokens: tokens.unwrap_or_default(),
        })
    }

    /// The source's own host is opened with its own key, where no other is named for it.
    fn keys_of_hosts(&self) -> Result<Vec<(&str, String)>, InputError> {
        let mut keys = Vec::new();
        for input in &self.config.input_keys {
            let (path, _) = private(&input.key)?;
            keys.push((input.host.as_str(), path.to_string_lossy().into_owned()));
        }
        let url = &self.config.source.url;
        if let Some(path) = self.read_key_path()
            && url.is_ssh()
            && !keys.iter().any(|(host, _)| *host == url.host())
        {
            keys.push((url.host(), path.to_string_lossy().into_owned()));
        }
        Ok(keys)
    }
}

fn tokens(secret: &ReadKey) -> Result<AccessTokens, InputError> {
    let (path, file) = private(secret)?;
    let mut text = String::new();
    match file.take(1 << 20).read_to_string(&mut text) {
        Ok(_) => AccessTokens::parse(&text).map_err(|source| InputError::Token { path, source }),
        Err(source) => Err(KeyError::Unreadable { path, source }.into()),
    }
}
