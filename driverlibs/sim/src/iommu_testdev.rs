//! QEMU's `iommu-testdev`, written from its specification (QEMU 11.1, docs/specs/iommu-testdev.rst): writes a pattern to
//! any address when a register is read. Its comparison with memory is not simulated: it always differs.

use weir_hal::DeviceInfo;

use crate::pci::ConfigSpace;
use crate::{Interrupts, Malice, Model, SimWindow};

/// The device.
pub struct IommuTestdev {
    window: SimWindow,
    interrupts: Interrupts,
    malice: Malice,
    config: ConfigSpace,
    is_gone: bool,
    is_armed: bool,
    iova: u64,
    bytes: usize,
    result: u32,
}

impl IommuTestdev {
    /// A device that reaches memory through `window`.
    #[must_use]
    pub fn new(window: &SimWindow) -> IommuTestdev {
        IommuTestdev {
            window: window.clone(),
            interrupts: Interrupts::new(0),
            malice: Malice::none(),
            config: ConfigSpace::new(0x1b36, 0x0005),
            is_gone: false,
            is_armed: false,
            iova: 0,
            bytes: 0,
            result: u32::MAX,
        }
    }

    /// Makes it lie in its registers from now on.
    pub fn set_malice(&mut self, malice: Malice) {
        self.malice = malice;
    }

    /// Pulls the device out: every register reads as all ones.
    pub fn pull_out(&mut self) {
        self.is_gone = true;
    }

    fn run(&mut self) -> u32 {
        if !std::mem::take(&mut self.is_armed) {
            return 0xdead_0005;
        }
        if self.bytes == 0 {
            return 0xdead_0001;
        }
        let before = self.window.faults();
        let pattern = 0x1234_5678_u32.to_le_bytes();
        let bytes: Vec<u8> = pattern.into_iter().cycle().take(self.bytes).collect();
        self.window.write(self.iova, &bytes);
        if self.window.faults() == before { 0xdead_0004 } else { 0xdead_0002 }
    }
}

impl Model for IommuTestdev {
    fn info(&self) -> DeviceInfo {
        let bar_bytes = [0x1000, 0, 0, 0, 0, 0];
        DeviceInfo { vendor: 0x1b36, device: 0x0005, bar_bytes, ..DeviceInfo::default() }
    }

    fn config_read(&mut self, offset: u16, bytes: u8) -> u32 {
        self.config.read(offset, bytes)
    }

    fn read(&mut self, _bar: u8, offset: u64, bytes: usize) -> u64 {
        let value = match (offset, bytes) {
            _ if self.is_gone => return u64::MAX,
            (0x00, 4) => {
                self.result = self.run();
                0
            }
            (0x10, 4) => self.result.into(),
            _ => 0,
        };
        self.malice.twist_register(value)
    }

    fn write(&mut self, _bar: u8, offset: u64, bytes: usize, value: u64) {
        match (offset, bytes) {
            _ if self.is_gone => {}
            (0x04, 4) => self.iova = (self.iova & !0xffff_ffff) | value,
            (0x08, 4) => self.iova = (self.iova & 0xffff_ffff) | (value << 32),
            (0x0c, 4) => self.bytes = usize::try_from(value).expect("32 bits"),
            (0x14, 4) => self.is_armed = value & 1 != 0,
            _ => {}
        }
    }

    /// It does not ask whether it may.
    fn bus_master(&mut self, _on: bool) {}

    fn reset(&mut self) {
        *self = IommuTestdev::new(&self.window);
    }

    fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }
}
