//! The loop that forwards.
//!
//! **Invariant: nothing between the marks allocates, locks, copies a frame, or enters the kernel.**

use weir_nic::{Nic, RxQueue, TxQueue};
use weir_pool::{Buf, Burst};
use weir_rt::clock::now_ns;
use weir_rt::hal::Function;
use weir_rt::{log, marker, thread};

use crate::{Failure, Port};

/// Bytes of a frame without its checksum: the shortest there is.
const FRAME_BYTES: u16 = 60;
/// Bytes of a MAC address.
const MAC_BYTES: usize = 6;
/// Time in which the device collects frames for the next burst; longer after a burst that was not full.
const PAUSE_NS: u64 = 20_000;
const PAUSE_MAX_NS: u64 = 2_000_000;
/// How long no frame may arrive at all.
const SILENCE_S: u64 = 10;
/// What who counts from outside calls a whole measurement, with all that is between its bursts.
const WHOLE: u8 = 6;
/// Frames of the fill sent at once.
const FILL: usize = 16;

/// Two devices that send each other frames.
pub(crate) struct Forwarder<N: Nic> {
    ports: [Port<N>; 2],
}

impl<N: Nic<Device = Function>> Forwarder<N>
where
    Failure: From<N::Error>,
{
    pub(crate) fn new(ports: [Port<N>; 2]) -> Self {
        Forwarder { ports }
    }

    /// Sends `frames` from the first device to the second: from now on they go to and fro.
    pub(crate) fn fill(&mut self, frames: u16) -> Result<(), Failure> {
        let to = self.ports[1].mac;
        let Port { tx, pool, mac, .. } = &mut self.ports[0];
        let mut burst = Burst::<FILL>::new();
        for number in 0..frames {
            let Some(mut buf) = pool.take() else { break };
            // A fresh buffer has room for the shortest frame.
            let _ = buf.set_len(FRAME_BYTES);
            let frame = buf.frame_mut();
            frame.fill(0);
            frame[..MAC_BYTES].copy_from_slice(&to.0);
            frame[MAC_BYTES..2 * MAC_BYTES].copy_from_slice(&mac.0);
            // An EtherType for experiments (IEEE 802), and which frame it is.
            frame[12..14].copy_from_slice(&[0x88, 0xb5]);
            frame[14..16].copy_from_slice(&number.to_be_bytes());
            burst.push(buf).unwrap_or_else(|buf| pool.put(buf));
            while burst.room() == 0 {
                tx.transmit(pool, &mut burst)?;
            }
        }
        while !burst.is_empty() {
            tx.transmit(pool, &mut burst)?;
        }
        Ok(())
    }

    /// Forwards until `frames` went in full bursts of `N`: those are region `FULL`, the others region `OTHER`.
    pub(crate) fn measure<const BURST: usize, const FULL: u8, const OTHER: u8>(
        &mut self,
        frames: u64,
    ) -> Result<(), Failure> {
        let mut burst = Burst::<BURST>::new();
        let (mut full, mut other, mut pause_ns) = (0, 0, PAUSE_NS);
        let (entries, mut heard_ns) = (thread::kernel_entries(), now_ns());
        marker::begin::<WHOLE>();
        for turn in 0.. {
            if full * BURST as u64 >= frames {
                break;
            }
            wait(pause_ns);
            let received = forward::<N, BURST, FULL, OTHER>(&mut self.ports[turn % 2], &mut burst)?;
            if received == BURST {
                (full, pause_ns) = (full + 1, PAUSE_NS);
            } else {
                (other, pause_ns) = (other + received as u64, (2 * pause_ns).min(PAUSE_MAX_NS));
            }
            if received > 0 {
                heard_ns = now_ns();
            } else if now_ns() - heard_ns > SILENCE_S * 1_000_000_000 {
                return Err(Failure::Silence(SILENCE_S));
            }
        }
        marker::end::<WHOLE>();
        let entries = thread::kernel_entries() - entries;
        log!("measure burst={BURST} frames={} others={other} entries={entries}", full * BURST as u64);
        Ok(())
    }
}

/// One turn of one device; gives how many frames it received.
#[inline]
fn forward<N: Nic, const BURST: usize, const FULL: u8, const OTHER: u8>(
    port: &mut Port<N>,
    burst: &mut Burst<BURST>,
) -> Result<usize, N::Error> {
    let Port { rx, tx, pool, .. } = port;
    marker::begin::<FULL>();
    marker::begin::<OTHER>();
    let received = rx.receive(pool, burst)?;
    burst.iter_mut().for_each(swap);
    let sent = tx.transmit(pool, burst)?;
    if received == BURST && sent == BURST {
        marker::end::<FULL>();
    } else {
        marker::end::<OTHER>();
    }
    // What the ring did not take goes with the next turn's, but must not be swapped twice: it waits here.
    while !burst.is_empty() {
        tx.transmit(pool, burst)?;
    }
    Ok(received)
}

/// Sends a frame back to where it came from.
#[inline]
fn swap(buf: &mut Buf) {
    if let Some((to, rest)) = buf.frame_mut().split_first_chunk_mut::<MAC_BYTES>()
        && let Some(from) = rest.first_chunk_mut::<MAC_BYTES>()
    {
        core::mem::swap(to, from);
    }
}

/// Spins for `ns`.
fn wait(ns: u64) {
    let end = now_ns() + ns;
    while now_ns() < end {
        core::hint::spin_loop();
    }
}
