//! The functions of QEMU that the plugin calls (QEMU's `qemu-plugin.h`, interface versions 2 to 7: QEMU 9.0 to 11.1).
//!
//! They are found in the QEMU that loads the plugin.

use std::ffi::{c_int, c_uint, c_void};

/// A translated block, QEMU's.
#[repr(C)]
pub(crate) struct Block([u8; 0]);

/// One of its instructions.
#[repr(C)]
pub(crate) struct Instruction([u8; 0]);

/// An array with one element per CPU, QEMU's.
#[repr(C)]
pub(crate) struct Scoreboard([u8; 0]);

/// A 64-bit word at the same place of each element.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Word {
    pub(crate) board: *mut Scoreboard,
    pub(crate) offset: usize,
}

/// Called when a block or an instruction runs: which CPU, and what was registered with it.
pub(crate) type Call = unsafe extern "C" fn(cpu: c_uint, data: *mut c_void);
/// Called when a block was translated.
#[cfg(not(feature = "old-api"))]
type Translated = unsafe extern "C" fn(block: *mut Block, data: *mut c_void);
#[cfg(feature = "old-api")]
type Translated = unsafe extern "C" fn(id: u64, block: *mut Block);

/// The called function looks at no register (`enum qemu_plugin_cb_flags`).
pub(crate) const NO_REGISTERS: c_int = 0;
/// Adds a number (`enum qemu_plugin_op`).
pub(crate) const ADD: c_int = 0;

unsafe extern "C" {
    pub(crate) fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, call: Translated, data: *mut c_void);
    pub(crate) fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut Block,
        call: Call,
        flags: c_int,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
        block: *mut Block,
        operation: c_int,
        word: Word,
        number: u64,
    );
    pub(crate) fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        call: Call,
        flags: c_int,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
        instruction: *mut Instruction,
        operation: c_int,
        word: Word,
        number: u64,
    );
    pub(crate) fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    pub(crate) fn qemu_plugin_tb_vaddr(block: *const Block) -> u64;
    pub(crate) fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    pub(crate) fn qemu_plugin_insn_data(
        instruction: *const Instruction,
        to: *mut c_void,
        bytes: usize,
    ) -> usize;
    pub(crate) fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    pub(crate) fn qemu_plugin_scoreboard_new(bytes: usize) -> *mut Scoreboard;
    pub(crate) fn qemu_plugin_u64_get(word: Word, cpu: c_uint) -> u64;
    pub(crate) fn qemu_plugin_num_vcpus() -> c_int;
}
