//! A device, and the loop that has it forward.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_forward::{Capture, Ends, Mode, Passed, Settings, Stream};
use weir_hal::Error as HostError;
use weir_net::MacAddress;
use weir_pool::Pool;
use weir_vhost_user::{MonotonicClock, VhostUser};
use weir_virtio::Error;
use weir_virtio::net::{Net, RxQueue, TxQueue};

use crate::tally::Tally;

/// Packets per poll, as testpmd's default.
pub(crate) const BURST: usize = 32;
/// Polls between two looks at whether to end.
const POLLS: usize = 1024;
/// How often the first packet is sent, and how long each is waited for.
const TRIES: usize = 100;
const PATIENCE: Duration = Duration::from_millis(100);
/// The port's own address, where the back end gives it none.
const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// A started device.
pub(crate) struct Port {
    net: Net<VhostUser>,
    rx: RxQueue<VhostUser>,
    tx: TxQueue<VhostUser>,
    pool: Pool,
}

impl Port {
    pub(crate) fn start(
        mut net: Net<VhostUser>,
        mut rx: RxQueue<VhostUser>,
        mut tx: TxQueue<VhostUser>,
        mut pool: Pool,
    ) -> Result<Port, Error> {
        net.start(&mut rx, &mut tx, &mut pool, &MonotonicClock)?;
        Ok(Port { net, rx, tx, pool })
    }

    pub(crate) fn close(mut self) -> Result<(), Error> {
        self.net.stop(&mut self.rx, &mut self.tx, &mut self.pool, &MonotonicClock)
    }

    /// Addresses of this port and of its peer.
    pub(crate) fn ends(&self, settings: &Settings) -> Result<Ends, Error> {
        Ok(Ends { own: self.net.read_mac()?.map_or(OWN, MacAddress), peer: settings.peer_of(0) })
    }

    /// Works until `ends` is set or the stream is done.
    pub(crate) fn run(
        &mut self,
        stream: &mut Stream<'_, impl Capture>,
        ends: &AtomicBool,
    ) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        while !ends.load(Ordering::Relaxed) && !stream.is_done() {
            for _ in 0..POLLS {
                if stream.is_done() {
                    break;
                }
                tally.time(|| self.pass(stream).map(|passed| passed.received.max(passed.sent)))?;
            }
        }
        Ok(tally)
    }

    #[inline]
    fn pass(&mut self, stream: &mut Stream<'_, impl Capture>) -> Result<Passed, Error> {
        stream.pass::<_, _, BURST>(&mut self.rx, &mut self.tx, &mut self.pool)
    }

    /// Sends the packets that will circulate. A back end takes its two queues into service one after the other, and
    /// drops what it received in between: so the first packet is sent until it comes back.
    pub(crate) fn inject(&mut self, packets: u64) -> Result<(), Error> {
        let settings = Settings::of(Mode::RxOnly);
        let mut back = Stream::new(&settings, self.ends(&settings)?, ());
        for _ in 0..TRIES {
            self.send(1)?;
            let deadline = Instant::now() + PATIENCE;
            while Instant::now() < deadline {
                if self.pass(&mut back)?.received > 0 {
                    return self.send(packets);
                }
            }
        }
        Err(HostError::TimedOut { limit_us: 0 }.into())
    }

    fn send(&mut self, frames: u64) -> Result<(), Error> {
        let settings = Settings { frames, ..Settings::of(Mode::TxOnly) };
        let mut stream = Stream::new(&settings, self.ends(&settings)?, ());
        while !stream.is_done() {
            self.pass(&mut stream)?;
        }
        Ok(())
    }
}
