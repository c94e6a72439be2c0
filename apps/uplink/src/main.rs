//! Owns a network device's physical function and shares it with the owners of its virtual functions.
//!
//! **Invariant: no frame of a virtual function passes here.** What this program does is set-up: addresses, filters, leave to
//! send and receive, each at a virtual function's request.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use core::sync::atomic::Ordering;

use weir_hal::DmaWindow;
use weir_igb::{Mailboxes, Net, Options, RxQueue, Served, TxQueue, VIRTUAL_FUNCTIONS};
use weir_nic::{Nic, NicError, RxQueue as _};
use weir_pool::{Burst, Pool};
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::{Env, GrantError, clock, log};

weir_rt::entry!(main);

/// Buffers for both rings, and as many again: one large page.
const POOL_BYTES: usize = 2 << 20;
/// Time between two looks.
const LOOK_NS: u64 = 5_000_000;
/// How long virtual functions that went keep others from coming, and more.
const SHARE_LIMIT_NS: u64 = 3_000_000_000;

/// Why the application ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the one word is how many virtual functions there shall be, 1 to {VIRTUAL_FUNCTIONS}, not `{0}`")]
    Word(String),
    #[error("{0}")]
    Grant(#[from] GrantError),
    #[error("kernel: {0}")]
    Kernel(#[from] weir_rt::Error),
    #[error("nic: {0}")]
    Nic(#[from] weir_igb::Error),
    #[error("nic: {0}")]
    Host(#[from] weir_hal::Error),
    #[error("nic: it has no MAC address")]
    NoMac,
}

/// The device and what goes with it.
struct Uplink {
    net: Net<Function>,
    rx: RxQueue<Function>,
    tx: TxQueue<Function>,
    pool: Pool,
    mailboxes: Mailboxes,
    is_link_up: bool,
}

fn main(mut env: Env) -> Result<(), Failure> {
    let count = count(env.args())?;
    let stats = env.stats()?;
    let mut uplink = Uplink::open(Function::new(env.device("nic")?)?)?;
    share(uplink.net.device(), count)?;
    log!("sharing the device among {count} virtual functions");
    stats.ready.store(1, Ordering::Release);
    loop {
        uplink.look()?;
        clock::sleep(LOOK_NS);
    }
}

/// Asks for virtual functions. Those of a former owner may have gone too short a while ago.
fn share(function: &Function, count: u16) -> Result<(), weir_rt::Error> {
    let deadline_ns = clock::now_ns().saturating_add(SHARE_LIMIT_NS);
    loop {
        match function.device().set_virtual_functions(count) {
            Err(weir_rt::Error::Busy) if clock::now_ns() < deadline_ns => clock::sleep(LOOK_NS),
            ended => return ended,
        }
    }
}

/// How many virtual functions there shall be.
fn count(words: &[String]) -> Result<u16, Failure> {
    let word = words.first().map_or("", String::as_str);
    let number =
        word.parse().ok().filter(|number| (1..=VIRTUAL_FUNCTIONS).contains(number) && words.len() == 1);
    number.ok_or_else(|| Failure::Word(word.into()))
}

impl Uplink {
    /// Opens and starts the device.
    fn open(function: Function) -> Result<Uplink, Failure> {
        let options = Options { is_shared: true, ..Options::default() };
        let (mut net, mut rx, mut tx) = Net::open(function, &Window, &TscClock, &options)?;
        let mut pool = Pool::new(Window.allocate(POOL_BYTES)?)?;
        net.start(&mut rx, &mut tx, &mut pool, &TscClock)?;
        let mac = net.read_mac()?.ok_or(Failure::NoMac)?;
        Ok(Uplink { net, rx, tx, pool, mailboxes: Mailboxes::new(mac, false), is_link_up: true })
    }

    /// Does what there is to do now.
    fn look(&mut self) -> Result<(), Failure> {
        let served = self.mailboxes.serve(self.net.registers())?;
        if served != Served::default() {
            let Served { resets, granted, refused } = served;
            log!("virtual functions: reset {resets:#04x}, {granted} request(s) granted, {refused} refused");
        }
        let is_link_up = self.net.read_link_up()?;
        if is_link_up != self.is_link_up {
            log!("nic: the link is {}", if is_link_up { "up" } else { "down" });
        }
        self.is_link_up = is_link_up;
        self.drop_frames()
    }

    /// Broadcasts come here, too; nobody here wants them.
    fn drop_frames(&mut self) -> Result<(), Failure> {
        let mut burst = Burst::<32>::new();
        let received = self.rx.receive(&mut self.pool, &mut burst);
        while let Some(buf) = burst.pop() {
            self.pool.put(buf);
        }
        match received {
            Ok(_) => Ok(()),
            // Stops the virtual functions, too: their drivers see it and ask again.
            Err(error) if error.is_violation() => {
                log!("nic: {error}; starting it again");
                Ok(self.net.start(&mut self.rx, &mut self.tx, &mut self.pool, &TscClock)?)
            }
            Err(error) => Err(error.into()),
        }
    }
}
