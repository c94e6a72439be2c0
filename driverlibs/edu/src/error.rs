//! Errors of this driver.

/// Why a driver call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host refused something. `Gone`: the device was revoked, or reads as all ones.
    #[error("host: {0}")]
    Host(#[from] weir_hal::Error),
    /// The function is another device.
    #[error("not an edu device: {vendor:04x}:{device:04x}, identification {found:#x}")]
    OtherDevice {
        /// PCI vendor id.
        vendor: u16,
        /// PCI device id.
        device: u16,
        /// What it says it is; 0 where it was not asked.
        found: u32,
    },
    /// The last transfer is still under way.
    #[error("a transfer is under way")]
    Busy,
}
