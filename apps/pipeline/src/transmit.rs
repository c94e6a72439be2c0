//! The last stage: what comes goes out by its device, and the buffers go back the way they came.

use weir_nic::{Nic, TxQueue};
use weir_pool::Burst;
use weir_rt::clock::now_ns;
use weir_rt::hal::Function;

use crate::stage::{BURST, Stage, add, drop_rest};
use crate::{Failure, Place, Port};

/// How long the device may take to send what it has.
const STUCK_NS: u64 = 2_000_000_000;

pub(crate) struct Transmit<N: Nic> {
    place: Place,
    port: Port<N>,
    frames: Burst<BURST>,
    /// When a device that still has buffers of an ended generation is given up; where there is none, `None`.
    patience_ns: Option<u64>,
}

impl<N: Nic<Device = Function>> Transmit<N>
where
    Failure: From<N::Error>,
{
    pub(crate) fn new(place: Place, port: Port<N>) -> Transmit<N> {
        Transmit { place, port, frames: Burst::new(), patience_ns: None }
    }

    /// Lets the device end what it was told to send. One that does not must be taken away: with this process.
    #[cold]
    fn let_go(&mut self) -> Result<bool, Failure> {
        self.port.tx.reclaim(&mut self.place.share.pool)?;
        if self.place.share.pool.is_at_rest() {
            self.patience_ns = None;
            return Ok(false);
        }
        let end_ns = *self.patience_ns.get_or_insert_with(|| now_ns().saturating_add(STUCK_NS));
        if now_ns() < end_ns { Ok(true) } else { Err(Failure::Stuck) }
    }
}

impl<N: Nic<Device = Function>> Stage for Transmit<N>
where
    Failure: From<N::Error>,
{
    fn place(&mut self) -> &mut Place {
        &mut self.place
    }

    fn look(&mut self) -> Result<bool, Failure> {
        if !self.place.share.look() {
            return self.let_go();
        }
        self.patience_ns = None;
        let Place { share, stats, .. } = &mut self.place;
        let (pool, before) = (&mut share.pool, &mut share.ends[0]);
        let came = before.receive(pool, &mut self.frames);
        if came > 0 {
            // A violation ends the process: what its device has then comes back with the next life.
            let sent = self.port.tx.transmit(pool, &mut self.frames)?;
            add(&stats.tx_packets, sent as u64);
            add(&stats.dropped, drop_rest(pool, &mut self.frames));
        }
        self.port.tx.reclaim(pool)?;
        let returned = before.give_back(pool, 0);
        Ok(came + returned > 0)
    }

    fn sleep(&mut self, deadline_ns: u64) -> Result<(), Failure> {
        let Place { share, bell, .. } = &mut self.place;
        // Where the device has frames, it is looked at again soon: sending rings no bell.
        let deadline_ns =
            if share.pool.is_at_rest() { deadline_ns } else { now_ns().saturating_add(SENDING_NS) };
        // A time-out is as good as a bell.
        let _ = share.sleep(bell, deadline_ns, |deadline_ns| bell.wait(deadline_ns));
        Ok(())
    }
}

/// Time in which a device sends what it has.
const SENDING_NS: u64 = 1_000_000;
