//! The runner against a guest of a hundred bytes: serial ports, reports, power-off, verdicts, clean-up.
//!
//! The guest needs nothing of Weir, so these cases tell a broken runner from a broken kernel.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tempfile::TempPath;
use weir_runner::machine::Machine;
use weir_runner::system::System;
use weir_runner::tools::{self, Series};
use weir_runner::vm::config::EMULATED;
use weir_runner::vm::symbols::Symbols;
use weir_runner::vm::{Config, Outcome, Vm};

use super::Case;
use weir_runner::guest::{Guest, scratch_file};

pub(super) const CASES: &[(&str, Case)] = &[
    ("runner::reads_both_serial_ports", reads_both_serial_ports),
    ("runner::powers_off_by_the_console", powers_off_by_the_console),
    ("runner::ends_a_guest_that_does_not_answer", ends_a_guest_that_does_not_answer),
    ("runner::panic_and_reset_are_no_success", panic_and_reset_are_no_success),
    ("runner::shows_why_qemu_refuses", shows_why_qemu_refuses),
    ("runner::no_qemu_outlives_it", no_qemu_outlives_it),
];

const LIMIT: Duration = Duration::from_secs(20);

/// Writes the bytes at `text` (zero-terminated) to port `dx`: `mov dx; mov esi; lodsb; test; jz; out; jmp`.
fn write_text(code: &mut Code, port: u16, text: &str) {
    code.bytes(&[0x66, 0xba]).bytes(&port.to_le_bytes());
    code.byte(0xbe).address_of(text);
    code.bytes(&[0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8]);
}

/// `mov dx, 0x501; mov eax, value; out dx, eax`: ends QEMU with `value << 1 | 1`. The CPU may still run on for
/// a moment, so it halts.
fn exit(code: &mut Code, value: u8) {
    code.bytes(&[0x66, 0xba, 0x01, 0x05, 0xb8, value, 0, 0, 0, 0xef]);
    halt(code);
}

/// Waits for the letter `letter` on the first serial port: polls LSR (16550 offset 5, bit 0 "data ready").
fn wait_for(code: &mut Code, letter: u8) {
    code.bytes(&[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb]);
    code.bytes(&[0x66, 0xba, 0xf8, 0x03, 0xec, 0x3c, letter, 0x75, 0xee]);
}

/// `cli; hlt; jmp`.
fn halt(code: &mut Code) {
    code.bytes(&[0xfa, 0xf4, 0xeb, 0xfd]);
}

/// 32-bit code that PVH starts, and the texts it writes.
#[derive(Default)]
struct Code {
    code: Vec<u8>,
    texts: Vec<(usize, Vec<u8>)>,
}

const LOAD_ADDRESS: u32 = 0x10_0000;

impl Code {
    fn byte(&mut self, byte: u8) -> &mut Code {
        self.bytes(&[byte])
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Code {
        self.code.extend_from_slice(bytes);
        self
    }

    fn address_of(&mut self, text: &str) {
        self.texts.push((self.code.len(), [text.as_bytes(), &[0]].concat()));
        self.bytes(&[0; 4]);
    }

    /// An ELF file with one segment for everything and the note that PVH asks for.
    fn elf(mut self) -> Vec<u8> {
        const HEADERS: u32 = 64 + 2 * 56;
        // Name size 4, content size 4, type 18 (physical entry), "Xen", entry.
        let note: Vec<u8> =
            [4u32, 4, 18].iter().flat_map(|word| word.to_le_bytes()).chain(*b"Xen\0").collect();
        let start = HEADERS + u32::try_from(note.len()).unwrap() + 4;
        for (place, text) in std::mem::take(&mut self.texts) {
            let address = LOAD_ADDRESS + start + u32::try_from(self.code.len()).unwrap();
            self.code[place..place + 4].copy_from_slice(&address.to_le_bytes());
            self.code.extend_from_slice(&text);
        }
        let note = [note, (LOAD_ADDRESS + start).to_le_bytes().to_vec()].concat();
        let bytes = u64::from(start) + self.code.len() as u64;
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
        for word in [u64::from(LOAD_ADDRESS + start), 64, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend(b"\0\0\0\0\x40\0\x38\0\x02\0\x40\0\0\0\0\0");
        let mut segment = |kind: u32, offset: u64, bytes: u64| {
            file.extend([kind, 7].iter().flat_map(|word| word.to_le_bytes()));
            let address = u64::from(LOAD_ADDRESS) + offset;
            file.extend(
                [offset, address, address, bytes, bytes, 4].iter().flat_map(|word| word.to_le_bytes()),
            );
        };
        segment(1, 0, bytes);
        segment(4, HEADERS.into(), note.len() as u64);
        [file, note, self.code].concat()
    }
}

/// A small machine with `code` as its kernel, and the file that must live until it has started.
fn config(code: Code) -> Result<(Config, TempPath)> {
    let file = scratch_file("kernel", &code.elf())?;
    let config = Config {
        machine: Machine::named("q35-vtd")?,
        accelerator: EMULATED,
        memory: "64M".into(),
        cpus: 1,
        bundle: file.to_path_buf(),
        kernel: file.to_path_buf(),
        append: String::new(),
        networks: vec![],
        disks: vec![],
        extra: vec![],
        observer: None,
    };
    Ok((config, file))
}

fn start(code: Code) -> Result<Guest> {
    let (config, _file) = config(code)?;
    let (kernel, bundle) = (config.kernel.clone(), config.bundle.clone());
    Guest::start(&config, Symbols::new(&System { kernel, bundle, ..System::default() }))
}

const STATUS: &str = "{\"type\":\"status\",\"time_ns\":1,\"frames_free\":2,\"faults\":3,\"apps\":[]}\n";

fn reads_both_serial_ports() -> Result<()> {
    let mut code = Code::default();
    write_text(&mut code, 0x3f8, "hello from the guest\r\n");
    write_text(&mut code, 0x2f8, STATUS);
    exit(&mut code, 0x10);
    let mut guest = start(code)?;
    let (outcome, status) = guest.end(LIMIT)?;
    ensure!(outcome == Outcome::Success, "{outcome:?}");
    ensure!(status.is_some_and(|status| status.faults == 3), "the status written before the end was lost");
    guest.console_line("hello from the guest", Duration::ZERO).map(drop)
}

fn powers_off_by_the_console() -> Result<()> {
    let mut code = Code::default();
    write_text(&mut code, 0x3f8, "up\n");
    // The last letter of "poweroff".
    wait_for(&mut code, b'f');
    write_text(&mut code, 0x2f8, "{\"type\":\"end\",\"code\":16}\n");
    exit(&mut code, 0x10);
    let mut guest = start(code)?;
    guest.console_line("up", LIMIT)?;
    guest.power_off()
}

fn ends_a_guest_that_does_not_answer() -> Result<()> {
    let mut code = Code::default();
    halt(&mut code);
    let (config, _file) = config(code)?;
    let vm = Vm::start(&tools::qemu(Series::Any)?, &config)?;
    let process = qemu_process(&vm)?;
    let outcome = vm.power_off(|_| ());
    ensure!(outcome == Outcome::Unresponsive, "{outcome:?}");
    ensure!(!process.exists(), "QEMU is still there");
    Ok(())
}

fn panic_and_reset_are_no_success() -> Result<()> {
    for (value, expected) in [(0x20, Outcome::Panic), (0x11, Outcome::ApplicationFailed)] {
        let mut code = Code::default();
        exit(&mut code, value);
        let (outcome, _) = start(code)?.end(LIMIT)?;
        ensure!(outcome == expected, "{outcome:?} instead of {expected:?}");
    }
    // An exception without an interrupt table: triple fault, and QEMU ends with status 0.
    let mut code = Code::default();
    code.bytes(&[0x0f, 0x0b]);
    let (outcome, _) = start(code)?.end(LIMIT)?;
    ensure!(matches!(outcome, Outcome::Other(_)), "{outcome:?}");
    Ok(())
}

fn shows_why_qemu_refuses() -> Result<()> {
    let mut code = Code::default();
    halt(&mut code);
    let (mut config, _file) = config(code)?;
    config.extra = vec!["-device".into(), "no-such-device".into()];
    let result = Vm::start(&tools::qemu(Series::Any)?, &config);
    match result {
        Ok(_) => bail!("QEMU accepted a device that does not exist"),
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(text.contains("no-such-device") && !text.contains('\n'), "{text}");
            Ok(())
        }
    }
}

fn no_qemu_outlives_it() -> Result<()> {
    let mut code = Code::default();
    halt(&mut code);
    let (config, _file) = config(code)?;
    let qemu = tools::qemu(Series::Any)?;
    // Dropped.
    let dropped = qemu_process(&Vm::start(&qemu, &config)?)?;
    ensure!(!dropped.exists(), "QEMU survived the drop of its machine");
    // The thread that started it ends without dropping, as when the process is killed.
    let leaked = std::thread::spawn(move || {
        let vm = Vm::start(&qemu, &config)?;
        let process = qemu_process(&vm);
        std::mem::forget(vm);
        process
    });
    let Ok(process) = leaked.join() else { bail!("the thread panicked") };
    let process = process?;
    for _ in 0..200 {
        // It stays a zombie until we end: nobody waits for it.
        let state = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        if state.is_empty() || state.contains(") Z ") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("QEMU survived the thread that started it")
}

/// The folder of the QEMU process in `/proc`.
fn qemu_process(vm: &Vm) -> Result<std::path::PathBuf> {
    let folder = std::path::Path::new("/proc").join(vm.id().to_string());
    ensure!(folder.exists(), "QEMU is not running");
    Ok(folder)
}
