//! Opens the network device that an application owns: with the driver that it has, on the core that the application has.
//!
//! **Invariant: which device it is stays a type**: what an application does with its device is compiled once for each
//! driver, so a frame pays for no choice. The choice is made here, once, and a new driver is added here alone.
//!
//! ```ignore
//! let (device, core) = (env.device("nic")?, env.core("core0").ok());
//! weir_port::on_core(core, move |is_alone| weir_port::drive(Function::new(device)?, Serve { is_alone }))
//! ```
//!
//! Reading order: [`on_core`] (where) · [`Drive`], [`drive`] (with which driver) · [`Port`] (the device with its queues and buffers).
#![no_std]
#![forbid(unsafe_code)]

mod port;

use core::fmt::Display;

use weir_hal::Device as _;
use weir_nic::{MultiQueue, Nic as _};
use weir_rt::hal::Function;
use weir_rt::thread::JoinHandle;
use weir_rt::{Core, log, process, thread};

pub use port::{NoMac, Port};
/// Why Intel's devices, or their drivers, failed.
pub use weir_gigabit::Error as GigabitError;
/// Why a virtio device, or its driver, failed.
pub use weir_virtio::Error as VirtioError;

/// Deep enough for the vector instructions of a debug build, too.
const STACK_BYTES: u64 = 512 << 10;

/// Runs `work` on a core of its own, of which it is told, or here where there is none. On a core of its own the process ends
/// where `work` fails, and says why.
///
/// # Errors
/// The kernel gives no thread; what `work` says, where it ran here.
pub fn on_core<F: Display + From<weir_rt::Error>>(
    core: Option<Core>,
    work: impl FnOnce(bool) -> Result<(), F> + Send + 'static,
) -> Result<(), F> {
    let Some(core) = core else { return work(false) };
    start_on(&core, move || work(true))?.join();
    Ok(())
}

/// Starts `work` on a core of its own. The process ends where it fails, and says why.
///
/// # Errors
/// The kernel gives no thread.
pub fn start_on<F: Display>(
    core: &Core,
    work: impl FnOnce() -> Result<(), F> + Send + 'static,
) -> Result<JoinHandle, weir_rt::Error> {
    thread::spawn(STACK_BYTES, Some(core), move || {
        if let Err(failure) = work() {
            log!("{failure}");
            process::exit(1)
        }
    })
}

/// What is done with a network device, whichever it is.
pub trait Drive {
    /// Why it ends before its time.
    type Failure: From<VirtioError> + From<GigabitError>;

    /// Does it with the driver `N`, which [`drive`] has chosen for `function`.
    ///
    /// # Errors
    /// Why it ended.
    fn drive<N: MultiQueue<Device = Function>>(self, function: Function) -> Result<(), Self::Failure>
    where
        Self::Failure: From<N::Error>;
}

/// Does `work` with the driver that the device has; one that has none is refused by the last.
///
/// # Errors
/// What `work` says.
pub fn drive<W: Drive>(function: Function, work: W) -> Result<(), W::Failure> {
    type Virtio = weir_virtio::net::Net<weir_virtio::Pci<Function>>;
    type E1000e = weir_e1000e::Net<Function>;
    type Igb = weir_igb::Net<Function>;
    type IgbVf = weir_igb_vf::Net<Function>;
    let info = function.info();
    if E1000e::is_for(&info) {
        work.drive::<E1000e>(function)
    } else if Igb::is_for(&info) {
        work.drive::<Igb>(function)
    } else if IgbVf::is_for(&info) {
        work.drive::<IgbVf>(function)
    } else {
        work.drive::<Virtio>(function)
    }
}
