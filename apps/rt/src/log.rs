//! Lines for the system log.

use core::fmt::{Arguments, Write};

use weir_abi::call::{LOG_LINE_BYTES, LOG_WRITE};

use crate::call::{call, to_usize};

/// Writes a line to the system log, formatted as by `format!`. Needs no heap; a line is cut at 512 bytes.
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => {
        $crate::log::write(format_args!($($argument)*))
    };
}

/// Writes a line to the system log: `log_write`. Use [`crate::log!`].
pub fn write(text: Arguments<'_>) {
    let mut line = Line::new();
    // Only a `Display` of the program's own can fail; what it wrote before is still worth logging.
    let _ = line.write_fmt(text);
    // SAFETY: the kernel reads `line.length` bytes of `line`. An error leaves nobody to tell.
    let _ = unsafe { call(LOG_WRITE, [line.bytes.as_ptr() as u64, line.length as u64, 0, 0, 0, 0]) };
}

/// A line being put together.
struct Line {
    bytes: [u8; to_usize(LOG_LINE_BYTES)],
    length: usize,
}

impl Line {
    fn new() -> Line {
        Line { bytes: [0; to_usize(LOG_LINE_BYTES)], length: 0 }
    }
}

impl Write for Line {
    /// Takes what fits; the rest is cut, as the kernel would.
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let space = &mut self.bytes[self.length..];
        let taken = text.len().min(space.len());
        space[..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_long_lines() {
        let mut line = Line::new();
        for _ in 0..100 {
            write!(line, "0123456789").unwrap();
        }
        assert_eq!(line.length as u64, LOG_LINE_BYTES);
        assert_eq!(&line.bytes[..12], b"012345678901");
    }
}
