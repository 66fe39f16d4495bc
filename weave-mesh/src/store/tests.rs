use std::collections::BTreeMap;

use proptest::prelude::*;
use weave_crypto::{Identity, NetworkId};

use super::*;
use crate::mesh::tests_base;
use crate::record::Body;

const ORIGINS: u8 = 3;

fn record(origin: u8, count: u64) -> Record {
    let identity = Identity::from_seed([origin + 1; 32]);
    let body = Body::Links(LinksBody {
        boot_id: 5,
        links: Vec::new(),
    });
    Record::sign(&identity, &NetworkId::from_name("store"), count, body).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u8, u64),
    Reachable(BTreeSet<u8>),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..ORIGINS, 1_u64..4).prop_map(|(origin, count)| Step::Insert(origin, count)),
        2 => proptest::collection::btree_set(0..ORIGINS, 0..4).prop_map(Step::Reachable),
        1 => (0_u64..700).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    #[test]
    fn store_behaves_as_a_naive_one(steps in steps()) {
        let mut now = tests_base();
        let own = Identity::from_seed([99; 32]).peer_id();
        let ids: Vec<PeerId> = (0..ORIGINS).map(|origin| record(origin, 1).origin()).collect();
        let mut store = Store::new(own);
        // By origin: newest count, and since when it is unreachable.
        let mut model: BTreeMap<PeerId, (u64, Option<Instant>)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert(origin, count) => {
                    let entry = model.entry(ids[usize::from(origin)]).or_insert((0, Some(now)));
                    let expected = match entry.0.cmp(&count) {
                        std::cmp::Ordering::Less => Inserted::Newer,
                        std::cmp::Ordering::Equal => Inserted::Known,
                        std::cmp::Ordering::Greater => Inserted::Older,
                    };
                    entry.0 = entry.0.max(count);
                    prop_assert_eq!(store.insert(now, record(origin, count)), expected);
                }
                Step::Reachable(origins) => {
                    let reachable: BTreeSet<PeerId> =
                        origins.iter().map(|origin| ids[usize::from(*origin)]).collect();
                    let mut appeared = Vec::new();
                    for (id, (_, since)) in &mut model {
                        if reachable.contains(id) {
                            if since.take().is_some() {
                                appeared.push(*id);
                            }
                        } else {
                            since.get_or_insert(now);
                        }
                    }
                    prop_assert_eq!(store.set_reachable(now, &reachable), appeared);
                }
                Step::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    let forgotten: Vec<PeerId> = model
                        .iter()
                        .filter(|(_, (_, since))| since.is_some_and(|at| now - at >= FORGET_AFTER))
                        .map(|(id, _)| *id)
                        .collect();
                    model.retain(|id, _| !forgotten.contains(id));
                    let is_due = store.next_forget(&|_| false).is_some_and(|at| at <= now);
                    prop_assert_eq!(is_due, !forgotten.is_empty());
                    prop_assert_eq!(store.forget_unreachable(now, &|_| false), forgotten);
                }
            }
            let held: Vec<Key> = (0..BUCKETS).flat_map(|bucket| store.lists(bucket)).flat_map(|list| list.2).collect();
            let expected: Vec<(PeerId, u64)> = model
                .iter()
                .filter(|(_, (_, since))| since.is_none())
                .map(|(id, (count, _))| (*id, 5 << 24 | count))
                .collect();
            prop_assert_eq!(
                held.iter().map(|key| (key.origin, key.seq)).collect::<Vec<_>>(),
                expected
            );
            prop_assert_eq!(store.len(), model.len());
        }
    }
}

#[test]
fn lists_of_a_full_store_cover_each_bucket_without_gaps() {
    let now = tests_base();
    let mut store = Store::new(PeerId::from_bytes([0; 32]));
    let template = record(0, 1);
    for index in 0..ORIGINS_MAX {
        let mut bytes = template.bytes().to_vec();
        bytes[..32].fill(0);
        // All in one bucket: the worst case.
        bytes[0] = 0x31;
        bytes[30..32].copy_from_slice(&u16::try_from(index).unwrap().to_be_bytes());
        let inserted = store.insert(now, Record::parse(&bytes).unwrap());
        assert_eq!(inserted, Inserted::Newer);
    }
    let extra = record(1, 1);
    assert_eq!(store.insert(now, extra.clone()), Inserted::Full);
    let later = now + Duration::from_secs(1);
    assert_eq!(
        store.insert(later, extra),
        Inserted::Newer,
        "the longest unreachable went"
    );
    assert_eq!(store.len(), ORIGINS_MAX);

    let all: BTreeSet<PeerId> = store.origins().collect();
    store.set_reachable(later, &all);
    let mut total = 0;
    for bucket in 0..BUCKETS {
        let lists = store.lists(bucket);
        let (first, last) = bucket_bounds(bucket);
        assert_eq!(lists.first().map(|list| list.0), Some(first));
        assert_eq!(lists.last().map(|list| list.1), Some(last));
        for pair in lists.windows(2) {
            assert_eq!(successor(&pair[0].1), pair[1].0);
        }
        for (first, last, keys) in &lists {
            assert!(keys.len() <= KEYS_MAX);
            assert!(
                keys.iter()
                    .all(|key| key.origin >= *first && key.origin <= *last)
            );
            total += keys.len();
        }
    }
    assert_eq!(total, ORIGINS_MAX);
}

#[test]
fn digests_tell_versions_apart() {
    let now = tests_base();
    let own = Identity::from_seed([1; 32]).peer_id();
    let mut stores = [Store::new(own), Store::new(own)];
    let [a, b] = &mut stores;
    assert_eq!(a.digest(), b.digest());
    a.insert(now, record(0, 1));
    assert_ne!(a.digest(), b.digest());
    b.insert(now, record(0, 1));
    assert_eq!(a.digest(), b.digest());
    b.insert(now, record(0, 2));
    let differing = (0..BUCKETS).filter(|bucket| a.buckets()[*bucket] != b.buckets()[*bucket]);
    assert_eq!(differing.count(), 1);
}
