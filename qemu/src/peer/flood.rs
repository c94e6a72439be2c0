//! As much traffic as the guest takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::frames::Answer;
use super::{Peer, pattern, port_of};

/// Bytes of each datagram.
const BYTES: usize = 256;
/// Silence after which nothing is on its way any more.
const SILENCE: Duration = Duration::from_millis(300);

/// A peer that sends datagrams without waiting for answers, until it is stopped. What the guest does not take, or
/// does not answer, is lost.
pub struct Flood {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Result<Peer>>,
}

impl Flood {
    /// Begins.
    pub(super) fn begin(mut peer: Peer) -> Result<Flood> {
        let guest = peer.guest()?;
        let frame = peer.ends.udp(guest, port_of(0), &pattern(0, BYTES));
        let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&answered));
        let thread = thread::spawn(move || {
            peer.socket.set_nonblocking(true)?;
            while !over.load(Ordering::Relaxed) {
                peer.exchange(&frame, &count)?;
            }
            peer.socket.set_nonblocking(false)?;
            while peer.receive(SILENCE)?.is_some() {}
            Ok(peer)
        });
        Ok(Flood { is_over, answered, thread })
    }

    /// Datagrams answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Stops, and gives the peer back when nothing is on its way any more.
    ///
    /// # Errors
    /// The guest sent rubbish, or its network is gone.
    pub fn stop(self) -> Result<Peer> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the flood panicked"))?
    }
}

impl Peer {
    /// Sends what the guest's queue takes now, takes what it answered.
    fn exchange(&self, frame: &[u8], answered: &AtomicU64) -> Result<()> {
        while self.socket.send_to(frame, self.guest_path()).is_ok() {}
        let mut buffer = [0; 2048];
        while let Ok(bytes) = self.socket.recv(&mut buffer) {
            if matches!(self.ends.read(&buffer[..bytes])?, Some(Answer::Udp { .. })) {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(Duration::from_micros(50));
        Ok(())
    }
}
