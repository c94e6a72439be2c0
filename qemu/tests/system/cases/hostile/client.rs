//! A client that means well, while others do not: it has a connection that stays, and makes new ones.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(20);
/// Between two questions: a client is no flood.
const PAUSE: Duration = Duration::from_millis(10);

/// What it was given.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// Answers on the connection that stays, and connections that were made and answered.
    pub(super) answers: usize,
    pub(super) connections: usize,
    /// New connections that failed.
    pub(super) turned_away: usize,
    /// The longest time that either took.
    pub(super) longest_answer: Duration,
    pub(super) longest_connection: Duration,
}

/// The client at work, on a thread of its own.
pub(super) struct Client {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Served>>,
}

impl Client {
    /// Connects, and begins.
    pub(super) fn begin(service: SocketAddr) -> Result<Client> {
        let mut staying = connect(service)?;
        ask(&mut staying, 0)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        Ok(Client { is_over, thread: thread::spawn(move || work(service, staying, &over)) })
    }

    /// What it was given until now.
    pub(super) fn stop(self) -> Result<Served> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the client panicked"))?
    }
}

fn work(service: SocketAddr, mut staying: TcpStream, is_over: &AtomicBool) -> Result<Served> {
    let mut served = Served::default();
    while !is_over.load(Ordering::Relaxed) {
        let begin = Instant::now();
        ask(&mut staying, served.answers)
            .with_context(|| format!("on the connection that stays, after {served:?}"))?;
        served.answers += 1;
        served.longest_answer = served.longest_answer.max(begin.elapsed());
        let begin = Instant::now();
        match connect(service).and_then(|mut another| ask(&mut another, served.answers)) {
            Ok(()) => served.connections += 1,
            Err(_) => served.turned_away += 1,
        }
        served.longest_connection = served.longest_connection.max(begin.elapsed());
        thread::sleep(PAUSE);
    }
    Ok(served)
}

fn connect(service: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&service, LIMIT).context("no connection")?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, number: usize) -> Result<()> {
    let question = number.to_le_bytes().repeat(10);
    stream.write_all(&question)?;
    let mut answer = vec![0; question.len()];
    stream.read_exact(&mut answer).context("no answer")?;
    ensure!(answer == question, "another answer: {answer:?}");
    Ok(())
}
