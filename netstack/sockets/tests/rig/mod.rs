//! Hosts on a simulated wire that loses, repeats, delays and reorders frames, and a clock that only moves when asked.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

pub mod victim;

use std::collections::BTreeMap;

use weir_executor::Executor;
use weir_hal::DmaWindow;
use weir_pool::{BUF_BYTES, Burst, FRAME_BYTES, Pool};
use weir_sim::SimWindow;
use weir_sockets::{
    CHECKSUM_OFFSET, Config, EthernetAddress, IpAddress, IpCidr, IpEndpoint, Net, unfinished_checksum,
};

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1000 * MS;

/// A host: its network and its tasks.
pub struct Host {
    pub net: Net,
    pub executor: Executor,
    buffers: usize,
    /// What its device does with frames.
    finishes_checksums: bool,
}

/// Does a device's part: sums what the stack left to it.
fn finish_checksum(frame: &mut [u8]) {
    let Some(start) = unfinished_checksum(frame) else { return };
    let (start, place) = (usize::from(start), usize::from(start + CHECKSUM_OFFSET));
    // Short frames are padded on the wire, not here: the segment ends with the frame.
    let mut words =
        frame[start..].chunks(2).map(|pair| u32::from_be_bytes([0, 0, pair[0], *pair.get(1).unwrap_or(&0)]));
    let mut sum: u32 = words.by_ref().sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !u16::try_from(sum).expect("folded");
    frame[place..place + 2].copy_from_slice(&checksum.to_be_bytes());
}

pub fn mac(number: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, number])
}

pub fn address(number: u8) -> IpAddress {
    IpAddress::v4(10, 0, 0, number)
}

pub fn at(number: u8, port: u16) -> IpEndpoint {
    IpEndpoint::new(address(number), port)
}

pub fn config(number: u8) -> Config {
    Config {
        address: Some(IpCidr::new(address(number), 24)),
        ..Config::new(mac(number), 0x1234_5678 + u64::from(number))
    }
}

impl Host {
    pub fn new(config: &Config) -> Host {
        let buffers = 512;
        let window = SimWindow::default();
        let memory = window.allocate(buffers * usize::from(BUF_BYTES)).expect("memory");
        let pool = Pool::new(memory).expect("buffers");
        let (net, executor) = (Net::new(config, pool, 0), Executor::new());
        Host { net, executor, buffers, finishes_checksums: config.tx_checksum }
    }

    /// Lets tasks and network work; the frames they send.
    pub fn work(&mut self, now_ns: u64) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            self.net.flush(now_ns);
            self.executor.run_ready();
            self.net.flush(now_ns);
            let before = frames.len();
            self.net.with_frames(|pool, out| {
                let mut long = Vec::new();
                while let Some(buf) = out.pop() {
                    long.extend_from_slice(buf.frame());
                    if !buf.continues() {
                        let mut frame = std::mem::take(&mut long);
                        if self.finishes_checksums {
                            finish_checksum(&mut frame);
                        }
                        frames.push(frame);
                    }
                    pool.put(buf);
                }
            });
            if frames.len() == before && !self.executor.has_ready() {
                return frames;
            }
        }
    }

    /// Hands it a frame, in as many buffers as it takes.
    pub fn take(&mut self, now_ns: u64, frame: &[u8]) {
        let mut burst = Burst::<8>::new();
        let chunks = frame.chunks(FRAME_BYTES.into());
        let last = chunks.len().saturating_sub(1);
        for (number, chunk) in chunks.enumerate() {
            let mut buf = self.net.with_frames(|pool, _| pool.take()).expect("a buffer");
            assert!(buf.set_len(u16::try_from(chunk.len()).expect("short")));
            buf.frame_mut().copy_from_slice(chunk);
            buf.set_continues(number < last);
            burst.push(buf).expect("room");
        }
        self.net.input(now_ns, &mut burst);
    }

    /// Every buffer is in the pool.
    pub fn assert_none_lost(&self) {
        assert_eq!(self.net.with_frames(|pool, out| pool.available() + out.len()), self.buffers);
    }
}

/// What a wire does to frames, in per mille.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub lost: u64,
    pub repeated: u64,
    pub damaged: u64,
    /// Each frame takes up to so much longer, so that they overtake each other.
    pub jitter_ns: u64,
}

/// The wire between all hosts, and the clock.
pub struct World {
    pub hosts: Vec<Host>,
    pub now_ns: u64,
    pub faults: Faults,
    /// Frames under way, by the time of their arrival.
    flying: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    sent: u64,
    random: u64,
    pub delay_ns: u64,
    /// Which host a frame reaches, besides that it does not come back.
    pub reaches: fn(&[u8], usize) -> bool,
}

impl World {
    pub fn new(hosts: Vec<Host>) -> World {
        World {
            hosts,
            now_ns: 0,
            faults: Faults::default(),
            flying: BTreeMap::new(),
            sent: 0,
            random: 0x9e37_79b9,
            delay_ns: MS / 10,
            reaches: |_, _| true,
        }
    }

    pub fn of(count: u8) -> World {
        World::new((1..=count).map(|number| Host::new(&config(number))).collect())
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 11
    }

    fn happens(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.random() % 1000 < per_mille
    }

    /// Puts a frame on the wire, for everybody but `from`.
    pub fn send(&mut self, from: usize, frame: &[u8]) {
        let reaches = self.reaches;
        for to in (0..self.hosts.len()).filter(|&to| to != from && reaches(frame, to)) {
            let copies = 1 + u64::from(self.happens(self.faults.repeated));
            for _ in 0..copies {
                if self.happens(self.faults.lost) {
                    continue;
                }
                let mut frame = frame.to_vec();
                if self.happens(self.faults.damaged) {
                    let place = usize::try_from(self.random()).expect("64 bits") % frame.len();
                    frame[place] ^= 1 << (self.random() % 8);
                }
                let jitter =
                    if self.faults.jitter_ns > 0 { self.random() % self.faults.jitter_ns } else { 0 };
                self.sent += 1;
                self.flying.insert((self.now_ns + self.delay_ns + jitter, self.sent), (to, frame));
            }
        }
    }

    /// Everybody works, then the clock moves to the next thing that happens, at the latest to `until_ns`.
    pub fn step(&mut self, until_ns: u64) {
        for from in 0..self.hosts.len() {
            for frame in self.hosts[from].work(self.now_ns) {
                self.send(from, &frame);
            }
        }
        let arrival = self.flying.first_key_value().map(|(key, _)| key.0);
        let deadlines = self.hosts.iter().filter_map(|host| host.net.deadline_ns());
        let next = arrival.into_iter().chain(deadlines).min().unwrap_or(until_ns);
        self.now_ns = next.clamp(self.now_ns, until_ns);
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now_ns) {
            let (to, frame) = entry.remove();
            self.hosts[to].take(self.now_ns, &frame);
        }
    }

    /// Runs until it is so; fails if it is not within so much time of the simulated clock.
    #[track_caller]
    pub fn run_until(&mut self, limit_ns: u64, mut condition: impl FnMut(&World) -> bool) {
        let end_ns = self.now_ns + limit_ns;
        let mut steps_without_time = 0;
        while !condition(self) {
            assert!(self.now_ns < end_ns, "it did not happen in {} s", limit_ns / SECOND);
            let before = self.now_ns;
            self.step(end_ns);
            steps_without_time = if self.now_ns == before { steps_without_time + 1 } else { 0 };
            assert!(steps_without_time < 100_000, "the clock stands still");
        }
    }

    pub fn run_for(&mut self, time_ns: u64) {
        let end_ns = self.now_ns + time_ns;
        while self.now_ns < end_ns {
            self.step(end_ns);
        }
    }
}
