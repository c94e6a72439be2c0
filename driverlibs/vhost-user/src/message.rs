//! Messages (vhost-user "Message Specification"). Numbers are in the machine's byte order.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What the front end asks ("Front-end message types"), as far as it is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Request {
    GetFeatures = 1,
    SetFeatures = 2,
    SetOwner = 3,
    SetMemTable = 5,
    SetVringNum = 8,
    SetVringAddr = 9,
    SetVringBase = 10,
    GetVringBase = 11,
    SetVringKick = 12,
    SetVringCall = 13,
    GetProtocolFeatures = 15,
    SetProtocolFeatures = 16,
    GetQueueNum = 17,
    SetVringEnable = 18,
    GetConfig = 24,
    ResetDevice = 34,
}

/// `VHOST_USER_F_PROTOCOL_FEATURES`, among the device's features: the back end knows [`protocol`] features.
pub(crate) const HAS_PROTOCOL_FEATURES: u64 = 1 << 30;

/// Extensions of the protocol ("Protocol features"), as far as they are used here.
pub(crate) mod protocol {
    /// The number of queues can be asked for.
    pub(crate) const MQ: u64 = 1 << 0;
    /// Any message is acknowledged if it says so.
    pub(crate) const REPLY_ACK: u64 = 1 << 3;
    /// The device has a configuration that can be read.
    pub(crate) const CONFIG: u64 = 1 << 9;
    /// The device can be reset.
    pub(crate) const RESET_DEVICE: u64 = 1 << 13;
    /// What is used of what the back end has.
    pub(crate) const WANTED: u64 = MQ | REPLY_ACK | CONFIG | RESET_DEVICE;
}

/// Version 1 of the message format.
pub(crate) const VERSION: u32 = 1;
/// The message is an answer.
pub(crate) const IS_REPLY: u32 = 1 << 2;
/// The message shall be acknowledged ("REPLY_ACK").
pub(crate) const NEEDS_REPLY: u32 = 1 << 3;
/// In the word of `SET_VRING_KICK` and `SET_VRING_CALL`: there is no event file.
pub(crate) const NO_EVENT: u64 = 1 << 8;

/// What every message starts with.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) request: u32,
    pub(crate) flags: u32,
    /// Bytes that follow.
    pub(crate) bytes: u32,
}
const _: () = assert!(size_of::<Header>() == 12);

/// A number that belongs to a queue.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct VringState {
    pub(crate) index: u32,
    pub(crate) number: u32,
}

/// Where a queue is: *user addresses*, that is, of this program.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct VringAddr {
    pub(crate) index: u32,
    pub(crate) flags: u32,
    pub(crate) desc: u64,
    pub(crate) used: u64,
    pub(crate) available: u64,
    pub(crate) log: u64,
}
const _: () = assert!(size_of::<VringAddr>() == 40);

/// A table of one region.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct MemTable {
    pub(crate) regions: u32,
    pub(crate) padding: u32,
    /// Address in descriptors.
    pub(crate) guest_address: u64,
    pub(crate) bytes: u64,
    /// Address in [`VringAddr`].
    pub(crate) user_address: u64,
    /// Offset in the file.
    pub(crate) offset: u64,
}
const _: () = assert!(size_of::<MemTable>() == 40);

/// A field of `N` bytes of the configuration.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub(crate) struct ConfigField<const N: usize> {
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
    pub(crate) flags: u32,
    pub(crate) value: [u8; N],
}
const _: () = assert!(size_of::<ConfigField<2>>() == 14);
