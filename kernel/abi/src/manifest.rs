//! Which application runs and what it is granted: the compact form of the manifest.
//!
//! People write TOML; the host checks it and encodes this structure with `postcard` into the bundle.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::device::DevicePolicy;

/// The whole system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Accept devices that no IOMMU confines. Every banner and result says so.
    pub unsafe_no_iommu: bool,
    /// What the supervisor does when every application has ended and none is to be restarted.
    pub when_done: WhenDone,
    /// Applications, in starting order.
    pub apps: Vec<App>,
    /// Pools of buffers that applications share.
    pub pools: Vec<Pool>,
    /// Channels between applications.
    pub channels: Vec<Channel>,
}

/// A pool of buffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// How many, of 2 KiB each.
    pub buffers: u32,
    /// Who uses it, as positions in [`Manifest::apps`]; at home at the first.
    pub users: Vec<u32>,
}

/// A channel: two rings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its name, in both applications.
    pub name: String,
    /// Its ends, as positions in [`Manifest::apps`]; the first is nearer to the pool's home.
    pub ends: [u32; 2],
    /// Entries of each ring.
    pub entries: u32,
    /// Its pool, as a position in [`Manifest::pools`].
    pub pool: u32,
    /// The MAC address of the application at the second end, where the first is a switch.
    pub mac: Option<[u8; 6]>,
}

/// End of the system's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenDone {
    /// Keep the console.
    Stay,
    /// Power off; the exit code is 0x10 if every application exited with 0, else 0x11.
    PowerOff,
}

/// One application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name; unique.
    pub name: String,
    /// Bundle entry that holds its program.
    pub program: String,
    /// Bundle entries whose programs the supervisor may be told to start in its place.
    pub replacements: Vec<String>,
    /// Words it is started with.
    pub args: Vec<String>,
    /// Bytes of memory it may hold.
    pub memory_bytes: u64,
    /// Whole cores it is granted, named `core0`, `core1` … in its environment.
    pub cores: u32,
    /// When it is started again.
    pub restart: Restart,
    /// Devices it is granted.
    pub devices: Vec<DeviceGrant>,
    /// It sees how the machine is: the grant `status`, memory that the supervisor writes.
    pub sees_status: bool,
    /// The application that it may ask the supervisor to start, by the grant `request`. That one is not started otherwise.
    pub may_start: Option<String>,
    /// Bundle entry whose contents it finds, read-only, as the grant `files`: a bundle of files.
    pub files: Option<String>,
}

/// Restart policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Once is enough.
    Never,
    /// After a crash, a kill or a non-zero exit code; with back-off.
    OnFailure,
    /// Whenever it ends; with back-off.
    Always,
}

/// A device for an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceGrant {
    /// Its name in the application's environment.
    pub name: String,
    /// Which one.
    pub select: DeviceSelect,
    /// Start the application without it if there is no such device or it cannot be granted.
    pub optional: bool,
    /// What it may do.
    pub policy: DevicePolicy,
}

/// How a manifest names a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceSelect {
    /// By place: `segment << 16 | bus << 8 | device << 3 | function`.
    Address(u32),
    /// By the physical function that it is a virtual function of, and which of those.
    Virtual {
        /// Place of the physical function.
        physical: u32,
        /// Number, from 0.
        number: u16,
    },
    /// The `index`-th function with these ids, in bus order.
    Id {
        /// PCI vendor id.
        vendor: u16,
        /// PCI device id.
        device: u16,
        /// Position among the equal ones.
        index: u32,
    },
}
