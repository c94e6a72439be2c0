//! What the commands do.

pub(crate) mod keys;
pub(crate) mod server;
pub(crate) mod strings;
