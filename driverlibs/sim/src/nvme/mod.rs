//! An NVM Express controller (NVM Express Base Specification, revision 2.0c, "NVMe §"; NVM Command Set Specification, revision
//! 1.0c, "NVM §"), written from the specifications.
//!
//! It works when told to ([`Nvme::work`]), or at doorbell writes with [`Behaviour::works_on_doorbell`], so that a doorbell
//! that the driver owes shows as a command that is never done. It posts no completion where the completion queue is full,
//! so that a head doorbell owed shows, too. With [`Malice`] it lies.

mod commands;
mod identify;
mod queue;
mod registers;

pub use crate::Malice;

use std::collections::BTreeMap;

use weir_hal::DeviceInfo;

use crate::pci::ConfigSpace;
use crate::{Interrupts, Model, Random, SimWindow};
use queue::Queue;

/// A namespace.
#[derive(Clone, Copy, Debug)]
pub struct Namespace {
    /// Its number; ascending.
    pub id: u32,
    /// Blocks.
    pub blocks: u64,
    /// Bytes of a block, as a power of two.
    pub block_shift: u8,
    /// Bytes of metadata per block.
    pub metadata_bytes: u16,
    /// It cannot be written.
    pub is_read_only: bool,
}

impl Default for Namespace {
    fn default() -> Namespace {
        Namespace { id: 1, blocks: 4096, block_shift: 9, metadata_bytes: 0, is_read_only: false }
    }
}

/// What kind of controller it is.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Most entries of a queue.
    pub entries: u32,
    /// I/O queues it grants.
    pub queues: u16,
    /// Doorbells are `4 << stride` bytes apart.
    pub doorbell_stride: u8,
    /// Most bytes of a command, in pages as a power of two; 0 for no limit.
    pub transfer_shift: u8,
    /// It knows Dataset Management.
    pub can_trim: bool,
    /// Does I/O commands at doorbells; otherwise when told to.
    pub works_on_doorbell: bool,
    /// Completes in an order of its own.
    pub shuffles: bool,
    /// Its namespaces.
    pub namespaces: Vec<Namespace>,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        Behaviour {
            entries: 1024,
            queues: 4,
            doorbell_stride: 0,
            transfer_shift: 8,
            can_trim: true,
            works_on_doorbell: true,
            shuffles: false,
            namespaces: vec![Namespace::default()],
        }
    }
}

/// Interrupt messages it has.
const MESSAGES: u16 = 9;
/// Queues that there is room for, the admin queue among them.
const QUEUES: usize = 16;

/// The controller.
pub struct Nvme {
    behaviour: Behaviour,
    window: SimWindow,
    interrupts: Interrupts,
    config: ConfigSpace,
    has_bus_master: bool,
    is_gone: bool,
    /// Never becomes ready.
    is_stuck: bool,
    /// Swallows I/O commands: they stay under way until they are aborted or the controller is reset.
    is_stalled: bool,
    configuration: u32,
    status: u32,
    admin: [u64; 3],
    queues: Vec<Queue>,
    disks: Vec<Vec<u8>>,
    next_status: Option<u16>,
    /// Queues that it grants, if others than it has.
    granted: Option<(u16, u16)>,
    /// Bytes of identify data that it says differently: structure, offset, byte.
    told: Vec<(u32, usize, u8)>,
    /// Registers that it says differently.
    told_registers: BTreeMap<u64, u64>,
    counts: Counts,
    random: Random,
    malice: Malice,
}

/// What it counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tail doorbells of I/O queues.
    pub tail_doorbells: u64,
    /// Head doorbells of I/O queues.
    pub head_doorbells: u64,
    /// Doorbells with a value that no correct driver writes.
    pub bad_doorbells: u64,
    /// Flush commands.
    pub flushes: u64,
    /// Controller resets.
    pub resets: u64,
}

impl Nvme {
    /// A controller that reaches memory through `window`. Its disks are all zeros.
    #[must_use]
    pub fn new(window: &SimWindow, behaviour: Behaviour) -> Nvme {
        let bytes = |namespace: &Namespace| {
            usize::try_from(namespace.blocks << namespace.block_shift).expect("a small disk")
        };
        Nvme {
            disks: behaviour.namespaces.iter().map(|namespace| vec![0; bytes(namespace)]).collect(),
            behaviour,
            window: window.clone(),
            interrupts: Interrupts::new(MESSAGES),
            config: ConfigSpace::new(0x1b36, 0x0010),
            has_bus_master: false,
            is_gone: false,
            is_stuck: false,
            is_stalled: false,
            configuration: 0,
            status: 0,
            admin: [0; 3],
            queues: vec![Queue::default(); QUEUES],
            next_status: None,
            granted: None,
            told: Vec::new(),
            told_registers: BTreeMap::new(),
            counts: Counts::default(),
            random: Random::new(1),
            malice: Malice::none(),
        }
    }

    /// Makes it lie from now on.
    pub fn set_malice(&mut self, malice: Malice) {
        self.malice = malice;
    }

    /// Pulls it out: every register reads as all ones.
    pub fn pull_out(&mut self) {
        self.is_gone = true;
    }

    /// Whether it ignores being enabled and disabled.
    pub fn set_stuck(&mut self, is_stuck: bool) {
        self.is_stuck = is_stuck;
    }

    /// Whether it swallows I/O commands.
    pub fn set_stalled(&mut self, is_stalled: bool) {
        self.is_stalled = is_stalled;
    }

    /// Says `byte` at `offset` of an identify structure from now on.
    pub fn tell_identify(&mut self, structure: u8, offset: usize, byte: u8) {
        self.told.push((structure.into(), offset, byte));
    }

    /// Says `value` where the register at `offset` is read from now on.
    pub fn tell_register(&mut self, offset: u64, value: u64) {
        self.told_registers.insert(offset, value);
    }

    /// Grants so many submission and completion queues from now on.
    pub fn grant(&mut self, submission: u16, completion: u16) {
        self.granted = Some((submission, completion));
    }

    /// Says that it failed, as a controller does whose firmware broke.
    pub fn fail(&mut self) {
        self.status |= registers::FATAL;
    }

    /// Ends the next I/O command with a status instead of doing it.
    pub fn fail_next(&mut self, status: u16) {
        self.next_status = Some(status);
    }

    /// What is on the disk of the `index`-th namespace.
    #[must_use]
    pub fn disk(&self, index: usize) -> &[u8] {
        &self.disks[index]
    }

    /// What it counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Posts exactly this as the next completion of queue `id`, second half, except the phase.
    pub fn forge(&mut self, id: u16, head: u16, queue: u16, cid: u16, status: u16) {
        let word = u64::from(head) | u64::from(queue) << 16 | u64::from(cid) << 32 | u64::from(status) << 49;
        self.queues[usize::from(id)].post(&self.window, 0, word);
    }

    /// Does the I/O commands that wait.
    pub fn work(&mut self) {
        for id in 1..QUEUES {
            self.work_on(id);
        }
    }

    fn is_running(&self) -> bool {
        self.status & registers::READY != 0 && self.has_bus_master && !self.is_gone
    }

    fn work_on(&mut self, id: usize) {
        if !self.is_running() {
            return;
        }
        while let Some(command) = self.queues[id].fetch(&self.window) {
            let answer = if id == 0 { Some(self.administer(&command)) } else { self.perform(&command) };
            let queue = &mut self.queues[id];
            match answer {
                Some((status, result)) => queue.finish(command.cid(), status, result),
                None => queue.stalled.push(command.cid()),
            }
        }
        self.post(id);
    }

    /// Posts what is finished, as far as the completion queue has room, and interrupts once.
    fn post(&mut self, id: usize) {
        let queue = &mut self.queues[id];
        let mut has_posted = false;
        while !queue.finished.is_empty() && queue.has_room() {
            let count = queue.finished.len() as u64;
            let is_shuffled = self.behaviour.shuffles && id != 0;
            let pick = if is_shuffled { self.random.bits() % count } else { 0 };
            let (cid, status, result) = queue.finished.remove(usize::try_from(pick).expect("an index"));
            let twist = &mut self.malice;
            let (head, number) =
                (twist.twist_u16(queue.head), twist.twist_u16(u16::try_from(id).expect("few")));
            let (cid, status) = (twist.twist_u16(cid), twist.twist_u16(status));
            let word = u64::from(head) | u64::from(number) << 16 | u64::from(cid) << 32;
            let result = twist.twist_u32(result);
            queue.post(&self.window, result.into(), word | u64::from(status & 0x7fff) << 49);
            has_posted = true;
        }
        if has_posted && let Some(vector) = self.queues[id].vector {
            self.interrupts.raise(vector);
        }
    }

    fn restart(&mut self) {
        self.queues = vec![Queue::default(); QUEUES];
        self.status = 0;
        self.configuration = 0;
    }
}

impl Model for Nvme {
    fn info(&self) -> DeviceInfo {
        let bar_bytes = [registers::BAR_BYTES, 0, 0, 0, 0, 0];
        let class = 0x01_08_02;
        DeviceInfo {
            vendor: 0x1b36,
            device: 0x0010,
            class,
            interrupts: MESSAGES,
            bar_bytes,
            ..DeviceInfo::default()
        }
    }

    fn config_read(&mut self, offset: u16, bytes: u8) -> u32 {
        self.config.read(offset, bytes)
    }

    fn read(&mut self, _bar: u8, offset: u64, bytes: usize) -> u64 {
        if self.is_gone {
            return u64::MAX;
        }
        let value = self.read_register(offset, bytes);
        let value = self.told_registers.get(&offset).copied().unwrap_or(value);
        self.malice.twist_register(value)
    }

    fn write(&mut self, _bar: u8, offset: u64, _bytes: usize, value: u64) {
        if !self.is_gone {
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
