//! The follower: copies a job's log to a caller, from its first byte, and ends with the verdict. It is apart
//! from the job: a caller that is gone or stalls costs the job nothing.

use crate::act::channel::{limit_sending, send, send_packet};
use crate::act::log::Reader;
use crate::act::store::Store;
use crate::act::watch::{Change, Watch};
use crate::decide::answer::{MAX_PACKET, Packet};
use crate::decide::escape::Harmless;
use crate::decide::record::JobResult;
use crate::decide::value::JobId;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

/// Where the log goes: `attach` asked for it, a deploy gets it beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

/// How long a caller may take to make room for one packet.
const STALL: Duration = Duration::from_secs(60);

/// The verdict as the job itself knows it: where the disk takes no result, whoever asked hears it all the same.
pub type Spoken = OnceLock<JobResult>;

/// Follows a job to its end, or until the caller is gone. Gives the channel back.
pub fn follow(store: &Store, job: &JobId, channel: OwnedFd, stream: Stream) -> OwnedFd {
    follow_own(store, job, channel, stream, &Spoken::new())
}

/// The same for the job's own caller.
pub fn follow_own(store: &Store, job: &JobId, channel: OwnedFd, stream: Stream, spoken: &Spoken) -> OwnedFd {
    let directory = store.job_dir(job);
    let watch = Watch::new(&directory);
    let mut log = Reader::new(&directory.join("log"));
    // What passes the filter is no longer than what was read, the three bytes that it may have held back, and the kind.
    let mut buffer = vec![0; MAX_PACKET - 4];
    let mut filter = Harmless::default();
    let _ = limit_sending(&channel, STALL);
    loop {
        // Looked at before the log: what was written before the result is then in the log.
        let result = store.result(job).ok().flatten().or_else(|| spoken.get().cloned());
        loop {
            let new = log.read(&mut buffer);
            if new.is_empty() {
                break;
            }
            let text = filter.filter(new);
            let packet = match stream {
                Stream::Out => Packet::Out(text.as_bytes()),
                Stream::Err => Packet::Err(text.as_bytes()),
            };
            if !text.is_empty() && send_packet(&channel, packet).is_err() {
                return channel;
            }
        }
        if let Some(result) = result {
            say_verdict(&channel, &result);
            return channel;
        }
        let change = match &watch {
            Ok(watch) => watch.wait(Duration::from_secs(10), Some(channel.as_fd())),
            Err(_) => {
                std::thread::park_timeout(Duration::from_millis(200));
                Change::Look
            }
        };
        if change == Change::HungUp {
            return channel;
        }
    }
}

fn say_verdict(channel: &OwnedFd, result: &JobResult) {
    let line = format!("{}\n", result.line);
    let said = send(channel, &Packet::Err(line.as_bytes()).render());
    if said.is_ok() {
        let _ = send(channel, &Packet::Exit(result.code).render());
    }
}
