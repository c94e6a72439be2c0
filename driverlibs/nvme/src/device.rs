//! The controller: everything that is not on the data path.

use alloc::vec::Vec;

use weir_block::{BlockDevice, Disk, Opened, Options};
use weir_hal::{Clock, Device, DeviceInfo, DmaWindow, Error as HostError, Register, wait_until};

use crate::admin::Admin;
use crate::desc::{COMMAND_SHIFT, COMPLETION_SHIFT};
use crate::identify::{self, Found, Namespace};
use crate::pair::Pair;
use crate::regs::{Capabilities, Configuration, ControllerStatus, Doorbells, Registers};
use crate::{Error, Queue};

/// Mass storage, non-volatile memory, NVM Express I/O controller (PCIe §3.1.1 "PCI Header", class code).
const CLASS: u32 = 0x01_08_02;
/// Most entries of a queue: a ring of completions has two words per entry.
const ENTRIES_MAX: u16 = 4096;
/// Fewer would not hold a command.
const ENTRIES_MIN: u16 = 2;
/// CAP.TO counts these; a controller that says 0 gets one.
const LIMIT_UNIT_US: u64 = 500_000;

/// A controller.
pub struct Nvme<D: Device> {
    device: D,
    regs: Registers<D>,
    cap: Capabilities,
    admin: Admin<D>,
    disks: Vec<Disk>,
    unusable: usize,
}

impl<D: Device> Nvme<D> {
    /// Finds out what it is, without touching it. `queues`: I/O queues whose doorbells are wanted.
    fn map(device: D, window: &impl DmaWindow, queues: u16) -> Result<(Nvme<D>, Doorbells<D>), Error> {
        let info = device.info();
        if info.class != CLASS {
            return Err(Error::OtherDevice { vendor: info.vendor, device: info.device, class: info.class });
        }
        let regs = Registers::new(&device)?;
        let cap = Capabilities::from_bits(regs.cap.read());
        if cap.into_bits() == u64::MAX {
            return Err(HostError::Gone.into());
        }
        let has_entries = cap.entries_less_one() >= ENTRIES_MIN - 1;
        if !cap.has_nvm() || cap.page_min_shift() != 0 || !has_entries {
            return Err(Error::Unusable { capabilities: cap.into_bits() });
        }
        let doorbells = Doorbells::new(&device, cap, queues)?;
        let admin = Admin::new(window, &doorbells)?;
        Ok((Nvme { device, regs, cap, admin, disks: Vec::new(), unusable: 0 }, doorbells))
    }

    /// Stops the controller: when this returns, it accesses no memory until it is enabled again (NVMe §3.7.2
    /// "Controller Level Reset").
    fn reset(&self, clock: &impl Clock) -> Result<(), Error> {
        self.regs.cc.write(Configuration::new().into_bits());
        self.wait(clock, |status| !status.is_ready())
    }

    /// NVMe §3.5.1 "Memory-based Controller Initialization", steps 1 to 5.
    fn enable(&mut self, clock: &impl Clock) -> Result<(), Error> {
        self.device.bus_master(true)?;
        self.admin.announce(&self.regs);
        let configuration = Configuration::new()
            .with_command_shift(COMMAND_SHIFT)
            .with_completion_shift(COMPLETION_SHIFT)
            .with_is_enabled(true);
        self.regs.cc.write(configuration.into_bits());
        self.wait(clock, |status| status.is_ready() || status.is_fatal())?;
        if self.read_status().is_fatal() { Err(Error::Fatal) } else { Ok(()) }
    }

    /// Waits for as long as CAP.TO says.
    fn wait(&self, clock: &impl Clock, is_done: impl Fn(ControllerStatus) -> bool) -> Result<(), Error> {
        let limit_us = u64::from(self.cap.limit_500_ms()).max(1) * LIMIT_UNIT_US;
        let is_over = || {
            let status = self.read_status();
            status == ControllerStatus::GONE || is_done(status)
        };
        let result = wait_until(clock, limit_us, is_over);
        if self.read_status() == ControllerStatus::GONE {
            return Err(HostError::Gone.into());
        }
        Ok(result?)
    }

    fn read_status(&self) -> ControllerStatus {
        ControllerStatus::from_bits(self.regs.csts.read())
    }

    /// Entries of a queue that holds `depth` requests, as far as the controller has them: a power of two.
    fn entries(&self, depth: u16) -> u16 {
        let wanted = u32::from(depth).saturating_add(1).next_power_of_two().max(ENTRIES_MIN.into());
        let most = u32::from(self.cap.entries_less_one()) + 1;
        let entries = wanted.min(most).min(ENTRIES_MAX.into());
        // Rounded down: the controller's number need not be a power of two.
        u16::try_from(1 << entries.ilog2()).unwrap_or(ENTRIES_MAX)
    }

    fn queue(
        &self,
        window: &impl DmaWindow,
        doorbells: &Doorbells<D>,
        id: u16,
        options: &Options,
        namespaces: &[Namespace],
    ) -> Result<Queue<D>, Error> {
        let pair = Pair::new(window, doorbells, id, self.entries(options.depth))?;
        // Message 0 is the admin queue's, which is polled.
        let interrupt = options.interrupt.then(|| self.device.interrupt(id)).transpose()?;
        Queue::new(window, pair, options.depth, namespaces, interrupt)
    }

    /// Active namespaces that are not among the disks: their blocks have metadata, or an unusual size.
    #[must_use]
    pub fn unusable_namespaces(&self) -> usize {
        self.unusable
    }
}

impl<D: Device + 'static> BlockDevice for Nvme<D> {
    type Device = D;
    type Queue = Queue<D>;
    type Error = Error;

    fn is_for(info: &DeviceInfo) -> bool {
        info.class == CLASS
    }

    fn open(
        device: D,
        window: &impl DmaWindow,
        clock: &impl Clock,
        options: &Options,
    ) -> Result<Opened<Self>, Error> {
        let messages = if options.interrupt { device.info().interrupts.saturating_sub(1) } else { u16::MAX };
        let wanted = options.queues.min(messages);
        if wanted == 0 {
            return Err(Error::NoQueue);
        }
        let (mut nvme, doorbells) = Nvme::map(device, window, wanted)?;
        nvme.reset(clock)?;
        nvme.enable(clock)?;
        let Found { namespaces, unusable } = identify::identify(&mut nvme.admin, window, clock)?;
        if namespaces.is_empty() {
            return Err(Error::NoNamespace);
        }
        nvme.disks = namespaces.iter().map(|namespace| namespace.disk).collect();
        nvme.unusable = unusable;
        let granted = nvme.admin.set_queues(wanted, clock)?;
        let queues = (1..=granted).map(|id| nvme.queue(window, &doorbells, id, options, &namespaces));
        let queues = queues.collect::<Result<Vec<_>, _>>()?;
        Ok((nvme, queues))
    }

    fn start(&mut self, queues: &mut [Queue<D>], clock: &impl Clock) -> Result<(), Error> {
        self.reset(clock)?;
        queues.iter_mut().for_each(Queue::empty);
        self.enable(clock)?;
        let wanted = u16::try_from(queues.len()).map_err(|_| Error::NoQueue)?;
        if self.admin.set_queues(wanted, clock)? < wanted {
            return Err(Error::NoQueue);
        }
        for queue in queues {
            let vector = queue.has_interrupt().then_some(queue.pair.id());
            self.admin.create(&queue.pair, vector, clock)?;
            queue.run();
        }
        Ok(())
    }

    fn disks(&self) -> &[Disk] {
        &self.disks
    }

    fn abort_late(&mut self, queue: &mut Queue<D>, clock: &impl Clock) -> Result<usize, Error> {
        let mut aborted = 0;
        for cid in queue.late() {
            aborted += usize::from(self.admin.abort(queue.pair.id(), cid, clock)?);
        }
        Ok(aborted)
    }

    fn has_stopped(&self) -> bool {
        // A controller that is gone has all bits set, this one too.
        self.read_status().is_fatal()
    }
}

impl<D: Device> Drop for Nvme<D> {
    /// Stops its access to memory, as far as that can be done from here; the host confines it in any case.
    fn drop(&mut self) {
        self.regs.cc.write(Configuration::new().into_bits());
        // A controller that is gone needs no stopping.
        let _ = self.device.bus_master(false);
    }
}
