//! Hardware with a mind of its own: registers and configuration space from outside the guest, through QEMU's qtest
//! socket, as a host of driver libraries. A device driven so needs no owner, asks nobody, and obeys no bus master bit
//! that is not set again.

use std::io::{BufRead, BufReader, Write};
use std::marker::PhantomData;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use weir_hal::{Device, DeviceInfo, Error, Interrupt, Mmio, Register, Word};

/// Where the firmware puts the window to configuration space on this chipset.
const ECAM: u64 = 0xb000_0000;
/// Where the firmware puts BARs of 32 bits: between that window and the interrupt controllers.
const DEVICES: std::ops::Range<u64> = 0xc000_0000..0xfec0_0000;
/// How long QEMU may take for an access.
const LIMIT: Duration = Duration::from_secs(30);
/// Offsets in configuration space, and bits of the command (PCI Local Bus 3.0 §6.2.2 "Device Control").
const COMMAND: u16 = 0x04;
const BAR0: u16 = 0x10;
const MEMORY: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;

/// The socket before QEMU runs.
pub(super) struct Waiting {
    name: String,
    listener: UnixListener,
}

impl Waiting {
    pub(super) fn new() -> Result<Waiting> {
        let name = format!("weir-qtest-{}", std::process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        Ok(Waiting { name, listener })
    }

    /// QEMU's options.
    pub(super) fn options(&self) -> [String; 6] {
        let chardev = format!("socket,id=qtest,path={},abstract=on", self.name);
        ["-chardev", &chardev, "-qtest", "chardev:qtest", "-qtest-log", "none"].map(str::to_owned)
    }

    /// The connection, once QEMU runs.
    pub(super) fn connect(self) -> Result<Outside> {
        let (socket, _) = self.listener.accept()?;
        socket.set_read_timeout(Some(LIMIT))?;
        let answers = BufReader::new(socket.try_clone()?);
        Ok(Outside(Arc::new(Mutex::new(Qtest { socket, answers }))))
    }
}

struct Qtest {
    socket: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Qtest {
    /// Sends one command; gives the number that follows `OK`, 0 where there is none.
    fn ask(&mut self, command: &str) -> Result<u64> {
        self.socket.write_all(format!("{command}\n").as_bytes())?;
        loop {
            let mut line = String::new();
            self.answers.read_line(&mut line).context("QEMU does not answer")?;
            let Some(answer) = line.strip_prefix("OK") else {
                if line.starts_with("IRQ") {
                    continue;
                }
                bail!("{command}: {line:?}");
            };
            let digits = answer.trim().trim_start_matches("0x");
            return Ok(if digits.is_empty() { 0 } else { u64::from_str_radix(digits, 16)? });
        }
    }
}

/// The machine, from outside. Clones are the same.
#[derive(Clone)]
pub(super) struct Outside(Arc<Mutex<Qtest>>);

impl Outside {
    pub(super) fn ask(&self, command: &str) -> Result<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ask(command)
    }

    /// Reads a physical address.
    pub(super) fn read(&self, at: u64, bytes: usize) -> Result<u64> {
        self.ask(&format!("{} {at:#x}", ["", "readb", "readw", "", "readl", "", "", "", "readq"][bytes]))
    }

    /// Writes a physical address.
    pub(super) fn write(&self, at: u64, bytes: usize, value: u64) -> Result<()> {
        let word = ["", "writeb", "writew", "", "writel", "", "", "", "writeq"][bytes];
        self.ask(&format!("{word} {at:#x} {value:#x}")).map(drop)
    }

    /// The function `bus:00.0`.
    pub(super) fn function(&self, bus: u8) -> Function {
        Function { machine: self.clone(), config: ECAM + (u64::from(bus) << 20) }
    }
}

/// A function, from outside.
#[derive(Clone)]
pub(super) struct Function {
    machine: Outside,
    config: u64,
}

impl Function {
    pub(super) fn config32(&self, offset: u16) -> Result<u32> {
        Ok(u32::try_from(self.machine.read(self.config + u64::from(offset), 4)?)?)
    }

    pub(super) fn set_config32(&self, offset: u16, value: u32) -> Result<()> {
        self.machine.write(self.config + u64::from(offset), 4, value.into())
    }

    /// Whether it masters the bus, as far as its command register says.
    pub(super) fn is_bus_master(&self) -> Result<bool> {
        Ok(self.config32(COMMAND)? & BUS_MASTER != 0)
    }

    /// Where a BAR is.
    pub(super) fn bar(&self, number: u8) -> Result<u64> {
        let at = BAR0 + 4 * u16::from(number);
        let low = self.config32(at)?;
        let high = if low >> 1 & 3 == 2 { self.config32(at + 4)? } else { 0 };
        Ok(u64::from(high) << 32 | u64::from(low & !0xf))
    }

    /// Where a capability is.
    pub(super) fn capability(&self, id: u32) -> Result<u16> {
        let mut at = self.config32(0x34)? & 0xfc;
        while at != 0 {
            let header = self.config32(u16::try_from(at)?)?;
            if header & 0xff == id {
                return Ok(u16::try_from(at)?);
            }
            at = header >> 8 & 0xfc;
        }
        bail!("it has no capability {id:#x}")
    }

    /// Where its MSI capability is.
    pub(super) fn msi(&self) -> Result<u16> {
        self.capability(0x05)
    }

    /// Turns memory decoding on, or leaves it.
    pub(super) fn decode(&self) -> Result<()> {
        self.set_config32(COMMAND, self.config32(COMMAND)? | MEMORY)
    }
}

impl Device for Function {
    type Mmio = Registers;
    type Interrupt = Never;

    fn info(&self) -> DeviceInfo {
        let ids = self.config32(0).unwrap_or(u32::MAX).to_le_bytes();
        DeviceInfo {
            vendor: u16::from_le_bytes([ids[0], ids[1]]),
            device: u16::from_le_bytes([ids[2], ids[3]]),
            ..DeviceInfo::default()
        }
    }

    fn config_read(&self, offset: u16, bytes: u8) -> Result<u32, Error> {
        let value = self.machine.read(self.config + u64::from(offset), bytes.into());
        value.ok().and_then(|value| u32::try_from(value).ok()).ok_or(Error::Gone)
    }

    /// A BAR that has no address, or is being measured, leads to somebody else: not there.
    fn map_bar(&self, bar: u8, offset: u64, bytes: u64) -> Result<Registers, Error> {
        let base = self.bar(bar).map_err(|_| Error::Gone)?;
        if !DEVICES.contains(&base) {
            return Err(Error::Gone);
        }
        Ok(Registers { machine: self.machine.clone(), base: base + offset, bytes })
    }

    fn bus_master(&self, on: bool) -> Result<(), Error> {
        let command = self.config32(COMMAND).map_err(|_| Error::Gone)?;
        let command = if on { command | BUS_MASTER } else { command & !BUS_MASTER };
        self.set_config32(COMMAND, command).map_err(|_| Error::Gone)
    }

    fn reset(&self) -> Result<(), Error> {
        Err(Error::Unsupported)
    }

    fn interrupt(&self, _index: u16) -> Result<Never, Error> {
        Err(Error::Unsupported)
    }
}

/// Interrupts do not come out here.
pub(super) enum Never {}

impl Interrupt for Never {
    fn count(&self) -> u64 {
        match *self {}
    }
    fn unmask(&self) -> Result<(), Error> {
        match *self {}
    }
    fn mask(&self) -> Result<(), Error> {
        match *self {}
    }
    fn wait(&self, _seen: u64, _deadline_ns: u64) -> Result<u64, Error> {
        match *self {}
    }
}

/// Registers, from outside.
pub(super) struct Registers {
    machine: Outside,
    base: u64,
    bytes: u64,
}

impl Mmio for Registers {
    type Register<T: Word> = OneRegister<T>;

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn register<T: Word>(&self, offset: u64) -> Result<OneRegister<T>, Error> {
        if offset + size_of::<T>() as u64 > self.bytes {
            return Err(Error::OutOfRange);
        }
        Ok(OneRegister { machine: self.machine.clone(), at: self.base + offset, word: PhantomData })
    }
}

/// A register, from outside.
pub(super) struct OneRegister<T> {
    machine: Outside,
    at: u64,
    word: PhantomData<T>,
}

/// A machine that has ended reads as all ones, as a device that is gone.
impl<T: Word> Register<T> for OneRegister<T> {
    fn read(&self) -> T {
        T::truncated(self.machine.read(self.at, size_of::<T>()).unwrap_or(u64::MAX))
    }

    fn write(&self, value: T) {
        let _ = self.machine.write(self.at, size_of::<T>(), value.into());
    }
}
