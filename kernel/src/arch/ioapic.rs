//! The I/O interrupt controllers (82093AA data sheet, §3.2 "I/O APIC Registers"): every line masked, but the
//! console's receive interrupt.

use spin::Once;

use weir_iommu::unit::{Polarity, Trigger};

use super::apic;
use crate::boot::acpi::Tables;
use crate::cpus;
use crate::iommu;
use crate::mm::vmap;

/// The console's interrupt line on the ISA bus.
const CONSOLE_LINE: u8 = 4;

const VERSION: u32 = 1;
const FIRST_ENTRY: u32 = 0x10;
const MASKED: u64 = 1 << 16;

/// One controller's index and data registers.
struct Controller(*mut u8);

impl Controller {
    fn read(&self, register: u32) -> u32 {
        // SAFETY: the two registers of a mapped controller, 32 bits wide; only the booting CPU uses them.
        unsafe {
            self.0.cast::<u32>().write_volatile(register);
            self.0.add(0x10).cast::<u32>().read_volatile()
        }
    }

    fn write(&self, register: u32, value: u32) {
        // SAFETY: as above.
        unsafe {
            self.0.cast::<u32>().write_volatile(register);
            self.0.add(0x10).cast::<u32>().write_volatile(value);
        }
    }

    fn lines(&self) -> u32 {
        (self.read(VERSION) >> 16 & 0xff) + 1
    }

    fn set_entry(&self, line: u32, entry: u64) {
        let register = FIRST_ENTRY + line * 2;
        // Masked while the halves disagree.
        self.write(register, MASKED as u32);
        self.write(register + 1, (entry >> 32) as u32);
        self.write(register, entry as u32);
    }
}

static IS_CONSOLE_ROUTED: Once<()> = Once::new();

/// Masks every line of every controller, then leads the console's to the first CPU. Without that the console
/// still works for who asks it.
pub(crate) fn set_up(tables: &Tables) {
    let line = tables.global_line(CONSOLE_LINE);
    for place in tables.io_apics() {
        let controller = Controller(vmap::map_registers(place.address, 32));
        let lines = controller.lines();
        (0..lines).for_each(|line| controller.set_entry(line, MASKED));
        let Some(pin) = line.checked_sub(place.first_line).filter(|pin| *pin < lines) else { continue };
        let Some(entry) = console_entry(place.id) else {
            log::warn!("the console's interrupt cannot be remapped: input is seen when asked for");
            continue;
        };
        controller.set_entry(pin, entry);
        IS_CONSOLE_ROUTED.call_once(super::serial::enable_receive_interrupt);
    }
}

/// What leads a line to [`apic::CONSOLE`]: through the unit that covers the controller, or directly where the
/// machine has no units.
fn console_entry(id: u8) -> Option<u64> {
    if !iommu::is_on() {
        let destination = u64::from(u8::try_from(cpus::apic_id(0)).ok()?);
        return Some(destination << 56 | u64::from(apic::CONSOLE));
    }
    let handle = iommu::allocate_line(id, apic::CONSOLE)?;
    let entry = handle.redirection(apic::CONSOLE, Trigger::Edge, Polarity::ActiveHigh);
    Some(entry.with_is_masked(false).into_bits())
}
