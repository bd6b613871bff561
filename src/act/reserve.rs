//! Room on disk that was set aside: what has to be written on the way back, or to end a trial, still can be when
//! somebody filled the disk.

use nix::fcntl::posix_fallocate;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const WHOLE: u64 = 4 << 20;
/// What one write gets: a record is at most some kilobytes, an audit line 64.
const SHARE: u64 = 256 << 10;

/// Who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reserve {
    /// A full disk is refused, and nothing has begun.
    #[default]
    Keep,
    /// `rollback`, `confirm`, `cancel`, recovery, and all that follows `armed`.
    Spend,
}

/// Sets aside what is missing.
pub fn fill(path: &Path) -> io::Result<()> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    if length >= WHOLE {
        return Ok(());
    }
    match posix_fallocate(&file, 0, WHOLE.cast_signed()) {
        Ok(()) => {}
        Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::EINVAL) => write_out(&file)?,
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

/// Where a file system cannot set aside: bytes that cannot be compressed away.
fn write_out(mut file: &File) -> io::Result<()> {
    let mut chance = File::open("/dev/urandom")?.take(WHOLE);
    file.set_len(0)?;
    io::copy(&mut chance, &mut file).and_then(|_| file.flush())
}

/// Tries a write; where the disk is full and the reserve may be used, once more with a share of it given back.
pub fn with_room<T>(
    reserve: Reserve,
    path: &Path,
    mut write: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    match write() {
        Err(error) if error.kind() == io::ErrorKind::StorageFull && reserve == Reserve::Spend => {
            give_back(path)?;
            write()
        }
        other => other,
    }
}

fn give_back(path: &Path) -> io::Result<()> {
    let file = open(path)?;
    let left = file.metadata()?.len().checked_sub(SHARE);
    let left = left.ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
    file.set_len(left)?;
    file.sync_all()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(path)
}

/// Where the reserve is, below the state's directory.
pub fn path(root: &Path) -> PathBuf {
    root.join("reserve")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_full_disk_costs_a_share_and_only_who_may_spend_it() {
        let path = std::env::temp_dir().join(format!("nixgate-reserve-{}", std::process::id()));
        fill(&path).unwrap();
        let mut full = 1;
        let mut write = |reserve| {
            let result = with_room(reserve, &path, || {
                full -= 1;
                if full >= 0 { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
            });
            full = 1;
            result
        };
        assert!(write(Reserve::Keep).is_err());
        assert!(write(Reserve::Spend).is_ok());
        assert_eq!(fs::metadata(&path).unwrap().len(), WHOLE - SHARE);
        fill(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), WHOLE);
        fs::remove_file(&path).unwrap();
    }
}
