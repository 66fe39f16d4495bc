//! Links whose UDP does not pass: frames go over TCP, and back.

use std::time::Duration;

use super::world::World;
use crate::{Carrier, Event, PATH_MTU_BYTES_BASE};

fn linked() -> World {
    let mut world = World::new(2);
    world.connect(0, 1);
    world.run_ms(40_000);
    assert!(world.is_published(0, 1) && world.is_published(1, 0));
    world
}

/// Frames flow both ways for a time.
fn run_busy_ms(world: &mut World, ms: u64) {
    for _ in 0..ms / 10 {
        for (at, to) in [(0, 1), (1, 0)] {
            let peer = world.id(to);
            world.with(at, |mesh, now| mesh.handle_activity(now, peer));
        }
        world.run_ms(10);
    }
}

fn carriers(world: &World) -> [Option<Carrier>; 2] {
    [(0, 1), (1, 0)].map(|(at, to)| world.link(at, to).and_then(crate::Link::carrier))
}

const BOTH_TCP: [Option<Carrier>; 2] = [Some(Carrier::Tcp); 2];
const BOTH_UDP: [Option<Carrier>; 2] = [Some(Carrier::Udp); 2];

#[test]
fn udp_that_is_blocked_under_traffic_leaves_frames_to_tcp_within_600_ms_and_takes_them_back_within_10_s()
 {
    for offset_ms in (0..150).step_by(20) {
        let mut world = linked();
        run_busy_ms(&mut world, 1_000);
        world.run_ms(offset_ms);
        world.cut_udp(0, 1);
        let mut ms = 0;
        while carriers(&world) != BOTH_TCP {
            for at in 0..2 {
                let link = world.link(at, 1 - at).unwrap();
                assert!(
                    world.is_published(at, 1 - at),
                    "the link is never withdrawn: {link:?}"
                );
                assert!(world.link(at, 1 - at).unwrap().carrier().is_some());
            }
            run_busy_ms(&mut world, 10);
            ms += 10;
            assert!(ms <= 620, "{ms} ms");
        }
        run_busy_ms(&mut world, 200);
        let link = world.link(0, 1).unwrap();
        assert_eq!(link.cost(), 3_000 + 4_000 + 50_000);
        assert_eq!(link.path_mtu_bytes(), PATH_MTU_BYTES_BASE);
        let store = world.nodes[1].mesh.store();
        let entry = store.links(&world.id(0)).unwrap().links[0];
        assert_eq!((entry.carrier, entry.cost), (Carrier::Tcp, 57_000));

        run_busy_ms(&mut world, 20_000);
        assert_eq!(carriers(&world), BOTH_TCP);
        world.heal();
        let mut ms = 0;
        while carriers(&world) != BOTH_UDP {
            run_busy_ms(&mut world, 100);
            ms += 100;
            assert!(ms < 10_000, "{ms} ms");
        }
        run_busy_ms(&mut world, 200);
        assert_eq!(world.link(0, 1).unwrap().cost(), 7_000);
        assert_eq!(
            world.count(0, |event| matches!(event, Event::LinkDown { .. })),
            0
        );
        assert!(world.nodes[0].mesh.stats().streams_carried == 1);
    }
}

#[test]
fn udp_that_never_passed_leaves_frames_to_tcp_within_1500_ms() {
    let mut world = World::new(2);
    world.cut_udp(0, 1);
    world.connect(0, 1);
    world.run_ms(1_500);
    assert_eq!(carriers(&world), BOTH_TCP);
    assert!(world.is_published(0, 1) && world.is_published(1, 0));
    let reason = world.link(0, 1).unwrap().udp_down_reason();
    assert_eq!(reason, Some("no probe over UDP was answered yet"));
    world.heal();
    world.run_ms(10_000);
    assert_eq!(carriers(&world), BOTH_UDP);
}

#[test]
fn one_direction_of_udp_that_is_blocked_moves_both_ends_to_tcp() {
    for cut in [(0, 1), (1, 0)] {
        let mut world = linked();
        run_busy_ms(&mut world, 1_000);
        world.udp_cuts.insert(cut);
        run_busy_ms(&mut world, 650);
        assert_eq!(carriers(&world), BOTH_TCP, "{cut:?}");
        assert!(world.is_published(0, 1) && world.is_published(1, 0));
    }
}

#[test]
fn link_without_udp_is_withdrawn_within_1_s_of_a_cut_of_tcp() {
    for offset_ms in (0..150).step_by(20) {
        let mut world = linked();
        world.cut_udp(0, 1);
        run_busy_ms(&mut world, 2_000);
        world.run_ms(offset_ms);
        assert_eq!(carriers(&world), BOTH_TCP);
        world.cut_all(0, 1);
        run_busy_ms(&mut world, 1_000);
        assert_eq!(carriers(&world), [None; 2]);
        assert!(!world.is_published(0, 1) && !world.is_published(1, 0));
    }
}

#[test]
fn cut_of_both_carriers_does_not_go_by_way_of_tcp() {
    let mut world = linked();
    run_busy_ms(&mut world, 1_000);
    world.cut_all(0, 1);
    run_busy_ms(&mut world, 650);
    assert_eq!(carriers(&world), [None; 2]);
    for at in 0..2 {
        assert_eq!(world.nodes[at].mesh.stats().streams_carried, 0);
    }
}

#[test]
fn flapping_tcp_is_held_down_longer() {
    let mut world = linked();
    world.cut_udp(0, 1);
    run_busy_ms(&mut world, 2_000);
    let mut changes = 0;
    let mut known = carriers(&world);
    for turn in 0..3_000 {
        // Half a second of each.
        if turn % 100 < 50 {
            world.tcp_cuts.extend([(0, 1), (1, 0)]);
        } else {
            world.tcp_cuts.clear();
        }
        run_busy_ms(&mut world, 10);
        changes += u32::from(carriers(&world)[0] != known[0]);
        known = carriers(&world);
    }
    assert!(changes <= 15, "{changes} in 30 s");
}

#[test]
fn packets_travel_in_order_and_the_oldest_make_room() {
    let mut world = linked();
    let peer = world.id(1);
    let send = |world: &mut World, number: u8| {
        world.with(0, |mesh, now| {
            mesh.send_packet(now, peer, now, vec![number; 1_000]);
        });
    };
    for number in 0..100 {
        send(&mut world, number);
    }
    world.run_ms(10);
    assert_eq!(received(&world), (0..100).collect::<Vec<u8>>());
    assert_eq!(world.nodes[0].mesh.stats().packets_dropped, 0);

    world.clear_events();
    world.is_congested = true;
    for number in 0..100 {
        send(&mut world, number);
    }
    let conn = world.link(0, 1).unwrap().conn().unwrap();
    world.with(0, |mesh, now| mesh.handle_drained(now, conn));
    world.run_ms(10);
    let first_kept = 100 - 65;
    let written = 17;
    assert_eq!(
        received(&world),
        (first_kept..first_kept + written).collect::<Vec<u8>>()
    );
    assert_eq!(
        world.nodes[0].mesh.stats().packets_dropped,
        u64::from(first_kept)
    );

    world.clear_events();
    world.run_ms(60);
    world.with(0, |mesh, now| mesh.handle_drained(now, conn));
    world.run_ms(10);
    assert!(received(&world).is_empty(), "older than 50 ms");
    assert_eq!(
        world.nodes[0].mesh.stats().packets_dropped,
        u64::from(100 - written)
    );
}

#[test]
fn packets_for_a_stream_that_is_gone_are_counted() {
    let mut world = linked();
    world.is_congested = true;
    let peer = world.id(1);
    let conn = world.link(0, 1).unwrap().conn().unwrap();
    world.with(0, |mesh, now| {
        mesh.send_packet(now, peer, now, vec![1; 100]);
        mesh.handle_closed(now, conn, crate::CloseReason::Reset);
    });
    assert_eq!(world.nodes[0].mesh.stats().packets_dropped, 1);
    world.tcp_cuts.extend([(0, 1), (1, 0)]);
    world.with(0, |mesh, now| {
        mesh.send_packet(now, peer, now, vec![1; 100]);
        mesh.send_packet(now, peer, now, vec![1; crate::STREAM_PACKET_BYTES_MAX + 1]);
    });
    assert_eq!(world.nodes[0].mesh.stats().packets_dropped, 3);
}

#[test]
fn stream_that_is_replaced_while_it_carries_frames_goes_on() {
    let mut world = linked();
    world.cut_udp(0, 1);
    run_busy_ms(&mut world, 2_000);
    assert_eq!(carriers(&world), BOTH_TCP);
    for (at, to) in [(0, 1), (1, 0)] {
        let conn = world.link(at, to).unwrap().conn().unwrap();
        world.with(at, |mesh, now| {
            mesh.handle_closed(now, conn, crate::CloseReason::Reset);
        });
    }
    world.run(Duration::from_secs(3));
    assert_eq!(carriers(&world), BOTH_TCP);
}

/// First bytes of the packets that came to router 1, in order.
fn received(world: &World) -> Vec<u8> {
    let packet = |event: &Event| {
        let Event::Packet { packet, .. } = event else {
            return None;
        };
        Some(packet[0])
    };
    world.nodes[1]
        .events
        .iter()
        .filter_map(|(_, event)| packet(event))
        .collect()
}
