//! The admin queue: one command at a time, waited for within a bound.

use weir_hal::{Clock, Device, DmaWindow, Iova, wait_until};

use crate::desc::{Command, admin_opcode};
use crate::pair::Pair;
use crate::regs::{AdminSizes, Doorbells, Registers};
use crate::{Error, Status, Violation};

/// Entries of the two rings.
const ENTRIES: u16 = 16;
/// How long a command may take. The specification sets no limit; what is asked here needs no medium.
const LIMIT_US: u64 = 10_000_000;

pub(crate) struct Admin<D: Device> {
    pair: Pair<D>,
    next_cid: u16,
}

impl<D: Device> Admin<D> {
    pub(crate) fn new(window: &impl DmaWindow, doorbells: &Doorbells<D>) -> Result<Admin<D>, Error> {
        Ok(Admin { pair: Pair::new(window, doorbells, 0, ENTRIES)?, next_cid: 0 })
    }

    /// Tells a controller that is not enabled where the queue is (NVMe §3.5.1 "Memory-based Controller Initialization",
    /// step 2).
    pub(crate) fn announce(&mut self, regs: &Registers<D>) {
        use weir_hal::Register;
        self.pair.empty();
        let sizes =
            AdminSizes::new().with_commands_less_one(ENTRIES - 1).with_completions_less_one(ENTRIES - 1);
        regs.aqa.write(sizes.into_bits());
        regs.asq.write(self.pair.commands().0);
        regs.acq.write(self.pair.completions().0);
    }

    /// Has a command done; returns dword 0 of its completion.
    ///
    /// # Errors
    /// `Silent`, `Violation`: the controller must be reset. `Refused`.
    pub(crate) fn execute(&mut self, command: Command, clock: &impl Clock) -> Result<u32, Error> {
        let (opcode, cid) = (command.header.opcode(), self.next_cid);
        self.next_cid = cid.wrapping_add(1);
        self.pair.push(Command { header: command.header.with_cid(cid), ..command });
        self.pair.publish();
        if wait_until(clock, LIMIT_US, || self.pair.has_next()).is_err() {
            return Err(Error::Silent { opcode, limit_us: LIMIT_US });
        }
        let answer = self.pair.next()?.ok_or(Error::Silent { opcode, limit_us: LIMIT_US })?;
        if answer.cid() != cid {
            return Err(Violation::CommandId { cid: answer.cid() }.into());
        }
        #[expect(clippy::cast_possible_truncation, reason = "dword 0 of two")]
        let result = self.pair.result() as u32;
        self.pair.acknowledge();
        match Status(answer.status()) {
            status if status.is_success() => Ok(result),
            status => Err(Error::Refused { opcode, status }),
        }
    }

    /// Asks for a page of identify data at `page` (NVMe §5.17 "Identify command").
    pub(crate) fn identify(
        &mut self,
        structure: u8,
        namespace: u32,
        page: Iova,
        clock: &impl Clock,
    ) -> Result<(), Error> {
        let command = Command::new(admin_opcode::IDENTIFY, namespace).with_page(page);
        self.execute(command.with_dwords(structure.into(), 0), clock).map(drop)
    }

    /// Creates an I/O queue: completions first. `vector`: the interrupt message, or none.
    pub(crate) fn create(
        &mut self,
        pair: &Pair<D>,
        vector: Option<u16>,
        clock: &impl Clock,
    ) -> Result<(), Error> {
        const CONTIGUOUS: u32 = 1;
        const INTERRUPTS: u32 = 1 << 1;
        let id = u32::from(pair.id());
        let size = id | u32::from(pair.entries() - 1) << 16;
        let interrupts = vector.map_or(0, |vector| INTERRUPTS | u32::from(vector) << 16);
        let completions = Command::new(admin_opcode::CREATE_CQ, 0).with_page(pair.completions());
        self.execute(completions.with_dwords(size, CONTIGUOUS | interrupts), clock)?;
        let commands = Command::new(admin_opcode::CREATE_SQ, 0).with_page(pair.commands());
        self.execute(commands.with_dwords(size, CONTIGUOUS | id << 16), clock).map(drop)
    }

    /// Asks for `queues` I/O queues of each kind; returns how many there are, `queues` at most (NVMe §5.27.1.5 "Number of
    /// Queues").
    pub(crate) fn set_queues(&mut self, queues: u16, clock: &impl Clock) -> Result<u16, Error> {
        const NUMBER_OF_QUEUES: u32 = 7;
        let less_one = u32::from(queues.saturating_sub(1));
        let command = Command::new(admin_opcode::SET_FEATURES, 0);
        let granted =
            self.execute(command.with_dwords(NUMBER_OF_QUEUES, less_one | less_one << 16), clock)?;
        let least = (granted & 0xffff).min(granted >> 16).saturating_add(1);
        Ok(u16::try_from(least).unwrap_or(u16::MAX).min(queues))
    }

    /// Asks the controller to give up a command; `true` where it says that it did (NVMe §5.1 "Abort command").
    pub(crate) fn abort(&mut self, queue: u16, cid: u16, clock: &impl Clock) -> Result<bool, Error> {
        let command = Command::new(admin_opcode::ABORT, 0);
        let result = self.execute(command.with_dwords(u32::from(queue) | u32::from(cid) << 16, 0), clock)?;
        Ok(result & 1 == 0)
    }
}
