//! Ports of this host that lead to ports of the guest: a manifest's `[[port]]`.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Result, bail};

/// How many ports after the preferred one are tried.
const TRIED: u16 = 200;
/// The port people are told about first.
pub const DEFAULT: u16 = 7007;

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As QEMU calls it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// A port of the guest, and how this host's people reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number in the guest.
    pub guest: u16,
    /// The port of this host to take for it, or one of the next.
    pub preferred: u16,
    /// What to type; `{port}` stands for this host's port.
    pub hint: Option<String>,
}

impl Port {
    /// Where a manifest has none: UDP echo.
    #[must_use]
    pub fn echo() -> Port {
        Port { protocol: Protocol::Udp, guest: 7, preferred: DEFAULT, hint: None }
    }

    /// The port of this host to use: `wanted` if it is free, else the next free one from the preferred one. What is
    /// not `wanted` is told where it is another one.
    ///
    /// # Errors
    /// `wanted` is busy, or every port tried is.
    pub fn choose(&self, wanted: Option<u16>) -> Result<u16> {
        let name = self.protocol.word().to_uppercase();
        if let Some(port) = wanted {
            if self.is_free(port) {
                return Ok(port);
            }
            bail!("{name} port {port} of this host is busy; choose another with --port");
        }
        let last = self.preferred.saturating_add(TRIED - 1);
        match (self.preferred..=last).find(|port| self.is_free(*port)) {
            Some(port) => {
                if port != self.preferred {
                    eprintln!("note: {name} port {} is busy, taking {port}", self.preferred);
                }
                Ok(port)
            }
            None => bail!("{name} ports {} to {last} of this host are busy", self.preferred),
        }
    }

    fn is_free(&self, port: u16) -> bool {
        match self.protocol {
            Protocol::Tcp => TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok(),
            Protocol::Udp => UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_refused_when_asked_for() {
        let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(Port::echo().choose(Some(port)).unwrap_err().to_string().contains(&port.to_string()));
    }

    #[test]
    fn a_busy_default_gives_the_next() {
        let _taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, DEFAULT));
        assert!(Port::echo().choose(None).unwrap() > DEFAULT);
    }

    #[test]
    fn protocols_have_ports_of_their_own() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let preferred = taken.local_addr().unwrap().port();
        let tcp = Port { protocol: Protocol::Tcp, preferred, ..Port::echo() };
        assert!(tcp.choose(Some(preferred)).is_err());
        assert_eq!(Port { protocol: Protocol::Udp, ..tcp }.choose(Some(preferred)).unwrap(), preferred);
    }
}
