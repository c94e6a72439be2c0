//! A QEMU process with no guest, driven over its qtest socket: memory, registers and ports from outside.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for QEMU to start or to say something.
const LIMIT: Duration = Duration::from_secs(30);

/// The oldest QEMU whose `intel-iommu` has what the cases need.
const OLDEST_MAJOR: u32 = 9;

/// Which QEMU to run: `WEIR_QEMU`, else the one on the path if it is new enough.
///
/// `Ok(None)` where none was asked for and none fits; an error where the one asked for cannot be used.
pub(crate) fn find_qemu() -> Result<Option<PathBuf>, String> {
    let asked = std::env::var_os("WEIR_QEMU").map(PathBuf::from);
    let qemu = asked.clone().unwrap_or_else(|| "qemu-system-x86_64".into());
    match (major_version(&qemu), asked) {
        (Some(major), _) if major >= OLDEST_MAJOR => Ok(Some(qemu)),
        (_, None) => Ok(None),
        (Some(major), Some(_)) => {
            Err(format!("WEIR_QEMU is version {major}; {OLDEST_MAJOR} or newer is needed"))
        }
        (None, Some(path)) => Err(format!("WEIR_QEMU={} does not run", path.display())),
    }
}

pub(crate) fn major_version(qemu: &Path) -> Option<u32> {
    let said = Command::new(qemu).arg("--version").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    said.split("version ").nth(1)?.split('.').next()?.parse().ok()
}

/// A running QEMU; ends when dropped.
pub(crate) struct Link {
    qemu: Child,
    from: BufReader<UnixStream>,
    to: UnixStream,
    folder: PathBuf,
}

impl Link {
    /// Starts `qemu` with the devices of `arguments`; its CPU never runs, and virtual time stands still but for `clock_step`.
    pub(crate) fn start(qemu: &Path, arguments: &[&str]) -> Self {
        let folder = new_folder();
        let (rom, socket) = (folder.join("empty.rom"), folder.join("socket"));
        std::fs::write(&rom, [0; 0x1_0000]).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let messages = std::fs::File::create(folder.join("messages")).unwrap();
        let mut qemu = Command::new(qemu)
            .args(["-accel", "qtest", "-M", "q35", "-m", "256M", "-nodefaults", "-display", "none"])
            .args(["-cpu", "max", "-bios"])
            .arg(&rom)
            .args(["-qtest-log", "/dev/null", "-trace", "apic_deliver_irq", "-qtest"])
            .arg(format!("unix:{}", socket.display()))
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(messages)
            .spawn()
            .unwrap();
        let to = accept(&listener, &mut qemu, &folder);
        to.set_read_timeout(Some(LIMIT)).unwrap();
        Link { qemu, from: BufReader::new(to.try_clone().unwrap()), to, folder }
    }

    /// What QEMU has written to its standard error.
    pub(crate) fn messages(&self) -> String {
        std::fs::read_to_string(self.folder.join("messages")).unwrap_or_default()
    }

    /// Sends one command; returns what follows `OK`.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.to.write_all(format!("{command}\n").as_bytes()).unwrap();
        loop {
            let mut line = String::new();
            let bytes = self.from.read_line(&mut line).unwrap();
            assert_ne!(bytes, 0, "QEMU ended at '{command}': {}", self.messages());
            if let Some(answer) = line.strip_prefix("OK") {
                return answer.trim().to_owned();
            }
            assert!(line.starts_with("IRQ"), "'{command}' answered '{line}'");
        }
    }

    /// Sends one command; returns the number that follows `OK`.
    pub(crate) fn number(&mut self, command: &str) -> u64 {
        let answer = self.ask(command);
        u64::from_str_radix(answer.trim_start_matches("0x"), 16).expect("a number in hexadecimal")
    }

    /// Writes guest memory.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut command = format!("write {at:#x} {:#x} 0x", bytes.len());
        bytes.iter().for_each(|byte| write!(command, "{byte:02x}").unwrap());
        self.ask(&command);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Waits for QEMU to connect.
fn accept(listener: &UnixListener, qemu: &mut Child, folder: &Path) -> UnixStream {
    listener.set_nonblocking(true).unwrap();
    let start = Instant::now();
    loop {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            return stream;
        }
        let ended = qemu.try_wait().unwrap();
        let messages = || std::fs::read_to_string(folder.join("messages")).unwrap_or_default();
        assert!(ended.is_none(), "QEMU did not start: {}", messages());
        assert!(start.elapsed() < LIMIT, "QEMU did not connect");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn new_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("weir-qtest-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir(&folder).unwrap();
    folder
}
