//! What the model remembers: two owners, devices, one unit, frames, vectors, and what runs on each CPU.
//!
//! As small as it can be and still show a wrong order: a process has one page for devices and one mapping of
//! registers, a device one request and one message under way.

use std::collections::BTreeSet;

use super::protocol::Task;

pub(crate) const CPUS: usize = 2;
pub(crate) const FRAMES: usize = 2;
/// Domain ids, and vectors.
pub(crate) const TAGS: usize = 2;
/// The first owner and the second.
pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) cpus: [Option<Run>; CPUS],
    pub(crate) processes: [Process; 2],
    pub(crate) devices: Vec<Device>,
    pub(crate) unit: Unit,
    pub(crate) frames: [Frame; FRAMES],
    /// Which device's grant has the vector: device and process.
    pub(crate) vectors: [Option<(usize, usize)>; TAGS],
    pub(crate) broken: BTreeSet<Promise>,
}

/// What must hold in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Promise {
    /// G3: when `revoke` has returned no DMA of the old grant lands.
    NoDma,
    /// G3: nor does an interrupt of it arrive, and none is taken for another's.
    NoInterrupt,
    /// G3: nor does the old owner reach the registers.
    NoRegisters,
    /// G4: no frame, table or domain id is used again while a device can reach it.
    NoReuse,
    /// G4: the dead hold nothing.
    NothingKept,
    /// G5: a new owner finds zeroed frames and a reset device.
    NoLeftovers,
    /// A function that does as it is told asks for nothing after `revoke` has returned: no storm of faults.
    Quiet,
    /// Owner and supervisor have been told when `revoke` has returned.
    Told,
}

/// A kernel operation under way on a CPU.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub(crate) task: Task,
    /// Next step of the task.
    pub(crate) at: usize,
    /// Within a tear-down's revocations: which device, and the next step of it.
    pub(crate) inner: Option<(usize, usize)>,
    /// Whose grant is taken away.
    pub(crate) victim: Option<usize>,
    /// The process whose space lock it holds.
    pub(crate) space: Option<usize>,
    /// The frame it is about to map or to free.
    pub(crate) frame: Option<usize>,
    /// The unit did not confirm.
    pub(crate) has_failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    Running,
    /// Killed; threads may still be on CPUs.
    Ending,
    /// Its threads are gone.
    Leaving,
    Dead,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) life: Life,
    /// Id of its domain, while that exists.
    pub(crate) domain: Option<usize>,
    /// The frame its page for devices leads to.
    pub(crate) page: Option<usize>,
    /// Its page-table entry for registers, by device.
    pub(crate) registers: Vec<Registers>,
    /// Which CPUs cache that entry as real, by device.
    pub(crate) cached: Vec<[bool; CPUS]>,
    /// The unit did not confirm that a device was cut off.
    pub(crate) is_quarantined: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Registers {
    None,
    Real,
    Poison,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Device {
    /// Held while it changes hands.
    pub(crate) is_changing: bool,
    pub(crate) owner: Option<usize>,
    /// Who has or had it last.
    pub(crate) last: usize,
    /// Whose revocation has returned, confirmed.
    pub(crate) ended: [bool; 2],
    pub(crate) was_told: bool,
    pub(crate) is_master: bool,
    pub(crate) is_masked: bool,
    pub(crate) is_resetting: bool,
    /// Whose settings and data it has.
    pub(crate) traces: Option<usize>,
    /// Whose domain counts it as attached: until it is cut off, confirmed.
    pub(crate) attached: Option<usize>,
    /// Context entry: domain id and process.
    pub(crate) entry: Option<(usize, usize)>,
    /// Interrupt entry.
    pub(crate) interrupt: Option<usize>,
    /// A translated write on its way to memory: frame, and whose domain led there.
    pub(crate) write: Option<(usize, usize)>,
    /// A remapped message on its way to a CPU: vector, and who had the device.
    pub(crate) message: Option<(usize, usize)>,
}

/// The unit forgets nothing unasked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Unit {
    /// Context entries, by device.
    pub(crate) contexts: Vec<Option<(usize, usize)>>,
    /// The frame the one page leads to, by domain id.
    pub(crate) pages: [Option<usize>; TAGS],
    /// Interrupt entries, by device.
    pub(crate) interrupts: Vec<Option<usize>>,
    /// Asked and not done yet; carried out in any order.
    pub(crate) requests: BTreeSet<Request>,
    /// It answers nothing any more.
    pub(crate) is_dead: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    /// Forget the context of this device.
    Context(usize),
    /// Forget the pages of this domain id, once what is under way has landed.
    Pages(usize),
    /// Forget the interrupt entry of this device, once what is under way has arrived.
    Interrupt(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Frame {
    pub(crate) holder: Option<usize>,
    /// Whose data it has; `None` is zeros.
    pub(crate) data: Option<usize>,
}

impl State {
    /// A runs with all devices in full use; B runs and has nothing; one frame is free.
    pub(crate) fn new(devices: usize) -> State {
        let process = |domain, page, registers| Process {
            life: Life::Running,
            domain,
            page,
            registers: vec![registers; devices],
            cached: vec![[false; CPUS]; devices],
            is_quarantined: false,
        };
        let device = |index: usize| Device {
            is_changing: false,
            owner: Some(A),
            last: A,
            ended: [false; 2],
            was_told: false,
            is_master: true,
            is_masked: false,
            is_resetting: false,
            traces: Some(A),
            attached: Some(A),
            entry: Some((0, A)),
            interrupt: (index == 0).then_some(0),
            write: None,
            message: None,
        };
        State {
            cpus: [None, None],
            processes: [process(Some(0), Some(0), Registers::Real), process(None, None, Registers::None)],
            devices: (0..devices).map(device).collect(),
            unit: Unit {
                contexts: vec![None; devices],
                pages: [None; TAGS],
                interrupts: vec![None; devices],
                requests: BTreeSet::new(),
                is_dead: false,
            },
            frames: [Frame { holder: Some(A), data: Some(A) }, Frame { holder: None, data: None }],
            vectors: [Some((0, A)), None],
            broken: BTreeSet::new(),
        }
    }

    pub(crate) fn breaks(&mut self, promise: Promise) {
        self.broken.insert(promise);
    }

    /// The lowest domain id nobody has.
    pub(crate) fn free_id(&self) -> Option<usize> {
        (0..TAGS).find(|id| self.processes.iter().all(|process| process.domain != Some(*id)))
    }

    pub(crate) fn is_space_locked(&self, process: usize) -> bool {
        self.cpus.iter().flatten().any(|run| run.space == Some(process))
    }

    /// Whether the process still has something it should have given back.
    pub(crate) fn keeps(&self, process: usize) -> bool {
        self.processes[process].domain.is_some()
            || self.frames.iter().any(|frame| frame.holder == Some(process))
            || self.vectors.iter().flatten().any(|(_, holder)| *holder == process)
            || self.devices.iter().any(|device| device.owner == Some(process))
    }
}
