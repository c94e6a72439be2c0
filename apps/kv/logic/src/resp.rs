//! Commands in Redis' protocol, out of bytes that come bit by bit.
//!
//! **Invariants: what is found depends on the bytes, not on where they were cut; no byte is looked at more than a few times**,
//! however many pieces a command comes in; nothing is reserved because a length was announced.
//!
//! The texts of errors are Redis', because clients know them; those of limits that Redis does not have are ours.

use alloc::vec::Vec;

use crate::number::integer;
use crate::session::Limits;

/// Longest line `*COUNT` or `$LENGTH`, with its end: longer ones hold no number.
const HEADER_MAX_BYTES: usize = 32;
/// Longest inline command.
const INLINE_MAX_BYTES: usize = 64 << 10;

/// Bytes that are no command; the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("ERR Protocol error: invalid multibulk length")]
    Count,
    #[error("ERR Protocol error: invalid bulk length")]
    Length,
    #[error("ERR Protocol error: expected '$', got '{}'", char::from(*.0))]
    NoLength(u8),
    #[error("ERR Protocol error: too big mbulk count string")]
    LongCount,
    #[error("ERR Protocol error: too big bulk count string")]
    LongLength,
    #[error("ERR Protocol error: too big inline request")]
    LongInline,
    #[error("ERR Protocol error: unbalanced quotes in request")]
    Quotes,
    #[error("ERR Protocol error: escapes in an inline request; send an array of strings instead")]
    Escape,
    #[error("ERR Protocol error: expected CRLF after a string")]
    NoEnd,
    #[error("ERR Protocol error: command longer than {0} bytes")]
    LongCommand(usize),
}

/// Where an argument is.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

/// The arguments of a command, its name the first.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The `index`-th; empty where there is none.
    pub(crate) fn at(&self, index: usize) -> &'a [u8] {
        self.spans.get(index).map_or(&[], |span| self.slice(span))
    }

    /// All from the `first`-th on.
    pub(crate) fn from(&self, first: usize) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let this = *self;
        this.spans.iter().skip(first).map(move |span| this.slice(span))
    }

    fn slice(&self, span: &Span) -> &'a [u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Start,
    Count,
    Length,
    Data(usize),
    Inline,
}

/// A command half read. Its places are counted from the command's first byte.
#[derive(Debug)]
pub(crate) struct Parser {
    stage: Stage,
    /// Bytes that are understood.
    at: usize,
    /// Bytes of an inline command without a line's end among them.
    searched: usize,
    /// Arguments to come.
    left: usize,
    spans: Vec<Span>,
}

impl Parser {
    pub(crate) const fn new() -> Parser {
        Parser { stage: Stage::Start, at: 0, searched: 0, left: 0, spans: Vec::new() }
    }

    /// Goes on with `bytes`, which begin where the command does. Gives the command's length when all of it is there.
    pub(crate) fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        loop {
            let is_further = match self.stage {
                Stage::Start => self.start(bytes),
                Stage::Count => self.count(bytes, limits)?,
                Stage::Length => self.length(bytes, limits)?,
                Stage::Data(len) => self.data(bytes, len)?,
                Stage::Inline => return self.inline(bytes),
            };
            if !is_further {
                return Ok(None);
            }
            if self.left == 0 && matches!(self.stage, Stage::Length) {
                return Ok(Some(self.at));
            }
        }
    }

    /// The arguments found in `bytes`.
    pub(crate) fn args<'a>(&'a self, bytes: &'a [u8]) -> Args<'a> {
        Args { bytes, spans: &self.spans }
    }

    /// Makes ready for the next command.
    pub(crate) fn reset(&mut self) {
        self.spans.clear();
        (self.stage, self.at, self.searched, self.left) = (Stage::Start, 0, 0, 0);
    }

    fn start(&mut self, bytes: &[u8]) -> bool {
        let Some(first) = bytes.first() else { return false };
        self.stage = if *first == b'*' { Stage::Count } else { Stage::Inline };
        true
    }

    fn count(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        let Some(line) = self.line(bytes, ProtocolError::LongCount)? else { return Ok(false) };
        let count = line.get(1..).and_then(integer).ok_or(ProtocolError::Count)?;
        // Without arguments there is nothing to do, as in Redis.
        self.left = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
        if self.left > limits.args_max {
            return Err(ProtocolError::Count);
        }
        self.stage = Stage::Length;
        Ok(true)
    }

    fn length(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        let Some(line) = self.line(bytes, ProtocolError::LongLength)? else { return Ok(false) };
        let digits = match line {
            [b'$', digits @ ..] => digits,
            [other, ..] => return Err(ProtocolError::NoLength(*other)),
            [] => return Err(ProtocolError::NoLength(b'\r')),
        };
        let length = integer(digits).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= limits.bulk_max_bytes).ok_or(ProtocolError::Length)?;
        if self.at.saturating_add(length) > limits.command_max_bytes {
            return Err(ProtocolError::LongCommand(limits.command_max_bytes));
        }
        self.stage = Stage::Data(length);
        Ok(true)
    }

    fn data(&mut self, bytes: &[u8], len: usize) -> Result<bool, ProtocolError> {
        let end = self.at + len;
        let Some(after) = bytes.get(end..end + 2) else { return Ok(false) };
        if after != b"\r\n" {
            return Err(ProtocolError::NoEnd);
        }
        self.push(self.at, end);
        self.at = end + 2;
        self.left -= 1;
        self.stage = Stage::Length;
        Ok(true)
    }

    /// The line that begins at `at`, without its end.
    fn line<'a>(
        &mut self,
        bytes: &'a [u8],
        too_long: ProtocolError,
    ) -> Result<Option<&'a [u8]>, ProtocolError> {
        let rest = &bytes[self.at.min(bytes.len())..];
        let rest = &rest[..rest.len().min(HEADER_MAX_BYTES)];
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return if rest.len() < HEADER_MAX_BYTES { Ok(None) } else { Err(too_long) };
        };
        self.at += end + 2;
        Ok(Some(&rest[..end]))
    }

    fn inline(&mut self, bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let most = &bytes[..bytes.len().min(INLINE_MAX_BYTES)];
        let Some(end) = most[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = most.len();
            return if most.len() < INLINE_MAX_BYTES { Ok(None) } else { Err(ProtocolError::LongInline) };
        };
        let end = self.searched + end;
        self.words(&bytes[..end])?;
        Ok(Some(end + 1))
    }

    /// The words of an inline command: between blanks, or in quotes.
    fn words(&mut self, line: &[u8]) -> Result<(), ProtocolError> {
        let mut at = 0;
        while let Some(&byte) = line.get(at) {
            if byte.is_ascii_whitespace() {
                at += 1;
                continue;
            }
            let (start, end) = word(line, at)?;
            self.push(start, end);
            at = end + usize::from(start > at);
        }
        Ok(())
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a command is shorter: Limits::command_max_bytes fits"
    )]
    fn push(&mut self, start: usize, end: usize) {
        self.spans.push(Span { start: start as u32, end: end as u32 });
    }
}

/// Start and end of the word at `at`; a quoted one starts after its quote.
fn word(line: &[u8], at: usize) -> Result<(usize, usize), ProtocolError> {
    let quote = line[at];
    if !matches!(quote, b'"' | b'\'') {
        let len = line[at..].iter().position(u8::is_ascii_whitespace);
        let end = len.map_or(line.len(), |len| at + len);
        return if line[at..end].contains(&b'"') { Err(ProtocolError::Quotes) } else { Ok((at, end)) };
    }
    let start = at + 1;
    let len = line[start..].iter().position(|byte| *byte == quote).ok_or(ProtocolError::Quotes)?;
    let end = start + len;
    if line[start..end].contains(&b'\\') {
        return Err(ProtocolError::Escape);
    }
    // Redis wants a blank after the closing quote.
    let is_closed = line.get(end + 1).is_none_or(u8::is_ascii_whitespace);
    if is_closed { Ok((start, end)) } else { Err(ProtocolError::Quotes) }
}
