//! UDP ports of this host.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Result, bail};

/// The port people are told about first.
pub const DEFAULT: u16 = 7007;
/// How many ports after [`DEFAULT`] are tried.
const TRIED: u16 = 200;

/// The port to use: `wanted` if it is free, else the next free one from [`DEFAULT`].
///
/// # Errors
/// `wanted` is busy, or every port tried is.
pub fn choose(wanted: Option<u16>) -> Result<u16> {
    if let Some(port) = wanted {
        if is_free(port) {
            return Ok(port);
        }
        bail!("UDP port {port} of this host is busy; choose another with --port");
    }
    match (DEFAULT..DEFAULT + TRIED).find(|port| is_free(*port)) {
        Some(port) => Ok(port),
        None => bail!("UDP ports {DEFAULT} to {} of this host are busy", DEFAULT + TRIED - 1),
    }
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_refused_when_asked_for() {
        let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(choose(Some(port)).unwrap_err().to_string().contains(&port.to_string()));
    }

    #[test]
    fn a_busy_default_gives_the_next() {
        let _taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, DEFAULT));
        assert!(choose(None).unwrap() > DEFAULT);
    }
}
