//! The network between the machines: who has which address, the fate of each datagram, and TCP streams.
//!
//! Conditions hold per *direction* between two machines, whatever addresses they use. Nothing here knows what
//! it carries.

mod places;
mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::RouterId;
use super::dice::Dice;
use super::fault::{Conditions, Fault, Loss};
use super::hostile;
use super::nat::{NatId, NatKind};
use places::Places;

pub(crate) use places::Route;
pub(crate) use streams::{Machine, StreamContext, StreamEvent, StreamOutput, Streams};

/// The network between the machines of a [`World`](super::World): conditions hold per direction.
#[derive(Debug)]
pub struct Net {
    dice: Dice,
    /// As every direction is in the beginning.
    normal: Conditions,
    /// Directions that differ from `normal`, by fault or by [`Net::set_normal_between`].
    directions: BTreeMap<(RouterId, RouterId), Direction>,
    places: Places,
    counters: NetCounters,
}

/// What became of datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetCounters {
    /// Datagrams sent.
    pub sent: u64,
    /// Bytes of those.
    pub sent_bytes: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost to a cut.
    pub cut: u64,
    /// Too big for the way.
    pub too_big: u64,
    /// To an address that nobody has.
    pub unreachable: u64,
    /// Kept out by a NAT box.
    pub filtered: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Overtaken.
    pub reordered: u64,
    /// Arrived with bits flipped.
    pub corrupted: u64,
    /// Bytes of streams that arrived with bits flipped, by how often.
    pub flipped: u64,
}

#[derive(Debug, Clone, Copy)]
struct Direction {
    normal: Conditions,
    now: Conditions,
    /// The Gilbert-Elliott state.
    bad: bool,
    /// When the last datagram in order arrives: queues keep order.
    last_arrival: Duration,
}

impl Net {
    /// A network where every direction has the conditions `normal`.
    pub(crate) fn new(dice: Dice, normal: Conditions) -> Self {
        Self {
            dice,
            normal,
            directions: BTreeMap::new(),
            places: Places::default(),
            counters: NetCounters::default(),
        }
    }

    /// Gives a machine an address.
    pub(crate) fn add_address(&mut self, address: IpAddr, router: RouterId) {
        self.places.add(address, router);
    }

    /// The machine that has an address that all can reach.
    pub fn owner(&self, address: IpAddr) -> Option<RouterId> {
        self.places.owner(address)
    }

    /// Adds a NAT box.
    pub(crate) fn add_nat(&mut self, kind: NatKind) -> NatId {
        let dice = self.dice.fork();
        self.places.add_nat(kind, dice)
    }

    /// Puts a machine behind a NAT box, and gives its address there.
    pub(crate) fn add_behind(&mut self, nat: NatId, router: RouterId) -> IpAddr {
        self.places.add_behind(nat, router)
    }

    /// The NAT box that a machine is behind.
    pub fn nat_of(&self, router: RouterId) -> Option<NatId> {
        self.places.nat_of(router)
    }

    /// Whether one of two machines can open a connection to the other, as far as NAT boxes let it.
    pub fn can_connect(&self, a: RouterId, b: RouterId) -> bool {
        self.places.can_connect(a, b)
    }

    /// A NAT box forgets its mappings. Gives the machines behind it.
    pub(crate) fn flush_nat(&mut self, nat: NatId) -> BTreeSet<RouterId> {
        self.places.flush(nat)
    }

    /// Where a datagram from a machine's address `source` goes, and as whose; none where it goes to nobody.
    pub(crate) fn route(
        &mut self,
        now: Duration,
        router: RouterId,
        source: SocketAddr,
        remote: SocketAddr,
    ) -> Option<Route> {
        self.places.route(now, router, source, remote)
    }

    /// The machine's own address that a datagram to `local` came to; none, and counted, where a NAT box keeps it
    /// out.
    pub(crate) fn arrive(
        &mut self,
        now: Duration,
        to: RouterId,
        local: SocketAddr,
        from: SocketAddr,
    ) -> Option<IpAddr> {
        let address = self.places.arrive(now, to, local, from);
        if address.is_none() {
            self.counters.filtered += 1;
        }
        address
    }

    /// Who answers a TCP connection from a machine's address `source`, and the source that they see.
    pub(crate) fn connect(
        &mut self,
        router: RouterId,
        source: SocketAddr,
        remote: SocketAddr,
    ) -> (Option<RouterId>, SocketAddr) {
        self.places.connect(router, source, remote)
    }

    /// The conditions from one machine to another.
    pub fn conditions(&self, from: RouterId, to: RouterId) -> Conditions {
        self.directions
            .get(&(from, to))
            .map_or(self.normal, |direction| direction.now)
    }

    /// Whether packets pass between two machines in both directions, be it over TCP alone.
    pub fn is_open(&self, a: RouterId, b: RouterId) -> bool {
        !self.conditions(a, b).cut && !self.conditions(b, a).cut
    }

    /// Whether any direction loses datagrams by chance.
    pub fn is_lossy(&self) -> bool {
        self.normal.is_lossy()
            || self
                .directions
                .values()
                .any(|direction| direction.now.is_lossy())
    }

    /// Whether every way is equally long: takes the same time, and takes datagrams.
    pub fn is_uniform(&self) -> bool {
        self.ways().all(|(_, way)| self.is_normal(&way))
    }

    /// Whether a way is as long as those that nothing was done to, and takes datagrams.
    pub(crate) fn is_normal(&self, way: &Conditions) -> bool {
        way.latency == self.normal.latency && way.jitter == self.normal.jitter && !way.udp_blocked
    }

    /// The ways that anything was ever done to, as they are now.
    pub(crate) fn ways(&self) -> impl Iterator<Item = ((RouterId, RouterId), Conditions)> {
        let ways = self.directions.iter();
        ways.map(|(between, direction)| (*between, direction.now))
    }

    /// What became of datagrams so far.
    pub fn counters(&self) -> NetCounters {
        self.counters
    }

    /// Sets what both directions between two machines are like now and after each healing.
    pub fn set_normal_between(&mut self, a: RouterId, b: RouterId, conditions: Conditions) {
        for (from, to) in [(a, b), (b, a)] {
            let direction = self.direction_mut(from, to);
            direction.normal = conditions;
            direction.now = conditions;
        }
    }

    /// Applies a fault of ways; `routers` are all machines. Faults of machines change nothing here.
    pub(crate) fn apply(&mut self, fault: &Fault, routers: usize) {
        match fault {
            Fault::Cut(a, b) => self.change(*a, *b, |way| way.cut = true),
            Fault::CutOneWay(a, b) => self.direction_mut(*a, *b).now.cut = true,
            Fault::BlockUdp(a, b) => self.change(*a, *b, |way| way.udp_blocked = true),
            Fault::Heal(a, b) => {
                for (from, to) in [(*a, *b), (*b, *a)] {
                    self.heal(from, to);
                }
            }
            Fault::HealAll => {
                for direction in self.directions.values_mut() {
                    direction.now = direction.normal;
                    direction.bad = false;
                }
            }
            Fault::Partition(group) => self.partition(group, routers),
            Fault::Loss(a, b, permille) => {
                let loss = if *permille == 0 {
                    Loss::None
                } else {
                    Loss::Random {
                        permille: *permille,
                    }
                };
                self.change(*a, *b, |way| way.loss = loss);
            }
            Fault::Bursts(a, b, [enter_permille, leave_permille, bad_permille]) => {
                let loss = Loss::Bursts {
                    enter_permille: *enter_permille,
                    leave_permille: *leave_permille,
                    bad_permille: *bad_permille,
                };
                self.change(*a, *b, |way| way.loss = loss);
            }
            Fault::Jitter(a, b, jitter) => self.change(*a, *b, |way| way.jitter = *jitter),
            Fault::Latency(a, b, latency) => self.change(*a, *b, |way| way.latency = *latency),
            Fault::Reorder(a, b, permille) => {
                self.change(*a, *b, |way| way.reorder_permille = *permille)
            }
            Fault::Duplicate(a, b, permille) => {
                self.change(*a, *b, |way| way.duplicate_permille = *permille)
            }
            Fault::Mtu(a, b, bytes) => self.change(*a, *b, |way| way.mtu_bytes = *bytes),
            Fault::Corrupt(a, b, permille) => {
                self.change(*a, *b, |way| way.corrupt_permille = *permille)
            }
            Fault::Crash(_)
            | Fault::PowerOff(_)
            | Fault::Restart(_)
            | Fault::NatRebind(_)
            | Fault::FlipStream(..)
            | Fault::Move(..)
            | Fault::MoveSilently(..)
            | Fault::Hostile(..)
            | Fault::Strangers(..)
            | Fault::Misbehave(..) => {}
        }
    }

    /// Decides the fate of a datagram: when it arrives, and when a second copy does.
    pub(crate) fn datagram(
        &mut self,
        now: Duration,
        from: RouterId,
        to: RouterId,
        bytes: usize,
    ) -> [Option<Duration>; 2] {
        self.counters.sent += 1;
        self.counters.sent_bytes += bytes as u64;
        let way = self.conditions(from, to);
        if way.cut || way.udp_blocked {
            self.counters.cut += 1;
            return [None; 2];
        }
        if bytes > way.mtu_bytes {
            self.counters.too_big += 1;
            return [None; 2];
        }
        if self.is_lost(from, to, way.loss) {
            self.counters.lost += 1;
            return [None; 2];
        }
        let arrival = now + way.latency + self.dice.duration(way.jitter);
        if self.dice.chance(way.reorder_permille) {
            self.counters.reordered += 1;
            return [Some(arrival + Conditions::REORDER_DELAY), None];
        }
        let arrival = if way.jitter.is_zero() {
            arrival
        } else {
            self.in_order(from, to, arrival)
        };
        let copy = self.dice.chance(way.duplicate_permille).then(|| {
            self.counters.duplicated += 1;
            arrival + self.dice.duration(Conditions::REORDER_DELAY)
        });
        [Some(arrival), copy]
    }

    /// Perhaps flips bits of a datagram under way. Says whether it did.
    pub(crate) fn corrupt(&mut self, from: RouterId, to: RouterId, bytes: &mut [u8]) -> bool {
        let permille = self.conditions(from, to).corrupt_permille;
        let is_corrupted = self.dice.chance(permille);
        if is_corrupted {
            self.counters.corrupted += 1;
            hostile::corrupt(&mut self.dice, bytes);
        }
        is_corrupted
    }

    /// Flips bits of a stream's bytes under way, which TCP's checksum did not notice.
    pub(crate) fn flip(&mut self, bytes: &mut [u8]) {
        self.counters.flipped += 1;
        hostile::corrupt(&mut self.dice, bytes);
    }

    /// Counts a datagram to an address that nobody has.
    pub(crate) fn count_unreachable(&mut self) {
        self.counters.sent += 1;
        self.counters.unreachable += 1;
    }

    /// How long a segment of a stream is under way; none when it is lost. Streams have small segments (a
    /// maximum segment size of 1,200), so the MTU doesn't matter to them.
    pub(crate) fn segment(&mut self, from: RouterId, to: RouterId) -> Option<Duration> {
        let way = self.conditions(from, to);
        if way.cut || self.is_lost(from, to, way.loss) {
            return None;
        }
        Some(way.latency + self.dice.duration(way.jitter))
    }

    fn is_lost(&mut self, from: RouterId, to: RouterId, loss: Loss) -> bool {
        match loss {
            Loss::None => false,
            Loss::Random { permille } => self.dice.chance(permille),
            Loss::Bursts {
                enter_permille,
                leave_permille,
                bad_permille,
            } => {
                let Some(direction) = self.directions.get_mut(&(from, to)) else {
                    return false;
                };
                let turns = self.dice.chance(if direction.bad {
                    leave_permille
                } else {
                    enter_permille
                });
                direction.bad ^= turns;
                direction.bad && self.dice.chance(bad_permille)
            }
        }
    }

    fn in_order(&mut self, from: RouterId, to: RouterId, arrival: Duration) -> Duration {
        let direction = self.direction_mut(from, to);
        direction.last_arrival = direction.last_arrival.max(arrival);
        direction.last_arrival
    }

    fn partition(&mut self, group: &BTreeSet<RouterId>, routers: usize) {
        for inside in group {
            for outside in (0..routers)
                .map(RouterId)
                .filter(|router| !group.contains(router))
            {
                self.change(*inside, outside, |way| way.cut = true);
            }
        }
    }

    fn change(&mut self, a: RouterId, b: RouterId, change: impl Fn(&mut Conditions)) {
        change(&mut self.direction_mut(a, b).now);
        change(&mut self.direction_mut(b, a).now);
    }

    fn heal(&mut self, from: RouterId, to: RouterId) {
        if let Some(direction) = self.directions.get_mut(&(from, to)) {
            direction.now = direction.normal;
            direction.bad = false;
        }
    }

    fn direction_mut(&mut self, from: RouterId, to: RouterId) -> &mut Direction {
        let normal = self.normal;
        self.directions.entry((from, to)).or_insert(Direction {
            normal,
            now: normal,
            bad: false,
            last_arrival: Duration::ZERO,
        })
    }
}

/// Where a machine sends from: its first address of the other end's family.
pub(crate) fn source_address(own: &[IpAddr], port: u16, to: SocketAddr) -> Option<SocketAddr> {
    own.iter()
        .find(|address| address.is_ipv4() == to.is_ipv4())
        .map(|address| SocketAddr::new(*address, port))
}

#[cfg(test)]
mod tests;
