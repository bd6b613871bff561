//! The two pipes that lead to the caller. Each can be gone at any time, and that is never an error.

use crate::decide::escape::Harmless;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd;
use std::io::{stderr, stdout};
use std::os::fd::{AsFd, BorrowedFd};

#[derive(Debug, Default)]
pub struct Client {
    out: Pipe,
    err: Pipe,
}

#[derive(Debug, Default)]
struct Pipe {
    filter: Harmless,
    gone: bool,
}

/// What came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The channel has a packet, or its end.
    Channel,
    /// Nobody reads what the caller was sent.
    ClientGone,
}

impl Client {
    pub fn out(&mut self, bytes: &[u8]) {
        self.out.write(stdout().as_fd(), bytes);
    }

    pub fn err(&mut self, bytes: &[u8]) {
        self.err.write(stderr().as_fd(), bytes);
    }

    /// Waits for the channel and notices when both pipes lose their reader, so that a silent job does not keep
    /// a process of a caller who left.
    pub fn wait(&mut self, channel: &impl AsFd) -> Wake {
        let (out, err) = (stdout(), stderr());
        loop {
            if self.out.gone && self.err.gone {
                return Wake::ClientGone;
            }
            // A pipe without reader reports POLLERR without being asked; asked again it would report for ever.
            let quiet = |gone, pipe| if gone { channel.as_fd() } else { pipe };
            let mut watched = [
                PollFd::new(channel.as_fd(), PollFlags::POLLIN),
                PollFd::new(quiet(self.out.gone, out.as_fd()), PollFlags::empty()),
                PollFd::new(quiet(self.err.gone, err.as_fd()), PollFlags::empty()),
            ];
            if poll(&mut watched, PollTimeout::NONE).is_err() {
                continue; // EINTR: no signal of ours has a handler, so only a stop and continue
            }
            let [channel, out, err] = watched.map(|fd| fd.any().unwrap_or(true));
            if channel {
                return Wake::Channel;
            }
            self.out.gone |= out;
            self.err.gone |= err;
        }
    }
}

impl Pipe {
    /// A slow reader is waited for: the job is another process and does not wait for this one.
    fn write(&mut self, pipe: BorrowedFd<'_>, bytes: &[u8]) {
        let text = self.filter.filter(bytes);
        let mut rest = text.as_bytes();
        while !rest.is_empty() && !self.gone {
            match unistd::write(pipe, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let _ = poll(&mut [PollFd::new(pipe, PollFlags::POLLOUT)], PollTimeout::NONE);
                }
                Err(_) => self.gone = true,
            }
        }
    }
}
