//! Pure decisions. Nothing here reads a file, a clock or the environment, or starts anything.

pub mod answer;
pub mod claim;
pub mod escape;
pub mod request;
pub mod value;
