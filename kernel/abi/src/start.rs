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
    /// Its ends of channels.
    pub channels: Option<Channels>,
}

/// The channels of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channels {
    /// The event that its neighbours ring, [`crate::page::BELL_EVENT`].
    pub bell: Handle,
    /// What the supervisor tells of them: a `Memory` with a [`crate::channel::News`], to be read only.
    pub news: Handle,
    /// The ends.
    pub ends: Vec<ChannelEnd>,
}

/// An end of a channel. Its number in [`crate::channel::News::bells`] is its position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelEnd {
    /// The channel's name.
    pub name: String,
    /// The `Memory` of its rings: first the one towards the far end, then the one towards the near end, which is nearer to
    /// the pool's home.
    pub rings: Handle,
    /// Entries of each ring.
    pub entries: u32,
    /// Whether this is the near end.
    pub is_near: bool,
    /// The `Memory` of the pool: buffers of 2 KiB, then a page with a word for each user.
    pub pool: Handle,
    /// The pool's number in [`crate::channel::News::pools`]; ends with the same number share a pool.
    pub pool_number: u32,
    /// How many buffers it has.
    pub buffers: u32,
    /// Which of the pool's users this application is; 0 is its home.
    pub user: u32,
    /// How many users it has.
    pub users: u32,
}

/// One grant, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The manifest's name for it; `stats` is the counters' memory ([`crate::stats::Stats`]).
    pub name: String,
    /// The handle; its kind is what the name's maker says.
    pub handle: Handle,
}
