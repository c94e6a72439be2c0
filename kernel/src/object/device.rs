//! temp
use super::process::Process;
use weir_kernel::refs::Ref;
#[derive(Clone)]
pub(crate) struct DeviceRef;
impl DeviceRef {
    pub(crate) fn address(&self) -> u32 {
        0
    }
    pub(crate) fn info(&self) -> weir_abi::device::DeviceInfo {
        Default::default()
    }
}
pub(crate) fn set_up(_: &crate::boot::acpi::Tables) {}
pub(crate) fn owned_by(_: &Process) -> u32 {
    0
}
pub(crate) fn revoke_all(_: &Ref<Process>) {}
pub(crate) fn at(_: usize) -> Option<DeviceRef> {
    None
}
pub(crate) fn count() -> usize {
    0
}
