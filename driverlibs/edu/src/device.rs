//! The device: registers, transfers, interrupts (edu § "MMIO area spec").

use weir_hal::{Clock, Device, DeviceInfo, Iova, Mmio, Register, RegisterOf, wait_until};

use crate::{Error, Span};

const VENDOR: u16 = 0x1234;
const DEVICE: u16 = 0x11e8;
/// What the identification register shows: version 1.0 in the upper half, "edu" below.
const IDENTIFICATION: u32 = 0x0100_00ed;

/// Bytes of the registers used; the buffer above them is out of the CPU's reach.
const REGISTER_BYTES: u64 = 0x1000;
const ID: u64 = 0x00;
const CAUSE: u64 = 0x24;
const RAISE: u64 = 0x60;
const ACKNOWLEDGE: u64 = 0x64;
const SOURCE: u64 = 0x80;
const DESTINATION: u64 = 0x88;
const COUNT: u64 = 0x90;
const COMMAND: u64 = 0x98;

/// Bits of the command.
const RUN: u64 = 1 << 0;
const TO_MEMORY: u64 = 1 << 1;
const INTERRUPT_AT_END: u64 = 1 << 2;

/// A transfer takes 100 ms; more where the machine is busy.
const TRANSFER_LIMIT_US: u64 = 10_000_000;

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device reads memory into its buffer.
    DeviceReads,
    /// The device writes its buffer to memory.
    DeviceWrites,
}

/// An `edu` device.
pub struct Edu<D: Device> {
    function: D,
    cause: RegisterOf<D, u32>,
    raise: RegisterOf<D, u32>,
    acknowledge: RegisterOf<D, u32>,
    source: RegisterOf<D, u64>,
    destination: RegisterOf<D, u64>,
    count: RegisterOf<D, u64>,
    command: RegisterOf<D, u64>,
}

impl<D: Device> Edu<D> {
    /// Whether this driver is for a function.
    #[must_use]
    pub fn is_for(info: &DeviceInfo) -> bool {
        (info.vendor, info.device) == (VENDOR, DEVICE)
    }

    /// Maps its registers and lets it master the bus.
    ///
    /// # Errors
    /// `OtherDevice`; what the host says.
    pub fn open(function: D) -> Result<Edu<D>, Error> {
        let info = function.info();
        let other = |found| Error::OtherDevice { vendor: info.vendor, device: info.device, found };
        if !Self::is_for(&info) {
            return Err(other(0));
        }
        let registers = function.map_bar(0, 0, REGISTER_BYTES)?;
        match registers.register::<u32>(ID)?.read() {
            IDENTIFICATION => {}
            u32::MAX => return Err(weir_hal::Error::Gone.into()),
            found => return Err(other(found)),
        }
        let edu = Edu {
            cause: registers.register(CAUSE)?,
            raise: registers.register(RAISE)?,
            acknowledge: registers.register(ACKNOWLEDGE)?,
            source: registers.register(SOURCE)?,
            destination: registers.register(DESTINATION)?,
            count: registers.register(COUNT)?,
            command: registers.register(COMMAND)?,
            function,
        };
        edu.function.bus_master(true)?;
        Ok(edu)
    }

    /// The function, for what is not specific to this device: interrupts, other registers.
    #[must_use]
    pub fn function(&self) -> &D {
        &self.function
    }

    /// Starts a transfer between `span` of the device's buffer and `iova`, whoever's that is. With `interrupt` the
    /// device raises its interrupt at the end.
    ///
    /// # Errors
    /// `Busy`, `Gone`.
    pub fn start(&self, direction: Direction, iova: Iova, span: Span, interrupt: bool) -> Result<(), Error> {
        if self.is_running()? {
            return Err(Error::Busy);
        }
        let (source, destination, way) = match direction {
            Direction::DeviceReads => (iova.0, span.address(), 0),
            Direction::DeviceWrites => (span.address(), iova.0, TO_MEMORY),
        };
        self.source.write(source);
        self.destination.write(destination);
        self.count.write(span.bytes().into());
        self.command.write(RUN | way | if interrupt { INTERRUPT_AT_END } else { 0 });
        Ok(())
    }

    /// Whether a transfer is under way.
    ///
    /// # Errors
    /// `Gone`.
    pub fn is_running(&self) -> Result<bool, Error> {
        match self.command.read() {
            u64::MAX => Err(weir_hal::Error::Gone.into()),
            command => Ok(command & RUN != 0),
        }
    }

    /// Waits for the end of the transfer under way.
    ///
    /// # Errors
    /// `TimedOut`, `Gone`.
    pub fn finish(&self, clock: &impl Clock) -> Result<(), Error> {
        let mut seen = Ok(true);
        wait_until(clock, TRANSFER_LIMIT_US, || {
            seen = self.is_running();
            seen != Ok(true)
        })?;
        seen.map(drop)
    }

    /// Does a whole transfer.
    ///
    /// # Errors
    /// As [`Edu::start`] and [`Edu::finish`].
    pub fn transfer(
        &self,
        direction: Direction,
        iova: Iova,
        span: Span,
        clock: &impl Clock,
    ) -> Result<(), Error> {
        self.start(direction, iova, span, false)?;
        self.finish(clock)
    }

    /// Raises its interrupt, with `cause` added to the causes pending.
    pub fn raise(&self, cause: u32) {
        self.raise.write(cause);
    }

    /// The causes pending.
    #[must_use]
    pub fn read_cause(&self) -> u32 {
        self.cause.read()
    }

    /// Takes causes away.
    pub fn acknowledge(&self, cause: u32) {
        self.acknowledge.write(cause);
    }
}
