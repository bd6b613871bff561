//! Pure decisions. Nothing here reads a file, a clock or the environment, or starts anything.

pub mod answer;
pub mod claim;
#[cfg(feature = "host")]
pub mod config;
pub mod escape;
pub mod identity;
#[cfg(feature = "host")]
pub mod observe;
#[cfg(feature = "host")]
pub mod policy;
#[cfg(feature = "host")]
pub mod privileged;
#[cfg(feature = "host")]
pub mod record;
#[cfg(feature = "host")]
pub mod render;
pub mod request;
pub mod start;
#[cfg(feature = "host")]
pub mod state;
#[cfg(feature = "host")]
pub mod trust;
pub mod value;
pub mod verdict;
