//! Runs the driver's hot loop against the simulated device, for a counter of instructions to watch:
//! receive, swap the MAC addresses, transmit, as DPDK's testpmd does in its `macswap` mode.
//!
//! See this crate's README for the command. Words: `split` or `packed`, with `-in-order` behind it if wanted, burst size
//! (at most 32), rounds.

use weir_hal::DmaWindow;
use weir_pool::{Burst, Pool};
use weir_sim::virtio_net::{Behaviour, feature};
use weir_sim::{SimClock, SimDevice, SimWindow, VirtioNet};
use weir_virtio::Pci;
use weir_virtio::net::{Net, Options, RxQueue, TxQueue};

type Device = SimDevice<VirtioNet>;

fn main() {
    let mut words = std::env::args().skip(1);
    let behaviour = behaviour(&words.next().unwrap_or_default());
    let mut numbers = words.map(|word| word.parse::<usize>().expect("a number"));
    let burst_size = numbers.next().unwrap_or(32);
    let rounds = numbers.next().unwrap_or(1000);
    let window = SimWindow::default();
    let device = SimDevice::new(VirtioNet::new(&window, behaviour));
    let clock = SimClock::default();
    let opened = Net::open(device.clone(), &window, &clock, &Options::default());
    let (mut net, mut rx, mut tx) = opened.expect("an honest device opens");
    let mut pool = Pool::new(window.allocate(2 << 20).expect("memory")).expect("buffers");
    net.start(&mut rx, &mut tx, &mut pool, &clock).expect("an honest device starts");
    let frame = [7; 64];
    for _ in 0..rounds {
        for _ in 0..burst_size {
            assert!(device.model().deliver(&frame));
        }
        assert_eq!(forward_burst(&mut rx, &mut tx, &mut pool), burst_size);
        device.model().transmit();
        while device.model().next_sent().is_some() {}
    }
    println!("packets {}", rounds * burst_size);
}

fn behaviour(word: &str) -> Behaviour {
    let has = |part, bit| if word.contains(part) { bit } else { 0 };
    let more = has("packed", feature::RING_PACKED) | has("in-order", feature::IN_ORDER);
    let base = Behaviour::default();
    Behaviour { features: base.features | more, skips: true, ..base }
}

/// What is counted: the whole loop body of a forwarding application.
#[inline(never)]
fn forward_burst(rx: &mut RxQueue<Pci<Device>>, tx: &mut TxQueue<Pci<Device>>, pool: &mut Pool) -> usize {
    let mut burst = Burst::<32>::new();
    let Ok(_) = rx.receive(pool, &mut burst) else { return 0 };
    for buf in burst.iter_mut() {
        if let Some(addresses) = buf.frame_mut().first_chunk_mut::<12>() {
            addresses.rotate_left(6);
        }
    }
    tx.transmit(pool, &mut burst).unwrap_or(0)
}
