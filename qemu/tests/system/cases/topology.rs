//! Where a device is: what no unit covers, what others reach past the unit, and what does not go through it at all.

use std::time::Duration;

use anyhow::Result;

use super::{Case, VIRTIO};
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::Peer;

pub(super) const CASES: &[(&str, Case)] = &[
    ("topology::what_no_unit_covers_is_refused", || what_no_unit_covers_is_refused(VIRTIO)),
    ("topology::what_no_unit_covers_is_refused_amdvi", || what_no_unit_covers_is_refused(AMD)),
    ("topology::a_group_has_one_owner", || a_group_has_one_owner(VIRTIO)),
    ("topology::a_group_has_one_owner_amdvi", || a_group_has_one_owner(AMD)),
    ("topology::virtio_past_the_unit_is_refused", virtio_past_the_unit_is_refused),
];

const AMD: &str = "q35-amdvi-x2apic";
const LIMIT: Duration = Duration::from_secs(10);
/// A network device that asks the unit like any other.
const NIC: &str = "virtio-net-pci,disable-legacy=on,iommu_platform=on";

/// QEMU's options for a network device, as `-device` without its network.
fn nic(peer: &Peer, id: &str, device: &str) -> [String; 4] {
    let netdev = peer.netdev();
    let (kind, rest) = netdev.split_once(',').unwrap_or((&netdev, ""));
    ["-netdev".into(), format!("{kind},id={id},{rest}"), "-device".into(), format!("{device},netdev={id}")]
}

fn boot(machine: &'static str, manifest: &'static str, words: &[String]) -> Result<Guest> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(Setup::new(manifest).machine(machine).with(&words).boot()?.0)
}

fn device(text: &str) -> [String; 2] {
    ["-device".into(), text.into()]
}

/// Firmware's table leaves out what is below a host bridge that bypasses the unit.
fn what_no_unit_covers_is_refused(machine: &'static str) -> Result<()> {
    let peer = Peer::new()?;
    let mut words = device("pxb-pcie,id=outside,bus_nr=64,bus=pcie.0,bypass_iommu=on").to_vec();
    words.extend(device("pcie-root-port,id=root,bus=outside,chassis=9,slot=9"));
    words.extend(nic(&peer, "n", &format!("{NIC},bus=root")));
    let mut guest = boot(machine, "outside", &words)?;
    guest
        .console_line("0000:41:00.0: not granted to echo: not exactly one remapping unit covers it", LIMIT)?;
    guest.console_line("app echo is not started", LIMIT)?;
    // An application that was refused counts as failed.
    guest.type_line("poweroff")
}

/// Two functions behind a port without access control reach each other past the unit, whatever the unit says.
fn a_group_has_one_owner(machine: &'static str) -> Result<()> {
    let (mut first, second) = (Peer::new()?, Peer::new()?);
    let mut words = device("ioh3420,id=root,bus=pcie.0,chassis=1,slot=1").to_vec();
    words.extend(nic(&first, "n0", &format!("{NIC},bus=root,addr=0.0,multifunction=on")));
    words.extend(nic(&second, "n1", &format!("{NIC},bus=root,addr=0.1")));
    let mut guest = boot(machine, "two-owners", &words)?;
    let line = guest.console_line("0000:01:00.1: not granted to second:", LIMIT)?;
    let reason = "0000:01:00.0 has another owner, and these reach each other past the IOMMU:";
    let members = [" 0000:01:00.0", " 0000:01:00.1"];
    let group = line.split(reason).nth(1).unwrap_or_default();
    guest.check(members.iter().all(|member| group.contains(member)), &format!("the reason is: {line}"))?;
    guest.console_line("app second is not started", LIMIT)?;
    // The owner is served all the same.
    first.echo(100, |_| 64).map_err(|error| guest.failure(&format!("{error:#}")))?;
    guest.type_line("poweroff")
}

/// Without `ACCESS_PLATFORM` (virtio 1.3 §6 "Reserved Feature Bits") a device reaches all of memory although the unit
/// covers it; nobody but its driver can see that.
fn virtio_past_the_unit_is_refused() -> Result<()> {
    let peer = Peer::new()?;
    let mut words = device("pcie-root-port,id=root,bus=pcie.0,chassis=1,slot=1").to_vec();
    words.extend(nic(&peer, "n", "virtio-net-pci,disable-legacy=on,bus=root"));
    let mut guest = boot(VIRTIO, "echo", &words)?;
    guest.console_line("ACCESS_PLATFORM", LIMIT)?;
    guest.console_line("app echo exited with code 1", LIMIT)?;
    guest.type_line("poweroff")
}
