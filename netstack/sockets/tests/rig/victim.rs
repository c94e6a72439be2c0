//! A host that is worth attacking, and what an attacker needs: for frames without end that nobody honest sends.

use smoltcp::wire::{IpEndpoint, Ipv4Address};
use weir_net::checksum::Sum;
use weir_sockets::{Buffers, Config, Reply};

use super::{Host, MS, config};

/// Connections at once, of which a quarter in a handshake.
pub const LIMIT: usize = 32;
pub const TCP_PORT: u16 = 80;
pub const UDP_PORT: u16 = 7;

/// A host that listens, answers datagrams, asks for an address and for a name, and connects to others.
pub fn victim() -> Host {
    let settings = Config { address: None, connections: LIMIT, half_open: LIMIT / 4, ..config(1) };
    let host = Host::new(&settings);
    let small = Buffers { rx_bytes: 1024, tx_bytes: 1024 };
    let listener = host.net.listen(TCP_PORT, small, 8).expect("a free port");
    let spawner = host.executor.spawner();
    host.executor.spawner().spawn(async move {
        loop {
            let mut stream = listener.accept().await;
            spawner.spawn(async move {
                let mut bytes = [0; 100];
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    if stream.write_all(&bytes[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    host.net.serve_udp(UDP_PORT, |datagram| Reply::InPlace(datagram.data.len())).expect("a free port");
    let net = host.net.clone();
    host.executor.spawner().spawn(async move {
        loop {
            let address = net.addressed().await;
            let peer = IpEndpoint::new(Ipv4Address::from(u32::from(address) ^ 3).into(), 4321);
            let patience_ns = net.now_ns() + 500 * MS;
            if let Some(Ok(mut stream)) = net.within(patience_ns, net.connect(peer, small)).await {
                let _ = stream.write_all(b"hello").await;
                let _ = net.within(net.now_ns() + 100 * MS, stream.read(&mut [0; 10])).await;
            }
            let _ = net.within(net.now_ns() + 100 * MS, net.resolve("weir.test")).await;
            net.sleep_until(net.now_ns() + 10 * MS).await;
        }
    });
    host
}

/// Makes the checksums right again, so that what is behind them is reached.
pub fn mend(frame: &mut [u8]) {
    let (header, is_ipv4) = match frame.get(12..14) {
        Some([8, 0]) => (20, true),
        Some([0x86, 0xdd]) => (40, false),
        _ => return,
    };
    let Some((head, payload)) = frame.get_mut(14..).and_then(|packet| packet.split_at_mut_checked(header))
    else {
        return;
    };
    let protocol = if is_ipv4 { head[9] } else { head[6] };
    let (addresses, declared) = if is_ipv4 {
        head[10..12].copy_from_slice(&[0, 0]);
        let sum = Sum::of(head).checksum().to_bytes();
        head[10..12].copy_from_slice(&sum);
        (&head[12..20], usize::from(u16::from_be_bytes([head[2], head[3]])).saturating_sub(20))
    } else {
        (&head[8..40], usize::from(u16::from_be_bytes([head[4], head[5]])))
    };
    let at = match protocol {
        1 | 58 => 2,
        6 => 16,
        17 => 6,
        _ => return,
    };
    let length = declared.min(payload.len());
    let payload = &mut payload[..length];
    let Some(place) = payload.get_mut(at..at + 2) else { return };
    place.copy_from_slice(&[0, 0]);
    let length = u16::try_from(length).expect("a packet's length");
    let mut sum = Sum::of(payload);
    if protocol != 1 {
        sum = sum.plus(Sum::of(addresses)).plus(Sum::of(&[0, protocol])).plus(Sum::of(&length.to_be_bytes()));
    }
    payload[at..at + 2].copy_from_slice(&sum.checksum().to_bytes());
}
