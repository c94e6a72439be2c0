//! Network devices.

use std::collections::BTreeSet;

use weir_e1000e::I82574;
use weir_hal::{Clock, DmaWindow};
use weir_igb::I82576;
use weir_nic::{Nic, NicError, Opened, RxQueue, TxQueue};
use weir_pool::{BUF_BYTES, Buf, Burst, Pool};
use weir_sim::gigabit::{self, Gigabit, Kind, MAC};
use weir_sim::virtio_net::{self, VirtioNet, feature};
use weir_sim::{Malice, Model, Script, SimClock, SimDevice, SimWindow};
use weir_virtio::net::Options;
use weir_virtio::{Features, Pci};

use crate::{Tally, scribble};

/// Buffers of the pool: more than both rings hold, so that the program has some of its own.
const BUFFERS: usize = 3 * 16;
const BURST: usize = 16;
/// Time passes quickly: a wait of a second is a hundred looks.
const STEP_US: u64 = 10_000;

/// A simulated network device, as a play needs it.
pub trait Stage: Model {
    /// Makes it lie.
    fn set_malice(&mut self, malice: Malice);
    /// A frame arrives; whether it was taken.
    fn deliver(&mut self, frame: &[u8]) -> bool;
    /// Takes what was sent.
    fn transmit(&mut self);
    /// What went out.
    fn next_sent(&mut self) -> Option<Vec<u8>>;
}

impl Stage for VirtioNet {
    fn set_malice(&mut self, malice: Malice) {
        VirtioNet::set_malice(self, malice);
    }

    fn deliver(&mut self, frame: &[u8]) -> bool {
        VirtioNet::deliver(self, frame)
    }

    fn transmit(&mut self) {
        VirtioNet::transmit(self);
    }

    fn next_sent(&mut self) -> Option<Vec<u8>> {
        VirtioNet::next_sent(self)
    }
}

impl Stage for Gigabit {
    fn set_malice(&mut self, malice: Malice) {
        Gigabit::set_malice(self, malice);
    }

    fn deliver(&mut self, frame: &[u8]) -> bool {
        Gigabit::deliver(self, frame)
    }

    fn transmit(&mut self) {
        Gigabit::transmit(self);
    }

    fn next_sent(&mut self) -> Option<Vec<u8>> {
        Gigabit::next_sent(self)
    }
}

type ErrorOf<S> = <<S as Subject>::Net as Nic>::Error;
type RxOf<S> = <<S as Subject>::Net as Nic>::Rx;
type TxOf<S> = <<S as Subject>::Net as Nic>::Tx;

/// A driver and its device.
pub trait Subject {
    /// The device.
    type Model: Stage;
    /// The driver.
    type Net: Nic<Device = SimDevice<Self::Model>>;

    /// A device of a kind that the script chooses.
    fn model(script: &Script, window: &SimWindow) -> Self::Model;

    /// Opens it with options that the script chooses.
    ///
    /// # Errors
    /// The driver's.
    fn open(
        script: &Script,
        device: SimDevice<Self::Model>,
        window: &SimWindow,
        clock: &SimClock,
    ) -> Result<Opened<Self::Net>, ErrorOf<Self>>;

    /// Stops it.
    ///
    /// # Errors
    /// The driver's.
    fn stop(
        net: &mut Self::Net,
        rx: &mut RxOf<Self>,
        tx: &mut TxOf<Self>,
        pool: &mut Pool,
        clock: &SimClock,
    ) -> Result<(), ErrorOf<Self>>;

    /// Asks something that only this device is asked.
    ///
    /// # Errors
    /// The driver's.
    fn ask(script: &Script, net: &mut Self::Net, clock: &SimClock) -> Result<(), ErrorOf<Self>>;
}

/// virtio-net with split rings.
pub struct Split;
/// virtio-net with packed rings.
pub struct Packed;
/// 82574L.
pub struct E1000e;
/// 82576, physical function.
pub struct Igb;
/// 82576, virtual function.
pub struct IgbVf;

macro_rules! virtio {
    ($subject:ident, $layout:expr) => {
        impl Subject for $subject {
            type Model = VirtioNet;
            type Net = weir_virtio::net::Net<Pci<SimDevice<VirtioNet>>>;

            fn model(script: &Script, window: &SimWindow) -> VirtioNet {
                VirtioNet::new(window, virtio_behaviour(script, $layout))
            }

            fn open(
                script: &Script,
                device: SimDevice<VirtioNet>,
                window: &SimWindow,
                clock: &SimClock,
            ) -> Result<Opened<Self::Net>, weir_virtio::Error> {
                Self::Net::open(device, window, clock, &virtio_options(script))
            }

            fn stop(
                net: &mut Self::Net,
                rx: &mut RxOf<Self>,
                tx: &mut TxOf<Self>,
                pool: &mut Pool,
                clock: &SimClock,
            ) -> Result<(), weir_virtio::Error> {
                net.stop(rx, tx, pool, clock)
            }

            fn ask(script: &Script, net: &mut Self::Net, clock: &SimClock) -> Result<(), weir_virtio::Error> {
                match script.byte() % 4 {
                    0 => net.set_promiscuous(true, clock),
                    1 => net.set_all_multicast(false, clock),
                    2 => net.set_mac(MAC, clock),
                    _ => net.announced(clock),
                }
            }
        }
    };
}
virtio!(Split, 0);
virtio!(Packed, feature::RING_PACKED);

fn virtio_behaviour(script: &Script, layout: u64) -> virtio_net::Behaviour {
    let [entries, choices] = script.bytes();
    let is_set = |bit: u8| choices >> bit & 1 != 0;
    let optional = [(0, feature::OFFLOADS), (1, feature::COMMANDS & !feature::MQ & !feature::RSS)];
    let order = if is_set(2) { feature::IN_ORDER } else { 0 };
    let more = optional.iter().filter(|(bit, _)| is_set(*bit)).fold(order, |all, (_, bits)| all | bits);
    virtio_net::Behaviour {
        features: virtio_net::Behaviour::default().features | layout | more,
        entries: 1 << (entries % 5),
        shuffles: is_set(3) && !is_set(2),
        works_on_kick: is_set(4),
        skips: is_set(5),
        pairs: 1,
    }
}

fn virtio_options(script: &Script) -> Options {
    let choices = script.byte();
    let is_set = |bit: u8| choices >> bit & 1 != 0;
    let without = if is_set(0) { Features::MRG_RXBUF } else { Features::empty() };
    Options {
        entries: 16,
        features: Features::all() - without,
        interrupt: is_set(1),
        packed_events: is_set(2),
        ..Options::default()
    }
}

macro_rules! gigabit {
    ($subject:ident, $chip:ident, $kind:expr) => {
        impl Subject for $subject {
            type Model = Gigabit;
            type Net = weir_gigabit::Net<SimDevice<Gigabit>, $chip>;

            fn model(script: &Script, window: &SimWindow) -> Gigabit {
                gigabit_model(script, window, $kind)
            }

            fn open(
                script: &Script,
                device: SimDevice<Gigabit>,
                window: &SimWindow,
                clock: &SimClock,
            ) -> Result<Opened<Self::Net>, weir_gigabit::Error> {
                let interrupt = script.byte() & 1 != 0;
                let options =
                    weir_gigabit::Options { entries: 16, interrupt, ..weir_gigabit::Options::default() };
                Self::Net::open(device, window, clock, &options)
            }

            fn stop(
                net: &mut Self::Net,
                rx: &mut RxOf<Self>,
                tx: &mut TxOf<Self>,
                pool: &mut Pool,
                clock: &SimClock,
            ) -> Result<(), weir_gigabit::Error> {
                net.stop(rx, tx, pool, clock)
            }

            fn ask(_: &Script, net: &mut Self::Net, _: &SimClock) -> Result<(), weir_gigabit::Error> {
                net.read_statistics().map(drop)
            }
        }
    };
}
gigabit!(E1000e, I82574, Kind::I82574);
gigabit!(Igb, I82576, Kind::I82576);

fn gigabit_model(script: &Script, window: &SimWindow, kind: Kind) -> Gigabit {
    let works_on_kick = script.byte() & 1 != 0;
    Gigabit::new(window, gigabit::Behaviour { kind, works_on_kick })
}

impl Subject for IgbVf {
    type Model = Gigabit;
    type Net = weir_igb_vf::Net<SimDevice<Gigabit>>;

    fn model(script: &Script, window: &SimWindow) -> Gigabit {
        gigabit_model(script, window, Kind::I82576Vf)
    }

    fn open(
        script: &Script,
        device: SimDevice<Gigabit>,
        window: &SimWindow,
        clock: &SimClock,
    ) -> Result<Opened<Self::Net>, weir_igb_vf::Error> {
        let options = weir_igb_vf::Options { entries: 16, interrupt: script.byte() & 1 != 0 };
        weir_igb_vf::Net::open(device, window, clock, &options)
    }

    fn stop(
        net: &mut Self::Net,
        rx: &mut RxOf<Self>,
        tx: &mut TxOf<Self>,
        pool: &mut Pool,
        clock: &SimClock,
    ) -> Result<(), weir_igb_vf::Error> {
        net.stop(rx, tx, pool, clock)
    }

    fn ask(script: &Script, net: &mut Self::Net, clock: &SimClock) -> Result<(), weir_igb_vf::Error> {
        match script.byte() % 4 {
            0 => net.set_mac(MAC, clock),
            1 => net.set_groups(&[[1, 0, 0x5e, 0, 0, 1]; 3], clock),
            2 => net.set_vlan(5, true, clock),
            _ => net.read_statistics().map(drop),
        }
    }
}

/// A driver, its device, and the program that owns both.
struct Cast<S: Subject> {
    script: Script,
    window: SimWindow,
    clock: SimClock,
    device: SimDevice<S::Model>,
    net: S::Net,
    rx: RxOf<S>,
    tx: TxOf<S>,
    pool: Pool,
    /// The program's own buffers.
    held: Vec<Buf>,
    /// What it said of itself when it was opened was true. Otherwise it may have become another device, which must be
    /// opened again.
    was_opened_honestly: bool,
    tally: Tally,
}

/// Plays what `bytes` say.
pub fn play<S: Subject>(bytes: &[u8]) -> Tally {
    let (script, window) = (Script::new(bytes), SimWindow::default());
    let device = SimDevice::new(S::model(&script, &window));
    let clock = SimClock::by(STEP_US);
    let lies_from_the_start = script.byte() & 3 == 0;
    if lies_from_the_start {
        device.model().set_malice(Malice::scripted(&script));
    }
    let mut tally = Tally::default();
    let opened = S::open(&script, device.clone(), &window, &clock);
    tally.count(&opened, NicError::is_violation);
    let Ok((net, rx, tx)) = opened else {
        assert!(lies_from_the_start, "an honest device opens");
        assert_eq!(window.allocations(), 0, "a driver that does not open keeps nothing");
        return tally;
    };
    let memory = window.allocate(BUFFERS * usize::from(BUF_BYTES)).expect("memory");
    let pool = Pool::new(memory).expect("buffers");
    let mut cast = Cast::<S> {
        script: script.clone(),
        window: window.clone(),
        clock,
        device,
        net,
        rx,
        tx,
        pool,
        held: Vec::new(),
        was_opened_honestly: !lies_from_the_start,
        tally,
    };
    if !lies_from_the_start {
        assert!(cast.start(), "an honest device starts");
        cast.device.model().set_malice(Malice::scripted(&script));
    }
    while !script.is_over() {
        cast.step();
    }
    cast.end();
    let tally = cast.tally;
    drop(cast);
    assert_eq!(window.allocations(), 0, "all memory is given back");
    tally
}

impl<S: Subject> Cast<S> {
    fn start(&mut self) -> bool {
        let result = self.net.start(&mut self.rx, &mut self.tx, &mut self.pool, &self.clock);
        self.tally.count(&result, NicError::is_violation);
        result.is_ok()
    }

    /// One thing that the program, the device or the world does.
    fn step(&mut self) {
        let violations = self.tally.violations;
        match self.script.byte() % 16 {
            0..=2 => self.arrive(),
            3..=5 => self.receive(),
            6 | 7 => self.transmit(),
            8 => self.device.model().transmit(),
            9 => self.held.drain(..).for_each(|buf| self.pool.put(buf)),
            10 => scribble(&self.script, &self.window),
            11 => drop(self.start()),
            12 => self.start_honestly(),
            13 => {
                let result = self.rx.wait(0);
                self.tally.count(&result, NicError::is_violation);
            }
            14 => self.look(),
            _ => {
                let result = S::ask(&self.script, &mut self.net, &self.clock);
                self.tally.count(&result, NicError::is_violation);
            }
        }
        assert!(self.held.len() + self.pool.available() <= self.pool.buffers());
        // What a program should do, and mostly does.
        if self.tally.violations > violations && self.script.byte() & 3 != 0 {
            self.start_honestly();
        }
    }

    /// Frames come from the wire.
    fn arrive(&mut self) {
        let [count, length, fill] = self.script.bytes();
        for _ in 0..count % 4 {
            self.device.model().deliver(&frame(fill, 14 + 6 * usize::from(length)));
        }
    }

    fn receive(&mut self) {
        let mut burst = Burst::<BURST>::new();
        let result = self.rx.receive(&mut self.pool, &mut burst);
        self.tally.count(&result, NicError::is_violation);
        while let Some(mut buf) = burst.pop() {
            // Its bytes are the program's alone.
            buf.frame_mut().iter_mut().for_each(|byte| *byte = !*byte);
            self.held.push(buf);
        }
        let places: BTreeSet<usize> = self.held.iter().map(place).collect();
        assert_eq!(places.len(), self.held.len(), "a buffer is with the program twice");
    }

    fn transmit(&mut self) {
        let mut burst = Burst::<BURST>::new();
        while burst.room() > 0
            && let Some(buf) = self.held.pop().or_else(|| self.fresh())
        {
            let is_full = burst.push(buf).map_err(|buf| self.held.push(buf)).is_err();
            if is_full {
                break;
            }
        }
        let result = self.tx.transmit(&mut self.pool, &mut burst);
        self.tally.count(&result, NicError::is_violation);
        while let Some(buf) = burst.pop() {
            self.held.push(buf);
        }
        while self.device.model().next_sent().is_some() {}
    }

    /// A buffer of the pool with a frame in it, if the script wants one more.
    fn fresh(&mut self) -> Option<Buf> {
        let length = self.script.byte();
        if length & 1 == 0 {
            return None;
        }
        let mut buf = self.pool.take()?;
        assert!(buf.set_len(14 + 6 * u16::from(length)));
        Some(buf)
    }

    fn look(&mut self) {
        let mac = self.net.read_mac();
        self.tally.count(&mac, NicError::is_violation);
        let link = self.net.read_link_up();
        self.tally.count(&link, NicError::is_violation);
        let _ = (self.net.has_stopped(), self.net.has_news());
    }

    /// Starts it while it is honest.
    fn start_honestly(&mut self) {
        self.device.model().set_malice(Malice::none());
        let is_started = self.start();
        assert!(is_started || !self.was_opened_honestly, "a device that is honest again starts");
        self.device.model().set_malice(Malice::scripted(&self.script));
    }

    /// The device is honest from now on: everything works again, and every buffer comes home.
    fn end(&mut self) {
        self.held.drain(..).for_each(|buf| self.pool.put(buf));
        self.start_honestly();
        if self.was_opened_honestly {
            self.assert_works();
        }
        let stopped = S::stop(&mut self.net, &mut self.rx, &mut self.tx, &mut self.pool, &self.clock);
        self.tally.count(&stopped, NicError::is_violation);
        assert!(stopped.is_ok(), "an honest device stops");
        let home: Vec<Buf> = std::iter::from_fn(|| self.pool.take()).collect();
        let places: BTreeSet<usize> = home.iter().map(place).collect();
        assert_eq!(places.len(), self.pool.buffers(), "every buffer came home, once");
        home.into_iter().for_each(|buf| self.pool.put(buf));
    }

    /// A frame comes, and leaves.
    fn assert_works(&mut self) {
        while self.device.model().next_sent().is_some() {}
        let sent = frame(7, 64);
        assert!(self.device.model().deliver(&sent), "it receives again");
        let mut burst = Burst::<BURST>::new();
        let received = self.rx.receive(&mut self.pool, &mut burst);
        self.tally.count(&received, NicError::is_violation);
        let buf = burst.pop().expect("a frame arrives again");
        assert!(buf.frame() == sent, "with its bytes");
        assert!(burst.push(buf).is_ok());
        let result = self.tx.transmit(&mut self.pool, &mut burst);
        self.tally.count(&result, NicError::is_violation);
        self.device.model().transmit();
        assert!(self.device.model().next_sent() == Some(sent), "and leaves again");
    }
}

/// Which buffer it is.
fn place(buf: &Buf) -> usize {
    (buf.frame().as_ptr().addr() - usize::from(buf.start())) / usize::from(BUF_BYTES)
}

/// A frame for the device.
fn frame(fill: u8, length: usize) -> Vec<u8> {
    let mut frame = vec![fill; length];
    if let Some(to) = frame.first_chunk_mut() {
        *to = MAC;
    }
    frame
}

/// Opens a virtio device whose configuration space, with its list of capabilities, is the bytes themselves.
pub fn capabilities(bytes: &[u8]) -> Tally {
    let (script, window) = (Script::new(bytes), SimWindow::default());
    let device = SimDevice::new(VirtioNet::new(&window, virtio_net::Behaviour::default()));
    let choice = script.byte();
    for _ in 0..choice % 32 {
        let [offset, value] = script.bytes();
        device.model().config().set(0x34 + u16::from(offset % 0x6c), value);
    }
    let mut tally = Tally::default();
    let opened = virtio_open(device, &window, &SimClock::by(STEP_US));
    tally.count(&opened, NicError::is_violation);
    drop(opened);
    assert_eq!(window.allocations(), 0, "all memory is given back");
    tally
}

fn virtio_open(
    device: SimDevice<VirtioNet>,
    window: &SimWindow,
    clock: &impl Clock,
) -> Result<Opened<<Split as Subject>::Net>, weir_virtio::Error> {
    weir_virtio::net::Net::open(device, window, clock, &Options { entries: 4, ..Options::default() })
}
