//! A socket that QEMU connects one of its ports to.
//!
//! Abstract sockets have no file and so no file permissions; the peer's user takes their place.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// Waits for one connection.
pub(super) struct Listener {
    name: String,
    socket: UnixListener,
}

impl Listener {
    pub(super) fn new() -> Result<Listener> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("weir-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from_abstract_name(&name)?;
        let socket = UnixListener::bind_addr(&address).context("cannot listen for QEMU")?;
        socket.set_nonblocking(true)?;
        Ok(Listener { name, socket })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The connection, if there is one by now. Other users' connections are dropped.
    pub(super) fn accept(&self) -> Result<Option<UnixStream>> {
        match self.socket.accept() {
            Ok((stream, _)) => {
                let peer = rustix::net::sockopt::socket_peercred(&stream)?;
                stream.set_nonblocking(false)?;
                Ok((peer.uid == rustix::process::geteuid()).then_some(stream))
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
