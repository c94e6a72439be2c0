//! A host that tells everybody on the link that its address is elsewhere now: another one has taken over, or its device was
//! exchanged (RFC 5227 §3 "Why Are ARP Announcements Performed Using ARP Request Packets and Not ARP Reply Packets?").
//!
//! smoltcp learns only from ARP packets that are aimed at this host, and would send to where nobody is for up to a minute.

use smoltcp::wire::{ArpOperation, ArpPacket, EthernetFrame, EthernetProtocol, Ipv4Address};

/// Aims the announcement of another host's address at `own`, the address of this one. Leaves other frames as they are.
pub(crate) fn aim(frame: &mut [u8], own: Ipv4Address) {
    let Ok(mut ethernet) = EthernetFrame::new_checked(frame) else { return };
    if ethernet.ethertype() != EthernetProtocol::Arp {
        return;
    }
    let Ok(mut arp) = ArpPacket::new_checked(ethernet.payload_mut()) else { return };
    let own = own.octets();
    let is_announcement = arp.source_protocol_addr() == arp.target_protocol_addr();
    if is_announcement && arp.source_protocol_addr() != own && usize::from(arp.protocol_len()) == own.len() {
        // An answer, which is not answered.
        arp.set_operation(ArpOperation::Reply);
        arp.set_target_protocol_addr(&own);
    }
}
