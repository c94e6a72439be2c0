//! The console: line editing on serial port 0.

use alloc::string::String;
use alloc::vec::Vec;

use weir_abi::Error;
use weir_init_logic::line::{Input, LineEditor};
use weir_rt::System;
use weir_rt::system::CONSOLE;

/// What stands before the line.
const PROMPT: &str = "weir> ";

/// The console.
pub(crate) struct Console {
    system: System,
    editor: LineEditor,
}

impl Console {
    pub(crate) fn new(system: System) -> Console {
        Console { system, editor: LineEditor::default() }
    }

    /// Takes what was typed; gives the lines completed. Asks for the prompt again after each.
    pub(crate) fn read_lines(&mut self) -> Result<Vec<String>, Error> {
        let mut lines = Vec::new();
        let mut buffer = [0; 64];
        loop {
            let bytes = self.system.read_console(CONSOLE, &mut buffer)?;
            if bytes == 0 {
                return Ok(lines);
            }
            for byte in &buffer[..bytes] {
                self.take(*byte, &mut lines);
            }
        }
    }

    fn take(&mut self, byte: u8, lines: &mut Vec<String>) {
        match self.editor.take(byte) {
            Input::Echo(text) => self.write(text),
            Input::Character(c) => self.write(c.encode_utf8(&mut [0; 4])),
            Input::Cleared(text) => {
                self.write(text);
                self.prompt();
            }
            Input::Line(line) => {
                self.write("\r\n");
                lines.push(line);
            }
        }
    }

    /// Shows the prompt.
    pub(crate) fn prompt(&self) {
        self.write(PROMPT);
    }

    /// Shows text whose lines end with `\n`.
    pub(crate) fn print(&self, text: &str) {
        self.write(&text.replace('\n', "\r\n"));
    }

    fn write(&self, text: &str) {
        // The console is there (`read_lines` would have failed); there is nobody else to tell.
        let _ = self.system.write_console(CONSOLE, text.as_bytes());
    }
}
