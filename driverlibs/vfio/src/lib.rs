//! Linux as a host of driver libraries: the traits of [`weir_hal`] over VFIO (Linux 6.1 Documentation,
//! driver-api/vfio "VFIO - Virtual Function I/O"; structures and numbers: `include/uapi/linux/vfio.h`).
//!
//! **Invariant: a function reaches the memory that its [`Window`] gave out and nothing else**: the functions of one
//! window share one VFIO container, whose I/O page table has no other entries.
//!
//! The kernel must have an IOMMU and must have given the functions to its driver `vfio-pci`. Groups and containers of
//! type 1 version 2 are used, which every kernel with VFIO has. Not here: iommufd, INTx and MSI interrupts, telling
//! that a device is to be removed.
//!
//! Reading order: [`address`] (which function) · `container` (the I/O page table) · [`iova`] (which I/O addresses)
//! · [`window`] · [`function`], `msix` · [`message`] (interrupts) · [`clock`] · `uapi`, `call`, `mapping` (the
//! kernel's face).
#![deny(unsafe_code)]

pub mod address;
mod call;
pub mod clock;
mod container;
pub mod error;
pub mod function;
pub mod iova;
mod mapping;
pub mod message;
mod msix;
mod uapi;
pub mod window;

pub use address::Address;
pub use clock::MonotonicClock;
pub use error::Error;
pub use function::Function;
pub use message::Message;
pub use window::Window;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use container::{Container, Group};

/// Takes functions that `vfio-pci` has: they and one window that they all reach.
///
/// # Errors
/// No VFIO or no IOMMU, no such function, another process has it, or a neighbour in its group belongs to a driver of
/// the kernel.
pub fn open(addresses: &[Address]) -> Result<(Window, Vec<Function>), Error> {
    let container = Arc::new(Container::open()?);
    let mut groups: BTreeMap<u32, Arc<Group>> = BTreeMap::new();
    for address in addresses {
        let number = address.group()?;
        if let Entry::Vacant(free) = groups.entry(number) {
            free.insert(Arc::new(container.attach(number)?));
        }
    }
    let window = Window::new(Arc::clone(&container), container.make_page_table()?);
    let function = |address: &Address| {
        let group = groups.get(&address.group()?).ok_or(Error::NoGroup { address: *address })?;
        Function::open(*address, Arc::clone(group))
    };
    Ok((window, addresses.iter().map(function).collect::<Result<_, _>>()?))
}
