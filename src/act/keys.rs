//! ssh-keygen and ssh-keyscan: signatures of commits and manifests, and whether sshd is really ours. Exit codes only, never text.

use super::machine::Machine;
use super::process::{OnCancel, RunError, Spec, Stdout};
use crate::decide::manifest;
use crate::decide::privileged::Program;
use std::fs;
use std::path::Path;
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

impl Machine {
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
