//! A virtio block device, modern PCI, split rings (virtio 1.2 §2.7, §4.1, §5.2), written from the specification.
//!
//! It works when told to ([`VirtioBlk::work`]), or at kicks with [`Behaviour::works_on_kick`], so that a kick the driver owes
//! shows as a request that is never done. With [`Malice`] it lies.

mod queue;
mod registers;

pub use crate::Malice;

use std::collections::BTreeMap;

use weir_hal::DeviceInfo;

use crate::pci::ConfigSpace;
use crate::{Interrupts, Model, Random, SimWindow};
use queue::{Chain, Queue};

const BAR: u8 = 4;
const BAR_BYTES: u64 = 0x4000;
const MESSAGES: u16 = 5;

/// Feature bits (virtio 1.2 §5.2.3, §6).
pub mod feature {
    /// `VIRTIO_BLK_F_RO`.
    pub const RO: u64 = 1 << 5;
    /// `VIRTIO_BLK_F_BLK_SIZE`.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// `VIRTIO_BLK_F_FLUSH`.
    pub const FLUSH: u64 = 1 << 9;
    /// `VIRTIO_BLK_F_MQ`.
    pub const MQ: u64 = 1 << 12;
    /// `VIRTIO_BLK_F_DISCARD`.
    pub const DISCARD: u64 = 1 << 13;
    /// `VIRTIO_F_VERSION_1`.
    pub const VERSION_1: u64 = 1 << 32;
    /// `VIRTIO_F_ACCESS_PLATFORM`.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
}

/// What kind of device it is.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Feature bits it offers.
    pub features: u64,
    /// Entries of its queues.
    pub entries: u16,
    /// Queues it has.
    pub queues: u16,
    /// Sectors of 512 bytes.
    pub sectors: u64,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// Does requests at kicks; otherwise when told to.
    pub works_on_kick: bool,
    /// Gives requests back in an order of its own.
    pub shuffles: bool,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        let needed = feature::VERSION_1 | feature::ACCESS_PLATFORM | feature::FLUSH;
        Behaviour {
            features: needed | feature::BLK_SIZE | feature::MQ | feature::DISCARD,
            entries: 128,
            queues: 4,
            sectors: 4096,
            block_bytes: 512,
            works_on_kick: true,
            shuffles: false,
        }
    }
}

/// The device.
pub struct VirtioBlk {
    behaviour: Behaviour,
    window: SimWindow,
    interrupts: Interrupts,
    config: ConfigSpace,
    has_bus_master: bool,
    status: u8,
    feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    queue_select: u16,
    queues: Vec<Queue>,
    disk: Vec<u8>,
    next_status: Option<u8>,
    /// Of one that was taken away: registers as a host may put them there, which keep what is written.
    leftovers: Option<BTreeMap<u64, u64>>,
    flushes: u64,
    kicks: u64,
    random: Random,
    malice: Malice,
}

impl VirtioBlk {
    /// A device that reaches memory through `window`. Its disk is all zeros.
    ///
    /// # Panics
    /// A disk that the test machine has no room for.
    #[must_use]
    pub fn new(window: &SimWindow, behaviour: Behaviour) -> VirtioBlk {
        VirtioBlk {
            disk: vec![0; usize::try_from(behaviour.sectors << 9).expect("a small disk")],
            queues: vec![Queue::new(behaviour.entries); behaviour.queues.into()],
            behaviour,
            window: window.clone(),
            interrupts: Interrupts::new(MESSAGES),
            config: registers::config_space(),
            has_bus_master: false,
            status: 0,
            feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            queue_select: 0,
            next_status: None,
            leftovers: None,
            flushes: 0,
            kicks: 0,
            random: Random::new(1),
            malice: Malice::none(),
        }
    }

    /// Makes it lie from now on.
    pub fn set_malice(&mut self, malice: Malice) {
        self.malice = malice;
    }

    /// Ends the next request with a status instead of doing it.
    pub fn fail_next(&mut self, status: u8) {
        self.next_status = Some(status);
    }

    /// Takes it away: what is read is all ones, or what was written before.
    pub fn take_away(&mut self) {
        self.leftovers = Some(BTreeMap::new());
    }

    /// Brings it back.
    pub fn bring_back(&mut self) {
        self.leftovers = None;
    }

    /// Stops by itself, as a device does that cannot go on (virtio 1.2 §2.1, `DEVICE_NEEDS_RESET`).
    pub fn break_down(&mut self) {
        self.status |= 64;
    }

    /// Has queues of another size from the next reset on.
    pub fn set_entries(&mut self, entries: u16) {
        self.behaviour.entries = entries;
    }

    /// Wants no kicks for now (§2.7.10, `VIRTQ_USED_F_NO_NOTIFY`).
    pub fn refuse_kicks(&mut self) {
        for queue in &self.queues {
            self.window.write(queue.device, &1u16.to_le_bytes());
        }
    }

    /// What is on the disk.
    #[must_use]
    pub fn disk(&self) -> &[u8] {
        &self.disk
    }

    /// Flushes so far.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.flushes
    }

    /// Doorbell writes so far.
    #[must_use]
    pub fn kicks(&self) -> u64 {
        self.kicks
    }

    /// Writes exactly this into the first queue's used ring: an element at `slot`, then the index.
    pub fn forge_used(&mut self, slot: u16, id: u32, len: u32, index: u16) {
        self.queues[0].forge(&self.window, slot, id, len, index);
    }

    /// Does the requests that wait.
    pub fn work(&mut self) {
        for index in 0..self.queues.len() {
            self.work_on(index);
        }
    }

    fn work_on(&mut self, index: usize) {
        if self.status & 4 == 0 || !self.has_bus_master || !self.queues[index].is_enabled {
            return;
        }
        let mut done = Vec::new();
        while let Some(chain) = self.queues[index].pop(&self.window) {
            done.push((chain.id, self.perform(&chain)));
            if done.len() > usize::from(self.behaviour.entries) {
                break; // the driver's index ran away
            }
        }
        if done.is_empty() {
            return;
        }
        while !done.is_empty() {
            let count = done.len() as u64;
            let pick = if self.behaviour.shuffles { self.random.bits() % count } else { 0 };
            let (id, len) = done.remove(usize::try_from(pick).expect("an index"));
            self.queues[index].push(&self.window, &mut self.malice, id, len);
        }
        if self.queues[index].publish(&self.window, &mut self.malice) {
            self.interrupts.raise(self.queues[index].vector);
        }
    }

    /// §5.2.6 "Device Operation". Returns how many bytes it wrote.
    fn perform(&mut self, chain: &Chain) -> u32 {
        let Some((status_at, data)) = chain.writable_end() else { return 0 };
        let (kind, sector) =
            (self.window.read_u32(chain.parts[0].addr), self.window.read_u64(chain.parts[0].addr + 8));
        let (status, written) = match self.next_status.take() {
            Some(status) => (status, 0),
            None => self.transfer(kind, sector, data),
        };
        let status = self.malice.twist_u16(status.into()).to_le_bytes()[0];
        self.window.write(status_at, &[status]);
        written + 1
    }

    fn transfer(&mut self, kind: u32, sector: u64, data: &[queue::Part]) -> (u8, u32) {
        const OK: u8 = 0;
        const IOERR: u8 = 1;
        const UNSUPPORTED: u8 = 2;
        let is_read_only = self.driver_features & feature::RO != 0;
        match (kind, data) {
            (0, [part]) if part.device_writes => match self.range(sector, part.len.into()) {
                Some(range) => {
                    self.window.write(part.addr, &self.disk[range]);
                    (OK, part.len)
                }
                None => (IOERR, 0),
            },
            (1, [part]) if !part.device_writes && !is_read_only => {
                match self.range(sector, part.len.into()) {
                    Some(range) => self.window.read(part.addr, &mut self.disk[range]),
                    None => return (IOERR, 0),
                }
                (OK, 0)
            }
            (4, []) if sector == 0 => {
                self.flushes += 1;
                (OK, 0)
            }
            (11, [part]) if part.len == 16 && !part.device_writes => {
                let first = self.window.read_u64(part.addr);
                let sectors = self.window.read_u32(part.addr + 8);
                match self.range(first, u64::from(sectors) << 9) {
                    Some(range) => self.disk[range].fill(0),
                    None => return (IOERR, 0),
                }
                (OK, 0)
            }
            _ => (UNSUPPORTED, 0),
        }
    }

    /// Whole sectors of the disk.
    fn range(&self, sector: u64, bytes: u64) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(sector.checked_mul(512)?).ok()?;
        let end = start.checked_add(usize::try_from(bytes).ok()?)?;
        (end <= self.disk.len() && bytes.is_multiple_of(512)).then_some(start..end)
    }

    fn restart(&mut self) {
        self.status = 0;
        self.driver_features = 0;
        self.queues = vec![Queue::new(self.behaviour.entries); self.behaviour.queues.into()];
    }
}

impl Model for VirtioBlk {
    fn info(&self) -> DeviceInfo {
        let mut bar_bytes = [0; 6];
        bar_bytes[usize::from(BAR)] = BAR_BYTES;
        DeviceInfo {
            vendor: 0x1af4,
            device: 0x1042,
            interrupts: MESSAGES,
            bar_bytes,
            ..DeviceInfo::default()
        }
    }

    fn config_read(&mut self, offset: u16, bytes: u8) -> u32 {
        let value = self.config.read(offset, bytes);
        self.malice.twist_config(value)
    }

    fn read(&mut self, bar: u8, offset: u64, bytes: usize) -> u64 {
        if let Some(leftovers) = &self.leftovers {
            return leftovers.get(&offset).copied().unwrap_or(u64::MAX);
        }
        let value = if bar == BAR { self.read_register(offset, bytes) } else { 0 };
        self.malice.twist_register(value)
    }

    fn write(&mut self, bar: u8, offset: u64, _bytes: usize, value: u64) {
        if let Some(leftovers) = &mut self.leftovers {
            leftovers.insert(offset, value);
        } else if bar == BAR {
            self.write_register(offset, value);
        }
    }

    fn bus_master(&mut self, on: bool) {
        self.has_bus_master = on;
    }

    fn reset(&mut self) {
        self.has_bus_master = false;
        self.restart();
    }

    fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }
}
