//! The network stack in an application, against the TCP of Linux: this host's own, through QEMU's user network, and in a
//! namespace with a tap, where the guest is on the link.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_runner::guest::{Guest, Setup};

use super::tap::{LINK, NEAR, boot_near, inside};
use super::{Case, E1000E, IGB, VIRTIO};

pub(super) const CASES: &[(&str, Case)] = &[
    ("tcp::transfers_both_ways", || transfers_both_ways(VIRTIO)),
    ("tcp::transfers_both_ways_packed", || transfers_both_ways("q35-vtd-packed")),
    ("tcp::transfers_both_ways_e1000e", || transfers_both_ways(E1000E)),
    ("tcp::transfers_both_ways_igb", || transfers_both_ways(IGB)),
    ("tcp::transfers_both_ways_amdvi", || transfers_both_ways("q35-amdvi")),
    ("tcp::sleeps_on_a_shared_core", sleeps_on_a_shared_core),
    ("tcp::silence_of_dhcp_servers_is_told", silence_of_dhcp_servers_is_told),
    ("tcp::a_wrong_word_is_told", a_wrong_word_is_told),
    ("tcp::a_link_that_is_down_is_told", a_link_that_is_down_is_told),
    ("tap::tcp::ten_thousand_connections", || {
        inside("tap::tcp::ten_thousand_connections", LINK, || ten_thousand_connections("tcp-many"))
    }),
    ("tap::tcp::on_two_cores", || {
        let link = LINK.replace("mode tap", "mode tap multi_queue");
        inside("tap::tcp::on_two_cores", &link, || on_two_cores(VIRTIO, ",queues=2", "mq=on,rss=on"))
    }),
    ("tap::tcp::on_two_cores_igb", || {
        inside("tap::tcp::on_two_cores_igb", LINK, || on_two_cores(IGB, "", ""))
    }),
    ("tap::tcp::long_packets", || inside("tap::tcp::long_packets", LINK, || on_the_link("tcp-long", NEAR))),
    ("tap::tcp::ipv6", || inside("tap::tcp::ipv6", LINK, ipv6)),
];

/// How long a step of the guest's may take.
const LIMIT: Duration = Duration::from_secs(30);
const ECHO: u16 = 7;
const TRANSFER_BYTES: usize = 4 << 20;

fn byte(at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)).to_le_bytes()[0]
}

/// Sends bytes and reads them back at the same time.
fn transfer(to: SocketAddr, bytes: usize) -> Result<()> {
    transfer_over(connect(to)?, bytes)
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, LIMIT).context("no connection")?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn transfer_over(mut stream: TcpStream, bytes: usize) -> Result<()> {
    let mut writer = stream.try_clone()?;
    let sender = std::thread::spawn(move || -> Result<()> {
        let all: Vec<u8> = (0..bytes).map(byte).collect();
        all.chunks(10_000).try_for_each(|chunk| writer.write_all(chunk))?;
        Ok(writer.shutdown(std::net::Shutdown::Write)?)
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).with_context(|| format!("after {} bytes", back.len()))?;
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    ensure!(back.len() == bytes, "{} of {bytes} bytes came back", back.len());
    ensure!(back.iter().enumerate().all(|(at, b)| *b == byte(at)), "other bytes came back");
    Ok(())
}

/// Sends a datagram until it comes back.
fn datagram(to: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let (start, mut back) = (Instant::now(), [0; 2000]);
    while start.elapsed() < LIMIT {
        socket.send_to(b"a datagram", to)?;
        if let Ok(count) = socket.recv(&mut back) {
            ensure!(&back[..count] == b"a datagram");
            return Ok(());
        }
    }
    anyhow::bail!("no datagram came back")
}

/// A port that nobody has now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Boots behind QEMU's user network, whose server gives the address; this host's end of the guest's echo port.
fn boot_behind_user_network(setup: Setup) -> Result<(Guest, SocketAddr)> {
    let port = free_port()?;
    let forward = |protocol| format!("hostfwd={protocol}:127.0.0.1:{port}-:{ECHO}");
    let (mut guest, _) = setup.network(format!("user,{},{}", forward("tcp"), forward("udp"))).boot()?;
    guest.console_line("serving at 10.0.2.15", LIMIT)?;
    Ok((guest, (Ipv4Addr::LOCALHOST, port).into()))
}

/// Gives the network's error the guest's console.
fn told<T>(guest: &Guest, result: Result<T>) -> Result<T> {
    result.map_err(|error| guest.failure(&format!("{error:#}")))
}

fn end(mut guest: Guest, is_polling: bool) -> Result<()> {
    let app = guest.counted("echo", |app| app.tx_packets > 0)?;
    let status = guest.status()?;
    guest.check(app.iommu_faults == 0 && status.faults == 0, &format!("faults: {app:?}"))?;
    let entries = app.data_path_kernel_entries - app.sleep_kernel_entries;
    let is_free = entries == 0 && (!is_polling || app.sleep_kernel_entries == 0);
    guest.check(!is_polling || is_free, &format!("kernel entries: {app:?}"))?;
    guest.power_off()
}

fn transfers_both_ways(machine: &'static str) -> Result<()> {
    let (guest, address) = boot_behind_user_network(Setup::new("tcp").machine(machine))?;
    told(&guest, transfer(address, TRANSFER_BYTES))?;
    // Connected one after the other: the user network's listening socket has room for one, and resets the rest.
    let mut several = Vec::new();
    for _ in 0..8 {
        let mut one = told(&guest, connect(address))?;
        told(&guest, one.write_all(b"?").and_then(|()| one.read_exact(&mut [0])).map_err(Into::into))?;
        several.push(std::thread::spawn(move || transfer_over(one, 100_000)));
    }
    for one in several {
        told(&guest, one.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)?;
    }
    told(&guest, datagram(address))?;
    end(guest, true)
}

fn sleeps_on_a_shared_core() -> Result<()> {
    let (mut guest, address) = boot_behind_user_network(Setup::new("tcp").cpus(1))?;
    for _ in 0..5 {
        told(&guest, transfer(address, 1000))?;
        std::thread::sleep(Duration::from_millis(100));
    }
    let app = guest.counted("echo", |app| app.sleep_kernel_entries > 0)?;
    guest.check(app.tx_packets > 10, &format!("{app:?}"))?;
    end(guest, false)
}

fn silence_of_dhcp_servers_is_told() -> Result<()> {
    let peer = weir_runner::peer::Peer::new()?;
    let (mut guest, _) = Setup::new("tcp").network(peer.netdev()).boot()?;
    guest.console_line("no DHCP server answers; give an address", LIMIT)?;
    guest.power_off()
}

fn a_wrong_word_is_told() -> Result<()> {
    let (mut guest, _) = Setup::new("tcp-wrong").network("user".into()).boot()?;
    guest.console_line("echo: `mtu=100` does not say what it should", LIMIT)?;
    guest.power_off()
}

fn a_link_that_is_down_is_told() -> Result<()> {
    let (mut guest, address) = boot_behind_user_network(Setup::new("tcp"))?;
    guest.set_link(0, false)?;
    guest.console_line("the link is down: nothing is received or sent", LIMIT)?;
    guest.set_link(0, true)?;
    guest.console_line("the link is up", LIMIT)?;
    told(&guest, transfer(address, 10_000))?;
    end(guest, true)
}

fn boot_on_the_link(manifest: &'static str) -> Result<Guest> {
    let mut guest = boot_near(Setup::new(manifest))?;
    guest.console_line("serving at 10.0.2.15", LIMIT)?;
    Ok(guest)
}

fn on_the_link(manifest: &'static str, address: Ipv4Addr) -> Result<()> {
    let guest = boot_on_the_link(manifest)?;
    let address = (address, ECHO).into();
    told(&guest, transfer(address, TRANSFER_BYTES))?;
    end(guest, true)
}

/// The address that the guest gives itself on the link, from its MAC address.
fn ipv6() -> Result<()> {
    let guest = boot_on_the_link("tcp-long")?;
    let index = rustix::net::netdevice::name_to_index(UdpSocket::bind("[::]:0")?, "guest")?;
    let address = "fe80::5054:ff:fe12:3456".parse()?;
    let address = std::net::SocketAddrV6::new(address, ECHO, 0, index).into();
    told(&guest, transfer(address, TRANSFER_BYTES))?;
    end(guest, true)
}

/// As many connections of this host's at once; each carries data after all are open.
fn ten_thousand_connections(manifest: &'static str) -> Result<()> {
    const COUNT: usize = 10_000;
    let mut guest = boot_near(Setup::new(manifest).memory("1G"))?;
    guest.console_line("serving at 10.0.2.15", LIMIT)?;
    raise_file_limit()?;
    let mut streams = Vec::new();
    for number in 0..COUNT {
        let stream = TcpStream::connect_timeout(&(NEAR, ECHO).into(), LIMIT);
        streams.push(told(&guest, stream.with_context(|| format!("connection {number}")))?);
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(&number.to_le_bytes())?;
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut back = [0; 8];
        told(&guest, stream.read_exact(&mut back).with_context(|| format!("connection {number}")))?;
        guest.check(back == number.to_le_bytes(), &format!("connection {number} got {back:?}"))?;
    }
    // Memory for connections is asked for when they come.
    end(guest, false)
}

/// Connections are spread over two cores by the device's hash; each core serves its own.
fn on_two_cores(machine: &'static str, queues: &str, properties: &str) -> Result<()> {
    const COUNT: usize = 64;
    let network = format!("tap,ifname=guest,script=no,downscript=no,vhost=off{queues}");
    let setup = Setup::new("tcp-cores").machine(machine).cpus(3).network(network);
    let setup = if properties.is_empty() { setup } else { setup.nic_properties(properties) };
    let (mut guest, _) = setup.boot()?;
    guest.console_line("serving at 10.0.2.15", LIMIT)?;
    let mut streams = Vec::new();
    for _ in 0..COUNT {
        streams.push(told(&guest, connect((NEAR, ECHO).into()))?);
    }
    for core in 0..2 {
        guest.console_line(&format!("core {core} has a connection"), LIMIT)?;
    }
    for stream in streams {
        told(&guest, transfer_over(stream, 50_000))?;
    }
    told(&guest, datagram((NEAR, ECHO).into()))?;
    end(guest, true)
}

/// Lets this process have as many files as it may.
fn raise_file_limit() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
