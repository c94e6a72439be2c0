//! Turns the guest's backtrace lines into functions, files and lines.
//!
//! The guest writes `[backtrace] kernel 0xADDRESS` or `[backtrace] app NAME 0xADDRESS`, innermost frame
//! first. The first address of a run of such lines is where something happened (or, in a panic's, again a return
//! address), the others are return addresses: the call is the instruction before.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use weir_abi::layout::PROGRAM_BASE;

use crate::system::System;
use crate::workspace;

/// The symbols of a system.
pub struct Symbols {
    kernel: PathBuf,
    programs: HashMap<String, PathBuf>,
    loaded: HashMap<PathBuf, Option<Loader>>,
    is_inside: bool,
}

/// A backtrace line, read.
#[derive(Debug, PartialEq, Eq)]
struct Frame<'a> {
    app: Option<&'a str>,
    address: u64,
}

impl Symbols {
    /// The symbols of `system`; files are read when first needed.
    #[must_use]
    pub fn new(system: &System) -> Symbols {
        let programs = system.programs.iter().cloned().collect();
        Symbols { kernel: system.kernel.clone(), programs, loaded: HashMap::new(), is_inside: false }
    }

    /// What to show in place of the console line `line`, or `None` where it is no backtrace line.
    pub fn explain(&mut self, line: &str) -> Option<Vec<String>> {
        let frame = frame(line);
        let is_call = std::mem::replace(&mut self.is_inside, frame.is_some());
        let Frame { app, address } = frame?;
        let place = app.map_or("kernel", |name| name);
        let file = app.map_or(Some(&self.kernel), |name| self.programs.get(name)).cloned();
        let base = if app.is_some() { PROGRAM_BASE } else { 0 };
        let probe = address.wrapping_sub(base).wrapping_sub(u64::from(is_call));
        let mut found = file.as_ref().map(|file| self.lookup(file, probe)).unwrap_or_default();
        if found.is_empty() && !is_call {
            found = file.map(|file| self.lookup(&file, probe.wrapping_sub(1))).unwrap_or_default();
        }
        if found.is_empty() {
            return Some(vec![format!("  {address:#018x} {place}: ?")]);
        }
        Some(found.into_iter().map(|what| format!("  {address:#018x} {place}: {what}")).collect())
    }

    fn lookup(&mut self, file: &Path, probe: u64) -> Vec<String> {
        let loader = self.loaded.entry(file.to_owned()).or_insert_with(|| Loader::new(file).ok());
        loader.as_ref().map(|loader| places(loader, probe)).unwrap_or_default()
    }
}

/// Reads a backtrace line; it may stand behind a time stamp.
fn frame(line: &str) -> Option<Frame<'_>> {
    let (_, rest) = line.split_once("[backtrace] ")?;
    let mut words = rest.split_whitespace();
    let app = match words.next()? {
        "kernel" => None,
        "app" => Some(words.next()?),
        _ => return None,
    };
    let address = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    Some(Frame { app, address })
}

/// The functions at an address, inlined ones first, each with file and line.
fn places(loader: &Loader, probe: u64) -> Vec<String> {
    let mut places = Vec::new();
    let Ok(mut frames) = loader.find_frames(probe) else { return places };
    while let Ok(Some(frame)) = frames.next() {
        let function = frame.function.as_ref().and_then(|name| Some(name.demangle().ok()?.into_owned()));
        let function = function.or_else(|| loader.find_symbol(probe).map(demangled));
        let location = frame.location.as_ref().and_then(|location| {
            Some(format!(" ({}:{})", short(location.file?), location.line.unwrap_or(0)))
        });
        places.push(format!("{}{}", function.unwrap_or_else(|| "?".into()), location.unwrap_or_default()));
    }
    if places.is_empty() {
        places.extend(loader.find_symbol(probe).map(demangled));
    }
    places
}

fn demangled(symbol: &str) -> String {
    addr2line::demangle_auto(symbol.into(), None).into_owned()
}

/// A source file as people call it: by its path in the tree, in the standard library or in its crate.
fn short(file: &str) -> &str {
    let root = workspace::root().to_str().unwrap_or_default();
    if let Some(own) = file.strip_prefix(root) {
        return own.trim_start_matches('/');
    }
    if let Some(start) = file.find("/library/") {
        return &file[start + 1..];
    }
    match file.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/')) {
        Some((_, in_crate)) => in_crate,
        None => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_contract_says() {
        let kernel = frame("[backtrace] kernel 0xffffffff80001234");
        assert_eq!(kernel, Some(Frame { app: None, address: 0xffff_ffff_8000_1234 }));
        let app = frame("[    1.234567] [backtrace] app echo 0x500000001234");
        assert_eq!(app, Some(Frame { app: Some("echo"), address: 0x5000_0000_1234 }));
        for other in ["hello", "[backtrace] kernel", "[backtrace] app echo", "[backtrace] kernel 12"] {
            assert_eq!(frame(other), None, "{other}");
        }
    }

    /// This test program serves as the kernel: the address of a function in it gives its name and file.
    #[test]
    fn an_address_gives_function_file_and_line() {
        use object::{Object, ObjectSymbol};
        let own = std::env::current_exe().unwrap();
        let bytes = std::fs::read(&own).unwrap();
        let elf = object::read::elf::ElfFile64::<object::Endianness>::parse(&*bytes).unwrap();
        let symbol = elf.symbols().find(|s| s.name().is_ok_and(|name| name.contains("a_landmark"))).unwrap();
        assert_eq!(a_landmark(), 7);
        let system = System { kernel: own, bundle: PathBuf::new(), ..System::default() };
        let mut symbols = Symbols::new(&system);
        let shown = symbols.explain(&format!("[backtrace] kernel {:#x}", symbol.address())).unwrap();
        assert!(shown.last().unwrap().contains("a_landmark (qemu/src/vm/symbols.rs:"), "{shown:?}");
        assert_eq!(symbols.explain("an ordinary line"), None);
        assert_eq!(symbols.explain("[backtrace] app nobody 0x1").unwrap().len(), 1);
    }

    #[test]
    fn files_are_called_by_short_names() {
        assert_eq!(short("/rustc/0123/library/core/src/panicking.rs"), "library/core/src/panicking.rs");
        assert_eq!(short("/x/registry/src/index-1/spin-0.12.0/src/mutex.rs"), "spin-0.12.0/src/mutex.rs");
        assert_eq!(short("kernel/src/main.rs"), "kernel/src/main.rs");
    }

    #[inline(never)]
    fn a_landmark() -> u32 {
        std::hint::black_box(7)
    }
}
