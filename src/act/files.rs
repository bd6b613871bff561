//! Files that have to survive a crash, and files that have to be root's.

use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

/// Replaces a file: write, fsync, rename, fsync of the directory. After an error the old or the new content is
/// there, whole.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    // Two processes may leave the same word for a job.
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o640).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory(path)
}

/// Makes the names in the directory of a path durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Whether the files below a directory have more than so many bytes. What cannot be read counts nothing.
pub fn has_more_than(directory: &Path, most: u64) -> bool {
    let (mut left, mut open) = (most, vec![directory.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() => open.push(entry.path()),
                Ok(about) => match left.checked_sub(about.len()) {
                    Some(less) => left = less,
                    None => return true,
                },
                Err(_) => {}
            }
        }
    }
    false
}

/// The lock of the whole transaction; it ends with the process, however that ends.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held, never used")] Flock<File>);

/// The file that is locked.
pub fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(path)
}

/// Takes the lock, or says that somebody has it.
pub fn lock(path: &Path) -> io::Result<Option<Lock>> {
    let file = open_lock(path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(Lock(lock))),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

/// Takes the lock once those who asked before have had it.
pub fn lock_in_turn(mut file: File) -> io::Result<Lock> {
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => return Ok(Lock(lock)),
            Err((again, nix::errno::Errno::EINTR)) => file = again,
            Err((_, error)) => return Err(error.into()),
        }
    }
}

/// Why a file that decides what root does is not read.
#[derive(Debug, thiserror::Error)]
pub enum TrustedError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} can be changed by somebody other than root; mend: chown root {0} && chmod go-w {0}", path.display())]
    Writable { path: PathBuf },
    #[error("{} is larger than a megabyte", path.display())]
    Large { path: PathBuf },
}

/// Reads a file that only root can change, nor any directory above it. Symbolic links are followed by us, one
/// directory at a time, so what is checked is what is read.
pub fn read_trusted(path: &Path) -> Result<String, TrustedError> {
    String::from_utf8(read_trusted_bytes(path)?).map_err(|error| TrustedError::Io {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    })
}

/// The same for a file that need not be text, as the list of revoked keys that `ssh-keygen -k` makes.
pub fn read_trusted_bytes(path: &Path) -> Result<Vec<u8>, TrustedError> {
    let file = open_trusted(path, 8)?;
    let mut bytes = Vec::new();
    let io = |source| TrustedError::Io { path: path.to_owned(), source };
    File::from(file).take(1 << 20).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() >= 1 << 20 {
        return Err(TrustedError::Large { path: path.to_owned() });
    }
    Ok(bytes)
}

fn open_trusted(path: &Path, links_left: u32) -> Result<OwnedFd, TrustedError> {
    let mut at = PathBuf::from("/");
    let io = |at: &Path| {
        let path = at.to_owned();
        move |error: nix::errno::Errno| TrustedError::Io { path, source: error.into() }
    };
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut handle = nix::fcntl::open("/", flags | OFlag::O_DIRECTORY, Mode::empty()).map_err(io(&at))?;
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        let rest: PathBuf = parts.clone().collect();
        let name = match part {
            Component::Normal(name) => name,
            // What was walked so far has no links in it, so its parent is the one meant.
            Component::ParentDir if links_left > 0 => {
                let above = at.parent().unwrap_or(Path::new("/")).join(rest);
                return open_trusted(&above, links_left - 1);
            }
            _ => continue,
        };
        if let Some(target) = link(&handle, name) {
            if links_left == 0 {
                return Err(io(&at)(nix::errno::Errno::ELOOP));
            }
            return open_trusted(&at.join(target).join(rest), links_left - 1);
        }
        at.push(name);
        handle = openat(&handle, name, flags, Mode::empty()).map_err(io(&at))?;
        let stat = fstat(&handle).map_err(io(&at))?;
        let sticky = stat.st_mode & 0o1000 != 0 && parts.peek().is_some();
        if stat.st_uid != 0 || (stat.st_mode & 0o022 != 0 && !sticky) {
            return Err(TrustedError::Writable { path: at });
        }
    }
    Ok(handle)
}

/// The target of a name that is a symbolic link.
fn link(directory: &OwnedFd, name: &OsStr) -> Option<PathBuf> {
    nix::fcntl::readlinkat(directory, name).ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_wherever_they_lie() {
        let root = std::env::temp_dir().join(format!("nixgate-count-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).unwrap();
        for (name, bytes) in [("one", 3), ("a/two", 4), ("a/b/three", 5)] {
            fs::write(root.join(name), vec![0; bytes]).unwrap();
        }
        std::os::unix::fs::symlink("/", root.join("a/away")).unwrap();
        assert!(has_more_than(&root, 11));
        assert!(!has_more_than(&root, 13), "12 and a link of 1");
        assert!(!has_more_than(&root.join("none"), 0));
        fs::remove_dir_all(&root).unwrap();
    }
}
