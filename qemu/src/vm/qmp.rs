//! QEMU's control socket: just enough of QMP to know that QEMU runs, and to end it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The connection.
pub(super) struct Qmp {
    socket: UnixStream,
}

impl Qmp {
    /// Greets QEMU. It answers once it has set up the whole machine.
    ///
    /// # Errors
    /// It ended before that, or took longer than `limit`.
    pub(super) fn connect(socket: UnixStream, limit: Duration) -> Result<Qmp> {
        socket.set_read_timeout(Some(limit))?;
        let mut qmp = Qmp { socket };
        qmp.send("qmp_capabilities")?;
        for line in BufReader::new(qmp.socket.try_clone()?).lines() {
            let message: Value = serde_json::from_str(&line.context("no greeting in time")?)?;
            if message.get("return").is_some() {
                return Ok(qmp);
            }
        }
        bail!("it ended before it greeted")
    }

    /// Tells QEMU to end.
    pub(super) fn quit(&mut self) -> Result<()> {
        self.send("quit")
    }

    fn send(&mut self, command: &str) -> Result<()> {
        let line = format!("{{\"execute\":\"{command}\"}}\n");
        self.socket.write_all(line.as_bytes()).context("QEMU's control socket is closed")
    }
}
