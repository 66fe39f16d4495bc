//! Direct paths between the ends of a chain: who is in the middle is their neighbour, they are none of each other.

use std::net::SocketAddr;
use std::time::Duration;

use super::world::{LATENCY, World, base};
use crate::{
    ACTIVE_INTERVAL, CANDIDATES_MAX, DIRECT_PATHS_MAX, DirectEnd, Event, SEARCH_TIMEOUT, WakeReason,
};

#[test]
fn two_routers_behind_nats_find_each_other_when_both_probe() {
    let mut world = chain();
    world.nats.extend([0, 2]);
    meet(&mut world, 0, 2);
    world.run_ms(1_000);
    assert_eq!(
        remote(&world, 0, 2),
        None,
        "the other's NAT is shut while it sends nothing"
    );
    meet(&mut world, 2, 0);
    world.run_ms(300);
    assert_eq!(remote(&world, 0, 2), Some(world.nodes[2].udp));
    assert_eq!(remote(&world, 2, 0), Some(world.nodes[0].udp));
    let path = world.nodes[0].mesh.direct_path(&world.id(2)).unwrap();
    assert_eq!(path.rtt(), Some(LATENCY * 2));
    assert!(world.link(0, 2).is_none(), "it is no link");
    assert!(!world.is_published(0, 2));
}

#[test]
fn a_search_without_answers_ends_and_says_how_many_were_asked() {
    let mut world = chain();
    world.cut_udp(0, 2);
    meet(&mut world, 0, 2);
    meet(&mut world, 2, 0);
    world.run(SEARCH_TIMEOUT - Duration::from_millis(1));
    assert_eq!(ends(&world, 0), []);
    world.run_ms(1);
    assert_eq!(ends(&world, 0), [DirectEnd::NoAnswer { probed: 1 }]);
    assert!(world.nodes[0].mesh.direct_path(&world.id(2)).is_none());
}

#[test]
fn a_path_under_traffic_is_given_up_after_three_misses() {
    let mut world = met();
    for at in [0, 2] {
        let peer = world.id(2 - at);
        world.with(at, |mesh, now| mesh.handle_activity(now, peer));
    }
    world.run_ms(500);
    world.cut_udp(0, 2);
    // Three misses, and the judgement of the third.
    world.run(ACTIVE_INTERVAL * 4 + LATENCY * 2);
    for at in [0, 2] {
        assert!(
            matches!(ends(&world, at)[..], [DirectEnd::Silent(_)]),
            "{at}"
        );
    }
}

#[test]
fn a_path_follows_an_address_that_changes() {
    let mut world = met();
    let moved: SocketAddr = "203.0.113.9:50000".parse().unwrap();
    world.nodes[2].udp = moved;
    world.run_ms(2_000);
    assert_eq!(remote(&world, 0, 2), Some(moved));
    assert_eq!(ends(&world, 0), []);
    assert!(world.count(0, |event| matches!(event, Event::DirectChanged { .. })) >= 1);
}

#[test]
fn an_address_that_nobody_named_is_probed_when_a_genuine_challenge_comes_from_it() {
    let mut world = chain();
    // The NAT of one gives each destination a port of its own: what others saw is of no use.
    let mapped: SocketAddr = "203.0.113.9:50000".parse().unwrap();
    meet(&mut world, 0, 2);
    world.nodes[2].udp = mapped;
    meet(&mut world, 2, 0);
    world.run_ms(300);
    assert_eq!(remote(&world, 0, 2), Some(mapped));
    assert!(remote(&world, 2, 0).is_some());
}

#[test]
fn a_link_takes_the_place_of_a_path() {
    let mut world = met();
    world.connect(0, 2);
    world.run_ms(1_000);
    for at in [0, 2] {
        assert_eq!(ends(&world, at), [DirectEnd::Linked]);
        assert!(
            world.nodes[at]
                .mesh
                .direct_path(&world.id(2 - at))
                .is_none()
        );
    }
    let peer = world.id(2);
    let remote = world.nodes[2].udp;
    world.with(0, |mesh, now| assert!(!mesh.meet(now, peer, &[remote])));
}

#[test]
fn a_lost_tunnel_ends_its_path() {
    let mut world = met();
    let peer = world.id(2);
    world.with(0, |mesh, now| mesh.handle_tunnel(now, peer, false));
    assert_eq!(ends(&world, 0), [DirectEnd::NoTunnel]);
}

#[test]
fn no_more_addresses_are_probed_than_the_bound_and_none_that_nobody_can_have() {
    let mut world = chain();
    let peer = world.id(2);
    let own = world.nodes[0].udp;
    let mut named: Vec<SocketAddr> = [
        "127.0.0.1:1",
        "169.254.1.1:1",
        "0.0.0.0:1",
        "224.0.0.1:1",
        "192.0.2.1:0",
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    named.push(own);
    named.extend((1..=20).map(|port| SocketAddr::from(([192, 0, 2, 1], port))));
    world.with(0, |mesh, now| assert!(mesh.meet(now, peer, &named)));
    let path = world.nodes[0].mesh.direct_path(&peer).unwrap();
    assert_eq!(path.probed(), CANDIDATES_MAX);
    world.run(SEARCH_TIMEOUT);
    assert_eq!(
        ends(&world, 0),
        [DirectEnd::NoAnswer {
            probed: CANDIDATES_MAX
        }]
    );
}

#[test]
fn no_more_paths_are_looked_for_than_the_bound() {
    let mut world = World::new(1);
    let now = base();
    let peers = (0..=DIRECT_PATHS_MAX).map(|number| {
        let seed = [u8::try_from(number).unwrap() + 100; 32];
        weave_crypto::Identity::from_seed(seed).peer_id()
    });
    let remote = "192.0.2.1:6783".parse().unwrap();
    let mesh = &mut world.nodes[0].mesh;
    let taken = peers
        .filter(|peer| mesh.meet(now, *peer, &[remote]))
        .count();
    assert_eq!(taken, DIRECT_PATHS_MAX);
    assert!(matches!(mesh.poll_timeout(), Some((_, WakeReason::Direct))));
}

/// Three in a row, with links in between.
fn chain() -> World {
    let mut world = World::new(3);
    world.connect(0, 1);
    world.connect(2, 1);
    world.run_ms(1_000);
    world.clear_events();
    world
}

/// A chain whose ends have a path.
fn met() -> World {
    let mut world = chain();
    meet(&mut world, 0, 2);
    meet(&mut world, 2, 0);
    world.run_ms(300);
    assert!(remote(&world, 0, 2).is_some() && remote(&world, 2, 0).is_some());
    world.clear_events();
    world
}

/// Has one look for the other, at the addresses that the other names.
fn meet(world: &mut World, at: usize, to: usize) {
    let peer = world.id(to);
    let candidates = world.nodes[to].mesh.own_candidates();
    assert!(!candidates.is_empty());
    world.with(at, |mesh, now| assert!(mesh.meet(now, peer, &candidates)));
}

fn remote(world: &World, at: usize, to: usize) -> Option<SocketAddr> {
    world.nodes[at].mesh.direct_path(&world.id(to))?.remote()
}

fn ends(world: &World, at: usize) -> Vec<DirectEnd> {
    let ended = world.nodes[at].events.iter().filter_map(|(_, event)| {
        if let Event::DirectDown { reason, .. } = event {
            Some(*reason)
        } else {
            None
        }
    });
    ended.collect()
}
