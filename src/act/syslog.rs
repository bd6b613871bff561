//! One line to the system's log. Owner of crate `syslog`.

use std::fmt::Display;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use syslog::{Facility, LogFormat, Logger, LoggerBackend};

pub use syslog::Severity;

const DEV_LOG: &str = "/dev/log";
/// A stuck log must not hold up a caller; a full one may catch up in this time.
const PATIENCE: Duration = Duration::from_millis(250);

/// Writes `line`, which must be printable. Where there is no log, or it is stuck, nothing happens.
pub fn log(ident: &'static str, severity: Severity, line: &str) {
    drop(try_log(ident, severity, line));
}

fn try_log(ident: &'static str, severity: Severity, line: &str) -> syslog::Result<()> {
    // Not `syslog::unix`: it connects before a timeout can be set, and may fall back to a stream that blocks.
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect(DEV_LOG)?;
    let mut logger = Logger::new(LoggerBackend::Unix(socket), Plain { ident });
    logger.formatter.format(&mut logger.backend, severity, line)
}

/// RFC 3164 without the timestamp, which every receiver adds by itself. The crate's own formatter asks for
/// local time, and that reads whatever file the inherited `TZ` names.
struct Plain {
    ident: &'static str,
}

impl<T: Display> LogFormat<T> for Plain {
    fn format<W: Write>(&self, log: &mut W, severity: Severity, message: T) -> syslog::Result<()> {
        let priority = Facility::LOG_AUTHPRIV as u8 | severity as u8;
        write!(log, "<{priority}>{}[{}]: {message}", self.ident, std::process::id())
            .map_err(syslog::Error::Write)
    }
}
