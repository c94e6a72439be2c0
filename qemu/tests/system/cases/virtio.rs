//! The virtio network device with packed rings (split rings have the cases of every other file).

use super::{Case, echo};

pub(super) const CASES: &[(&str, Case)] = &[
    ("virtio::packed_vtd::every_size", || echo::every_size_comes_back_intact("q35-vtd-packed")),
    ("virtio::packed_vtd::no_kernel_entry", || echo::no_kernel_entry_on_a_granted_core("q35-vtd-packed")),
    ("virtio::packed_vtd::wakes", || echo::sleeps_and_wakes_on_a_shared_core("q35-vtd-packed")),
    ("virtio::packed_amdvi::every_size", || echo::every_size_comes_back_intact("q35-amdvi-packed")),
    ("virtio::packed_amdvi::no_kernel_entry", || echo::no_kernel_entry_on_a_granted_core("q35-amdvi-packed")),
    ("virtio::packed_amdvi::wakes", || echo::sleeps_and_wakes_on_a_shared_core("q35-amdvi-packed")),
];
