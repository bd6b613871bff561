//! `render`: the files that a host needs.

use super::{CtlError, Host};
use crate::decide::answer::Code;
use crate::decide::render::{self, Content};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Below a directory of one's own anybody may render anything. On the host itself it makes sudoers, so there the
/// configuration has to be root's alone.
pub fn render(host: &Host, root: &Path) -> Result<Code, CtlError> {
    let on_the_host = fs::canonicalize(root).is_ok_and(|root| root == Path::new("/"));
    let config = if on_the_host { host.read_trusted()? } else { host.read()? };
    for file in render::everything(&config, host.platform()) {
        let path = root.join(file.path);
        write(&path, &file).map_err(|source| CtlError::Write { path, source })?;
    }
    Ok(Code::Done)
}

/// Each file is replaced as a whole: half a sudoers file would be worse than none.
fn write(path: &Path, file: &render::Rendered) -> io::Result<()> {
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
