//! What strangers send: datagrams and bytes of streams, random, mutated from genuine ones, or replayed, and where they
//! claim to come from.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::dice::Dice;
use super::machine::PORT;

/// Where replayed datagrams come from that don't pretend to come from a router (TEST-NET-1 of RFC 5737).
pub(super) const REPLAYER: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), PORT);

/// Genuine datagrams, and first bytes of streams, that a stranger has seen.
#[derive(Debug, Default)]
pub(super) struct Overheard {
    datagrams: VecDeque<Vec<u8>>,
    openings: VecDeque<Vec<u8>>,
    seen: u64,
}

/// One datagram of a stranger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostileDatagram {
    pub(super) from: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// How a stranger's connection goes on after its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It says nothing more and waits.
    Stall,
    /// It closes at once.
    Close,
    /// It sends a byte each second.
    Drip,
}

impl Overheard {
    /// Datagrams kept, and of how many one: enough for a choice of all kinds, from some seconds.
    const KEPT: usize = 64;
    const EACH: u64 = 5;

    /// A genuine datagram reached its receiver.
    pub(super) fn datagram(&mut self, bytes: &[u8]) {
        self.seen += 1;
        if self.seen.is_multiple_of(Self::EACH) {
            keep(&mut self.datagrams, bytes);
        }
    }

    /// A router wrote to a stream; hellos and handshakes are what it writes most often to new ones.
    pub(super) fn written(&mut self, bytes: &[u8]) {
        if self.openings.len() < Self::KEPT {
            keep(&mut self.openings, bytes);
        }
    }

    /// Something for a router's socket, as if from one of `routers`, from a stranger, or from nowhere.
    pub(super) fn hostile_datagram(
        &self,
        dice: &mut Dice,
        routers: &[SocketAddr],
    ) -> HostileDatagram {
        let genuine = pick(dice, &self.datagrams);
        let mut from = source(dice, routers);
        let bytes = match (dice.below(5), genuine) {
            (0, _) | (_, None) => random(dice, 1_500),
            (1, _) => {
                // A version and a kind that there are, or nearly.
                let mut bytes = random(dice, 200);
                if let Some(first) = bytes.first_mut() {
                    *first = dice.below(32) as u8;
                }
                bytes
            }
            (2, Some(genuine)) => {
                // Its header stays: it names a tunnel that there is.
                let mut bytes = genuine.clone();
                let at = dice.index(bytes.len());
                let rest = random(dice, 1_500);
                bytes.truncate(at.max(12));
                bytes.extend(rest);
                differ(bytes, genuine)
            }
            (3, Some(genuine)) => differ(mutated(dice, genuine), genuine),
            (_, Some(genuine)) => {
                // Whole, it is genuine to whom it is for, who may not have had it: two NAT boxes give out the same
                // addresses, so that it may have come to somebody else.
                if is_strange(from.ip()) {
                    from = REPLAYER;
                }
                genuine.clone()
            }
        };
        HostileDatagram { from, bytes }
    }

    /// What a stranger says on a new stream, and what it does then.
    pub(super) fn hostile_opening(&self, dice: &mut Dice) -> (Vec<u8>, Manner) {
        let genuine = pick(dice, &self.openings);
        let bytes = match (dice.below(4), genuine) {
            (0, _) => Vec::new(),
            (1, _) | (_, None) => random(dice, 2_000),
            (2, Some(genuine)) => genuine.clone(),
            (_, Some(genuine)) => mutated(dice, genuine),
        };
        let manner = match dice.below(4) {
            0 => Manner::Close,
            1 => Manner::Drip,
            _ => Manner::Stall,
        };
        (bytes, manner)
    }
}

/// Flips one to eight bits: what a bad wire does to a datagram.
pub(super) fn corrupt(dice: &mut Dice, bytes: &mut [u8]) {
    for _ in 0..=dice.below(8) {
        let (at, bit) = (dice.index(bytes.len()), dice.below(8));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }
}

/// An address of nobody but strangers (TEST-NET-2 of RFC 5737).
pub(super) fn stranger(dice: &mut Dice) -> SocketAddr {
    let host = 1 + dice.below(254) as u8;
    SocketAddr::new(
        IpAddr::V4(Ipv4Addr::new(198, 51, 100, host)),
        dice.number() as u16,
    )
}

/// Whether nothing may ever be sent to an address: strangers' ones, and those that no machine can have.
pub(super) fn is_strange(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            matches!(address.octets(), [198, 51, 100, _])
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_multicast()
                || address.is_loopback()
        }
        IpAddr::V6(address) => {
            address.is_unspecified() || address.is_multicast() || address.is_loopback()
        }
    }
}

fn source(dice: &mut Dice, routers: &[SocketAddr]) -> SocketAddr {
    let odd = [
        SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), PORT),
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)), PORT),
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT),
        SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), PORT),
        SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 1),
        SocketAddr::new(IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()), PORT),
    ];
    let spoofed = dice.index(routers.len());
    match (dice.below(3), routers.get(spoofed)) {
        (0, Some(router)) => *router,
        (1, _) => odd[dice.index(odd.len())],
        _ => stranger(dice),
    }
}

fn mutated(dice: &mut Dice, genuine: &[u8]) -> Vec<u8> {
    let mut bytes = genuine.to_vec();
    match dice.below(3) {
        0 => bytes.truncate(dice.index(genuine.len())),
        1 => {
            let at = dice.index(bytes.len());
            let more = random(dice, 64);
            bytes.splice(at..at, more);
        }
        _ => corrupt(dice, &mut bytes),
    }
    bytes
}

/// Never the genuine bytes themselves: that would be a replay.
fn differ(mut bytes: Vec<u8>, genuine: &[u8]) -> Vec<u8> {
    if bytes == genuine {
        bytes.push(0);
    }
    bytes
}

fn random(dice: &mut Dice, bytes_max: usize) -> Vec<u8> {
    let length = dice.index(bytes_max + 1);
    let mut bytes = Vec::with_capacity(length + 32);
    while bytes.len() < length {
        bytes.extend(dice.seed());
    }
    bytes.truncate(length);
    bytes
}

fn pick<'a>(dice: &mut Dice, from: &'a VecDeque<Vec<u8>>) -> Option<&'a Vec<u8>> {
    from.get(dice.index(from.len()))
}

fn keep(kept: &mut VecDeque<Vec<u8>>, bytes: &[u8]) {
    if kept.len() >= Overheard::KEPT {
        kept.pop_front();
    }
    kept.push_back(bytes.to_vec());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_kinds_of_sources_and_datagrams_come() {
        let mut overheard = Overheard::default();
        let genuine = vec![7; 100];
        for _ in 0..Overheard::EACH {
            overheard.datagram(&genuine);
        }
        let router = SocketAddr::from(([198, 18, 0, 1], PORT));
        let mut dice = Dice::new(1);
        let mut sources = BTreeSet::new();
        let (mut replayed, mut prefixed) = (0, 0);
        for _ in 0..500 {
            let hostile = overheard.hostile_datagram(&mut dice, &[router]);
            sources.insert(hostile.from);
            if hostile.bytes == genuine {
                replayed += 1;
                assert!(!is_strange(hostile.from.ip()));
            } else if hostile.bytes.starts_with(&genuine[..12]) {
                prefixed += 1;
            }
        }
        assert!(replayed > 50 && prefixed > 50, "{replayed} {prefixed}");
        assert!(sources.contains(&router) && sources.len() > 50);
    }

    #[test]
    fn a_corrupted_datagram_is_as_long_as_it_was() {
        let mut dice = Dice::new(2);
        let mut changed = 0;
        for _ in 0..100 {
            let mut bytes = [0; 40];
            corrupt(&mut dice, &mut bytes);
            changed += usize::from(bytes != [0; 40]);
        }
        assert!(changed > 80, "{changed}: two flips may cancel");
        corrupt(&mut dice, &mut []);
    }

    #[test]
    fn openings_come_in_all_manners() {
        let mut overheard = Overheard::default();
        overheard.written(b"hello");
        let mut dice = Dice::new(3);
        let openings: Vec<_> = (0..100)
            .map(|_| overheard.hostile_opening(&mut dice))
            .collect();
        for manner in [Manner::Stall, Manner::Close, Manner::Drip] {
            assert!(openings.iter().any(|(_, other)| *other == manner));
        }
        assert!(openings.iter().any(|(bytes, _)| bytes.is_empty()));
        assert!(openings.iter().any(|(bytes, _)| bytes == b"hello"));
    }
}
