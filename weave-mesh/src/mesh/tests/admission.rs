//! Who is let in, and what the others are told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weave_crypto::{HandshakeError, Identity, LinkHandshake, LinkLocal, PasswordKey, Passwords};

use super::world::World;
use crate::{Action, Admission, CloseReason, ConnId, DownReason, Event, FailReason, TargetState};

fn key(byte: u8) -> PasswordKey {
    PasswordKey::from_bytes([byte; 32])
}

fn one(byte: u8) -> Passwords {
    Passwords::one(key(byte))
}

fn set(world: &mut World, at: usize, passwords: Passwords) {
    world.with(at, |mesh, now| mesh.set_passwords(now, passwords));
}

/// Why the only target of a router was not reached.
fn last_error(world: &World, at: usize) -> Option<FailReason> {
    world.nodes[at].mesh.targets()[0].last_error.clone()
}

fn refused(world: &World, at: usize, why: Admission) -> usize {
    world.count(
        at,
        |event| matches!(event, Event::Refused { reason, .. } if *reason == why),
    )
}

#[test]
fn a_network_with_a_password_and_one_without_name_who_lacks_it() {
    for (dialler, listener, error, told) in [
        (
            one(1),
            Passwords::none(),
            HandshakeError::PasswordHere,
            Admission::SurplusPassword,
        ),
        (
            Passwords::none(),
            one(1),
            HandshakeError::PasswordThere,
            Admission::NoPassword,
        ),
    ] {
        let mut world = World::new(2);
        set(&mut world, 0, dialler.clone());
        set(&mut world, 1, listener);
        world.connect(0, 1);
        world.run_ms(100);
        assert_eq!(
            last_error(&world, 0),
            Some(FailReason::Handshake(error)),
            "the dialler knows"
        );
        assert_eq!(refused(&world, 1, told), 1, "so does the listener");
        assert!(world.link(0, 1).is_none() && world.link(1, 0).is_none());
        // At 10 s it is tried again; a password that fits is tried at once.
        world.run_ms(10_800);
        assert_eq!(refused(&world, 1, told), 2);
        set(&mut world, 1, dialler);
        world.run_ms(5_000);
        assert!(world.link(0, 1).is_none(), "nobody has told it");
        let fits = world.nodes[1].mesh.passwords();
        assert_eq!(fits, world.nodes[0].mesh.passwords());
    }
}

#[test]
fn a_wrong_password_is_named_on_both_sides_at_once_and_tried_seldom() {
    let mut world = World::new(2);
    set(&mut world, 0, one(1));
    set(&mut world, 1, one(2));
    world.connect(0, 1);
    world.run_ms(200);
    let wrong = FailReason::Handshake(HandshakeError::WrongPassword);
    assert_eq!(last_error(&world, 0), Some(wrong));
    assert_eq!(refused(&world, 1, Admission::WrongPassword), 1);
    world.run(Duration::from_secs(60));
    let (dialled, guessed) = (
        world.nodes[0].mesh.stats().password_differs,
        world.nodes[1].mesh.stats().wrong_passwords,
    );
    // At 0, 10, 26 to 30 and 58 s on.
    assert!((3..=4).contains(&dialled), "{dialled}");
    assert_eq!(dialled, guessed);
}

#[test]
fn a_stranger_that_listens_and_leaves_with_the_proof_is_dialled_as_seldom_as_a_wrong_password() {
    for ending in ["closes", "is silent", "says nonsense"] {
        let mut world = World::new(1);
        set(&mut world, 0, one(1));
        let (start, mesh) = (world.now, &mut world.nodes[0].mesh);
        let remote = SocketAddr::from(([198, 18, 99, 1], 6783));
        assert!(mesh.connect(start, remote.into()));
        let mut dialled = 0;
        let mut now = start;
        while now < start + Duration::from_secs(60) {
            let mut stranger = None;
            while let Some(action) = mesh.poll_action() {
                match action {
                    Action::Dial { conn, remote } => {
                        dialled += 1;
                        let local = LinkLocal {
                            identity: Arc::new(Identity::from_seed([9; 32])),
                            network: mesh.config().network,
                            boot_id: 1,
                            passwords: one(2),
                        };
                        stranger = Some((conn, LinkHandshake::listener(local, [7; 32])));
                        mesh.handle_opened(now, conn, remote, true);
                    }
                    Action::Write { conn, bytes } => {
                        let Some((_, handshake)) = stranger.as_mut().filter(|(to, _)| *to == conn)
                        else {
                            continue;
                        };
                        let mut answer = Vec::new();
                        if handshake.handle_bytes(&bytes, &mut answer).is_ok() {
                            mesh.handle_bytes(now, conn, &answer);
                        } else if ending == "closes" {
                            // It has the proof, and tests its guess.
                            mesh.handle_closed(now, conn, CloseReason::Finished);
                        } else if ending == "says nonsense" {
                            mesh.handle_bytes(now, conn, &[0xff; 8]);
                        }
                    }
                    Action::Resolve { .. }
                    | Action::Close { .. }
                    | Action::AwaitDrained { .. }
                    | Action::Probe { .. } => {}
                }
            }
            while mesh.poll_event().is_some() {}
            now += Duration::from_millis(50);
            mesh.handle_timeout(now);
        }
        let stats = mesh.stats();
        // One that hangs on holds each attempt for 5 s more.
        assert!((2..=4).contains(&dialled), "{dialled}, it {ending}");
        let (unanswered, differs) = (stats.proofs_unanswered, stats.password_differs);
        let expected = if ending == "says nonsense" {
            (0, dialled)
        } else {
            (dialled, 0)
        };
        assert_eq!((unanswered, differs), expected, "it {ending}");
    }
}

#[test]
fn other_connections_of_a_guesser_are_closed_untested() {
    let mut world = World::new(2);
    set(&mut world, 0, one(1));
    set(&mut world, 1, one(2));
    let now = world.now;
    let guesser = |port| SocketAddr::new(world.nodes[1].tcp.ip(), port);
    let side_by_side: Vec<_> = (0..15)
        .map(|n| (ConnId::accepted(900 + n), guesser(40_000 + n as u16)))
        .collect();
    let mesh = &mut world.nodes[0].mesh;
    for (conn, remote) in &side_by_side {
        mesh.handle_opened(now, *conn, *remote, false);
    }
    assert!(mesh.poll_action().is_none(), "all are let in");
    world.connect(1, 0);
    world.run_ms(200);
    let stats = world.nodes[0].mesh.stats();
    assert_eq!(stats.wrong_passwords, 1);
    assert_eq!(stats.refused_guessing, 15);
    // For a second, nothing of that source is let in.
    let (now, mesh) = (world.now, &mut world.nodes[0].mesh);
    mesh.handle_opened(now, ConnId::accepted(990), side_by_side[0].1, false);
    assert!(matches!(mesh.poll_action(), Some(Action::Close { .. })));
    assert_eq!(mesh.stats().refused_source, 1);
}

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
