//! The rogues of the attack tests: devices of one register each that says how far they are.

use weir_edu::{Direction, Span};
use weir_hal::Iova;
use weir_iommu_testdev::Testdev;
use weir_sim::{Edu, IommuTestdev, Malice, Script, SimClock, SimDevice, SimWindow};

use crate::Tally;

/// `edu`: set-up, transfers, causes.
#[must_use]
pub fn edu(bytes: &[u8]) -> Tally {
    let (script, window, clock) = (Script::new(bytes), SimWindow::default(), SimClock::by(100_000));
    let device = SimDevice::new(Edu::new(&window));
    device.model().set_malice(Malice::scripted(&script));
    let mut tally = Tally::default();
    let no_violation = |_: &weir_edu::Error| false;
    let opened = weir_edu::Edu::open(device.clone());
    tally.count(&opened, no_violation);
    let Ok(edu) = opened else { return tally };
    while !script.is_over() {
        let [what, offset] = script.bytes();
        let span = Span::new(offset.into(), script.number() % 4096 + 1);
        let direction = if what & 1 == 0 { Direction::DeviceReads } else { Direction::DeviceWrites };
        match (what >> 1 & 3, span) {
            (0 | 1, Some(span)) => {
                tally.count(&edu.transfer(direction, Iova(script.byte().into()), span, &clock), no_violation);
            }
            (2, Some(span)) => {
                tally.count(&edu.start(direction, Iova(0), span, what & 8 != 0), no_violation);
            }
            _ => edu.acknowledge(edu.read_cause()),
        }
        // What leaves its buffer is the device's own doing; the driver asked for what is inside.
        assert_eq!(device.model().overruns(), 0);
    }
    tally
}

/// `iommu-testdev`: aims and fires.
#[must_use]
pub fn testdev(bytes: &[u8]) -> Tally {
    let (script, window) = (Script::new(bytes), SimWindow::default());
    let device = SimDevice::new(IommuTestdev::new(&window));
    device.model().set_malice(Malice::scripted(&script));
    let mut tally = Tally::default();
    let is_violation = |error: &_| matches!(error, weir_iommu_testdev::Error::BadResult { .. });
    let opened = Testdev::open(device);
    tally.count(&opened, is_violation);
    let Ok(testdev) = opened else { return tally };
    while !script.is_over() {
        tally.count(&testdev.aim(Iova(script.byte().into()), script.number().into()), is_violation);
        tally.count(&testdev.fire(), is_violation);
    }
    tally
}
