//! Hot-plug slots: what is told of them, and what the console asks of them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use weir_abi::Error;
use weir_abi::info::{SLOT_LEAVING, SlotInfo};
use weir_init_logic::show::slot_state;
use weir_rt::system::SlotControl;
use weir_rt::{System, log};

/// The slots, as they were when looked at last. There are always the same.
pub(crate) struct Slots {
    infos: Vec<SlotInfo>,
}

impl Slots {
    pub(crate) fn find(system: System) -> Slots {
        Slots { infos: (0..).map_while(|index| system.info(index).ok()).collect() }
    }

    /// Looks again, and tells what changed.
    pub(crate) fn look(&mut self, system: System) {
        for (index, seen) in (0..).zip(&mut self.infos) {
            // A slot that was there once can always be asked about.
            let now: SlotInfo = system.info(index).unwrap_or(*seen);
            if now.changes != seen.changes {
                tell(&now);
            }
            *seen = now;
        }
    }

    /// How they are.
    pub(crate) fn infos(&self) -> &[SlotInfo] {
        &self.infos
    }

    /// Asks something of the slot with the number `number`; says what came of it.
    pub(crate) fn control(&self, system: System, number: u32, operation: SlotControl) -> String {
        let Some(index) = self.infos.iter().position(|info| info.number == number) else {
            return format!("no hot-plug slot {number}; see `slots`\n");
        };
        match system.control_slot(index as u64, operation) {
            Ok(()) => format!("slot {number}: asked for\n"),
            Err(Error::Busy) => {
                format!("slot {number}: not while it is {}\n", slot_state(&self.infos[index]))
            }
            Err(error) => format!("slot {number}: {error}\n"),
        }
    }
}

fn tell(slot: &SlotInfo) {
    let hint = match slot.state {
        SLOT_LEAVING => ": its device goes in 5 s, unless the button is pressed again",
        _ => "",
    };
    log!("slot {} is {}{hint}", slot.number, slot_state(slot));
}
