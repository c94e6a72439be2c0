//! What an application finds when it starts: its first thread's arguments are the address and length of this
//! structure, encoded with `postcard`, in a read-only mapping.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::Handle;

/// The environment of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Its name.
    pub name: String,
    /// Its words, from the manifest.
    pub args: Vec<String>,
    /// How often it was started before.
    pub restarts: u32,
    /// Its grants.
    pub grants: Vec<Grant>,
}

/// One grant, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The manifest's name for it; `stats` is the counters' memory ([`crate::stats::Stats`]).
    pub name: String,
    /// The handle; its kind is what the name's maker says.
    pub handle: Handle,
}
