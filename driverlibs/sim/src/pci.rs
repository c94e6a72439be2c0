//! Configuration space of a simulated function.

/// 256 bytes, and a list of capabilities that grows from 0x40.
#[derive(Clone)]
pub struct ConfigSpace {
    bytes: [u8; 256],
    /// Where the pointer to the next capability goes.
    link: usize,
    next: usize,
}

impl ConfigSpace {
    /// A function with these ids and no capability.
    #[must_use]
    pub fn new(vendor: u16, device: u16) -> ConfigSpace {
        let mut bytes = [0; 256];
        bytes[0..2].copy_from_slice(&vendor.to_le_bytes());
        bytes[2..4].copy_from_slice(&device.to_le_bytes());
        ConfigSpace { bytes, link: 0x34, next: 0x40 }
    }

    /// Appends a capability: its id, then its bytes after the id and the pointer. Returns where it is.
    ///
    /// # Panics
    /// Where the space is full.
    pub fn add_capability(&mut self, id: u8, rest: &[u8]) -> u16 {
        let at = self.next;
        self.bytes[0x06] |= 1 << 4;
        self.bytes[self.link] = u8::try_from(at).expect("within the first 256 bytes");
        self.bytes[at] = id;
        self.bytes[at + 2..at + 2 + rest.len()].copy_from_slice(rest);
        self.link = at + 1;
        self.next = (at + 2 + rest.len()).next_multiple_of(4);
        u16::try_from(at).expect("within the first 256 bytes")
    }

    /// Changes a byte, for tests of drivers that read a device's lies.
    pub fn set(&mut self, offset: u16, byte: u8) {
        if let Some(place) = self.bytes.get_mut(usize::from(offset)) {
            *place = byte;
        }
    }

    /// Reads `bytes` (at most 4) bytes; 0 beyond the space.
    #[must_use]
    pub fn read(&self, offset: u16, bytes: u8) -> u32 {
        let mut value = [0; 4];
        for (i, byte) in value.iter_mut().enumerate().take(usize::from(bytes)) {
            *byte = self.bytes.get(usize::from(offset) + i).copied().unwrap_or(0);
        }
        u32::from_le_bytes(value)
    }
}
