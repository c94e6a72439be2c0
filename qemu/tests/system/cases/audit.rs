//! `weir audit`, of manifests and of running systems.

use std::fs;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_runner::guest::scratch_file;
use weir_runner::workspace;

use super::Case;

pub(super) const CASES: &[(&str, Case)] = &[
    ("audit::the_default_system_is_disjoint", the_default_system_is_disjoint),
    ("audit::two_owners_are_disjoint", two_owners_are_disjoint),
    ("audit::two_owners_are_disjoint_behind_amdvi", two_owners_are_disjoint_behind_amdvi),
    ("audit::an_ambiguous_manifest_is_refused_with_its_line", an_ambiguous_manifest_is_refused_with_its_line),
    ("audit::a_machine_without_a_unit_proves_nothing", a_machine_without_a_unit_proves_nothing),
];

fn audit(words: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    Ok(command.arg("audit").args(words).current_dir(workspace::root()).output()?)
}

/// What an audit that succeeds finds.
fn disjoint(words: &[&str]) -> Result<(String, Value)> {
    let folder = tempfile::tempdir()?;
    let (json, svg) = (folder.path().join("audit.json"), folder.path().join("audit.svg"));
    let files = ["--json", json.to_str().context("a name")?, "--svg", svg.to_str().context("a name")?];
    let output = audit(&[words, &files].concat())?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    ensure!(text.lines().last().is_some_and(|line| line.starts_with("disjoint: ")), "{text}");
    ensure!(fs::read_to_string(svg)?.ends_with("</svg>\n"), "the drawing is not whole");
    Ok((text, serde_json::from_slice(&fs::read(json)?)?))
}

fn the_default_system_is_disjoint() -> Result<()> {
    let (text, found) = disjoint(&["--machine", "q35-vtd"])?;
    ensure!(text.starts_with("q35-vtd, IOMMU vtd-legacy\n"), "{text}");
    let owners = found["reach"]["owners"].as_array().context("owners")?;
    let names: Vec<_> = owners.iter().filter_map(|owner| owner["name"].as_str()).collect();
    ensure!(names == ["init", "status"], "{names:?}");
    // The counters, the word by which it asks for the rogue, what it is told of the machine, and nothing else.
    let shared = found["verdict"]["shared"].as_array().context("shared")?;
    let mut bytes: Vec<_> = shared.iter().filter_map(|memory| memory["bytes"].as_u64()).collect();
    bytes.sort_unstable();
    ensure!(bytes == [4096, 4096, 65536], "{shared:?}");
    Ok(())
}

fn two_owners_are_disjoint() -> Result<()> {
    two_owners("q35-vtd")
}

fn two_owners_are_disjoint_behind_amdvi() -> Result<()> {
    two_owners("q35-amdvi-x2apic")
}

/// Each has its own device: registers, an interrupt where it sleeps, memory that the device reaches.
fn two_owners(machine: &str) -> Result<()> {
    let manifest = "qemu/tests/manifests/two-nics.toml";
    let (text, _) = disjoint(&[manifest, "--cpus", "3", "--machine", machine, "--networks", "2"])?;
    for (owner, device) in [("whole", "0000:01:00.0"), ("sharing", "0000:02:00.0")] {
        let has = |what: &str, place: &str| {
            text.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some(owner) && words.next() == Some(what) && line.contains(place)
            })
        };
        ensure!(has("registers", device) && has("memory", "run(s)") && has("DMA", "0x1"), "{owner}: {text}");
    }
    ensure!(text.contains("sharing  interrupt"), "nobody sleeps: {text}");
    ensure!(text.contains("CPU 1"), "no core was granted: {text}");
    Ok(())
}

fn an_ambiguous_manifest_is_refused_with_its_line() -> Result<()> {
    let app = |name: &str, select: &str| {
        format!("[[app]]\nname = \"{name}\"\nprogram = \"echo\"\n[[app.device]]\nname = \"nic\"\n{select}\n")
    };
    let text = [app("one", "id = \"1af4:1041\""), app("two", "address = \"0000:01:00.0\"")].concat();
    let file = scratch_file("ambiguous", text.as_bytes())?;
    let output = audit(&[file.to_str().context("a name")?])?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(2), "{}: {said}", output.status);
    ensure!(said.contains(":11: nic of two may be the same device as nic of one"), "{said}");
    Ok(())
}

fn a_machine_without_a_unit_proves_nothing() -> Result<()> {
    let output = audit(&["qemu/tests/manifests/echo-unsafe.toml", "--machine", "q35-noiommu"])?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.code() == Some(1), "{}: {text}", output.status);
    ensure!(text.contains("VIOLATION: nothing confines devices"), "{text}");
    Ok(())
}
