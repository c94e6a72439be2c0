//! A back end in a thread, written from the protocol's text and independent of the front end's code. It sends every
//! frame back with its bytes inverted. It reads and writes the shared memory as a file, so it needs no `unsafe`.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

mod queue;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use queue::Queue;

/// Numbers of requests, from the protocol's text.
pub mod request {
    pub const GET_FEATURES: u32 = 1;
    pub const SET_FEATURES: u32 = 2;
    pub const SET_OWNER: u32 = 3;
    pub const SET_MEM_TABLE: u32 = 5;
    pub const SET_VRING_NUM: u32 = 8;
    pub const SET_VRING_ADDR: u32 = 9;
    pub const SET_VRING_BASE: u32 = 10;
    pub const GET_VRING_BASE: u32 = 11;
    pub const SET_VRING_KICK: u32 = 12;
    pub const SET_VRING_CALL: u32 = 13;
    pub const GET_PROTOCOL_FEATURES: u32 = 15;
    pub const SET_PROTOCOL_FEATURES: u32 = 16;
    pub const GET_QUEUE_NUM: u32 = 17;
    pub const SET_VRING_ENABLE: u32 = 18;
    pub const GET_CONFIG: u32 = 24;
    pub const RESET_DEVICE: u32 = 34;
}
use request::*;

pub const EVENT_IDX: u64 = 1 << 29;
pub const HAS_PROTOCOL: u64 = 1 << 30;
pub const VERSION_1: u64 = 1 << 32;
pub const ACCESS_PLATFORM: u64 = 1 << 33;
pub const IN_ORDER: u64 = 1 << 35;
pub const MAC_AND_STATUS: u64 = 1 << 5 | 1 << 16;
/// MQ, REPLY_ACK, CONFIG, RESET_DEVICE.
pub const ALL_PROTOCOL: u64 = 1 << 0 | 1 << 3 | 1 << 9 | 1 << 13;
pub const REPLY_ACK: u64 = 1 << 3;

/// How an answer is falsified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    Silence,
    OtherRequest,
    OtherSize,
    NoReplyBit,
    OtherVersion,
    Half,
    Close,
    /// An answer of the right form, about something else.
    OtherValue,
    /// A non-zero acknowledgement, or an empty answer.
    Refusal,
    /// A used index that runs ahead, told with the first frame.
    UsedIndex,
}

/// What kind of back end it is.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    pub features: u64,
    pub protocol: u64,
    /// What it answers to `GET_QUEUE_NUM`.
    pub pairs: u64,
    /// Works when kicked only; otherwise it looks all the time and says that it needs no kicks.
    pub works_on_kick: bool,
    /// Falsifies its answer to this request.
    pub lie: Option<(u32, Lie)>,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        Behaviour {
            features: VERSION_1 | HAS_PROTOCOL | EVENT_IDX,
            protocol: ALL_PROTOCOL,
            pairs: 1,
            works_on_kick: false,
            lie: None,
        }
    }
}

/// A message as it came: number, flags, payload, whether a file came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub request: u32,
    pub flags: u32,
    pub payload: Vec<u8>,
    pub has_file: bool,
}

/// What the test sees and steers.
#[derive(Default)]
pub struct Shared {
    pub messages: Mutex<Vec<Message>>,
    pub kicks: AtomicU64,
    pub calls: AtomicU64,
    /// Frames that arrive by themselves.
    pub deliver: Mutex<VecDeque<Vec<u8>>>,
    ends: AtomicBool,
}

/// A running back end.
pub struct Backend {
    pub shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    /// Listens on `path`, serves one connection.
    pub fn listen(path: &Path, behaviour: Behaviour) -> Backend {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("a free path");
        listener.set_nonblocking(true).expect("a socket");
        Backend::start(behaviour, move |shared| {
            while !shared.ends.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => return Some(stream),
                    Err(_) => sleep(Duration::from_millis(1)),
                }
            }
            None
        })
    }

    /// Connects to a front end that listens on `path`.
    pub fn connect(path: PathBuf, behaviour: Behaviour) -> Backend {
        Backend::start(behaviour, move |shared| {
            while !shared.ends.load(Ordering::Relaxed) {
                match UnixStream::connect(&path) {
                    Ok(stream) => return Some(stream),
                    Err(_) => sleep(Duration::from_millis(1)),
                }
            }
            None
        })
    }

    fn start(
        behaviour: Behaviour,
        meet: impl FnOnce(&Shared) -> Option<UnixStream> + Send + 'static,
    ) -> Backend {
        let shared = Arc::new(Shared::default());
        let inside = shared.clone();
        let thread = spawn(move || {
            if let Some(stream) = meet(&inside) {
                stream.set_nonblocking(false).expect("a socket");
                Session::new(stream, behaviour, inside).serve();
            }
        });
        Backend { shared, thread: Some(thread) }
    }

    /// Ends it, as a crash would.
    pub fn end(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the back end ran");
        }
    }

    pub fn requests(&self) -> Vec<u32> {
        self.shared.messages.lock().expect("whole").iter().map(|message| message.request).collect()
    }

    pub fn message(&self, request: u32) -> Message {
        let messages = self.shared.messages.lock().expect("whole");
        messages.iter().find(|message| message.request == request).expect("it was sent").clone()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

/// One connection.
struct Session {
    stream: UnixStream,
    behaviour: Behaviour,
    shared: Arc<Shared>,
    features: u64,
    memory: Option<(u64, File)>,
    queues: [Queue; 2],
}

impl Session {
    fn new(stream: UnixStream, behaviour: Behaviour, shared: Arc<Shared>) -> Session {
        Session { stream, behaviour, shared, features: 0, memory: None, queues: Default::default() }
    }

    fn serve(mut self) {
        while !self.shared.ends.load(Ordering::Relaxed) {
            if self.has_message() && !self.serve_message() {
                return;
            }
            self.work();
        }
    }

    fn has_message(&self) -> bool {
        let mut files = [PollFd::from_borrowed_fd(self.stream.as_fd(), PollFlags::IN)];
        poll(&mut files, Some(&Timespec { tv_sec: 0, tv_nsec: 20_000 })) == Ok(1)
    }

    /// `false` where the connection is over.
    fn serve_message(&mut self) -> bool {
        let Some((message, file)) = self.read_message() else { return false };
        self.shared.messages.lock().expect("whole").push(message.clone());
        let answer = self.obey(&message, file);
        let needs_ack = message.flags & 8 != 0;
        match answer.or_else(|| needs_ack.then(|| 0u64.to_ne_bytes().to_vec())) {
            Some(payload) => self.answer(message.request, payload),
            None => true,
        }
    }

    fn read_message(&mut self) -> Option<(Message, Option<OwnedFd>)> {
        let mut head = [0; 12];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut head)];
        let got = recvmsg(&self.stream, &mut parts, &mut ancillary, RecvFlags::WAITALL).ok()?.bytes;
        if got < 12 {
            return None;
        }
        let mut files = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        let file = files.next();
        let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four"));
        let mut payload = vec![0; word(8) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        let message = Message { request: word(0), flags: word(4), payload, has_file: file.is_some() };
        Some((message, file))
    }

    /// Does what the message says; the payload of the answer if it has one.
    fn obey(&mut self, message: &Message, file: Option<OwnedFd>) -> Option<Vec<u8>> {
        let payload = &message.payload;
        let word = |at: usize| u32::from_ne_bytes(payload[at..at + 4].try_into().expect("four"));
        let long = |at: usize| u64::from_ne_bytes(payload[at..at + 8].try_into().expect("eight"));
        let reply = |number: u64| Some(number.to_ne_bytes().to_vec());
        let index = payload.first().map_or(0, |&byte| usize::from(byte));
        match message.request {
            GET_FEATURES => return reply(self.behaviour.features),
            GET_PROTOCOL_FEATURES => return reply(self.behaviour.protocol),
            GET_QUEUE_NUM => return reply(self.behaviour.pairs),
            SET_FEATURES => self.features = long(0),
            SET_MEM_TABLE => self.memory = Some((long(24), File::from(file.expect("the memory")))),
            SET_VRING_NUM => self.queues[index].entries = word(4).try_into().expect("a size"),
            SET_VRING_BASE => self.queues[index].restart_at(word(4)),
            SET_VRING_ADDR => self.queues[index].set_addresses(long(8), long(16), long(24)),
            SET_VRING_KICK => {
                self.queues[index].kick = file;
                // Without protocol features a ring starts enabled.
                self.queues[index].is_enabled |= self.features & HAS_PROTOCOL == 0;
            }
            SET_VRING_CALL => self.queues[index].call = file,
            SET_VRING_ENABLE => self.queues[index].is_enabled = word(4) == 1,
            GET_VRING_BASE => {
                let base = self.queues[index].stop();
                return Some([payload[..4].to_vec(), base.to_ne_bytes().to_vec()].concat());
            }
            GET_CONFIG => return Some(config(payload)),
            _ => {}
        }
        None
    }

    fn answer(&mut self, request: u32, mut payload: Vec<u8>) -> bool {
        let mut head = [request, 1 | 4, u32::try_from(payload.len()).expect("short")];
        match self.behaviour.lie {
            Some((liar, lie)) if liar == request => match lie {
                Lie::Silence => return true,
                Lie::Close => return false,
                Lie::OtherRequest => head[0] += 1,
                Lie::NoReplyBit => head[1] = 1,
                Lie::OtherVersion => head[1] = 2 | 4,
                Lie::OtherSize => {
                    payload.extend([0; 4]);
                    head[2] += 4;
                }
                Lie::OtherValue => payload[0] ^= 1,
                Lie::Half => payload.truncate(payload.len() / 2),
                Lie::Refusal if request == GET_CONFIG => {
                    head[2] = 0;
                    payload.clear();
                }
                Lie::Refusal => payload = 1u64.to_ne_bytes().to_vec(),
                Lie::UsedIndex => {}
            },
            _ => {}
        }
        let bytes: Vec<u8> = head.iter().flat_map(|word| word.to_ne_bytes()).chain(payload).collect();
        self.stream.write_all(&bytes).is_ok()
    }

    /// Looks at the rings, where it was told to or need not be told.
    fn work(&mut self) {
        // The front end starts the receive queue first: who sees the other's kick sees its kick, too.
        let transmit_is_kicked = self.take_kicks(1);
        self.take_kicks(0);
        let Some((base, memory)) = &self.memory else { return };
        let [receive, transmit] = &mut self.queues;
        if self.behaviour.lie.is_some_and(|(_, lie)| lie == Lie::UsedIndex) && transmit.is_running() {
            receive.forge_used_index(*base, memory);
            return;
        }
        let polls = !self.behaviour.works_on_kick;
        receive.ask_for_kicks(*base, memory, self.features, !polls);
        let mut waiting: Vec<Vec<u8>> = self.shared.deliver.lock().expect("whole").drain(..).collect();
        if polls || transmit_is_kicked {
            // Who wants a kick for the next buffer looks once more after having said so.
            loop {
                transmit.ask_for_kicks(*base, memory, self.features, !polls);
                let Some(frame) = transmit.take(*base, memory) else { break };
                waiting.push(frame.iter().map(|byte| !byte).collect());
            }
        }
        let mut called = transmit.publish(*base, memory, self.features);
        for frame in waiting {
            receive.put(*base, memory, &frame);
        }
        called += receive.publish(*base, memory, self.features);
        self.shared.calls.fetch_add(called, Ordering::Relaxed);
    }

    fn take_kicks(&mut self, index: usize) -> bool {
        let Some(kick) = &self.queues[index].kick else { return false };
        let mut count = [0; 8];
        if rustix::io::read(kick, &mut count) != Ok(8) {
            return false;
        }
        self.shared.kicks.fetch_add(u64::from_ne_bytes(count), Ordering::Relaxed);
        self.queues[index].has_started = true;
        true
    }
}

/// The configuration: a MAC address, and the link up.
fn config(payload: &[u8]) -> Vec<u8> {
    let word = |at: usize| u32::from_ne_bytes(payload[at..at + 4].try_into().expect("four")) as usize;
    let (offset, bytes) = (word(0), word(4));
    let space = [0x52, 0x54, 0, 1, 2, 3, 1, 0];
    let mut answer = payload.to_vec();
    answer[12..].copy_from_slice(&space[offset..offset + bytes]);
    answer
}
