//! The driver on a simulated device.

use weir_hal::{DmaWindow, Iova};
use weir_iommu_testdev::{Error, Outcome, Testdev};
use weir_sim::iommu_testdev::IommuTestdev;
use weir_sim::{SimDevice, SimWindow, VirtioNet, virtio_net};

#[test]
fn writes_where_it_is_aimed_and_says_what_was_blocked() {
    let window = SimWindow::default();
    let memory = window.allocate(4096).expect("memory");
    let rogue = Testdev::open(SimDevice::new(IommuTestdev::new(&window))).expect("an honest device opens");
    rogue.aim(memory.iova().add(8), 6).expect("a length that is possible");
    assert_eq!(rogue.fire(), Ok(Outcome::Written));
    let mut bytes = [0; 16];
    window.read(memory.iova().0, &mut bytes);
    assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 0x78, 0x56, 0, 0]);
    rogue.aim(Iova(0x20_0000), 4).expect("a length that is possible");
    assert_eq!([rogue.fire(), rogue.fire()], [Ok(Outcome::Refused); 2]);
    assert_eq!(window.faults(), 2);
}

#[test]
fn impossible_lengths_other_devices_and_absence_are_errors() {
    let window = SimWindow::default();
    let device = SimDevice::new(IommuTestdev::new(&window));
    let rogue = Testdev::open(device.clone()).expect("an honest device opens");
    for bytes in [0, 4097, u32::MAX] {
        assert_eq!(rogue.aim(Iova(0), bytes), Err(Error::BadLength { bytes }));
    }
    assert_eq!(rogue.fire(), Err(Error::BadResult { result: 0xdead_0001 }), "nothing was aimed at");
    device.model().pull_out();
    assert_eq!(rogue.fire(), Err(Error::Host(weir_hal::Error::Gone)));
    let other = SimDevice::new(VirtioNet::new(&window, virtio_net::Behaviour::default()));
    let refused = Testdev::open(other).err();
    assert_eq!(refused, Some(Error::OtherDevice { vendor: 0x1af4, device: 0x1041 }));
}
