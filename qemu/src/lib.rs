//! Builds Weir, boots it in QEMU and tests it: everything behind `./weir`.
//!
//! **Invariant: whatever ends this program, no QEMU of its own keeps running and no socket file stays.**
//! It runs as an ordinary user, never asks for root, and writes only below the workspace's `target/`, the
//! user's cache directory and a temporary directory.
//!
//! Reading order: [`cli`] (what people type) · [`manifest`] and [`bundle`] (what boots) · [`build`] ·
//! [`system`] (kernel and bundle together) · [`machine`] · [`tools`] (which QEMU) · [`vm`] (a running
//! machine) · [`report`] (what the guest says) · [`run`] · [`suite`] (`weir test`) ·
//! [`guest`] and [`peer`] (a machine under test, the other end of its network) · [`linux`] (a guest that is not
//! Weir) · [`testpmd`] (DPDK's, the peer without a machine) · [`namespace`] (a network of its own) · [`recovery`] (how long
//! clients wait) · [`measure`] · [`audit`] · [`docs`].
#![forbid(unsafe_code)]

pub mod audit;
pub mod build;
pub mod bundle;
pub mod child;
pub mod cli;
pub mod docs;
pub mod guest;
pub mod image;
pub mod linux;
pub mod machine;
pub mod manifest;
pub mod measure;
pub mod miri;
pub mod namespace;
pub mod new;
pub mod peer;
pub mod port;
pub mod progress;
pub mod recovery;
pub mod report;
pub mod run;
pub mod suite;
pub mod system;
pub mod testpmd;
pub mod tools;
pub mod vm;
pub mod workspace;
