//! Calls on the log, the serial ports, and the machine's power.

use core::fmt::{Display, Formatter, Write};

use weir_abi::{Error, Rights, call};
use weir_kernel::refs::Ref;

use super::{Call, Result};
use crate::arch::serial;
use crate::mm::user;
use crate::object::event::Event;
use crate::{console, log, power};

/// Bytes moved through the kernel stack at a time.
const CHUNK: usize = 512;

pub(super) fn log_write(call: &Call<'_>) -> Result {
    let bytes = call.number(1).min(call::LOG_LINE_BYTES) as usize;
    let mut text = [0; call::LOG_LINE_BYTES as usize];
    let text = &mut text[..bytes];
    user::read_bytes(call.number(0), text)?;
    log::line(call.process().name(), format_args!("{}", Printable(text)));
    Ok(().into())
}

/// An application's text without what a terminal would obey; it ends where it is not UTF-8.
struct Printable<'a>(&'a [u8]);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> core::fmt::Result {
        let text = match core::str::from_utf8(self.0) {
            Ok(text) => text,
            Err(error) => core::str::from_utf8(&self.0[..error.valid_up_to()]).unwrap_or_default(),
        };
        text.chars().try_for_each(|c| f.write_char(if c.is_control() { '.' } else { c }))
    }
}

pub(super) fn log_read(call: &Call<'_>) -> Result {
    call.system(0, Rights::READ)?;
    let (from, buffer, bytes) = (call.number(1), call.number(2), call.number(3));
    if bytes < 8 {
        return Err(Error::BadArgument);
    }
    let mut chunk = [0; CHUNK];
    let limit = (bytes - 8).min(CHUNK as u64) as usize;
    let (start, count) = log::read(from, &mut chunk[..limit]);
    user::write(buffer, &start)?;
    user::write_bytes(buffer.saturating_add(8), &chunk[..count])?;
    Ok((count as u64).into())
}

fn port(call: &Call<'_>) -> Result<usize> {
    usize::try_from(call.number(1)).ok().filter(|port| *port < serial::PORTS).ok_or(Error::NotFound)
}

pub(super) fn read(call: &Call<'_>) -> Result {
    call.system(0, Rights::READ)?;
    let port = port(call)?;
    let mut chunk = [0; CHUNK];
    let limit = call.number(3).min(CHUNK as u64) as usize;
    // Checked before bytes are taken, so that none is lost.
    user::write_bytes(call.number(2), &chunk[..limit])?;
    let count = serial::receive(port, &mut chunk[..limit]);
    user::write_bytes(call.number(2), &chunk[..count])?;
    Ok((count as u64).into())
}

pub(super) fn write(call: &Call<'_>) -> Result {
    const LIMIT: u64 = 4096;
    call.system(0, Rights::WRITE)?;
    let port = port(call)?;
    let (buffer, bytes) = (call.number(2), call.number(3));
    if bytes > LIMIT {
        return Err(Error::BadArgument);
    }
    let mut chunk = [0; LIMIT as usize];
    let chunk = &mut chunk[..bytes as usize];
    user::read_bytes(buffer, chunk)?;
    serial::send(port, chunk);
    Ok(().into())
}

pub(super) fn watch(call: &Call<'_>) -> Result {
    call.system(0, Rights::READ)?;
    console::watch(call.optional::<Ref<Event>>(1, Rights::WRITE)?);
    Ok(().into())
}

pub(super) fn power_off(call: &Call<'_>) -> Result {
    call.system(0, Rights::MANAGE)?;
    let code = u32::try_from(call.number(1)).map_err(|_| Error::BadArgument)?;
    power::off(code)
}
