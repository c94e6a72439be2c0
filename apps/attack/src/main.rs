//! Does with its devices what the attack tests order: the rogue, and its victim.
//!
//! **Invariant: it has no rights but those of any application**; what it does to others it does through devices it
//! was granted. Its orders come through memory in the BAR of the device granted as `link`.
//!
//! Reading order: [`link`] (how orders come) · this file (what is done) · [`places`] (its memory) · [`rogues`] (its
//! devices).
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod link;
mod places;
mod rogues;

use weir_abi::page::FaultRecord;
use weir_attack_orders::{Answer, Order};
use weir_rt::{Env, GrantError, kernel_page, log, process};

use crate::link::Link;
use crate::places::Places;
use crate::rogues::Rogues;

weir_rt::entry!(main);

/// Why the application ended, or an order was not done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Grant(#[from] GrantError),
    #[error("kernel: {0}")]
    Kernel(#[from] weir_rt::Error),
    #[error("host: {0}")]
    Host(#[from] weir_hal::Error),
    #[error("edu: {0}")]
    Edu(#[from] weir_edu::Error),
    #[error("iommu-testdev: {0}")]
    Testdev(#[from] weir_iommu_testdev::Error),
    #[error("a message could not be read or written")]
    Message,
    #[error("there is no such thing")]
    Missing,
}

fn main(mut env: Env) -> Result<(), Failure> {
    let link = Link::open(env.device("link")?)?;
    let mut places = Places::default();
    let mut rogues = Rogues::open(&mut env)?;
    // Whoever sees it ready may give an order at once.
    let mut number = link.number();
    let stats = env.stats()?;
    stats.ready.store(1, core::sync::atomic::Ordering::Release);
    log!("waiting for orders");
    loop {
        let order = link.next_order(&mut number)?;
        let answer = obey(&order, &link, &mut places, &mut rogues);
        link.answer(number, &answer.unwrap_or_else(failed))?;
        if let Order::Exit { code } = order {
            process::exit(code);
        }
    }
}

fn failed(failure: Failure) -> Answer {
    Answer::Failed(alloc::format!("{failure}"))
}

fn obey(order: &Order, link: &Link, places: &mut Places, rogues: &mut Rogues) -> Result<Answer, Failure> {
    match order {
        Order::Map { bytes, word } => places.map(*bytes, *word),
        Order::MapReadOnly { word } => places.map_read_only(*word),
        Order::Withdraw { slot } => places.withdraw(*slot),
        Order::Free { slot } => places.free(*slot),
        Order::Fill { slot, word } => places.fill(*slot, *word),
        Order::Show { slot } => link.show(&places.page(*slot)?),
        Order::MapMany { times } => places::map_many(*times),
        Order::Load { device, iova, offset, bytes } => rogues.load(device, *iova, *offset, *bytes),
        Order::Store { device, iova, offset, bytes } => rogues.store(device, *iova, *offset, *bytes),
        Order::Forge { address, first, count } => rogues.forge(*address, *first, *count),
        Order::Fire { iova, bytes, times } => rogues.fire(*iova, *bytes, *times),
        Order::Info { device } => rogues.info(device),
        Order::MapBar { device, bar, offset, bytes } => rogues.map_bar(device, *bar, *offset, *bytes),
        Order::Listen { device } => rogues.listen(device),
        Order::Raise { device } => rogues.raise(device),
        Order::Interrupts { device } => rogues.interrupts(device),
        Order::Faults => Ok(faults()),
        Order::Fault { number } => fault(*number),
        Order::Exit { .. } => Ok(Answer::Done),
    }
}

/// How many faults there were.
fn faults() -> Answer {
    let ring = &kernel_page().faults;
    let load = |counter: &core::sync::atomic::AtomicU64| counter.load(core::sync::atomic::Ordering::Acquire);
    Answer::Faults { written: load(&ring.written), lost: load(&ring.lost) }
}

fn fault(number: u64) -> Result<Answer, Failure> {
    let record = kernel_page().faults.get(number).ok_or(Failure::Missing)?;
    let FaultRecord { requester, iova, is_write, reason, count, .. } = record;
    Ok(Answer::Fault { requester, iova, is_write, reason, count })
}
