//! A Linux guest: Debian's kernel and a small file tree made here, as another host of the driver libraries and as
//! the system that Weir is compared with.
//!
//! **Invariant: it speaks to the runner as Weir does** (qemu/README.md "What the guest and the runner agree on"), so
//! that the same peer, the same tests and the same verdicts serve for both.
//!
//! Nothing is installed and nothing needs root: packages are unpacked beside the system ([`crate::tools`]), and the
//! file tree is written as the kernel wants it ([`cpio`]). `init.sh` is the first process.
//!
//! Reading order: [`setup`] (what boots) · `kernel` · [`programs`] (ours, built for Linux) · [`modules`], [`libraries`] ·
//! [`dpdk`], [`network`] (packaged programs) · [`cpio`].

pub mod cpio;
pub mod dpdk;
mod kernel;
pub mod libraries;
pub mod modules;
pub mod network;
pub mod programs;
pub mod setup;

pub use setup::{Linux, fetch};
