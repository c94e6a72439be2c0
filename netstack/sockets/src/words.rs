//! What an application's words (`args` in its manifest) say of the network.

use alloc::string::String;
use alloc::vec::Vec;

use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Address, Ipv4Cidr};

use crate::Config;

/// Words of the network; the defaults are DHCP, 1,500 bytes, no virtual LAN, 1,000 connections.
#[derive(Clone, Debug)]
pub struct Network {
    /// The address, if DHCP is not to be asked.
    pub address: Option<IpCidr>,
    /// Whom to send to what is not on the link.
    pub gateway: Option<Ipv4Address>,
    /// Bytes of an IP packet at most.
    pub mtu: usize,
    /// The virtual LAN.
    pub vlan: Option<u16>,
    /// Connections at once.
    pub connections: usize,
    /// Sleep when idle, even with a core of its own.
    pub sleep: bool,
}

/// A word that means nothing.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{word}` does not say what it should; the network's words: dhcp or ADDRESS/PREFIX (10.0.2.15/24), gateway=ADDRESS, \
     mtu=1280..9000, vlan=1..4094, connections=1..100000, sleep"
)]
pub struct BadWord {
    /// As it stands in the manifest.
    pub word: String,
}

impl Network {
    /// Takes the network's words out of `args`; the rest are the application's.
    ///
    /// # Errors
    /// A word of the network's whose value is none.
    pub fn parse(args: &[String]) -> Result<(Network, Vec<String>), BadWord> {
        let mut network =
            Network { address: None, gateway: None, mtu: 1500, vlan: None, connections: 1000, sleep: false };
        let mut rest = Vec::new();
        for word in args {
            match network.take(word) {
                Some(true) => {}
                Some(false) => rest.push(word.clone()),
                None => return Err(BadWord { word: word.clone() }),
            }
        }
        Ok((network, rest))
    }

    /// Settings of a stack for the device at `mac`; `seed` is what nobody else knows.
    #[must_use]
    pub fn config(&self, mac: EthernetAddress, seed: u64) -> Config {
        Config {
            address: self.address,
            gateway: self.gateway,
            mtu: self.mtu,
            vlan: self.vlan,
            connections: self.connections,
            half_open: self.connections.div_ceil(4),
            ..Config::new(mac, seed)
        }
    }

    /// Whether a word is the network's; `None` where it is, and is wrong.
    fn take(&mut self, word: &str) -> Option<bool> {
        match word.split_once('=') {
            None if word == "dhcp" => self.address = None,
            None if word == "sleep" => self.sleep = true,
            None if word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('/') => {
                self.address = Some(IpCidr::Ipv4(word.parse().ok().filter(|cidr| is_usable(*cidr))?));
            }
            Some(("gateway", value)) => {
                let is_usable = |address: &Ipv4Address| crate::datagram::is_host((*address).into());
                self.gateway = Some(value.parse().ok().filter(is_usable)?);
            }
            Some(("mtu", value)) => self.mtu = within(value, 1280..=9000)?,
            Some(("vlan", value)) => self.vlan = u16::try_from(within(value, 1..=4094)?).ok(),
            Some(("connections", value)) => self.connections = within(value, 1..=100_000)?,
            _ => return Some(false),
        }
        Some(true)
    }
}

fn within(value: &str, range: core::ops::RangeInclusive<usize>) -> Option<usize> {
    value.parse().ok().filter(|number| range.contains(number))
}

fn is_usable(cidr: Ipv4Cidr) -> bool {
    let address = cidr.address();
    !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast() && !address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn parse(words: &str) -> Result<(Network, Vec<String>), String> {
        let words: Vec<String> = words.split_whitespace().map(String::from).collect();
        Network::parse(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn takes_its_own_words_and_leaves_the_others() {
        let (network, rest) =
            parse("10.0.2.15/24 root=www gateway=10.0.2.2 mtu=9000 vlan=7 connections=10000 quiet").unwrap();
        assert_eq!(network.address.unwrap().to_string(), "10.0.2.15/24");
        assert_eq!(network.gateway.unwrap().to_string(), "10.0.2.2");
        assert_eq!((network.mtu, network.vlan, network.connections), (9000, Some(7), 10_000));
        assert_eq!(rest, ["root=www", "quiet"]);
        assert!(parse("dhcp").unwrap().0.address.is_none());
    }

    #[test]
    fn a_wrong_value_is_named() {
        for word in [
            "mtu=100",
            "vlan=0",
            "vlan=4095",
            "gateway=x",
            "gateway=224.0.0.1",
            "10.0.2.15/99",
            "0.0.0.0/0",
            "connections=0",
        ] {
            assert!(parse(word).unwrap_err().starts_with(&alloc::format!("`{word}`")), "{word}");
        }
    }
}
