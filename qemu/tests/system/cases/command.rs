//! The command line as people use it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use weir_runner::{port, workspace};

use super::Case;

pub(super) const CASES: &[(&str, Case)] = &[
    ("command::wrong_usage_is_one_line_and_status_2", wrong_usage_is_one_line_and_status_2),
    ("command::a_wrong_manifest_is_named_with_its_line", a_wrong_manifest_is_named_with_its_line),
    ("command::a_busy_port_is_refused", a_busy_port_is_refused),
    ("command::help_names_every_choice", help_names_every_choice),
    ("command::timeout_ends_well_and_counts", timeout_ends_well_and_counts),
    ("command::the_console_can_be_typed_at", the_console_can_be_typed_at),
    ("command::a_debugger_is_told_how_to_attach", a_debugger_is_told_how_to_attach),
    ("command::a_killed_run_leaves_no_qemu", a_killed_run_leaves_no_qemu),
    ("command::a_terminated_run_ends_the_guest_first", a_terminated_run_ends_the_guest_first),
    ("command::a_busy_default_port_is_replaced", a_busy_default_port_is_replaced),
    ("command::a_new_application_works_at_once", a_new_application_works_at_once),
];

const LIMIT: Duration = Duration::from_secs(60);

fn weir(arguments: &[&str]) -> Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(arguments)
        .current_dir(workspace::root())
        .output()
        .context("cannot run weir")
}

/// Checks for status 2 and one line that contains `what`.
fn refused(arguments: &[&str], what: &str) -> Result<()> {
    let output = weir(arguments)?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(2), "{arguments:?}: {}, {text}", output.status);
    ensure!(text.lines().count() == 1 && text.contains(what), "{arguments:?} should name {what:?}: {text}");
    ensure!(output.stdout.is_empty(), "{arguments:?} wrote to standard output");
    Ok(())
}

fn wrong_usage_is_one_line_and_status_2() -> Result<()> {
    refused(&["run", "--colour"], "--colour")?;
    refused(&["fly"], "fly")?;
    refused(&[], "run, test")?;
    refused(&["run", "--cpus", "0"], "0")?;
    refused(&["run", "--memory", "lots"], "lots")?;
    refused(&["run", "--machine", "pdp11"], "q35-vtd")?;
    refused(&["run", "no-such-system"], "no-such-system")?;
    refused(&["run", "--manifest", "/no/such/file.toml"], "/no/such/file.toml")?;
    refused(&["run", "--json", "/no/such/folder/file"], "/no/such/folder/file")?;
    refused(&["run", "--pcap", "/no/such/folder/file"], "/no/such/folder/file")
}

fn a_wrong_manifest_is_named_with_its_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("wrong.toml");
    fs::write(&file, "[[app]]\nname = \"a\"\nprogram = \"echo\"\nmemory = \"much\"\n")?;
    refused(&["image", "--manifest", &file.display().to_string()], "wrong.toml:4: ")?;
    fs::write(&file, "[[app]]\nname = \"a\"\nprogram = \"no-such-program\"\n")?;
    refused(&["run", "--manifest", &file.display().to_string()], "no-such-program")
}

fn a_busy_port_is_refused() -> Result<()> {
    let taken = UdpSocket::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    refused(&["run", "echo", "--port", &port], &port)
}

fn help_names_every_choice() -> Result<()> {
    let output = weir(&["run", "--help"])?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{}", output.status);
    for option in [
        "--machine",
        "--memory",
        "--cpus",
        "--manifest",
        "--gdb",
        "--pcap",
        "--serial",
        "--timeout",
        "--json",
        "--debug",
        "--release",
        "--port",
    ] {
        ensure!(text.contains(option), "weir run --help does not mention {option}");
    }
    let text = String::from_utf8(weir(&["--help"])?.stdout)?;
    for command in ["run", "test", "image", "setup", "WEIR_QEMU"] {
        ensure!(text.contains(command), "weir --help does not mention {command}");
    }
    Ok(())
}

/// The page must be at the port that people are told about.
fn shows_the_page(port: u16) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    };
    while Instant::now() < deadline {
        if ask().is_ok_and(|page| {
            page.starts_with("HTTP/1.1 200") && page.contains("<title>Weir: status</title>")
        }) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    bail!("no page at port {port}")
}

fn timeout_ends_well_and_counts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (json, pcap) = (folder.path().join("counters.json"), folder.path().join("packets.pcap"));
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--timeout", "12", "--port", &port.to_string(), "--json"])
        .arg(&json)
        .arg("--pcap")
        .arg(&pcap)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let answered = shows_the_page(port);
    let output = child.wait_with_output()?;
    let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    answered.with_context(|| text.clone())?;
    ensure!(output.status.code() == Some(0), "{}: {text}", output.status);
    let address = format!("open http://127.0.0.1:{port}/ in a browser");
    ensure!(text.contains("ready: ") && text.contains(&address), "{text}");
    ensure!(!text.contains("did not switch itself off"), "{text}");
    let counters: serde_json::Value = serde_json::from_slice(&fs::read(&json)?)?;
    for key in ["packets", "data_path_kernel_entries", "iommu_faults"] {
        ensure!(counters[key].is_u64(), "{key} is missing: {counters}");
    }
    ensure!(counters["packets"].as_u64() >= Some(2), "{counters}");
    ensure!(counters["iommu"] == "vtd-legacy" && counters["accel"] == "tcg", "{counters}");
    ensure!(counters["owners"][0]["name"] == "status", "{counters}");
    ensure!(counters["command"].as_array().is_some_and(|words| words.len() > 10), "{counters}");
    let capture = fs::read(&pcap)?;
    ensure!(capture.windows(10).any(|bytes| bytes == b"GET / HTTP"), "the capture lacks the packet");
    Ok(())
}

fn the_console_can_be_typed_at() -> Result<()> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--serial", "--timeout", "60"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut keys = child.stdin.take().context("piped above")?;
    keys.write_all(b"ps\npoweroff\n")?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(0), "{}: {text}", output.status);
    ensure!(text.lines().any(|line| line.starts_with("status ")), "`ps` does not list status: {text}");
    Ok(())
}

fn a_debugger_is_told_how_to_attach() -> Result<()> {
    let output = weir(&["run", "--gdb", "--timeout", "2"])?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(text.contains("gdb ") && text.contains("target remote 127.0.0.1:"), "{text}");
    // Nobody attached, so it never became ready: no success.
    ensure!(output.status.code() == Some(1), "{}: {text}", output.status);
    Ok(())
}

/// A started `weir run` of a system that needs no device, and its QEMU's process number.
fn running() -> Result<(Child, u32)> {
    let manifest = workspace::root().join("qemu/tests/manifests/idle.toml");
    running_with(&["run", "--manifest", &manifest.display().to_string()])
}

/// How long it may take to build a new application and to start QEMU.
const BUILD_LIMIT: Duration = Duration::from_secs(300);

fn running_with(arguments: &[&str]) -> Result<(Child, u32)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + BUILD_LIMIT;
    while Instant::now() < deadline {
        if let Some(qemu) = qemu_of(child.id()) {
            return Ok((child, qemu));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    bail!("weir run started no QEMU")
}

/// The QEMU that process `parent` started: the child whose command line has a `-kernel`.
fn qemu_of(parent: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|process: &u32| {
        let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
        // After the name in parentheses: state, parent.
        let is_child =
            read("stat").rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).map(str::parse)
                == Some(Ok(parent));
        is_child && read("cmdline").split('\0').any(|word| word == "-kernel")
    })
}

fn is_gone(process: u32) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while Path::new("/proc").join(process.to_string()).exists() {
        ensure!(Instant::now() < deadline, "QEMU is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn a_killed_run_leaves_no_qemu() -> Result<()> {
    let (mut child, qemu) = running()?;
    child.kill()?;
    child.wait()?;
    is_gone(qemu)
}

fn a_terminated_run_ends_the_guest_first() -> Result<()> {
    let (mut child, qemu) = running()?;
    // Time for the guest to become ready; earlier there is nobody to power it off.
    std::thread::sleep(Duration::from_secs(4));
    ensure!(Command::new("kill").arg(child.id().to_string()).status()?.success(), "kill failed");
    let status = child.wait()?;
    ensure!(status.code() == Some(0), "weir run ended with {status}");
    is_gone(qemu)
}

fn a_busy_default_port_is_replaced() -> Result<()> {
    // Somebody else may already hold it; either way it is busy.
    let _taken = UdpSocket::bind(("127.0.0.1", port::DEFAULT));
    let output = weir(&["run", "echo", "--timeout", "1"])?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(text.contains("UDP port 7007 is busy, taking 70"), "{text}");
    Ok(())
}

/// Takes the application away again that a test has made.
struct Made {
    lock: Vec<u8>,
}

const MADE: &str = "made-by-a-test";

impl Made {
    fn new() -> Result<Made> {
        let made = Made { lock: fs::read(workspace::root().join("Cargo.lock"))? };
        // Left over where an earlier run of the tests was killed.
        made.remove();
        let output = weir(&["new", MADE])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout)?;
        ensure!(said.ends_with(&format!("now:  ./weir run {MADE}\n")), "{said}");
        Ok(made)
    }

    fn remove(&self) {
        let root = workspace::root();
        // What is not there need not be removed.
        let _ = fs::remove_dir_all(root.join("apps").join(MADE));
        let _ = fs::remove_file(root.join("apps/manifests").join(MADE).with_extension("toml"));
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.remove();
        // Nothing to be done where that fails; cargo would say so.
        let _ = fs::write(workspace::root().join("Cargo.lock"), &self.lock);
    }
}

/// What `weir new` makes builds, boots and answers over TCP.
fn a_new_application_works_at_once() -> Result<()> {
    refused(&["new", "Not/a/name"], "is no name for an application")?;
    refused(&["new", "echo"], "is there already")?;
    let _made = Made::new()?;
    refused(&["new", MADE], "is there already")?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let (mut child, qemu) = running_with(&["run", MADE, "--port", &port.to_string()])?;
    let answer = first_line(port);
    ensure!(Command::new("kill").arg(child.id().to_string()).status()?.success(), "kill failed");
    let status = child.wait()?;
    ensure!(answer? == "A LINE\n", "another answer");
    ensure!(status.code() == Some(0), "weir run ended with {status}");
    is_gone(qemu)
}

/// Asks until the guest is up.
fn first_line(port: u16) -> Result<String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"a line\n")?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            Ok(line)
        });
        match answer {
            Ok(line) if !line.is_empty() => return Ok(line),
            _ if Instant::now() > deadline => bail!("no answer: {answer:?}"),
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
