//! QEMU's control socket: just enough of QMP to end QEMU.

use std::io::Write;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};

/// The connection. Greeting and answers are not read: the only command is the last one.
pub(super) struct Qmp {
    socket: UnixStream,
}

impl Qmp {
    pub(super) fn new(socket: UnixStream) -> Qmp {
        Qmp { socket }
    }

    /// Tells QEMU to end.
    pub(super) fn quit(&mut self) -> Result<()> {
        let words = "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"quit\"}\n";
        self.socket.write_all(words.as_bytes()).context("QEMU's control socket is closed")
    }
}
