//! Text that arrives in pieces, as lines.

/// Longest line kept; the rest of a longer one becomes lines of its own. The guest decides what it writes.
const LINE_MAX_BYTES: usize = 64 << 10;

/// Puts lines together.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes and gives the lines they complete, without their ends.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => lines.push(self.take()),
                byte => self.partial.push(*byte),
            }
            if self.partial.len() >= LINE_MAX_BYTES {
                lines.push(self.take());
            }
        }
        lines
    }

    /// What has arrived of a line that has no end yet.
    pub fn take(&mut self) -> String {
        let bytes = std::mem::take(&mut self.partial);
        String::from_utf8_lossy(&bytes).trim_end_matches('\r').to_owned()
    }
}

/// The line without control characters, terminal sequences included: a guest must not drive our terminal.
#[must_use]
pub fn without_escapes(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // Control sequence: ESC [ parameters, up to a letter. SeaBIOS writes some.
            if characters.next_if_eq(&'[').is_some() {
                while characters.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
            }
        } else if !character.is_control() || character == '\t' {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines() {
        let mut lines = Lines::default();
        assert!(lines.push(b"hel").is_empty());
        assert_eq!(lines.push(b"lo\r\nwor"), ["hello"]);
        assert_eq!(lines.push(b"ld\n\n"), ["world", ""]);
        assert_eq!(lines.push(b"weir> "), Vec::<String>::new());
        assert_eq!(lines.take(), "weir> ");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut lines = Lines::default();
        let pieces = lines.push(&vec![b'x'; 3 * LINE_MAX_BYTES + 1]);
        assert_eq!(pieces.len(), 3);
        assert_eq!(lines.take(), "x");
    }

    #[test]
    fn terminal_sequences_do_not_pass() {
        assert_eq!(without_escapes("a\u{1b}[2Jb\u{1b}c\u{7}d\te"), "abcd\te");
        assert_eq!(without_escapes("\u{1b}["), "");
    }
}
