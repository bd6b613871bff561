//! What a process gives up about itself. Owner of crate `caps`.

use caps::{CapSet, Capability, CapsHashSet};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd;

/// Why a process may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("it runs as root")]
    Root,
    #[error("its real, effective and saved ids differ (a setuid or setgid program?)")]
    MixedIds,
    #[error("it holds capabilities")]
    Capable,
    #[error("the kernel did not let it read or give up its rights")]
    Kernel,
}

impl From<Errno> for Unfit {
    fn from(_: Errno) -> Self {
        Self::Kernel
    }
}

/// For a program that never forks and never execs: refuses to hold more rights than an ordinary account, gives
/// up the rest for good and clears what the caller left behind.
pub fn harden() -> Result<(), Unfit> {
    clear_inherited();
    plain_account()?;
    no_capabilities()?;
    prctl::set_no_new_privs()?;
    setrlimit(Resource::RLIMIT_NPROC, 0, 0)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}

/// Not root, and no second identity to change into.
pub fn plain_account() -> Result<(), Unfit> {
    let (user, group) = (unistd::getresuid()?, unistd::getresgid()?);
    if [user.real, user.effective, user.saved].iter().any(|uid| uid.is_root()) {
        return Err(Unfit::Root);
    }
    let one_user = user.real == user.effective && user.real == user.saved;
    let one_group = group.real == group.effective && group.real == group.saved;
    if one_user && one_group { Ok(()) } else { Err(Unfit::MixedIds) }
}

/// For a program whose end in the middle of its work is not for anybody to ask for: `cancel` is the way, and what
/// has to end it can. Its children get none of this: the standard library starts them with an empty mask.
#[cfg(feature = "host")]
pub fn outlast_signals() {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        mask.add(signal);
    }
    let _ = mask.thread_block();
}

/// Refuses what was given to the gate on purpose, and drops what logins and containers have anyway: pam_systemd
/// gives CAP_WAKE_ALARM to every login since systemd 254, and container managers fill the inheritable set, which
/// gives nothing to a program that never execs.
fn no_capabilities() -> Result<(), Unfit> {
    let login = CapsHashSet::from([Capability::CAP_WAKE_ALARM]);
    // The kernel keeps effective and ambient within permitted.
    if !caps::read(None, CapSet::Permitted).map_err(|_| Unfit::Kernel)?.is_subset(&login) {
        return Err(Unfit::Capable);
    }
    // The bounding set stays: to drop from it takes CAP_SETPCAP, and it bounds nothing without exec.
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
        caps::clear(None, set).map_err(|_| Unfit::Kernel)?;
    }
    Ok(())
}

/// Timer, mask, umask, directory and descriptors come from the caller. Nothing here can make a start unsafe,
/// so what fails is left as it is.
fn clear_inherited() {
    unistd::alarm::cancel();
    // Only SIGXFSZ stays blocked: with an inherited file size limit of 0 a write to a file would kill us before
    // the log line; now it is a failed write.
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGXFSZ);
    let _ = mask.thread_set_mask();
    umask(Mode::from_bits_truncate(0o077));
    let _ = unistd::chdir("/");
    close_from(3);
}

/// close_range(2) has no safe wrapper in a kept crate, and trying every number up to the limit costs more than
/// the rest of the start.
fn close_from(first: i32) {
    let open: Vec<i32> = match std::fs::read_dir("/proc/self/fd") {
        Ok(list) => list.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect(),
        Err(_) => (first..1024).collect(),
    };
    for fd in open.into_iter().filter(|fd| *fd >= first) {
        let _ = unistd::close(fd); // the directory's own descriptor is gone already
    }
}

/// Does something on a thread that has given up ever getting more rights: so has every child that it starts.
pub fn without_new_privileges<T: Send>(
    act: impl FnOnce() -> std::io::Result<T> + Send,
) -> std::io::Result<T> {
    let on_thread = || {
        prctl::set_no_new_privs()?;
        act()
    };
    let died = |_| std::io::Error::other("the thread that should do it died");
    std::thread::scope(|scope| scope.spawn(on_thread).join().map_err(died)).and_then(|result| result)
}
