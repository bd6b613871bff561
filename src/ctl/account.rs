//! From root to account nixgate: what belongs to that account is written, and seen, as it does.

use nix::errno::Errno;
use nix::unistd::{Uid, User, geteuid, initgroups, setresgid, setresuid};
use std::ffi::CString;

/// The account that does the deploys.
pub const NIXGATE: &str = "nixgate";

/// Why this process is not the account, and cannot become it.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("there is no account nixgate here; make it with: nixgatectl render, then systemd-sysusers")]
    Missing,
    #[error("this needs root or account nixgate: put sudo before it")]
    NotRoot,
    #[error("root cannot become account nixgate: {0}")]
    Refused(#[from] Errno),
}

/// Becomes account nixgate for good, with the groups that systemd would give it. Root alone can; the account
/// itself need not. Called before any thread is started, because ids are the process's.
pub fn become_nixgate() -> Result<(), AccountError> {
    let account = User::from_name(NIXGATE)?.ok_or(AccountError::Missing)?;
    if geteuid() == account.uid && account.uid != Uid::from_raw(0) {
        return Ok(());
    }
    if !geteuid().is_root() || account.uid.is_root() {
        return Err(AccountError::NotRoot);
    }
    let name = CString::new(NIXGATE).map_err(|_| AccountError::Missing)?;
    initgroups(&name, account.gid)?;
    setresgid(account.gid, account.gid, account.gid)?;
    setresuid(account.uid, account.uid, account.uid)?;
    Ok(())
}
