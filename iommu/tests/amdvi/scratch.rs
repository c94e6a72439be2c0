//! A device without an owner: whatever it asks for, it reaches its own page.

use super::{DEVICE, Machine, OTHER, WINDOW, kinds};
use weir_iommu::Mode;
use weir_iommu::domain::ScratchDomain;

#[test]
fn every_access_ends_in_the_sink_and_none_faults() {
    for kind in kinds() {
        let (mut machine, mut owner) = Machine::with_device(kind);
        machine.map(&mut owner, WINDOW, 0x8000_0000, 0x1000);
        let (memory, all) = (machine.model.memory(), machine.unit.capabilities());
        let mut scratch = ScratchDomain::new(memory, &mut machine.ids, all, Mode::AmdVi).unwrap();
        assert!(machine.unit.attach(DEVICE, &mut scratch).is_err(), "an owner has it");
        machine.unit.detach(DEVICE, &mut owner).unwrap();
        machine.unit.attach(DEVICE, &mut scratch).unwrap();
        let sink = scratch.sink().0;
        for iova in [0, 0x20_0000, WINDOW, 0x12_3456_7000, 0x7f_ffff_f000, 0xffff_ffff_f000] {
            for is_write in [false, true] {
                assert_eq!(machine.model.dma(DEVICE.0, iova + 8, is_write), Some(sink + 8), "{iova:#x}");
            }
        }
        let mut faults = 0;
        machine.unit.drain_faults(|_| faults += 1);
        assert_eq!((faults, machine.model.dma(OTHER.0, 0, true)), (0, None));
        machine.unit.detach(DEVICE, &mut scratch).unwrap();
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None, "detached, it is blocked");
        machine.unit.attach(DEVICE, &mut owner).unwrap();
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), Some(0x8000_0000));
        assert_eq!(machine.model.dma(DEVICE.0, 0, true), None);
        assert!(scratch.destroy(&mut machine.ids).is_ok());
    }
}
