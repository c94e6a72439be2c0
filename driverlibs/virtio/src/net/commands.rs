//! What the device is asked for through its control queue. Each waits for the answer; what is asked for holds until the
//! next start.

use weir_hal::{Clock, Error as HostError};
use weir_nic::Rss;

use super::control::Command;
use super::{Net, rss};
use crate::{Error, Features, Transport};

impl<T: Transport> Net<T> {
    /// Receives every frame on the wire, or only those for this device.
    ///
    /// # Errors
    /// `Host(Unsupported)` where the device takes no such command, `Refused`, `Host(TimedOut)`, `Violation`; `Host(Busy)`
    /// until the next start where one was not answered.
    pub fn set_promiscuous(&mut self, on: bool, clock: &impl Clock) -> Result<(), Error> {
        self.command(Features::CTRL_RX, Command::PROMISCUOUS, &[on.into()], clock)
    }

    /// Receives every multicast frame, or none but broadcasts.
    ///
    /// # Errors
    /// As for [`Net::set_promiscuous`].
    pub fn set_all_multicast(&mut self, on: bool, clock: &impl Clock) -> Result<(), Error> {
        self.command(Features::CTRL_RX, Command::ALL_MULTICAST, &[on.into()], clock)
    }

    /// Changes the device's MAC address.
    ///
    /// # Errors
    /// As for [`Net::set_promiscuous`].
    pub fn set_mac(&mut self, mac: [u8; 6], clock: &impl Clock) -> Result<(), Error> {
        self.command(Features::CTRL_MAC_ADDR, Command::MAC_ADDRESS, &mac, clock)
    }

    /// Tells the device that the announcement it wanted was made.
    ///
    /// # Errors
    /// As for [`Net::set_promiscuous`].
    pub fn announced(&mut self, clock: &impl Clock) -> Result<(), Error> {
        self.command(Features::GUEST_ANNOUNCE, Command::ANNOUNCED, &[], clock)
    }

    /// Says which queue gets which frames.
    ///
    /// # Errors
    /// As for [`Net::set_promiscuous`]; `Host(Unsupported)` also where the device has not so long a key or table, or
    /// hashes something else; `Host(OutOfRange)`: a queue that is not there, or a table that is no power of two.
    pub fn set_rss(&mut self, rss: &Rss<'_>, clock: &impl Clock) -> Result<(), Error> {
        let config = rss::config(&self.transport, rss, self.pairs)?;
        self.command(Features::RSS, Command::RSS, &config, clock)
    }

    /// Lets the device use all pairs; after a reset it uses one.
    pub(super) fn use_pairs(&mut self, clock: &impl Clock) -> Result<(), Error> {
        self.command(Features::MQ, Command::PAIRS, &self.pairs.to_le_bytes(), clock)
    }

    fn command(
        &mut self,
        needed: Features,
        command: Command,
        data: &[u8],
        clock: &impl Clock,
    ) -> Result<(), Error> {
        let is_agreed = self.agreed.contains(needed);
        let control = self.control.as_mut().filter(|_| is_agreed).ok_or(HostError::Unsupported)?;
        control.send(command, data, clock)
    }
}
