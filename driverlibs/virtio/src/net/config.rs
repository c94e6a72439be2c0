//! What the device tells of itself (virtio 1.2 §5.1.4 "Device configuration layout").

use weir_hal::Interrupt;
use weir_nic::Offloads;

use super::Net;
use crate::transport::{Status, read_whole};
use crate::{Error, Features, Transport};

/// Offsets in `struct virtio_net_config`.
const STATUS: u64 = 6;
const MOST_PAIRS: u64 = 8;
const MTU: u64 = 10;
/// `VIRTIO_NET_S_LINK_UP`, `VIRTIO_NET_S_ANNOUNCE`.
const LINK_UP: u16 = 1;
const ANNOUNCE: u16 = 2;
/// Most pairs that queue numbers leave room for (§5.1.4.1).
const PAIRS_MAX: u16 = 0x7fff;

/// Most pairs of queues that the device has.
pub(super) fn pairs_max(transport: &impl Transport, agreed: Features) -> Result<u16, Error> {
    if !agreed.contains(Features::MQ) {
        return Ok(1);
    }
    let most: u16 = read_whole(transport, |transport| transport.read_config(MOST_PAIRS))?;
    if (1..=PAIRS_MAX).contains(&most) { Ok(most) } else { Err(Error::BadPairs { pairs: most }) }
}

impl<T: Transport> Net<T> {
    /// What driver and device agreed on.
    #[must_use]
    pub fn features(&self) -> Features {
        self.agreed
    }

    /// What the device does for its owner.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        let has = |feature| self.agreed.contains(feature);
        Offloads {
            rx_checksum: has(Features::GUEST_CSUM),
            tx_checksum: has(Features::CSUM),
            tso4: has(Features::CSUM | Features::HOST_TSO4),
            tso6: has(Features::CSUM | Features::HOST_TSO6),
            several_buffers: has(Features::MRG_RXBUF | Features::INDIRECT_DESC),
        }
    }

    /// The device's MAC address; `None` where it has none (virtio 1.2 §5.1.5 "Device Initialization").
    ///
    /// # Errors
    /// The host's.
    pub fn read_mac(&self) -> Result<Option<[u8; 6]>, Error> {
        if !self.agreed.contains(Features::NET_MAC) {
            return Ok(None);
        }
        let mac = read_whole(&self.transport, |transport| {
            let mut mac = [0; 6];
            for (offset, byte) in mac.iter_mut().enumerate() {
                *byte = transport.read_config(offset as u64)?;
            }
            Ok(mac)
        })?;
        Ok(Some(mac))
    }

    /// Whether the link is up; a device that does not tell is taken to have one (§5.1.4.2). Costs a register read.
    ///
    /// # Errors
    /// The host's.
    pub fn read_link_up(&self) -> Result<bool, Error> {
        Ok(self.read_net_status()? & LINK_UP != 0)
    }

    /// Whether the device wants its owner to announce itself, with a gratuitous ARP say, and then to tell it
    /// ([`Net::announced`]). Costs a register read.
    ///
    /// # Errors
    /// The host's.
    pub fn read_wants_announcement(&self) -> Result<bool, Error> {
        Ok(self.agreed.contains(Features::GUEST_ANNOUNCE) && self.read_net_status()? & ANNOUNCE != 0)
    }

    fn read_net_status(&self) -> Result<u16, Error> {
        if !self.agreed.contains(Features::NET_STATUS) {
            return Ok(LINK_UP);
        }
        read_whole(&self.transport, |transport| transport.read_config(STATUS))
    }

    /// The longest payload of a frame; `None` where the device does not tell, or `MTU` was not asked for.
    ///
    /// # Errors
    /// The host's.
    pub fn read_mtu(&self) -> Result<Option<u16>, Error> {
        let tells = self.agreed.contains(Features::MTU);
        tells.then(|| read_whole(&self.transport, |transport| transport.read_config(MTU))).transpose()
    }

    /// Whether what this file reads may have changed since this was asked last. Costs a load; without interrupts the
    /// answer is yes.
    pub fn has_news(&mut self) -> bool {
        let Some(interrupt) = &self.interrupt else { return true };
        let seen = core::mem::replace(&mut self.seen, interrupt.count());
        seen != self.seen
    }

    /// Whether the device says that it stopped after an error, or is gone. Costs a register read.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.transport.read_status().contains(Status::NEEDS_RESET)
    }
}
