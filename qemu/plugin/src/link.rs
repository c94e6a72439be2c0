//! The connection to who wants the counts: each line that arrives is answered with all counts so far.

use std::io::{BufRead, BufReader, Result, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::thread;

use crate::counts::counts;

/// Connects to the abstract socket `name` and answers until it is closed.
pub(crate) fn start(name: &str) -> Result<()> {
    let mut socket = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    let questions = BufReader::new(socket.try_clone()?);
    thread::Builder::new().name("weir-observer".into()).spawn(move || {
        for _question in questions.lines().map_while(Result::ok) {
            if writeln!(socket, "{}", counts().json()).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
