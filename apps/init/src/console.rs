//! The console: line editing on serial port 0.

use alloc::collections::VecDeque;
use alloc::string::String;

use weir_abi::Error;
use weir_init_logic::line::{Input, LineEditor};
use weir_rt::System;
use weir_rt::system::CONSOLE;

/// What stands before the line.
const PROMPT: &str = "weir> ";
/// Most bytes typed ahead; the rest stays with the kernel.
const PENDING_BYTES: usize = 1024;

/// The console.
pub(crate) struct Console {
    system: System,
    editor: LineEditor,
    /// Received and not looked at yet: what was typed ahead is shown after the answer to what came before.
    pending: VecDeque<u8>,
}

impl Console {
    pub(crate) fn new(system: System) -> Console {
        Console { system, editor: LineEditor::default(), pending: VecDeque::new() }
    }

    /// Takes what was typed up to the end of a line, and gives the line; `None` where none is complete.
    pub(crate) fn read_line(&mut self) -> Result<Option<String>, Error> {
        self.receive()?;
        while let Some(byte) = self.pending.pop_front() {
            match self.editor.take(byte) {
                Input::Echo(text) => self.write(text),
                Input::Character(c) => self.write(c.encode_utf8(&mut [0; 4])),
                Input::Cleared(text) => {
                    self.write(text);
                    self.prompt();
                }
                Input::Line(line) => {
                    self.write("\r\n");
                    return Ok(Some(line));
                }
            }
        }
        Ok(None)
    }

    /// Takes what the port received, as long as there is room for it.
    fn receive(&mut self) -> Result<(), Error> {
        let mut buffer = [0; 64];
        while self.pending.len() < PENDING_BYTES {
            let bytes = self.system.read_console(CONSOLE, &mut buffer)?;
            if bytes == 0 {
                break;
            }
            self.pending.extend(&buffer[..bytes]);
        }
        Ok(())
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
        // The console is there (`read_line` would have failed); there is nobody else to tell.
        let _ = self.system.write_console(CONSOLE, text.as_bytes());
    }
}
