//! Neighbours of a later release, who say what this one does not know: the link lives on.

use super::world::World;
use crate::record::RecordKind;
use crate::wire::{AnyKey, Control};
use crate::{CloseReason, Event};

#[test]
fn keys_of_unknown_kinds_are_passed_over_and_those_among_them_are_answered() {
    let mut world = linked();
    let (own, peer) = (world.id(0), world.id(1));
    let conn = world.link(1, 0).unwrap().conn();
    let known_before = world.nodes[0].mesh.stats().records_known;
    world.with(0, |mesh, now| {
        let theirs = mesh.store().record(&peer, RecordKind::Router).unwrap();
        let known = AnyKey::from(theirs.key());
        let later = AnyKey { kind: 2, ..known };
        let highest = AnyKey {
            kind: u32::MAX,
            ..known
        };
        mesh.say_to(peer, &Control::Want(vec![later, known, highest]));
        mesh.say_to(
            peer,
            &Control::List {
                first: own,
                last: own,
                keys: vec![later],
            },
        );
        mesh.handle_timeout(now);
    });
    world.run_ms(500);

    let stats = world.nodes[1].mesh.stats();
    assert_eq!(stats.keys_unknown_kind, 3);
    assert_eq!((stats.malformed_messages, stats.protocol_errors), (0, 0));
    assert_eq!(world.link(1, 0).unwrap().conn(), conn, "the same stream");
    // The one that was asked for, and what the list lacked: both of router 0's.
    let known = world.nodes[0].mesh.stats().records_known;
    assert_eq!(known - known_before, 3);
}

#[test]
fn a_goodbye_for_an_unknown_reason_ends_its_stream_and_not_the_link() {
    let mut world = linked();
    let peer = world.id(1);
    let before = world.link(1, 0).unwrap().conn();
    world.clear_events();
    world.with(0, |mesh, now| {
        let conn = mesh.link(&peer).unwrap().conn().unwrap();
        mesh.say(conn, &Control::Goodbye(1_000));
        mesh.handle_timeout(now);
        mesh.handle_closed(now, conn, CloseReason::Reset);
    });
    world.run_ms(3_000);

    let stats = world.nodes[1].mesh.stats();
    assert_eq!(stats.goodbyes_unknown, 1);
    assert_eq!((stats.malformed_messages, stats.protocol_errors), (0, 0));
    let link = world.link(1, 0).expect("UDP has held it");
    assert!(link.conn().is_some() && link.conn() != before);
    for at in 0..2 {
        assert_eq!(
            world.count(at, |event| matches!(event, Event::LinkDown { .. })),
            0
        );
    }
}

/// Two routers, linked over both carriers.
fn linked() -> World {
    let mut world = World::new(2);
    world.connect(0, 1);
    world.run_ms(2_000);
    assert!(world.is_published(0, 1) && world.is_published(1, 0));
    world
}
