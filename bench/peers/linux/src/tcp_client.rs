//! A client of echo over TCP (RFC 862 "Echo Protocol"), by the sockets of Linux: what comes back is compared byte by byte.
//!
//! `tcp-client [fe80::1%2]:7 bytes=1048576` sends so much and receives it at the same time.
//! `tcp-client 10.0.2.15:7 rounds=100 every_ms=50` sends a line so often and waits for it, and says how long the longest wait
//! was: a connection that stays while something is done to the network.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// How long the peer may be silent.
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes of a line.
const LINE_BYTES: usize = 100;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(line) => {
            println!("tcp-client: {line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("tcp-client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> io::Result<String> {
    let wrong = || io::Error::other("usage: tcp-client ADDRESS:PORT bytes=N | rounds=N every_ms=N");
    let number = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
    let peer: SocketAddr = words.first().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
    let stream = TcpStream::connect_timeout(&peer, LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    match (number("bytes="), number("rounds="), number("every_ms=")) {
        (Some(bytes), None, None) => transfer(stream, bytes),
        (None, Some(rounds), Some(every_ms)) => {
            go_to_and_fro(stream, rounds, Duration::from_millis(every_ms))
        }
        _ => Err(wrong()),
    }
}

/// Byte `at` of what is sent: the same for no two places that a lost segment could exchange.
fn byte(at: u64) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)).to_le_bytes()[0]
}

fn transfer(mut stream: TcpStream, bytes: u64) -> io::Result<String> {
    let begin = Instant::now();
    let mut writer = stream.try_clone()?;
    let sender = thread::spawn(move || -> io::Result<()> {
        let all: Vec<u8> = (0..bytes).map(byte).collect();
        writer.write_all(&all)?;
        writer.shutdown(Shutdown::Write)
    });
    let (mut buffer, mut back) = ([0; 1 << 14], 0);
    loop {
        let count = stream
            .read(&mut buffer)
            .map_err(|error| io::Error::new(error.kind(), format!("{error} after {back} bytes")))?;
        if count == 0 {
            break;
        }
        for received in &buffer[..count] {
            if *received != byte(back) {
                return Err(io::Error::other(format!("byte {back} came back as {received}")));
            }
            back += 1;
        }
    }
    sender.join().map_err(|_| io::Error::other("the sender panicked"))??;
    if back != bytes {
        return Err(io::Error::other(format!("{back} of {bytes} bytes came back")));
    }
    Ok(format!("{bytes} bytes there and back in {} ms", begin.elapsed().as_millis()))
}

fn go_to_and_fro(mut stream: TcpStream, rounds: u64, every: Duration) -> io::Result<String> {
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let sent: Vec<u8> = (0..LINE_BYTES as u64).map(|at| byte(round * 1000 + at)).collect();
        let begin = Instant::now();
        stream.write_all(&sent)?;
        let mut back = [0; LINE_BYTES];
        stream
            .read_exact(&mut back)
            .map_err(|error| io::Error::new(error.kind(), format!("{error} in round {round}")))?;
        if back[..] != sent {
            return Err(io::Error::other(format!("round {round} came back changed")));
        }
        longest = longest.max(begin.elapsed());
        thread::sleep(every);
    }
    Ok(format!("{rounds} rounds, the longest of {} ms", longest.as_millis()))
}
