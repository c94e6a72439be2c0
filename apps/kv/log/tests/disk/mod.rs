//! A disk with a cache, whose power fails.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use weir_block::{BadRequest, BlockError, BlockQueue, Completion, Deque, Disk, Operation, Request};
use weir_hal::DmaWindow;
use weir_kvlog::Parts;
use weir_pool::BlockPool;
use weir_sim::SimWindow;

const BLOCK: usize = 512;

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stop(BadRequest);

impl From<BadRequest> for Stop {
    fn from(bad: BadRequest) -> Stop {
        Stop(bad)
    }
}

impl BlockError for Stop {
    fn is_violation(&self) -> bool {
        false
    }
}

#[derive(Default)]
struct State {
    stable: Vec<u8>,
    /// Blocks written and not flushed; the last one counts.
    cached: BTreeMap<usize, Vec<u8>>,
    done: VecDeque<Completion>,
    requests: u64,
    /// Writes and flushes until power fails.
    left: Option<u64>,
    random: u64,
}

impl State {
    fn chance(&mut self, of: u64) -> u64 {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.random >> 33) % of
    }

    /// Does a request; `None`: power has failed.
    fn act(&mut self, request: &mut Request) -> Option<()> {
        if request.operation != Operation::Read {
            if self.left == Some(0) {
                return None;
            }
            self.left = self.left.map(|left| left - 1);
            self.requests += 1;
        } else if self.left == Some(0) {
            return None;
        }
        let first = usize::try_from(request.block).expect("small");
        match (request.operation, &mut request.buffer) {
            (Operation::Flush, _) => {
                for (block, bytes) in std::mem::take(&mut self.cached) {
                    self.stable[block * BLOCK..][..BLOCK].copy_from_slice(&bytes);
                }
            }
            (Operation::Write, Some(buffer)) => {
                for (number, bytes) in buffer.bytes().chunks(BLOCK).enumerate() {
                    self.cached.insert(first + number, bytes.to_vec());
                }
            }
            (Operation::Read, Some(buffer)) => {
                for (number, bytes) in buffer.bytes_mut().chunks_mut(BLOCK).enumerate() {
                    let stable = &self.stable[(first + number) * BLOCK..][..BLOCK];
                    bytes.copy_from_slice(self.cached.get(&(first + number)).map_or(stable, Vec::as_slice));
                }
            }
            _ => panic!("{request:?}"),
        }
        Some(())
    }
}

/// The disk and, at once, its only queue.
#[derive(Clone, Default)]
pub(crate) struct CrashDisk(Arc<Mutex<State>>);

impl CrashDisk {
    pub(crate) fn new(blocks: usize, random: u64) -> CrashDisk {
        let state = State { stable: vec![0; blocks * BLOCK], random, ..State::default() };
        CrashDisk(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("one thread")
    }

    /// Writes and flushes done so far.
    pub(crate) fn requests(&self) -> u64 {
        self.state().requests
    }

    pub(crate) fn fail_after(&self, requests: u64) {
        self.state().left = Some(requests);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.state().left != Some(0)
    }

    /// Power was off: each cached block is there, or not, or a part of it is.
    pub(crate) fn power_on(&self) {
        let mut state = self.state();
        state.left = None;
        state.done.clear();
        for (block, bytes) in std::mem::take(&mut state.cached) {
            let (from, to) = match state.chance(4) {
                0 => (0, 0),
                1 => (0, usize::try_from(state.chance(BLOCK as u64)).expect("small")),
                2 => (usize::try_from(state.chance(BLOCK as u64)).expect("small"), BLOCK),
                _ => (0, BLOCK),
            };
            state.stable[block * BLOCK..][from..to].copy_from_slice(&bytes[from..to]);
        }
    }

    pub(crate) fn stable(&self) -> Vec<u8> {
        self.state().stable.clone()
    }

    pub(crate) fn set_stable(&self, bytes: Vec<u8>) {
        let mut state = self.state();
        state.stable = bytes;
        state.cached.clear();
    }
}

impl BlockQueue for CrashDisk {
    type Error = Stop;

    fn room(&self) -> u16 {
        8
    }

    fn in_flight(&self) -> u16 {
        u16::try_from(self.state().done.len()).expect("few")
    }

    fn submit<const N: usize>(&mut self, requests: &mut Deque<Request, N>) -> Result<usize, Stop> {
        let mut state = self.state();
        let mut count = 0;
        while let Some(mut request) = requests.pop_front() {
            if state.act(&mut request).is_some() {
                let Request { operation, token, buffer, .. } = request;
                state.done.push_back(Completion { operation, token, buffer, result: Ok(()) });
            }
            count += 1;
        }
        Ok(count)
    }

    /// In any order, some of them later.
    fn complete<const N: usize>(&mut self, done: &mut Deque<Completion, N>) -> Result<usize, Stop> {
        let mut state = self.state();
        let before = done.len();
        while !done.is_full() && !state.done.is_empty() && (done.len() == before || state.chance(3) > 0) {
            let of = state.done.len() as u64;
            let index = usize::try_from(state.chance(of)).expect("small");
            let completion = state.done.remove(index).expect("an index below the length");
            done.push_back(completion).expect("room");
        }
        Ok(done.len() - before)
    }

    fn wait(&mut self, _: u64) -> Result<bool, Stop> {
        Ok(!self.state().done.is_empty())
    }

    fn tick(&mut self) -> u16 {
        0
    }
}

/// What a log is opened with.
pub(crate) fn parts(disk: &CrashDisk) -> Parts<CrashDisk> {
    let blocks = (disk.stable().len() / BLOCK) as u64;
    let shape =
        Disk { block_shift: 9, blocks, transfer_max_bytes: 1024, is_read_only: false, can_trim: false };
    let memory = SimWindow::default().allocate(4 * 4096).expect("memory");
    let pool = BlockPool::new(memory, 4096).expect("buffers");
    Parts { queue: disk.clone(), number: 0, disk: shape, pool }
}
