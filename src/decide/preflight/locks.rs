//! `/proc/locks`: whether somebody holds the lock of a file, seen without asking for it. Who asks, if only for a moment,
//! is in the way of the one who needs it.

/// The file of a lock, as the kernel names it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inode {
    pub major: u64,
    pub minor: u64,
    pub number: u64,
}

/// Whether a `flock` is held. Lines of those who wait for one say `->`.
pub fn is_locked(locks: &str, inode: Inode) -> bool {
    let Inode { major, minor, number } = inode;
    let name = format!("{major:02x}:{minor:02x}:{number}");
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.as_slice(), [_, "FLOCK", _, _, _, file, ..] if *file == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKS: &str = "1: FLOCK  ADVISORY  WRITE 4711 00:1a:1234 0 EOF\n\
        1: -> FLOCK  ADVISORY  WRITE 4712 00:1a:99 0 EOF\n\
        2: POSIX  ADVISORY  WRITE 815 103:02:77 0 EOF\n";

    #[test]
    fn only_a_lock_that_is_held_on_this_very_file_counts() {
        let inode = |major, minor, number| Inode { major, minor, number };
        assert!(is_locked(LOCKS, inode(0, 0x1a, 1234)));
        assert!(!is_locked(LOCKS, inode(0, 0x1a, 123)));
        assert!(!is_locked(LOCKS, inode(0, 0x1b, 1234)));
        assert!(!is_locked(LOCKS, inode(0, 0x1a, 99)), "it only waits");
        assert!(!is_locked(LOCKS, inode(0x103, 2, 77)), "another kind of lock");
        assert!(!is_locked("", inode(0, 0x1a, 1234)));
    }
}
