//! Effects: the kernel, sockets, processes, files. What to do was decided before.

pub mod authinfo;
pub mod channel;
pub mod client;
pub mod kernel;
pub mod syslog;
