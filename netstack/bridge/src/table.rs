//! Who has which address.

use alloc::vec::Vec;

use weir_net::MacAddress;

/// A port, counted from 0; the uplink is none of these.
pub type Port = usize;

/// Addresses that a port without one of its own may learn.
pub const LEARNED_MAX: usize = 16;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goes {
    /// To one port.
    To(Port),
    /// Out of the uplink.
    Up,
    /// To every port but the one it came from, and, where it came from a port, out of the uplink.
    Everywhere,
}

/// Why a frame goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is shorter than two addresses and a type.
    Short,
    /// Its source address is not its sender's.
    Spoofed,
    /// It came from outside for an address that nobody here has, or is for where it came from.
    NotHere,
}

/// The bridge.
pub struct Bridge {
    /// What each port was given.
    given: Vec<Option<MacAddress>>,
    /// Address and port of what was learned, oldest first of each port.
    learned: Vec<(MacAddress, Port)>,
}

impl Bridge {
    /// A bridge of ports that were given these addresses.
    #[must_use]
    pub fn new(given: Vec<Option<MacAddress>>) -> Bridge {
        let free = given.iter().filter(|address| address.is_none()).count();
        Bridge { given, learned: Vec::with_capacity(free * LEARNED_MAX) }
    }

    /// Where a frame that came from a port goes; learns where that port has no address of its own.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn from_port(&mut self, port: Port, frame: &[u8]) -> Result<Goes, Refused> {
        let (to, from) = addresses(frame)?;
        let is_own = match self.given.get(port) {
            Some(Some(address)) => *address == from,
            Some(None) => self.learn(from, port),
            None => false,
        };
        if !is_own || from.is_group() {
            return Err(Refused::Spoofed);
        }
        if to.is_group() {
            return Ok(Goes::Everywhere);
        }
        match self.port_of(to) {
            Some(there) if there == port => Err(Refused::NotHere),
            Some(there) => Ok(Goes::To(there)),
            None => Ok(Goes::Up),
        }
    }

    /// Where a frame that came from outside goes.
    ///
    /// # Errors
    /// Why it goes nowhere. What has a port's address as its source is a port's own frame come back, or a lie.
    pub fn from_uplink(&self, frame: &[u8]) -> Result<Goes, Refused> {
        let (to, from) = addresses(frame)?;
        if from.is_group() || self.port_of(from).is_some() {
            return Err(Refused::Spoofed);
        }
        if to.is_group() {
            return Ok(Goes::Everywhere);
        }
        self.port_of(to).map(Goes::To).ok_or(Refused::NotHere)
    }

    /// Forgets what a port's application had taught: another life may have other addresses.
    pub fn forget(&mut self, port: Port) {
        self.learned.retain(|(_, of)| *of != port);
    }

    fn port_of(&self, address: MacAddress) -> Option<Port> {
        let given = self.given.iter().position(|given| *given == Some(address));
        given.or_else(|| self.learned.iter().find(|(of, _)| *of == address).map(|(_, port)| *port))
    }

    /// Takes the address for the port's, if nobody else's; whether it is.
    fn learn(&mut self, address: MacAddress, port: Port) -> bool {
        if let Some(there) = self.port_of(address) {
            return there == port;
        }
        let of_port = self.learned.iter().filter(|(_, of)| *of == port).count();
        let may = of_port < LEARNED_MAX && !address.is_group();
        if may {
            self.learned.push((address, port));
        }
        may
    }
}

/// Destination and source.
fn addresses(frame: &[u8]) -> Result<(MacAddress, MacAddress), Refused> {
    let (to, rest) = frame.split_first_chunk::<6>().ok_or(Refused::Short)?;
    let (from, rest) = rest.split_first_chunk::<6>().ok_or(Refused::Short)?;
    if rest.len() < 2 { Err(Refused::Short) } else { Ok((MacAddress(*to), MacAddress(*from))) }
}

#[cfg(test)]
mod tests;
