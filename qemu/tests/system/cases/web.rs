//! What the cases of web pages share: a guest whose port 80 a port of this host leads to, and curl.

use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use weir_runner::guest::{Guest, Setup};
use weir_runner::{child, tools};

/// A machine that serves at port 80, booted, with its data path running; and this host's port for it.
pub(super) fn boot(setup: Setup, app: &str) -> Result<(Guest, u16)> {
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let network = format!("user,hostfwd=tcp:127.0.0.1:{port}-:80");
    let (mut guest, _) = setup.network(network).boot()?;
    guest.status_when("a running data path", std::time::Duration::from_secs(20), |status| {
        status.app(app).is_some_and(|app| app.ready)
    })?;
    Ok((guest, port))
}

/// What curl, bound to end within a minute, says with these words.
pub(super) fn curl(words: &[&str]) -> Result<Vec<u8>> {
    let mut command = child::bound(tools::curl()?);
    command.args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*"]).args(words);
    output(&mut command)
}

/// What a program says that must succeed.
pub(super) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {}: {errors}", output.status);
    Ok(output.stdout)
}
