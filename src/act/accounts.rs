//! Accounts of this host, as its name service knows them.

use nix::unistd::{Group, User, getgrouplist};
use std::ffi::CString;

/// The names of all groups of an account, its own among them; `None` if there is no such account.
pub fn groups_of(account: &str) -> Option<Vec<String>> {
    let user = User::from_name(account).ok().flatten()?;
    let ids = getgrouplist(&CString::new(account).ok()?, user.gid).ok()?;
    Some(
        ids.into_iter().filter_map(|id| Group::from_gid(id).ok().flatten()).map(|group| group.name).collect(),
    )
}
