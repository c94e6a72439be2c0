//! Controller properties and doorbells (NVMe §3.1.3 "Controller Properties"; PCIe §3.1.2 "PCI Express Specific Property
//! Definitions").

use bitfield_struct::bitfield;
use weir_hal::{Device, Error, Mmio, RegisterOf};

/// Where the registers are: BAR 0, with BAR 1 as its upper half.
pub const BAR: u8 = 0;
/// Bytes up to the doorbells.
pub const BYTES: u64 = 0x1000;
/// Doorbells begin here.
pub const DOORBELLS: u64 = 0x1000;

/// CAP: controller capabilities (NVMe §3.1.3.1).
#[bitfield(u64)]
pub struct Capabilities {
    /// MQES: most entries of a queue, less one.
    pub entries_less_one: u16,
    /// CQR: queues must be contiguous; they are.
    pub needs_contiguous: bool,
    #[bits(2)]
    __: u8,
    #[bits(5)]
    __: u8,
    /// TO: how long becoming ready, or not ready, may take, in 500 ms.
    pub limit_500_ms: u8,
    /// DSTRD: doorbells are `4 << stride` bytes apart.
    #[bits(4)]
    pub doorbell_stride: u32,
    #[bits(1)]
    __: u8,
    /// CSS, bit 0: the NVM command set.
    pub has_nvm: bool,
    #[bits(7)]
    __: u8,
    #[bits(3)]
    __: u8,
    /// MPSMIN: smallest page, `4096 << n` bytes.
    #[bits(4)]
    pub page_min_shift: u8,
    #[bits(4)]
    __: u8,
    #[bits(8)]
    __: u8,
}
const _: () = assert!(Capabilities::LIMIT_500_MS_OFFSET == 24 && Capabilities::DOORBELL_STRIDE_OFFSET == 32);
const _: () = assert!(Capabilities::HAS_NVM_OFFSET == 37 && Capabilities::PAGE_MIN_SHIFT_OFFSET == 48);

/// CC: controller configuration (NVMe §3.1.3.5). Left 0: pages of 4 KiB, round robin, NVM command set.
#[bitfield(u32)]
pub struct Configuration {
    /// EN.
    pub is_enabled: bool,
    #[bits(3)]
    __: u8,
    /// CSS: 0 is the NVM command set.
    #[bits(3)]
    pub command_set: u8,
    /// MPS: pages of `4096 << n` bytes.
    #[bits(4)]
    pub page_shift: u8,
    #[bits(3)]
    __: u8,
    /// SHN: shut down.
    #[bits(2)]
    pub shutdown: u8,
    /// IOSQES: size of a command, as a power of two.
    #[bits(4)]
    pub command_shift: u8,
    /// IOCQES: size of a completion, as a power of two.
    #[bits(4)]
    pub completion_shift: u8,
    #[bits(8)]
    __: u8,
}
const _: () = assert!(Configuration::PAGE_SHIFT_OFFSET == 7 && Configuration::COMMAND_SHIFT_OFFSET == 16);
const _: () = assert!(Configuration::COMPLETION_SHIFT_OFFSET == 20);

/// CSTS: controller status (NVMe §3.1.3.6).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ControllerStatus {
    /// RDY.
    pub is_ready: bool,
    /// CFS: a fatal error; only a reset helps.
    pub is_fatal: bool,
    #[bits(30)]
    __: u32,
}

impl ControllerStatus {
    /// What a controller that is gone reads as.
    pub const GONE: ControllerStatus = ControllerStatus::from_bits(u32::MAX);
}

/// AQA: sizes of the admin queues, less one (NVMe §3.1.3.8).
#[bitfield(u32)]
pub struct AdminSizes {
    #[bits(12)]
    pub commands_less_one: u16,
    #[bits(4)]
    __: u8,
    #[bits(12)]
    pub completions_less_one: u16,
    #[bits(4)]
    __: u8,
}
const _: () = assert!(AdminSizes::COMPLETIONS_LESS_ONE_OFFSET == 16);

/// The registers, by their names in the specification.
pub(crate) struct Registers<D: Device> {
    pub(crate) cap: RegisterOf<D, u64>,
    pub(crate) cc: RegisterOf<D, u32>,
    pub(crate) csts: RegisterOf<D, u32>,
    pub(crate) aqa: RegisterOf<D, u32>,
    pub(crate) asq: RegisterOf<D, u64>,
    pub(crate) acq: RegisterOf<D, u64>,
}

impl<D: Device> Registers<D> {
    pub(crate) fn new(device: &D) -> Result<Registers<D>, Error> {
        let mmio = device.map_bar(BAR, 0, BYTES)?;
        Ok(Registers {
            cap: mmio.register(0x00)?,
            cc: mmio.register(0x14)?,
            csts: mmio.register(0x1c)?,
            aqa: mmio.register(0x24)?,
            asq: mmio.register(0x28)?,
            acq: mmio.register(0x30)?,
        })
    }
}

/// The doorbells of the first queues (PCIe §3.1.2.1 "Submission Queue y Tail Doorbell", §3.1.2.2 "Completion Queue y Head
/// Doorbell").
pub(crate) struct Doorbells<D: Device> {
    mmio: D::Mmio,
    stride_bytes: u64,
}

impl<D: Device> Doorbells<D> {
    /// Maps those of queues 0 to `queues`, the admin queue among them.
    pub(crate) fn new(device: &D, cap: Capabilities, queues: u16) -> Result<Doorbells<D>, Error> {
        let stride_bytes = 4 << cap.doorbell_stride();
        let bytes = 2 * (u64::from(queues) + 1) * stride_bytes;
        Ok(Doorbells { mmio: device.map_bar(BAR, DOORBELLS, bytes)?, stride_bytes })
    }

    pub(crate) fn tail(&self, queue: u16) -> Result<RegisterOf<D, u32>, Error> {
        self.mmio.register(2 * u64::from(queue) * self.stride_bytes)
    }

    pub(crate) fn head(&self, queue: u16) -> Result<RegisterOf<D, u32>, Error> {
        self.mmio.register((2 * u64::from(queue) + 1) * self.stride_bytes)
    }
}
