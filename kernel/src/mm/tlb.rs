//! TLB shootdown: telling other CPUs that a mapping is gone, and waiting until they know.
//!
//! **Invariant: when [`shoot_down`] returns, no CPU translates through an entry that was removed before the
//! call.** A CPU flushes everything of its address space: removals are rare and never per packet.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch::local::{is_installed, local};
use crate::arch::{apic, time};
use crate::cpus::{self, CpuSet, MAX_CPUS};

/// Per CPU: flushes asked for, and flushes done when that many had been asked for.
struct Mailbox {
    asked: AtomicU64,
    served: AtomicU64,
}

static MAILBOXES: [Mailbox; MAX_CPUS] =
    [const { Mailbox { asked: AtomicU64::new(0), served: AtomicU64::new(0) } }; MAX_CPUS];

/// Serves what others have asked of this CPU. Called from the interrupt and wherever a CPU spins.
pub(crate) fn serve() {
    if !is_installed() {
        return;
    }
    let mailbox = &MAILBOXES[local().index as usize];
    let asked = mailbox.asked.load(Ordering::SeqCst);
    if asked != mailbox.served.load(Ordering::Relaxed) {
        flush_all();
        mailbox.served.store(asked, Ordering::SeqCst);
    }
}

/// Makes every CPU in `active` forget what it cached of its address space, this one included.
pub(crate) fn shoot_down(active: &CpuSet) {
    /// A CPU with interrupts off serves while it spins and before it returns to user mode; one that is silent
    /// for longer is dead, and nothing can be promised any more.
    const LIMIT_US: u64 = 10_000_000;
    // The caller's page-table writes come before the look at who runs there.
    core::sync::atomic::fence(Ordering::SeqCst);
    let me = local().index;
    let told = CpuSet::new();
    for cpu in active.iter() {
        if cpu == me {
            flush_all();
            continue;
        }
        MAILBOXES[cpu as usize].asked.fetch_add(1, Ordering::SeqCst);
        told.insert(cpu);
        apic::send(cpus::apic_id(cpu), apic::SHOOTDOWN);
    }
    for cpu in told.iter() {
        let mailbox = &MAILBOXES[cpu as usize];
        // Ours is among what has been asked so far; another's that came meanwhile is served with it.
        let asked = mailbox.asked.load(Ordering::SeqCst);
        let done = time::wait_until(LIMIT_US, || mailbox.served.load(Ordering::SeqCst) >= asked);
        assert!(done, "a CPU does not answer a TLB shootdown");
    }
}

/// Drops every cached translation of this CPU's address space. Kernel mappings never change after boot.
fn flush_all() {
    x86_64::instructions::tlb::flush_all();
}
