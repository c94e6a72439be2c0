//! What goes onto the wire.

use super::desc::{self, Order, Part};
use super::{Gigabit, registers};
use crate::virtio_net::sum;

impl Gigabit {
    /// Takes the frames that the driver sent, and reports where asked to.
    pub fn transmit(&mut self) {
        for queue in 0..self.map.queues {
            self.transmit_queue(self.map.tx_queue(queue));
        }
    }

    fn transmit_queue(&mut self, ring: u64) {
        while self.is_transmitting(ring) {
            let head = self.register(ring + registers::HEAD);
            if head == self.register(ring + registers::TAIL) || head >= self.entries(ring) {
                break;
            }
            let at = self.base(ring) + 16 * u64::from(head);
            self.obey(ring, at);
            self.advance(ring, head);
        }
    }

    fn obey(&mut self, ring: u64, at: u64) {
        let words = [self.window.read_u64(at), self.window.read_u64(at + 8)];
        match desc::order(self.behaviour.kind, words) {
            None => self.bad_descriptors += 1,
            Some(Order::Context(context)) => {
                self.contexts.insert(ring, context);
                self.contexts_read += 1;
            }
            Some(Order::Part(part)) => {
                self.read_part(ring, words[0], &part);
                if part.reports {
                    self.write_word(at, words[1] | desc::SENT);
                }
            }
        }
    }

    fn read_part(&mut self, ring: u64, addr: u64, part: &Part) {
        let mut frame = self.under_way.remove(&ring).unwrap_or_default();
        let is_sound = frame.open(part);
        let mut bytes = vec![0; part.len.into()];
        self.window.read(addr, &mut bytes);
        frame.bytes.append(&mut bytes);
        if !part.is_last {
            self.bad_descriptors += u64::from(!is_sound);
            self.under_way.insert(ring, frame);
            return;
        }
        self.bad_descriptors += u64::from(!is_sound || !frame.is_right());
        if frame.fills_checksum && !self.fill_checksum(ring, &mut frame.bytes) {
            self.bad_descriptors += 1;
        }
        self.send(frame.bytes);
    }

    /// Fills in the checksum that the last context tells of; `false` where none does, or not of this frame.
    fn fill_checksum(&self, ring: u64, frame: &mut [u8]) -> bool {
        let Some(&desc::Context { start, place }) = self.contexts.get(&ring) else { return false };
        let Some(checksum) = frame.get(start..).map(|summed| !sum(summed)) else { return false };
        // No checksum is sent as 0, which UDP takes for "none".
        let checksum = if checksum == 0 { 0xffff } else { checksum };
        let Some(place) = frame.get_mut(place..place + 2) else { return false };
        place.copy_from_slice(&checksum.to_be_bytes());
        true
    }

    fn send(&mut self, mut frame: Vec<u8>) {
        if frame.len() < 60 {
            frame.resize(60, 0);
        }
        self.count(registers::GPTC, 1);
        self.count(registers::GOTC, u32::try_from(frame.len()).expect("short") + 4);
        self.sent.push_back(frame);
    }

    /// The next frame on the wire.
    pub fn next_sent(&mut self) -> Option<Vec<u8>> {
        self.sent.pop_front()
    }
}
