//! Which queue a frame goes to (82576 §7.1.2.8 "Receive-Side Scaling").

use super::Gigabit;

const MRQC: u64 = 0x5818;
const RXCSUM: u64 = 0x5000;
const RETA: u64 = 0x5c00;
const RSSRK: u64 = 0x5c80;

/// The queue that `frame` goes to: 0 where frames are not spread, or it is not UDP or TCP over IPv4.
pub(super) fn queue(device: &Gigabit, frame: &[u8]) -> u64 {
    let is_on = device.register(MRQC) & 7 == 2 && device.register(RXCSUM) & 1 << 13 != 0;
    let Some(input) = hashed(frame).filter(|_| is_on && device.map.queues > 1) else { return 0 };
    let key: Vec<u8> = (0..10).flat_map(|number| device.register(RSSRK + 4 * number).to_le_bytes()).collect();
    let entry = toeplitz(&key, &input) & 127;
    u64::from(device.register(RETA + u64::from(entry & !3)) >> (8 * (entry & 3)) & 7)
}

/// Addresses and ports.
fn hashed(frame: &[u8]) -> Option<Vec<u8>> {
    let is_ipv4 = *frame.get(12..15)? == [8, 0, 0x45] && matches!(frame.get(23)?, 6 | 17);
    if is_ipv4 { frame.get(26..38).map(<[u8]>::to_vec) } else { None }
}

/// For each bit that is set, the 32 bits of the key from there on, exclusive-ored.
fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 != 0);
    let window = |at: usize| (at..at + 32).fold(0u32, |word, at| word << 1 | u32::from(bit(key, at)));
    (0..8 * input.len()).filter(|at| bit(input, *at)).fold(0, |hash, at| hash ^ window(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and two of the cases that Microsoft published for its "RSS hashing verification".
    #[test]
    fn the_hash_is_the_published_one() {
        let key = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
            0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
            0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let case = |from: [u8; 4], from_port: u16, to: [u8; 4], to_port: u16| {
            let ports = [from_port.to_be_bytes(), to_port.to_be_bytes()].concat();
            toeplitz(&key, &[&from[..], &to, &ports].concat())
        };
        assert_eq!(case([66, 9, 149, 187], 2794, [161, 142, 100, 80], 1766), 0x51cc_c178);
        assert_eq!(case([199, 92, 111, 2], 14230, [65, 69, 140, 83], 4739), 0xc626_b0ea);
    }
}
