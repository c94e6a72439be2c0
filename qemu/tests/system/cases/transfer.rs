//! The application `transfer`, a client: its address and its name server by DHCP, its peer by name.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_runner::guest::Setup;
use weir_runner::{child, tools};

use super::tap::{LINK, boot_near, inside};
use super::{Case, web};

pub(super) const CASES: &[(&str, Case)] = &[("tap::transfer::finds_its_peer_by_name", || {
    // Fetched here: inside there is no other network.
    tools::dnsmasq()?;
    tools::dig()?;
    inside("tap::transfer::finds_its_peer_by_name", LINK, finds_its_peer_by_name)
})];

/// How long the guest's next sign may take.
const LIMIT: Duration = Duration::from_secs(30);
/// What the manifest has sent.
const BYTES: usize = 4 << 20;

/// As the application's `byte_at`.
fn byte(at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)).to_le_bytes()[0]
}

/// CRC-32 as of gzip, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// Ends the server with the test.
struct NameServer(std::process::Child);

impl Drop for NameServer {
    fn drop(&mut self) {
        // It may have ended by itself, which the guest has then noticed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn finds_its_peer_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut dnsmasq = child::bound(tools::dnsmasq()?);
    dnsmasq
        // It may change neither its user nor its groups here, and as no daemon it does not.
        .args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv"])
        .args(["--no-hosts", "--interface=guest", "--bind-interfaces", "--address=/peer.example/10.0.2.2"])
        .args(["--dhcp-range=10.0.2.50,10.0.2.60,10m", "--dhcp-authoritative", "--pid-file="])
        .arg(format!("--dhcp-leasefile={}", folder.path().join("leases").display()));
    let _server = NameServer(dnsmasq.stderr(Stdio::null()).spawn().context("dnsmasq")?);
    let listener = TcpListener::bind(("10.0.2.2", 5001))?;
    // What is asked from the guest is what others are told.
    let mut dig = child::bound(tools::dig()?);
    dig.args(["@10.0.2.2", "+short", "+tries=5", "+time=1", "peer.example", "A"]);
    let said = String::from_utf8(web::output(&mut dig)?)?;
    ensure!(said.trim() == "10.0.2.2", "dig says `{said}`");
    let mut guest = boot_near(Setup::new("transfer"))?;
    guest.console_line("serving at 10.0.2.5", LIMIT)?;
    guest.console_line("peer.example is 10.0.2.2", LIMIT)?;
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut sent = Vec::new();
    stream.read_to_end(&mut sent)?;
    ensure!(sent.len() == BYTES, "{} bytes came", sent.len());
    ensure!(sent.iter().enumerate().all(|(at, b)| *b == byte(at)), "other bytes came");
    let back: Vec<u8> = (0..3_000_001).map(|at| byte(at / 3)).collect();
    stream.write_all(&back)?;
    drop(stream);
    let line = guest.console_line("received ", LIMIT)?;
    let expected = format!("CRC-32 {:08x}", crc32(&back));
    guest.check(
        line.contains("received 3000001 bytes") && line.contains(&expected),
        &format!("{line}; {expected}"),
    )?;
    let line = guest.console_line("sent 4194304 bytes", LIMIT)?;
    guest.check(line.contains(&format!("CRC-32 {:08x}", crc32(&sent))), &line)?;
    guest.power_off()
}
