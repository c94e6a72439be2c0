//! The other end of a guest's network device: a host that speaks Ethernet, ARP, ping and UDP.
//!
//! One datagram of a Unix socket is one frame; neither side loses any. The frames are made and read with
//! `smoltcp`'s wire types, so that guest and peer do not share a mistake.

mod cable;
mod checksums;
mod flood;
mod frames;
mod swap;

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use smoltcp::wire::EthernetAddress;
use tempfile::TempDir;

pub use cable::Cable;
pub use flood::Flood;
use frames::{Answer, Ends};
pub use swap::{FRAME_LONG_BYTES, FRAME_MAX_BYTES, FRAME_MIN_BYTES, GUEST_MAC};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How long to wait for an answer to ARP before asking again.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// Frames on their way at a time: below what the guest's receive ring and the socket's queue take.
const WINDOW: usize = 16;

/// The peer.
pub struct Peer {
    folder: TempDir,
    socket: UnixDatagram,
    ends: Ends,
    guest: Option<EthernetAddress>,
    /// Frames under way at once, at most.
    window: usize,
}

impl Peer {
    /// Opens its socket, in a folder that goes with it.
    ///
    /// # Errors
    /// No place for the socket.
    pub fn new() -> Result<Peer> {
        Peer::of_pair(0)
    }

    /// As [`Peer::new`], for the guest with the address 10.0.0.(2 + `number`), whose wire others may share.
    ///
    /// # Errors
    /// As there.
    pub fn of_pair(number: u8) -> Result<Peer> {
        let folder = folder()?;
        let socket = UnixDatagram::bind(folder.path().join("peer"))?;
        socket.set_write_timeout(Some(LIMIT))?;
        Ok(Peer { folder, socket, ends: Ends::pair(number), guest: None, window: WINDOW })
    }

    /// Has so many frames under way at once, at most: a guest with short rings drops what it cannot send.
    pub fn set_window(&mut self, frames: usize) {
        self.window = frames;
    }

    /// The argument of `-netdev`.
    #[must_use]
    pub fn netdev(&self) -> String {
        netdev(&self.guest_path(), &self.folder.path().join("peer"))
    }

    fn guest_path(&self) -> PathBuf {
        self.folder.path().join("guest")
    }

    /// Sends a frame; waits while the guest's queue is full.
    ///
    /// # Errors
    /// The guest's queue stays full.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent =
            self.socket.send_to(frame, self.guest_path()).context("the guest's network takes no frame")?;
        if sent != frame.len() {
            bail!("{sent} of {} bytes were sent", frame.len());
        }
        Ok(())
    }

    /// Forgets the frames that have come.
    ///
    /// # Errors
    /// The guest's network is gone.
    pub fn drain(&self) -> Result<()> {
        self.socket.set_nonblocking(true)?;
        while self.socket.recv(&mut [0]).is_ok() {}
        Ok(self.socket.set_nonblocking(false)?)
    }

    /// The next frame that is an answer to us, or `None` after `limit`.
    fn receive(&self, limit: Duration) -> Result<Option<Answer>> {
        let deadline = Instant::now() + limit;
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut buffer) {
                Ok(bytes) => match self.ends.read(&buffer[..bytes])? {
                    Some(answer) => return Ok(Some(answer)),
                    None => continue,
                },
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks who has the guest's address until it answers.
    ///
    /// # Errors
    /// It does not answer.
    pub fn find_guest(&mut self) -> Result<EthernetAddress> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            self.send(&self.ends.arp_request())?;
            if let Some(Answer::Arp(address)) = self.receive(ASK_AGAIN)? {
                self.guest = Some(address);
                return Ok(address);
            }
        }
        bail!("the guest does not answer ARP")
    }

    fn guest(&mut self) -> Result<EthernetAddress> {
        self.guest.map_or_else(|| self.find_guest(), Ok)
    }

    /// Pings the guest with `bytes` bytes and checks that they come back.
    ///
    /// # Errors
    /// They do not.
    pub fn ping(&mut self, sequence: u16, bytes: usize) -> Result<()> {
        let payload = pattern(sequence.into(), bytes);
        let guest = self.guest()?;
        self.send(&self.ends.echo_request(guest, sequence, &payload))?;
        let deadline = Instant::now() + LIMIT;
        while let Some(answer) = self.receive(deadline.saturating_duration_since(Instant::now()))? {
            if answer == (Answer::Ping { sequence, payload: payload.clone() }) {
                return Ok(());
            }
        }
        bail!("no right answer to ping {sequence} of {bytes} bytes")
    }

    /// Sends `count` datagrams of the sizes that `size` gives to the guest's echo port and checks that each
    /// comes back intact, exactly once.
    ///
    /// # Errors
    /// One is lost or changed, or comes twice.
    pub fn echo(&mut self, count: usize, size: impl Fn(usize) -> usize) -> Result<()> {
        let guest = self.guest()?;
        let mut is_back = vec![false; count];
        let mut in_flight = 0;
        let mut next = 0;
        while next < count || in_flight > 0 {
            while next < count && in_flight < self.window {
                self.send(&self.ends.udp(guest, port_of(next), &pattern(next, size(next))))?;
                next += 1;
                in_flight += 1;
            }
            let Some(answer) = self.receive(LIMIT)? else {
                let lost: Vec<usize> = (0..next).filter(|number| !is_back[*number]).take(20).collect();
                bail!("{in_flight} of {next} datagrams did not come back, among them {lost:?}");
            };
            let Answer::Udp { to_port, payload } = answer else { continue };
            let number =
                number_of(&payload, next, &is_back, to_port).context("an answer to nothing we sent")?;
            if payload != pattern(number, size(number)) {
                bail!("datagram {number} of {} bytes came back changed", size(number));
            }
            is_back[number] = true;
            in_flight -= 1;
        }
        Ok(())
    }

    /// Sends as much as the guest takes, from now on, on a thread of its own.
    ///
    /// # Errors
    /// The guest is not found.
    pub fn flood(self) -> Result<Flood> {
        Flood::begin(self)
    }

    /// Frames that no correct host sends: cut short at every length, with wrong lengths, versions, checksums.
    ///
    /// # Errors
    /// The guest is not found.
    pub fn malformed(&mut self) -> Result<Vec<Vec<u8>>> {
        let guest = self.guest()?;
        let ends = &self.ends;
        let whole =
            [ends.arp_request(), ends.echo_request(guest, 9, &[7; 40]), ends.udp(guest, 4000, &[7; 40])];
        let cut = whole.iter().flat_map(|frame| (14..frame.len()).map(|bytes| frame[..bytes].to_vec()));
        let flipped = whole[1..].iter().flat_map(|frame| {
            (14..frame.len()).map(|place| {
                let mut frame = frame.clone();
                frame[place] ^= 0xff;
                frame
            })
        });
        Ok(cut.chain(flipped).collect())
    }

    /// Asks for an answer and does not wait for it.
    ///
    /// # Errors
    /// The guest's queue stays full.
    pub fn provoke(&self) -> Result<()> {
        self.send(&self.ends.arp_request())
    }

    /// Sends one datagram and says whether it came back within `limit`.
    ///
    /// # Errors
    /// The guest is not found, or sends rubbish.
    pub fn echo_one(&mut self, number: usize, limit: Duration) -> Result<bool> {
        let guest = self.guest()?;
        let payload = pattern(number, 64);
        self.send(&self.ends.udp(guest, port_of(number), &payload))?;
        let deadline = Instant::now() + limit;
        while let Some(answer) = self.receive(deadline.saturating_duration_since(Instant::now()))? {
            if answer == (Answer::Udp { to_port: port_of(number), payload: payload.clone() }) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The argument of `-netdev` for a device whose frames come to `local` and go to `remote`.
fn netdev(local: &Path, remote: &Path) -> String {
    let (local, remote) = (local.display(), remote.display());
    format!("dgram,local.type=unix,local.path={local},remote.type=unix,remote.path={remote}")
}

/// A folder for sockets, which goes with the value.
fn folder() -> Result<TempDir> {
    remove_orphans();
    let prefix = format!("{PREFIX}{}-", std::process::id());
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir()?)
}

/// Start of the names of the folders, which goes on with the process's number.
const PREFIX: &str = "weir-peer-";

/// Removes the folders of processes that were killed before they could.
fn remove_orphans() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Somebody else's, or removed meanwhile: not ours to care about.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Smallest payload that carries its number.
pub const NUMBERED_BYTES: usize = 4;
/// Largest payload of a datagram in a frame of 1514 bytes.
pub const PAYLOAD_MAX_BYTES: usize = 1500 - 20 - 8;

/// The port that datagram `number` comes from: many different ones, so that a mixed-up header shows.
fn port_of(number: usize) -> u16 {
    20_000 + u16::try_from(number % 10_000).expect("below 10,000")
}

/// Bytes that differ from datagram to datagram; the first four are its number where there is room.
fn pattern(number: usize, bytes: usize) -> Vec<u8> {
    let head = u32::try_from(number).expect("few datagrams").to_be_bytes();
    let mut word = u64::from_be_bytes([0, 0, 0, 1, head[0], head[1], head[2], head[3]]);
    let mut payload: Vec<u8> = (0..bytes)
        .map(|_| {
            // A linear congruential generator (Knuth, MMIX); the high byte is the best.
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word.to_be_bytes()[0]
        })
        .collect();
    if bytes >= NUMBERED_BYTES {
        payload[..NUMBERED_BYTES].copy_from_slice(&head);
    }
    payload
}

/// Which datagram came back. Those too short for a number are known by their port.
fn number_of(payload: &[u8], sent: usize, is_back: &[bool], to_port: u16) -> Option<usize> {
    let numbered = payload.first_chunk::<NUMBERED_BYTES>().map(|head| u32::from_be_bytes(*head) as usize);
    let is_open = |number: &usize| *number < sent && !is_back[*number] && port_of(*number) == to_port;
    numbered.filter(is_open).or_else(|| (0..sent).find(is_open))
}
