//! What the files of two systems and the state of the host say about a deploy; nothing is evaluated.

pub mod lockout;
pub mod locks;
pub mod reboot;
pub mod space;
