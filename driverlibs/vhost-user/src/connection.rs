//! A connection to a back end: questions and answers.
//!
//! **Invariant: what is returned as an answer has the number, the flags and the size of one, and came in time.** File
//! descriptors that a back end sends along are closed unseen, because no room is made for them.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Error;
use crate::message::{HAS_PROTOCOL_FEATURES, Header, IS_REPLY, NEEDS_REPLY, Request, VERSION, protocol};

/// A back end that has been greeted.
#[derive(Clone)]
pub(crate) struct Connection {
    stream: Arc<UnixStream>,
    limit: Duration,
    /// Feature bits of the device, as offered.
    pub(crate) features: u64,
    /// Extensions of the protocol that both have.
    pub(crate) protocol: u64,
}

impl Connection {
    /// Greets the back end: whose device it is, and what both can.
    pub(crate) fn new(stream: UnixStream, limit: Duration) -> Result<Connection, Error> {
        stream.set_write_timeout(Some(limit))?;
        let mut connection = Connection { stream: Arc::new(stream), limit, features: 0, protocol: 0 };
        connection.features = connection.ask(Request::GetFeatures, &())?;
        if connection.features & HAS_PROTOCOL_FEATURES != 0 {
            let offered: u64 = connection.ask(Request::GetProtocolFeatures, &())?;
            let agreed = offered & protocol::WANTED;
            connection.send(Request::SetProtocolFeatures, VERSION, agreed.as_bytes(), None)?;
            connection.protocol = agreed;
        }
        connection.tell(Request::SetOwner, &(), None)?;
        Ok(connection)
    }

    pub(crate) fn has(&self, feature: u64) -> bool {
        self.protocol & feature != 0
    }

    /// Tells the back end something, with a file if there is one. Where the back end acknowledges messages, it has
    /// done what was asked when this returns.
    pub(crate) fn tell<T: IntoBytes + Immutable>(
        &self,
        request: Request,
        payload: &T,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        if !self.has(protocol::REPLY_ACK) {
            return self.send(request, VERSION, payload.as_bytes(), file);
        }
        self.send(request, VERSION | NEEDS_REPLY, payload.as_bytes(), file)?;
        let code: u64 = self.receive(request)?;
        if code == 0 { Ok(()) } else { Err(Error::Refused { request: request as u32 }) }
    }

    /// Asks the back end something.
    pub(crate) fn ask<T: IntoBytes + Immutable, R: FromBytes + IntoBytes + Immutable + KnownLayout>(
        &self,
        request: Request,
        payload: &T,
    ) -> Result<R, Error> {
        self.send(request, VERSION, payload.as_bytes(), None)?;
        self.receive(request)
    }

    /// Whether the back end has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        let mut files = [PollFd::from_borrowed_fd(self.stream.as_fd(), PollFlags::RDHUP)];
        let found = poll(&mut files, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        found != Ok(0)
    }

    fn send(
        &self,
        request: Request,
        flags: u32,
        payload: &[u8],
        file: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        let bytes =
            u32::try_from(payload.len()).map_err(|_| Error::System(std::io::ErrorKind::InvalidInput))?;
        let header = Header { request: request as u32, flags, bytes };
        let parts = [IoSlice::new(header.as_bytes()), IoSlice::new(payload)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
        if !files.is_empty() {
            // There is room for one, and there is one at most.
            ancillary.push(SendAncillaryMessage::ScmRights(&files));
        }
        let sent = match sendmsg(&self.stream, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(Error::Closed),
            other => other?,
        };
        // A message is far smaller than a socket's buffer: a part of one is sent only to somebody who does not read.
        if sent == size_of::<Header>() + payload.len() { Ok(()) } else { Err(Error::Closed) }
    }

    /// The answer to `request`, which is as long as an `R`.
    fn receive<R: FromBytes + IntoBytes>(&self, request: Request) -> Result<R, Error> {
        let deadline = Instant::now() + self.limit;
        let mut header = Header { request: 0, flags: 0, bytes: 0 };
        self.fill(request, header.as_mut_bytes(), deadline)?;
        let Header { request: got, flags, bytes } = header;
        let is_answer = got == request as u32 && flags & !NEEDS_REPLY == VERSION | IS_REPLY;
        if is_answer && bytes == 0 {
            // How a back end says that there is no such field ("VHOST_USER_GET_CONFIG").
            return Err(Error::Refused { request: request as u32 });
        }
        if !is_answer || bytes as usize != size_of::<R>() {
            return Err(Error::BadReply { request: request as u32, got, flags, bytes });
        }
        let mut reply = R::new_zeroed();
        self.fill(request, reply.as_mut_bytes(), deadline)?;
        Ok(reply)
    }

    /// Reads as many bytes as `buffer` has, however few come at once.
    fn fill(&self, request: Request, mut buffer: &mut [u8], deadline: Instant) -> Result<(), Error> {
        while !buffer.is_empty() {
            self.wait_for_bytes(request, deadline)?;
            match (&*self.stream).read(buffer) {
                Ok(0) => return Err(Error::Closed),
                Ok(count) => buffer = &mut buffer[count..],
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Err(Error::Closed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait_for_bytes(&self, request: Request, deadline: Instant) -> Result<(), Error> {
        loop {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()));
            let left = left.map_err(|_| Error::System(std::io::ErrorKind::InvalidInput))?;
            let mut files = [PollFd::from_borrowed_fd(self.stream.as_fd(), PollFlags::IN)];
            match poll(&mut files, Some(&left)) {
                Ok(0) => {
                    let limit_ms = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
                    return Err(Error::NoReply { request: request as u32, limit_ms });
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The connection of a device, while there is one: shared with those who sleep until the device interrupts, who must
/// wake when it goes.
#[derive(Default)]
pub(crate) struct Link {
    connection: Mutex<Option<Connection>>,
}

impl Link {
    /// Takes a new connection, or none, and ends the old one: who sleeps on it wakes.
    pub(crate) fn set(&self, connection: Option<Connection>) {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *slot, connection) {
            // It fails where the back end ended it before.
            let _ = old.stream.shutdown(Shutdown::Both);
        }
    }

    /// The connection, if there is one that the back end has not closed.
    pub(crate) fn connection(&self) -> Option<Connection> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        connection.filter(|connection| !connection.is_closed())
    }

    pub(crate) fn stream(&self) -> Option<Arc<UnixStream>> {
        Some(self.connection()?.stream)
    }
}
