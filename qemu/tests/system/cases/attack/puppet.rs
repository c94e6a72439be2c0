//! The attack application, from the other side: orders and answers through the memory of an `ivshmem-plain` device.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::NamedTempFile;
use weir_attack_orders::{ANSWER_AT, Answer, DATA_AT, MESSAGE_BYTES, ORDER_AT, Order};

use super::ram::{PAGE, memory_file};

/// How long an order may take.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(1);
/// Bytes of the device's memory.
const BYTES: u64 = 64 << 10;

/// The link to one application.
pub(super) struct Puppet {
    file: NamedTempFile,
    number: u64,
}

impl Puppet {
    pub(super) fn new() -> Result<Puppet> {
        Ok(Puppet { file: memory_file(BYTES)?, number: 0 })
    }

    /// QEMU's options for the device, in the port `bus`.
    pub(super) fn options(&self, bus: &str) -> [String; 4] {
        let path = self.file.path().display();
        let object = format!("memory-backend-file,id=m{bus},size={BYTES},mem-path={path},share=on");
        let device = format!("ivshmem-plain,memdev=m{bus},bus={bus}");
        ["-object".into(), object, "-device".into(), device]
    }

    /// Gives an order and waits for the answer; an order that was not done is an error.
    pub(super) fn order(&mut self, order: &Order) -> Result<Answer> {
        match self.try_order(order)? {
            Answer::Failed(why) => bail!("{order:?}: {why}"),
            answer => Ok(answer),
        }
    }

    /// Gives an order and waits for the answer.
    pub(super) fn try_order(&mut self, order: &Order) -> Result<Answer> {
        self.begin(order)?;
        self.answer().with_context(|| format!("{order:?}"))
    }

    /// Gives an order.
    pub(super) fn begin(&mut self, order: &Order) -> Result<()> {
        let bytes = postcard::to_stdvec(order)?;
        ensure!(bytes.len() as u64 <= MESSAGE_BYTES, "too long an order");
        self.write(ORDER_AT + 16, &bytes)?;
        self.write(ORDER_AT + 8, &(bytes.len() as u64).to_le_bytes())?;
        self.number += 1;
        self.write(ORDER_AT, &self.number.to_le_bytes())
    }

    /// Waits for the answer to the last order.
    pub(super) fn answer(&self) -> Result<Answer> {
        let deadline = Instant::now() + LIMIT;
        while self.word(ANSWER_AT)? != self.number {
            ensure!(Instant::now() < deadline, "no answer within {} s", LIMIT.as_secs());
            std::thread::sleep(LOOK);
        }
        let bytes = usize::try_from(self.word(ANSWER_AT + 8)?.min(MESSAGE_BYTES))?;
        Ok(postcard::from_bytes(&self.read(ANSWER_AT + 16, bytes)?)?)
    }

    /// New memory in the application's DMA window: slot and address.
    pub(super) fn map(&mut self, bytes: u64, word: u64) -> Result<(usize, u64)> {
        self.place(&Order::Map { bytes, word })
    }

    /// A memory that an order makes or moves: slot and address.
    pub(super) fn place(&mut self, order: &Order) -> Result<(usize, u64)> {
        match self.order(order)? {
            Answer::Place { slot, address } => Ok((slot, address)),
            other => bail!("{other:?}"),
        }
    }

    /// The first page of one of its memories, as the application sees it.
    pub(super) fn page(&mut self, slot: usize) -> Result<Vec<u8>> {
        self.order(&Order::Show { slot })?;
        self.read(DATA_AT, PAGE)
    }

    /// A number that an order counts.
    pub(super) fn count(&mut self, order: &Order) -> Result<u64> {
        match self.order(order)? {
            Answer::Counted { count, .. } => Ok(count),
            other => bail!("{other:?}"),
        }
    }

    pub(super) fn read(&self, at: u64, bytes: usize) -> Result<Vec<u8>> {
        let mut buffer = vec![0; bytes];
        self.file.as_file().read_exact_at(&mut buffer, at)?;
        Ok(buffer)
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.file.as_file().write_all_at(bytes, at)?)
    }

    fn word(&self, at: u64) -> Result<u64> {
        Ok(u64::from_le_bytes(self.read(at, 8)?.try_into().unwrap_or_default()))
    }
}
