//! The cases, by what they show.

mod attack;
mod audit;
mod block;
mod boot;
mod command;
mod confinement;
mod control;
mod documents;
mod echo;
mod forward;
mod frames;
mod hostile;
mod hotplug;
mod http;
mod kv;
mod lifecycle;
mod link;
mod linux;
mod live;
mod measure;
mod modes;
mod native;
mod nearby;
mod packets;
mod peers;
mod pipeline;
mod pktgen;
mod pktlat;
mod restart;
mod runner;
mod selftest;
mod sriov;
mod status;
mod switch;
mod tap;
mod tcp;
mod topology;
mod transfer;
mod vfio;
mod virtio;
mod web;

use anyhow::Result;

/// A case: passes or says what went wrong.
pub(crate) type Case = fn() -> Result<()>;

/// Machines with VT-d, by their network device.
const VIRTIO: &str = "q35-vtd";
const E1000E: &str = "q35-vtd-e1000e";
const IGB: &str = "q35-vtd-igb";

/// Whether this machine has what a case needs; it says what is missing.
pub(crate) fn is_possible(name: &str) -> bool {
    !name.starts_with("tap::") || tap::is_possible()
}

/// All cases, in the order they run.
pub(crate) fn all() -> Vec<(&'static str, Case)> {
    let mut all: Vec<(&'static str, Case)> = Vec::new();
    for cases in [
        runner::CASES,
        boot::CASES,
        selftest::CASES,
        echo::CASES,
        http::CASES,
        status::CASES,
        block::CASES,
        kv::CASES,
        confinement::CASES,
        topology::CASES,
        restart::CASES,
        hotplug::CASES,
        sriov::CASES,
        switch::CASES,
        frames::CASES,
        tap::CASES,
        tcp::CASES,
        nearby::CASES,
        hostile::CASES,
        live::CASES,
        transfer::CASES,
        link::CASES,
        audit::CASES,
        lifecycle::CASES,
        command::CASES,
        measure::CASES,
        control::CASES,
        native::CASES,
        packets::CASES,
        forward::CASES,
        documents::CASES,
        linux::CASES,
        vfio::CASES,
        peers::CASES,
        pipeline::CASES,
        pktgen::CASES,
        pktlat::CASES,
    ] {
        all.extend_from_slice(cases);
    }
    all.extend(modes::cases());
    all.extend(virtio::cases());
    all.extend(attack::cases());
    all
}
