//! Which receive queue gets a frame: the Toeplitz hash (virtio 1.2 §5.1.6.4.3 "Hash calculation for incoming packets").

/// `struct virtio_net_rss_config`.
#[derive(Clone, Debug)]
pub(super) struct Steering {
    types: u32,
    unclassified: u16,
    table: Vec<u16>,
    key: Vec<u8>,
}

const IPV4: u32 = 1;
const TCP4: u32 = 2;
const UDP4: u32 = 4;
const IPV6: u32 = 8;
const TCP6: u32 = 16;
const UDP6: u32 = 32;

impl Steering {
    pub(super) fn parse(bytes: &[u8]) -> Option<Steering> {
        let (types, rest) = bytes.split_first_chunk::<4>()?;
        let (mask, rest) = rest.split_first_chunk::<2>()?;
        let (unclassified, rest) = rest.split_first_chunk::<2>()?;
        let entries = usize::from(u16::from_le_bytes(*mask)) + 1;
        let (table, rest) = rest.split_at_checked(2 * entries)?;
        let (&[_, _, key_bytes], key) = rest.split_first_chunk::<3>()?;
        let is_right = entries.is_power_of_two() && key.len() == usize::from(key_bytes);
        is_right.then(|| Steering {
            types: u32::from_le_bytes(*types),
            unclassified: u16::from_le_bytes(*unclassified),
            table: table.chunks(2).map(|word| u16::from_le_bytes([word[0], word[1]])).collect(),
            key: key.to_vec(),
        })
    }

    pub(super) fn queue(&self, frame: &[u8]) -> u16 {
        match self.hashed(frame) {
            Some(bytes) => self.table[toeplitz(&self.key, &bytes) as usize & (self.table.len() - 1)],
            None => self.unclassified,
        }
    }

    /// Addresses, and ports where they are to be hashed, of a frame without VLAN tags, options or extension headers.
    fn hashed(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let is_ipv6 = match frame.get(12..14)? {
            [0x08, 0x00] => false,
            [0x86, 0xdd] => true,
            _ => return None,
        };
        let (protocol, addresses, ports) = if is_ipv6 { (20, 22..54, 54..58) } else { (23, 26..34, 34..38) };
        let (address, tcp, udp) = if is_ipv6 { (IPV6, TCP6, UDP6) } else { (IPV4, TCP4, UDP4) };
        let with_ports = match frame.get(protocol)? {
            6 => tcp,
            17 => udp,
            _ => 0,
        };
        let mut bytes = frame.get(addresses)?.to_vec();
        if self.types & with_ports != 0 {
            bytes.extend_from_slice(frame.get(ports)?);
        } else if self.types & address == 0 {
            return None;
        }
        Some(bytes)
    }
}

/// For each bit that is set, the 32 bits of the key that begin where it stands.
pub(super) fn toeplitz(key: &[u8], bytes: &[u8]) -> u32 {
    let key_bit = |at: usize| key.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 != 0);
    let word = |at: usize| (0..32).fold(0, |word, i| word << 1 | u32::from(key_bit(at + i)));
    let is_set = |at: &usize| bytes[at / 8] >> (7 - at % 8) & 1 != 0;
    (0..8 * bytes.len()).filter(is_set).fold(0, |hash, at| hash ^ word(at))
}

#[cfg(test)]
mod tests {
    use super::toeplitz;

    /// The key and two hashes that Microsoft publishes for verifying implementations of receive-side scaling.
    #[test]
    fn published_hashes() {
        let key = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
            0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
            0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let addresses = [66, 9, 149, 187, 161, 142, 100, 80];
        assert_eq!(toeplitz(&key, &addresses), 0x323e_8fc2);
        let ports = [2794_u16.to_be_bytes(), 1766_u16.to_be_bytes()].concat();
        assert_eq!(toeplitz(&key, &[&addresses[..], &ports].concat()), 0x51cc_c178);
    }
}
