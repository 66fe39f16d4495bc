use proptest::prelude::*;

use super::*;
use crate::Carrier;

fn id(number: usize) -> PeerId {
    PeerId::from_bytes([number as u8 + 1; 32])
}

/// The links of one router in a graph given by its edges.
fn links(edges: &BTreeSet<(usize, usize)>, of: usize) -> LinksBody {
    let neighbours: BTreeSet<PeerId> = edges
        .iter()
        .filter(|(a, b)| a != b && (*a == of || *b == of))
        .map(|(a, b)| id(if *a == of { *b } else { *a }))
        .collect();
    let entry = |neighbour| LinkEntry {
        neighbour,
        cost: 3_000,
        path_mtu_bytes: 1_200,
        carrier: Carrier::Udp,
    };
    LinksBody {
        boot_id: 1,
        links: neighbours.into_iter().map(entry).collect(),
    }
}

proptest! {
    #[test]
    fn a_router_two_links_from_an_origin_is_told_by_a_few_of_those_between(
        edges in proptest::collection::btree_set((0..12_usize, 0..12_usize), 0..60),
        origin in 0..12_usize,
        peer in 0..12_usize,
    ) {
        let (of_origin, of_peer) = (links(&edges, origin), links(&edges, peer));
        prop_assume!(origin != peer && !of_origin.lists(&id(peer)));
        let between: Vec<usize> = (0..12)
            .filter(|other| of_origin.lists(&id(*other)) && of_peer.lists(&id(*other)))
            .collect();
        let tells = |own: &usize| !others_tell(&id(*own), &of_origin, &of_peer, &id(peer));
        let tellers = between.iter().filter(|own| tells(own)).count();
        prop_assert_eq!(tellers, between.len().min(TELLERS));
        // Those that are no neighbours of the origin tell it only where there are few others.
        for own in (0..12).filter(|own| of_peer.lists(&id(*own)) && !between.contains(own)) {
            prop_assert_eq!(tells(&own), between.len() < TELLERS);
        }
    }
}

#[test]
fn a_record_may_follow_at_once_but_not_for_ever() {
    let start = super::super::tests_base();
    let body = Body::Links(links(&BTreeSet::new(), 0));
    let mut publisher = Publisher::new();
    let mut now = start;
    let mut times = Vec::new();
    while now < start + Duration::from_secs(20) {
        publisher.is_stale = true;
        if publisher.is_due(now, 200) {
            publisher.published(now, 200, body.clone());
            times.push(now - start);
        }
        now += Duration::from_millis(10);
    }
    assert_eq!(times[..3], [0, 100, 200].map(Duration::from_millis));
    // 400 ms each in a network of 200, and the burst.
    assert!((50..=54).contains(&times.len()), "{}", times.len());
}
