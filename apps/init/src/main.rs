//! `init`, the supervisor: Weir's first process.
//!
//! It reads the manifest from the boot bundle, starts every application with exactly what the manifest grants,
//! watches them, starts them again by their policy, answers on the console (serial port 0) and reports on serial
//! port 1. **Invariant: nothing reaches an application but what its manifest entry names.** It never waits for
//! an application, and an application that ends cannot end it.
//!
//! What can be decided without the kernel is in `weir-init-logic`, tested on the host. Reading order:
//! `supervisor` (the loop) · `app` · `launch` · `devices` · `slots` · `channels` · `console`, `commands` · `sample` · `audit` ·
//! `board`.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod app;
mod audit;
mod board;
mod channels;
mod commands;
mod console;
mod devices;
mod launch;
mod sample;
mod slots;
mod supervisor;

use weir_abi::manifest::Manifest;
use weir_abi::page::IommuMode;
use weir_abi::{Error, bundle};
use weir_rt::{Env, kernel_page, log};

use crate::supervisor::Supervisor;

weir_rt::entry!(main);

/// Why the supervisor cannot begin.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum BootError {
    #[error("started as an application; it is the supervisor")]
    NotSupervisor,
    #[error("the boot bundle cannot be mapped: {0}")]
    Bundle(Error),
    #[error("the boot bundle holds no manifest")]
    NoManifest,
    #[error("the manifest is malformed")]
    BadManifest,
    #[error("the kernel refused: {0}")]
    Kernel(#[from] Error),
}

fn main(env: Env) -> Result<(), BootError> {
    let system = env.system().ok_or(BootError::NotSupervisor)?;
    let files = system.bundle().map_err(BootError::Bundle)?;
    let encoded = bundle::find(files, bundle::MANIFEST).ok_or(BootError::NoManifest)?;
    let manifest: Manifest = postcard::from_bytes(encoded).map_err(|_| BootError::BadManifest)?;
    if manifest.unsafe_no_iommu && IommuMode::from_number(kernel_page().iommu_mode) == IommuMode::Off {
        banner();
    }
    let code = Supervisor::new(system, files, manifest)?.run();
    let error = system.power_off(code);
    log!("power-off refused: {error}");
    Err(error.into())
}

/// Says loudly that nothing confines the devices.
fn banner() {
    log!("**********************************************************************");
    log!("**  UNSAFE: there is no IOMMU. Every device reaches all of memory.  **");
    log!("**  The manifest accepts this with `unsafe_no_iommu`.               **");
    log!("**********************************************************************");
}
