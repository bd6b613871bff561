//! The file that sshd's `ExposeAuthInfo` makes for each session.

use nix::fcntl::OFlag;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// More than eight certificates of the largest kind.
const MAX_FILE: u64 = 64 * 1024;

/// sshd writes it as the account, mode 0600, directly before the start. Anything else is not from sshd, or not
/// only from sshd, and proves nothing.
pub fn read(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).ok()?;
    let found = file.metadata().ok()?;
    let ours = found.is_file() && found.uid() == nix::unistd::getuid().as_raw() && found.mode() & 0o077 == 0;
    if !ours {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAX_FILE).then_some(bytes)
}
