//! Opening the disk, and filling the contents from its log.

use alloc::format;
use alloc::rc::Rc;

use weir_block::{BlockDevice, Options};
use weir_hal::{Device, DmaWindow};
use weir_kv_logic::Store;
use weir_kv_logic::change::Change;
use weir_kvlog::{Log, Parts, Replayed};
use weir_nvme::Nvme;
use weir_pool::BlockPool;
use weir_rt::clock::now_ns;
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::{log, random};
use weir_service::{Failure, Spawner};
use weir_virtio::blk::Blk;

use crate::contents::Contents;
use crate::keep;
use crate::words::Words;

/// Buffers for the log, and their bytes.
const BUFFERS: usize = 8;
const BUFFER_BYTES: u32 = 64 << 10;
/// How long replaying may take.
const REPLAY_MAX_NS: u64 = 300_000_000_000;

/// Opens the disk with the driver that it has.
pub(crate) fn open(
    function: Function,
    contents: &Rc<Contents>,
    words: &Words,
    spawner: &Spawner,
) -> Result<(), Failure> {
    if Blk::<Function>::is_for(&function.info()) {
        open_with::<Blk<Function>>(function, contents, words, spawner)
    } else {
        open_with::<Nvme<Function>>(function, contents, words, spawner)
    }
}

fn open_with<B: BlockDevice<Device = Function> + 'static>(
    function: Function,
    contents: &Rc<Contents>,
    words: &Words,
    spawner: &Spawner,
) -> Result<(), Failure> {
    let failed = |error: B::Error| Failure::Application(format!("disk: {error}"));
    let options = Options { queues: 1, depth: 32, interrupt: false };
    let (mut device, mut queues) = B::open(function, &Window, &TscClock, &options).map_err(failed)?;
    device.start(&mut queues, &TscClock).map_err(failed)?;
    let pool = BlockPool::new(Window.allocate(BUFFERS * BUFFER_BYTES as usize)?, BUFFER_BYTES)?;
    let (Some(queue), Some(disk)) = (queues.pop(), device.disks().first().copied()) else {
        return Err(Failure::Application("disk: the device has none".into()));
    };
    let end_ns = now_ns().saturating_add(REPLAY_MAX_NS);
    let apply = |payload: &[u8]| apply(contents, payload);
    let parts = Parts { queue, number: 0, disk, pool };
    let (mut log, replayed) = Log::open(parts, random::seed(), apply, || now_ns() < end_ns)
        .map_err(|error| Failure::Application(format!("disk: {error}")))?;
    tell(&replayed, &contents.store.borrow());
    let least = contents.store.borrow().budget_bytes() as u64;
    if log.half_bytes() < least + least / 4 + keep::PIECE_BYTES as u64 {
        return Err(Failure::Application(format!(
            "disk: half of it holds {} bytes, which is less than maxmemory and a quarter; give a larger disk, or less memory",
            log.half_bytes()
        )));
    }
    if replayed.is_damaged && !words.repair {
        return Err(Failure::Application(
            "disk: the log is damaged; with the word `repair` what comes before the damage is used, and the rest given up".into(),
        ));
    }
    if replayed.is_damaged {
        keep::repair(&mut log, contents).map_err(|error| Failure::Application(format!("disk: {error}")))?;
    }
    spawner.spawn(keep::keep(device, log, contents.clone()));
    Ok(())
}

/// One line, `key=value`, for people and programs.
fn tell(replayed: &Replayed, store: &Store) {
    let Replayed { records, bytes, torn_bytes, is_damaged } = replayed;
    log!(
        "replayed keys={} records={records} bytes={bytes} torn_bytes={torn_bytes} damaged={is_damaged}",
        store.len()
    );
}

/// Does what a record says; `false`: it says nothing that is understood, or the contents do not fit any more.
fn apply(contents: &Contents, payload: &[u8]) -> bool {
    let Some((time_ms, mut changes)) = payload.split_first_chunk() else { return false };
    contents.go_on_from(u64::from_le_bytes(*time_ms));
    let mut store = contents.store.borrow_mut();
    while !changes.is_empty() {
        let change = Change::decode(&mut changes);
        if change.is_err() || change.is_ok_and(|change| store.apply(&change).is_err()) {
            return false;
        }
    }
    true
}
