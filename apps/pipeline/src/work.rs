//! The middle stage: it owns no device. It drops what its rule says, swaps the addresses of the rest, and passes it on.

use weir_pool::Burst;

use crate::stage::{BURST, Stage, add, drop_rest};
use crate::{Failure, Place};

/// Bytes of both addresses.
const ADDRESSES_BYTES: usize = 12;

pub(crate) struct Work {
    place: Place,
    drop_port: Option<u16>,
    came: Burst<BURST>,
    passed: Burst<BURST>,
}

impl Work {
    pub(crate) fn new(place: Place, drop_port: Option<u16>) -> Work {
        Work { place, drop_port, came: Burst::new(), passed: Burst::new() }
    }
}

impl Stage for Work {
    fn place(&mut self) -> &mut Place {
        &mut self.place
    }

    fn look(&mut self) -> Result<bool, Failure> {
        let Place { share, stats, .. } = &mut self.place;
        if !share.look() {
            return Ok(false);
        }
        let pool = &mut share.pool;
        let [before, after] = &mut share.ends[..] else { return Ok(false) };
        // Nothing comes from there but buffers.
        let mut count = after.receive(pool, &mut Burst::<1>::new());
        count += before.receive(pool, &mut self.came);
        if count == 0 {
            return Ok(false);
        }
        let (mut received, mut dropped) = (0, 0);
        while let Some(mut buf) = self.came.pop() {
            received += 1;
            if self.drop_port.is_some_and(|port| is_to_port(buf.frame(), port)) {
                dropped += 1;
                pool.put(buf);
                continue;
            }
            if let Some(addresses) = buf.frame_mut().first_chunk_mut::<ADDRESSES_BYTES>() {
                addresses.rotate_left(ADDRESSES_BYTES / 2);
            }
            // As many slots as came: there is room.
            self.passed.push(buf).unwrap_or_else(|buf| pool.put(buf));
        }
        let sent = if after.has_neighbour() { after.send(pool, &mut self.passed) } else { 0 };
        dropped += drop_rest(pool, &mut self.passed);
        before.give_back(pool, 0);
        add(&stats.rx_packets, received);
        add(&stats.tx_packets, sent as u64);
        add(&stats.dropped, dropped);
        Ok(true)
    }

    fn sleep(&mut self, deadline_ns: u64) -> Result<(), Failure> {
        let Place { share, bell, .. } = &mut self.place;
        // A time-out is as good as a bell.
        let _ = share.sleep(bell, deadline_ns, |deadline_ns| bell.wait(deadline_ns));
        Ok(())
    }
}

/// Whether it is a UDP datagram over IPv4 to that port, and not a later fragment of one.
fn is_to_port(frame: &[u8], port: u16) -> bool {
    let Some((ethernet, packet)) = frame.split_first_chunk::<14>() else { return false };
    let Some((header, _)) = packet.split_first_chunk::<20>() else { return false };
    let is_first = u16::from_be_bytes([header[6] & 0x1f, header[7]]) == 0;
    let is_udp = ethernet[12..] == [8, 0] && header[0] >> 4 == 4 && header[9] == 17 && is_first;
    let start = usize::from(header[0] & 15) * 4;
    is_udp && packet.get(start + 2..start + 4).is_some_and(|bytes| bytes == port.to_be_bytes())
}
