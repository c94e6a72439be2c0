//! The driver on a simulated device.

use weir_edu::{Direction, Edu, Error, Span};
use weir_hal::{Device, DmaWindow, Interrupt, Iova};
use weir_sim::{SimClock, SimDevice, SimWindow, VirtioNet, virtio_net};

struct Rig {
    window: SimWindow,
    clock: SimClock,
    device: SimDevice<weir_sim::Edu>,
    edu: Edu<SimDevice<weir_sim::Edu>>,
}

fn rig() -> Rig {
    let window = SimWindow::default();
    let device = SimDevice::new(weir_sim::Edu::new(&window));
    let edu = Edu::open(device.clone()).expect("an honest device opens");
    Rig { window, clock: SimClock::default(), device, edu }
}

fn span(offset: u16, bytes: u16) -> Span {
    Span::new(offset, bytes).expect("inside")
}

#[test]
fn copies_memory_through_its_buffer() {
    let rig = rig();
    let (from, to) = (rig.window.allocate(4096).expect("memory"), rig.window.allocate(4096).expect("memory"));
    rig.window.write(from.iova().0, b"what the device reads");
    rig.edu.transfer(Direction::DeviceReads, from.iova(), span(16, 21), &rig.clock).expect("a transfer");
    assert_eq!(&rig.device.model().buffer()[16..37], b"what the device reads");
    rig.edu.transfer(Direction::DeviceWrites, to.iova().add(100), span(16, 21), &rig.clock).expect("another");
    let mut bytes = [0; 23];
    rig.window.read(to.iova().0 + 99, &mut bytes);
    assert_eq!(&bytes, b"\0what the device reads\0");
    assert_eq!((rig.window.faults(), rig.device.model().overruns()), (0, 0));
}

#[test]
fn any_address_can_be_asked_for_and_the_iommu_says_no() {
    let rig = rig();
    let all = span(0, 4096);
    for address in [0, 0x20_0000, 0xfee0_0000, u64::MAX - 4095] {
        rig.edu.transfer(Direction::DeviceReads, Iova(address), all, &rig.clock).expect("it cannot tell");
        rig.edu.transfer(Direction::DeviceWrites, Iova(address), all, &rig.clock).expect("it cannot tell");
    }
    assert_eq!((rig.window.faults(), rig.device.model().overruns()), (8, 0));
}

#[test]
fn one_transfer_at_a_time() {
    let rig = rig();
    let memory = rig.window.allocate(4096).expect("memory");
    let start = || rig.edu.start(Direction::DeviceReads, memory.iova(), span(0, 8), false);
    assert_eq!((start(), start()), (Ok(()), Err(Error::Busy)));
    assert_eq!(rig.edu.finish(&rig.clock), Ok(()));
    assert_eq!((rig.edu.is_running(), start()), (Ok(false), Ok(())));
}

#[test]
fn interrupts_are_raised_by_hand_and_at_the_end_of_a_transfer() {
    let rig = rig();
    let message = rig.edu.function().interrupt(0).expect("it has one");
    message.unmask().expect("present");
    rig.edu.raise(0x5);
    assert_eq!((message.count(), rig.edu.read_cause()), (1, 0x5));
    rig.edu.acknowledge(0x4);
    assert_eq!(rig.edu.read_cause(), 0x1);
    let memory = rig.window.allocate(4096).expect("memory");
    rig.edu.start(Direction::DeviceWrites, memory.iova(), span(0, 8), true).expect("idle");
    rig.edu.finish(&rig.clock).expect("it ends");
    assert_eq!((message.count(), rig.edu.read_cause()), (2, 0x101));
}

#[test]
fn a_device_that_vanishes_is_gone() {
    let rig = rig();
    rig.edu.start(Direction::DeviceReads, Iova(0), span(0, 8), false).expect("idle");
    rig.device.model().pull_out();
    let gone = Error::Host(weir_hal::Error::Gone);
    assert_eq!(rig.edu.finish(&rig.clock), Err(gone));
    assert_eq!(rig.edu.start(Direction::DeviceReads, Iova(0), span(0, 8), false), Err(gone));
    assert_eq!(Edu::open(rig.device).err(), Some(gone));
}

#[test]
fn other_devices_are_refused() {
    let window = SimWindow::default();
    let behaviour = virtio_net::Behaviour::default();
    let other = SimDevice::new(VirtioNet::new(&window, behaviour));
    let refused = Edu::open(other).err();
    assert_eq!(refused, Some(Error::OtherDevice { vendor: 0x1af4, device: 0x1041, found: 0 }));
}
