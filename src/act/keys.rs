//! ssh's keys and programs: the read key, signatures of commits and manifests, and whether sshd is really ours. Of the
//! programs exit codes only, never text.

use super::machine::Machine;
use super::process::{OnCancel, RunError, Spec, Stdout};
use crate::decide::config::ReadKey;
use crate::decide::manifest;
use crate::decide::privileged::Program;
use crate::decide::value::Name;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const ALLOWED_SIGNERS: &str = "/etc/nixgate/allowed_signers";
pub const REVOKED: &str = "/etc/nixgate/revoked";

/// What a signature was made for; one that was made for anything else does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    Git,
    Manifest,
}

impl Namespace {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Manifest => manifest::NAMESPACE,
        }
    }
}

const LIMIT: Duration = Duration::from_secs(20);

/// Who could have signed this: every line of its output is a candidate.
pub fn find_principals<'a>(signers: &'a str, signature: &'a str) -> [&'a str; 6] {
    ["-Y", "find-principals", "-f", signers, "-s", signature]
}

/// Whether it was them, for this, over standard input. No -Overify-time: the time is now, or an expired key could date its
/// signatures back.
pub fn verify<'a>(
    namespace: Namespace,
    signers: &'a str,
    who: &'a str,
    signature: &'a str,
    revoked: &'a str,
) -> [&'a str; 12] {
    let namespace = namespace.as_str();
    ["-Y", "verify", "-n", namespace, "-f", signers, "-I", who, "-s", signature, "-r", revoked]
}

/// Why there is no key to read a repository with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{}: {source}; on the host: install -m 0600 -o nixgate -g nixgate FILE {}", path.display(), path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} can be read by others than nixgate; on the host: chown nixgate {} && chmod 0600 {}", .0.display(), .0.display(), .0.display())]
    Open(PathBuf),
    #[error(
        "systemd handed over no credential {0}; on the host: systemctl edit nixgate@.service, and below [Service]: LoadCredential={0}:FILE"
    )]
    NoCredential(Name),
}

/// A key that others can read is theirs, too. The group counts unless it is root's: of a credential, which systemd
/// opens to one account by an ACL, the bits of the group show the ACL.
pub fn is_private(mode: u32, group: u32) -> bool {
    mode & 0o007 == 0 && (mode & 0o070 == 0 || group == 0)
}

/// Where a key is; `None` for a credential, where systemd hands over none.
fn path_of(key: &ReadKey) -> Option<PathBuf> {
    match key {
        ReadKey::File(path) => Some(path.as_str().into()),
        ReadKey::Credential(name) => {
            let directory = std::env::var("CREDENTIALS_DIRECTORY").ok()?;
            // It goes into a shell command.
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"/@._:-".contains(&b);
            directory.bytes().all(plain).then(|| Path::new(&directory).join(name.as_str()))
        }
    }
}

/// A key, or another secret, that is there and nobody else's.
pub fn private(key: &ReadKey) -> Result<(PathBuf, fs::File), KeyError> {
    let path = match (path_of(key), key) {
        (Some(path), _) => path,
        (None, ReadKey::Credential(name)) => return Err(KeyError::NoCredential(name.clone())),
        (None, ReadKey::File(path)) => path.as_str().into(),
    };
    let opened = fs::File::open(&path).and_then(|file| file.metadata().map(|about| (file, about)));
    match opened {
        Ok((file, about)) if is_private(about.mode(), about.gid()) => Ok((path, file)),
        Ok(_) => Err(KeyError::Open(path)),
        Err(source) => Err(KeyError::Unreadable { path, source }),
    }
}

impl Machine {
    /// Where the read key is.
    pub fn read_key_path(&self) -> Option<PathBuf> {
        path_of(&self.config.source.ssh_key)
    }

    /// The read key is there, and nobody else's.
    pub fn read_key(&self) -> Result<(), KeyError> {
        private(&self.config.source.ssh_key).map(drop)
    }

    /// Whether somebody who may sign, today, signed exactly this. `signature` is a file of the signature.
    pub fn is_signed_by_allowed(
        &mut self,
        namespace: Namespace,
        payload: &[u8],
        signature: &Path,
    ) -> Result<bool, RunError> {
        let file = signature.to_string_lossy().into_owned();
        let mut spec = self.program(Program::SshKeygen, &find_principals(ALLOWED_SIGNERS, &file), LIMIT);
        spec.stdout = Stdout::Captured;
        let found = self.run(spec)?;
        if !found.is_success() {
            return Ok(false);
        }
        for principal in found.text().lines() {
            let args = verify(namespace, ALLOWED_SIGNERS, principal, &file, REVOKED);
            let mut spec = self.program(Program::SshKeygen, &args, LIMIT);
            spec.stdin = payload.to_vec();
            spec.stdout = Stdout::Captured;
            if self.run(spec)?.is_success() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes a fresh connection to sshd on this host: does it show our own host key? That is the blob. One kind of key
    /// is asked for, because each is a connection, and sshd penalises those that never log in.
    pub fn ask_sshd(&self, limit: Duration) -> Option<(Spec, String)> {
        let (kind, blob) = host_key()?;
        let port = self.config.sshd.port.to_string();
        let seconds = limit.as_secs().clamp(1, 10).to_string();
        let args = ["-T", &seconds, "-p", &port, "-t", &kind, "127.0.0.1"];
        let mut spec = self.program(Program::SshKeyscan, &args, limit);
        spec.stdout = Stdout::Captured;
        Some((spec, blob))
    }

    pub fn sshd_answers(&mut self, limit: Duration) -> bool {
        let Some((mut spec, blob)) = self.ask_sshd(limit) else { return false };
        spec.on_cancel = OnCancel::GoOn;
        self.run(spec).is_ok_and(|ended| shows_key(&ended.stdout, &blob))
    }
}

/// Whether ssh-keyscan printed this key.
pub fn shows_key(printed: &[u8], blob: &str) -> bool {
    String::from_utf8_lossy(printed).lines().any(|line| line.split(' ').nth(2) == Some(blob))
}

/// A public host key of this machine: what ssh-keyscan calls its kind, and its blob.
fn host_key() -> Option<(String, String)> {
    ["ed25519", "ecdsa", "rsa"].iter().find_map(|kind| {
        let text = fs::read_to_string(format!("/etc/ssh/ssh_host_{kind}_key.pub")).ok()?;
        Some(((*kind).to_owned(), text.split(' ').nth(1)?.trim_end().to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_private_if_only_its_owner_or_roots_group_can_read_it() {
        let (nixgate, root) = (993, 0);
        assert!(is_private(0o100_600, nixgate) && is_private(0o100_400, root) && is_private(0o100_440, root));
        for (mode, group) in [(0o640, nixgate), (0o604, root), (0o620, nixgate), (0o601, root)] {
            assert!(!is_private(mode, group), "{mode:o} {group}");
        }
    }
}
