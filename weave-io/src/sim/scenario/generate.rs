//! Scenarios by chance: the same strategy for proptest, which shrinks what fails, and for mass runs by number.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{Scenario, Step};
use crate::sim::fault::Fault;
use crate::sim::{Mischief, NatBehaviour, NatKind, RouterId};

/// Routers of the scenarios from [`Scenario::from_seed`].
const ROUTERS_MAX: usize = 12;
/// Faults in one scenario.
pub(super) const FAULTS_MAX: usize = 6;
/// MTUs of ways, bytes of UDP payload: from what every path takes to that of a local network.
pub(super) const MTU_BYTES: RangeInclusive<usize> = 1_200..=1_472;
/// Datagrams of strangers in a second.
pub(super) const DATAGRAMS_MAX: u16 = 1_000;
/// Connections of strangers in a second: more than may be half-open.
pub(super) const STRANGERS_MAX: u16 = 300;
/// Until all routers know each other: links of links are dialled at once or after 1.5 s.
const SETTLE: Duration = Duration::from_secs(5);
/// After the last fault: the checkers' longest patience, and some beacons more.
const QUIET: Duration = Duration::from_secs(18);

impl Scenario {
    /// The scenario of a number, for mass runs: the same number gives the same scenario as long as generator and
    /// strategy are the same. What failed is kept as text, which doesn't depend on them.
    pub fn from_seed(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config = Config {
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, rng);
        let tree = scenarios(ROUTERS_MAX)
            .new_tree(&mut runner)
            .expect("nothing is filtered, so nothing is refused");
        Self {
            seed,
            ..tree.current()
        }
    }
}

/// Scenarios of 2 to `routers_max` routers: any connected graph of who knows whom, containers on most routers,
/// and up to six faults. They shrink to fewer routers and fewer, simpler faults.
pub fn scenarios(routers_max: usize) -> impl Strategy<Value = Scenario> {
    // Work grows with the square, and most faults show among a few.
    let routers_max = routers_max.max(2);
    let routers = prop_oneof![3 => 2..=routers_max.min(6), 1 => 2..=routers_max];
    (routers, any::<u64>()).prop_flat_map(|(routers, seed)| {
        let trees = proptest::collection::vec(any::<prop::sample::Index>(), routers - 1);
        let more = proptest::collection::vec((0..routers, 0..routers), 0..=routers / 2);
        let hosts = prop_oneof![
            3 => Just((0..routers).map(RouterId).collect::<BTreeSet<_>>()),
            1 => proptest::collection::btree_set((0..routers).prop_map(RouterId), 2..=routers),
        ];
        let nats = prop_oneof![
            1 => Just(Vec::new()),
            1 => nats(routers),
        ];
        let latencies = prop_oneof![
            3 => Just(BTreeMap::new()),
            1 => proptest::collection::btree_map(pairs(routers), micros(500, 20_000), 0..=routers),
        ];
        let transfers = proptest::collection::vec((pairs(routers), 1..200_000_u64), 0..=1);
        // One after the other, or into a network that has settled again.
        let delay = || prop_oneof![1 => millis(50, 1_000), 2 => millis(1_500, 7_000)];
        // Without noise the checkers are at their strictest.
        let clear = proptest::collection::vec((delay(), breakage(routers)), 0..=FAULTS_MAX);
        let either = prop_oneof![1 => breakage(routers), 1 => noise(routers)];
        let noisy = proptest::collection::vec((delay(), either), 0..=FAULTS_MAX);
        let faults = prop_oneof![2 => clear, 1 => noisy];
        (
            Just((routers, seed)),
            trees,
            more,
            (nats, hosts),
            latencies,
            transfers,
            faults,
        )
            .prop_map(
                |((routers, seed), trees, more, (nats, hosts), latencies, transfers, faults)| {
                    let parents = trees.iter().enumerate();
                    let parents = parents.map(|(index, parent)| parent.index(index + 1));
                    let parents: Vec<usize> = parents.collect();
                    Scenario {
                        seed,
                        routers,
                        knows: acquaintances(&nats, &parents, &more),
                        nats,
                        hosts,
                        latencies,
                        steps: timed(transfers, faults),
                    }
                },
            )
    })
}

/// Who is told of whom: a tree, so that everybody hears of everybody, by the `parents` of all but the first, and `more`
/// pairs.
pub(super) fn acquaintances(
    nats: &[(BTreeSet<RouterId>, NatKind)],
    parents: &[usize],
    more: &[(usize, usize)],
) -> BTreeSet<(RouterId, RouterId)> {
    let tree = parents
        .iter()
        .enumerate()
        .map(|(index, parent)| dialable(nats, RouterId(index + 1), RouterId(*parent)));
    let more = more
        .iter()
        .filter(|(a, b)| a != b)
        .map(|(a, b)| (RouterId(*a), RouterId(*b)));
    tree.chain(more).collect()
}

/// Transfers and faults in order, after all have met, and a quiet time before the end.
pub(super) fn timed(
    transfers: Vec<((RouterId, RouterId), u64)>,
    faults: Vec<(Duration, Fault)>,
) -> Vec<(Duration, Step)> {
    let transfers = transfers
        .into_iter()
        .map(|((from, to), bytes)| (Duration::ZERO, Step::Transfer { from, to, bytes }));
    let faults = faults
        .into_iter()
        .map(|(delay, fault)| (delay, Step::Fault(fault)));
    let mut steps: Vec<(Duration, Step)> = transfers.chain(faults).collect();
    if let Some((delay, _)) = steps.first_mut() {
        *delay += SETTLE;
    }
    steps.push((QUIET, Step::End));
    steps
}

/// One or two NAT boxes, with any of so many routers behind them but the first: somebody has to be reachable.
fn nats(routers: usize) -> impl Strategy<Value = Vec<(BTreeSet<RouterId>, NatKind)>> {
    let behaviour = || prop::sample::select(NatBehaviour::ALL.to_vec());
    let timeout = prop_oneof![2 => Just(NatKind::TIMEOUT), 1 => millis(5_000, 30_000)];
    let kind =
        (behaviour(), behaviour(), timeout).prop_map(|(mapping, filtering, timeout)| NatKind {
            mapping,
            filtering,
            timeout,
        });
    let places = proptest::collection::vec(0..4_usize, routers - 1);
    (places, [kind.clone(), kind]).prop_map(|(places, kinds)| {
        let behind = |nat: usize| {
            let inside = places
                .iter()
                .enumerate()
                .filter(|(_, place)| **place == nat);
            inside.map(|(index, _)| RouterId(index + 1)).collect()
        };
        let nats = kinds.into_iter().enumerate();
        nats.map(|(nat, kind)| (behind(nat), kind))
            .filter(|(inside, _): &(BTreeSet<RouterId>, NatKind)| !inside.is_empty())
            .collect()
    })
}

/// Who dials whom of two: from inside a NAT box outwards, and where both are inside different ones, the first router.
fn dialable(
    nats: &[(BTreeSet<RouterId>, NatKind)],
    a: RouterId,
    b: RouterId,
) -> (RouterId, RouterId) {
    let of = |router| nats.iter().position(|(inside, _)| inside.contains(&router));
    match (of(a), of(b)) {
        (_, None) => (a, b),
        (None, Some(_)) => (b, a),
        (Some(nat), Some(other)) if nat == other => (a, b),
        (Some(_), Some(_)) => (a, RouterId(0)),
    }
}

/// Something between so many routers breaks, or is put right again, about as often.
fn breakage(routers: usize) -> impl Strategy<Value = Fault> {
    let router = (0..routers).prop_map(RouterId);
    let group =
        proptest::collection::btree_set((0..routers).prop_map(RouterId), 1..=(routers / 2).max(1));
    prop_oneof![
        6 => pairs(routers).prop_map(|(a, b)| Fault::Cut(a, b)),
        2 => (pairs(routers), any::<bool>()).prop_map(|((a, b), turn)| {
            if turn { Fault::CutOneWay(b, a) } else { Fault::CutOneWay(a, b) }
        }),
        2 => pairs(routers).prop_map(|(a, b)| Fault::BlockUdp(a, b)),
        3 => Just(Fault::HealAll),
        2 => pairs(routers).prop_map(|(a, b)| Fault::Heal(a, b)),
        2 => group.prop_map(Fault::Partition),
        3 => router.clone().prop_map(Fault::Crash),
        1 => router.clone().prop_map(Fault::PowerOff),
        4 => router.clone().prop_map(Fault::Restart),
        2 => router.clone().prop_map(Fault::NatRebind),
        2 => pairs(routers).prop_map(|(a, b)| Fault::FlipStream(a, b)),
        3 => (pairs(routers), MTU_BYTES).prop_map(|((a, b), bytes)| Fault::Mtu(a, b, bytes)),
        4 => (pairs(routers), any::<bool>(), any::<bool>()).prop_map(|((a, b), turn, announces)| {
            let (from, to) = if turn { (b, a) } else { (a, b) };
            if announces { Fault::Move(from, to) } else { Fault::MoveSilently(from, to) }
        }),
        3 => (router.clone(), 1..=DATAGRAMS_MAX).prop_map(|(a, count)| Fault::Hostile(a, count)),
        2 => (router.clone(), prop::sample::select(Mischief::ALL.to_vec()))
            .prop_map(|(a, mischief)| Fault::Misbehave(a, mischief)),
        3 => (router, 1..=STRANGERS_MAX).prop_map(|(a, count)| Fault::Strangers(a, count)),
    ]
}

/// A way between so many routers gets worse without breaking.
fn noise(routers: usize) -> impl Strategy<Value = Fault> {
    (
        pairs(routers),
        10..300_u16,
        1..50_u16,
        micros(100, 20_000),
        0..6,
    )
        .prop_map(|((a, b), permille, enter, delay, kind)| match kind {
            0 => Fault::Loss(a, b, permille),
            1 => Fault::Bursts(a, b, [enter, 10 * enter, 1000 - permille]),
            2 => Fault::Jitter(a, b, delay),
            3 => Fault::Reorder(a, b, permille),
            4 => Fault::Corrupt(a, b, permille),
            _ => Fault::Duplicate(a, b, permille),
        })
}

/// Two different routers, the smaller number first.
fn pairs(routers: usize) -> impl Strategy<Value = (RouterId, RouterId)> {
    (0..routers, 1..routers).prop_map(move |(a, step)| {
        let b = (a + step) % routers;
        (RouterId(a.min(b)), RouterId(a.max(b)))
    })
}

fn millis(from: u64, to: u64) -> impl Strategy<Value = Duration> {
    (from..to).prop_map(Duration::from_millis)
}

fn micros(from: u64, to: u64) -> impl Strategy<Value = Duration> {
    (from..to).prop_map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_fault_and_nat_box_is_generated() {
        let mut words = BTreeSet::new();
        let mut behaviours = BTreeSet::new();
        for number in 0..500 {
            let scenario = Scenario::from_seed(number);
            words.extend(scenario.steps.iter().filter_map(|(_, step)| {
                let text = step.to_string();
                text.split(' ').next().map(str::to_owned)
            }));
            behaviours.extend(
                scenario
                    .nats
                    .iter()
                    .map(|(_, kind)| (kind.mapping, kind.filtering)),
            );
        }
        let all = "block-udp bursts corrupt crash cut cut-one-way duplicate end flip-stream heal heal-all hostile \
                   jitter loss misbehave move move-silently mtu nat-rebind partition power-off reorder restart strangers transfer";
        assert_eq!(words.into_iter().collect::<Vec<_>>().join(" "), all);
        assert_eq!(behaviours.len(), 9);
    }
}
