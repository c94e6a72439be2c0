//! Child processes that do not outlive us.
//!
//! **Invariant: a process started through [`bound`] is killed by the kernel when the thread that started it
//! ends, however it ends.** `setpriv` (util-linux) sets the parent-death signal and becomes the program, so
//! the process id is the program's. Where `setpriv` is missing the program is started plainly.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// A command for `program`, bound to the life of the thread that spawns it.
#[must_use]
pub fn bound(program: impl AsRef<OsStr>) -> Command {
    match find("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// The program `name` on the search path.
#[must_use]
pub fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
