//! What is no connection's: the address of this host, its neighbours, names.

use alloc::vec::Vec;
use core::task::Waker;

use smoltcp::iface::PollResult;
use smoltcp::socket::{dhcpv4, dns};
use smoltcp::wire::{DnsQueryType, IpAddress, IpCidr, Ipv4Address};

use super::Stack;
use crate::flow::classify;
use crate::lanes::Given;
use crate::{Error, datagram};

impl Stack {
    /// Lets smoltcp deal with what is no connection's.
    pub(super) fn take_base(&mut self, frame: &[u8]) {
        self.iface.poll_ingress_single(self.now, &mut self.wire.with(Some(frame)), &mut self.base);
        self.is_base_dirty = true;
        self.resume_stalled();
    }

    /// Takes what other lanes have put here.
    pub(super) fn take_news(&mut self) {
        let Some(mut lane) = self.lane.take_if(|lane| lane.has_news()) else { return };
        if let Some(given) = lane.take_address() {
            self.use_address(&given);
        }
        for frame in lane.take_frames() {
            if lane.is_first() {
                lane.tell(&frame, &classify(&frame));
            }
            self.take_base(&frame);
        }
        self.lane = Some(lane);
    }

    pub(super) fn flush_base(&mut self) {
        self.is_base_dirty = false;
        self.iface.poll_maintenance(self.now);
        while self.iface.poll_egress(self.now, &mut self.wire.with(None), &mut self.base) != PollResult::None
        {
        }
        self.base_deadline = self.iface.poll_at(self.now, &self.base);
        self.follow_dhcp();
    }

    /// Takes the address that a server has given.
    pub(super) fn follow_dhcp(&mut self) {
        let Some(handle) = self.dhcp else { return };
        let given = match self.base.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            None => return,
            Some(dhcpv4::Event::Deconfigured) => Given::default(),
            // Whoever answers first is believed, but only what can be: smoltcp panics at a next hop that is no host.
            Some(dhcpv4::Event::Configured(given)) => {
                let is_host = |address: &Ipv4Address| datagram::is_host(IpAddress::Ipv4(*address));
                let address = Some(given.address).filter(|cidr| is_host(&cidr.address()));
                let servers = given.dns_servers.iter().copied().filter(is_host);
                Given {
                    address: address.map(IpCidr::Ipv4),
                    router: given.router.filter(is_host),
                    name_servers: servers.map(IpAddress::Ipv4).collect(),
                }
            }
        };
        if let Some(lane) = &self.lane {
            lane.publish(&given);
        }
        self.use_address(&given);
    }

    /// Is at this address from now on.
    pub(super) fn use_address(&mut self, given: &Given) {
        let &Given { address, router, ref name_servers } = given;
        self.iface.update_ip_addrs(|addresses| {
            addresses.retain(|address| matches!(address, IpCidr::Ipv6(_)));
            // Room for one more: there were at most as many before.
            address.map(|address| addresses.push(address));
        });
        self.iface.routes_mut().remove_default_ipv4_route();
        if let Some(router) = router {
            // The route that was there is gone, so there is room.
            let _ = self.iface.routes_mut().add_default_ipv4_route(router);
        }
        self.base.get_mut::<dns::Socket<'_>>(self.dns).update_servers(name_servers);
        self.addressed.drain(..).for_each(Waker::wake);
    }

    /// Whoever waited for a hardware address tries again: one may have come.
    pub(super) fn resume_stalled(&mut self) {
        for id in core::mem::take(&mut self.stalled) {
            if self.connections.named(id).is_some() {
                self.soil(id.index);
            }
        }
    }

    /// The IPv4 address, once there is one.
    pub(crate) fn ipv4(&self) -> Option<Ipv4Address> {
        self.iface.ipv4_addr()
    }

    pub(crate) fn addresses(&self) -> &[IpCidr] {
        self.iface.ip_addrs()
    }

    pub(crate) fn wake_when_addressed(&mut self, waker: &Waker) {
        self.addressed.push(waker.clone());
    }

    pub(crate) fn query(&mut self, name: &str, kind: DnsQueryType) -> Result<dns::QueryHandle, Error> {
        let socket = self.base.get_mut::<dns::Socket<'_>>(self.dns);
        let query = socket.start_query(self.iface.context(), name, kind).map_err(|_| Error::BadName)?;
        self.is_base_dirty = true;
        Ok(query)
    }

    pub(crate) fn query_result(
        &mut self,
        query: dns::QueryHandle,
        waker: &Waker,
    ) -> Option<Result<Vec<IpAddress>, Error>> {
        let socket = self.base.get_mut::<dns::Socket<'_>>(self.dns);
        match socket.get_query_result(query) {
            Ok(addresses) => Some(Ok(addresses.to_vec())),
            Err(dns::GetQueryResultError::Pending) => {
                socket.register_query_waker(query, waker);
                None
            }
            Err(dns::GetQueryResultError::Failed) => Some(Err(Error::NoSuchName)),
        }
    }
}
