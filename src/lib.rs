#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]
//! nixgate

pub mod act;
#[cfg(feature = "host")]
pub mod ctl;
pub mod decide;
pub mod gate;
