//! What is done with frames.

use core::fmt;
use core::str::FromStr;

/// A mode, named as testpmd names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forwards frames as they are.
    Io,
    /// Forwards them with the sending port's address as source, and the address of its peer as destination.
    Mac,
    /// Forwards them with source and destination address swapped.
    Macswap,
    /// The same, with those of IPv4 or IPv6, and of TCP or UDP, swapped too.
    FiveTupleSwap,
    /// Receives and drops.
    RxOnly,
    /// Makes frames, or replays them, and sends.
    TxOnly,
    /// Makes frames of many flows and sends; receives and drops.
    FlowGen,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 7] =
        [Mode::Io, Mode::Mac, Mode::Macswap, Mode::FiveTupleSwap, Mode::RxOnly, Mode::TxOnly, Mode::FlowGen];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Io => "io",
            Mode::Mac => "mac",
            Mode::Macswap => "macswap",
            Mode::FiveTupleSwap => "5tswap",
            Mode::RxOnly => "rxonly",
            Mode::TxOnly => "txonly",
            Mode::FlowGen => "flowgen",
        }
    }

    /// Whether it sends what it receives.
    #[must_use]
    pub const fn forwards(self) -> bool {
        matches!(self, Mode::Io | Mode::Mac | Mode::Macswap | Mode::FiveTupleSwap)
    }

    /// Whether it sends frames of its own.
    #[must_use]
    pub const fn makes(self) -> bool {
        matches!(self, Mode::TxOnly | Mode::FlowGen)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no mode has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such mode; there are: io, mac, macswap, 5tswap, rxonly, txonly, flowgen")]
pub struct NoSuchMode;

impl FromStr for Mode {
    type Err = NoSuchMode;

    fn from_str(name: &str) -> Result<Mode, NoSuchMode> {
        Mode::ALL.into_iter().find(|mode| mode.name() == name).ok_or(NoSuchMode)
    }
}
