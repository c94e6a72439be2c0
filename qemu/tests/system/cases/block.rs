//! Block devices: what an application writes is in the disk's image, as this host reads it, and the kernel is not entered.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

use super::Case;
use weir_runner::guest::{Guest, Setup};
use weir_runner::vm::Outcome;

pub(super) const CASES: &[(&str, Case)] = &[
    ("block::contents_reach_the_image", || contents_reach_the_image(NVME)),
    ("block::contents_reach_the_image_amdvi", || contents_reach_the_image(NVME_AMDVI)),
    ("block::contents_reach_the_image_virtio", || contents_reach_the_image(VIRTIO_BLK)),
    ("block::contents_reach_the_image_virtio_amdvi", || contents_reach_the_image(VIRTIO_BLK_AMDVI)),
    ("block::sleeps_and_wakes", || sleeps_and_wakes(NVME)),
    ("block::sleeps_and_wakes_virtio", || sleeps_and_wakes(VIRTIO_BLK)),
    ("block::killed_at_full_io_and_back", || killed_at_full_io_and_back(NVME)),
    ("block::killed_at_full_io_and_back_amdvi", || killed_at_full_io_and_back(NVME_AMDVI)),
    ("block::killed_at_full_io_and_back_virtio", || killed_at_full_io_and_back(VIRTIO_BLK)),
    ("block::revoked_at_full_io_and_back", || revoked_at_full_io_and_back(NVME)),
    ("block::revoked_at_full_io_and_back_virtio", || revoked_at_full_io_and_back(VIRTIO_BLK)),
    ("block::two_namespaces_and_two_queues", two_namespaces_and_two_queues),
];

/// Machines, by their disk and their IOMMU.
const NVME: &str = "q35-vtd";
const NVME_AMDVI: &str = "q35-amdvi-x2apic";
const VIRTIO_BLK: &str = "q35-vtd-virtio-blk";
const VIRTIO_BLK_AMDVI: &str = "q35-amdvi-virtio-blk";

/// How long the guest's next line may take.
const LIMIT: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;
const IMAGE_BYTES: u64 = 64 << 20;

/// An image of zeros; it goes with the value.
fn image() -> Result<NamedTempFile> {
    let image = NamedTempFile::with_prefix("disk")?;
    image.as_file().set_len(IMAGE_BYTES)?;
    Ok(image)
}

/// The image's bytes.
fn contents(image: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(image)?.read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 == IMAGE_BYTES, "the image has {} bytes", bytes.len());
    Ok(bytes)
}

/// What the application writes at a byte offset (apps/nvmeperf/README.md).
fn pattern(offset: usize, bytes: usize, seed: u64) -> Vec<u8> {
    let word = |index: usize| (index as u64 ^ seed.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (offset / 8..(offset + bytes) / 8).flat_map(|index| word(index).to_le_bytes()).collect()
}

/// What the application says at the end of a phase.
struct Done(BTreeMap<String, u64>);

impl Done {
    /// Waits for the line that begins so.
    fn wait(guest: &mut Guest, start: &str) -> Result<Done> {
        let line = guest.console_line(&format!("done {start} "), LIMIT)?;
        let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
        let done = Done(pairs.filter_map(|(key, value)| Some((key.into(), value.parse().ok()?))).collect());
        ensure!(done.get("failed")? == 0 && done.get("wrong")? == 0 && done.get("cut_off")? == 0, "{line}");
        Ok(done)
    }

    fn get(&self, key: &str) -> Result<u64> {
        self.0.get(key).copied().with_context(|| format!("the application did not say {key}"))
    }
}

/// Waits for the end, which must be a good one.
fn end_well(guest: &mut Guest) -> Result<()> {
    let (outcome, status) = guest.end(LIMIT)?;
    guest.check(outcome == Outcome::Success, &format!("the machine ended with {outcome:?}"))?;
    let status = status.context("a last report")?;
    let is_well = status.faults == 0 && status.app("nvmeperf").is_some_and(|app| app.device_errors == 0);
    guest.check(is_well, &format!("{status:?}"))
}

pub(super) fn contents_reach_the_image(machine: &'static str) -> Result<()> {
    let image = image()?;
    let (mut guest, _) = Setup::new("block-verify").machine(machine).disk(image.path()).boot()?;
    let written = Done::wait(&mut guest, "Write bs=4096 iodepth=32")?;
    let checked = Done::wait(&mut guest, "Check bs=4096 iodepth=32")?;
    ensure!(written.get("ios")? == 4096 && checked.get("ios")? == 4096);
    for (depth, ios) in [(1, 500), (32, 20_000), (128, 40_000)] {
        let read = Done::wait(&mut guest, &format!("Read bs=4096 iodepth={depth}"))?;
        let (done, entries) = (read.get("ios")?, read.get("kernel_entries")?);
        guest.check(done == ios && entries == 0, &format!("{entries} kernel entries in {done} requests"))?;
    }
    Done::wait(&mut guest, "Check bs=131072 iodepth=8")?;
    Done::wait(&mut guest, "Trim bs=1024 iodepth=32")?;
    end_well(&mut guest)?;
    let bytes = contents(image.path())?;
    guest.check(bytes[..4 * MIB] == pattern(0, 4 * MIB, 7), "what was written is not in the image")?;
    guest.check(bytes[4 * MIB..5 * MIB].iter().all(|byte| *byte == 0), "what was trimmed is still there")?;
    guest.check(bytes[5 * MIB..16 * MIB] == pattern(5 * MIB, 11 * MIB, 7), "what was not trimmed is gone")?;
    guest.check(bytes[16 * MIB..32 * MIB].iter().all(|byte| *byte == 0), "somewhere else was written")?;
    guest.check(bytes[32 * MIB..34 * MIB] == pattern(32 * MIB, 2 * MIB, 7), "long requests are not whole")?;
    guest.check(bytes[34 * MIB..].iter().all(|byte| *byte == 0), "somewhere else was written")
}

pub(super) fn sleeps_and_wakes(machine: &'static str) -> Result<()> {
    let image = image()?;
    let (mut guest, _) = Setup::new("block-sleep").machine(machine).cpus(1).disk(image.path()).boot()?;
    let mut sleeps = 0;
    for phase in ["Write bs=4096 iodepth=1", "Check bs=4096 iodepth=1", "Check bs=4096 iodepth=32"] {
        let done = Done::wait(&mut guest, phase)?;
        ensure!(done.get("ios")? == 256, "{phase}");
        sleeps += done.get("sleep_entries")?;
        ensure!(done.get("sleep_entries")? <= done.get("kernel_entries")?, "{phase}");
    }
    let read = Done::wait(&mut guest, "Read bs=4096 iodepth=32")?;
    ensure!(read.get("ios")? == 2000);
    end_well(&mut guest)?;
    guest.check(sleeps > 0, "it never slept")?;
    guest.check(contents(image.path())?[..MIB] == pattern(0, MIB, 1), "the image is not what was written")
}

const ENDLESS_BYTES: usize = 4 * MIB;
const ENDLESS_SEED: u64 = 100;

/// Each block must be whole, of this pass or a later one. Returns the latest.
fn latest_pass(guest: &Guest, image: &Path, least: u64) -> Result<u64> {
    const PASSES: u64 = 100_000;
    let bytes = contents(image)?;
    let mut latest = least;
    for (number, block) in bytes[..ENDLESS_BYTES].chunks(4096).enumerate() {
        // The first word tells the pass.
        let is_start = |pass: &u64| block[..8] == pattern(4096 * number, 8, ENDLESS_SEED + pass);
        let pass = (least..least + PASSES).find(is_start);
        let Some(pass) = pass else { return Err(guest.failure(&format!("block {number} is of no pass"))) };
        let is_whole = block == pattern(4096 * number, 4096, ENDLESS_SEED + pass);
        guest.check(is_whole, &format!("block {number} is torn"))?;
        latest = latest.max(pass);
    }
    Ok(latest)
}

/// Killed while it writes: what it was told is written, is; its next life has the device and starts over.
pub(super) fn killed_at_full_io_and_back(machine: &'static str) -> Result<()> {
    let image = image()?;
    let (mut guest, _) = Setup::new("block-endless").machine(machine).disk(image.path()).boot()?;
    Done::wait(&mut guest, "Write bs=4096 iodepth=32 queue=0 pass=2")?;
    guest.type_line("kill nvmeperf")?;
    guest.console_line("killed nvmeperf", LIMIT)?;
    guest.status_until("killed", |status| status.app("nvmeperf").is_some_and(|app| app.state == "killed"))?;
    let latest = latest_pass(&guest, image.path(), 2)?;
    // Nobody writes any more.
    std::thread::sleep(Duration::from_millis(300));
    ensure!(latest_pass(&guest, image.path(), 2)? == latest, "the image changes after its owner's death");
    begin_again(&mut guest, image.path())
}

/// The device is taken away while it writes: the program learns that, and may have it again.
pub(super) fn revoked_at_full_io_and_back(machine: &'static str) -> Result<()> {
    let image = image()?;
    let (mut guest, _) = Setup::new("block-endless").machine(machine).disk(image.path()).boot()?;
    Done::wait(&mut guest, "Write bs=4096 iodepth=32 queue=0 pass=2")?;
    guest.type_line("revoke 01:00.0")?;
    guest.console_line("nvmeperf: block: host: device is gone", LIMIT)?;
    guest.status_until("its end", |status| {
        status.app("nvmeperf").is_some_and(|app| app.state == "exited" && app.code == 1)
    })?;
    latest_pass(&guest, image.path(), 2)?;
    begin_again(&mut guest, image.path())
}

/// Starts the application again, and sees it write.
fn begin_again(guest: &mut Guest, image: &Path) -> Result<()> {
    let before = guest.count_said("pass=0 ");
    guest.type_line("restart nvmeperf")?;
    guest.status_until("writing again", |status| {
        status.app("nvmeperf").is_some_and(|app| app.ready && app.restarts == 1)
    })?;
    let deadline = std::time::Instant::now() + LIMIT;
    while guest.count_said("pass=0 ") == before {
        guest.check(std::time::Instant::now() < deadline, "it does not write again")?;
        guest.status()?;
    }
    // A block read while it is written may be half of each.
    guest.type_line("kill nvmeperf")?;
    let status = guest
        .status_until("ended", |status| status.app("nvmeperf").is_some_and(|app| app.state == "killed"))?;
    latest_pass(guest, image, 0)?;
    guest.check(status.faults == 0, &format!("the device was caught outside: {status:?}"))?;
    guest.type_line("poweroff")
}

fn two_namespaces_and_two_queues() -> Result<()> {
    let (one, other) = (image()?, image()?);
    let drive = |id: &str, image: &Path| format!("if=none,id={id},format=raw,file={}", image.display());
    let (first, second) = (drive("one", one.path()), drive("other", other.path()));
    let setup = Setup::new("block-namespaces").cpus(3).with(&[
        "-device",
        "pcie-root-port,id=rp,bus=pcie.0,chassis=1,slot=1",
        "-drive",
        &first,
        "-drive",
        &second,
        "-device",
        "nvme,id=nvme,bus=rp,serial=weir",
        "-device",
        "nvme-ns,bus=nvme,drive=one,nsid=1",
        "-device",
        "nvme-ns,bus=nvme,drive=other,nsid=7,logical_block_size=4096,physical_block_size=4096",
    ]);
    let (mut guest, _) = setup.boot()?;
    guest.console_line("disk 1: 16384 blocks of 4096 bytes", LIMIT)?;
    for (phase, ios) in [("Check bs=4096 iodepth=16", 256), ("Check bs=8192 iodepth=16", 128)] {
        for queue in 0..2 {
            let done = Done::wait(&mut guest, &format!("{phase} queue={queue}"))?;
            ensure!(done.get("ios")? == ios, "{phase}, queue {queue}");
        }
    }
    end_well(&mut guest)?;
    let (one, other, start) = (contents(one.path())?, contents(other.path())?, 64 << 10);
    guest.check(one[..2 * MIB] == pattern(0, 2 * MIB, 7), "the first disk is not what was written")?;
    guest.check(
        other[start..start + 2 * MIB] == pattern(start, 2 * MIB, 8),
        "the second disk is not what was written",
    )?;
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let rest = [&one[2 * MIB..], &other[..start], &other[start + 2 * MIB..]];
    guest.check(rest.into_iter().all(is_zero), "somewhere else was written")
}
