//! memcached's text protocol over UDP (memcached, `doc/protocol.txt`, "UDP protocol").
//!
//! **Invariants: one request per datagram, one datagram per answer**, which is never longer than the room given; a request
//! that is not understood in full changes nothing.
//!
//! Each datagram begins with 8 bytes, big-endian: request id, number of this datagram, how many there are, 0. Not done: requests
//! of several datagrams, and times of day as times of expiry (there is no clock that knows the day).

use core::fmt::{Arguments, Write};

use crate::store::{Item, NEVER, Store};

/// Bytes before the text.
pub const HEADER_BYTES: usize = 8;
/// Longest key.
const KEY_MAX_BYTES: usize = 250;
/// Longer times are times of day.
const RELATIVE_MAX_S: i64 = 30 * 24 * 60 * 60;
/// Most words of a line that are looked at.
const WORDS_MAX: usize = 64;

/// What the first line of an answer can be, besides values.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Refusal {
    #[error("ERROR")]
    Unknown,
    #[error("CLIENT_ERROR bad command line format")]
    Format,
    #[error("CLIENT_ERROR bad data chunk")]
    Data,
    #[error("CLIENT_ERROR one request per datagram")]
    Several,
    #[error("CLIENT_ERROR invalid exptime argument; at most 2592000 seconds from now")]
    Time,
    #[error("CLIENT_ERROR invalid numeric delta argument")]
    Delta,
    #[error("CLIENT_ERROR cannot increment or decrement non-numeric value")]
    NotNumber,
    #[error("SERVER_ERROR multi-packet request not supported")]
    Packets,
    #[error("SERVER_ERROR out of memory storing object")]
    Memory,
    #[error("SERVER_ERROR answer does not fit in one datagram")]
    LongAnswer,
    #[error("SERVER_ERROR writes are not taken over UDP while contents are kept on a disk; use TCP")]
    Logged,
}

/// An answer being written.
struct Answer<'a> {
    bytes: &'a mut [u8],
    len: usize,
    is_cut: bool,
}

impl Answer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        match self.bytes.get_mut(self.len..end) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len = end;
            }
            None => self.is_cut = true,
        }
    }

    fn line(&mut self, text: Arguments<'_>) {
        // A cut is remembered.
        let _ = self.write_fmt(text);
        self.put(b"\r\n");
    }
}

impl Write for Answer<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

/// A request, taken apart.
struct Request<'a> {
    words: [&'a [u8]; WORDS_MAX],
    count: usize,
    /// What follows the line.
    data: &'a [u8],
}

impl<'a> Request<'a> {
    fn parse(text: &'a [u8]) -> Result<Request<'a>, Refusal> {
        let end = text.iter().position(|byte| *byte == b'\n').ok_or(Refusal::Format)?;
        let line = &text[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut request = Request { words: [&[]; WORDS_MAX], count: 0, data: &text[end + 1..] };
        for word in line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
            *request.words.get_mut(request.count).ok_or(Refusal::Format)? = word;
            request.count += 1;
        }
        Ok(request)
    }

    fn words(&self) -> &[&'a [u8]] {
        &self.words[..self.count]
    }

    /// Whether the last word says that no answer is wanted.
    fn is_silent(&self) -> bool {
        let is_read = matches!(self.words, [b"get" | b"gets", ..]);
        !is_read && self.count > 2 && self.words().last().is_some_and(|word| *word == b"noreply")
    }
}

/// Answers the request in `datagram` into `reply`; gives the answer's length, `None` where there is none to give.
#[must_use]
pub fn answer(store: &mut Store, now_ms: u64, datagram: &[u8], reply: &mut [u8]) -> Option<usize> {
    let (header, text) = datagram.split_first_chunk::<HEADER_BYTES>()?;
    let [id_high, id_low, number_high, number_low, count_high, count_low, ..] = *header;
    let head = reply.get_mut(..HEADER_BYTES)?;
    head.copy_from_slice(&[id_high, id_low, 0, 0, 0, 1, 0, 0]);
    store.sweep(now_ms);
    let mut out = Answer { bytes: reply, len: HEADER_BYTES, is_cut: false };
    let is_whole = [number_high, number_low, count_high, count_low] == [0, 0, 0, 1];
    let is_silent = match Request::parse(text) {
        _ if !is_whole => refuse(&mut out, Refusal::Packets),
        Err(refusal) => refuse(&mut out, refusal),
        Ok(request) => match run(store, now_ms, &request, &mut out) {
            Ok(()) => request.is_silent(),
            Err(refusal) => refuse(&mut out, refusal) || request.is_silent(),
        },
    };
    if out.is_cut {
        refuse(&mut out, Refusal::LongAnswer);
    }
    (!is_silent).then_some(out.len)
}

/// Answers with a refusal; not silent.
fn refuse(out: &mut Answer<'_>, refusal: Refusal) -> bool {
    out.len = HEADER_BYTES;
    out.line(format_args!("{refusal}"));
    false
}

fn run(store: &mut Store, now_ms: u64, request: &Request<'_>, out: &mut Answer<'_>) -> Result<(), Refusal> {
    let words = request.words();
    let words = if request.is_silent() { &words[..words.len() - 1] } else { words };
    let (name, rest) = words.split_first().ok_or(Refusal::Unknown)?;
    let is_storing = matches!(*name, b"set" | b"add" | b"replace" | b"cas");
    if !is_storing && !request.data.is_empty() {
        return Err(Refusal::Several);
    }
    let is_writing = is_storing || matches!(*name, b"delete" | b"incr" | b"decr" | b"touch");
    if is_writing && store.is_logged() {
        return Err(Refusal::Logged);
    }
    match (*name, rest) {
        (b"get" | b"gets", keys @ [_, ..]) => values(store, now_ms, keys, *name == b"gets", out),
        (b"set" | b"add" | b"replace" | b"cas", [key, rest @ ..]) => {
            store_value(store, now_ms, name, key, rest, request.data, out)
        }
        (b"delete", [key]) => {
            let is_there = store.remove(checked(key)?, now_ms);
            out.put(if is_there { b"DELETED\r\n" } else { b"NOT_FOUND\r\n" });
            Ok(())
        }
        (b"incr" | b"decr", [key, delta]) => count(store, now_ms, *name == b"incr", key, delta, out),
        (b"touch", [key, time]) => {
            let is_there = store.expire(checked(key)?, end(now_ms, time)?, now_ms);
            out.put(if is_there { b"TOUCHED\r\n" } else { b"NOT_FOUND\r\n" });
            Ok(())
        }
        (b"version", []) => {
            out.line(format_args!("VERSION weir-kv {}", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        (b"stats", []) => {
            stats(store, out);
            Ok(())
        }
        (b"get" | b"gets" | b"delete" | b"incr" | b"decr" | b"touch", _) => Err(Refusal::Format),
        _ => Err(Refusal::Unknown),
    }
}

fn checked(key: &[u8]) -> Result<&[u8], Refusal> {
    let is_key = key.len() <= KEY_MAX_BYTES && !key.iter().any(u8::is_ascii_control);
    if is_key { Ok(key) } else { Err(Refusal::Format) }
}

/// A number without a sign.
fn number(word: &[u8]) -> Option<u64> {
    let is_plain = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    core::str::from_utf8(word).ok().filter(|_| is_plain)?.parse().ok()
}

/// When an entry ends that shall have `time`: 0 never, below 0 at once.
fn end(now_ms: u64, time: &[u8]) -> Result<u64, Refusal> {
    let seconds: i64 =
        core::str::from_utf8(time).ok().and_then(|text| text.parse().ok()).ok_or(Refusal::Time)?;
    match seconds {
        0 => Ok(NEVER),
        ..0 => Ok(now_ms),
        1..=RELATIVE_MAX_S => Ok(now_ms.saturating_add(seconds.unsigned_abs() * 1000)),
        _ => Err(Refusal::Time),
    }
}

fn values(
    store: &mut Store,
    now_ms: u64,
    keys: &[&[u8]],
    with_version: bool,
    out: &mut Answer<'_>,
) -> Result<(), Refusal> {
    for key in keys {
        let Some(Item { value, flags, version, .. }) = store.get(checked(key)?, now_ms) else { continue };
        out.put(b"VALUE ");
        out.put(key);
        match with_version {
            true => out.line(format_args!(" {flags} {} {version}", value.len())),
            false => out.line(format_args!(" {flags} {}", value.len())),
        }
        out.put(value);
        out.put(b"\r\n");
    }
    out.put(b"END\r\n");
    Ok(())
}

fn store_value(
    store: &mut Store,
    now_ms: u64,
    name: &[u8],
    key: &[u8],
    rest: &[&[u8]],
    data: &[u8],
    out: &mut Answer<'_>,
) -> Result<(), Refusal> {
    let (flags, time, len, version) = match (name, rest) {
        (b"cas", [flags, time, len, version]) => {
            (flags, time, len, Some(number(version).ok_or(Refusal::Format)?))
        }
        (b"cas", _) => return Err(Refusal::Format),
        (_, [flags, time, len]) => (flags, time, len, None),
        _ => return Err(Refusal::Format),
    };
    let key = checked(key)?;
    let flags = number(flags).and_then(|flags| u32::try_from(flags).ok()).ok_or(Refusal::Format)?;
    let len = number(len).and_then(|len| usize::try_from(len).ok()).ok_or(Refusal::Format)?;
    let (value, after) = data.split_at_checked(len).ok_or(Refusal::Data)?;
    match after {
        b"\r\n" => {}
        [b'\r', b'\n', ..] => return Err(Refusal::Several),
        _ => return Err(Refusal::Data),
    }
    let end_ms = end(now_ms, time)?;
    let old = store.get(key, now_ms).map(|item| item.version);
    let result: &[u8] = match (name, old, version) {
        (b"add", Some(_), _) | (b"replace", None, _) => b"NOT_STORED\r\n",
        (b"cas", None, _) => b"NOT_FOUND\r\n",
        (b"cas", Some(old), Some(version)) if old != version => b"EXISTS\r\n",
        _ => {
            store.set(key, value, flags, end_ms, now_ms).map_err(|_| Refusal::Memory)?;
            b"STORED\r\n"
        }
    };
    out.put(result);
    Ok(())
}

/// Adds and wraps at 2⁶⁴, or subtracts down to 0.
fn count(
    store: &mut Store,
    now_ms: u64,
    is_up: bool,
    key: &[u8],
    delta: &[u8],
    out: &mut Answer<'_>,
) -> Result<(), Refusal> {
    let delta = number(delta).ok_or(Refusal::Delta)?;
    let Some(item) = store.get(checked(key)?, now_ms) else {
        out.put(b"NOT_FOUND\r\n");
        return Ok(());
    };
    let old = number(item.value).ok_or(Refusal::NotNumber)?;
    let new = if is_up { old.wrapping_add(delta) } else { old.saturating_sub(delta) };
    let (flags, end_ms) = (item.flags, item.expires_ms);
    let digits = crate::number::Digits::unsigned(new);
    store.set(key, digits.bytes(), flags, end_ms, now_ms).map_err(|_| Refusal::Memory)?;
    out.put(digits.bytes());
    out.put(b"\r\n");
    Ok(())
}

fn stats(store: &Store, out: &mut Answer<'_>) {
    let counts = store.counts();
    let known = [
        ("curr_items", store.len() as u64),
        ("bytes", store.used_bytes() as u64),
        ("limit_maxbytes", store.budget_bytes() as u64),
        ("get_hits", counts.hits),
        ("get_misses", counts.misses),
        ("expired", counts.expired),
    ];
    for (name, value) in known {
        out.line(format_args!("STAT {name} {value}"));
    }
    out.put(b"END\r\n");
}
