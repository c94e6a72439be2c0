//! How an application's life ended, and what follows from it.

use core::fmt;

use weir_abi::info::{ProcessInfo, STATE_CRASHED, STATE_EXITED, STATE_RUNNING};
use weir_abi::manifest::Restart;

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It said so.
    Exited {
        /// Its exit code.
        code: u64,
    },
    /// A CPU exception.
    Crashed {
        /// The exception's vector.
        vector: u64,
        /// The instruction.
        instruction: u64,
        /// For a page fault, the address.
        address: u64,
    },
    /// Somebody ended it.
    Killed,
    /// It never began: a grant or its program was refused.
    Refused,
}

/// The vector of a page fault (Intel SDM Vol. 3A §6.15 "Exception and Interrupt Reference").
const PAGE_FAULT: u64 = 14;
/// The code under which a refused application is reported.
const REFUSED_CODE: u64 = 1;

impl Ending {
    /// How the process ended; `None` while it runs.
    #[must_use]
    pub fn of(info: &ProcessInfo) -> Option<Ending> {
        match info.state {
            STATE_RUNNING => None,
            STATE_EXITED => Some(Ending::Exited { code: info.code }),
            STATE_CRASHED => Some(Ending::Crashed {
                vector: info.code,
                instruction: info.crash_rip,
                address: info.crash_address,
            }),
            _ => Some(Ending::Killed),
        }
    }

    /// Whether all is well.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Ending::Exited { code: 0 }
    }

    /// Whether `policy` wants another life. What was refused would be refused again.
    #[must_use]
    pub fn is_restarted(self, policy: Restart) -> bool {
        match policy {
            Restart::Never => false,
            Restart::OnFailure => self != Ending::Refused && !self.is_success(),
            Restart::Always => self != Ending::Refused,
        }
    }

    /// State and code as reports name them.
    #[must_use]
    pub fn state(self) -> (&'static str, u64) {
        match self {
            Ending::Exited { code } => ("exited", code),
            Ending::Crashed { vector, .. } => ("crashed", vector),
            Ending::Killed => ("killed", 0),
            Ending::Refused => ("exited", REFUSED_CODE),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Ending::Exited { code } => write!(f, "exited with code {code}"),
            Ending::Crashed { vector: PAGE_FAULT, instruction, address } => {
                write!(f, "crashed: page fault at address {address:#x}, instruction {instruction:#x}")
            }
            Ending::Crashed { vector, instruction, .. } => {
                write!(f, "crashed: {}, instruction {instruction:#x}", Exception(vector))
            }
            Ending::Killed => f.write_str("was killed"),
            Ending::Refused => f.write_str("was not started"),
        }
    }
}

/// An exception by name.
struct Exception(u64);

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "division by zero or overflow",
            1 => "debug exception",
            3 => "breakpoint",
            4 => "overflow",
            5 => "bound exceeded",
            6 => "invalid instruction",
            7 => "floating point not available",
            11 => "segment not present",
            12 => "stack segment fault",
            13 => "general protection fault",
            16 => "x87 floating-point error",
            17 => "unaligned access",
            19 => "vector floating-point error",
            vector => return write!(f, "exception {vector}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_abi::info::STATE_KILLED;

    fn ending(state: u32, code: u64) -> Option<Ending> {
        let (crash_rip, crash_address) = (0x5000_0000_2000, 0x10);
        Ending::of(&ProcessInfo { state, code, crash_rip, crash_address, ..ProcessInfo::default() })
    }

    #[test]
    fn tells_how_it_ended() {
        assert_eq!(ending(STATE_RUNNING, 0), None);
        let text = |state, code| ending(state, code).unwrap().to_string();
        assert_eq!(text(STATE_EXITED, 3), "exited with code 3");
        assert_eq!(text(STATE_KILLED, 0), "was killed");
        assert_eq!(text(STATE_CRASHED, 13), "crashed: general protection fault, instruction 0x500000002000");
        assert_eq!(
            text(STATE_CRASHED, 14),
            "crashed: page fault at address 0x10, instruction 0x500000002000"
        );
        assert_eq!(text(STATE_CRASHED, 99), "crashed: exception 99, instruction 0x500000002000");
    }

    #[test]
    fn policies() {
        let (ok, bad) = (Ending::Exited { code: 0 }, Ending::Exited { code: 1 });
        let crashed = ending(STATE_CRASHED, 6).unwrap();
        let wanted =
            |policy| [ok, bad, crashed, Ending::Killed, Ending::Refused].map(|e| e.is_restarted(policy));
        assert_eq!(wanted(Restart::Never), [false; 5]);
        assert_eq!(wanted(Restart::OnFailure), [false, true, true, true, false]);
        assert_eq!(wanted(Restart::Always), [true, true, true, true, false]);
        assert_eq!(
            [ok, bad, Ending::Killed, Ending::Refused].map(Ending::is_success),
            [true, false, false, false]
        );
    }
}
