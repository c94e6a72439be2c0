//! The block device (virtio 1.2 §5.2 "Block Device"): one disk, one or several request queues.
//!
//! **Invariant: a buffer that the device had comes back to the CPU only by a completion, or after the device was reset
//! ([`Blk`]'s `start`, which serves the first start, too).** The face is `weir-block`'s.
//!
//! A module here and not a crate of its own, because what it shares with the network device, from capabilities to
//! negotiation, is private to this crate. Split rings, chains of its own ([`ring`]): a request is three descriptors, and
//! the network device's rings know one buffer per entry.
//!
//! Reading order: [`error`] · [`ring`] · [`queue`] · this file.

pub mod error;
pub mod queue;
mod ring;

pub use error::Error;
pub use queue::Queue;

use alloc::vec::Vec;

use weir_block::disk::BLOCK_SHIFTS;
use weir_block::{BlockDevice, Disk, Opened, Options};
use weir_hal::{Clock, Device, DeviceInfo, DmaWindow, Interrupt};
use weir_pool::BLOCK_BUF_MAX_BYTES;

use crate::Features;
use crate::pci::{Identity, Pci};
use crate::transport::{Status, Transport, negotiate, queue_entries, read_whole};
use ring::Ring;

/// §5.2.1 "Device ID", modern and transitional; the configuration up to and including `blk_size`.
const IDENTITY: Identity = Identity { devices: [0x1042, 0x1001], config_bytes: 24 };
/// `struct virtio_blk_config` (§5.2.4 "Device configuration layout").
const CAPACITY: u64 = 0;
const BLK_SIZE: u64 = 20;
const NUM_QUEUES: u64 = 34;
const MAX_DISCARD_SECTORS: u64 = 36;
/// Capacity, and places in requests, count these whatever the block size.
const SECTOR_SHIFT: u8 = 9;
/// Most entries of a queue.
const ENTRIES_MAX: u16 = 4096;

/// Feature bits of a block device (§5.2.3 "Feature bits").
pub mod feature {
    use crate::Features;

    /// The disk is read-only.
    pub const RO: Features = Features::from_bits_retain(1 << 5);
    /// It tells its block size.
    pub const BLK_SIZE: Features = Features::from_bits_retain(1 << 6);
    /// It takes flushes. Without, the driver could not promise that anything lasts.
    pub const FLUSH: Features = Features::from_bits_retain(1 << 9);
    /// It has several queues.
    pub const MQ: Features = Features::from_bits_retain(1 << 12);
    /// It takes trims.
    pub const DISCARD: Features = Features::from_bits_retain(1 << 13);
    /// What is used where the device has it.
    pub const WANTED: Features = RO.union(BLK_SIZE).union(FLUSH).union(MQ).union(DISCARD);
}

/// A block device: what is not on the data path.
pub struct Blk<D: Device> {
    transport: Pci<D>,
    agreed: Features,
    disk: Disk,
}

impl<D: Device> Blk<D> {
    /// What its one disk is like, by its own word.
    fn read_disk(transport: &Pci<D>, agreed: Features) -> Result<Disk, Error> {
        let (sectors, block_bytes, trim_sectors) = read_whole(transport, |transport| {
            let sectors: u64 = transport.read_config(CAPACITY)?;
            let block_bytes: u32 =
                if agreed.contains(feature::BLK_SIZE) { transport.read_config(BLK_SIZE)? } else { 512 };
            let trim_sectors: u32 = if agreed.contains(feature::DISCARD) {
                transport.read_config(MAX_DISCARD_SECTORS)?
            } else {
                0
            };
            Ok((sectors, block_bytes, trim_sectors))
        })?;
        let shift = u8::try_from(block_bytes.max(1).ilog2()).unwrap_or(0);
        if !block_bytes.is_power_of_two() || !BLOCK_SHIFTS.contains(&shift) {
            return Err(Error::BlockSize { bytes: block_bytes });
        }
        Ok(Disk {
            block_shift: shift,
            blocks: sectors >> (shift - SECTOR_SHIFT),
            transfer_max_bytes: BLOCK_BUF_MAX_BYTES,
            is_read_only: agreed.contains(feature::RO),
            can_trim: trim_sectors > 0,
        })
    }

    /// How many queues there are.
    fn read_queues(&self) -> Result<u16, Error> {
        if !self.agreed.contains(feature::MQ) {
            return Ok(1);
        }
        Ok(self.transport.read_config::<u16>(NUM_QUEUES)?)
    }

    /// Resets it, unless it is gone: what a host puts in the place of registers that were taken away may keep what is
    /// written, and would pass for a device that was reset.
    fn reset(&self, clock: &impl Clock) -> Result<(), Error> {
        if self.transport.read_status() == Status::GONE {
            return Err(weir_hal::Error::Gone.into());
        }
        Ok(self.transport.reset(clock)?)
    }

    fn negotiate(transport: &Pci<D>) -> Result<Features, Error> {
        let agreed = negotiate(transport, feature::WANTED)?;
        let missing = feature::FLUSH.difference(agreed);
        if missing.is_empty() { Ok(agreed) } else { Err(crate::Error::NoFeature { missing }.into()) }
    }

    fn queue(&self, window: &impl DmaWindow, index: u16, options: &Options) -> Result<Queue<D>, Error> {
        let wanted = u32::from(options.depth).saturating_mul(ring::ENTRIES_PER_REQUEST.into());
        let wanted = u16::try_from(wanted.next_power_of_two()).unwrap_or(ENTRIES_MAX);
        let entries = queue_entries(&self.transport, index, wanted.min(ENTRIES_MAX))?;
        if entries < ring::ENTRIES_PER_REQUEST {
            return Err(crate::Error::BadQueue { index, entries }.into());
        }
        let interrupt = options.interrupt.then(|| self.transport.interrupt(index)).transpose()?;
        if let Some(interrupt) = &interrupt {
            interrupt.unmask()?;
        }
        let doorbell = self.transport.doorbell(index)?;
        Ok(Queue::new(index, Ring::new(window, entries)?, doorbell, interrupt, self.disk, options.depth))
    }
}

impl<D: Device + 'static> BlockDevice for Blk<D> {
    type Device = D;
    type Queue = Queue<D>;
    type Error = Error;

    fn is_for(info: &DeviceInfo) -> bool {
        IDENTITY.is(info)
    }

    fn open(
        device: D,
        window: &impl DmaWindow,
        clock: &impl Clock,
        options: &Options,
    ) -> Result<Opened<Self>, Error> {
        let transport = Pci::new(device, &IDENTITY)?;
        transport.reset(clock)?;
        let agreed = Self::negotiate(&transport)?;
        let disk = Self::read_disk(&transport, agreed)?;
        let blk = Blk { transport, agreed, disk };
        let count = options.queues.min(blk.read_queues()?);
        if count == 0 {
            return Err(crate::Error::BadQueue { index: 0, entries: 0 }.into());
        }
        let queues =
            (0..count).map(|index| blk.queue(window, index, options)).collect::<Result<Vec<_>, _>>()?;
        Ok((blk, queues))
    }

    fn start(&mut self, queues: &mut [Queue<D>], clock: &impl Clock) -> Result<(), Error> {
        self.reset(clock)?;
        queues.iter_mut().for_each(Queue::empty);
        self.agreed = Self::negotiate(&self.transport)?;
        for queue in queues.iter() {
            let (index, ring) = (queue.index(), queue.ring());
            let entries = queue_entries(&self.transport, index, ring.entries())?;
            if entries != ring.entries() {
                return Err(crate::Error::BadQueue { index, entries }.into());
            }
            self.transport.enable_queue(index, entries, ring.addresses(), queue.vector())?;
        }
        self.transport.run()?;
        queues.iter_mut().for_each(Queue::run);
        Ok(())
    }

    fn disks(&self) -> &[Disk] {
        core::slice::from_ref(&self.disk)
    }

    /// There is no aborting a request (§5.2.6 "Device Operation"): only a reset brings it back.
    fn abort_late(&mut self, _queue: &mut Queue<D>, _clock: &impl Clock) -> Result<usize, Error> {
        Ok(0)
    }

    fn has_stopped(&self) -> bool {
        self.transport.read_status().contains(Status::NEEDS_RESET)
    }
}
