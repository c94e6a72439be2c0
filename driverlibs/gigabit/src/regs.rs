//! Registers that these controllers have in common (82574 §10.2 and 82576 §8 "register descriptions").
//!
//! **Invariant: a device that is gone is noticed by whoever reads a register next**: all ones, confirmed by the
//! status register, which never reads so, is [`weir_hal::Error::Gone`].

use bitfield_struct::bitfield;
use weir_hal::{Clock, Device, Error as HostError, Mmio, Register, wait_until};

use crate::Error;

/// BAR of the registers, and its bytes.
pub(crate) const BAR: u8 = 0;
pub(crate) const BAR_BYTES: u64 = 0x2_0000;

/// Device control.
pub const CTRL: u64 = 0x0000;
/// Device status.
pub const STATUS: u64 = 0x0008;
/// EEPROM control.
pub const EECD: u64 = 0x0010;
/// Extended device control.
pub const CTRL_EXT: u64 = 0x0018;
/// Flow control: address low and high, type, timer.
pub(crate) const FLOW_CONTROL: [u64; 4] = [0x0028, 0x002c, 0x0030, 0x0170];
/// Interrupt mask clear.
pub const IMC: u64 = 0x00d8;
/// Receive control.
pub const RCTL: u64 = 0x0100;
/// Transmit control.
pub const TCTL: u64 = 0x0400;
/// Transmit inter-packet gap.
pub const TIPG: u64 = 0x0410;
/// Receive checksum control.
pub const RXCSUM: u64 = 0x5000;
/// Multicast table: 128 registers.
pub const MTA: u64 = 0x5200;
pub(crate) const MTA_REGISTERS: u64 = 128;
/// Receive address 0, low and high half; the others follow.
pub(crate) const RAL: u64 = 0x5400;
/// Its high half.
pub const RAH: u64 = 0x5404;
/// Multiple receive queues.
pub const MRQC: u64 = 0x5818;

/// A queue's registers, from its first.
pub mod queue {
    /// Base address, low half.
    pub const BASE_LOW: u64 = 0x00;
    /// Base address, high half.
    pub const BASE_HIGH: u64 = 0x04;
    /// Bytes of the ring.
    pub const LENGTH: u64 = 0x08;
    /// Next entry of the device.
    pub const HEAD: u64 = 0x10;
    /// First entry that is not the device's.
    pub const TAIL: u64 = 0x18;
    /// Descriptor control.
    pub const CONTROL: u64 = 0x28;
}

/// Device control (82574 §10.2.2.1, 82576 §8.2.1). The lowest 32 bits of what the EEPROM says are kept but for these.
#[bitfield(u32)]
pub struct Ctrl {
    /// Full duplex, where it is forced.
    pub full_duplex: bool,
    __: bool,
    /// No new requests to memory.
    pub is_master_disabled: bool,
    /// 82576: holds the link in reset.
    pub holds_link: bool,
    #[bits(2)]
    __: u8,
    /// Set link up.
    pub set_link_up: bool,
    /// Invert loss of signal.
    pub inverts_signal: bool,
    /// Speed, where it is forced.
    #[bits(2)]
    pub speed: u8,
    __: bool,
    /// Speed is forced.
    pub forces_speed: bool,
    /// Duplex is forced.
    pub forces_duplex: bool,
    #[bits(13)]
    __: u16,
    /// Resets the device; clears itself.
    pub reset: bool,
    /// Pause frames are obeyed.
    pub receives_flow_control: bool,
    /// Pause frames are sent.
    pub sends_flow_control: bool,
    __: bool,
    /// VLAN tags are stripped.
    pub strips_vlan: bool,
    /// Resets the PHY.
    pub reset_phy: bool,
}
const _: () = assert!(Ctrl::IS_MASTER_DISABLED_OFFSET == 2 && Ctrl::SET_LINK_UP_OFFSET == 6);
const _: () =
    assert!(Ctrl::FORCES_SPEED_OFFSET == 11 && Ctrl::RESET_OFFSET == 26 && Ctrl::RESET_PHY_OFFSET == 31);

/// Device status (82574 §10.2.2.2, 82576 §8.2.2).
#[bitfield(u32)]
pub struct Status {
    /// Full duplex.
    pub full_duplex: bool,
    /// The link is up.
    pub is_link_up: bool,
    #[bits(17)]
    __: u32,
    /// Requests to memory may be under way.
    pub is_master_enabled: bool,
    #[bits(12)]
    __: u16,
}
const _: () = assert!(Status::IS_LINK_UP_OFFSET == 1 && Status::IS_MASTER_ENABLED_OFFSET == 19);

/// EEPROM control: only whether it has been read (82574 §10.2.2.3, 82576 §8.4.1).
#[bitfield(u32)]
pub struct Eecd {
    #[bits(9)]
    __: u16,
    /// The EEPROM has been read.
    pub is_read: bool,
    #[bits(22)]
    __: u32,
}
const _: () = assert!(Eecd::IS_READ_OFFSET == 9);

/// Receive control (82574 §10.2.5.1, 82576 §8.10.1). Buffers are 2,048 bytes where `buffer_size` is 0.
#[bitfield(u32)]
pub struct Rctl {
    __: bool,
    /// On.
    pub is_enabled: bool,
    /// Bad frames are stored.
    pub stores_bad: bool,
    /// Every unicast frame is accepted.
    pub all_unicast: bool,
    /// Every multicast frame is accepted.
    pub all_multicast: bool,
    /// Frames above 1,522 bytes are accepted.
    pub long_packets: bool,
    #[bits(9)]
    __: u16,
    /// Broadcasts are accepted.
    pub accepts_broadcast: bool,
    /// Size of buffers.
    #[bits(2)]
    pub buffer_size: u8,
    #[bits(8)]
    __: u8,
    /// The checksum at the end of a frame is not stored.
    pub strips_crc: bool,
    #[bits(5)]
    __: u8,
}
const _: () = assert!(Rctl::ACCEPTS_BROADCAST_OFFSET == 15 && Rctl::STRIPS_CRC_OFFSET == 26);

/// Receive checksum control (82574 §10.2.5, 82576 §8.10 "Receive Checksum Control").
#[bitfield(u32)]
pub struct RxChecksum {
    #[bits(8)]
    __: u8,
    /// Checks those of IPv4 headers.
    pub of_ip: bool,
    /// Checks those of TCP and UDP.
    pub behind_ip: bool,
    #[bits(3)]
    __: u8,
    /// Descriptors hold the hash that frames are spread by, and no sum of the whole frame.
    pub gives_hash: bool,
    #[bits(18)]
    __: u32,
}
const _: () = assert!(RxChecksum::OF_IP_OFFSET == 8 && RxChecksum::BEHIND_IP_OFFSET == 9);
const _: () = assert!(RxChecksum::GIVES_HASH_OFFSET == 13);

/// Transmit control, as far as both controllers have the same (82574 §10.2.6.1, 82576 §8.12.1).
#[bitfield(u32)]
pub struct Tctl {
    __: bool,
    /// On.
    pub is_enabled: bool,
    __: bool,
    /// Short frames are padded.
    pub pads_short: bool,
    /// Tries before a frame is given up after collisions.
    pub collision_threshold: u8,
    /// Collision distance (82574), back-off slot time (82576), in byte times.
    #[bits(10)]
    pub collision_distance: u16,
    #[bits(10)]
    __: u16,
}
const _: () = assert!(Tctl::COLLISION_THRESHOLD_OFFSET == 4 && Tctl::COLLISION_DISTANCE_OFFSET == 12);

/// High half of a receive address (82574 §10.2.5.22, 82576 §8.10.17).
#[bitfield(u32)]
pub struct AddressHigh {
    /// The last two bytes of the address.
    pub bytes: u16,
    #[bits(15)]
    __: u16,
    /// Frames are compared with it.
    pub is_valid: bool,
}
const _: () = assert!(AddressHigh::IS_VALID_OFFSET == 31);

/// The device's registers, for what is not on the data path.
pub struct Registers<M: Mmio>(M);

impl<M: Mmio> Registers<M> {
    /// Maps the first `bytes` of a function's registers.
    ///
    /// # Errors
    /// The host's.
    pub fn map(device: &impl Device<Mmio = M>, bytes: u64) -> Result<Registers<M>, Error> {
        Ok(Registers(device.map_bar(BAR, 0, bytes)?))
    }

    /// A register to keep, for the data path.
    pub(crate) fn register(&self, offset: u64) -> Result<M::Register<u32>, Error> {
        Ok(self.0.register(offset)?)
    }

    /// Reads a register.
    ///
    /// # Errors
    /// `Gone`.
    pub fn read<T: From<u32>>(&self, offset: u64) -> Result<T, Error> {
        let value = self.register(offset)?.read();
        if value == u32::MAX && self.is_gone() {
            return Err(HostError::Gone.into());
        }
        Ok(value.into())
    }

    /// Writes a register.
    ///
    /// # Errors
    /// `OutOfRange`: not a register.
    pub fn write(&self, offset: u64, value: impl Into<u32>) -> Result<(), Error> {
        self.register(offset)?.write(value.into());
        Ok(())
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    /// `TimedOut`, and the condition's.
    pub fn wait(
        &self,
        clock: &impl Clock,
        limit_us: u64,
        condition: impl Fn(&Self) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut failed = None;
        wait_until(clock, limit_us, || {
            condition(self).unwrap_or_else(|error| {
                failed = Some(error);
                true
            })
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Whether the device answers nothing any more.
    pub fn is_gone(&self) -> bool {
        self.0.register::<u32>(STATUS).map_or(true, |status| status.read() == u32::MAX)
    }
}
