//! Packets, and the cycles of the polls that moved some: what testpmd records with `--record-core-cycles`.

use weir_vhost_user::clock::cycles;

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    packets: u64,
    busy_cycles: u64,
    polls: u64,
    busy_polls: u64,
}

impl Tally {
    /// Counts a poll, which says how many packets it moved.
    #[inline]
    pub(crate) fn time<E>(&mut self, poll: impl FnOnce() -> Result<usize, E>) -> Result<(), E> {
        let start = cycles();
        let packets = poll()?;
        self.polls += 1;
        if packets > 0 {
            self.busy_cycles += cycles() - start;
            self.busy_polls += 1;
            self.packets += packets as u64;
        }
        Ok(())
    }

    pub(crate) fn json(&self) -> String {
        let Tally { packets, busy_cycles, polls, busy_polls } = self;
        format!(
            r#"{{"packets":{packets},"busy_cycles":{busy_cycles},"polls":{polls},"busy_polls":{busy_polls}}}"#
        )
    }
}
