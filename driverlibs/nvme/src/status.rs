//! Status codes (NVMe §3.3.3.2.1 "Status Field Definition"; NVM §3.1 "NVM Command Set Commands", status values).

use core::fmt;

use weir_block::Failure;

/// The status field of a completion, without the phase: code in bits 7:0, code type in bits 10:8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

/// Code and code type; the rest says whether and when to try again.
const CODE_MASK: u16 = 0x7ff;

impl Status {
    /// Whether the command was done.
    #[must_use]
    #[inline]
    pub fn is_success(self) -> bool {
        self.0 & CODE_MASK == 0
    }

    /// What to tell the program.
    ///
    /// # Errors
    /// The command was not done.
    #[inline]
    pub fn result(self) -> Result<(), Failure> {
        if self.is_success() { Ok(()) } else { Err(self.failure()) }
    }

    #[cold]
    fn failure(self) -> Failure {
        let status = self.0 & CODE_MASK;
        match status {
            // Invalid opcode, field, PRP offset, namespace or format.
            0x001 | 0x002 | 0x00b | 0x013 => Failure::Unsupported { status },
            // Abort requested; aborted because its queue was deleted, or a fused command failed.
            0x007..=0x00a => Failure::Aborted { status },
            // LBA out of range, capacity exceeded.
            0x080 | 0x081 => Failure::OutOfRange { status },
            // Namespace is write protected; attempted write to read only range.
            0x020 | 0x182 => Failure::ReadOnly { status },
            // Media and data integrity errors: write fault, unrecovered read error, …
            0x200..=0x2ff => Failure::Medium { status },
            _ => Failure::Other { status },
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {:#05x}", self.0 & CODE_MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_specification_says() {
        assert_eq!(Status(0).result(), Ok(()));
        assert!(Status(0x4000).is_success(), "do-not-retry alone is no failure");
        assert_eq!(Status(0x4080).result(), Err(Failure::OutOfRange { status: 0x80 }));
        assert_eq!(Status(0x0281).result(), Err(Failure::Medium { status: 0x281 }));
        assert_eq!(Status(0x0007).result(), Err(Failure::Aborted { status: 7 }));
        assert_eq!(Status(0x0101).result(), Err(Failure::Other { status: 0x101 }));
        assert_eq!(Status(0x0002).result(), Err(Failure::Unsupported { status: 2 }));
        assert_eq!(Status(0x0182).result(), Err(Failure::ReadOnly { status: 0x182 }));
    }
}
