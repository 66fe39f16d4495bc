//! Who is let in, and what the others are told.

use super::world::World;
use crate::{Admission, DownReason, Event, FailReason, TargetState};

#[test]
fn a_denied_neighbour_is_let_go_and_told_so() {
    let mut world = World::new(2);
    world.connect(1, 0);
    world.run_ms(1_000);
    assert!(world.link(0, 1).is_some());
    let denied = world.id(1);
    world.with(0, |mesh, now| mesh.deny(now, denied));
    world.run_ms(100);
    assert!(world.link(0, 1).is_none() && world.link(1, 0).is_none());
    let down = |at: usize, why: DownReason| {
        world.count(
            at,
            |event| matches!(event, Event::LinkDown { reason, .. } if *reason == why),
        )
    };
    assert_eq!(down(0, DownReason::Denied), 1);
    assert_eq!(down(1, DownReason::DeniedThere), 1);
    // Its record stays: others may reach it.
    assert!(world.nodes[0].mesh.store().router(&denied).is_some());
    assert!(world.nodes[0].mesh.is_denied(&denied));

    // It tries again, is sent away, and gives itself time.
    world.run_ms(60_000);
    let refused = world.nodes[0].mesh.stats().refused_denied;
    assert!((2..=5).contains(&refused), "{refused}");
    let told = world.count(0, |event| {
        matches!(event, Event::Refused { peer, reason: Admission::Denied, .. } if *peer == Some(denied))
    });
    assert_eq!(told as u64, refused);
    let target = &world.nodes[1].mesh.targets()[0];
    assert_eq!(target.last_error, Some(FailReason::DeniedThere));
    assert!(matches!(target.state, TargetState::Waiting(_)));
}

#[test]
fn a_denied_identity_is_not_kept_when_dialled() {
    let mut world = World::new(2);
    let denied = world.id(1);
    world.with(0, |mesh, now| mesh.deny(now, denied));
    world.connect(0, 1);
    world.run_ms(15_000);
    assert!(world.link(0, 1).is_none() && world.link(1, 0).is_none());
    assert_eq!(world.open_streams(0), 0);
    let target = &world.nodes[0].mesh.targets()[0];
    assert_eq!(target.last_error, Some(FailReason::Denied));
    assert_eq!(
        world.nodes[0].mesh.stats().refused_denied,
        2,
        "at 0 and 10 s"
    );
    // Whom we dialled ourselves is no news of strangers.
    assert_eq!(
        world.count(0, |event| matches!(event, Event::Refused { .. })),
        0
    );
}
