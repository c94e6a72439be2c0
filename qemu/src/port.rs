//! Ports of this host.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Result, bail};

/// The UDP port people are told about first.
pub const DEFAULT: u16 = 7007;
/// The TCP port of a web page that people are told about first.
pub const WEB: u16 = 8080;
/// How many ports after the first are tried.
const TRIED: u16 = 200;

/// The UDP port to use: `wanted` if it is free, else the next free one from [`DEFAULT`].
///
/// # Errors
/// `wanted` is busy, or every port tried is.
pub fn choose(wanted: Option<u16>) -> Result<u16> {
    let is_free = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    free("UDP", "--port", wanted, DEFAULT, is_free)
}

/// The TCP port to use for a web page: `wanted` if it is free, else the next free one from [`WEB`].
///
/// # Errors
/// As [`choose`].
pub fn choose_web(wanted: Option<u16>) -> Result<u16> {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    free("TCP", "--http-port", wanted, WEB, is_free)
}

fn free(
    kind: &str,
    option: &str,
    wanted: Option<u16>,
    first: u16,
    is_free: impl Fn(u16) -> bool,
) -> Result<u16> {
    if let Some(port) = wanted {
        if is_free(port) {
            return Ok(port);
        }
        bail!("{kind} port {port} of this host is busy; choose another with {option}");
    }
    match (first..first + TRIED).find(|port| is_free(*port)) {
        Some(port) => Ok(port),
        None => bail!("{kind} ports {first} to {} of this host are busy", first + TRIED - 1),
    }
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
    fn a_busy_web_port_is_refused_when_asked_for() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(choose_web(Some(port)).unwrap_err().to_string().contains("--http-port"));
    }

    #[test]
    fn a_busy_default_gives_the_next() {
        let _taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, DEFAULT));
        assert!(choose(None).unwrap() > DEFAULT);
    }
}
