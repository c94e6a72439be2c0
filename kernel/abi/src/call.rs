//! The system calls, one documented constant each.
//!
//! Convention: `syscall` with the number in `rax` and up to six arguments in `rdi, rsi, rdx, r10, r8, r9`.
//! On return `rax` is 0 or an [`crate::Error`] number and `rdx` is the value (0 where a call has none).
//! `rcx` and `r11` are lost; every other register is kept. A call that fails has changed nothing.
//!
//! Numbers start at 0x1000; those below are Linux's and stay free. All lengths are in bytes, all times in
//! nanoseconds since boot. "Cost" is what bounds the call, beyond the entry itself.
//!
//! Errors named below are in addition to the three that every call can give: [`crate::Error::BadHandle`],
//! [`crate::Error::WrongObject`] and [`crate::Error::NoRight`].

/// `log_write(text, bytes)` — appends a line to the system log, under the caller's name.
///
/// At most [`LOG_LINE_BYTES`] are taken, the rest is cut; control characters become `.`.
/// Errors: `BadAddress`. Cost: one copy, and the console's speed.
pub const LOG_WRITE: u64 = 0x1000;

/// `process_create(system, name, name_bytes, quota) -> process` — makes an empty process.
///
/// `quota` points to a [`crate::info::Quota`]. The handle has every right. Needs `MANAGE` on `system`.
/// The process runs nothing until it gets a thread. Errors: `BadAddress`, `BadArgument` (name empty, longer
/// than [`crate::info::NAME_BYTES`] or not printable ASCII), `NoMemory`, `Quota`. Cost: four frames zeroed.
pub const PROCESS_CREATE: u64 = 0x1001;

/// `process_exit(code)` — ends the calling process, all its threads; does not return.
pub const PROCESS_EXIT: u64 = 0x1002;

/// `process_kill(process)` — ends another process at whatever instruction it is; it reports `Killed`.
///
/// When the call returns, nothing of the process runs, its devices are revoked and its frames are free.
/// Needs `MANAGE`. Errors: `Gone` (already dead), `BadArgument` (its own process: use `process_exit`).
pub const PROCESS_KILL: u64 = 0x1003;

/// `process_info(process, info)` — fills a [`crate::info::ProcessInfo`]. Needs `READ`. Works on the dead too.
/// Errors: `BadAddress`.
pub const PROCESS_INFO: u64 = 0x1004;

/// `process_watch(process, event)` — signals `event` when the process ends (at once if it has ended).
///
/// One watcher per process; a new one replaces the old; `event` 0 removes it. Needs `READ` on the process,
/// `WRITE` on the event. Errors: `BadArgument` (its own process: the place is its supervisor's).
pub const PROCESS_WATCH: u64 = 0x1005;

/// `thread_create(process, entry, stack, argument0, argument1, core) -> thread` — starts a thread.
///
/// It begins at `entry` with `rdi`, `rsi` = the arguments, `rdx` = its thread slot
/// ([`crate::page::KernelPage::threads`]), `rsp` = `stack` (16-byte aligned), every other register 0.
/// `core`: a `Core` handle of the *caller* to pin the thread to a granted core, or 0 for the shared cores.
/// Needs `MANAGE` on the process, `USE` on the core. Errors: `BadArgument`, `Quota` (64 threads), `NoMemory`,
/// `Gone`.
pub const THREAD_CREATE: u64 = 0x1006;

/// `thread_exit()` — ends the calling thread; with the last thread the process ends with code 0.
pub const THREAD_EXIT: u64 = 0x1007;

/// `thread_yield()` — lets another runnable thread of this core run first.
pub const THREAD_YIELD: u64 = 0x1008;

/// `thread_set_fs(base)` — sets the calling thread's FS base (thread-local storage).
///
/// For CPUs whose user mode has no `wrfsbase`. Errors: `BadArgument` (not in the user half).
pub const THREAD_SET_FS: u64 = 0x1009;

/// `event_create(slot, process) -> event` — makes an event whose counter is [`crate::page::KernelPage::events`]`[slot]`.
///
/// `process`: whose page that is, and who may wait for it; 0 for the caller. Needs `MANAGE` on it. Errors: `BadArgument`
/// (slot out of range), `Busy` (slot taken), `Quota`, `NoMemory`.
pub const EVENT_CREATE: u64 = 0x100a;

/// `event_wait(event, seen, deadline) -> count` — sleeps until the counter differs from `seen`.
///
/// Returns at once where it already does: read the counter, look for work, then wait with the value read,
/// and no wake-up is lost. `deadline` in ns since boot, `u64::MAX` for none. With `event` 0 it only sleeps
/// until the deadline. Needs `READ`; only the event's own process may wait. Errors: `TimedOut`, `BadArgument`.
pub const EVENT_WAIT: u64 = 0x100b;

/// `event_signal(event)` — adds one to the counter and wakes the sleepers. Needs `WRITE`. Errors: `Gone`.
pub const EVENT_SIGNAL: u64 = 0x100c;

/// `memory_create(bytes, flags) -> memory` — allocates zeroed frames, charged to the caller's quota.
///
/// `bytes` is a positive multiple of 4096. Without flags the largest blocks that fit are used; with
/// [`MEMORY_CONTIGUOUS`] the frames form one run. Errors: `BadArgument`, `Quota`, `NoMemory`.
/// Cost: zeroing.
pub const MEMORY_CREATE: u64 = 0x100d;

/// `memory_map(process, memory, offset, bytes, address, flags) -> address` — maps a range of a `Memory`.
///
/// `flags`: [`MAP_READ`] | [`MAP_WRITE`] or [`MAP_EXECUTE`] (never both) | [`MAP_DMA`]. With `MAP_DMA` the
/// range goes into the DMA window and every device of the process reaches it at the same address, with the
/// same permissions. `address` 0 lets the kernel choose (2 MiB-aligned where a large page fits); otherwise
/// it must be free, page-aligned and in the window exactly if `MAP_DMA`. Needs `MANAGE` on the process; on
/// the memory `READ`, `WRITE`, `EXECUTE` as mapped. Errors: `BadArgument`, `Busy` (address taken), `Quota`,
/// `NoMemory`, `Hardware`, `Gone`. Cost: page-table entries.
pub const MEMORY_MAP: u64 = 0x100e;

/// `memory_unmap(process, address)` — removes the whole mapping that starts at `address`.
///
/// When it returns, no CPU and no device reaches the range through that mapping. Works for device registers
/// too. Needs `MANAGE`. Errors: `NotFound`, `Hardware` (the devices were isolated instead). Cost: entries,
/// one TLB shootdown, one drained IOTLB invalidation if it was mapped for DMA.
pub const MEMORY_UNMAP: u64 = 0x100f;

/// `memory_info(memory) -> bytes` — the size of a `Memory`. Needs `READ`.
pub const MEMORY_INFO: u64 = 0x1010;

/// `handle_close(handle)` — closes a handle; an object without handles and uses is freed.
/// Closing `Handle::SELF` is `BadArgument`.
pub const HANDLE_CLOSE: u64 = 0x1011;

/// `handle_copy(process, handle, rights) -> handle in process` — gives a process a handle to the same object.
///
/// The new rights are those asked for and held, both. Needs `MANAGE` on the process and `TRANSFER` on the
/// handle. A device changes hands by [`DEVICE_ASSIGN`] only (`BadArgument`), the `System` object by nothing.
/// Errors: `Quota`, `Gone`, `BadArgument`.
pub const HANDLE_COPY: u64 = 0x1012;

/// `core_open(system, index) -> core` — takes CPU `index` out of the shared pool, for whoever gets the handle.
///
/// From then on it runs only threads created with this handle: no timer tick, no foreign interrupt. It goes
/// back when the last handle and thread are gone. CPU 0 stays shared. Needs `MANAGE` on `system`.
/// Errors: `NotFound`, `Busy`, `BadArgument` (CPU 0).
pub const CORE_OPEN: u64 = 0x1013;

/// `device_open(system, index) -> device` — the supervisor's handle to PCI function `index` (dense, from 0).
///
/// Needs `MANAGE` on `system`. Errors: `NotFound` past the last, `NoMemory`.
pub const DEVICE_OPEN: u64 = 0x1014;

/// `device_assign(device, process, flags) -> handle in process` — makes the process the function's one owner.
///
/// The function must have been reset since anybody used it ([`DEVICE_PREPARE`]). It is attached to the process's
/// I/O address space; bus mastering stays off until the owner asks ([`DEVICE_CONTROL`]). The new handle has
/// `READ | USE`. Needs `MANAGE` on both. `flags`: [`ASSIGN_UNCONFINED`] to accept a function that no unit covers:
/// it then reaches all memory; [`ASSIGN_ANNOUNCE`] to have a running process find it by [`DEVICE_ACCEPT`].
/// Errors: `Busy` (owned, or not reset), `NoIommu` (no unit covers it), `NotIsolated`, `Hardware` (it did not come
/// back from its reset), `Unsupported` (a bridge, or a function the kernel itself uses), `Gone`, `Quota`,
/// `NoMemory`.
pub const DEVICE_ASSIGN: u64 = 0x1015;

/// `device_revoke(device)` — takes the function away from its owner, whose cooperation is not needed.
///
/// When it returns no DMA of it lands, no interrupt of it arrives, its registers are out of the old owner's
/// reach, and a reset of it has begun. Needs `MANAGE`. Errors: `NotFound` (nobody owns it), `Hardware` (nobody owns
/// it any more, but the unit did not confirm that it is cut off: memory it had stays out of use).
pub const DEVICE_REVOKE: u64 = 0x1016;

/// `device_info(device, info)` — fills a [`crate::device::DeviceInfo`]. Needs `READ`. Errors: `BadAddress`.
pub const DEVICE_INFO: u64 = 0x1017;

/// `device_config_read(device, offset, width) -> value` — reads `width` (1, 2, 4) bytes of config space.
///
/// Needs `READ`. Writing is not possible: what a driver needs of it is in [`DEVICE_CONTROL`].
/// Errors: `BadArgument`, `Gone`.
pub const DEVICE_CONFIG_READ: u64 = 0x1018;

/// `device_map_bar(device, bar, offset, bytes, flags) -> address` — maps registers, uncached.
///
/// Pages of the MSI-X table and pending bits are never mapped. `flags`: 0 or [`MAP_WRITE_COMBINING`]
/// (prefetchable BARs only). Needs `USE`, and to be the owner. Errors: `BadArgument` (no such memory BAR, out
/// of range, unaligned, holds the MSI-X table), `Gone`, `Quota`, `NoMemory`.
pub const DEVICE_MAP_BAR: u64 = 0x1019;

/// `device_control(device, operation)` — one of [`DEVICE_BUS_MASTER_ON`], [`DEVICE_BUS_MASTER_OFF`],
/// [`DEVICE_RESET`] (begins a reset; afterwards bus mastering is off and interrupts are as the owner set them).
///
/// While a device is being reset ([`crate::device::DeviceInfo::IS_RESETTING`]) its owner can do nothing with it but
/// wait: the watcher counts at the end. Needs `USE`, and to be the owner. Errors: `BadArgument`, `Unsupported` (no
/// reset), `Busy` (being reset), `Gone`, `Hardware`.
pub const DEVICE_CONTROL: u64 = 0x101a;

/// `device_watch(device, event)` — signals the owner's `event` at each new fault record, at the end of a reset and at
/// revocation; the supervisor's at the end of a reset and when a storm begins or takes the device from its owner.
///
/// `event` 0 removes it. Needs `USE` (the owner) or `MANAGE` on the device, `WRITE` on the event. Errors: `Gone`.
pub const DEVICE_WATCH: u64 = 0x101b;

/// `interrupt_create(device, index, event) -> interrupt` — binds MSI-X entry (or MSI vector) `index`.
///
/// Each message adds one to the event's counter and wakes its sleepers, on the core of the calling thread.
/// Created masked. Needs `USE` on the device, `WRITE` on the event, which must be the caller's own.
/// Errors: `BadArgument` (no such entry), `Busy` (already bound, or being reset), `NoMemory` (no vector or entry
/// left), `Gone`, `Unsupported` (no MSI or MSI-X).
pub const INTERRUPT_CREATE: u64 = 0x101c;

/// `interrupt_control(interrupt, operation)` — [`INTERRUPT_MASK`] or [`INTERRUPT_UNMASK`]. Needs `USE`.
/// Errors: `BadArgument`, `Gone`.
pub const INTERRUPT_CONTROL: u64 = 0x101d;

/// `system_info(system, kind, index, buffer, bytes) -> bytes` — one record about the machine.
///
/// `kind`, `index` and the record are named in [`crate::info`]; `bytes` must be the record's size.
/// Needs `READ` on `system`. Errors: `NotFound` (index past the last), `BadArgument`, `BadAddress`.
pub const SYSTEM_INFO: u64 = 0x101e;

/// `log_read(system, from, buffer, bytes) -> bytes` — copies log text from position `from` on.
///
/// Positions count all bytes ever logged; text older than the ring is skipped: the first 8 bytes written to
/// `buffer` are the position of the text that follows. Needs `READ`. Errors: `BadAddress`, `BadArgument`.
pub const LOG_READ: u64 = 0x101f;

/// `console_read(system, port, buffer, bytes) -> bytes` — bytes received so far on a serial port; may be 0.
/// Needs `READ`. Errors: `BadAddress`, `NotFound` (no such port).
pub const CONSOLE_READ: u64 = 0x1020;

/// `console_write(system, port, buffer, bytes)` — writes raw bytes to a serial port: 0 the console, 1 the
/// machine-readable reports. Needs `WRITE`. Errors: `BadAddress`, `NotFound`, `BadArgument` (over 4096 bytes).
pub const CONSOLE_WRITE: u64 = 0x1021;

/// `console_watch(system, event)` — signals `event` when the console receives bytes; 0 removes it.
/// Needs `READ` on `system`, `WRITE` on the event.
pub const CONSOLE_WATCH: u64 = 0x1022;

/// `power_off(system, code)` — flushes the log and ends the machine; under QEMU with exit code
/// `code << 1 | 1`. Needs `MANAGE`. Does not return.
pub const POWER_OFF: u64 = 0x1023;

/// `memory_io_address(process, address) -> I/O address` — what a device of the process uses for `address`.
///
/// Inside the DMA window of a confined process it is `address` itself. Where the process's devices are not
/// confined ([`ASSIGN_UNCONFINED`]) it is the physical address, good to the end of a physically contiguous
/// run: create such memory with [`MEMORY_CONTIGUOUS`]. Needs `READ` on the process.
/// Errors: `BadAddress` (not mapped for DMA).
pub const MEMORY_IO_ADDRESS: u64 = 0x1024;

/// `device_prepare(device) -> state` — begins the reset that a new owner needs, unless it is under way or done.
///
/// 0: it may be assigned now; 1: it is being reset, and the supervisor's watcher ([`DEVICE_WATCH`]) counts at the end.
/// A reset takes 100 ms to 1.3 s, of which the kernel waits none. Needs `MANAGE`. Errors: `Busy` (owned), `Hardware`
/// (it cannot be reset now).
pub const DEVICE_PREPARE: u64 = 0x1025;

/// `device_accept(event) -> device` — the oldest device that was announced to the calling process
/// ([`ASSIGN_ANNOUNCE`]) and not accepted yet.
///
/// `event` is signalled whenever one is announced from now on; a new one replaces the old. Needs `WRITE` on the
/// event, which must be the caller's own. Errors: `NotFound` (none now), `BadArgument`.
pub const DEVICE_ACCEPT: u64 = 0x1026;

/// `device_policy(device, policy)` — sets what the device may do ([`crate::device::DevicePolicy`]), for present and
/// later owners; interrupts bound already keep their budget. Needs `MANAGE`.
///
/// A scratch page is made here, so that taking the device away needs no memory, and given back when the policy asks for
/// it no more. Errors: `BadAddress`, `BadArgument`, `NoMemory` (nothing was changed), `Gone`.
pub const DEVICE_POLICY: u64 = 0x1027;

/// `pci_watch(system, event)` — signals `event` whenever the state of a hot-plug slot changes, or virtual functions
/// come or go; 0 removes it.
///
/// What changed is told by [`crate::info::SlotInfo`] and [`crate::info::SystemInfo::device_changes`]. One watcher; a new
/// one replaces the old. Needs `READ` on `system`, `WRITE` on the event.
pub const PCI_WATCH: u64 = 0x1028;

/// `slot_control(system, slot, operation)` — asks something of a hot-plug slot: [`SLOT_EJECT`], [`SLOT_CUT`],
/// [`SLOT_SWITCH_ON`].
///
/// Returns at once; [`PCI_WATCH`] tells when it is done, within some seconds. Functions that leave are taken from
/// their owners as by [`DEVICE_REVOKE`]; handles to them give `Gone`. Needs `MANAGE`. Errors: `NotFound` (no such
/// slot), `BadArgument` (no such operation), `Busy` (makes no sense in the slot's state).
pub const SLOT_CONTROL: u64 = 0x1029;

/// `device_sriov(device, count)` — gives a physical function `count` virtual functions, or with 0 takes them away.
///
/// Returns at once. They come 100 ms later: the owner's watcher ([`DEVICE_WATCH`]) and the supervisor's ([`PCI_WATCH`])
/// count, and each is then a function like any other, with requester, registers and interrupts of its own, for the
/// supervisor to grant. They go, taken from their owners first as by [`DEVICE_REVOKE`], when the owner of the physical
/// function asks for it, resets it, or is its owner no more. Needs `USE`, and to be the owner. Errors: `Unsupported` (it
/// can have none), `BadArgument` (more than it can have), `Busy` (there are some, or went less than a second ago; or it is
/// being reset), `NotIsolated` (it describes them wrongly), `NoMemory` (no room for their registers), `Gone`.
pub const DEVICE_SRIOV: u64 = 0x102a;

/// One past the highest call number.
pub const END: u64 = 0x102b;

/// Most bytes [`LOG_WRITE`] takes at once.
pub const LOG_LINE_BYTES: u64 = 512;

/// [`MEMORY_CREATE`]: one physically contiguous run (of a power-of-two number of frames).
pub const MEMORY_CONTIGUOUS: u64 = 1 << 0;

/// [`MEMORY_MAP`]: readable. Always needed.
pub const MAP_READ: u64 = 1 << 0;
/// [`MEMORY_MAP`]: writable.
pub const MAP_WRITE: u64 = 1 << 1;
/// [`MEMORY_MAP`]: executable.
pub const MAP_EXECUTE: u64 = 1 << 2;
/// [`MEMORY_MAP`]: in the DMA window, for the process's devices as well.
pub const MAP_DMA: u64 = 1 << 3;
/// [`DEVICE_MAP_BAR`]: write-combining instead of uncached.
pub const MAP_WRITE_COMBINING: u64 = 1 << 4;

/// [`DEVICE_ASSIGN`]: confined or not.
pub const ASSIGN_UNCONFINED: u64 = 1 << 0;
/// [`DEVICE_ASSIGN`]: the process runs and is told.
pub const ASSIGN_ANNOUNCE: u64 = 1 << 1;

/// [`DEVICE_CONTROL`]: let the function read and write memory and send interrupts.
pub const DEVICE_BUS_MASTER_ON: u64 = 1;
/// [`DEVICE_CONTROL`]: stop that.
pub const DEVICE_BUS_MASTER_OFF: u64 = 2;
/// [`DEVICE_CONTROL`]: reset the function.
pub const DEVICE_RESET: u64 = 3;

/// [`INTERRUPT_CONTROL`]: stop delivery; messages in between are lost or pend, as the device likes.
pub const INTERRUPT_MASK: u64 = 0;
/// [`INTERRUPT_CONTROL`]: deliver.
pub const INTERRUPT_UNMASK: u64 = 1;

/// [`SLOT_CONTROL`]: take the functions from their owners, then switch the slot off.
pub const SLOT_EJECT: u64 = 0;
/// [`SLOT_CONTROL`]: switch the slot off under whoever uses it, as if the device were pulled out. The functions are
/// taken from their owners when the port notices, after a second at the latest.
pub const SLOT_CUT: u64 = 1;
/// [`SLOT_CONTROL`]: use what is in a slot that is off.
pub const SLOT_SWITCH_ON: u64 = 2;
