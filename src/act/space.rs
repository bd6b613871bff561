//! How much room a file system has for an account that is not root.

use crate::decide::preflight::space::Free;
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use std::path::Path;

/// Asks the mount point itself, so that a directory which we may not read (`/boot` is 0700 on NixOS) can be asked, too.
pub fn free(path: &Path) -> nix::Result<Free> {
    let said = statvfs(path)?;
    if said.blocks() == 0 {
        // autofs and the like: nothing is mounted there yet.
        return Err(Errno::ENODEV);
    }
    Ok(Free {
        bytes: said.blocks_available().saturating_mul(said.fragment_size()),
        inodes: (said.files() > 0).then(|| said.files_available()),
    })
}
