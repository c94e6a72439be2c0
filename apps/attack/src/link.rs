//! How orders come and answers go.

use alloc::vec::Vec;

use weir_attack_orders::{ANSWER_AT, Answer, DATA_AT, LINK_BYTES, MESSAGE_BYTES, ORDER_AT, Order};
use weir_hal::{Device as _, Mmio, Register};
use weir_rt::hal::Function;
use weir_rt::{Device, clock};

use crate::Failure;

/// The BAR of `ivshmem-plain` that is memory.
const MEMORY_BAR: u8 = 2;
/// Time between two looks for an order.
const LOOK_NS: u64 = 200_000;

/// The memory shared with the test.
pub(crate) struct Link {
    memory: weir_hal::MappedMmio,
}

impl Link {
    pub(crate) fn open(device: Device) -> Result<Link, Failure> {
        let function = Function::new(device)?;
        Ok(Link { memory: function.map_bar(MEMORY_BAR, 0, LINK_BYTES)? })
    }

    /// The number of the last order.
    pub(crate) fn number(&self) -> u64 {
        self.word(ORDER_AT).unwrap_or(0)
    }

    /// Waits for an order with another number than `number`.
    pub(crate) fn next_order(&self, number: &mut u64) -> Result<Order, Failure> {
        while self.word(ORDER_AT)? == *number {
            clock::sleep(LOOK_NS);
        }
        *number = self.word(ORDER_AT)?;
        let bytes = self.word(ORDER_AT + 8)?.min(MESSAGE_BYTES);
        let words = (0..bytes.div_ceil(8)).map(|i| self.word(ORDER_AT + 16 + 8 * i));
        let words: Vec<u8> =
            words.collect::<Result<Vec<_>, _>>()?.iter().flat_map(|word| word.to_le_bytes()).collect();
        postcard::from_bytes(&words).map_err(|_| Failure::Message)
    }

    /// Answers order `number`.
    pub(crate) fn answer(&self, number: u64, answer: &Answer) -> Result<(), Failure> {
        let bytes = postcard::to_allocvec(answer).map_err(|_| Failure::Message)?;
        if bytes.len() as u64 > MESSAGE_BYTES {
            return Err(Failure::Message);
        }
        self.write(ANSWER_AT + 16, &bytes)?;
        self.memory.register::<u64>(ANSWER_AT + 8)?.write(bytes.len() as u64);
        self.memory.register::<u64>(ANSWER_AT)?.write(number);
        Ok(())
    }

    /// Shows a page to the test.
    pub(crate) fn show(&self, page: &[u8]) -> Result<Answer, Failure> {
        self.write(DATA_AT, page)?;
        Ok(Answer::Done)
    }

    /// Writes bytes, the last word filled up with zeros.
    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Failure> {
        for (at, part) in (at..).step_by(8).zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.memory.register::<u64>(at)?.write(u64::from_le_bytes(word));
        }
        Ok(())
    }

    fn word(&self, at: u64) -> Result<u64, Failure> {
        Ok(self.memory.register::<u64>(at)?.read())
    }
}
