//! Both carriers of a link: how soon it stands, how soon a cut shows, what holds it.

use std::net::SocketAddr;
use std::time::Duration;

use super::world::World;
use crate::{DownReason, Event, FailReason, TargetState};

fn linked() -> World {
    let mut world = World::new(2);
    world.connect(0, 1);
    world.run_ms(400);
    assert!(world.is_published(0, 1) && world.is_published(1, 0));
    world.run_ms(1000);
    world
}

fn is_down(event: &Event) -> bool {
    matches!(event, Event::LinkDown { .. })
}

#[test]
fn two_meshes_link_up_and_publish_each_other() {
    let mut world = World::new(2);
    world.connect(0, 1);
    // Records wait 100 ms for each other; the first was published at the start.
    world.run_ms(105);
    for (at, to) in [(0, 1), (1, 0)] {
        let link = world.link(at, to).unwrap();
        assert!(link.udp_is_up(), "{:?}", link.udp_down_reason());
        assert_eq!(link.udp_remote(), Some(world.nodes[to].udp));
        assert_eq!(Some(link.tag_in()), world.link(to, at).unwrap().tag_out());
        assert_eq!(link.dialled(), at == 0);
        assert_eq!(link.boot_id(), 1000);
        assert!(world.is_published(at, to));
        assert_eq!(link.cost(), 7000, "3 ms and a round trip of 4 ms");
    }
    world.run_ms(200);
    for at in 0..2 {
        assert_eq!(world.nodes[at].mesh.store().len(), 2);
        assert_eq!(
            world.nodes[0].mesh.store().digest(),
            world.nodes[at].mesh.store().digest()
        );
        assert_eq!(
            world.count(at, |event| matches!(event, Event::LinkUp { .. })),
            1
        );
    }
    let status = world.nodes[0].mesh.targets();
    assert_eq!(status[0].state, TargetState::Connected(world.id(1)));
}

#[test]
fn larger_id_may_dial_just_as_well() {
    let mut world = World::new(2);
    world.connect(1, 0);
    world.run_ms(100);
    assert!(world.link(0, 1).unwrap().udp_is_up());
    assert!(world.link(1, 0).unwrap().dialled());
}

#[test]
fn silent_cut_under_traffic_shows_within_450_to_600_ms() {
    for offset_ms in (0..150).step_by(13) {
        let mut world = linked();
        for _ in 0..4 {
            for (at, to) in [(0, 1), (1, 0)] {
                let peer = world.id(to);
                world.with(at, |mesh, now| mesh.handle_activity(now, peer));
            }
            world.run_ms(500);
        }
        world.run_ms(offset_ms);
        world.clear_events();
        let cut_at = world.now;
        world.cut_all(0, 1);
        world.run_ms(700);
        for at in 0..2 {
            let (noticed, _) = world.nodes[at]
                .events
                .iter()
                .find(|(_, event)| matches!(event, Event::LinkChanged { .. }))
                .expect("noticed");
            let after = *noticed - cut_at;
            // A probe whose answer was on its way adds at most one way.
            assert!(after >= Duration::from_millis(445), "{after:?}");
            assert!(after <= Duration::from_millis(605), "{after:?}");
            assert!(!world.is_published(at, 1 - at));
        }
    }
}

#[test]
fn silent_cut_of_an_idle_link_shows_within_4_s() {
    let mut world = linked();
    world.run_ms(10_000);
    world.cut_all(0, 1);
    world.run_ms(4_000);
    assert!(!world.is_published(0, 1) && !world.is_published(1, 0));
    assert!(world.link(0, 1).is_some(), "the stream still stands");
}

#[test]
fn first_frame_after_idling_probes_at_once() {
    let mut world = linked();
    world.run_ms(10_000);
    world.cut_udp(0, 1);
    let peer = world.id(1);
    world.with(0, |mesh, now| mesh.handle_activity(now, peer));
    world.run_ms(640);
    assert!(!world.link(0, 1).unwrap().udp_is_up());
}

#[test]
fn one_way_cut_shows_at_both_ends() {
    for cut in [(0, 1), (1, 0)] {
        let mut world = linked();
        for (at, to) in [(0, 1), (1, 0)] {
            let peer = world.id(to);
            world.with(at, |mesh, now| mesh.handle_activity(now, peer));
        }
        world.run_ms(1000);
        world.udp_cuts.insert(cut);
        world.tcp_cuts.insert(cut);
        world.run_ms(620);
        assert!(
            !world.is_published(0, 1) && !world.is_published(1, 0),
            "{cut:?}"
        );
    }
}

#[test]
fn udp_is_taken_again_after_five_answers() {
    let mut world = linked();
    world.run_ms(40_000);
    world.cut_udp(0, 1);
    world.run_ms(5_000);
    world.heal();
    world.run_ms(3_000);
    assert!(!world.link(0, 1).unwrap().udp_is_up());
    world.run_ms(3_500);
    assert!(world.link(0, 1).unwrap().udp_is_up());
    assert!(world.is_published(0, 1) && world.is_published(1, 0));
    assert_eq!(world.count(0, is_down), 0);
}

#[test]
fn flapping_udp_is_held_down_longer() {
    let mut world = linked();
    let mut down_ms = Vec::new();
    for _ in 0..5 {
        world.cut_udp(0, 1);
        world.run_ms(4_500);
        assert!(!world.link(0, 1).unwrap().udp_is_up());
        world.heal();
        let mut ms = 0;
        while !world.link(0, 1).unwrap().udp_is_up() {
            world.run_ms(100);
            ms += 100;
            assert!(ms < 15_000);
        }
        down_ms.push(ms);
    }
    assert!(down_ms.iter().all(|ms| *ms <= 10_000), "{down_ms:?}");
    assert!(down_ms[4] > down_ms[0], "{down_ms:?}");
}

#[test]
fn silence_on_both_carriers_ends_the_link_after_5_s() {
    let mut world = linked();
    world.clear_events();
    world.cut_all(0, 1);
    let cut_at = world.now;
    world.run_ms(6_100);
    for at in 0..2 {
        let (ended, event) = world.nodes[at]
            .events
            .iter()
            .find(|(_, event)| is_down(event))
            .unwrap();
        assert!(
            matches!(
                event,
                Event::LinkDown {
                    reason: DownReason::Silent | DownReason::StreamLost,
                    ..
                }
            ),
            "{event:?}"
        );
        assert!(*ended - cut_at <= Duration::from_millis(6_100));
    }
    world.heal();
    world.run_ms(4_500);
    assert!(
        world.is_published(0, 1),
        "dialled again within the longest back-off"
    );
}

#[test]
fn stream_that_is_gone_is_replaced_and_the_link_stays_published() {
    let mut world = linked();
    world.clear_events();
    for (at, to) in [(0, 1), (1, 0)] {
        let conn = world.link(at, to).unwrap().conn().unwrap();
        world.with(at, |mesh, now| {
            mesh.handle_closed(now, conn, crate::CloseReason::Reset)
        });
        assert!(world.link(at, to).is_some_and(|link| link.conn().is_none()));
    }
    for _ in 0..40 {
        world.run_ms(5);
        assert!(world.is_published(0, 1) && world.is_published(1, 0));
        assert!(world.link(0, 1).unwrap().udp_is_up());
    }
    for at in 0..2 {
        assert!(world.link(at, 1 - at).unwrap().conn().is_some());
        assert_eq!(
            world.count(at, |event| matches!(event, Event::LinkMoved { .. })),
            1
        );
        assert_eq!(world.count(at, is_down), 0);
        assert_eq!(
            world.count(at, |event| matches!(event, Event::LinkUp { .. })),
            0
        );
    }
    assert_eq!(
        Some(world.link(0, 1).unwrap().tag_in()),
        world.link(1, 0).unwrap().tag_out()
    );
}

#[test]
fn link_without_stream_is_held_for_10_s_while_udp_answers() {
    let mut world = linked();
    world.tcp_cuts.extend([(0, 1), (1, 0)]);
    for (at, to) in [(0, 1), (1, 0)] {
        let conn = world.link(at, to).unwrap().conn().unwrap();
        world.with(at, |mesh, now| {
            mesh.handle_closed(now, conn, crate::CloseReason::Reset)
        });
    }
    world.run_ms(9_900);
    assert!(world.is_published(0, 1) && world.is_published(1, 0));
    world.run_ms(200);
    assert!(world.link(0, 1).is_none() && world.link(1, 0).is_none());
    assert!(!world.is_published(0, 1) && !world.is_published(1, 0));
}

#[test]
fn goodbye_withdraws_at_once() {
    let mut world = linked();
    world.with(1, crate::Mesh::shutdown);
    world.run_ms(3);
    assert!(world.link(0, 1).is_none() && !world.is_published(0, 1));
    let reason = |event: &Event| {
        matches!(
            event,
            Event::LinkDown {
                reason: DownReason::Goodbye,
                ..
            }
        )
    };
    assert_eq!(world.count(0, reason), 1);
}

#[test]
fn router_late_on_its_own_timers_judges_nobody() {
    let mut world = linked();
    for _ in 0..20 {
        let peer = world.id(1);
        world.with(0, |mesh, now| mesh.handle_activity(now, peer));
        // Nothing runs at router 0 for a second; then it gets its turn before the answers do.
        world.nodes[0].delay = Duration::from_millis(300);
        world.run_ms(1000);
    }
    assert!(world.link(0, 1).unwrap().udp_is_up());
    assert!(world.nodes[0].mesh.stats().late_timeouts > 0);
    assert_eq!(world.nodes[0].mesh.stats().udp_down, 0);
}

#[test]
fn changed_udp_address_is_used_after_a_challenge_came_back() {
    let mut world = linked();
    let old = world.nodes[1].udp;
    let new = SocketAddr::new(old.ip(), 50_000);
    world.nodes[1].udp = new;
    world.clear_events();
    world.run_ms(3_000);
    assert_eq!(world.link(0, 1).unwrap().udp_remote(), Some(new));
    assert!(world.is_published(0, 1) && world.is_published(1, 0));
    assert_eq!(world.nodes[0].mesh.stats().udp_down, 0);
}

#[test]
fn spoofed_udp_address_is_not_used() {
    let mut world = linked();
    let peer = world.id(1);
    let probe = crate::Probe {
        kind: crate::ProbeKind::Challenge,
        last_heard_ms: 0,
        sequence: 9,
        token: 9,
        seen: None,
    };
    let spoofed: SocketAddr = "192.0.2.66:1".parse().unwrap();
    world.with(0, |mesh, now| mesh.handle_probe(now, peer, spoofed, &probe));
    world.run_ms(3_000);
    assert_eq!(
        world.link(0, 1).unwrap().udp_remote(),
        Some(world.nodes[1].udp)
    );
}

#[test]
fn tunnel_that_is_lost_takes_udp_down_until_it_is_back() {
    let mut world = linked();
    let peer = world.id(1);
    world.with(0, |mesh, now| mesh.handle_tunnel(now, peer, false));
    assert!(!world.link(0, 1).unwrap().udp_is_up());
    world.run_ms(200);
    assert!(!world.is_published(0, 1));
    world.with(0, |mesh, now| mesh.handle_tunnel(now, peer, true));
    world.run_ms(200);
    assert!(world.link(0, 1).unwrap().udp_is_up() && world.is_published(0, 1));
}

#[test]
fn refused_target_is_tried_again_and_reported() {
    let mut world = World::new(1);
    let target: crate::Target = "10.9.9.9".parse().unwrap();
    world.with(0, |mesh, now| assert!(mesh.connect(now, target.clone())));
    world.run_ms(10_000);
    let failures = world.count(0, |event| {
        matches!(
            event,
            Event::ConnectFailed {
                reason: FailReason::Closed(crate::CloseReason::Refused),
                ..
            }
        )
    });
    assert!((5..=9).contains(&failures), "{failures}");
    let status = &world.nodes[0].mesh.targets()[0];
    assert!(matches!(status.state, TargetState::Waiting(_)));
    assert!(status.last_error.is_some());
    world.with(0, |mesh, now| assert!(mesh.forget(now, &target)));
    assert!(world.nodes[0].mesh.targets().is_empty());
    world.with(0, |mesh, now| assert!(!mesh.forget(now, &target)));
}

#[test]
fn link_that_was_cut_costs_no_more_than_before_once_it_is_healed() {
    let mut world = linked();
    let before = world.link(0, 1).unwrap().cost();
    world.cut_udp(0, 1);
    // TCP holds the link; every probe over UDP is lost.
    world.run_ms(20_000);
    assert!(!world.link(0, 1).unwrap().udp_is_up());
    world.heal();
    while !world.link(0, 1).unwrap().udp_is_up() {
        world.run_ms(100);
    }
    assert_eq!(world.link(0, 1).unwrap().cost(), before);
}
