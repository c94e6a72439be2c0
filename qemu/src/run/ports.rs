//! Which ports of this host lead to the guest.

use anyhow::Result;

use crate::child;
use crate::cli::SystemOptions;
use crate::manifest;
use crate::port::Port;
use crate::system::manifest_path;

/// Ports of the guest, each with this host's port for it.
pub(super) struct Ports(Vec<(Port, u16)>);

impl Ports {
    /// Free ports for those that the system's manifest names; `wanted` for the first.
    ///
    /// # Errors
    /// They are busy, or the manifest is wrong.
    pub(super) fn choose(options: &SystemOptions, mut wanted: Option<u16>) -> Result<Ports> {
        let named = manifest::read(&manifest_path(options)?, options.cpus)?.ports;
        let ports = if named.is_empty() { vec![Port::echo()] } else { named };
        let chosen = ports.into_iter().map(|port| {
            let number = port.choose(wanted.take())?;
            Ok((port, number))
        });
        Ok(Ports(chosen.collect::<Result<_>>()?))
    }

    /// The argument of `-netdev` without the id.
    pub(super) fn netdev(&self) -> String {
        let mut words = String::from("user");
        for (port, number) in &self.0 {
            words += &format!(",hostfwd={}:127.0.0.1:{number}-:{}", port.protocol.word(), port.guest);
        }
        words
    }

    /// What to type to hear an answer.
    pub(super) fn greetings(&self) -> Vec<String> {
        self.0.iter().map(|(port, number)| greeting(port, *number)).collect()
    }
}

/// What the manifest says, or else an echo with a tool that is there.
fn greeting(port: &Port, number: u16) -> String {
    match &port.hint {
        Some(hint) => hint.replace("{port}", &number.to_string()),
        None if child::find("nc").is_some() => format!("echo hello | nc -u -w1 127.0.0.1 {number}"),
        None => format!("bash -c 'exec 3<>/dev/udp/127.0.0.1/{number}; echo hello >&3; head -n1 <&3'"),
    }
}
