//! Back ends of vhost-user: another process is the device, and its messages are what it says. Its rings are those of
//! [`crate::net`], driven by the same code; here nothing flows.
//!
//! Two threads, so two scripts: the first half of the bytes is the program's, the second the back end's.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use weir_hal::DmaWindow;
use weir_pool::{BUF_BYTES, Burst, Pool};
use weir_sim::Script;
use weir_sim::script::FIRST_LIE;
use weir_vhost_user::{MonotonicClock, VhostUser, Window};
use weir_virtio::Error;
use weir_virtio::net::{Net, Opened, Options};

use crate::Tally;

/// Messages that are answered in any case, and flags (vhost-user "Front-end message types", "Header").
const GET_FEATURES: u32 = 1;
const GET_VRING_BASE: u32 = 11;
const GET_PROTOCOL_FEATURES: u32 = 15;
const GET_QUEUE_NUM: u32 = 17;
const GET_CONFIG: u32 = 24;
const IS_REPLY: u32 = 1 << 2;
const NEEDS_REPLY: u32 = 1 << 3;
/// Version 1, protocol features, a MAC address and a status; queues, acknowledgements, configuration, reset.
const FEATURES: u64 = 1 << 32 | 1 << 30 | 1 << 5 | 1 << 16;
const PROTOCOL_FEATURES: u64 = 1 | 1 << 3 | 1 << 9 | 1 << 13;

const ENTRIES: u16 = 8;
const BUFFERS: usize = 32;
const WINDOW_BYTES: usize = 2 << 20;

/// Plays what `bytes` say.
///
/// # Panics
/// A back end that is honest again is not driven, or a buffer is lost.
#[must_use]
pub fn play(bytes: &[u8]) -> Tally {
    let (program, device) = bytes.split_at(bytes.len() / 2);
    let script = Script::new(program);
    let backend = Backend::listen(Script::new(device));
    let lies_from_the_start = script.byte() & 3 == 0;
    backend.set_honest(!lies_from_the_start);
    let mut tally = Tally::default();
    let window = Window::new(WINDOW_BYTES).expect("memory");
    let opened = open(&mut tally, &backend.path, &window);
    let Some((net, rx, tx)) = opened else {
        assert!(lies_from_the_start, "an honest back end is driven");
        return tally;
    };
    let memory = window.allocate(BUFFERS * usize::from(BUF_BYTES)).expect("memory");
    let pool = Pool::new(memory).expect("buffers");
    let mut cast = Cast { backend, net, rx, tx, pool, was_opened_honestly: !lies_from_the_start, tally };
    cast.start_honestly();
    while !script.is_over() {
        cast.step(&script);
    }
    cast.end();
    cast.tally
}

fn open(tally: &mut Tally, path: &Path, window: &Window) -> Option<Opened<VhostUser>> {
    let device = VhostUser::connect(path, window, weir_vhost_user::Options::net());
    tally.count(&device, |error| matches!(error, weir_vhost_user::Error::BadReply { .. }));
    let options = Options { entries: ENTRIES, ..Options::default() };
    let opened = Net::over(device.ok()?, window, &MonotonicClock, &options);
    tally.count(&opened, is_violation);
    opened.ok()
}

fn is_violation(error: &Error) -> bool {
    matches!(error, Error::Violation(_))
}

/// A driver, its back end, and the program that owns the one and meets the other.
struct Cast {
    net: Net<VhostUser>,
    rx: weir_virtio::net::RxQueue<VhostUser>,
    tx: weir_virtio::net::TxQueue<VhostUser>,
    pool: Pool,
    /// After the driver: it ends when the conversation has ended.
    backend: Backend,
    was_opened_honestly: bool,
    tally: Tally,
}

impl Cast {
    fn start(&mut self) -> bool {
        let result = self.net.start(&mut self.rx, &mut self.tx, &mut self.pool, &MonotonicClock);
        self.tally.count(&result, is_violation);
        result.is_ok()
    }

    fn step(&mut self, script: &Script) {
        match script.byte() % 8 {
            0..=2 => drop(self.start()),
            3 => self.start_honestly(),
            4 => {
                let mac = self.net.read_mac();
                self.tally.count(&mac, is_violation);
            }
            5 => {
                let link = self.net.read_link_up();
                self.tally.count(&link, is_violation);
            }
            6 => self.forward(),
            _ => drop(self.net.has_stopped()),
        }
        assert!(self.pool.available() <= self.pool.buffers());
    }

    /// Nothing arrives; what leaves stays in the ring. The back end has no part in it, so nothing is counted.
    fn forward(&mut self) {
        let mut burst = Burst::<4>::new();
        assert_eq!(self.rx.receive(&mut self.pool, &mut burst), Ok(0));
        if let Some(mut buf) = self.pool.take() {
            assert!(buf.set_len(64) && burst.push(buf).is_ok());
        }
        assert!(self.tx.transmit(&mut self.pool, &mut burst).is_ok());
        while let Some(buf) = burst.pop() {
            self.pool.put(buf);
        }
    }

    /// The back end is started anew, and is honest. The first start may find that it has gone; the second connects.
    fn start_honestly(&mut self) {
        self.backend.set_honest(true);
        self.backend.hang_up();
        let is_started = self.start() || self.start();
        assert!(is_started || !self.was_opened_honestly, "a back end that is honest again is driven");
        self.backend.set_honest(false);
    }

    fn end(&mut self) {
        self.start_honestly();
        self.backend.set_honest(true);
        let mut stop = || self.net.stop(&mut self.rx, &mut self.tx, &mut self.pool, &MonotonicClock);
        let stopped = stop().or_else(|_| stop());
        self.tally.count(&stopped, is_violation);
        assert!(stopped.is_ok(), "an honest back end stops");
        assert_eq!(self.pool.available(), self.pool.buffers(), "every buffer came home");
    }
}

/// The other process, as a thread.
struct Backend {
    path: PathBuf,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    conversation: Mutex<Option<UnixStream>>,
    is_honest: AtomicBool,
    is_over: AtomicBool,
}

impl State {
    fn conversation(&self) -> MutexGuard<'_, Option<UnixStream>> {
        self.conversation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend {
    fn listen(script: Script) -> Backend {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weir-hostile-{}-{number}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("a socket");
        let state = Arc::new(State::default());
        let shared = state.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    break;
                }
                // Its end is the end of the conversation, whoever brought it about.
                let _ = stream.and_then(|stream| {
                    *shared.conversation() = Some(stream.try_clone()?);
                    converse(stream, &script, &shared)
                });
                *shared.conversation() = None;
            }
        });
        Backend { path, state, thread: Some(thread) }
    }

    /// Ends the conversation, if there is one.
    fn hang_up(&self) {
        if let Some(stream) = &*self.state.conversation() {
            // It fails where the other end was faster.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn set_honest(&self, is_honest: bool) {
        self.state.is_honest.store(is_honest, Ordering::SeqCst);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread, which looks.
        let _ = UnixStream::connect(&self.path);
        let joined = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.path);
        assert!(joined.is_none_or(|joined| joined.is_ok()) || std::thread::panicking());
    }
}

/// Answers, until one of the two has enough. Files that come along are not taken, so the system closes them.
fn converse(mut stream: UnixStream, script: &Script, state: &State) -> std::io::Result<()> {
    loop {
        let mut header = [[0; 4]; 3];
        stream.read_exact(header.as_flattened_mut())?;
        let [request, flags, bytes] = header.map(u32::from_ne_bytes);
        let mut payload = vec![0; bytes as usize];
        stream.read_exact(&mut payload)?;
        let Some(answer) = answer(request, flags, payload) else { continue };
        let words = [request, flags & 3 | IS_REPLY, u32::try_from(answer.len()).expect("short")];
        let is_honest = state.is_honest.load(Ordering::SeqCst);
        let message = if is_honest { Some(message(words, &answer)) } else { lie(script, words, answer) };
        match message {
            Some(message) => stream.write_all(&message)?,
            None => return Ok(()),
        }
    }
}

/// What an honest back end answers, if anything.
fn answer(request: u32, flags: u32, payload: Vec<u8>) -> Option<Vec<u8>> {
    match request {
        GET_FEATURES => Some(FEATURES.to_ne_bytes().to_vec()),
        GET_PROTOCOL_FEATURES => Some(PROTOCOL_FEATURES.to_ne_bytes().to_vec()),
        GET_QUEUE_NUM => Some(1u64.to_ne_bytes().to_vec()),
        GET_VRING_BASE | GET_CONFIG => Some(payload),
        _ if flags & NEEDS_REPLY != 0 => Some(vec![0; 8]),
        _ => None,
    }
}

fn message(words: [u32; 3], payload: &[u8]) -> Vec<u8> {
    [words.map(u32::to_ne_bytes).as_flattened(), payload].concat()
}

/// What comes instead; `None`: it closes the connection.
fn lie(script: &Script, words: [u32; 3], mut payload: Vec<u8>) -> Option<Vec<u8>> {
    #[expect(clippy::cast_possible_truncation, reason = "the low half of a lie is a lie")]
    let words = words.map(|word| script.twist(word.into()) as u32);
    for word in payload.chunks_mut(4) {
        let truth = word.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let said = script.twist(truth).to_le_bytes();
        word.iter_mut().zip(said).for_each(|(byte, said)| *byte = said);
    }
    let more = script.byte();
    match more.checked_sub(FIRST_LIE) {
        Some(0..=7) => return None,
        Some(8..) => payload.extend(script.bytes::<5>()),
        None => {}
    }
    Some(message(words, &payload))
}
