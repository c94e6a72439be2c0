//! Ending the machine.

use spin::Once;
use x86_64::instructions::port::Port;

use crate::arch::{cpu, serial};

/// Exit code after a kernel panic.
pub(crate) const KERNEL_PANIC: u32 = 0x20;

static EXIT_PORT: Once<u16> = Once::new();

/// Names the port of QEMU's `isa-debug-exit` device (command line `exit_port=`), where there is one.
pub(crate) fn set_exit_port(port: Option<u16>) {
    if let Some(port) = port {
        EXIT_PORT.call_once(|| port);
    }
}

/// Ends the machine; without an exit port it halts.
pub(crate) fn off(code: u32) -> ! {
    serial::flush();
    if let Some(port) = EXIT_PORT.get() {
        // SAFETY: the command line says that the exit device is there.
        unsafe { Port::new(*port).write(code) };
    }
    cpu::halt()
}
