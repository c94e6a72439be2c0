//! Structures and numbers of the kernel's face (Linux 6.1, `include/uapi/linux/vfio.h`).
//!
//! **Invariant: each structure that a call takes names that call, and begins with its own length**: the kernel neither
//! reads nor writes behind it.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `VFIO_API_VERSION`.
pub(crate) const API_VERSION: u32 = 0;
/// `VFIO_TYPE1v2_IOMMU`.
pub(crate) const TYPE1_V2: usize = 3;

/// Calls whose argument is a number, or that have none.
#[derive(Clone, Copy)]
pub(crate) enum Plain {
    GetApiVersion = 100,
    CheckExtension = 101,
    SetIommu = 102,
    ResetDevice = 111,
}

/// Calls whose argument is a structure.
#[derive(Clone, Copy)]
pub(crate) enum Structured {
    GroupStatus = 103,
    GroupSetContainer = 104,
    GroupDeviceFd = 106,
    DeviceInfo = 107,
    RegionInfo = 108,
    IrqInfo = 109,
    SetIrqs = 110,
    IommuInfo = 112,
    MapDma = 113,
    UnmapDma = 114,
}

bitflags! {
    /// `VFIO_GROUP_FLAGS_*`.
    #[derive(Clone, Copy)]
    pub(crate) struct GroupFlags: u32 {
        const VIABLE = 1 << 0;
    }

    /// `VFIO_DEVICE_FLAGS_*`.
    #[derive(Clone, Copy)]
    pub(crate) struct DeviceFlags: u32 {
        const RESET = 1 << 0;
        const PCI = 1 << 1;
    }

    /// `VFIO_REGION_INFO_FLAG_*`.
    #[derive(Clone, Copy)]
    pub(crate) struct RegionFlags: u32 {
        const MMAP = 1 << 2;
    }

    /// `VFIO_IRQ_SET_*`.
    #[derive(Clone, Copy)]
    pub(crate) struct IrqFlags: u32 {
        const DATA_EVENTFD = 1 << 2;
        const ACTION_TRIGGER = 1 << 5;
    }

    /// `VFIO_IOMMU_INFO_*`.
    #[derive(Clone, Copy)]
    pub(crate) struct IommuFlags: u32 {
        const CAPABILITIES = 1 << 1;
    }

    /// `VFIO_DMA_MAP_FLAG_*`, from the device's view.
    #[derive(Clone, Copy)]
    pub(crate) struct MapFlags: u32 {
        const READ = 1 << 0;
        const WRITE = 1 << 1;
    }
}

/// `VFIO_PCI_*_REGION_INDEX`; the BARs are 0 to 5.
pub(crate) const CONFIG_REGION: u32 = 7;
/// `VFIO_PCI_MSIX_IRQ_INDEX`.
pub(crate) const MSIX: u32 = 2;

/// `struct vfio_group_status`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Default)]
#[repr(C)]
pub(crate) struct GroupStatus {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
}

/// The argument of `VFIO_GROUP_SET_CONTAINER`: the container's file descriptor.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ContainerFd {
    pub(crate) fd: i32,
}

/// The argument of `VFIO_GROUP_GET_DEVICE_FD`: a zero-terminated name.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DeviceName {
    pub(crate) name: [u8; 16],
}

/// `struct vfio_device_info`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Default)]
#[repr(C)]
pub(crate) struct DeviceInfo {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) regions: u32,
    pub(crate) irqs: u32,
    pub(crate) capabilities: u32,
}

/// `struct vfio_region_info`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Default, Clone, Copy)]
#[repr(C)]
pub(crate) struct RegionInfo {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) index: u32,
    pub(crate) capabilities: u32,
    pub(crate) bytes: u64,
    pub(crate) offset: u64,
}

/// `struct vfio_irq_info`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Default)]
#[repr(C)]
pub(crate) struct IrqInfo {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) index: u32,
    pub(crate) count: u32,
}

/// `struct vfio_irq_set` with one event file.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IrqSet {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) index: u32,
    pub(crate) start: u32,
    pub(crate) count: u32,
    pub(crate) fd: i32,
}

/// `struct vfio_iommu_type1_info`, with room for its capabilities behind.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IommuInfo {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) page_sizes: u64,
    pub(crate) capabilities: u32,
    pub(crate) pad: u32,
    pub(crate) room: [u8; 4072],
}

/// `struct vfio_iommu_type1_dma_map`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DmaMap {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) address: u64,
    pub(crate) iova: u64,
    pub(crate) bytes: u64,
}

/// `struct vfio_iommu_type1_dma_unmap`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DmaUnmap {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) iova: u64,
    pub(crate) bytes: u64,
}

/// Bytes of a structure, as the kernel wants to be told.
pub(crate) const fn argsz<T>() -> u32 {
    assert!(size_of::<T>() <= 4096, "structures are small");
    #[expect(clippy::cast_possible_truncation, reason = "just checked")]
    let bytes = size_of::<T>() as u32;
    bytes
}

const _: () = assert!(size_of::<GroupStatus>() == 8 && size_of::<DeviceInfo>() == 20);
const _: () =
    assert!(size_of::<RegionInfo>() == 32 && size_of::<IrqInfo>() == 16 && size_of::<IrqSet>() == 24);
const _: () =
    assert!(size_of::<DmaMap>() == 32 && size_of::<DmaUnmap>() == 24 && size_of::<IommuInfo>() == 4096);
