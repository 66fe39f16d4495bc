//! No black hole: beacons between containers arrive unless the network, or a fault shortly before, is to blame.
//!
//! The network is a graph: an *edge* between two routers that run and between which datagrams pass both ways. An
//! edge counts from the time on by which the routers must have made a usable link of it; a pair of routers is
//! *settled* from the time on when a path of such edges connects them and the last fault is long enough ago.
//! Each beacon sent while its pair is settled must arrive within [`DELIVERY_MAX`], unless a fault comes in
//! between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::sim::host::Beacon;

/// The longest that a frame is under way: some hops of slow network, and a wait for a tunnel.
const DELIVERY_MAX: Duration = Duration::from_millis(500);

/// How long frames of full size may be lost after routes or paths changed, beyond small ones: TCP never stalls for more
/// than three seconds (design.md section 4).
const MTU_SEARCH: Duration = Duration::from_secs(3);

/// What kind of change came over the network: says how long routers may take over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sim) enum FaultKind {
    /// The world began.
    Start,
    /// A machine started.
    Restart,
    /// Something broke that both ends of a link see: they have a second.
    Break,
    /// Something broke in one direction: one end has to tell the other.
    OneWay,
    /// Something was put right.
    Heal,
    /// Nothing broke, but a link may be slower or doubled from now on.
    Change,
    /// A stream is no longer readable: no frame is lost to that, but news of other faults may wait until another
    /// stream stands.
    Stream,
}

impl FaultKind {
    /// How long beacons between routers that stay connected may be lost (design.md section 7): a second where
    /// frames flowed (active), two for a one-way cut; four where links were idle.
    fn patience(self, active: bool) -> Duration {
        match (self, active) {
            (Self::Start, _) => Self::NEW_LINK,
            // 6 s until the loss is sure, and a dial.
            (Self::Stream, _) => Duration::from_secs(8),
            (_, false) => Duration::from_secs(4),
            (Self::OneWay, true) => Duration::from_secs(2),
            (Self::Change | Self::Heal | Self::Break | Self::Restart, true) => {
                Duration::from_secs(1)
            }
        }
    }

    /// How long routers may take until an edge that came (back) into being is a usable link; `flapping` where it
    /// did so before.
    fn new_edge(self, flapping: bool) -> Duration {
        match (self, flapping) {
            // Dialled at once; the first probe that is answered brings it up.
            (Self::Start | Self::Restart, _) => Self::NEW_LINK,
            // Dialled each 3 s at the latest; or, where the link stood through, probed each second until five
            // probes in a row were answered.
            (_, false) => Duration::from_secs(7),
            // The same, after having been held down for up to 8 s.
            (_, true) => Duration::from_secs(15),
        }
    }

    /// From the start of a router until its links carry frames.
    const NEW_LINK: Duration = Duration::from_secs(2);
}

/// What else about the network decides what routers can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sim) struct Ways {
    /// Frames flow over every link: each router has a container, and no way is shorter by a detour. Otherwise a
    /// route may move to a link that was idle, and broke unnoticed.
    pub(in crate::sim) are_used: bool,
    /// Where datagrams are lost by chance.
    pub(in crate::sim) loss: LossyWays,
    /// Edges that routers may avoid, for they were lossy, slow or cut not long ago.
    pub(in crate::sim) avoided: BTreeSet<Edge>,
}

/// Where datagrams are lost by chance. Such a way is no edge, but may well be on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::sim) enum LossyWays {
    /// Nowhere.
    #[default]
    None,
    /// Somewhere, and every way is equally long: who has an edge uses that, unless it was worse before.
    Detours,
    /// Somewhere, and it may be on any route.
    Anywhere,
}

/// Two routers between which datagrams pass both ways, without loss; the smaller number first.
pub(in crate::sim) type Edge = (usize, usize);

/// Keeps book of edges, pairs and beacons under way.
#[derive(Debug, Default)]
pub(in crate::sim) struct BlackHoles {
    /// From when on an edge counts.
    edges: BTreeMap<Edge, Duration>,
    /// How often an edge came into being.
    comings: BTreeMap<Edge, u32>,
    /// The newest fault, and how long after it beacons may be lost.
    faulted_at: Duration,
    patience: Duration,
    loss: LossyWays,
    /// Where it is [`LossyWays::Detours`], edges that may not be used.
    avoided: BTreeSet<Edge>,
    /// Hostile members: frames that must cross one may be lost.
    hostile: BTreeSet<usize>,
    /// Routers with containers that send beacons.
    watched: BTreeSet<usize>,
    /// From when on a pair of watched routers is settled; pairs that aren't connected are not in it.
    settled: BTreeMap<Edge, Duration>,
    /// Beacons under way, with the time of sending and the pair of routers.
    under_way: BTreeMap<Beacon, (Duration, Edge)>,
    delivered: u64,
}

impl BlackHoles {
    /// Beacons go from or to this router from now on.
    pub(in crate::sim) fn watch(&mut self, router: usize) {
        self.watched.insert(router);
        self.settle();
    }

    /// This router is a hostile member from now on.
    pub(in crate::sim) fn distrust(&mut self, router: usize) {
        self.hostile.insert(router);
        self.settle();
    }

    /// The network changed; `edges` are those there are now. Gives what was lost before.
    pub(in crate::sim) fn faulted(
        &mut self,
        at: Duration,
        kind: FaultKind,
        edges: impl IntoIterator<Item = Edge>,
        ways: Ways,
    ) -> Vec<String> {
        let lost = self.tick(at);
        // What is under way may be lost to this fault.
        self.under_way.clear();
        let active = ways.are_used
            && !self.settled.is_empty()
            && self.settled.values().all(|from| *from <= at);
        let before = std::mem::take(&mut self.edges);
        for edge in edges {
            let from = before.get(&edge).copied().unwrap_or_else(|| {
                let count = self.comings.entry(edge).or_insert(0);
                *count += 1;
                at + kind.new_edge(*count > 2)
            });
            self.edges.insert(edge, from);
        }
        let until = (self.faulted_at + self.patience).max(at + kind.patience(active));
        self.faulted_at = at;
        self.patience = until - at;
        self.loss = ways.loss;
        self.avoided = ways.avoided;
        self.settle();
        lost
    }

    /// A beacon went in at the port of its sender's router.
    pub(in crate::sim) fn sent(&mut self, at: Duration, beacon: Beacon, from: usize, to: usize) {
        self.under_way
            .insert(beacon, (at, (from.min(to), from.max(to))));
    }

    /// A container moves: what is under way to it, or from it, may be lost.
    pub(in crate::sim) fn excuse(&mut self, host: usize) {
        self.under_way
            .retain(|beacon, _| usize::from(beacon.from) != host && usize::from(beacon.to) != host);
    }

    /// A beacon came out at its receiver's router.
    pub(in crate::sim) fn delivered(&mut self, beacon: Beacon) {
        if self.under_way.remove(&beacon).is_some() {
            self.delivered += 1;
        }
    }

    /// Judges beacons that are late. Gives a sentence for each that should have arrived.
    pub(in crate::sim) fn tick(&mut self, at: Duration) -> Vec<String> {
        let late: Vec<_> = self
            .under_way
            .iter()
            .filter(|(_, (sent, _))| *sent + DELIVERY_MAX <= at)
            .map(|(beacon, (sent, pair))| (*beacon, *sent, *pair))
            .collect();
        let mut lost = Vec::new();
        for (beacon, sent, pair) in late {
            self.under_way.remove(&beacon);
            // Who sends large frames may have to find a new path MTU first.
            let search = if beacon.is_large() {
                MTU_SEARCH
            } else {
                Duration::ZERO
            };
            if self.is_settled(pair, sent.saturating_sub(search)) {
                let what = match (beacon.is_large(), beacon.answer) {
                    (false, false) => "beacon",
                    (false, true) => "answer",
                    (true, false) => "large beacon",
                    (true, true) => "large answer",
                };
                let fault = (sent - self.faulted_at.min(sent)).as_secs_f64();
                lost.push(format!(
                    "{what} {} of hosts {} and {} was lost between routers {} and {}, sent at {:.3} s, {fault:.3} s after the last fault",
                    beacon.sequence, beacon.from, beacon.to, pair.0, pair.1, sent.as_secs_f64(),
                ));
            }
        }
        lost
    }

    /// Whether beacons between two routers that are sent at `at` must arrive.
    pub(in crate::sim) fn is_settled(&self, (a, b): Edge, at: Duration) -> bool {
        a == b || self.settled.get(&(a, b)).is_some_and(|from| *from <= at)
    }

    /// Whether a path connects two routers, watched or not: yes or no where routers must have noticed, none while
    /// they need not.
    pub(in crate::sim) fn is_connected(&self, a: usize, b: usize, at: Duration) -> Option<bool> {
        let is_calm = self.faulted_at + self.patience <= at;
        let is_hostile = |(x, y): &Edge| self.hostile.contains(x) || self.hostile.contains(y);
        if self.reaches(a, b, |edge, from| from <= at && !is_hostile(edge)) {
            is_calm.then_some(true)
        } else {
            (is_calm && !self.reaches(a, b, |_, _| true)).then_some(false)
        }
    }

    fn reaches(&self, a: usize, b: usize, counts: impl Fn(&Edge, Duration) -> bool) -> bool {
        let mut reached = BTreeSet::from([a]);
        loop {
            let more: Vec<usize> = self
                .edges
                .iter()
                .filter(|(edge, from)| {
                    counts(edge, **from) && reached.contains(&edge.0) != reached.contains(&edge.1)
                })
                .flat_map(|((x, y), _)| [*x, *y])
                .collect();
            if more.is_empty() {
                return reached.contains(&b);
            }
            reached.extend(more);
        }
    }

    /// Beacons and answers that arrived.
    pub(in crate::sim) fn count(&self) -> u64 {
        self.delivered
    }

    /// Works out from when on each pair is connected: edges are added in the order in which they begin to count.
    fn settle(&mut self) {
        self.settled.clear();
        let calm = self.faulted_at + self.patience;
        match self.loss {
            LossyWays::None if self.watched.len() >= 2 => {}
            LossyWays::None | LossyWays::Anywhere => return,
            LossyWays::Detours => {
                let direct = self.edges.iter().filter(|(edge, _)| {
                    let are_watched =
                        self.watched.contains(&edge.0) && self.watched.contains(&edge.1);
                    let has_hostile =
                        self.hostile.contains(&edge.0) || self.hostile.contains(&edge.1);
                    are_watched && !has_hostile && !self.avoided.contains(edge)
                });
                self.settled = direct
                    .map(|(edge, from)| (*edge, (*from).max(calm)))
                    .collect();
                return;
            }
        }
        let routers = self
            .edges
            .keys()
            .map(|edge| edge.1)
            .chain(self.watched.iter().copied())
            .max()
            .unwrap_or(0)
            + 1;
        let mut group: Vec<usize> = (0..routers).collect();
        let mut members: Vec<Vec<usize>> = (0..routers)
            .map(|router| {
                if self.watched.contains(&router) {
                    vec![router]
                } else {
                    Vec::new()
                }
            })
            .collect();
        let mut edges: Vec<(Duration, Edge)> = self
            .edges
            .iter()
            .map(|(edge, from)| (*from, *edge))
            .collect();
        edges.sort();
        for (from, (a, b)) in edges {
            let (a, b) = (group[a], group[b]);
            if a == b {
                continue;
            }
            for left in &members[a] {
                for right in &members[b] {
                    self.settled
                        .insert((*left.min(right), *left.max(right)), from.max(calm));
                }
            }
            let moved = std::mem::take(&mut members[b]);
            members[a].extend(moved);
            for of in &mut group {
                if *of == b {
                    *of = a;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beacon_lost_in_a_settled_network_is_found() {
        let mut holes = line();
        holes.sent(at(5_000), beacon(1), 0, 2);
        assert!(holes.tick(at(5_400)).is_empty(), "it may still come");
        assert_eq!(holes.tick(at(5_500)).len(), 1);
        assert!(holes.tick(at(6_000)).is_empty(), "found once");
    }

    #[test]
    fn a_beacon_that_arrives_is_well() {
        let mut holes = line();
        holes.sent(at(5_000), beacon(1), 0, 2);
        holes.delivered(beacon(1));
        assert!(holes.tick(at(9_000)).is_empty());
        assert_eq!(holes.count(), 1);
    }

    #[test]
    fn a_fault_excuses_what_is_under_way_and_what_follows_for_a_second() {
        let mut holes = triangle();
        holes.sent(at(5_000), beacon(1), 0, 2);
        assert!(
            holes
                .faulted(at(5_100), FaultKind::Break, [(0, 1), (1, 2)], USED)
                .is_empty()
        );
        holes.sent(at(6_000), beacon(2), 0, 2);
        assert!(holes.tick(at(8_000)).is_empty());
        holes.sent(at(6_100), beacon(3), 0, 2);
        assert_eq!(holes.tick(at(8_000)).len(), 1);
    }

    #[test]
    fn a_second_fault_before_the_first_is_over_gives_the_time_of_idle_links() {
        let mut holes = triangle();
        holes.faulted(at(5_000), FaultKind::Break, [(0, 1), (1, 2)], USED);
        holes.faulted(at(5_500), FaultKind::Change, [(0, 1), (1, 2)], USED);
        assert!(!holes.is_settled((0, 2), at(9_400)));
        assert!(holes.is_settled((0, 2), at(9_500)));
    }

    #[test]
    fn links_without_frames_have_four_seconds() {
        let mut holes = triangle();
        holes.faulted(
            at(5_000),
            FaultKind::Break,
            [(0, 1), (1, 2)],
            Ways {
                are_used: false,
                ..USED
            },
        );
        assert!(!holes.is_settled((0, 2), at(8_900)));
        assert!(holes.is_settled((0, 2), at(9_000)));
    }

    #[test]
    fn who_is_cut_off_may_lose_everything_until_a_healed_edge_counts() {
        let mut holes = line();
        holes.faulted(at(5_000), FaultKind::Break, [(0, 1)], USED);
        assert!(!holes.is_settled((0, 2), at(60_000)));
        holes.faulted(at(60_000), FaultKind::Heal, [(0, 1), (1, 2)], USED);
        assert!(!holes.is_settled((0, 2), at(66_900)));
        assert!(holes.is_settled((0, 2), at(67_000)));
        // Once more, and it flaps.
        holes.faulted(at(70_000), FaultKind::Break, [(0, 1)], USED);
        holes.faulted(at(71_000), FaultKind::Heal, [(0, 1), (1, 2)], USED);
        assert!(!holes.is_settled((0, 2), at(85_900)));
        assert!(holes.is_settled((0, 2), at(86_000)));
    }

    #[test]
    fn a_detour_over_an_old_edge_counts_before_a_new_one_does() {
        let mut holes = line();
        holes.faulted(at(5_000), FaultKind::Heal, [(0, 1), (1, 2), (0, 2)], USED);
        assert!(
            holes.is_settled((0, 2), at(6_000)),
            "0 and 2 stay connected by 1"
        );
    }

    #[test]
    fn while_a_way_is_lossy_only_edges_of_their_own_are_judged() {
        let mut holes = triangle();
        let edges = [(0, 1), (1, 2)];
        holes.faulted(
            at(5_000),
            FaultKind::Break,
            edges,
            lossy(LossyWays::Detours),
        );
        assert!(!holes.is_settled((0, 2), at(60_000)));
        holes.watch(1);
        assert!(holes.is_settled((0, 1), at(6_000)));
        assert!(holes.is_settled((1, 2), at(6_000)));
        let healed = Ways {
            avoided: [(1, 2)].into(),
            ..lossy(LossyWays::Detours)
        };
        holes.faulted(at(50_000), FaultKind::Break, edges, healed);
        assert!(holes.is_settled((0, 1), at(60_000)));
        assert!(!holes.is_settled((1, 2), at(60_000)), "it was lossy before");
        holes.faulted(
            at(60_000),
            FaultKind::Break,
            edges,
            lossy(LossyWays::Anywhere),
        );
        assert!(!holes.is_settled((0, 1), at(90_000)));
    }

    /// 0 - 1 - 2, watched at both ends, settled from 2 s on.
    fn line() -> BlackHoles {
        network(&[(0, 1), (1, 2)])
    }

    fn triangle() -> BlackHoles {
        network(&[(0, 1), (1, 2), (0, 2)])
    }

    fn network(edges: &[Edge]) -> BlackHoles {
        let mut holes = BlackHoles::default();
        holes.watch(0);
        holes.watch(2);
        holes.faulted(
            Duration::ZERO,
            FaultKind::Start,
            edges.iter().copied(),
            USED,
        );
        assert!(!holes.is_settled((0, 2), at(1_900)));
        assert!(holes.is_settled((0, 2), at(2_000)));
        holes
    }

    const USED: Ways = Ways {
        are_used: true,
        loss: LossyWays::None,
        avoided: BTreeSet::new(),
    };

    fn lossy(loss: LossyWays) -> Ways {
        Ways { loss, ..USED }
    }

    fn beacon(sequence: u32) -> Beacon {
        Beacon {
            from: 0,
            to: 1,
            sequence,
            answer: false,
        }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}
