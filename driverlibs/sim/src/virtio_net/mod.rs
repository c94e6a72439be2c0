//! A virtio network device, modern PCI, split or packed rings (virtio 1.2 §2.7, §2.8, §4.1,
//! §5.1), written from the specification.
//!
//! It works when told to: [`VirtioNet::deliver`] puts a frame into the receive queue, [`VirtioNet::transmit`]
//! takes what the driver sent; with [`Behaviour::works_on_kick`] the latter happens at doorbell writes only, so
//! that a kick the driver owes shows as a frame that never leaves. With [`Malice`] it lies.

mod control;
mod offload;
mod packed;
mod queue;
mod registers;
mod split;
mod steering;

pub use crate::Malice;
pub use control::Wishes;
pub use offload::{Header, sum};

use std::collections::VecDeque;

use weir_hal::DeviceInfo;

use crate::pci::ConfigSpace;
use crate::{Interrupts, Model, Random, SimWindow};
use queue::{Chain, Queue};

const BAR: u8 = 4;
const COMMON: u64 = 0x0000;
const DEVICE: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;
const BAR_BYTES: u64 = 0x4000;
const NOTIFY_STRIDE: u32 = 4;
const VECTORS: u16 = 9;
const RX: usize = 0;
const TX: usize = 1;
const HEADER_BYTES: usize = Header::BYTES;

/// Feature bits (virtio 1.2 §5.1.3, §6).
pub mod feature {
    /// `VIRTIO_NET_F_CSUM`.
    pub const CSUM: u64 = 1 << 0;
    /// `VIRTIO_NET_F_GUEST_CSUM`.
    pub const GUEST_CSUM: u64 = 1 << 1;
    /// `VIRTIO_NET_F_MTU`.
    pub const MTU: u64 = 1 << 3;
    /// `VIRTIO_NET_F_HOST_TSO4`.
    pub const HOST_TSO4: u64 = 1 << 11;
    /// `VIRTIO_NET_F_HOST_TSO6`.
    pub const HOST_TSO6: u64 = 1 << 12;
    /// `VIRTIO_NET_F_MRG_RXBUF`.
    pub const MRG_RXBUF: u64 = 1 << 15;
    /// `VIRTIO_NET_F_MAC`.
    pub const MAC: u64 = 1 << 5;
    /// `VIRTIO_NET_F_STATUS`.
    pub const STATUS: u64 = 1 << 16;
    /// `VIRTIO_NET_F_CTRL_VQ`.
    pub const CTRL_VQ: u64 = 1 << 17;
    /// `VIRTIO_NET_F_CTRL_RX`.
    pub const CTRL_RX: u64 = 1 << 18;
    /// `VIRTIO_NET_F_GUEST_ANNOUNCE`.
    pub const GUEST_ANNOUNCE: u64 = 1 << 21;
    /// `VIRTIO_NET_F_MQ`.
    pub const MQ: u64 = 1 << 22;
    /// `VIRTIO_NET_F_CTRL_MAC_ADDR`.
    pub const CTRL_MAC_ADDR: u64 = 1 << 23;
    /// `VIRTIO_F_INDIRECT_DESC`.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// `VIRTIO_F_EVENT_IDX`.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// `VIRTIO_F_VERSION_1`.
    pub const VERSION_1: u64 = 1 << 32;
    /// `VIRTIO_F_ACCESS_PLATFORM`.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
    /// `VIRTIO_F_RING_PACKED`.
    pub const RING_PACKED: u64 = 1 << 34;
    /// `VIRTIO_F_IN_ORDER`.
    pub const IN_ORDER: u64 = 1 << 35;
    /// `VIRTIO_NET_F_RSS`.
    pub const RSS: u64 = 1 << 60;
    /// Everything that takes commands.
    pub const COMMANDS: u64 = CTRL_VQ | CTRL_RX | CTRL_MAC_ADDR | GUEST_ANNOUNCE | MQ | RSS | INDIRECT_DESC;
    /// What an honest device must have for Weir.
    pub const NEEDED: u64 = VERSION_1 | ACCESS_PLATFORM;
    /// Checksums, segmentation, frames in several buffers.
    pub const OFFLOADS: u64 = CSUM | GUEST_CSUM | HOST_TSO4 | HOST_TSO6 | MRG_RXBUF | MTU | INDIRECT_DESC;
}

/// What kind of device it is.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Feature bits it offers.
    pub features: u64,
    /// Entries of its queues.
    pub entries: u16,
    /// Gives buffers back in an order of its own. Not together with `IN_ORDER`.
    pub shuffles: bool,
    /// Transmits at kicks only; otherwise when told to.
    pub works_on_kick: bool,
    /// Leaves out what a device that works in order may leave out, of frames sent. With `IN_ORDER` only.
    pub skips: bool,
    /// Pairs of queues.
    pub pairs: u16,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        let features = feature::NEEDED | feature::MAC | feature::STATUS | feature::EVENT_IDX;
        Behaviour { features, entries: 256, shuffles: false, works_on_kick: false, skips: false, pairs: 1 }
    }
}

/// The device.
pub struct VirtioNet {
    behaviour: Behaviour,
    window: SimWindow,
    interrupts: Interrupts,
    config: ConfigSpace,
    has_bus_master: bool,
    mac: [u8; 6],
    link_up: bool,
    status: u8,
    feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    queue_select: u16,
    queues: Vec<Queue>,
    config_vector: u16,
    generation: u8,
    sent: VecDeque<Vec<u8>>,
    kicks: Vec<u64>,
    random: Random,
    malice: Malice,
    /// Buffers of a frame, if it lies about them.
    buffers_told: Option<u16>,
    /// Pairs of queues, if it lies about them.
    pairs_told: Option<u16>,
    wishes: Wishes,
    wants_announcement: bool,
    refuses_commands: bool,
}

impl VirtioNet {
    /// A device that reaches memory through `window`.
    #[must_use]
    pub fn new(window: &SimWindow, behaviour: Behaviour) -> VirtioNet {
        VirtioNet {
            behaviour,
            window: window.clone(),
            interrupts: Interrupts::new(VECTORS),
            config: config_space(),
            has_bus_master: false,
            mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
            link_up: true,
            status: 0,
            feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            queue_select: 0,
            queues: new_queues(&behaviour),
            config_vector: 0xffff,
            generation: 0,
            sent: VecDeque::new(),
            kicks: vec![0; new_queues(&behaviour).len()],
            random: Random::new(1),
            malice: Malice::none(),
            buffers_told: None,
            pairs_told: None,
            wishes: Wishes::default(),
            wants_announcement: false,
            refuses_commands: false,
        }
    }

    /// Makes it lie from now on.
    pub fn set_malice(&mut self, malice: Malice) {
        self.malice = malice;
    }

    /// Its configuration space, to be falsified.
    pub fn config(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    /// Plugs the cable in or out.
    pub fn set_link(&mut self, up: bool) {
        self.link_up = up;
        self.change_config();
    }

    fn change_config(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.interrupts.raise(self.config_vector);
    }

    /// Refuses every command from now on.
    pub fn set_refuses_commands(&mut self) {
        self.refuses_commands = true;
    }

    /// Says from now on that it has so many pairs of queues.
    pub fn set_pairs_told(&mut self, pairs: u16) {
        self.pairs_told = Some(pairs);
    }

    /// Says from now on that each frame lies in so many buffers.
    pub fn set_buffers_told(&mut self, count: u16) {
        self.buffers_told = Some(count);
    }

    /// Doorbell writes so far: receive queue, transmit queue.
    #[must_use]
    pub fn kicks(&self) -> [u64; 2] {
        [self.kicks[RX], self.kicks[TX]]
    }

    /// A frame arrives from the wire. `false` where the driver offered too few buffers: it is lost.
    pub fn deliver(&mut self, frame: &[u8]) -> bool {
        self.deliver_with(Header::default(), frame)
    }

    /// The same, with something to tell about it.
    pub fn deliver_with(&mut self, header: Header, frame: &[u8]) -> bool {
        let index = self.rx_index(frame);
        if !self.is_running(index) {
            return false;
        }
        let bytes = [vec![0; HEADER_BYTES].as_slice(), frame].concat();
        let Some((chains, left)) = self.take_buffers(index, bytes.len()) else { return false };
        let mut header = header;
        let count = self.buffers_told.unwrap_or(u16::try_from(chains.len()).unwrap_or(u16::MAX));
        header.num_buffers = self.malice.twist_u16(count);
        header.csum_start = self.malice.twist_u16(header.csum_start);
        header.csum_offset = self.malice.twist_u16(header.csum_offset);
        let bytes = [&header.bytes(), frame].concat();
        let mut rest = &bytes[..bytes.len() - left];
        for chain in chains {
            let part = chain.parts[0];
            let (now, later) = rest.split_at(rest.len().min(part.len as usize));
            self.window.write(part.addr, now);
            self.queues[index].push(chain.id, u32::try_from(now.len()).unwrap_or(u32::MAX));
            rest = later;
        }
        self.publish_used(index);
        true
    }

    /// The receive queue that gets a frame: as the driver said; else the device's own choice among those in use.
    fn rx_index(&self, frame: &[u8]) -> usize {
        let own = u16::from(frame.last().copied().unwrap_or(0)) % (1 + self.wishes.more_pairs);
        let pair = self.wishes.steering.as_ref().map_or(own, |steering| steering.queue(frame));
        2 * usize::from(pair.min(self.behaviour.pairs - 1))
    }

    /// Receive buffers for `bytes`, and the bytes for which there is no place; one buffer where they are not merged.
    /// Buffers that do not suffice stay taken, unlike in a real device: the next frame gets them.
    fn take_buffers(&mut self, index: usize, bytes: usize) -> Option<(Vec<Chain>, usize)> {
        let features = self.driver_features;
        let queue = &mut self.queues[index];
        let mut chains = std::mem::take(&mut queue.waiting);
        let place = |chains: &[Chain]| chains.iter().map(|chain| chain.parts[0].len as usize).sum::<usize>();
        let merges = features & feature::MRG_RXBUF != 0;
        while chains.is_empty() || merges && place(&chains) < bytes {
            let is_good = |chain: &Chain| chain.parts.first().is_some_and(|part| part.device_writes);
            let Some(chain) = queue.pop(&self.window, features).filter(is_good) else {
                queue.waiting = chains;
                return None;
            };
            chains.push(chain);
        }
        let left = bytes.saturating_sub(place(&chains));
        Some((chains, left))
    }

    /// Takes the frames that the driver sent, and gives their buffers back.
    pub fn transmit(&mut self) {
        for pair in 0..usize::from(self.behaviour.pairs) {
            self.transmit_queue(2 * pair + TX);
        }
    }

    fn transmit_queue(&mut self, index: usize) {
        if !self.is_running(index) {
            return;
        }
        let features = self.driver_features;
        let mut chains = Vec::new();
        while let Some(chain) = self.queues[index].pop(&self.window, features) {
            chains.push(chain);
            if chains.len() > usize::from(self.behaviour.entries) {
                break; // the driver's index ran away
            }
        }
        for chain in &chains {
            let mut bytes = self.read_parts(chain);
            let frame = bytes.split_off(HEADER_BYTES.min(bytes.len()));
            self.sent.extend(Header::parse(&bytes).send(frame));
        }
        while !chains.is_empty() {
            let count = chains.len() as u64;
            let pick = if self.behaviour.shuffles {
                usize::try_from(self.random.bits() % count).expect("an index")
            } else {
                0
            };
            let chain = chains.remove(pick);
            self.queues[index].push(chain.id, 0);
        }
        self.publish_used(index);
    }

    fn read_parts(&self, chain: &Chain) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in chain.parts.iter().filter(|part| !part.device_writes) {
            let mut more = vec![0; (part.len as usize).min(1 << 16)];
            self.window.read(part.addr, &mut more);
            bytes.append(&mut more);
        }
        bytes
    }

    /// The next frame on the wire.
    pub fn next_sent(&mut self) -> Option<Vec<u8>> {
        self.sent.pop_front()
    }

    /// Writes exactly this into the receive queue's split used ring: an element at `slot`, then the index.
    pub fn forge_used(&mut self, slot: u16, id: u32, len: u32, index: u16) {
        split::forge(&self.queues[RX], &self.window, slot, id, len, index);
    }

    /// Writes exactly this into a slot of the receive queue's packed ring.
    pub fn forge_packed(&mut self, slot: u16, id: u16, len: u32, flags: u16) {
        packed::write_used(&self.queues[RX], &self.window, slot, id, len, flags);
    }

    fn publish_used(&mut self, index: usize) {
        let skips = self.behaviour.skips && index % 2 == TX;
        let queue = &mut self.queues[index];
        if queue.publish(&self.window, &mut self.malice, self.driver_features, skips) {
            self.interrupts.raise(queue.vector);
        }
    }

    fn is_running(&self, index: usize) -> bool {
        self.status & 4 != 0 && self.has_bus_master && self.queues.get(index).is_some_and(|q| q.is_enabled)
    }

    fn restart(&mut self) {
        self.status = 0;
        self.driver_features = 0;
        self.wishes = Wishes::default();
        self.config_vector = 0xffff;
        self.queues = new_queues(&self.behaviour);
    }
}

impl Model for VirtioNet {
    fn info(&self) -> DeviceInfo {
        let mut bar_bytes = [0; 6];
        bar_bytes[usize::from(BAR)] = BAR_BYTES;
        DeviceInfo { vendor: 0x1af4, device: 0x1041, interrupts: VECTORS, bar_bytes, ..DeviceInfo::default() }
    }

    fn config_read(&mut self, offset: u16, bytes: u8) -> u32 {
        let value = self.config.read(offset, bytes);
        self.malice.twist_config(value)
    }

    fn read(&mut self, bar: u8, offset: u64, bytes: usize) -> u64 {
        let value = if bar == BAR { self.read_register(offset, bytes) } else { 0 };
        self.malice.twist_register(value)
    }

    fn write(&mut self, bar: u8, offset: u64, _bytes: usize, value: u64) {
        if bar == BAR {
            self.write_register(offset, value);
        }
    }

    fn bus_master(&mut self, on: bool) {
        self.has_bus_master = on;
    }

    fn reset(&mut self) {
        self.has_bus_master = false;
        self.restart();
    }

    fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }
}

/// Pairs, and the control queue.
fn new_queues(behaviour: &Behaviour) -> Vec<Queue> {
    let has_control = behaviour.features & feature::CTRL_VQ != 0;
    let count = 2 * usize::from(behaviour.pairs) + usize::from(has_control);
    vec![Queue::new(behaviour.entries); count]
}

/// The layout QEMU uses: one BAR, a page per structure.
fn config_space() -> ConfigSpace {
    let mut config = ConfigSpace::new(0x1af4, 0x1041);
    let mut add = |kind: u8, offset: u64, bytes: u32, more: &[u8]| {
        let length = u8::try_from(16 + more.len()).expect("short");
        let mut rest = vec![length, kind, BAR, 0, 0, 0];
        rest.extend_from_slice(&u32::try_from(offset).expect("in the BAR").to_le_bytes());
        rest.extend_from_slice(&bytes.to_le_bytes());
        rest.extend_from_slice(more);
        config.add_capability(9, &rest);
    };
    add(1, COMMON, 0x1000, &[]);
    add(3, 0x1000, 0x1000, &[]);
    add(4, DEVICE, 0x1000, &[]);
    add(2, NOTIFY, 0x1000, &NOTIFY_STRIDE.to_le_bytes());
    config
}
