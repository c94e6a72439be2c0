//! This terminal as the guest's console (`--serial`).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::Result;
use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::vm::Vm;

/// An attached terminal; dropped, it is put back as it was.
pub(super) struct Attached {
    before: Option<Termios>,
    console: UnixStream,
}

/// Takes this terminal for the guest's console: key by key, no echo. Ctrl-C still ends the run.
///
/// # Errors
/// The system has no more file descriptors.
pub(super) fn attach(vm: &Vm) -> Result<Attached> {
    let console = vm.console()?;
    let before = tcgetattr(std::io::stdin()).ok();
    if let Some(mut modes) = before.clone() {
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        modes.input_modes -= InputModes::ICRNL;
        tcsetattr(std::io::stdin(), OptionalActions::Now, &modes)?;
    }
    Ok(Attached { before, console })
}

impl Attached {
    /// Sends what is typed to the guest, from now on: before the supervisor runs nobody would read it.
    ///
    /// # Errors
    /// The system has no more file descriptors.
    pub(super) fn listen(&self) -> Result<()> {
        let mut console = self.console.try_clone()?;
        let is_terminal = self.before.is_some();
        std::thread::spawn(move || {
            let mut buffer = [0; 256];
            while let Ok(bytes @ 1..) = std::io::stdin().read(&mut buffer) {
                let typed = &mut buffer[..bytes];
                if !is_terminal {
                    // Commands from a file end with a newline; the console expects the Enter key.
                    typed.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'\r');
                }
                if console.write_all(typed).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // The terminal may have gone away; then nobody is left to tell.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Shows what the guest wrote, unchanged: on an attached console its prompt and line editing belong to it.
pub(super) fn show(bytes: &[u8]) {
    let mut out = std::io::stdout();
    // A reader that went away is no reason to leave the machine alone.
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}
