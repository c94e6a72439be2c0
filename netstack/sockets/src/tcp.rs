//! TCP connections as an application sees them.

use core::future::poll_fn;
use core::task::Poll;

use smoltcp::socket::tcp;
use smoltcp::wire::IpEndpoint;

use crate::connections::Id;
use crate::stack::Stack;
use crate::{Error, Net};

/// Waits for connections to a port. Dropped, it listens no more, and whom nobody has accepted is sent away.
pub struct Listener {
    pub(crate) net: Net,
    pub(crate) port: u16,
}

impl Listener {
    /// Waits for the next connection.
    pub async fn accept(&self) -> TcpStream {
        let id = poll_fn(|context| match self.net.stack().accept(self.port, context.waker()) {
            Some(id) => Poll::Ready(id),
            None => Poll::Pending,
        })
        .await;
        TcpStream { net: self.net.clone(), id }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.net.stack().unlisten(self.port);
    }
}

/// A connection. Dropped, it is closed: what was written still reaches the peer; one that was not read to its end is
/// broken off.
pub struct TcpStream {
    pub(crate) net: Net,
    pub(crate) id: Id,
}

impl TcpStream {
    /// Waits for some bytes, and says how many came; 0: the peer has sent its last.
    ///
    /// # Errors
    /// `Reset`.
    pub async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Error> {
        poll_fn(|context| {
            self.with(|socket| match socket.recv_slice(bytes) {
                Ok(0) => {
                    socket.register_recv_waker(context.waker());
                    Poll::Pending
                }
                Ok(count) => Poll::Ready(Ok(count)),
                Err(tcp::RecvError::Finished) => Poll::Ready(Ok(0)),
                Err(tcp::RecvError::InvalidState) => Poll::Ready(Err(Error::Reset)),
            })
        })
        .await
    }

    /// Waits until all bytes are on their way: in the connection's memory, not at the peer.
    ///
    /// # Errors
    /// `Reset`; `Closed` after [`TcpStream::close`].
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = self.write(rest).await?;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Waits for room, and says how many bytes it took.
    ///
    /// # Errors
    /// As [`TcpStream::write_all`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        poll_fn(|context| {
            self.with(|socket| match socket.send_slice(bytes) {
                Ok(0) => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
                Ok(count) => Poll::Ready(Ok(count)),
                Err(tcp::SendError::InvalidState) if socket.state() == tcp::State::Closed => {
                    Poll::Ready(Err(Error::Reset))
                }
                Err(tcp::SendError::InvalidState) => Poll::Ready(Err(Error::Closed)),
            })
        })
        .await
    }

    /// Says that no more will be written; the peer can still send.
    pub fn close(&mut self) {
        self.with(|socket| socket.close());
    }

    /// Breaks the connection off: the peer is told, and what is on its way is lost.
    pub fn abort(&mut self) {
        self.with(|socket| socket.abort());
    }

    /// The other end; `None` where the connection has been broken off.
    #[must_use]
    pub fn peer(&self) -> Option<IpEndpoint> {
        self.with(|socket| socket.remote_endpoint())
    }

    /// Waits for the end of the handshake.
    pub(crate) async fn connected(&mut self) -> Result<(), ()> {
        poll_fn(|context| {
            self.with(|socket| match socket.state() {
                tcp::State::SynSent | tcp::State::SynReceived => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
                tcp::State::Closed => Poll::Ready(Err(())),
                _ => Poll::Ready(Ok(())),
            })
        })
        .await
    }

    /// Does something with the socket, which may then have something to send. A connection is there as long as it is
    /// held, which it is by `self`.
    fn with<R>(&self, act: impl FnOnce(&mut tcp::Socket<'static>) -> R) -> R {
        let mut stack = self.net.stack();
        let Stack { connections, .. } = &mut *stack;
        let result = act(connections.at(self.id.index).socket());
        stack.soil(self.id.index);
        result
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.net.stack().let_go(self.id);
    }
}
