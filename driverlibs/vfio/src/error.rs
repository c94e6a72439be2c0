//! Errors of this host, and what they mean to a driver.

use rustix::io::Errno;

use crate::Address;

/// Why VFIO is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// That is no address of a PCI function.
    #[error("no address of a PCI function, such as 0000:01:00.0")]
    BadAddress,
    /// Linux has no such function, or no IOMMU confines it.
    #[error("{address} is in no IOMMU group: there is no such function, or no IOMMU")]
    NoGroup {
        /// Which.
        address: Address,
    },
    /// A function of the group belongs to a driver of the kernel.
    #[error("not every function of IOMMU group {group} is given to vfio-pci")]
    NotViable {
        /// Which.
        group: u32,
    },
    /// The kernel's VFIO is another version, or has no IOMMU of type 1 version 2.
    #[error("the kernel has no VFIO container of type 1 version 2")]
    NoContainer,
    /// A call failed.
    #[error("{call}: {errno}")]
    Call {
        /// Which.
        call: &'static str,
        /// Why.
        errno: Errno,
    },
}

/// Names the call that failed.
pub(crate) fn of(call: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Call { call, errno }
}

/// What a failed call means to a driver.
pub(crate) fn to_host(errno: Errno) -> weir_hal::Error {
    match errno {
        Errno::INVAL | Errno::RANGE | Errno::OVERFLOW => weir_hal::Error::OutOfRange,
        Errno::NOMEM | Errno::NOSPC | Errno::MFILE | Errno::NFILE => weir_hal::Error::NoMemory,
        Errno::BUSY | Errno::EXIST => weir_hal::Error::Busy,
        Errno::PERM | Errno::ACCESS => weir_hal::Error::NotPermitted,
        Errno::NOTTY | Errno::OPNOTSUPP => weir_hal::Error::Unsupported,
        Errno::NODEV | Errno::NXIO => weir_hal::Error::Gone,
        _ => weir_hal::Error::Hardware,
    }
}
