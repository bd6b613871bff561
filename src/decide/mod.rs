//! Pure decisions. Nothing here reads a file, a clock or the environment, or starts anything.

#[cfg(feature = "host")]
pub mod access;
pub mod answer;
#[cfg(feature = "host")]
<<<<<<< HEAD
pub mod builder;
=======
pub mod chain;
>>>>>>> 67e1b4a (The audit log turns over without losing its chain, counts a flood of refusals, and has room set aside on a full disk)
pub mod claim;
#[cfg(feature = "host")]
pub mod config;
pub mod escape;
#[cfg(feature = "host")]
pub mod evaluation;
pub mod identity;
#[cfg(feature = "host")]
<<<<<<< HEAD
pub mod lock;
=======
pub mod limit;
>>>>>>> 67e1b4a (The audit log turns over without losing its chain, counts a flood of refusals, and has room set aside on a full disk)
#[cfg(feature = "host")]
pub mod observe;
#[cfg(feature = "host")]
pub mod outcome;
#[cfg(feature = "host")]
pub mod plan;
#[cfg(feature = "host")]
pub mod policy;
#[cfg(feature = "host")]
pub mod preflight;
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
