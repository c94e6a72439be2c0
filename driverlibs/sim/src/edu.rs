//! QEMU's `edu` device, written from its specification (QEMU, "EDU device", docs/specs/edu.rst): a DMA engine with a
//! buffer of 4 KiB, and one interrupt.
//!
//! A transfer ends when its command register has been read [`Edu::DELAY_READS`] times, the model's measure of time.

use weir_hal::DeviceInfo;

use crate::pci::ConfigSpace;
use crate::{Interrupts, Malice, Model, SimWindow};

const BUFFER: std::ops::Range<u64> = 0x4_0000..0x4_1000;
/// Causes: what the driver raises by hand is its own choice; this is the end of a transfer.
const CAUSE_TRANSFER: u32 = 0x100;

/// The device.
pub struct Edu {
    window: SimWindow,
    interrupts: Interrupts,
    malice: Malice,
    config: ConfigSpace,
    has_bus_master: bool,
    is_gone: bool,
    buffer: Vec<u8>,
    cause: u32,
    source: u64,
    destination: u64,
    count: u64,
    command: u64,
    reads_left: u32,
    overruns: u64,
}

impl Edu {
    /// Reads of the command register that a transfer takes.
    pub const DELAY_READS: u32 = 3;

    /// A device that reaches memory through `window`.
    #[must_use]
    pub fn new(window: &SimWindow) -> Edu {
        Edu {
            window: window.clone(),
            interrupts: Interrupts::new(1),
            malice: Malice::none(),
            config: ConfigSpace::new(0x1234, 0x11e8),
            has_bus_master: false,
            is_gone: false,
            buffer: vec![0; 4096],
            cause: 0,
            source: 0,
            destination: 0,
            count: 0,
            command: 0,
            reads_left: 0,
            overruns: 0,
        }
    }

    /// Makes it lie in its registers from now on.
    pub fn set_malice(&mut self, malice: Malice) {
        self.malice = malice;
    }

    /// Pulls the device out: every register reads as all ones.
    pub fn pull_out(&mut self) {
        self.is_gone = true;
    }

    /// Transfers that left the buffer, which no correct driver orders.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// What is in its buffer.
    #[must_use]
    pub fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    fn run(&mut self) {
        let is_write = self.command & 2 != 0;
        let (inside, iova) =
            if is_write { (self.source, self.destination) } else { (self.destination, self.source) };
        self.command &= !1;
        let end = inside.saturating_add(self.count);
        if inside < BUFFER.start || end > BUFFER.end {
            self.overruns += 1;
            return;
        }
        let place = |address: u64| usize::try_from(address - BUFFER.start).expect("4 KiB");
        let part = &mut self.buffer[place(inside)..place(end)];
        match (self.has_bus_master, is_write) {
            (true, true) => self.window.write(iova, part),
            (true, false) => self.window.read(iova, part),
            (false, _) => {}
        }
        if self.command & 4 != 0 {
            self.raise(CAUSE_TRANSFER);
        }
    }

    fn raise(&mut self, cause: u32) {
        self.cause |= cause;
        if self.cause != 0 && self.has_bus_master {
            self.interrupts.raise(0);
        }
    }

    fn read_command(&mut self) -> u64 {
        if self.command & 1 != 0 {
            self.reads_left -= 1;
            if self.reads_left == 0 {
                self.run();
            }
        }
        self.command
    }

    fn write_transfer(&mut self, offset: u64, value: u64) {
        match offset {
            _ if self.command & 1 != 0 => {}
            0x80 => self.source = value,
            0x88 => self.destination = value,
            0x90 => self.count = value,
            0x98 if value & 1 != 0 => {
                self.command = value;
                self.reads_left = Edu::DELAY_READS;
            }
            _ => {}
        }
    }
}

impl Model for Edu {
    fn info(&self) -> DeviceInfo {
        let bar_bytes = [1 << 20, 0, 0, 0, 0, 0];
        DeviceInfo { vendor: 0x1234, device: 0x11e8, interrupts: 1, bar_bytes, ..DeviceInfo::default() }
    }

    fn config_read(&mut self, offset: u16, bytes: u8) -> u32 {
        self.config.read(offset, bytes)
    }

    fn read(&mut self, _bar: u8, offset: u64, bytes: usize) -> u64 {
        let value = match (offset, bytes) {
            _ if self.is_gone => return u64::MAX,
            (0x00, 4) => 0x0100_00ed,
            (0x24, 4) => self.cause.into(),
            (0x80, 4 | 8) => self.source,
            (0x88, 4 | 8) => self.destination,
            (0x90, 4 | 8) => self.count,
            (0x98, 4 | 8) => self.read_command(),
            _ => u64::MAX,
        };
        self.malice.twist_register(value)
    }

    #[expect(clippy::cast_possible_truncation, reason = "these registers have 32 bits")]
    fn write(&mut self, _bar: u8, offset: u64, bytes: usize, value: u64) {
        match (offset, bytes) {
            _ if self.is_gone => {}
            (0x60, 4) => self.raise(value as u32),
            (0x64, 4) => self.cause &= !(value as u32),
            (0x80.., 4 | 8) => self.write_transfer(offset, value),
            _ => {}
        }
    }

    fn bus_master(&mut self, on: bool) {
        self.has_bus_master = on;
    }

    fn reset(&mut self) {
        *self = Edu { interrupts: self.interrupts.clone(), ..Edu::new(&self.window) };
    }

    fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }
}
