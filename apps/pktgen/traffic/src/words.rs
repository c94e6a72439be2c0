//! What the manifest's `args` say.
//!
//! **Invariant: words that contradict each other are refused**, each with a line that says what to write instead.

use alloc::string::{String, ToString};

use weir_net::{Ipv4Address, Ipv4Network, MacAddress};

use crate::pace::{BURST_MAX, RATE_MAX};
use crate::size::Sizes;

mod generator;
mod prober;

pub use generator::{Generate, What};
pub use prober::{Probe, Target};

/// Why words mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadWord {
    /// One is not known.
    #[error("unknown word `{word}`; there are: {known}")]
    Unknown {
        /// Which.
        word: String,
        /// What there is.
        known: &'static str,
    },
    /// One has a value that it cannot have.
    #[error("`{word}` is not possible; {rule}")]
    Value {
        /// Which.
        word: String,
        /// What it can have.
        rule: &'static str,
    },
    /// Nothing says who sends.
    #[error("say who sends: ADDRESS/PREFIX such as 10.0.2.15/24")]
    NoAddress,
    /// Nothing says to whom.
    #[error("say to whom: {0}")]
    NoTarget(&'static str),
    /// Two do not go together.
    #[error("`{word}` does not go together with {with}")]
    Together {
        /// One.
        word: &'static str,
        /// The other.
        with: &'static str,
    },
    /// The target is on another network.
    #[error(
        "{to} is not on the network {own}; say who forwards to it: gateway=ADDRESS, or its address on the link: mac=ADDRESS"
    )]
    NoRoute {
        /// To whom.
        to: Ipv4Address,
        /// Who sends.
        own: Ipv4Network,
    },
}

/// Whom frames go to, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Who sends.
    pub own: Ipv4Network,
    /// To whom.
    pub to: Ipv4Address,
    /// Who gets frames on the link, where the words say so.
    pub mac: Option<MacAddress>,
    /// Whose address on the link is asked for, where they do not.
    pub next_hop: Ipv4Address,
}

/// When it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// After so many frames.
    pub frames: u64,
    /// After so many nanoseconds.
    pub ns: u64,
}

const RATE: &str = "rate=N is 1 to 1000000000 frames a second";
const COUNT: &str = "it is a number, 1 or more";
const ADDRESS: &str = "it is an address such as 10.0.2.2 that a host can have";
const MAC: &str = "it is an address such as 52:54:00:12:34:56 that a host can have";
const SIZE: &str = "a frame has 60 to 1514 bytes without checksum: size=64, size=60-1514 or size=imix";
const OWN: &str = "who sends is a host's ADDRESS/PREFIX such as 10.0.2.15/24";

/// The words that both programs have.
#[derive(Clone, Debug, Default)]
struct Common {
    own: Option<Ipv4Network>,
    to: Option<(Ipv4Address, Option<u16>)>,
    mac: Option<MacAddress>,
    gateway: Option<Ipv4Address>,
    rate: Option<u64>,
    count: Option<u64>,
    seconds: Option<u64>,
    sizes: Option<Sizes>,
}

impl Common {
    /// Takes a word, if it is one of these.
    fn take(&mut self, word: &str) -> Result<bool, BadWord> {
        let Some((key, value)) = word.split_once('=') else {
            if !word.contains('/') {
                return Ok(false);
            }
            set(&mut self.own, word.parse().ok(), word, OWN)?;
            return Ok(true);
        };
        match key {
            "to" => {
                set(&mut self.to, target(value), word, "it is ADDRESS or ADDRESS:PORT such as 10.0.2.2:9")?
            }
            "mac" => {
                set(&mut self.mac, value.parse().ok().filter(|mac: &MacAddress| is_host(*mac)), word, MAC)?
            }
            "gateway" => set(&mut self.gateway, host(value), word, ADDRESS)?,
            "rate" => set(&mut self.rate, number(value, RATE_MAX), word, RATE)?,
            "count" => set(&mut self.count, number(value, u64::MAX), word, COUNT)?,
            "seconds" => set(&mut self.seconds, number(value, u64::MAX / 1_000_000_000), word, COUNT)?,
            "size" => set(&mut self.sizes, Sizes::parse(value), word, SIZE)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whom frames to `to` go to.
    fn route(&self, to: Ipv4Address) -> Result<Route, BadWord> {
        let own = self.own.ok_or(BadWord::NoAddress)?;
        let next_hop = crate::neighbour::next_hop(own, self.gateway, to);
        let next_hop = next_hop.or(self.mac.map(|_| to)).ok_or(BadWord::NoRoute { to, own })?;
        Ok(Route { own, to, mac: self.mac, next_hop })
    }
}

/// Takes a value, or says which word has none.
fn set<T>(place: &mut Option<T>, value: Option<T>, word: &str, rule: &'static str) -> Result<(), BadWord> {
    *place = Some(value.ok_or_else(|| BadWord::Value { word: word.to_string(), rule })?);
    Ok(())
}

fn number(text: &str, most: u64) -> Option<u64> {
    text.parse().ok().filter(|number| (1..=most).contains(number))
}

fn host(text: &str) -> Option<Ipv4Address> {
    let address: core::net::Ipv4Addr = text.parse().ok()?;
    Some(Ipv4Address(address.octets())).filter(|address| address.is_host())
}

fn is_host(mac: MacAddress) -> bool {
    !mac.is_group() && mac.0 != [0; 6]
}

/// `10.0.2.2`, `10.0.2.2:9`.
fn target(text: &str) -> Option<(Ipv4Address, Option<u16>)> {
    match text.split_once(':') {
        None => Some((host(text)?, None)),
        Some((address, port)) => Some((host(address)?, Some(port.parse().ok().filter(|port| *port > 0)?))),
    }
}
