//! A store kept by a log on a simulated NVMe controller, through the driver.

use weir_block::{BlockDevice, Options};
use weir_hal::{Clock, DmaWindow};
use weir_kv_logic::change::Change;
use weir_kv_logic::{Limits, Session, Store};
use weir_kvlog::{Log, Parts, Replayed};
use weir_nvme::{Nvme, Queue};
use weir_pool::BlockPool;
use weir_sim::nvme::{Behaviour, Namespace};
use weir_sim::{Nvme as Model, SimClock, SimDevice, SimWindow};

type Device = SimDevice<Model>;
/// The driver stops the controller when it goes.
type Opened = (Log<Queue<Device>>, Store, Replayed, Nvme<Device>);

/// Gives contents in the order of their keys.
fn contents(store: &Store) -> Vec<String> {
    let mut all = Vec::new();
    assert_eq!(store.snapshot(0, usize::MAX, &mut all), None);
    let (mut rest, mut entries) = (&all[..], Vec::new());
    while !rest.is_empty() {
        entries.push(format!("{:?}", Change::decode(&mut rest).expect("a change")));
    }
    entries.sort();
    entries
}

fn store() -> Store {
    Store::new(&weir_kv_logic::Options { budget_bytes: 1 << 20, seed: [1; 16], is_logged: true })
}

/// Applies the changes of a record.
fn apply(store: &mut Store, mut payload: &[u8]) -> bool {
    while !payload.is_empty() {
        let change = Change::decode(&mut payload);
        if change.is_err() || change.is_ok_and(|change| store.apply(&change).is_err()) {
            return false;
        }
    }
    true
}

/// A log on the device's disk, and what it held.
fn open(device: &Device, window: &SimWindow, clock: &impl Clock, salt: u64) -> Opened {
    let (mut nvme, mut queues) =
        Nvme::open(device.clone(), window, clock, &Options::default()).expect("an honest controller");
    nvme.start(&mut queues, clock).expect("it starts");
    let pool = BlockPool::new(window.allocate(8 * 65536).expect("memory"), 65536).expect("buffers");
    let disk = nvme.disks()[0];
    let parts = Parts { queue: queues.remove(0), number: 0, disk, pool };
    let mut store = store();
    let (log, replayed) =
        Log::open(parts, salt, |payload| apply(&mut store, payload), || true).expect("a log");
    (log, store, replayed, nvme)
}

fn drain(log: &mut Log<Queue<Device>>) {
    while !log.poll().expect("an honest controller") {}
}

/// Writes down what changed, or all there is where the half is full; `true` for the latter.
fn keep(log: &mut Log<Queue<Device>>, store: &mut Store, salt: u64) -> bool {
    let mut changes = Vec::new();
    store.take_changes(&mut changes);
    if log.has_room(changes.len()) {
        log.append(&changes).expect("room");
        drain(log);
        return false;
    }
    log.begin_rewrite(salt).expect("idle");
    let mut from = Some(0);
    while let Some(place) = from {
        let mut piece = Vec::new();
        from = store.snapshot(place, 10_000, &mut piece);
        log.append(&piece).expect("room");
        drain(log);
    }
    log.finish_rewrite().expect("idle");
    drain(log);
    true
}

#[test]
fn a_store_survives_through_rewrites() {
    let (window, clock) = (SimWindow::default(), SimClock::by(1));
    let namespaces = vec![Namespace { blocks: 400, ..Namespace::default() }];
    let model = Model::new(&window, Behaviour { namespaces, shuffles: true, ..Behaviour::default() });
    let device = SimDevice::new(model);
    let (mut log, mut store, replayed, mut nvme) = open(&device, &window, &clock, 1);
    assert_eq!(replayed, Replayed::default());
    let (mut session, mut rewrites) = (Session::new(Limits::default()), 0);
    for number in 0..600_u64 {
        let (key, other) = (number % 40, number * 7 % 40);
        let commands = format!(
            "SET k{key} {number}{}\r\nAPPEND k{other} x\r\nINCR n{key}\r\nDEL k{}\r\n",
            "v".repeat(usize::try_from(200 + key).expect("small")),
            number * 3 % 50
        );
        session.feed(&mut store, number, commands.as_bytes(), &mut Vec::new()).expect("commands");
        rewrites += u32::from(keep(&mut log, &mut store, number));
        if number % 100 == 99 {
            let kept = contents(&store);
            drop((log, nvme));
            (log, store, _, nvme) = open(&device, &window, &clock, 1000 + number);
            assert_eq!(contents(&store), kept, "after {number} rounds");
            assert!(kept.len() > 30);
        }
    }
    drop(nvme);
    assert!(rewrites > 2, "{rewrites}");
    assert!(device.model().counts().flushes > 600);
}
