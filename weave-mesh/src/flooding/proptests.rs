//! Stores that flood to each other under random delivery and loss of streams end up equal.

use std::collections::{BTreeSet, VecDeque};
use std::sync::OnceLock;
use std::time::Instant;

use proptest::prelude::*;
use weave_crypto::{Identity, NetworkId};

use super::*;
use crate::mesh::tests_base;
use crate::record::{Body, LinksBody, Record};
use crate::store::Inserted;

const ROUTERS: usize = 4;
const VERSIONS: u64 = 4;

/// A router with a queue towards each other one, if the stream between the two stands.
struct Router {
    store: Store,
    floodings: Vec<Flooding>,
    queues: Vec<VecDeque<Control>>,
}

#[derive(Clone, Debug)]
enum Step {
    /// A router says something new of itself.
    Publish(usize),
    /// One message arrives.
    Deliver(usize, usize),
    /// A stream and all on it is gone; a new one starts at once.
    Break(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let router = 0..ROUTERS;
    let step = prop_oneof![
        2 => router.clone().prop_map(Step::Publish),
        8 => (router.clone(), router.clone()).prop_map(|(from, to)| Step::Deliver(from, to)),
        1 => (router.clone(), router).prop_map(|(from, to)| Step::Break(from, to)),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn stores_converge(steps in steps(), ring in any::<bool>()) {
        let now = tests_base();
        let mut versions = [0; ROUTERS];
        let mut routers: Vec<Router> = (0..ROUTERS).map(|_| Router {
            store: Store::new(PeerId::from_bytes([0; 32])),
            floodings: (0..ROUTERS).map(|_| Flooding::default()).collect(),
            queues: (0..ROUTERS).map(|_| VecDeque::new()).collect(),
        }).collect();
        let is_linked = |a: usize, b: usize| {
            let distance = a.abs_diff(b);
            distance == 1 || (ring && distance == ROUTERS - 1)
        };
        for step in steps {
            match step {
                Step::Publish(at) if versions[at] < VERSIONS => {
                    versions[at] += 1;
                    take(&mut routers[at], now, None, record(at, versions[at]));
                }
                Step::Publish(_) => {}
                Step::Deliver(from, to) => deliver(&mut routers, now, from, to),
                Step::Break(a, b) if a != b => {
                    for (from, to) in [(a, b), (b, a)] {
                        routers[from].queues[to].clear();
                        routers[from].floodings[to].restart();
                    }
                }
                Step::Break(..) => {}
            }
            pump(&mut routers, &is_linked);
        }
        // What is offered and not acknowledged is on its way; in the end all of it arrives.
        while routers.iter().any(|router| router.queues.iter().any(|queue| !queue.is_empty())) {
            for from in 0..ROUTERS {
                for to in 0..ROUTERS {
                    deliver(&mut routers, now, from, to);
                    pump(&mut routers, &is_linked);
                }
            }
        }
        let all: BTreeSet<PeerId> = routers[0].store.origins().collect();
        for router in &mut routers {
            router.store.set_reachable(now, &all);
        }
        for (at, router) in routers.iter().enumerate() {
            for (origin, version) in versions.iter().enumerate() {
                let held = router.store.record(&record(origin, 1).origin(), RecordKind::Links);
                prop_assert_eq!(held.map(|held| held.seq() & 0xFF), (*version > 0).then_some(*version));
            }
            prop_assert_eq!(router.store.digest(), routers[0].store.digest());
            for to in (0..ROUTERS).filter(|to| is_linked(at, *to)) {
                prop_assert!(router.floodings[to].is_idle());
            }
        }
    }
}

fn take(router: &mut Router, now: Instant, via: Option<usize>, record: Record) {
    let key = record.key();
    if router.store.insert(now, record) == Inserted::Newer {
        for (to, flooding) in router.floodings.iter_mut().enumerate() {
            if via != Some(to) {
                flooding.offer(key.origin, key.kind);
            }
        }
    }
    if let Some(via) = via {
        router.floodings[via].has(key, &router.store);
    }
}

fn deliver(routers: &mut [Router], now: Instant, from: usize, to: usize) {
    match routers[from].queues[to].pop_front() {
        Some(Control::Records(records)) => {
            let count = u32::try_from(records.len()).unwrap();
            for bytes in records {
                take(
                    &mut routers[to],
                    now,
                    Some(from),
                    Record::parse(&bytes.0).unwrap(),
                );
            }
            routers[to].queues[from].push_back(Control::Acknowledge(count));
        }
        Some(Control::Acknowledge(count)) => {
            assert!(routers[to].floodings[from].acknowledge(count))
        }
        Some(other) => panic!("{other:?}"),
        None => {}
    }
}

fn pump(routers: &mut [Router], is_linked: &dyn Fn(usize, usize) -> bool) {
    for (from, router) in routers.iter_mut().enumerate() {
        for to in (0..ROUTERS).filter(|to| is_linked(from, *to)) {
            while let Some(message) = router.floodings[to].next_message(&router.store) {
                router.queues[to].push_back(message);
            }
        }
    }
}

/// Signed once for all cases.
fn record(origin: usize, version: u64) -> Record {
    static RECORDS: OnceLock<Vec<Record>> = OnceLock::new();
    let records = RECORDS.get_or_init(|| {
        let mut records = Vec::new();
        for origin in 0..ROUTERS {
            let identity = Identity::from_seed([u8::try_from(origin).unwrap() + 1; 32]);
            for version in 1..=VERSIONS {
                let body = Body::Links(LinksBody {
                    boot_id: 1,
                    links: Vec::new(),
                });
                let network = NetworkId::from_name("flooding");
                records.push(Record::sign(&identity, &network, version, body).unwrap());
            }
        }
        records
    });
    let index = origin * usize::try_from(VERSIONS).unwrap() + usize::try_from(version).unwrap() - 1;
    records[index].clone()
}
