//! What it says of itself (NVMe §5.17 "Identify command", NVM §4.1.5.1).

use super::queue::Command;
use super::{Namespace, Nvme};

impl Nvme {
    pub(super) fn identify(&mut self, command: &Command) -> (u16, u32) {
        let mut page = match command.dword(10) & 0xff {
            0 => self.namespace_page(command.namespace()),
            1 => self.controller_page(),
            2 => self.list_after(command.namespace()),
            _ => return (0x002, 0),
        };
        for (_, at, byte) in self.told.iter().filter(|(structure, ..)| *structure == command.dword(10) & 0xff)
        {
            page[*at] = *byte;
        }
        self.malice.twist_page(&mut page);
        self.window.write(command.qword(6), &page);
        (0, 0)
    }

    fn controller_page(&self) -> Vec<u8> {
        let mut page = vec![0; 4096];
        page[77] = self.behaviour.transfer_shift;
        page[512] = 0x66;
        page[513] = 0x44;
        page[520] = u8::from(self.behaviour.can_trim) << 2;
        page
    }

    fn namespace_page(&self, id: u32) -> Vec<u8> {
        let mut page = vec![0; 4096];
        let Some(namespace) = self.behaviour.namespaces.iter().find(|n| n.id == id) else { return page };
        let Namespace { blocks, block_shift, metadata_bytes, is_read_only, .. } = *namespace;
        page[0..8].copy_from_slice(&blocks.to_le_bytes());
        page[25] = 1;
        // The second of two formats is in use.
        page[26] = 1;
        page[99] = is_read_only.into();
        page[128..132].copy_from_slice(&[8, 0, 12, 0]);
        page[132..134].copy_from_slice(&metadata_bytes.to_le_bytes());
        page[134] = block_shift;
        page
    }

    fn list_after(&self, after: u32) -> Vec<u8> {
        let mut page = vec![0; 4096];
        let ids = self.behaviour.namespaces.iter().map(|n| n.id).filter(|&id| id > after);
        for (entry, id) in page.chunks_exact_mut(4).zip(ids) {
            entry.copy_from_slice(&id.to_le_bytes());
        }
        page
    }
}
