//! The first stage: its device's frames go to the next. The pool is at home here.

use weir_nic::{Nic, NicError, RxQueue};
use weir_pool::Burst;
use weir_rt::hal::{Function, TscClock};
use weir_rt::log;

use crate::stage::{BURST, Stage, add, drop_rest};
use crate::{Failure, Place, Port};

pub(crate) struct Receive<N: Nic> {
    place: Place,
    port: Port<N>,
    frames: Burst<BURST>,
    /// The generation that was told of.
    told: u64,
}

impl<N: Nic<Device = Function>> Receive<N>
where
    Failure: From<N::Error>,
{
    pub(crate) fn new(place: Place, port: Port<N>) -> Receive<N> {
        Receive { place, port, frames: Burst::new(), told: 0 }
    }

    /// Says where all buffers are when a generation begins: none may be missing.
    #[cold]
    fn tell_buffers(&mut self) {
        let share = &self.place.share;
        let (all, here, lent) = (share.pool.buffers(), share.pool.available(), share.pool.lent());
        self.told = share.generation();
        let device = all - here - lent;
        log!("generation {}: of {all} buffers {here} here, {lent} lent, {device} with the device", self.told);
    }

    /// A device that breaks the protocol is started again; every other error ends the program.
    #[cold]
    fn recover(&mut self, error: N::Error) -> Result<usize, Failure> {
        if !error.is_violation() {
            return Err(error.into());
        }
        log!("nic: {error}; starting it again");
        let Port { net, rx, tx } = &mut self.port;
        net.start(rx, tx, &mut self.place.share.pool, &TscClock)?;
        Ok(0)
    }
}

impl<N: Nic<Device = Function>> Stage for Receive<N>
where
    Failure: From<N::Error>,
{
    fn place(&mut self) -> &mut Place {
        &mut self.place
    }

    fn look(&mut self) -> Result<bool, Failure> {
        let is_moving = self.place.share.look();
        if self.place.share.generation() != self.told {
            self.tell_buffers();
        }
        let received = self.port.rx.receive(&mut self.place.share.pool, &mut self.frames);
        let received = received.or_else(|error| self.recover(error))?;
        let Place { share, stats, .. } = &mut self.place;
        let (pool, next) = (&mut share.pool, &mut share.ends[0]);
        let mut came = 0;
        if is_moving && next.has_neighbour() {
            next.send(pool, &mut self.frames);
            // Nothing comes this way but buffers.
            came = next.receive(pool, &mut Burst::<1>::new());
        }
        let dropped = drop_rest(pool, &mut self.frames);
        if received > 0 {
            add(&stats.rx_packets, received as u64);
            add(&stats.dropped, dropped);
        }
        Ok(received + came > 0)
    }

    fn sleep(&mut self, deadline_ns: u64) -> Result<(), Failure> {
        let Receive { place, port, .. } = self;
        let slept = place.share.sleep(&place.bell, deadline_ns, |deadline_ns| port.rx.wait(deadline_ns));
        match slept {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => self.recover(error).map(drop),
        }
    }
}
