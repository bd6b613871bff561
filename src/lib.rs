//! nixgate makes `ssh deploy@host switch` safe. Read this page, then [`gate`], then [`job`].
//!
//! ```text
//!  client ──ssh──> sshd ──> nixgate (deploy) ──socket──> nixgate-job (nixgate) ──sudo -n──> systemd, nix-env
//!                           gate.rs                      job.rs                  decide/privileged.rs
//! ```
//!
//! Layers, each knowing only those above it:
//!
//! - [`decide`]: pure decisions. It reads no file, clock or environment and starts nothing.
//! - [`act`]: effects, one kind a file: kernel, processes, git, nix, systemd, state, audit, socket.
//! - [`gate`], [`job`], [`ctl`]: the three roles, each read from top to bottom.
//!
//! A request goes through types that only the stage before can make, so what was not authorised cannot be
//! planned, and what was not recorded cannot be run:
//!
//! ```text
//!  bytes ─parse─> Request ─judge─> Authorized ─Plan::of─> Plan ─Begun::begin─> Begun ─deploy::run─> Outcome
//!                                                               (on disk)
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod act;
#[cfg(feature = "host")]
pub mod ctl;
pub mod decide;
pub mod gate;
#[cfg(feature = "host")]
pub mod job;
