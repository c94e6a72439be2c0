//! A QEMU plugin that counts a guest's instructions and kernel entries, from outside the guest.
//!
//! **Invariant: what is counted does not depend on the guest's cooperation**: instructions by the half of the address
//! space they lie in, and each arrival in the upper half after instructions of the lower one. A system that keeps user
//! code in the lower half and its kernel in the upper one (Weir, Linux) is in user mode in one and in kernel mode in the
//! other; firmware and boot code are not, so counts are differences between two moments after boot.
//!
//! A program may cut out a *region*: what its CPU executes between two instructions that do nothing elsewhere
//! ([`marker`]). Whatever runs on that CPU meanwhile belongs to it: system calls, interrupts, the idle loop, other programs.
//! A region begins and ends exactly at its marks; a block that an exception leaves in the middle counts whole.
//!
//! Arguments: `socket=NAME` (an abstract Unix socket; each line that arrives is answered with the counts, [`link`]).
//! Built for QEMU 11 (plugin API 7); with the feature `old-api` for QEMU 9 and 10 (API 2 and later, of which this uses
//! nothing else).
//!
//! Reading order: [`api`] (QEMU's functions) · [`marker`] · [`counts`] · this file · [`link`].
#![expect(unsafe_code, reason = "QEMU's plugin interface is C")]

mod api;
mod counts;
mod link;
mod marker;

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use marker::{Edge, Marker};

/// The lowest address of the upper half.
const UPPER_HALF: u64 = 1 << 63;

/// The version of QEMU's plugin interface that this was written for: QEMU refuses one that it does not have.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = if cfg!(feature = "old-api") { 2 } else { 7 };

/// Called by QEMU when it loads the plugin.
///
/// # Safety
/// QEMU's promises: `argv` has `argc` strings that live as long as the plugin.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    let arguments = (0..count).map(|index| {
        // SAFETY: the caller's promise.
        unsafe { CStr::from_ptr(*argv.add(index)) }.to_string_lossy()
    });
    let mut socket = None;
    for argument in arguments {
        match argument.split_once('=') {
            Some(("socket", name)) => socket = Some(name.to_owned()),
            _ => return complain(&format!("unknown argument `{argument}`; there is: socket=NAME")),
        }
    }
    let Some(socket) = socket else { return complain("socket=NAME is missing") };
    counts::set_up();
    if let Err(error) = link::start(&socket) {
        return complain(&format!("cannot connect to the socket {socket}: {error}"));
    }
    // SAFETY: `id` is ours, and the function lives as long as the plugin. The old interface has no third argument, and
    // takes no harm from one.
    unsafe { api::qemu_plugin_register_vcpu_tb_trans_cb(id, translated, std::ptr::null_mut()) };
    0
}

fn complain(what: &str) -> c_int {
    eprintln!("weir-observer: {what}");
    1
}

/// QEMU has translated a block of instructions: says what is to be counted when it runs.
#[cfg(not(feature = "old-api"))]
unsafe extern "C" fn translated(block: *mut api::Block, _data: *mut c_void) {
    count(&Block(block));
}

/// The same, as old versions call it.
#[cfg(feature = "old-api")]
unsafe extern "C" fn translated(_id: u64, block: *mut api::Block) {
    count(&Block(block));
}

fn count(block: &Block) {
    let counts = counts::counts();
    let is_upper = block.address() >= UPPER_HALF;
    if is_upper {
        block.call_when_run(upper_half_runs, block.address());
    }
    let counter = if is_upper { &counts.kernel } else { &counts.user };
    let markers: Vec<(usize, Marker)> = block.markers().collect();
    if markers.is_empty() {
        block.add_when_run(counter, block.instructions() as u64);
        return;
    }
    // Counted one by one, so that a marker stands exactly between its neighbours.
    for index in 0..block.instructions() {
        if let Some((_, marker)) = markers.iter().find(|(at, _)| *at == index) {
            block.call_before(index, marker_runs, u64::from(marker.word()));
        } else {
            block.add_before(index, counter);
        }
    }
}

unsafe extern "C" fn upper_half_runs(cpu: c_uint, address: *mut c_void) {
    counts::counts().arrived_in_kernel(cpu, address as u64);
}

unsafe extern "C" fn marker_runs(cpu: c_uint, word: *mut c_void) {
    let Some(marker) = Marker::of_word(word as u64) else { return };
    match marker.edge {
        Edge::Begin => counts::counts().begin(cpu, marker.region),
        Edge::End => counts::counts().end(cpu, marker.region),
    }
}

/// A translated block, alive during the callback that QEMU gave it to.
struct Block(*mut api::Block);

impl Block {
    fn address(&self) -> u64 {
        // SAFETY: alive.
        unsafe { api::qemu_plugin_tb_vaddr(self.0) }
    }

    fn instructions(&self) -> usize {
        // SAFETY: alive.
        unsafe { api::qemu_plugin_tb_n_insns(self.0) }
    }

    fn instruction(&self, index: usize) -> *mut api::Instruction {
        // SAFETY: alive; `index` is below `instructions`.
        unsafe { api::qemu_plugin_tb_get_insn(self.0, index) }
    }

    fn markers(&self) -> impl Iterator<Item = (usize, Marker)> {
        (0..self.instructions()).filter_map(|index| {
            let mut bytes = [0; weir_marker::BYTES];
            let instruction = self.instruction(index);
            // SAFETY: alive, and `bytes` has that much room.
            let (size, copied) = unsafe {
                let size = api::qemu_plugin_insn_size(instruction);
                (size, api::qemu_plugin_insn_data(instruction, bytes.as_mut_ptr().cast(), bytes.len()))
            };
            let marker = (size == bytes.len() && copied == size).then(|| Marker::decode(bytes)).flatten();
            marker.map(|marker| (index, marker))
        })
    }

    fn add_when_run(&self, counter: &counts::Counter, number: u64) {
        // SAFETY: alive; counters live as long as the plugin.
        unsafe {
            api::qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(self.0, api::ADD, counter.raw(), number);
        }
    }

    fn add_before(&self, index: usize, counter: &counts::Counter) {
        // SAFETY: as above.
        unsafe {
            let instruction = self.instruction(index);
            api::qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, api::ADD, counter.raw(), 1);
        }
    }

    fn call_when_run(&self, function: api::Call, word: u64) {
        // SAFETY: alive; the function lives as long as the plugin, the word is a number to it.
        unsafe {
            api::qemu_plugin_register_vcpu_tb_exec_cb(
                self.0,
                function,
                api::NO_REGISTERS,
                word as *mut c_void,
            );
        }
    }

    fn call_before(&self, index: usize, function: api::Call, word: u64) {
        let word = word as *mut c_void;
        // SAFETY: as above.
        unsafe {
            let instruction = self.instruction(index);
            api::qemu_plugin_register_vcpu_insn_exec_cb(instruction, function, api::NO_REGISTERS, word);
        }
    }
}
