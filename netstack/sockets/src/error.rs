//! What can go wrong.

use smoltcp::wire::IpEndpoint;

/// Why the network did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody in this application has the port.
    #[error("port {port} is taken: this application listens there already")]
    PortTaken {
        /// Which.
        port: u16,
    },
    /// No address of this host reaches the peer.
    #[error("{remote} cannot be reached: there is no address or no route for it")]
    Unreachable {
        /// Whom.
        remote: IpEndpoint,
    },
    /// Nobody listens there, or nobody answered in time.
    #[error("{remote} does not accept connections, or does not answer")]
    NotAccepted {
        /// Who.
        remote: IpEndpoint,
    },
    /// Every connection is in use.
    #[error("too many connections")]
    TooMany,
    /// The peer broke the connection off, or was silent for too long.
    #[error("the peer broke the connection off or has fallen silent")]
    Reset,
    /// The connection is closed for sending.
    #[error("the connection is closed")]
    Closed,
    /// That is no host name.
    #[error("not a host name")]
    BadName,
    /// No server knows the name, or none answered.
    #[error("no address is known for that name, or no name server answers")]
    NoSuchName,
}
