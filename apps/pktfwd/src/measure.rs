//! The loop that is measured: two ports connected with each other, the same frames to and fro.
//!
//! **Invariant: nothing between the marks allocates, locks, copies a frame, or enters the kernel.**

use weir_forward::forwarder;
use weir_forward::{Ends, Mode, Settings, Stream};
use weir_nic::Nic;
use weir_rt::clock::now_ns;
use weir_rt::{log, marker, thread};

use crate::words::Measure;
use crate::{Failure, Forwards};

/// Bytes of a frame without its checksum: the shortest there is.
const FRAME_BYTES: u16 = 60;
/// Time in which the device collects frames for the next burst; longer after a burst that was not full.
const PAUSE_NS: u64 = 20_000;
const PAUSE_MAX_NS: u64 = 2_000_000;
/// How long no frame may arrive at all.
const SILENCE_S: u64 = 10;
/// What who counts from outside calls a whole measurement, with all that is between its bursts.
const WHOLE: u8 = 6;
/// Frames of the fill sent at once.
const FILL: usize = 16;

/// Measures bursts of 1, 8 and 32 frames: full bursts are regions 0, 2 and 4, the others 1, 3 and 5.
pub(crate) fn measure<N: Nic>(mut forwarder: Forwards<N>, task: Measure) -> Result<(), Failure>
where
    Failure: From<forwarder::Error<N::Error>>,
{
    if forwarder.count() != 2 {
        return Err(Failure::NoPair);
    }
    fill(&mut forwarder, task.circulating).map_err(forwarder::Error::Nic)?;
    forward::<N, 1, 0, 1>(&mut forwarder, task.frames_in(1))?;
    forward::<N, 8, 2, 3>(&mut forwarder, task.frames_in(8))?;
    forward::<N, 32, 4, 5>(&mut forwarder, task.frames_in(32))
}

/// Sends `frames` from the first port to the second: from now on they go to and fro.
fn fill<N: Nic>(forwarder: &mut Forwards<N>, frames: u64) -> Result<(), N::Error> {
    let settings = Settings { frames, frame_bytes: FRAME_BYTES, ..Settings::of(Mode::TxOnly) };
    let ends = Ends { own: forwarder.mac(0), peer: forwarder.mac(1) };
    let forwards = core::mem::replace(forwarder.stream(0), Stream::new(&settings, ends, None));
    while !forwarder.stream(0).is_done() {
        forwarder.lane(0).pass::<FILL>()?;
    }
    *forwarder.stream(0) = forwards;
    Ok(())
}

/// Forwards until `frames` went in full bursts of `N`: those are region `FULL`, the others region `OTHER`.
fn forward<N: Nic, const BURST: usize, const FULL: u8, const OTHER: u8>(
    forwarder: &mut Forwards<N>,
    frames: u64,
) -> Result<(), Failure>
where
    Failure: From<forwarder::Error<N::Error>>,
{
    let (mut full, mut other, mut pause_ns) = (0, 0, PAUSE_NS);
    let (entries, mut heard_ns) = (thread::kernel_entries(), now_ns());
    marker::begin::<WHOLE>();
    for turn in 0.. {
        if full * BURST as u64 >= frames {
            break;
        }
        wait(pause_ns);
        let received = marked::<N, BURST, FULL, OTHER>(forwarder, turn % 2).map_err(forwarder::Error::Nic)?;
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

/// One turn of one port, between marks; gives how many frames it received.
#[inline]
fn marked<N: Nic, const BURST: usize, const FULL: u8, const OTHER: u8>(
    forwarder: &mut Forwards<N>,
    port: usize,
) -> Result<usize, N::Error> {
    let mut lane = forwarder.lane(port);
    marker::begin::<FULL>();
    marker::begin::<OTHER>();
    let passed = lane.pass::<BURST>()?;
    if passed.received == BURST && passed.sent == BURST {
        marker::end::<FULL>();
    } else {
        marker::end::<OTHER>();
    }
    Ok(passed.received)
}

/// Spins for `ns`.
fn wait(ns: u64) {
    let end = now_ns() + ns;
    while now_ns() < end {
        core::hint::spin_loop();
    }
}
