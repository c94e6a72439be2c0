//! temp
pub(crate) struct Interrupt;
pub(crate) fn dispatch(_: u8) {}
