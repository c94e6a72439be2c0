//! Register offsets and layouts (VT-d 5.10 §11.4 "Register Descriptions").
//!
//! **Invariant: every register is accessed with the width its type has here.** Only what Weir uses is named.

use crate::capabilities::{Capabilities, Mode, Modes};
use bitfield_struct::bitfield;

/// Capability, 64 bits (§11.4.2).
pub(crate) const CAP: usize = 0x08;
/// Extended capability, 64 bits (§11.4.3).
pub(crate) const ECAP: usize = 0x10;
/// Global command, 32 bits (§11.4.4.1).
pub(crate) const GCMD: usize = 0x18;
/// Global status, 32 bits (§11.4.4.2).
pub(crate) const GSTS: usize = 0x1c;
/// Root table address, 64 bits (§11.4.5).
pub(crate) const RTADDR: usize = 0x20;
/// Fault status, 32 bits (§11.4.7.1).
pub(crate) const FSTS: usize = 0x34;
/// Fault event control, 32 bits (§11.4.7.2).
pub(crate) const FECTL: usize = 0x38;
/// Fault event data, 32 bits.
pub(crate) const FEDATA: usize = 0x3c;
/// Fault event address, 32 bits.
pub(crate) const FEADDR: usize = 0x40;
/// Fault event upper address, 32 bits.
pub(crate) const FEUADDR: usize = 0x44;
/// Protected memory enable, 32 bits.
pub(crate) const PMEN: usize = 0x64;
/// Invalidation queue head, 64 bits (§11.4.9).
pub(crate) const IQH: usize = 0x80;
/// Invalidation queue tail, 64 bits.
pub(crate) const IQT: usize = 0x88;
/// Invalidation queue address, 64 bits.
pub(crate) const IQA: usize = 0x90;
/// Interrupt remapping table address, 64 bits.
pub(crate) const IRTA: usize = 0xb8;
/// End of the registers at fixed offsets that are used here.
pub(crate) const FIXED_END: usize = 0xc0;

/// CAP (§11.4.2 "Capability Register").
#[bitfield(u64)]
pub(crate) struct Cap {
    /// Number of domains: 2^(4 + 2 × nd).
    #[bits(3)]
    pub nd: u8,
    __: bool,
    /// Write buffer must be flushed by command.
    pub rwbf: bool,
    /// Protected low-memory region.
    pub plmr: bool,
    /// Protected high-memory region.
    pub phmr: bool,
    /// Caching mode: not-present entries may be cached.
    pub cm: bool,
    /// Supported adjusted guest address widths, one bit per depth: bit 1 three levels, 2 four, 3 five.
    #[bits(5)]
    pub sagaw: u8,
    #[bits(3)]
    __: u8,
    /// Maximum guest address width minus 1, in bits.
    #[bits(6)]
    pub mgaw: u8,
    __: bool,
    __: bool,
    /// Fault recording registers' offset, in 16 bytes.
    #[bits(10)]
    pub fro: u16,
    /// Second-stage large pages: bit 0 2 MiB, bit 1 1 GiB.
    #[bits(4)]
    pub sslps: u8,
    __: bool,
    /// Page-selective invalidation.
    pub psi: bool,
    /// Number of fault recording registers minus 1.
    #[bits(8)]
    pub nfr: u8,
    /// Maximum address mask value.
    #[bits(6)]
    pub mamv: u8,
    /// Write draining.
    pub dwd: bool,
    /// Read draining.
    pub drd: bool,
    /// First-stage leaves of 1 GiB.
    pub fs1gp: bool,
    #[bits(7)]
    __: u8,
}
const _: () = assert!(Cap::RWBF_OFFSET == 4 && Cap::CM_OFFSET == 7 && Cap::SAGAW_OFFSET == 8);
const _: () = assert!(Cap::MGAW_OFFSET == 16 && Cap::FRO_OFFSET == 24 && Cap::SSLPS_OFFSET == 34);
const _: () = assert!(Cap::PSI_OFFSET == 39 && Cap::NFR_OFFSET == 40 && Cap::MAMV_OFFSET == 48);
const _: () = assert!(Cap::DWD_OFFSET == 54 && Cap::DRD_OFFSET == 55 && Cap::FS1GP_OFFSET == 56);

/// ECAP (§11.4.3 "Extended Capability Register").
#[bitfield(u64)]
pub(crate) struct Ecap {
    /// Root, context, PASID and interrupt table reads snoop the CPU's caches; in legacy mode page walks, too.
    pub c: bool,
    /// Queued invalidation.
    pub qi: bool,
    __: bool,
    /// Interrupt remapping.
    pub ir: bool,
    /// Extended interrupt mode: 32-bit APIC ids.
    pub eim: bool,
    #[bits(2)]
    __: u8,
    /// Snoop control: SNP is a valid bit of second-stage leaves.
    pub sc: bool,
    #[bits(35)]
    __: u64,
    /// Scalable mode translation.
    pub smts: bool,
    #[bits(2)]
    __: u8,
    /// Second-stage translation in scalable mode.
    pub ssts: bool,
    /// First-stage translation in scalable mode.
    pub fsts: bool,
    /// In scalable mode page walks snoop the CPU's caches where a PASID entry says so.
    pub smpwc: bool,
    #[bits(15)]
    __: u16,
}
const _: () = assert!(Ecap::IR_OFFSET == 3 && Ecap::EIM_OFFSET == 4 && Ecap::SC_OFFSET == 7);
const _: () = assert!(Ecap::SMTS_OFFSET == 43 && Ecap::SSTS_OFFSET == 46 && Ecap::FSTS_OFFSET == 47);
const _: () = assert!(Ecap::SMPWC_OFFSET == 48);

/// What the tables shared between units depend on.
pub(crate) fn capabilities(cap: Cap, ecap: Ecap, phys_bits: u8) -> Capabilities {
    Capabilities {
        modes: modes(cap, ecap),
        depths: cap.sagaw() & USABLE_DEPTHS,
        large_pages: cap.sslps() & 0b11,
        iova_bits: cap.mgaw() + 1,
        phys_bits: phys_bits.min(52),
        domain_id_bits: (4 + 2 * cap.nd()).min(16),
        is_coherent: ecap.c(),
        is_walk_coherent: ecap.smpwc(),
        has_snoop_control: ecap.sc(),
        has_huge_first_stage: cap.fs1gp(),
    }
}

/// Three, four and five levels.
const USABLE_DEPTHS: u8 = 0b0_1110;

fn modes(cap: Cap, ecap: Ecap) -> Modes {
    let has_second_stage = cap.sagaw() & USABLE_DEPTHS != 0;
    let mut modes = Modes::NONE;
    if has_second_stage {
        modes = modes.with(Mode::VtdLegacy);
    }
    if ecap.smts() && ecap.ssts() && has_second_stage {
        modes = modes.with(Mode::VtdSecondStage);
    }
    if ecap.smts() && ecap.fsts() {
        modes = modes.with(Mode::VtdFirstStage);
    }
    modes
}

/// GCMD to write and GSTS as read: the same bits, ones for what is on (§11.4.4).
#[bitfield(u32)]
pub(crate) struct Global {
    #[bits(23)]
    __: u32,
    /// Compatibility-format interrupts pass.
    pub cfi: bool,
    /// Set interrupt remapping table pointer; status: done.
    pub sirtp: bool,
    /// Interrupt remapping.
    pub ire: bool,
    /// Queued invalidation.
    pub qie: bool,
    /// Write buffer flush; status: going on.
    pub wbf: bool,
    /// Advanced fault logging (deprecated, never used here).
    pub eafl: bool,
    /// Set fault log (deprecated, never used here).
    pub sfl: bool,
    /// Set root table pointer; status: done.
    pub srtp: bool,
    /// DMA remapping.
    pub te: bool,
}
const _: () = assert!(Global::CFI_OFFSET == 23 && Global::QIE_OFFSET == 26 && Global::TE_OFFSET == 31);

impl Global {
    /// What a command must repeat: status without the one-shot bits, which would run again
    /// (§11.4.4.1: `GSTS & 96FF_FFFFh`).
    pub(crate) const fn persistent(self) -> Self {
        self.with_srtp(false).with_sfl(false).with_wbf(false).with_sirtp(false)
    }
}
const _: () = assert!(Global::from_bits(u32::MAX).persistent().into_bits() == 0x96ff_ffff);

/// RTADDR (§11.4.5 "Root Table Address Register").
#[bitfield(u64)]
pub(crate) struct RootTableAddress {
    #[bits(10)]
    __: u16,
    /// Translation table mode.
    #[bits(2)]
    pub ttm: u8,
    /// Frame number of the root table.
    #[bits(52)]
    pub frame: u64,
}
const _: () = assert!(RootTableAddress::TTM_OFFSET == 10 && RootTableAddress::FRAME_OFFSET == 12);

impl RootTableAddress {
    /// TTM of legacy mode.
    pub(crate) const LEGACY: u8 = 0;
    /// TTM of scalable mode.
    pub(crate) const SCALABLE: u8 = 1;
}

/// IQA (§11.4.9 "Invalidation Queue Address Register").
#[bitfield(u64)]
pub(crate) struct QueueAddress {
    /// Size: 2^size frames.
    #[bits(3)]
    pub size: u8,
    __: u8,
    /// DW: descriptors of 256 bits, which scalable mode needs and only units that offer it have.
    pub is_wide: bool,
    /// Frame number of the ring.
    #[bits(52)]
    pub frame: u64,
}
const _: () = assert!(QueueAddress::IS_WIDE_OFFSET == 11 && QueueAddress::FRAME_OFFSET == 12);

/// FSTS (§11.4.7.1 "Fault Status Register").
#[bitfield(u32)]
pub(crate) struct FaultStatus {
    /// Overflow: faults were lost. Write 1 to clear.
    pub pfo: bool,
    /// Some record is pending (read-only).
    pub ppf: bool,
    #[bits(2)]
    __: u8,
    /// Invalidation queue error. Write 1 to clear.
    pub iqe: bool,
    /// Invalidation completion error. Write 1 to clear.
    pub ice: bool,
    /// Invalidation time-out error. Write 1 to clear.
    pub ite: bool,
    __: bool,
    /// First record that was pending when `ppf` went up.
    pub fri: u8,
    __: u16,
}
const _: () = assert!(FaultStatus::IQE_OFFSET == 4 && FaultStatus::ITE_OFFSET == 6);
const _: () = assert!(FaultStatus::FRI_OFFSET == 8);

impl FaultStatus {
    /// The value that clears every error the queue can report.
    pub(crate) const CLEAR_QUEUE_ERRORS: Self = Self::new().with_iqe(true).with_ice(true).with_ite(true);

    pub(crate) const fn has_queue_error(self) -> bool {
        self.iqe() || self.ice() || self.ite()
    }
}

/// FECTL (§11.4.7.2 "Fault Event Control Register").
#[bitfield(u32)]
pub(crate) struct FaultControl {
    #[bits(31)]
    __: u32,
    /// Interrupt mask.
    pub im: bool,
}

/// PMEN (§11.4 "Protected Memory Enable Register").
#[bitfield(u32)]
pub(crate) struct ProtectedMemory {
    /// Protected regions are in force.
    pub prs: bool,
    #[bits(30)]
    __: u32,
    /// Enable protected memory.
    pub epm: bool,
}

/// IRTA (§11.4 "Interrupt Remapping Table Address Register").
#[bitfield(u64)]
pub(crate) struct InterruptTableAddress {
    /// Entries = 2^(size + 1).
    #[bits(4)]
    pub size: u8,
    #[bits(7)]
    __: u8,
    /// Extended interrupt mode.
    pub eime: bool,
    /// Frame number of the table.
    #[bits(52)]
    pub frame: u64,
}
const _: () = assert!(InterruptTableAddress::EIME_OFFSET == 11 && InterruptTableAddress::FRAME_OFFSET == 12);

/// FRCD, one fault record (§11.4.7.6 "Fault Recording Registers").
#[bitfield(u128)]
pub(crate) struct FaultRecord {
    #[bits(12)]
    __: u16,
    /// Page number of the address; for interrupt requests its top 16 bits are the table index.
    #[bits(52)]
    pub fi: u64,
    /// Requester.
    pub sid: u16,
    #[bits(12)]
    __: u16,
    /// Second type bit.
    pub t2: bool,
    #[bits(3)]
    __: u8,
    /// Reason.
    pub fr: u8,
    #[bits(22)]
    __: u32,
    /// First type bit: `t1 t2` = 00 write, 10 read, 01 page request, 11 atomic.
    pub t1: bool,
    /// The record is pending. Write 1 to clear.
    pub f: bool,
}
const _: () = assert!(FaultRecord::SID_OFFSET == 64 && FaultRecord::T2_OFFSET == 92);
const _: () = assert!(FaultRecord::FR_OFFSET == 96 && FaultRecord::T1_OFFSET == 126);
const _: () = assert!(FaultRecord::F_OFFSET == 127);

#[cfg(test)]
mod tests {
    use super::*;

    /// The registers of QEMU's unit, decoded by hand.
    #[test]
    fn decodes_a_known_unit() {
        let cap = Cap::from_bits(0x00d2_008c_222f_0606);
        assert_eq!((cap.nd(), cap.sagaw(), cap.mgaw()), (6, 0b00110, 47));
        assert_eq!((cap.fro() * 16, cap.nfr(), cap.mamv()), (0x220, 0, 18));
        assert_eq!((cap.sslps(), cap.psi(), cap.dwd(), cap.drd()), (0b11, true, true, true));
        assert!(!cap.rwbf() && !cap.cm() && !cap.plmr() && !cap.phmr());
        let ecap = Ecap::from_bits(0x00f0_0f5a);
        assert!(!ecap.c() && ecap.qi() && ecap.ir() && ecap.eim() && !ecap.sc());
        assert!(Cap::from_bits(0x00d2_008c_222f_0686).cm());
        assert!(Ecap::from_bits(0x00f0_0fda).sc());
        let all = capabilities(Cap::from_bits(0x00d2_0000_2226_0202), Ecap::from_bits(0xf0_0f5a), 39);
        assert_eq!((all.depths, all.large_pages, all.iova_bits), (0b010, 0, 39));
        assert_eq!((all.phys_bits, all.domain_id_bits), (39, 8));
        assert!(!all.is_coherent && !all.has_snoop_control);
    }

    /// The registers of QEMU's unit with scalable mode, decoded by hand.
    #[test]
    fn decodes_the_modes_of_known_units() {
        let of = |cap, ecap| capabilities(Cap::from_bits(cap), Ecap::from_bits(ecap), 48);
        let check = |cap, ecap, modes: &[Mode]| assert!(of(cap, ecap).modes().eq(modes.iter().copied()));
        use Mode::{VtdFirstStage, VtdLegacy, VtdSecondStage};
        check(0x00d2_008c_222f_0606, 0x00f0_0f5a, &[VtdLegacy]);
        check(0x00d2_008c_222f_0606, 0x4800_80f0_0f5a, &[VtdSecondStage, VtdLegacy]);
        check(0x81d2_008c_222f_0606, 0x8800_00f0_0f5a, &[VtdFirstStage, VtdLegacy]);
        check(0x81d2_008c_222f_0006, 0xc800_00f0_0f5a, &[VtdFirstStage]);
        check(0x81d2_008c_222f_0606, 0xc000_00f0_0f5a, &[VtdLegacy]);
        let first = of(0x81d2_008c_222f_0606, 0x8800_00f0_0f5a);
        assert!(first.has_huge_first_stage && !first.is_walk_coherent);
        assert!(of(0x81d2_008c_222f_0606, 0x1_8800_00f0_0f5a).is_walk_coherent);
    }

    #[test]
    fn commands_are_single_bits() {
        for (command, bits) in [
            (Global::new().with_te(true), 1 << 31),
            (Global::new().with_srtp(true), 1 << 30),
            (Global::new().with_wbf(true), 1 << 27),
            (Global::new().with_qie(true), 1 << 26),
            (Global::new().with_ire(true), 1 << 25),
            (Global::new().with_sirtp(true), 1 << 24),
            (Global::new().with_cfi(true), 1u32 << 23),
        ] {
            assert_eq!(command.into_bits(), bits);
        }
        assert_eq!(FaultStatus::CLEAR_QUEUE_ERRORS.into_bits(), 0x70);
        assert_eq!(FaultControl::new().with_im(true).into_bits(), 0x8000_0000);
        assert_eq!(ProtectedMemory::new().with_epm(true).into_bits(), 0x8000_0000);
    }
}
