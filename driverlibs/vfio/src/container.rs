//! The container: one I/O page table, and the groups of functions that it confines.
//!
//! **Invariant: an entry of the I/O page table leads to a [`Mapping`] that was made for devices**, in which no Rust
//! object lies.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use zerocopy::FromZeros;

use crate::call;
use crate::error::{self, Error};
use crate::iova::{self, Books};
use crate::mapping::Mapping;
use crate::uapi::{
    API_VERSION, ContainerFd, DmaMap, DmaUnmap, GroupFlags, GroupStatus, IommuFlags, IommuInfo, MapFlags,
    Plain, TYPE1_V2, argsz,
};

/// A container.
pub(crate) struct Container {
    file: File,
}

/// A group of functions, in a container.
pub(crate) struct Group {
    pub(crate) file: File,
    /// The group must not outlive it.
    _container: Arc<Container>,
}

impl Container {
    /// A new one, without groups.
    pub(crate) fn open() -> Result<Container, Error> {
        let file = open("/dev/vfio/vfio").map_err(error::of("open /dev/vfio/vfio"))?;
        let version =
            call::plain(&file, Plain::GetApiVersion, 0).map_err(error::of("VFIO_GET_API_VERSION"))?;
        let has_type = call::plain(&file, Plain::CheckExtension, TYPE1_V2);
        let has_type = has_type.map_err(error::of("VFIO_CHECK_EXTENSION"))? != 0;
        if version.cast_unsigned() != API_VERSION || !has_type {
            return Err(Error::NoContainer);
        }
        Ok(Container { file })
    }

    /// Puts group `number` into it.
    pub(crate) fn attach(self: &Arc<Container>, number: u32) -> Result<Group, Error> {
        let file = open(format!("/dev/vfio/{number}")).map_err(error::of("open the group's file"))?;
        let mut status = GroupStatus { argsz: argsz::<GroupStatus>(), flags: 0 };
        call::with(&file, &mut status).map_err(error::of("VFIO_GROUP_GET_STATUS"))?;
        if !GroupFlags::from_bits_truncate(status.flags).contains(GroupFlags::VIABLE) {
            return Err(Error::NotViable { group: number });
        }
        let mut container = ContainerFd { fd: self.file.as_raw_fd() };
        call::with(&file, &mut container).map_err(error::of("VFIO_GROUP_SET_CONTAINER"))?;
        Ok(Group { file, _container: Arc::clone(self) })
    }

    /// Makes the I/O page table, once the groups are in, and gives the books of its addresses.
    pub(crate) fn make_page_table(&self) -> Result<Books, Error> {
        call::plain(&self.file, Plain::SetIommu, TYPE1_V2).map_err(error::of("VFIO_SET_IOMMU"))?;
        let mut info = IommuInfo::new_zeroed();
        info.argsz = argsz::<IommuInfo>();
        call::with(&self.file, &mut info).map_err(error::of("VFIO_IOMMU_GET_INFO"))?;
        let has_list = IommuFlags::from_bits_truncate(info.flags).contains(IommuFlags::CAPABILITIES);
        let ranges = iova::ranges(zerocopy::IntoBytes::as_bytes(&info), info.capabilities);
        ranges.filter(|_| has_list).map(Books::new).ok_or(Error::NoContainer)
    }

    /// Lets devices reach `memory` at `iova`, for reading and writing.
    pub(crate) fn map(&self, memory: &Mapping, iova: u64) -> Result<(), Errno> {
        let mut map = DmaMap {
            argsz: argsz::<DmaMap>(),
            flags: (MapFlags::READ | MapFlags::WRITE).bits(),
            address: memory.base().as_ptr().expose_provenance() as u64,
            iova,
            bytes: memory.bytes() as u64,
        };
        call::with(&self.file, &mut map).map(drop)
    }

    /// Takes `bytes` at `iova` out of their reach. When this returns they reach it no longer.
    pub(crate) fn unmap(&self, iova: u64, bytes: u64) -> Result<(), Errno> {
        let mut unmap = DmaUnmap { argsz: argsz::<DmaUnmap>(), flags: 0, iova, bytes };
        call::with(&self.file, &mut unmap)?;
        // The kernel says how much it has unmapped.
        if unmap.bytes == bytes { Ok(()) } else { Err(Errno::IO) }
    }
}

fn open(path: impl AsRef<Path>) -> Result<File, Errno> {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
