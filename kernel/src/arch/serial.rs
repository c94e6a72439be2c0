//! The two serial ports: 0 the console, 1 the machine-readable reports.

use heapless::Deque;
use x86_64::instructions::port::Port;

use crate::sync::Lock;

/// How many ports there are.
pub(crate) const PORTS: usize = 2;

/// A 16550 UART (PC16550D data sheet, §8.0), polled.
pub(crate) struct Uart {
    base: u16,
    received: Deque<u8, 256>,
}

const LINE_STATUS: u16 = 5;
const DATA_READY: u8 = 1;
const TRANSMIT_EMPTY: u8 = 1 << 5;
/// The shift register, too, is empty.
const ALL_SENT: u8 = 1 << 6;

const BASES: [u16; PORTS] = [0x3f8, 0x2f8];

static UARTS: [Lock<Uart>; PORTS] = [Lock::new(Uart::at(BASES[0])), Lock::new(Uart::at(BASES[1]))];

/// Sets both ports to 115200 baud, 8N1, FIFOs on, interrupts off.
pub(crate) fn set_up() {
    for uart in &UARTS {
        let uart = uart.lock();
        for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 0xc7), (4, 3)] {
            uart.write(register, value);
        }
    }
}

/// Has the console raise its interrupt line when it receives.
pub(crate) fn enable_receive_interrupt() {
    const RECEIVED: u8 = 1;
    const OUT2_DTR_RTS: u8 = 0b1011;
    let uart = UARTS[0].lock();
    // On a PC, OUT2 connects the UART to the interrupt controller.
    uart.write(4, OUT2_DTR_RTS);
    uart.write(1, RECEIVED);
}

/// Takes what the console has received into memory, which ends its interrupt.
pub(crate) fn drain_console() {
    UARTS[0].lock().drain();
}

/// Sends bytes; waits for the port, but never for ever: a port that takes none is given up.
pub(crate) fn send(port: usize, bytes: &[u8]) {
    let uart = UARTS[port].lock();
    for byte in bytes {
        uart.send(*byte);
    }
}

/// Waits until what was sent has left the ports, but never for ever. Takes no lock: the machine ends.
pub(crate) fn flush() {
    const PATIENCE: u32 = 10_000_000;
    for uart in BASES.map(Uart::at) {
        // After that long nobody listens.
        let _ = (0..PATIENCE).find(|_| uart.read(LINE_STATUS) & ALL_SENT != 0);
    }
}

/// Sends without taking the lock: for the panic, when its holder may be the one that panicked.
pub(crate) fn send_in_panic(bytes: &[u8]) {
    let uart = Uart::at(BASES[0]);
    for byte in bytes {
        uart.send(*byte);
    }
}

/// Takes received bytes; returns how many.
pub(crate) fn receive(port: usize, buffer: &mut [u8]) -> usize {
    let mut uart = UARTS[port].lock();
    uart.drain();
    let mut count = 0;
    while let Some(byte) = (count < buffer.len()).then(|| uart.received.pop_front()).flatten() {
        buffer[count] = byte;
        count += 1;
    }
    count
}

impl Uart {
    const fn at(base: u16) -> Uart {
        Uart { base, received: Deque::new() }
    }

    fn drain(&mut self) {
        // Bounded by the FIFO here and by the space there.
        while !self.received.is_full() && self.read(LINE_STATUS) & DATA_READY != 0 {
            let byte = self.read(0);
            // There is room: just checked.
            let _ = self.received.push_back(byte);
        }
    }

    fn send(&self, byte: u8) {
        const PATIENCE: u32 = 1_000_000;
        for _ in 0..PATIENCE {
            if self.read(LINE_STATUS) & TRANSMIT_EMPTY != 0 {
                return self.write(0, byte);
            }
        }
    }

    fn read(&self, register: u16) -> u8 {
        // SAFETY: the port is a UART's register; absent ones read as all ones.
        unsafe { Port::new(self.base + register).read() }
    }

    fn write(&self, register: u16, value: u8) {
        // SAFETY: as in `read`.
        unsafe { Port::new(self.base + register).write(value) }
    }
}
