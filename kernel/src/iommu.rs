//! temp
pub(crate) fn set_up(_: &crate::boot::acpi::Tables) {}
pub(crate) fn handle_fault_interrupt() {}
