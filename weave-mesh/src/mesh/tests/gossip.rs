//! Records among several routers, and links found by them.

use std::time::Duration;

use super::world::World;
use crate::{Event, RecordKind, Routed, SendError};

fn chain(count: usize) -> World {
    let mut world = World::new(count);
    for index in 1..count {
        world.connect(index - 1, index);
    }
    world
}

fn assert_converged(world: &World) {
    let first = world.nodes[0].mesh.store();
    for node in &world.nodes {
        let store = node.mesh.store();
        assert_eq!(store.digest(), first.digest());
        for origin in first.origins() {
            for kind in RecordKind::ALL {
                assert_eq!(store.record(&origin, kind), first.record(&origin, kind));
            }
        }
    }
}

#[test]
fn chain_of_five_learns_all_records() {
    let mut world = chain(5);
    world.run_ms(600);
    assert_converged(&world);
    assert_eq!(world.nodes[4].mesh.store().len(), 5);
    let nickname = &world.nodes[4]
        .mesh
        .store()
        .router(&world.id(0))
        .unwrap()
        .nickname;
    assert_eq!(nickname, "router 0");
    assert!(world.nodes[4].mesh.store().is_reachable(&world.id(0)));
}

#[test]
fn partitions_that_heal_converge() {
    let mut world = chain(4);
    world.run_ms(1_000);
    world.cut_all(1, 2);
    world.run_ms(8_000);
    assert!(!world.nodes[0].mesh.store().is_reachable(&world.id(3)));
    // Change on both sides meanwhile.
    for index in [0, 3] {
        let fresh = std::net::IpAddr::from([10, 1, 0, u8::try_from(index).unwrap()]);
        world.with(index, |mesh, now| {
            mesh.handle_local_addresses(now, vec![fresh])
        });
    }
    world.run_ms(1_000);
    world.heal();
    world.run_ms(6_000);
    assert_converged(&world);
    assert!(world.nodes[0].mesh.store().is_reachable(&world.id(3)));
}

#[test]
fn unreachable_origins_are_forgotten_after_10_min_and_do_not_come_back() {
    let mut world = chain(3);
    world.run_ms(1_000);
    world.kill(2);
    world.run(Duration::from_secs(590));
    let gone = world.id(2);
    assert!(world.nodes[0].mesh.store().router(&gone).is_some());
    world.run(Duration::from_secs(120));
    for at in 0..2 {
        assert!(world.nodes[at].mesh.store().router(&gone).is_none());
        assert_eq!(world.nodes[at].mesh.store().len(), 2);
    }
}

#[test]
fn discovery_closes_the_mesh() {
    let mut world = World::new(4);
    for index in 0..4 {
        world.nodes[index].config.discovery = true;
        world.restart(index, 1001);
    }
    for index in 1..4 {
        world.connect(index - 1, index);
    }
    world.run_ms(4_000);
    for at in 0..4 {
        assert_eq!(world.nodes[at].mesh.links().count(), 3);
        assert_eq!(world.open_streams(at), 3);
    }
    assert_converged(&world);
}

#[test]
fn neighbour_limit_is_kept_and_the_graph_connected() {
    let mut world = World::new(9);
    for index in 0..9 {
        world.nodes[index].config.discovery = true;
        world.nodes[index].config.conn_limit = 3;
        world.restart(index, 1001);
    }
    for index in 1..9 {
        world.connect(index, 0);
    }
    world.run_ms(6_000);
    for at in 1..9 {
        let links = world.nodes[at].mesh.links().count();
        assert!((1..=3 + 8).contains(&links), "{links}");
        assert_eq!(super::world::reachable(&world.nodes[at].mesh).len(), 9);
    }
}

#[test]
fn records_change_at_most_ten_times_a_second() {
    let mut world = chain(2);
    world.run_ms(1_000);
    let seq = |world: &World| {
        let own = world.id(0);
        world.nodes[0]
            .mesh
            .store()
            .record(&own, RecordKind::Router)
            .unwrap()
            .seq()
    };
    let before = seq(&world);
    for round in 0..100_u8 {
        let address = std::net::IpAddr::from([10, 2, 0, round + 1]);
        world.with(0, |mesh, now| {
            mesh.handle_local_addresses(now, vec![address])
        });
        world.run_ms(10);
    }
    world.run_ms(200);
    assert!((9..=12).contains(&(seq(&world) - before)));
    assert_converged(&world);
}

#[test]
fn routed_messages_reach_the_neighbour() {
    let mut world = chain(2);
    world.run_ms(500);
    let message = Routed {
        from: world.id(0),
        to: world.id(1),
        ttl: 8,
        body: vec![42; 1000],
    };
    let (via, nobody) = (world.id(1), world.id(0));
    world.with(0, |mesh, now| {
        assert_eq!(mesh.send(now, via, message.clone()), Ok(()));
        assert_eq!(
            mesh.send(now, nobody, message.clone()),
            Err(SendError::NoStream)
        );
        let dead = Routed {
            ttl: 0,
            ..message.clone()
        };
        assert_eq!(mesh.send(now, via, dead), Err(SendError::Ttl));
        let long = Routed {
            body: vec![0; 16 * 1024 + 1],
            ..message.clone()
        };
        assert_eq!(mesh.send(now, via, long), Err(SendError::TooLong));
        let full = Routed {
            body: vec![0; 16 * 1024],
            ..message.clone()
        };
        let taken = (0..100)
            .take_while(|_| mesh.send(now, via, full.clone()).is_ok())
            .count();
        assert_eq!(taken, 15);
    });
    world.run_ms(10);
    let from = world.id(0);
    let received = world.count(1, |event| {
        matches!(event, Event::Message { via, message } if *via == from && message.body == [42; 1000])
    });
    assert_eq!(received, 1);
}

#[test]
fn same_seed_gives_the_same_events() {
    let run = || {
        let mut world = chain(3);
        world.run_ms(1_000);
        world.cut_all(0, 1);
        world.run_ms(3_000);
        world.heal();
        world.run_ms(9_000);
        let start = world.now;
        let events: Vec<_> = world
            .nodes
            .iter()
            .flat_map(|node| &node.events)
            .map(|(at, event)| (start - *at, event.clone()))
            .collect();
        events
    };
    assert_eq!(run(), run());
}
