//! QEMU's control socket: a command at a time and its answer, JSON objects a line each (QEMU Machine Protocol).
//!
//! **Invariant: the answer given to a command is its own**: events that come between are kept, and asked for by name.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long QEMU may take to answer a command.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The connection.
pub(super) struct Qmp {
    socket: UnixStream,
    reader: BufReader<UnixStream>,
    /// A line that has not come whole yet.
    partial: Vec<u8>,
    /// Not asked for yet, oldest first.
    events: Vec<Value>,
}

impl Qmp {
    /// Greets QEMU. It answers once it has set up the whole machine.
    ///
    /// # Errors
    /// It ended before that, or took longer than `limit`.
    pub(super) fn connect(socket: UnixStream, limit: Duration) -> Result<Qmp> {
        let reader = BufReader::new(socket.try_clone()?);
        let mut qmp = Qmp { socket, reader, partial: vec![], events: vec![] };
        qmp.send("qmp_capabilities", &Value::Null)?;
        qmp.answer(limit).context("it did not greet")?;
        Ok(qmp)
    }

    /// Has QEMU carry out a command; gives what that returns.
    ///
    /// # Errors
    /// QEMU refuses (its own words), ends, or does not answer in time.
    pub(super) fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        self.send(command, arguments)?;
        self.answer(ANSWER_LIMIT).with_context(|| format!("QEMU command {command}"))
    }

    /// Waits for an event called `name` that was not asked for before, about the device `device`.
    ///
    /// # Errors
    /// None within `limit`.
    pub(super) fn wait_event(&mut self, name: &str, device: &str, limit: Duration) -> Result<()> {
        let is_it = |event: &Value| event["event"] == name && event["data"]["device"] == device;
        let deadline = Instant::now() + limit;
        loop {
            if let Some(index) = self.events.iter().position(is_it) {
                self.events.remove(index);
                return Ok(());
            }
            match self.message(deadline)? {
                Some(message) => self.events.push(message),
                None => bail!("no event {name} of {device} within {} s", limit.as_secs()),
            }
        }
    }

    /// Tells QEMU to end.
    pub(super) fn quit(&mut self) -> Result<()> {
        self.send("quit", &Value::Null)
    }

    fn send(&mut self, command: &str, arguments: &Value) -> Result<()> {
        let mut message = json!({ "execute": command });
        if !arguments.is_null() {
            message["arguments"] = arguments.clone();
        }
        let line = format!("{message}\n");
        self.socket.write_all(line.as_bytes()).context("QEMU's control socket is closed")
    }

    fn answer(&mut self, limit: Duration) -> Result<Value> {
        let deadline = Instant::now() + limit;
        while let Some(message) = self.message(deadline)? {
            if let Some(value) = message.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = message.get("error") {
                bail!("{}", error["desc"].as_str().unwrap_or("an error without words"));
            }
            if message.get("event").is_some() {
                self.events.push(message);
            }
        }
        bail!("no answer within {} s", limit.as_secs())
    }

    /// The next message, or `None` at the deadline.
    fn message(&mut self, deadline: Instant) -> Result<Option<Value>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.reader.get_ref().set_read_timeout(Some(left))?;
            match self.reader.read_until(b'\n', &mut self.partial) {
                Ok(_) if self.partial.ends_with(b"\n") => {
                    return Ok(Some(serde_json::from_slice(&std::mem::take(&mut self.partial))?));
                }
                Ok(_) => bail!("QEMU ended"),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("QEMU's control socket"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection, and QEMU's end of it, which has greeted.
    fn pair() -> (Qmp, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"{\"QMP\":{}}\n{\"return\":{}}\n").unwrap();
        (Qmp::connect(ours, Duration::from_secs(5)).unwrap(), theirs)
    }

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn events_between_a_command_and_its_answer_are_kept() {
        let (mut qmp, mut theirs) = pair();
        theirs
            .write_all(b"{\"event\":\"DEVICE_DELETED\",\"data\":{\"device\":\"a\"}}\n{\"return\":7}\n")
            .unwrap();
        assert_eq!(qmp.execute("query", &Value::Null).unwrap(), 7);
        assert!(qmp.wait_event("DEVICE_DELETED", "b", SHORT).is_err());
        qmp.wait_event("DEVICE_DELETED", "a", SHORT).unwrap();
        assert!(qmp.wait_event("DEVICE_DELETED", "a", SHORT).is_err(), "each event counts once");
    }

    #[test]
    fn refusals_carry_the_words_of_qemu() {
        let (mut qmp, mut theirs) = pair();
        theirs.write_all(b"{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such bus\"}}\n").unwrap();
        let error = qmp.execute("device_add", &json!({ "driver": "e1000e" })).unwrap_err();
        assert!(format!("{error:#}").contains("device_add: no such bus"), "{error:#}");
    }

    #[test]
    fn a_line_may_come_in_pieces_and_an_end_is_seen() {
        let (mut qmp, mut theirs) = pair();
        theirs.write_all(b"{\"event\":\"X\",\"da").unwrap();
        assert!(qmp.wait_event("X", "a", SHORT).is_err());
        theirs.write_all(b"ta\":{\"device\":\"a\"}}\n").unwrap();
        qmp.wait_event("X", "a", SHORT).unwrap();
        drop(theirs);
        assert!(qmp.execute("quit", &Value::Null).is_err());
    }
}
