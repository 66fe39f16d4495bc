//! Addresses of this host, and which of all addresses can be told to others or tried: those of the underlay.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::Mesh;
use crate::record::is_advertisable;
use crate::subnet::{OVERLAY_SUBNETS_MAX, Subnet};

impl Mesh {
    /// Addresses of the host's interfaces, without those of overlays. Loopback, link-local and
    /// unspecified ones are left out here.
    pub fn handle_local_addresses(&mut self, now: Instant, addresses: Vec<IpAddr>) {
        self.now = now;
        let distinct: BTreeSet<IpAddr> = addresses
            .into_iter()
            .map(|ip| ip.to_canonical())
            .filter(|ip| is_advertisable(*ip))
            .collect();
        self.local_addresses = distinct.into_iter().collect();
        self.router_publisher.is_stale = true;
        self.is_dialling_stale = true;
        self.settle(now);
    }

    /// Subnets of overlays that this host has an address in: an address inside of one leads through a tunnel, so
    /// none is advertised or dialled from records, whoever saw it or says it. At most
    /// [`OVERLAY_SUBNETS_MAX`](crate::OVERLAY_SUBNETS_MAX) are taken.
    pub fn handle_overlay_subnets(&mut self, now: Instant, mut subnets: Vec<Subnet>) {
        self.now = now;
        subnets.truncate(OVERLAY_SUBNETS_MAX);
        if self.overlay_subnets != subnets {
            self.overlay_subnets = subnets;
            self.router_publisher.is_stale = true;
            self.is_dialling_stale = true;
        }
        self.settle(now);
    }

    /// Addresses of interfaces that nobody is told of, since they lie inside of overlays.
    pub fn hidden_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let local = self.local_addresses.iter().copied();
        local.filter(|ip| !self.is_underlay(*ip))
    }

    /// Whether others can be told of an address, or it can be tried when they tell of it.
    pub(super) fn is_underlay(&self, ip: IpAddr) -> bool {
        is_advertisable(ip)
            && !self
                .overlay_subnets
                .iter()
                .any(|subnet| subnet.contains(ip))
    }
}

/// An address as everybody writes it: IPv4 is not mapped into IPv6.
pub(super) fn canonical(socket: SocketAddr) -> SocketAddr {
    SocketAddr::new(socket.ip().to_canonical(), socket.port())
}
