//! Several streams of one pair, restarts, and streams that lead home.

use super::world::{World, address};
use crate::{DownReason, Event, TargetState};

fn ups(world: &World, at: usize) -> usize {
    world.count(at, |event| matches!(event, Event::LinkUp { .. }))
}

fn downs(world: &World, at: usize) -> usize {
    world.count(at, |event| matches!(event, Event::LinkDown { .. }))
}

#[test]
fn dialling_each_other_at_once_leaves_exactly_one_link() {
    for lead_ms in 0..14 {
        for first in 0..2 {
            let mut world = World::new(2);
            world.connect(first, 1 - first);
            world.run_ms(lead_ms);
            world.connect(1 - first, first);
            world.run_ms(2_500);
            for at in 0..2 {
                assert_eq!(world.open_streams(at), 1, "lead {lead_ms} ms by {first}");
                assert_eq!((ups(&world, at), downs(&world, at)), (1, 0));
                let link = world.link(at, 1 - at).unwrap();
                assert!(link.udp_is_up());
                assert_eq!(
                    Some(link.tag_in()),
                    world.link(1 - at, at).unwrap().tag_out()
                );
                assert!(world.is_published(at, 1 - at));
                let status = &world.nodes[at].mesh.targets()[0];
                assert_eq!(status.state, TargetState::Connected(world.id(1 - at)));
            }
        }
    }
}

#[test]
fn later_dial_of_the_smaller_id_replaces_the_stream_of_the_larger() {
    let mut world = World::new(2);
    world.connect(1, 0);
    world.run_ms(1000);
    world.connect(0, 1);
    world.run_ms(1000);
    // The target is connected to already only once somebody found out who answers there.
    assert!(world.link(0, 1).unwrap().dialled());
    assert_eq!(world.open_streams(0), 1);
    assert_eq!(downs(&world, 0) + downs(&world, 1), 0);
}

#[test]
fn stream_that_shows_life_beats_a_later_one_of_the_larger_id() {
    let mut world = World::new(2);
    world.connect(0, 1);
    world.run_ms(5_000);
    let before = world.link(0, 1).unwrap().conn();
    world.connect(1, 0);
    world.run_ms(1_500);
    assert_eq!(world.link(0, 1).unwrap().conn(), before);
    assert_eq!(world.open_streams(0), 1);
    assert_eq!(world.open_streams(1), 1);
}

#[test]
fn silent_stream_loses_to_a_new_one() {
    let mut world = World::new(2);
    world.connect(0, 1);
    world.run_ms(2_000);
    // Router 1 lost its end, and router 0 has not been told.
    let conn = world.link(1, 0).unwrap().conn().unwrap();
    world.with(1, |mesh, now| {
        mesh.handle_closed(now, conn, crate::CloseReason::Reset)
    });
    world.connect(1, 0);
    world.run_ms(1_500);
    assert!(world.link(1, 0).unwrap().dialled());
    assert!(!world.link(0, 1).unwrap().dialled());
    assert_eq!(downs(&world, 0) + downs(&world, 1), 0, "UDP held the link");
    assert!(world.is_published(0, 1) && world.is_published(1, 0));
}

#[test]
fn two_addresses_of_one_router_make_one_link() {
    let mut world = World::new(2);
    world.connect(0, 1);
    // The same router under a name of its own.
    let target: crate::Target = "two.example".parse().unwrap();
    world.with(0, |mesh, now| assert!(mesh.connect(now, target.clone())));
    world.run_ms(100);
    world.with(0, |mesh, now| {
        mesh.handle_resolved(now, &target, Ok(vec![address(1)]));
    });
    world.run_ms(3_000);
    assert_eq!(world.open_streams(0), 1);
    assert_eq!((ups(&world, 0), downs(&world, 0)), (1, 0));
    let states: Vec<_> = world.nodes[0]
        .mesh
        .targets()
        .into_iter()
        .map(|status| status.state)
        .collect();
    assert_eq!(states, vec![TargetState::Connected(world.id(1)); 2]);
}

#[test]
fn restarted_router_replaces_its_link_at_once() {
    for restarted in 0..2 {
        let mut world = World::new(2);
        world.connect(1 - restarted, restarted);
        world.run_ms(5_000);
        world.clear_events();
        world.restart(restarted, 1001);
        world.connect(restarted, 1 - restarted);
        world.run_ms(300);
        let other = 1 - restarted;
        let replaced = |event: &Event| {
            matches!(
                event,
                Event::LinkDown {
                    reason: DownReason::Replaced | DownReason::StreamLost,
                    ..
                }
            )
        };
        assert_eq!(world.count(other, replaced), 1);
        assert_eq!(ups(&world, other), 1);
        assert_eq!(world.link(other, restarted).unwrap().boot_id(), 1001);
        assert!(world.link(other, restarted).unwrap().udp_is_up());
        world.run_ms(2_000);
        assert_eq!(world.open_streams(0), 1);
        assert_eq!(world.open_streams(1), 1);
    }
}

#[test]
fn router_with_a_stale_boot_id_raises_it_and_joins() {
    for restarted in 0..2 {
        let mut world = World::new(2);
        world.connect(1 - restarted, restarted);
        world.run_ms(1_000);
        world.restart(restarted, 900);
        world.clear_events();
        world.connect(restarted, 1 - restarted);
        world.run_ms(4_000);
        assert!(world.nodes[restarted].mesh.boot_id() > 1000);
        assert_eq!(
            world.count(restarted, |event| matches!(
                event,
                Event::BootIdRaised { .. }
            )),
            1
        );
        assert!(world.link(restarted, 1 - restarted).unwrap().udp_is_up());
        assert!(world.is_published(0, 1) && world.is_published(1, 0));
        let store = world.nodes[1 - restarted].mesh.store();
        assert_eq!(
            store.router(&world.id(restarted)).unwrap().boot_id,
            world.nodes[restarted].mesh.boot_id()
        );
    }
}

#[test]
fn connecting_to_oneself_is_noticed_and_not_repeated() {
    let mut world = World::new(1);
    world.connect(0, 0);
    world.run_ms(60_000);
    assert_eq!(
        world.count(0, |event| matches!(event, Event::ConnectedToSelf { .. })),
        1
    );
    assert_eq!(world.nodes[0].mesh.targets()[0].state, TargetState::Itself);
    assert_eq!(world.open_streams(0), 0);
    assert_eq!(world.nodes[0].mesh.links().count(), 0);
}

#[test]
fn routers_of_two_networks_refuse_each_other() {
    let mut world = World::new(2);
    world.nodes[1].config.network = weave_crypto::NetworkId::from_name("another");
    world.restart(1, 1001);
    world.connect(0, 1);
    world.run_ms(1_000);
    assert!(world.link(0, 1).is_none());
    assert!(
        world.nodes[1].mesh.stats().set_up_incompatible
            + world.nodes[0].mesh.stats().set_up_incompatible
            > 0
    );
    assert_eq!(world.open_streams(0), 0);
}

#[test]
fn broken_bytes_end_the_stream_and_nothing_else() {
    // No frame has the first length; the second is one, and what follows is never enough.
    for (bytes, within_ms) in [(&[0xFF; 100][..], 0), (&[0x40, 0, 1, 2], 6_000)] {
        let mut world = World::new(3);
        world.connect(0, 1);
        world.connect(0, 2);
        world.run_ms(1_000);
        let conn = world.link(0, 1).unwrap().conn();
        world.with(0, |mesh, now| {
            mesh.handle_bytes(now, conn.expect("a stream"), bytes);
        });
        world.run_ms(within_ms);
        assert_eq!(world.nodes[0].mesh.stats().unreadable_streams, 1);
        assert_ne!(world.link(0, 1).unwrap().conn(), conn);
        world.run_ms(4_000);
        assert!(world.link(0, 1).unwrap().conn().is_some(), "dialled again");
        assert!(world.is_published(0, 1) && world.is_published(0, 2));
        assert_eq!(downs(&world, 0) + downs(&world, 1), 0, "UDP held the link");
    }
}

#[test]
fn neighbours_of_before_are_dialled_after_a_restart_until_reached_once() {
    let mut world = World::new(2);
    // Nobody has a target: only the address that was stored leads from one to the other.
    world.nodes[1].config.rejoin = vec![address(0)];
    world.restart(1, 1001);
    world.run_ms(1_000);
    assert!(world.link(1, 0).is_some());
    assert!(world.nodes[1].mesh.targets().is_empty(), "it is no target");
    world.kill(0);
    world.run_ms(30_000);
    world.nodes[1].events.clear();
    world.run_ms(60_000);
    let dials = world.count(1, |event| matches!(event, Event::ConnectFailed { .. }));
    assert_eq!(
        dials, 0,
        "reached once, it is dialled no more for this reason"
    );
}

#[test]
fn link_that_moves_to_a_dialled_stream_tries_udp_where_it_was_dialled() {
    let mut world = World::new(2);
    world.connect(1, 0);
    world.run_ms(12);
    // The word that the stream is the link is lost: router 0 alone has a link, as listener.
    world.cut_all(0, 1);
    world.run_ms(6);
    world.heal();
    world.connect(0, 1);
    world.run_ms(1_000);
    for at in 0..2 {
        assert!(world.link(at, 1 - at).unwrap().udp_is_up());
    }
}
