//! A cable between the network devices of two machines.

use anyhow::Result;
use tempfile::TempDir;

use super::{folder, netdev};

/// The cable: one datagram of a Unix socket is one frame, and none is lost as long as both machines run.
pub struct Cable(TempDir);

impl Cable {
    /// Lays it.
    ///
    /// # Errors
    /// No place for the sockets.
    pub fn new() -> Result<Cable> {
        folder().map(Cable)
    }

    /// The arguments of `-netdev` for the two machines.
    #[must_use]
    pub fn netdevs(&self) -> [String; 2] {
        let [left, right] = ["left", "right"].map(|end| self.0.path().join(end));
        [netdev(&left, &right), netdev(&right, &left)]
    }
}
