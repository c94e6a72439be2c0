//! VFIO's calls: `ioctl` with the number that belongs to the argument.
#![expect(unsafe_code, reason = "the kernel reads and writes the arguments")]

use std::ffi::c_void;
use std::os::fd::AsFd;

use rustix::io::Result;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

use crate::uapi::{
    ContainerFd, DeviceInfo, DeviceName, DmaMap, DmaUnmap, GroupStatus, IommuInfo, IrqInfo, IrqSet, Plain,
    RegionInfo, Structured,
};

/// `VFIO_TYPE`.
const TYPE: u8 = b';';

/// The argument of one call.
///
/// # Implementation safety
/// The call reads and writes the structure and nothing behind it, and leaves it valid.
pub(crate) unsafe trait Argument {
    /// The call.
    const CALL: Structured;
}

macro_rules! arguments {
    ($($argument:ty: $call:ident),* $(,)?) => {$(
        // SAFETY: the structure is the one `vfio.h` gives for this call; it is plain bytes, all values of which are
        // valid, and its length is in `argsz`, or fixed.
        unsafe impl Argument for $argument {
            const CALL: Structured = Structured::$call;
        }
    )*};
}
arguments!(
    GroupStatus: GroupStatus,
    ContainerFd: GroupSetContainer,
    DeviceName: GroupDeviceFd,
    DeviceInfo: DeviceInfo,
    RegionInfo: RegionInfo,
    IrqInfo: IrqInfo,
    IrqSet: SetIrqs,
    IommuInfo: IommuInfo,
    DmaMap: MapDma,
    DmaUnmap: UnmapDma,
);

/// A call as the system call wants it; its answer is the number returned.
struct Call {
    number: u8,
    argument: *mut c_void,
}

// SAFETY: the opcode belongs to the argument (`with`, `plain`), which `argument` is made from, and the output is
// what the call returned.
unsafe impl Ioctl for Call {
    type Output = IoctlOutput;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::none(TYPE, self.number)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> Result<IoctlOutput> {
        Ok(output)
    }
}

/// Makes the call that takes `argument`.
pub(crate) fn with<A: Argument>(fd: impl AsFd, argument: &mut A) -> Result<IoctlOutput> {
    let call = Call { number: A::CALL as u8, argument: (argument as *mut A).cast() };
    // SAFETY: the kernel accesses `argument`, which is borrowed for as long, and nothing else (`Argument`). Where the
    // argument has addresses of memory (`DmaMap`), `Container` answers for them.
    unsafe { ioctl(fd, call) }
}

/// Makes a call whose argument is a number.
pub(crate) fn plain(fd: impl AsFd, call: Plain, value: usize) -> Result<IoctlOutput> {
    let call = Call { number: call as u8, argument: std::ptr::without_provenance_mut(value) };
    // SAFETY: these calls take the argument as a number and access no memory of the program.
    unsafe { ioctl(fd, call) }
}
