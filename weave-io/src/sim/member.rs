//! A member of the network that is hostile: a router like any other whose outputs are changed on their way out.
//!
//! It has an identity that was let in, so its streams and tunnels are genuine, and all that its router does goes on; but
//! what it says in records, and which datagrams leave it when, is up to its mischief.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use weave_core::{Identity, NetworkId, PacketView, PeerId};
use weave_mesh::{Body, Record, RecordKind, SEQUENCE_BITS, Store};

use super::dice::Dice;

/// One thing that a hostile member does, from when it begins on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mischief {
    /// `forge`: it says records in the names of others, newer than theirs, records that contradict themselves, and
    /// some that are cut or altered.
    Forge,
    /// `replay`: it says records again that are out of date, and sends datagrams again that it sent before.
    Replay,
    /// `equivocate`: it says different things of its own links under one number, to each neighbour another.
    Equivocate,
    /// `flood`: it says a thousand new records of its own a second, and sends each datagram eight times.
    Flood,
    /// `drop`: it relays nothing, and loses a third of its own datagrams.
    Drop,
    /// `delay`: half of its datagrams leave up to 300 ms late, so that they overtake each other.
    Delay,
}

impl Mischief {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Forge,
        Self::Replay,
        Self::Equivocate,
        Self::Flood,
        Self::Drop,
        Self::Delay,
    ];
}

impl fmt::Display for Mischief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forge => "forge",
            Self::Replay => "replay",
            Self::Equivocate => "equivocate",
            Self::Flood => "flood",
            Self::Drop => "drop",
            Self::Delay => "delay",
        })
    }
}

impl FromStr for Mischief {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|mischief| mischief.to_string() == text)
            .ok_or("there is no such mischief")
    }
}

/// What a hostile member is up to, and what it remembers for that.
#[derive(Debug)]
pub(super) struct HostileMember {
    dice: Dice,
    mischief: BTreeSet<Mischief>,
    /// Records that it held at some time, with their sequence numbers.
    records: VecDeque<Vec<u8>>,
    /// Datagrams that it sent.
    datagrams: VecDeque<Vec<u8>>,
    /// Versions of its own records made up so far.
    made_up: u64,
}

impl HostileMember {
    /// How often it thinks of something to say.
    pub(super) const INTERVAL: Duration = Duration::from_millis(100);
    /// Records and datagrams that it remembers: of some seconds.
    const KEPT: usize = 64;
    /// Records that it says to each neighbour at a time: forged ones, so many that neighbours lose their patience
    /// after a while, and own ones, a thousand a second.
    const FORGED: usize = 3;
    const FLOODED: u64 = 100;
    const LATE_MAX: Duration = Duration::from_millis(300);
    const COPIES: usize = 8;

    pub(super) fn new(dice: Dice) -> Self {
        Self {
            dice,
            mischief: BTreeSet::new(),
            records: VecDeque::new(),
            datagrams: VecDeque::new(),
            made_up: 0,
        }
    }

    /// It begins with one more mischief. Says whether it was honest before.
    pub(super) fn begin(&mut self, mischief: Mischief) -> bool {
        let was_honest = self.mischief.is_empty();
        self.mischief.insert(mischief);
        was_honest
    }

    /// What it says to its neighbours now, besides what its router says.
    pub(super) fn records(
        &mut self,
        identity: &Identity,
        network: &NetworkId,
        store: &Store,
        neighbours: &[PeerId],
    ) -> BTreeMap<PeerId, Vec<Vec<u8>>> {
        self.overhear(store);
        let mut said: BTreeMap<PeerId, Vec<Vec<u8>>> = BTreeMap::new();
        for mischief in self.mischief.clone() {
            for neighbour in neighbours {
                let records = match mischief {
                    Mischief::Forge => self.forged(identity, network, store),
                    Mischief::Replay => self.replayed(),
                    Mischief::Equivocate => self.equivocal(identity, network, store),
                    Mischief::Flood => self.flooded(identity, network, store),
                    Mischief::Drop | Mischief::Delay => Vec::new(),
                };
                said.entry(*neighbour).or_default().extend(records);
            }
        }
        said.retain(|_, records| !records.is_empty());
        said
    }

    /// What becomes of a datagram that its router sends: which leave, and how much later.
    pub(super) fn datagrams(&mut self, bytes: &[u8]) -> Vec<(Duration, Vec<u8>)> {
        let has = |mischief| self.mischief.contains(&mischief);
        let is_relayed =
            PacketView::new_checked(bytes).is_ok_and(|packet| packet.envelope().is_some());
        let (drops, delays, floods) = (
            has(Mischief::Drop),
            has(Mischief::Delay),
            has(Mischief::Flood),
        );
        let replays = has(Mischief::Replay);
        let mut leaving = Vec::new();
        if !(drops && (is_relayed || self.dice.chance(333))) {
            let late = if delays && self.dice.chance(500) {
                self.dice.duration(Self::LATE_MAX)
            } else {
                Duration::ZERO
            };
            let copies = if floods { Self::COPIES } else { 1 };
            leaving.extend((0..copies).map(|_| (late, bytes.to_vec())));
        }
        if replays {
            let index = self.dice.index(self.datagrams.len());
            leaving.extend(
                self.datagrams
                    .get(index)
                    .map(|old| (Duration::ZERO, old.clone())),
            );
            if self.dice.chance(100) {
                keep(&mut self.datagrams, bytes.to_vec());
            }
        }
        leaving
    }

    fn overhear(&mut self, store: &Store) {
        let origins: Vec<PeerId> = store.origins().collect();
        let Some(origin) = origins.get(self.dice.index(origins.len())) else {
            return;
        };
        for kind in RecordKind::ALL {
            if let Some(record) = store.record(origin, kind)
                && !self.records.iter().any(|known| **known == **record.bytes())
            {
                keep(&mut self.records, record.bytes().to_vec());
            }
        }
    }

    /// In others' names, or of its own and impossible.
    fn forged(&mut self, identity: &Identity, network: &NetworkId, store: &Store) -> Vec<Vec<u8>> {
        let origins: Vec<PeerId> = store.origins().collect();
        let mut forged = Vec::new();
        while forged.len() < Self::FORGED {
            let Some(origin) = origins.get(self.dice.index(origins.len())) else {
                break;
            };
            let kind = RecordKind::ALL[self.dice.index(2)];
            let Some(record) = store.record(origin, kind) else {
                break;
            };
            let newer = record.seq() + 1 + self.dice.below(1 << 30);
            let mut body = record.body().clone();
            match &mut body {
                Body::Router(router) => {
                    router.boot_id = newer >> SEQUENCE_BITS;
                    router.addresses.clear();
                }
                Body::Links(links) => {
                    links.boot_id = newer >> SEQUENCE_BITS;
                    // Half of those in its own name are links to itself that cost nothing.
                    if let Some(entry) = links.links.first_mut().filter(|_| self.dice.chance(500)) {
                        entry.neighbour = *origin;
                        entry.cost = 0;
                    } else {
                        links.links.clear();
                    }
                }
            }
            let Ok(mut bytes) = Record::sign_unchecked(identity, network, newer, &body) else {
                break;
            };
            bytes[..32].copy_from_slice(origin.as_bytes());
            match self.dice.below(4) {
                0 => bytes.truncate(self.dice.index(bytes.len())),
                1 => {
                    let at = self.dice.index(bytes.len());
                    bytes[at] ^= 1 << self.dice.below(8);
                }
                _ => {}
            }
            // Its own would be genuine.
            if *origin == identity.peer_id() && Record::parse(&bytes).is_ok() {
                break;
            }
            forged.push(bytes);
        }
        forged
    }

    fn replayed(&mut self) -> Vec<Vec<u8>> {
        let index = self.dice.index(self.records.len());
        self.records.get(index).cloned().into_iter().collect()
    }

    /// Its links as its router says them, but one that it leaves out or has cost something else; once a second.
    fn equivocal(
        &mut self,
        identity: &Identity,
        network: &NetworkId,
        store: &Store,
    ) -> Vec<Vec<u8>> {
        let own = store.record(&identity.peer_id(), RecordKind::Links);
        let (true, Some(own)) = (self.dice.chance(100), own) else {
            return Vec::new();
        };
        let mut body = own.body().clone();
        if let Body::Links(links) = &mut body {
            let index = self.dice.index(links.links.len());
            if self.dice.chance(500) && index < links.links.len() {
                links.links.remove(index);
            } else if let Some(entry) = links.links.get_mut(index) {
                entry.cost = 1 + self.dice.below(100_000) as u32;
            }
        }
        Record::sign_unchecked(identity, network, own.seq(), &body)
            .into_iter()
            .collect()
    }

    fn flooded(&mut self, identity: &Identity, network: &NetworkId, store: &Store) -> Vec<Vec<u8>> {
        let Some(own) = store.record(&identity.peer_id(), RecordKind::Links) else {
            return Vec::new();
        };
        let versions = (1..=Self::FLOODED).map(|more| {
            let seq = own.seq() + self.made_up + more;
            Record::sign_unchecked(identity, network, seq, own.body())
        });
        let records = versions.flatten().collect();
        self.made_up += Self::FLOODED;
        records
    }
}

fn keep(kept: &mut VecDeque<Vec<u8>>, bytes: Vec<u8>) {
    if kept.len() >= HostileMember::KEPT {
        kept.pop_front();
    }
    kept.push_back(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mischief_is_read_back_from_its_word() {
        for mischief in Mischief::ALL {
            assert_eq!(mischief.to_string().parse(), Ok(mischief));
        }
        assert!("be nice".parse::<Mischief>().is_err());
    }

    #[test]
    fn an_honest_member_changes_nothing_and_each_mischief_its_own() {
        let sent = |mischief: Option<Mischief>| {
            let mut member = HostileMember::new(Dice::new(1));
            if let Some(mischief) = mischief {
                assert!(member.begin(mischief));
            }
            let leaving = (0..100_u8).flat_map(|number| member.datagrams(&[number; 40]));
            let leaving: Vec<_> = leaving.collect();
            let late = leaving.iter().filter(|(late, _)| !late.is_zero()).count();
            (leaving.len(), late)
        };
        assert_eq!(sent(None), (100, 0));
        assert_eq!(sent(Some(Mischief::Forge)), (100, 0));
        assert_eq!(sent(Some(Mischief::Flood)), (800, 0));
        assert!(sent(Some(Mischief::Replay)).0 > 120);
        assert!((50..85).contains(&sent(Some(Mischief::Drop)).0));
        let (count, late) = sent(Some(Mischief::Delay));
        assert!(count == 100 && (30..70).contains(&late));
    }
}
