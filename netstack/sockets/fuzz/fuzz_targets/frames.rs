//! A host receives a fuzzer's frames, one after the other, while its clock goes on: nothing panics, no buffer is lost, and
//! connections stay within their limits.
//!
//! A frame is two bytes that say what is done to it, a byte of length, and as many bytes. The first byte: which header is put in
//! front (none, ARP, IPv4, IPv6), whether checksums are made right, whether a TCP segment is put into the sequence of the
//! connection that the host last spoke on. The second: how much time passes.
#![no_main]

#[path = "../../tests/rig/mod.rs"]
mod rig;

use rig::MS;
use rig::victim::{LIMIT, mend, victim};

const MEND: u8 = 4;
const IN_SEQUENCE: u8 = 8;
/// Where a segment's fields are, behind headers of Ethernet and IPv4 without options.
const IP_PROTOCOL: usize = 23;
const TCP: u8 = 6;
const SEGMENT: usize = 34;

/// The frame that `control` and `bytes` mean.
fn frame(control: u8, bytes: &[u8], heard: &[u8]) -> Vec<u8> {
    let kind = [None, Some([8, 6]), Some([8, 0]), Some([0x86, 0xdd])][usize::from(control & 3)];
    let head = kind.map(|kind| [&rig::mac(1).0[..], &rig::mac(2).0, &kind].concat());
    let mut frame = [&head.unwrap_or_default()[..], bytes].concat();
    if control & IN_SEQUENCE != 0 && frame.len() >= SEGMENT + 20 && frame[IP_PROTOCOL] == TCP && !heard.is_empty() {
        answer(&mut frame, heard);
    }
    if control & MEND != 0 {
        mend(&mut frame);
    }
    frame
}

/// Puts a segment into the sequence of the connection that `heard` is of: addresses, ports and numbers.
fn answer(frame: &mut [u8], heard: &[u8]) {
    let word = |at: usize| u32::from_be_bytes(heard[at..at + 4].try_into().expect("four"));
    // SYN and FIN count as a byte each.
    let flags = heard[SEGMENT + 13];
    let acknowledged = word(SEGMENT + 4).wrapping_add(u32::from(flags & 1) + u32::from(flags >> 1 & 1));
    frame[26..30].copy_from_slice(&heard[30..34]);
    frame[30..34].copy_from_slice(&heard[26..30]);
    frame[34..36].copy_from_slice(&heard[36..38]);
    frame[36..38].copy_from_slice(&heard[34..36]);
    frame[SEGMENT + 4..SEGMENT + 8].copy_from_slice(&heard[SEGMENT + 8..SEGMENT + 12]);
    frame[SEGMENT + 8..SEGMENT + 12].copy_from_slice(&acknowledged.to_be_bytes());
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (mut host, mut now_ns, mut heard, mut rest) = (victim(), 0, Vec::new(), bytes);
    // It begins: it asks for its address.
    host.work(0);
    while let Some((&[control, time, length], more)) = rest.split_first_chunk() {
        let (bytes, more) = more.split_at(more.len().min(length.into()));
        rest = more;
        // From nothing to a minute.
        now_ns += (u64::from(time) * u64::from(time)) * MS;
        let frame = frame(control, bytes, &heard);
        if frame.is_empty() {
            continue;
        }
        host.take(now_ns, &frame);
        for answer in host.work(now_ns) {
            if answer.len() >= SEGMENT + 20 && answer[12..14] == [8, 0] && answer[IP_PROTOCOL] == TCP {
                heard = answer;
            }
        }
        let (all, half_open) = host.net.connections();
        assert!(all <= LIMIT && half_open <= LIMIT / 4, "{all} connections, {half_open} half open");
    }
    host.assert_none_lost();
});
