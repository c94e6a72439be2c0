//! temp
use super::*;
macro_rules! t { ($($n:ident)*) => { $(pub(super) fn $n(_: &Call<'_>) -> Result { Err(Error::Unsupported) })* } }
t!(open assign revoke info config_read map_bar control watch interrupt_create interrupt_control);
