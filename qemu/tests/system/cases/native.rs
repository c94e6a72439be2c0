//! The virtio library natively, without a machine: over vhost-user to DPDK's testpmd.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pcap_file::pcap::PcapReader;
use weir_hal::{Clock, DmaWindow};
use weir_pool::{BUF_BYTES, Burst, Pool};
use weir_runner::testpmd::Testpmd;
use weir_runner::{build, tools};
use weir_vhost_user::{MonotonicClock, Options, VhostUser, Window};
use weir_virtio::Features;
use weir_virtio::net::{self, Net, RxQueue, TxQueue};

use super::Case;

pub(super) const CASES: &[(&str, Case)] = &[
    ("native::testpmd_sends_every_size_back_split", || sends_every_size_back(Rings::Split)),
    ("native::testpmd_sends_every_size_back_packed", || sends_every_size_back(Rings::Packed)),
    ("native::a_sleeper_wakes_for_testpmd_split", || a_sleeper_wakes(Rings::Split)),
    ("native::a_sleeper_wakes_for_testpmd_packed", || a_sleeper_wakes(Rings::Packed)),
    ("native::pktfwd_captures_what_testpmd_sends", pktfwd_captures_what_testpmd_sends),
    ("native::pktfwd_and_testpmd_send_each_other_frames", pktfwd_and_testpmd_send_each_other_frames),
    ("native::testpmd_dies_and_the_next_takes_over", testpmd_dies_and_the_next_takes_over),
];

const BURST: usize = 32;
/// Frames without checksum, of every size on Ethernet.
const SIZES: std::ops::RangeInclusive<usize> = 60..=1514;
/// Far more than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// After this long without an answer a frame is sent again: testpmd takes its two queues into service one after the
/// other, and drops what it receives in between.
const RESEND: Duration = Duration::from_millis(500);

/// Which rings to agree on; testpmd has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rings {
    Split,
    Packed,
}

struct Port {
    net: Net<VhostUser>,
    rx: RxQueue<VhostUser>,
    tx: TxQueue<VhostUser>,
    pool: Pool,
}

impl Port {
    fn open(socket: &Path, rings: Rings) -> Result<Port> {
        let window = Window::new(8 << 20)?;
        let device = VhostUser::connect(socket, &window, Options { limit: PATIENCE, ..Options::net() })?;
        let mut features = Features::USUAL;
        features.set(Features::RING_PACKED, rings == Rings::Packed);
        let options = net::Options { interrupt: true, features, ..net::Options::default() };
        let (net, rx, tx) = Net::over(device, &window, &MonotonicClock, &options)?;
        ensure!(net.features().contains(Features::RING_PACKED) == (rings == Rings::Packed), "other rings");
        let pool = Pool::new(window.allocate(1024 * usize::from(BUF_BYTES))?)?;
        let mut port = Port { net, rx, tx, pool };
        port.start()?;
        Ok(port)
    }

    /// Starts it and waits until frames come back.
    fn start(&mut self) -> Result<()> {
        self.net.start(&mut self.rx, &mut self.tx, &mut self.pool, &MonotonicClock)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.send(&[vec![0xff; 60]])?;
            let resend = Instant::now() + RESEND;
            while Instant::now() < resend {
                if !self.take()?.is_empty() {
                    // Those sent again may still be on their way.
                    std::thread::sleep(RESEND);
                    while !self.take()?.is_empty() {}
                    return Ok(());
                }
            }
        }
        anyhow::bail!("no frame came back")
    }

    fn send(&mut self, frames: &[Vec<u8>]) -> Result<()> {
        let mut burst = Burst::<BURST>::new();
        for frame in frames {
            let mut buf = self.pool.take().context("the pool is empty")?;
            ensure!(buf.set_len(u16::try_from(frame.len())?), "too long for a buffer");
            buf.frame_mut().copy_from_slice(frame);
            ensure!(burst.push(buf).is_ok(), "too many for a burst");
        }
        let deadline = Instant::now() + PATIENCE;
        while !burst.is_empty() {
            ensure!(Instant::now() < deadline, "testpmd takes no frames");
            self.tx.transmit(&mut self.pool, &mut burst)?;
        }
        Ok(())
    }

    /// What has come.
    fn take(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut burst = Burst::<BURST>::new();
        self.rx.receive(&mut self.pool, &mut burst)?;
        let mut frames = Vec::new();
        while let Some(mut buf) = burst.pop() {
            frames.push(buf.frame_mut().to_vec());
            self.pool.put(buf);
        }
        Ok(frames)
    }

    fn receive(&mut self, count: usize) -> Result<Vec<Vec<u8>>> {
        let deadline = Instant::now() + PATIENCE;
        let mut frames = Vec::new();
        while frames.len() < count {
            ensure!(Instant::now() < deadline, "{} of {count} frames came back", frames.len());
            frames.append(&mut self.take()?);
        }
        Ok(frames)
    }
}

/// A frame whose every byte follows from its number, and the same as testpmd's `macswap` sends it back.
fn frame(number: usize, len: usize) -> (Vec<u8>, Vec<u8>) {
    let mut frame: Vec<u8> = (0..len).map(|i| (number.wrapping_mul(31) + i).to_le_bytes()[0]).collect();
    // Ethernet type "local experimental": nothing looks into it.
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let mut swapped = frame.clone();
    swapped[..12].rotate_left(6);
    (frame, swapped)
}

fn with_testpmd(test: impl FnOnce(&tools::Testpmd, &Path, Testpmd) -> Result<()>) -> Result<()> {
    let program = tools::testpmd()?;
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("socket");
    let back_end = Testpmd::back_end(&program, &socket, "macswap", 0)?;
    test(&program, &socket, back_end)
}

/// Ten times every size: more than 50 turns of each ring, contents compared in both directions at once, since what
/// testpmd received is what it sends.
fn sends_every_size_back(rings: Rings) -> Result<()> {
    with_testpmd(|_, socket, back_end| {
        let mut port = Port::open(socket, rings)?;
        let sizes: Vec<usize> = (0..10).flat_map(|_| SIZES).collect();
        for (round, sizes) in sizes.chunks(BURST).enumerate() {
            let (sent, expected): (Vec<_>, Vec<_>) = sizes.iter().map(|&size| frame(round, size)).unzip();
            port.send(&sent)?;
            let came = port.receive(sent.len())?;
            ensure!(came == expected, "burst {round} came back different");
        }
        port.net.stop(&mut port.rx, &mut port.tx, &mut port.pool, &MonotonicClock)?;
        ensure!(port.pool.available() == port.pool.buffers(), "every buffer is home");
        let text = back_end.finish()?;
        ensure!(text.contains("RX-dropped: 0"), "testpmd lost frames: {text}");
        Ok(())
    })
}

fn a_sleeper_wakes(rings: Rings) -> Result<()> {
    with_testpmd(|_, socket, _back_end| {
        let mut port = Port::open(socket, rings)?;
        ensure!(!port.rx.wait(MonotonicClock.now_ns() + 1_000_000)?, "nothing came");
        for number in 0..200 {
            let (sent, expected) = frame(number, 64);
            port.send(&[sent])?;
            let deadline = Instant::now() + PATIENCE;
            while !port.rx.wait(MonotonicClock.now_ns() + 5_000_000_000)? {
                ensure!(Instant::now() < deadline, "frame {number} woke nobody");
            }
            ensure!(port.receive(1)? == [expected], "frame {number} came back different");
        }
        Ok(())
    })
}

fn testpmd_dies_and_the_next_takes_over() -> Result<()> {
    with_testpmd(|program, socket, back_end| {
        let mut port = Port::open(socket, Rings::Split)?;
        // Killed, not ended in order: it leaves its socket behind.
        drop(back_end);
        ensure!(port.net.has_stopped(), "the connection is closed");
        std::fs::remove_file(socket)?;
        let _next = Testpmd::back_end(program, socket, "macswap", 0)?;
        port.start()?;
        ensure!(!port.net.has_stopped(), "there is a device again");
        let (sent, expected) = frame(1, 1514);
        port.send(&[sent])?;
        ensure!(port.receive(1)? == [expected], "the frame came back different");
        Ok(())
    })
}

/// Runs `vhost-pktfwd` until its frames are through; what it said.
fn pktfwd(socket: &Path, words: &[&str]) -> Result<String> {
    let program = build::host_program("weir-native-mpps", "vhost-pktfwd")?;
    // Its standard input stays open: it ends by itself.
    let child = Command::new(program)
        .arg(socket)
        .args(["--cpu", "0"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start vhost-pktfwd")?;
    let output = wait(child)?;
    ensure!(output.status.success(), "vhost-pktfwd ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The child's end, with its standard input open until then.
fn wait(mut child: Child) -> Result<Output> {
    let stdin = child.stdin.take();
    let output = child.wait_with_output()?;
    drop(stdin);
    Ok(output)
}

/// The number behind `name` in a text.
fn number(text: &str, name: &str) -> Result<u64> {
    let number = text.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("no {name} in {text}"))
}

/// The file is read by another program's library.
fn pktfwd_captures_what_testpmd_sends() -> Result<()> {
    let program = tools::testpmd()?;
    let folder = tempfile::tempdir()?;
    let (socket, file) = (folder.path().join("socket"), folder.path().join("pcap"));
    let _back_end = Testpmd::back_end(&program, &socket, "txonly", 1)?;
    let said = pktfwd(&socket, &["rxonly", "frames=5000", &format!("capture={}", file.display())])?;
    let received = number(&said, "RX-packets:")?;
    ensure!(received >= 5000 && number(&said, "RX-bytes:")? == 64 * received, "{said}");
    ensure!(number(&said, "TX-packets:")? == 0, "{said}");
    let mut reader = PcapReader::new(File::open(&file)?)?;
    let mut frames = 0;
    while let Some(packet) = reader.next_packet() {
        let packet = packet?;
        // A datagram from port 9 to port 9 between the two addresses for measurements.
        let is_testpmds = packet.data.get(26..38) == Some(&[198, 18, 0, 1, 198, 18, 0, 2, 0, 9, 0, 9]);
        ensure!(packet.data.len() == 64 && is_testpmds, "frame {frames}: {packet:?}");
        frames += 1;
    }
    ensure!(frames == received, "{frames} of {received} frames are in the file");
    Ok(())
}

/// Sixty-four frames go round until a hundred thousand came back.
fn pktfwd_and_testpmd_send_each_other_frames() -> Result<()> {
    let program = tools::testpmd()?;
    for (rings, mode) in [("split", "macswap"), ("packed", "5tswap")] {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("socket");
        let back_end = Testpmd::back_end(&program, &socket, "5tswap", 1)?;
        let words = ["--rings", rings, "--circulating", "64", mode, "frames=100000"];
        let said = pktfwd(&socket, &words)?;
        let (received, sent) = (number(&said, "RX-packets:")?, number(&said, "TX-packets:")?);
        ensure!(received >= 100_000 && sent == received, "{said}");
        ensure!(number(&said, "TX-dropped:")? == 0 && !said.contains("malformed"), "{said}");
        let text = back_end.finish()?;
        // Before these come those of each second.
        let (_, totals) = text.rsplit_once("Accumulated").context("no statistics")?;
        ensure!(number(totals, "RX-packets:")? >= received, "testpmd: {text}");
    }
    Ok(())
}
