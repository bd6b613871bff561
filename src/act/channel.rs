//! The packets between gate and job: a SOCK_SEQPACKET socket, so the kernel keeps the borders of each.

use crate::decide::answer::Packet;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::time::TimeVal;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Why there is no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    #[error("the other side closed the connection")]
    Closed,
    #[error("a packet is larger than the protocol allows")]
    TooLarge,
    #[error("no packet came, or could be sent, in time")]
    TimedOut,
    #[error("{0}")]
    Kernel(#[from] Errno),
}

/// Connects. Neither this nor any later send waits longer than `patience`: a full backlog blocks a connect.
pub fn connect(path: &Path, patience: Duration) -> Result<OwnedFd, ChannelError> {
    let fd = socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    limit_sending(&fd, patience)?;
    socket::connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// After this a send to a peer that does not read fails with [`ChannelError::TimedOut`].
pub fn limit_sending(channel: &impl AsFd, patience: Duration) -> Result<(), ChannelError> {
    let (seconds, rest) = (patience.as_secs().try_into().unwrap_or(i32::MAX), patience.subsec_micros());
    Ok(socket::setsockopt(
        &channel.as_fd(),
        sockopt::SendTimeout,
        &TimeVal::new(seconds.into(), rest.into()),
    )?)
}

/// Sends one packet, whole or not at all. A peer that is gone is an error, never a signal.
pub fn send(channel: &impl AsFd, packet: &[u8]) -> Result<(), ChannelError> {
    loop {
        match socket::send(channel.as_fd().as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(unsent(error)),
        }
    }
}

/// [`send`], without a copy of what is in it: for those that come by the thousand.
pub fn send_packet(channel: &impl AsFd, packet: Packet<'_>) -> Result<(), ChannelError> {
    let (kind, body) = packet.parts();
    let parts = [IoSlice::new(&kind), IoSlice::new(body)];
    loop {
        let fd = channel.as_fd().as_raw_fd();
        match socket::sendmsg::<()>(fd, &parts, &[], MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(unsent(error)),
        }
    }
}

fn unsent(error: Errno) -> ChannelError {
    match error {
        Errno::EAGAIN => ChannelError::TimedOut,
        Errno::EPIPE | Errno::ECONNRESET => ChannelError::Closed,
        error => error.into(),
    }
}

/// Waits for one packet. Nobody sends an empty one, so that means the end.
pub fn receive<'b>(channel: &impl AsFd, buffer: &'b mut [u8]) -> Result<&'b [u8], ChannelError> {
    let length = loop {
        // MSG_TRUNC: the true length, also of a packet that does not fit.
        match socket::recv(channel.as_fd().as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
            Ok(length) => break length,
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => break 0,
            Err(error) => return Err(error.into()),
        }
    };
    match buffer.get(..length) {
        Some([]) => Err(ChannelError::Closed),
        Some(packet) => Ok(packet),
        None => Err(ChannelError::TooLarge),
    }
}

/// [`receive`], but not later than `patience` from now.
pub fn receive_within<'b>(
    channel: &impl AsFd,
    buffer: &'b mut [u8],
    patience: Duration,
) -> Result<&'b [u8], ChannelError> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) if Instant::now() >= deadline => return Err(ChannelError::TimedOut),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return receive(channel, buffer),
            Err(error) => return Err(error.into()),
        }
    }
}
