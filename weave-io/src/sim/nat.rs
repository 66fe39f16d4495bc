//! Network address translators: machines behind one reach the others, and are reached only where it lets them be.
//!
//! Mapping and filtering go by the names of RFC 4787 (sections 4.1 and 5):
//!
//! ```text
//!   inside 192.168.1.2:6783 ──▶ ┌─────────────────────┐ ──▶ to X:x   from P:p
//!                               │ mapping  inside→P:p │
//!                         ◀──── │ filtering  X:x ok?  │ ◀── from Y:y to P:p
//!                               └─────────────────────┘
//! ```
//!
//! TCP connects outwards only: nothing is forwarded to a machine inside. There is no hairpinning: who is inside and
//! sends to the box's own address reaches nobody, as with many real ones. All boxes give out the same private
//! addresses, so that what a router says of itself may name somebody else elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::RouterId;
use super::dice::Dice;

/// What a mapping, or a filter, depends on besides the inner address: RFC 4787 sections 4.1 and 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatBehaviour {
    /// On nothing: one outer port for all, open to all.
    EndpointIndependent,
    /// On the other end's address.
    AddressDependent,
    /// On the other end's address and port.
    AddressAndPortDependent,
}

impl NatBehaviour {
    /// All three.
    pub const ALL: [Self; 3] = [
        Self::EndpointIndependent,
        Self::AddressDependent,
        Self::AddressAndPortDependent,
    ];

    /// What of the other end counts.
    fn scope(self, remote: SocketAddr) -> Scope {
        match self {
            Self::EndpointIndependent => (None, None),
            Self::AddressDependent => (Some(remote.ip()), None),
            Self::AddressAndPortDependent => (Some(remote.ip()), Some(remote.port())),
        }
    }
}

impl fmt::Display for NatBehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
        })
    }
}

impl FromStr for NatBehaviour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|behaviour| behaviour.to_string() == text)
            .ok_or_else(|| format!("`{text}` is no behaviour of RFC 4787"))
    }
}

/// What a NAT box is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatKind {
    /// When two flows from inside share an outer port.
    pub mapping: NatBehaviour,
    /// Whose datagrams get in at an outer port.
    pub filtering: NatBehaviour,
    /// A UDP mapping that nothing left by for this long is forgotten. Datagrams that come in don't keep it.
    pub timeout: Duration,
}

impl NatKind {
    /// What Linux gives a flow that was answered, and the least that RFC 4787 section 4.3 allows.
    pub const TIMEOUT: Duration = Duration::from_secs(120);

    /// The most forthcoming box: everything endpoint-independent ("full cone").
    pub const OPEN: Self = Self {
        mapping: NatBehaviour::EndpointIndependent,
        filtering: NatBehaviour::EndpointIndependent,
        timeout: Self::TIMEOUT,
    };

    /// What masquerading on Linux and most home boxes do as long as ports suffice: one outer port for all, open to
    /// those that were spoken to.
    pub const MASQUERADE: Self = Self {
        mapping: NatBehaviour::EndpointIndependent,
        filtering: NatBehaviour::AddressAndPortDependent,
        timeout: Self::TIMEOUT,
    };

    /// The least forthcoming: an outer port for each other end ("symmetric").
    pub const SYMMETRIC: Self = Self {
        mapping: NatBehaviour::AddressAndPortDependent,
        filtering: NatBehaviour::AddressAndPortDependent,
        timeout: Self::TIMEOUT,
    };
}

impl fmt::Display for NatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timeout_ms = self.timeout.as_millis();
        write!(f, "{} {} {timeout_ms}", self.mapping, self.filtering)
    }
}

/// A NAT box of a [`World`](super::World), by the order in which they were added, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NatId(pub usize);

/// The part of another end's address that counts.
type Scope = (Option<IpAddr>, Option<u16>);

/// One box with its mappings.
#[derive(Debug)]
pub(super) struct Nat {
    kind: NatKind,
    address: Ipv4Addr,
    dice: Dice,
    /// By outer port.
    mappings: BTreeMap<u16, Mapping>,
    ports: BTreeMap<(SocketAddr, Scope), u16>,
}

#[derive(Debug)]
struct Mapping {
    router: RouterId,
    inside: SocketAddr,
    scope: Scope,
    /// Who may send in, as far as filtering looks.
    spoken_to: BTreeSet<Scope>,
    used: Duration,
}

impl Nat {
    /// Outer ports are drawn from here: those below are a box's own.
    const PORT_MIN: u16 = 1_024;

    pub(super) fn new(kind: NatKind, address: Ipv4Addr, dice: Dice) -> Self {
        Self {
            kind,
            address,
            dice,
            mappings: BTreeMap::new(),
            ports: BTreeMap::new(),
        }
    }

    /// A datagram leaves: the outer address that it comes from then.
    pub(super) fn outbound(
        &mut self,
        now: Duration,
        router: RouterId,
        inside: SocketAddr,
        remote: SocketAddr,
    ) -> SocketAddr {
        let scope = self.kind.mapping.scope(remote);
        let key = (inside, scope);
        let known = self
            .ports
            .get(&key)
            .copied()
            .filter(|port| self.is_alive(now, *port));
        let port = known.unwrap_or_else(|| {
            self.forget_dead(now);
            self.free_port()
        });
        self.ports.insert(key, port);
        let mapping = self.mappings.entry(port).or_insert(Mapping {
            router,
            inside,
            scope,
            spoken_to: BTreeSet::new(),
            used: now,
        });
        mapping.used = now;
        mapping.spoken_to.insert(self.kind.filtering.scope(remote));
        SocketAddr::new(IpAddr::V4(self.address), port)
    }

    /// Whose port it is, whoever may use it.
    pub(super) fn behind(&self, now: Duration, port: u16) -> Option<RouterId> {
        self.mappings
            .get(&port)
            .filter(|_| self.is_alive(now, port))
            .map(|mapping| mapping.router)
    }

    /// A datagram arrives: the inner address that it is for, if it may come in.
    pub(super) fn inbound(&self, now: Duration, port: u16, from: SocketAddr) -> Option<SocketAddr> {
        let mapping = self
            .mappings
            .get(&port)
            .filter(|_| self.is_alive(now, port))?;
        mapping
            .spoken_to
            .contains(&self.kind.filtering.scope(from))
            .then_some(mapping.inside)
    }

    /// The outer address of a new TCP connection.
    pub(super) fn connect(&mut self) -> SocketAddr {
        let port = self.free_port();
        SocketAddr::new(IpAddr::V4(self.address), port)
    }

    /// All mappings are forgotten, as when the box restarts.
    pub(super) fn flush(&mut self) {
        self.mappings.clear();
        self.ports.clear();
    }

    fn is_alive(&self, now: Duration, port: u16) -> bool {
        self.mappings
            .get(&port)
            .is_some_and(|mapping| now.saturating_sub(mapping.used) < self.kind.timeout)
    }

    fn forget_dead(&mut self, now: Duration) {
        let timeout = self.kind.timeout;
        let ports = &mut self.ports;
        self.mappings.retain(|_, mapping| {
            let alive = now.saturating_sub(mapping.used) < timeout;
            if !alive {
                ports.remove(&(mapping.inside, mapping.scope));
            }
            alive
        });
    }

    /// A port that no flow has. Worlds have far fewer flows than there are ports.
    fn free_port(&mut self) -> u16 {
        loop {
            let port = (self.dice.number() as u16).max(Self::PORT_MIN);
            if !self.mappings.contains_key(&port) {
                return port;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: RouterId = RouterId(4);

    #[test]
    fn behaviours_are_read_back_from_their_names() {
        for behaviour in NatBehaviour::ALL {
            assert_eq!(behaviour.to_string().parse(), Ok(behaviour));
        }
        assert!("full-cone".parse::<NatBehaviour>().is_err());
    }

    #[test]
    fn a_mapping_is_shared_by_as_many_as_its_behaviour_says() {
        let others = [remote(1, 1), remote(1, 2), remote(2, 1)];
        for (mapping, ports) in NatBehaviour::ALL.into_iter().zip([1, 2, 3]) {
            let mut nat = nat(mapping, NatBehaviour::EndpointIndependent);
            let outer: BTreeSet<SocketAddr> = others
                .iter()
                .map(|other| nat.outbound(at(0), INSIDE, inside(), *other))
                .collect();
            assert_eq!(outer.len(), ports, "{mapping}");
            let again = nat.outbound(at(1), INSIDE, inside(), others[0]);
            assert!(outer.contains(&again), "a mapping stays");
        }
    }

    #[test]
    fn a_filter_lets_in_whom_its_behaviour_says() {
        let open = |filtering| {
            let mut nat = nat(NatBehaviour::EndpointIndependent, filtering);
            let port = nat.outbound(at(0), INSIDE, inside(), remote(1, 1)).port();
            [remote(1, 1), remote(1, 2), remote(2, 1)]
                .map(|from| nat.inbound(at(1), port, from) == Some(inside()))
        };
        assert_eq!(open(NatBehaviour::EndpointIndependent), [true, true, true]);
        assert_eq!(open(NatBehaviour::AddressDependent), [true, true, false]);
        assert_eq!(
            open(NatBehaviour::AddressAndPortDependent),
            [true, false, false]
        );
    }

    #[test]
    fn a_mapping_ends_when_nothing_leaves_by_it_or_the_box_forgets() {
        let mut nat = nat(
            NatBehaviour::EndpointIndependent,
            NatBehaviour::EndpointIndependent,
        );
        let first = nat.outbound(at(0), INSIDE, inside(), remote(1, 1));
        assert_eq!(nat.behind(at(9), first.port()), Some(INSIDE));
        nat.inbound(at(9), first.port(), remote(1, 1));
        assert_eq!(nat.behind(at(10), first.port()), None, "after ten seconds");
        let second = nat.outbound(at(10), INSIDE, inside(), remote(1, 1));
        assert_ne!(first, second);
        nat.flush();
        assert_eq!(nat.inbound(at(10), second.port(), remote(1, 1)), None);
        let third = nat.outbound(at(10), INSIDE, inside(), remote(1, 1));
        assert_ne!(second, third);
    }

    #[test]
    fn ports_that_nobody_asked_for_are_closed() {
        let nat = nat(
            NatBehaviour::EndpointIndependent,
            NatBehaviour::EndpointIndependent,
        );
        assert_eq!(nat.behind(at(0), 6783), None);
        assert_eq!(nat.inbound(at(0), 6783, remote(1, 1)), None);
    }

    fn nat(mapping: NatBehaviour, filtering: NatBehaviour) -> Nat {
        let kind = NatKind {
            mapping,
            filtering,
            timeout: at(10),
        };
        Nat::new(kind, Ipv4Addr::new(198, 19, 128, 1), Dice::new(1))
    }

    fn inside() -> SocketAddr {
        SocketAddr::from(([192, 168, 1, 2], 6783))
    }

    fn remote(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([198, 18, 0, host], port))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }
}
