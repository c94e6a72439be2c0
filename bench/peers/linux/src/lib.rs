//! What the programs for the Linux guest share.
#![forbid(unsafe_code)]

pub mod talk;
