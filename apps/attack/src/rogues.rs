//! Its devices.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use weir_attack_orders::Answer;
use weir_edu::{Direction, Edu, Span};
use weir_hal::{Device as _, Interrupt as _, Iova};
use weir_iommu_testdev::{Outcome, Testdev};
use weir_rt::Env;
use weir_rt::hal::{Function, Message, TscClock};

use crate::Failure;

/// A device, with its driver where it has one.
enum Rogue {
    Edu(Edu<Function>),
    Testdev(Testdev<Function>),
    Other(Function),
}

impl Rogue {
    fn function(&self) -> &Function {
        match self {
            Rogue::Edu(edu) => edu.function(),
            Rogue::Testdev(testdev) => testdev.function(),
            Rogue::Other(function) => function,
        }
    }
}

/// All devices but the link, by name.
pub(crate) struct Rogues {
    rogues: BTreeMap<String, Rogue>,
    messages: BTreeMap<String, Message>,
}

impl Rogues {
    /// Takes every device granted, whose names the words say.
    pub(crate) fn open(env: &mut Env) -> Result<Rogues, Failure> {
        let mut rogues = BTreeMap::new();
        let names: Vec<String> = env.args().to_vec();
        for name in names {
            let function = Function::new(env.device(&name)?)?;
            let info = function.info();
            let rogue = if Edu::<Function>::is_for(&info) {
                Rogue::Edu(Edu::open(function)?)
            } else if Testdev::<Function>::is_for(&info) {
                Rogue::Testdev(Testdev::open(function)?)
            } else {
                Rogue::Other(function)
            };
            rogues.insert(name, rogue);
        }
        Ok(Rogues { rogues, messages: BTreeMap::new() })
    }

    fn rogue(&self, name: &str) -> Result<&Rogue, Failure> {
        self.rogues.get(name).ok_or(Failure::Missing)
    }

    fn edu(&self, name: &str) -> Result<&Edu<Function>, Failure> {
        match self.rogue(name)? {
            Rogue::Edu(edu) => Ok(edu),
            _ => Err(Failure::Missing),
        }
    }

    /// The device reads memory.
    pub(crate) fn load(&self, name: &str, iova: u64, offset: u16, bytes: u16) -> Result<Answer, Failure> {
        self.transfer(name, Direction::DeviceReads, iova, offset, bytes)
    }

    /// The device writes memory.
    pub(crate) fn store(&self, name: &str, iova: u64, offset: u16, bytes: u16) -> Result<Answer, Failure> {
        self.transfer(name, Direction::DeviceWrites, iova, offset, bytes)
    }

    fn transfer(
        &self,
        name: &str,
        direction: Direction,
        iova: u64,
        offset: u16,
        bytes: u16,
    ) -> Result<Answer, Failure> {
        let span = Span::new(offset, bytes).ok_or(Failure::Missing)?;
        self.edu(name)?.transfer(direction, Iova(iova), span, &TscClock)?;
        Ok(Answer::Done)
    }

    /// All `edu`s send messages, each the next.
    pub(crate) fn forge(&self, address: u64, first: u16, count: u16) -> Result<Answer, Failure> {
        let edus: Vec<&Edu<Function>> = self
            .rogues
            .values()
            .filter_map(|rogue| if let Rogue::Edu(edu) = rogue { Some(edu) } else { None })
            .collect();
        for (number, edu) in (first..first.saturating_add(count)).zip(edus.iter().cycle()) {
            edu.finish(&TscClock)?;
            let span = number.checked_mul(8).and_then(|offset| Span::new(offset, 4));
            edu.start(Direction::DeviceWrites, Iova(address), span.ok_or(Failure::Missing)?, false)?;
        }
        edus.iter().try_for_each(|edu| edu.finish(&TscClock))?;
        Ok(Answer::Done)
    }

    /// The fast rogue writes, until it has done so often enough or is gone.
    pub(crate) fn fire(&self, iova: u64, bytes: u32, times: u64) -> Result<Answer, Failure> {
        let is_testdev = |rogue: &&Rogue| matches!(rogue, Rogue::Testdev(_));
        let Some(Rogue::Testdev(testdev)) = self.rogues.values().find(is_testdev) else {
            return Err(Failure::Missing);
        };
        testdev.aim(Iova(iova), bytes)?;
        let (mut written, mut refused) = (0, 0);
        for _ in 0..times {
            match testdev.fire() {
                Ok(Outcome::Written) => written += 1,
                Ok(Outcome::Refused) => refused += 1,
                Err(weir_iommu_testdev::Error::Host(weir_hal::Error::Gone)) => {
                    return Ok(Answer::Fired { written, refused, is_gone: true });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Answer::Fired { written, refused, is_gone: false })
    }

    /// What a device is.
    pub(crate) fn info(&self, name: &str) -> Result<Answer, Failure> {
        let info = self.rogue(name)?.function().device().info()?;
        let bar_bytes = info.bars.map(|bar| bar.bytes).to_vec();
        Ok(Answer::Info { address: info.address, group: info.group, bar_bytes })
    }

    /// Maps registers, past the checks of the host's face, and unmaps them.
    pub(crate) fn map_bar(&self, name: &str, bar: u8, offset: u64, bytes: u64) -> Result<Answer, Failure> {
        self.rogue(name)?.function().device().map_bar(bar.into(), offset, bytes, 0)?;
        Ok(Answer::Done)
    }

    /// Binds the first interrupt.
    pub(crate) fn listen(&mut self, name: &str) -> Result<Answer, Failure> {
        let message = self.rogue(name)?.function().interrupt(0)?;
        message.unmask()?;
        self.messages.insert(name.to_string(), message);
        Ok(Answer::Done)
    }

    /// The device raises its interrupt.
    pub(crate) fn raise(&self, name: &str) -> Result<Answer, Failure> {
        self.edu(name)?.raise(1);
        Ok(Answer::Done)
    }

    /// How often the interrupt came.
    pub(crate) fn interrupts(&self, name: &str) -> Result<Answer, Failure> {
        let count = self.messages.get(name).ok_or(Failure::Missing)?.count();
        Ok(Answer::Counted { count, quota: 0 })
    }
}
