//! Addresses and identifiers, one type each.
//!
//! **Invariant: an address of one space never becomes one of another without somebody writing down why.**

/// Bytes of a frame and of the smallest page.
pub const FRAME_BYTES: u64 = 4096;

/// First address of the range in which a DMA write is an interrupt, never an access to memory
/// (VT-d 5.10 §3.15 "Handling Requests to Interrupt Address Range").
pub const INTERRUPT_RANGE_START: u64 = 0xfee0_0000;
/// End (exclusive) of that range.
pub const INTERRUPT_RANGE_END: u64 = 0xfef0_0000;
/// Addresses that HyperTransport keeps for interrupts, system management, configuration and the like, on machines
/// with AMD units (48882 §2.1.2 "Special Address Controls").
pub const HYPERTRANSPORT_RANGE: core::ops::Range<u64> = 0xfd_0000_0000..0x100_0000_0000;

/// Physical address, as the memory controller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysAddr(pub u64);

impl PhysAddr {
    /// The address `bytes` further up, inside an object known to reach that far.
    pub(crate) const fn offset(self, bytes: u64) -> Self {
        PhysAddr(self.0 + bytes)
    }
}

/// I/O virtual address: what a device puts on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Iova(pub u64);

/// Who sent a request, as its unit sees it: `bus << 8 | device << 3 | function`, inside the unit's segment
/// (VT-d 5.10 §3.4.1 "Source Identifier").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequesterId(pub u16);

impl RequesterId {
    /// The id of `bus:device.function`; `device` and `function` are cut to 5 and 3 bits.
    #[must_use]
    pub const fn new(bus: u8, device: u8, function: u8) -> Self {
        RequesterId(u16::from_be_bytes([bus, (device & 0x1f) << 3 | function & 7]))
    }

    /// Bus number.
    #[must_use]
    pub const fn bus(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// Device and function number: `device << 3 | function`.
    #[must_use]
    pub const fn device_function(self) -> u8 {
        self.0.to_be_bytes()[1]
    }
}

impl core::fmt::Display for RequesterId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let low = self.device_function();
        write!(f, "{:02x}:{:02x}.{}", self.bus(), low >> 3, low & 7)
    }
}

/// Tag of a domain's entries in the caches of every unit. Never 0: units with caching mode keep 0 for
/// themselves (VT-d 5.10 §6.1 "Caching Mode").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub(crate) u16);

/// Position of a unit in the environment's list of units (the order of [`Dmar::units`](crate::acpi::Dmar::units)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitIndex(pub(crate) u8);

impl UnitIndex {
    /// More units than any machine has: eight sockets with eight each.
    pub const MAX: usize = 64;

    /// The index `at`, or `None` from [`UnitIndex::MAX`] on.
    #[must_use]
    pub const fn new(at: usize) -> Option<Self> {
        if at < Self::MAX {
            #[expect(clippy::cast_possible_truncation, reason = "below 64")]
            return Some(UnitIndex(at as u8));
        }
        None
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// A non-empty range of I/O virtual addresses, page-aligned at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaRange {
    pub(crate) start: u64,
    /// Exclusive.
    pub(crate) end: u64,
}

impl IovaRange {
    /// First address.
    #[must_use]
    pub const fn start(self) -> Iova {
        Iova(self.start)
    }

    /// Length.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.end - self.start
    }

    /// The smallest range that contains both.
    pub(crate) fn join(self, other: Self) -> Self {
        IovaRange { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requester_id_packs_bus_device_function() {
        let id = RequesterId::new(0x12, 0x1f, 7);
        assert_eq!(id, RequesterId(0x12ff));
        assert_eq!((id.bus(), id.device_function()), (0x12, 0xff));
        assert_eq!(RequesterId::new(0, 3, 0), RequesterId(0x0018));
    }
}
