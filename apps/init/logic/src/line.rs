//! The console's input line.
//!
//! **Invariant: the screen shows the prompt and exactly the line's characters.** Takes printable ASCII;
//! backspace and delete take the last character away, Ctrl-U and Ctrl-C the whole line. Escape sequences (arrow
//! keys) are swallowed. No history.

use alloc::string::String;

/// Longest line; what is typed beyond it is ignored, with a beep.
const LINE_BYTES: usize = 120;

/// What a byte did.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing more than to show this text.
    Echo(&'static str),
    /// A character was added: show it.
    Character(char),
    /// The whole line is gone: show a new prompt after this text.
    Cleared(&'static str),
    /// The line is complete.
    Line(String),
}

/// The line being typed.
#[derive(Debug, Default)]
pub struct LineEditor {
    line: String,
    escape: Escape,
    /// A carriage return was the last byte: a line feed now belongs to it.
    after_return: bool,
}

/// Where in an escape sequence (ECMA-48 §5.4 "Control sequences") the input is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Started,
    /// After ESC `[` or ESC `O`: up to a final byte.
    Sequence,
}

impl LineEditor {
    /// What is typed so far.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Takes a byte from the console.
    pub fn take(&mut self, byte: u8) -> Input {
        let was_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        if self.is_in_escape(byte) {
            return Input::Echo("");
        }
        match byte {
            b'\n' if was_return => Input::Echo(""),
            b'\r' | b'\n' => Input::Line(core::mem::take(&mut self.line)),
            0x08 | 0x7f => Input::Echo(if self.line.pop().is_some() { "\x08 \x08" } else { "" }),
            0x03 => self.clear("^C\r\n"),
            0x15 => self.clear("\r\x1b[K"),
            0x20..0x7f if self.line.len() < LINE_BYTES => {
                self.line.push(byte.into());
                Input::Character(byte.into())
            }
            0x20..0x7f => Input::Echo("\x07"),
            _ => Input::Echo(""),
        }
    }

    fn clear(&mut self, text: &'static str) -> Input {
        self.line.clear();
        Input::Cleared(text)
    }

    /// Whether `byte` belongs to an escape sequence.
    fn is_in_escape(&mut self, byte: u8) -> bool {
        let (next, is_inside) = match (&self.escape, byte) {
            (_, 0x1b) => (Escape::Started, true),
            (Escape::Started, b'[' | b'O') => (Escape::Sequence, true),
            (Escape::Sequence, 0x20..0x40) => (Escape::Sequence, true),
            (Escape::Sequence, 0x40..0x7f) => (Escape::None, true),
            _ => (Escape::None, false),
        };
        self.escape = next;
        is_inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> Vec<String> {
        let mut editor = LineEditor::default();
        let lines = bytes.iter().filter_map(|b| match editor.take(*b) {
            Input::Line(line) => Some(line),
            _ => None,
        });
        lines.collect()
    }

    #[test]
    fn edits() {
        assert_eq!(typed(b"ps\r"), ["ps"]);
        assert_eq!(typed(b"ps\r\nlog\n\n"), ["ps", "log", ""]);
        assert_eq!(typed(b"px\x7fs\x08\x08\x08\x08lsdev\r"), ["lsdev"]);
        assert_eq!(typed(b"kill all\x03ps\r"), ["ps"]);
        assert_eq!(typed(b"kill all\x15ps\r"), ["ps"]);
        assert_eq!(typed(b"p\x1b[A\x1b[1;5C\x1bOPs\x00\xff\x09\r"), ["ps"]);
        assert_eq!(typed(b"\x1bps\r"), ["ps"]);
    }

    #[test]
    fn echoes_what_it_took() {
        let mut editor = LineEditor::default();
        assert_eq!(editor.take(0x7f), Input::Echo(""), "nothing to take away");
        assert_eq!(editor.take(b'a'), Input::Character('a'));
        assert_eq!(editor.line(), "a");
        assert_eq!(editor.take(0x7f), Input::Echo("\x08 \x08"));
        assert_eq!(editor.take(0x03), Input::Cleared("^C\r\n"));
    }

    #[test]
    fn is_bounded() {
        let mut editor = LineEditor::default();
        for _ in 0..LINE_BYTES {
            assert_eq!(editor.take(b'x'), Input::Character('x'));
        }
        assert_eq!(editor.take(b'x'), Input::Echo("\x07"));
        assert_eq!(editor.take(b'\r'), Input::Line("x".repeat(LINE_BYTES)));
    }
}
