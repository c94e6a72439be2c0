//! Runs the hot loop of a driver against its simulated device, for a counter of instructions to watch:
//! receive, swap the MAC addresses, transmit, as DPDK's testpmd does in its `macswap` mode.
//!
//! See this crate's README for the command. Words: `e1000e` or `igb`, burst size (at most 32), rounds.

use weir_gigabit::{Chip, Net, Options, RxQueue, TxQueue};
use weir_hal::DmaWindow;
use weir_nic::{Nic, RxQueue as _, TxQueue as _};
use weir_pool::{Burst, Pool};
use weir_sim::gigabit::{Behaviour, Kind, MAC};
use weir_sim::{Gigabit, SimClock, SimDevice, SimWindow};

type Device = SimDevice<Gigabit>;

fn main() {
    let mut words = std::env::args().skip(1);
    let driver = words.next();
    let mut numbers = words.map(|word| word.parse::<usize>().expect("a number"));
    let burst_size = numbers.next().unwrap_or(32);
    let rounds = numbers.next().unwrap_or(1000);
    match driver.as_deref() {
        Some("igb") => run::<weir_igb::I82576>(Kind::I82576, burst_size, rounds),
        _ => run::<weir_e1000e::I82574>(Kind::I82574, burst_size, rounds),
    }
    println!("packets {}", rounds * burst_size);
}

fn run<C: Chip>(kind: Kind, burst_size: usize, rounds: usize) {
    let window = SimWindow::default();
    let device = SimDevice::new(Gigabit::new(&window, Behaviour { kind, works_on_kick: false }));
    let clock = SimClock::default();
    let opened = Net::<Device, C>::open(device.clone(), &window, &clock, &Options::default());
    let (mut net, mut rx, mut tx) = opened.expect("an honest device opens");
    let mut pool = Pool::new(window.allocate(2 << 20).expect("memory")).expect("buffers");
    net.start(&mut rx, &mut tx, &mut pool, &clock).expect("an honest device starts");
    let mut frame = [7; 64];
    frame[..6].copy_from_slice(&MAC);
    for _ in 0..rounds {
        for _ in 0..burst_size {
            assert!(device.model().deliver(&frame));
        }
        assert_eq!(forward_burst(&mut rx, &mut tx, &mut pool), burst_size);
        device.model().transmit();
        while device.model().next_sent().is_some() {}
    }
}

/// What is counted: the whole loop body of a forwarding application.
#[inline(never)]
fn forward_burst<C: Chip>(
    rx: &mut RxQueue<Device, C>,
    tx: &mut TxQueue<Device, C>,
    pool: &mut Pool,
) -> usize {
    let mut burst = Burst::<32>::new();
    let Ok(_) = rx.receive(pool, &mut burst) else { return 0 };
    for buf in burst.iter_mut() {
        if let Some(addresses) = buf.frame_mut().first_chunk_mut::<12>() {
            addresses.rotate_left(6);
        }
    }
    tx.transmit(pool, &mut burst).unwrap_or(0)
}
