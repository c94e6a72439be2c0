//! The system log: kept in a ring, shown on the console as it is written.

use core::fmt::Write;

use crate::arch::{serial, time};
use crate::sync::Lock;

/// Bytes of text kept.
const RING_BYTES: usize = 64 * 1024;

struct Ring {
    /// Bytes ever written.
    written: u64,
    text: [u8; RING_BYTES],
}

static RING: Lock<Ring> = Lock::new(Ring { written: 0, text: [0; RING_BYTES] });

impl Write for Ring {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            self.text[(self.written % RING_BYTES as u64) as usize] = byte;
            self.written += 1;
        }
        serial::send(0, text.as_bytes());
        Ok(())
    }
}

/// Writes one line: time, who, text.
pub(crate) fn line(who: &str, text: core::fmt::Arguments<'_>) {
    let ns = time::now_ns_or_zero();
    let mut ring = RING.lock();
    // Writing to the ring cannot fail.
    let _ = write!(ring, "[{:5}.{:06}] {who}: {text}\r\n", ns / 1_000_000_000, ns / 1000 % 1_000_000);
}

/// Copies text from position `from` on into `buffer`; returns the position it really starts at, and how much.
pub(crate) fn read(from: u64, buffer: &mut [u8]) -> (u64, usize) {
    let ring = RING.lock();
    let start = from.clamp(ring.written.saturating_sub(RING_BYTES as u64), ring.written);
    let count = buffer.len().min((ring.written - start) as usize);
    for (offset, byte) in buffer[..count].iter_mut().enumerate() {
        *byte = ring.text[((start + offset as u64) % RING_BYTES as u64) as usize];
    }
    (start, count)
}

struct Kernel;

impl log::Log for Kernel {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        match record.level() {
            log::Level::Error => line("kernel: error", *record.args()),
            log::Level::Warn => line("kernel: warning", *record.args()),
            _ => line("kernel", *record.args()),
        }
    }

    fn flush(&self) {}
}

/// Makes `log`'s macros write here; `level` is `error`, `warn`, `info` (default) or `debug`.
pub(crate) fn set_up(level: Option<&str>) {
    // Called once; a second call would change nothing.
    let _ = log::set_logger(&Kernel);
    log::set_max_level(level.and_then(|l| l.parse().ok()).unwrap_or(log::LevelFilter::Info));
}
