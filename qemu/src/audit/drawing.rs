//! The audit as a drawing: owners, what only one reaches beside each, what two share between them.

use std::fs::File;
use std::io::{self, Write};

use weir_abi::device::PciAddress;

use super::proof::Verdict;
use super::reach::{Owner, Reach};
use super::show::memory;

const WIDTH: usize = 260;
const GAP: usize = 40;
const LINE: usize = 18;
const TOP: usize = 60;

/// Writes an SVG: a box per owner with what it alone reaches, a line between two for memory they share.
///
/// # Errors
/// The file cannot be written.
pub fn write(mut file: File, reach: &Reach, verdict: &Verdict) -> io::Result<()> {
    let boxes: Vec<Vec<String>> = reach.owners.iter().map(|owner| lines(owner, reach)).collect();
    let height = boxes.iter().map(Vec::len).max().unwrap_or(0) * LINE + 30;
    let full_width = boxes.len() * (WIDTH + GAP) + GAP;
    let full_height = TOP + height + 40 + (verdict.shared.len() + verdict.violations.len()) * LINE;
    writeln!(
        file,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{full_width}" height="{full_height}" font-family="sans-serif" font-size="12">"#
    )?;
    writeln!(file, r#"<rect width="100%" height="100%" fill="white"/>"#)?;
    for (at, (owner, lines)) in reach.owners.iter().zip(&boxes).enumerate() {
        let x = GAP + at * (WIDTH + GAP);
        writeln!(
            file,
            r##"<rect x="{x}" y="{TOP}" width="{WIDTH}" height="{height}" rx="8" fill="#eef4fb" stroke="#3366aa"/>"##
        )?;
        text(&mut file, x + 10, TOP - 10, &owner.name, "#113355")?;
        for (row, line) in lines.iter().enumerate() {
            text(&mut file, x + 10, TOP + 20 + row * LINE, line, "black")?;
        }
    }
    let mut y = TOP + height + 30;
    for shared in &verdict.shared {
        let [(one, _), (two, _)] = &shared.between;
        let line = format!("{one} and {two} share {} KiB (memory {})", shared.bytes / 1024, shared.memory);
        text(&mut file, GAP, y, &line, "#886600")?;
        y += LINE;
    }
    for violation in &verdict.violations {
        text(&mut file, GAP, y, violation, "#bb0000")?;
        y += LINE;
    }
    writeln!(file, "</svg>")
}

/// What stands in an owner's box.
fn lines(owner: &Owner, reach: &Reach) -> Vec<String> {
    let sum = |bytes: u64| format!("{} KiB", bytes / 1024);
    let mut lines = vec![format!("memory {}", sum(memory(owner).iter().map(|run| run.bytes).sum()))];
    let dma: u64 = owner.device_reach.iter().map(|run| run.bytes).sum();
    for device in reach.devices.iter().filter(|device| device.owner == owner.process) {
        lines.push(format!("device {} reaches {}", PciAddress(device.address), sum(dma)));
    }
    for run in owner.reach.iter().filter(|run| run.is_registers()) {
        lines.push(format!("registers {:#x}+{}", run.phys, sum(run.bytes)));
    }
    for interrupt in reach.interrupts.iter().filter(|interrupt| interrupt.owner == owner.process) {
        lines.push(format!("interrupt {:#x} of CPU {}", interrupt.vector, interrupt.cpu));
    }
    if Some(owner.process) != reach.supervisor() {
        lines.extend(owner.cores.iter().map(|core| format!("core {core}, whole")));
    }
    lines
}

fn text(file: &mut File, x: usize, y: usize, words: &str, colour: &str) -> io::Result<()> {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(file, r#"<text x="{x}" y="{y}" fill="{colour}">{words}</text>"#)
}
