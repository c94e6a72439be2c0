//! Moves bytes over one TCP connection, from its own network device: connects with a host, by name or address, sends, receives
//! until the host has sent its last, and says how fast that was and what the bytes' checksums are.
//!
//! A program that does one thing after the other: what it waits for is a call ([`weir_service::Host::wait`]). The host needs
//! nothing special: `nc -l 5001 </dev/null | crc32 /dev/stdin` takes what is sent, `nc -l 5001 <file` sends a file.
//!
//! Reading order: [`words`] (what it is told) · this file.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod words;

use alloc::format;
use alloc::vec;

use crc::{CRC_32_ISO_HDLC, Crc, Table};
use weir_rt::{Env, clock, log};
use weir_service::sockets::{Buffers, IpAddress, IpEndpoint, Ipv4Address, TcpStream};
use weir_service::{Failure, Host, Network, off_path};

use crate::words::Words;

weir_rt::entry!(main);

/// What `crc32`, gzip and Python's `zlib.crc32` compute.
static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);
/// Bytes handed over at once.
const PIECE_BYTES: usize = 16 << 10;
const BUFFERS: Buffers = Buffers { rx_bytes: 64 << 10, tx_bytes: 64 << 10 };
/// How long the other side's first sign may take.
const PATIENCE_NS: u64 = 20_000_000_000;

fn main(mut env: Env) -> Result<(), Failure> {
    let (network, rest) = Network::parse(env.args())?;
    let words = Words::parse(&rest).map_err(|bad| Failure::Application(format!("{bad}")))?;
    weir_service::run_blocking(&mut env, &network, move |host| transfer(host, &words))
}

fn transfer(host: &mut Host<'_>, words: &Words) -> Result<(), Failure> {
    let net = host.net().clone();
    let deadline_ns = net.now_ns() + PATIENCE_NS;
    host.wait(net.within(deadline_ns, net.addressed()))?.ok_or_else(|| told("there is no address"))?;
    let remote = IpEndpoint::new(address(host, &words.host)?, words.port);
    let mut stream = host.wait(net.connect(remote, BUFFERS))??;
    send(host, &mut stream, words.send_bytes)?;
    receive(host, &mut stream)
}

fn told(text: &str) -> Failure {
    Failure::Application(text.into())
}

/// The address of a host whose name or address is given.
fn address(host: &mut Host<'_>, name: &str) -> Result<IpAddress, Failure> {
    if let Ok(address) = name.parse::<Ipv4Address>() {
        return Ok(address.into());
    }
    let net = host.net().clone();
    let addresses = host.wait(net.resolve(name))??;
    let first = *addresses.first().ok_or_else(|| told("the name has no address"))?;
    off_path(|| log!("{name} is {first}"));
    Ok(first)
}

/// Sends so many bytes, and that they are all.
fn send(host: &mut Host<'_>, stream: &mut TcpStream, bytes: u64) -> Result<(), Failure> {
    let (begin_ns, mut digest, mut left) = (clock::now_ns(), CRC.digest(), bytes);
    let mut piece = vec![0; PIECE_BYTES];
    while left > 0 {
        let from = bytes - left;
        piece.iter_mut().zip(from..).for_each(|(byte, at)| *byte = byte_at(at));
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        host.wait(stream.write_all(&piece[..count]))??;
        digest.update(&piece[..count]);
        left -= count as u64;
    }
    stream.close();
    tell("sent", bytes, clock::now_ns() - begin_ns, digest.finalize());
    Ok(())
}

/// The byte at a place of what is sent: it repeats after 64 KiB, not after a packet.
fn byte_at(at: u64) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)).to_le_bytes()[0]
}

/// Takes what comes, to its end.
fn receive(host: &mut Host<'_>, stream: &mut TcpStream) -> Result<(), Failure> {
    let (begin_ns, mut digest, mut bytes) = (clock::now_ns(), CRC.digest(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = host.wait(stream.read(&mut piece))??;
        if count == 0 {
            break;
        }
        digest.update(&piece[..count]);
        bytes += count as u64;
    }
    tell("received", bytes, clock::now_ns() - begin_ns, digest.finalize());
    Ok(())
}

fn tell(what: &str, bytes: u64, time_ns: u64, crc: u32) {
    // In thousandths of a MiB per second: bytes and nanoseconds fit.
    let rate = (u128::from(bytes) * 1_000_000_000_000 / u128::from(time_ns.max(1))) >> 20;
    off_path(|| {
        log!(
            "{what} {bytes} bytes in {} us, {}.{:03} MiB/s, CRC-32 {crc:08x}",
            time_ns / 1000,
            rate / 1000,
            rate % 1000
        );
    });
}
