//! Answers in Redis' protocol, version 2 ("Redis serialization protocol specification").

use alloc::vec::Vec;
use core::fmt::Display;

use crate::number::Digits;

/// Appends a number with what marks its kind.
fn marked(out: &mut Vec<u8>, mark: u8, number: i64) {
    out.push(mark);
    out.extend_from_slice(Digits::new(number).bytes());
    end(out);
}

fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// `+text`.
pub(crate) fn simple(out: &mut Vec<u8>, text: &str) {
    out.push(b'+');
    out.extend_from_slice(text.as_bytes());
    end(out);
}

/// `-text`; a line's end within becomes blanks.
pub(crate) fn error(out: &mut Vec<u8>, error: &dyn Display) {
    let text = alloc::format!("{error}");
    out.push(b'-');
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    end(out);
}

/// `:number`.
pub(crate) fn integer(out: &mut Vec<u8>, number: i64) {
    marked(out, b':', number);
}

/// A length or count.
pub(crate) fn count(out: &mut Vec<u8>, number: usize) {
    integer(out, i64::try_from(number).unwrap_or(i64::MAX));
}

/// A string of any bytes.
pub(crate) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    marked(out, b'$', i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.extend_from_slice(bytes);
    end(out);
}

/// No string.
pub(crate) fn nil(out: &mut Vec<u8>) {
    out.extend_from_slice(b"$-1\r\n");
}

/// The head of an array of so many answers, which follow.
pub(crate) fn array(out: &mut Vec<u8>, len: usize) {
    marked(out, b'*', i64::try_from(len).unwrap_or(i64::MAX));
}
