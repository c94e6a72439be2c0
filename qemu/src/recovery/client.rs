//! Clients of the application `kv`.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

/// A connection.
pub struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects within `limit`; an answer may take as long as `patience`.
    ///
    /// # Errors
    /// Nobody there accepts.
    pub fn connect(server: SocketAddr, limit: Duration, patience: Duration) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&server, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Client(BufReader::new(stream)))
    }

    /// What an inline command is answered with: a line, or the one string; `$-1` where there is none.
    ///
    /// # Errors
    /// The connection ended, or no answer came in time.
    pub fn ask(&mut self, command: &str) -> io::Result<String> {
        self.send(&format!("{command}\r\n"))?;
        self.answer()
    }

    fn send(&mut self, commands: &str) -> io::Result<()> {
        self.0.get_mut().write_all(commands.as_bytes())
    }

    fn answer(&mut self) -> io::Result<String> {
        let line = self.line()?;
        if line.starts_with('$') && line != "$-1" { self.line() } else { Ok(line) }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// Time between two of its requests.
const PACE: Duration = Duration::from_millis(5);
/// How long it waits for an answer at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection on which a key is written every few milliseconds. **Invariant: it is never made anew.**
pub struct Paced {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<u64>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    answered: AtomicU64,
    longest_us: AtomicU64,
}

impl Paced {
    /// Connects and begins.
    ///
    /// # Errors
    /// Nobody accepts.
    pub fn begin(server: SocketAddr) -> Result<Paced> {
        let client = Client::connect(server, PATIENCE, PATIENCE)?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        Ok(Paced { shared, thread: thread::spawn(move || theirs.write(client)) })
    }

    /// How long it has waited for an answer at most since this was asked last, until `count` more have come.
    ///
    /// # Errors
    /// They do not come.
    pub fn longest(&self, count: u64) -> Result<Duration> {
        let (first, start) = (self.shared.answered.load(Ordering::Acquire), Instant::now());
        while self.shared.answered.load(Ordering::Acquire) < first + count {
            ensure!(!self.thread.is_finished(), "the paced client's connection broke");
            ensure!(start.elapsed() < PATIENCE, "the paced client has no answer");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Duration::from_micros(self.shared.longest_us.swap(0, Ordering::AcqRel)))
    }

    /// Ends it. Every key that was acknowledged must read back; gives how many these are.
    ///
    /// # Errors
    /// One does not, or the connection broke.
    pub fn end(self) -> Result<u64> {
        self.shared.is_over.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow!("the paced client panicked"))?
    }
}

impl Shared {
    fn write(&self, mut client: Client) -> Result<u64> {
        let mut written = 0;
        while !self.is_over.load(Ordering::Acquire) {
            let asked = Instant::now();
            let said = client.ask(&format!("SET paced:{written} {written}")).context("the paced client")?;
            ensure!(said == "+OK", "write {written} of the paced client: {said}");
            written += 1;
            let waited_us = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.longest_us.fetch_max(waited_us, Ordering::AcqRel);
            self.answered.store(written, Ordering::Release);
            thread::sleep(PACE.saturating_sub(asked.elapsed()));
        }
        for number in 0..written {
            let said = client.ask(&format!("GET paced:{number}")).context("the paced client")?;
            ensure!(said == number.to_string(), "write {number} was acknowledged, and is now {said}");
        }
        Ok(written)
    }
}

/// Clients that write and read as fast as they are answered, and come again whatever happens.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Commands sent at once by each.
const PIPELINED: usize = 16;
/// How long they wait: not for what died with the server.
const LOAD_PATIENCE: Duration = Duration::from_millis(100);

impl Load {
    /// As many clients.
    #[must_use]
    pub fn begin(server: SocketAddr, clients: usize) -> Load {
        let shared = Arc::new(Shared::default());
        let begin = |number| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                while !shared.is_over.load(Ordering::Acquire) {
                    // It ends when the server does: then it comes again.
                    if shared.burden(server, number).is_err() {
                        thread::sleep(PACE);
                    }
                }
            })
        };
        let threads = (0..clients).map(begin).collect();
        Load { shared, threads }
    }

    /// How many commands were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Acquire)
    }

    /// Ends them.
    ///
    /// # Errors
    /// One panicked.
    pub fn end(self) -> Result<u64> {
        self.shared.is_over.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a client panicked"))?;
        }
        Ok(self.shared.answered.load(Ordering::Acquire))
    }
}

impl Shared {
    fn burden(&self, server: SocketAddr, number: usize) -> io::Result<()> {
        let mut client = Client::connect(server, LOAD_PATIENCE, LOAD_PATIENCE)?;
        let commands = format!("SET load:{number} {number}\r\nGET load:{number}\r\n").repeat(PIPELINED / 2);
        while !self.is_over.load(Ordering::Acquire) {
            client.send(&commands)?;
            for _ in 0..PIPELINED {
                client.answer()?;
            }
            self.answered.fetch_add(PIPELINED as u64, Ordering::AcqRel);
        }
        Ok(())
    }
}
