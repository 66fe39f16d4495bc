//! Who has which address, and through which NAT boxes a datagram passes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::sim::RouterId;
use crate::sim::dice::Dice;
use crate::sim::machine::PORT;
use crate::sim::nat::{Nat, NatId, NatKind};

/// The addresses of all machines, and the boxes between them.
#[derive(Debug, Default)]
pub(super) struct Places {
    public: BTreeMap<IpAddr, RouterId>,
    nats: Vec<Nat>,
    /// The box of each machine that is behind one.
    inside: BTreeMap<RouterId, NatId>,
    private: BTreeMap<(NatId, IpAddr), RouterId>,
}

/// Where a datagram goes, and as whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) to: RouterId,
    /// The source that the other end sees.
    pub(crate) from: SocketAddr,
}

impl Places {
    pub(super) fn add(&mut self, address: IpAddr, router: RouterId) {
        self.public.insert(address, router);
    }

    pub(super) fn add_nat(&mut self, kind: NatKind, dice: Dice) -> NatId {
        let id = NatId(self.nats.len());
        self.nats.push(Nat::new(kind, outer_address(id), dice));
        id
    }

    /// Puts a machine behind a box, and gives its address there.
    pub(super) fn add_behind(&mut self, nat: NatId, router: RouterId) -> IpAddr {
        let inside = self.inside.values().filter(|other| **other == nat).count();
        let address = IpAddr::V4(Ipv4Addr::new(
            192,
            168,
            (1 + inside / 250) as u8,
            (inside % 250 + 1) as u8,
        ));
        self.inside.insert(router, nat);
        self.private.insert((nat, address), router);
        address
    }

    pub(super) fn owner(&self, address: IpAddr) -> Option<RouterId> {
        self.public.get(&address).copied()
    }

    pub(super) fn nat_of(&self, router: RouterId) -> Option<NatId> {
        self.inside.get(&router).copied()
    }

    /// Whether one of two machines can open a connection to the other.
    pub(super) fn can_connect(&self, a: RouterId, b: RouterId) -> bool {
        match (self.nat_of(a), self.nat_of(b)) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        }
    }

    /// A box forgets its mappings. Gives the machines behind it.
    pub(super) fn flush(&mut self, nat: NatId) -> BTreeSet<RouterId> {
        if let Some(nat) = self.nats.get_mut(nat.0) {
            nat.flush();
        }
        self.inside
            .iter()
            .filter(|(_, other)| **other == nat)
            .map(|(router, _)| *router)
            .collect()
    }

    /// A datagram leaves a machine, from its address `source`.
    pub(super) fn route(
        &mut self,
        now: Duration,
        router: RouterId,
        source: SocketAddr,
        remote: SocketAddr,
    ) -> Option<Route> {
        let own = self.nat_of(router);
        if let Some(neighbour) = own.and_then(|nat| self.private.get(&(nat, remote.ip()))) {
            return (remote.port() == PORT).then_some(Route {
                to: *neighbour,
                from: source,
            });
        }
        // The box makes its mapping whether anybody is there or not.
        let from = match own.and_then(|nat| self.nats.get_mut(nat.0)) {
            Some(nat) => nat.outbound(now, router, source, remote),
            None => source,
        };
        let to = match outer_nat(remote.ip()) {
            Some(nat) if own == Some(nat) => None,
            Some(nat) => self.nats.get(nat.0)?.behind(now, remote.port()),
            None => self.owner(remote.ip()).filter(|_| remote.port() == PORT),
        }?;
        Some(Route { to, from })
    }

    /// A datagram arrives that was sent to `local`: the machine's own address that it came to; none where a box
    /// lets it not in.
    pub(super) fn arrive(
        &self,
        now: Duration,
        to: RouterId,
        local: SocketAddr,
        from: SocketAddr,
    ) -> Option<IpAddr> {
        let Some(nat) = outer_nat(local.ip()) else {
            return Some(local.ip());
        };
        let nat = self.nats.get(nat.0)?;
        nat.behind(now, local.port()).filter(|owner| *owner == to)?;
        Some(nat.inbound(now, local.port(), from)?.ip())
    }

    /// A machine opens a TCP connection from `source`: who answers, if anybody, and the source that they see.
    pub(super) fn connect(
        &mut self,
        router: RouterId,
        source: SocketAddr,
        remote: SocketAddr,
    ) -> (Option<RouterId>, SocketAddr) {
        let own = self.nat_of(router);
        if let Some(neighbour) = own.and_then(|nat| self.private.get(&(nat, remote.ip()))) {
            return (Some(*neighbour), source);
        }
        let from = match own.and_then(|nat| self.nats.get_mut(nat.0)) {
            Some(nat) => nat.connect(),
            None => source,
        };
        (self.owner(remote.ip()), from)
    }
}

/// The address of a box on its outer side. 198.18.0.0/15 is for tests (RFC 2544); the routers' own are below.
fn outer_address(nat: NatId) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, (128 + nat.0 / 250) as u8, (nat.0 % 250 + 1) as u8)
}

/// The box that has an outer address.
fn outer_nat(address: IpAddr) -> Option<NatId> {
    let IpAddr::V4(address) = address else {
        return None;
    };
    match address.octets() {
        [198, 19, high @ 128..=255, low @ 1..=250] => Some(NatId(
            (usize::from(high) - 128) * 250 + usize::from(low) - 1,
        )),
        _ => None,
    }
}
