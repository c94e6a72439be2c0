//! What `pktgen` and `pktlat` are without a device: words, frames, times, judgement.
//!
//! **Invariant: nothing here allocates, waits or fails once it is set up**, and what comes from a peer or a file is checked
//! before it is used.
//!
//! Reading order: [`words`] (what is asked for) · [`stamp`] (what a frame carries) · [`frames`] (how it is made) · [`size`] ·
//! [`pace`] (when it is due) · [`recording`] (frames out of a file) · [`neighbour`] (whom it goes to) · [`reply`] (what comes back) ·
//! [`account`] (what became of each probe) · [`histogram`] (how long it took).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod account;
pub mod frames;
pub mod histogram;
pub mod neighbour;
pub mod pace;
pub mod recording;
pub mod reply;
pub mod size;
pub mod stamp;
pub mod words;
