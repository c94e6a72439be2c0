//! What the words say: the same on every host.

use alloc::string::{String, ToString};

use weir_net::MacAddress;

use crate::Mode;
use crate::source::HEADERS_BYTES;

/// What a program that takes these words says of them.
pub const HELP: &str = "\
MODE [WORD=VALUE]...

Modes, as testpmd's:
  io        forward frames as they are
  mac       forward with the sending port's address as source and its peer's as destination
  macswap   forward with the Ethernet addresses swapped
  5tswap    forward with the addresses of Ethernet and IP and the ports of TCP and UDP swapped
  rxonly    receive and drop
  txonly    send UDP datagrams of one flow, or the frames of a pcap file
  flowgen   send UDP datagrams of many flows; receive and drop

Words:
  frames=N            end after N frames received, or sent where they are made (default: never)
  topology=loop       frames go out where they came in (default)
  topology=paired     of two ports, what comes in at one goes out at the other
  peer=MAC            whom `mac` and `txonly` send to (default: 02:00:00:00:00:0P, P the sending port)
  length=BYTES        of frames made, without checksum: 42 to 1514 (default: 64)
  flows=N             of `flowgen` (default: 1024)
  replay=FILE         pcap file whose frames `txonly` sends, over and over
  capture=FILE        pcap file for what port 0 receives
";

/// How ports belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Topology {
    /// Frames go out where they came in.
    #[default]
    Loop,
    /// What comes in at the first of two ports goes out at the second, and the other way round.
    Paired,
}

impl Topology {
    /// Of `ports`, the one that sends what `port` received; `None` where there is none.
    #[must_use]
    pub fn sender(self, port: usize, ports: usize) -> Option<usize> {
        let sender = match self {
            Topology::Loop => port,
            Topology::Paired => port ^ 1,
        };
        (sender < ports).then_some(sender)
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is done with frames.
    pub mode: Mode,
    /// After how many frames a stream is done.
    pub frames: u64,
    /// Who sends what who received.
    pub topology: Topology,
    /// The peer, if one is named.
    pub peer: Option<MacAddress>,
    /// Bytes of frames that are made, without checksum.
    pub frame_bytes: u16,
    /// Flows of [`Mode::FlowGen`], at least one.
    pub flows: u32,
    /// File to replay.
    pub replay: Option<String>,
    /// File for what is received.
    pub capture: Option<String>,
}

/// Why words mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWords {
    /// The first is no mode, or there is none.
    #[error("say what to do: io, mac, macswap, 5tswap, rxonly, txonly or flowgen")]
    NoMode,
    /// One is not known.
    #[error("unknown word `{0}`; there are: frames=, topology=, peer=, length=, flows=, replay=, capture=")]
    Unknown(String),
    /// One has a value that it cannot have.
    #[error("`{0}` is not possible")]
    BadValue(String),
    /// Only `txonly` replays.
    #[error("replay= is for txonly")]
    ReplayElsewhere,
}

impl Settings {
    /// Those of a mode without more words.
    #[must_use]
    pub fn of(mode: Mode) -> Settings {
        Settings {
            mode,
            frames: u64::MAX,
            topology: Topology::Loop,
            peer: None,
            frame_bytes: 64,
            flows: 1024,
            replay: None,
            capture: None,
        }
    }

    /// Reads a mode and its words.
    ///
    /// # Errors
    /// The first word that means nothing.
    pub fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Settings, BadWords> {
        let mut words = words.into_iter();
        let mode = words.next().and_then(|word| word.parse().ok()).ok_or(BadWords::NoMode)?;
        let mut settings = Settings::of(mode);
        for word in words {
            settings.take(word)?;
        }
        if settings.replay.is_some() && mode != Mode::TxOnly {
            return Err(BadWords::ReplayElsewhere);
        }
        Ok(settings)
    }

    fn take(&mut self, word: &str) -> Result<(), BadWords> {
        let (key, value) = word.split_once('=').ok_or_else(|| BadWords::Unknown(word.to_string()))?;
        let is_good = match key {
            "frames" => set(&mut self.frames, value.parse().ok().filter(|frames| *frames > 0)),
            "topology" => set(&mut self.topology, topology(value)),
            "peer" => set(&mut self.peer, value.parse().ok().map(Some)),
            "length" => set(&mut self.frame_bytes, value.parse().ok().filter(is_length)),
            "flows" => set(&mut self.flows, value.parse().ok().filter(|flows| *flows > 0)),
            "replay" => set(&mut self.replay, Some(Some(value.to_string()))),
            "capture" => set(&mut self.capture, Some(Some(value.to_string()))),
            _ => return Err(BadWords::Unknown(word.to_string())),
        };
        if is_good { Ok(()) } else { Err(BadWords::BadValue(word.to_string())) }
    }

    /// Whom the port with this number sends to: as with testpmd, a made-up address where none is named.
    #[must_use]
    pub fn peer_of(&self, port: usize) -> MacAddress {
        self.peer.unwrap_or(MacAddress([2, 0, 0, 0, 0, port.to_le_bytes()[0]]))
    }
}

/// Takes a value; whether there was one.
fn set<T>(place: &mut T, value: Option<T>) -> bool {
    let is_there = value.is_some();
    if let Some(value) = value {
        *place = value;
    }
    is_there
}

fn topology(word: &str) -> Option<Topology> {
    match word {
        "loop" => Some(Topology::Loop),
        "paired" => Some(Topology::Paired),
        _ => None,
    }
}

/// As every receiver takes it: without VLAN tags.
fn is_length(bytes: &u16) -> bool {
    (HEADERS_BYTES..=1514).contains(bytes)
}
