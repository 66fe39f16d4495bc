//! Two routers with one identity: both know within ten seconds, and the later one gives it up.

use std::time::Duration;

use super::world::World;
use crate::Event;

/// Within this both have to know (features.md row 26).
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// Runs until the copy gave its identity up, and says how long that took. The other must know by then.
fn resolve(world: &mut World, first: usize, copy: usize) -> Duration {
    let begin = world.now;
    while world.count(copy, |event| *event == Event::IdentityLost) == 0 {
        assert!(world.now < begin + KNOWN_WITHIN, "the copy goes on");
        world.run_ms(50);
    }
    let took = world.now - begin;
    assert_eq!(told(world, copy), [false]);
    // The one that is left may learn of it at the same moment.
    while told(world, first).is_empty() {
        assert!(world.now < begin + KNOWN_WITHIN, "the first never knew");
        world.run_ms(50);
    }
    assert_eq!(told(world, first), [true]);
    assert_eq!(world.count(first, |event| *event == Event::IdentityLost), 0);
    assert_eq!(world.nodes[copy].mesh.links().count(), 0);
    took
}

/// What a router said of clones: whether it keeps its identity.
fn told(world: &World, at: usize) -> Vec<bool> {
    let mut told = Vec::new();
    for (_, event) in &world.nodes[at].events {
        if let Event::CloneMet { clone } = event {
            told.push(clone.keeps);
        }
    }
    told
}

/// Routers 0 to 2 in a chain, and 3 a copy of 0 that knows router `knows`.
fn copied(knows: usize, boot_id: u64) -> World {
    let mut world = World::new(4);
    world.connect(0, 1);
    world.connect(1, 2);
    world.run_ms(3_000);
    world.copy_state(0, 3, boot_id);
    world.connect(3, knows);
    world
}

#[test]
fn a_copy_far_away_gives_way_to_the_first() {
    let mut world = copied(2, 1_100);
    let took = resolve(&mut world, 0, 3);
    assert!(took > Duration::from_millis(5));
    // The network stays whole.
    world.kill(3);
    world.run_ms(4_000);
    for at in 0..3 {
        assert_eq!(super::world::reachable(&world.nodes[at].mesh).len(), 3);
    }
}

#[test]
fn a_copy_at_the_same_neighbour_gives_way_to_the_first() {
    let mut world = copied(1, 1_100);
    resolve(&mut world, 0, 3);
    world.kill(3);
    world.run_ms(4_000);
    assert!(world.link(1, 0).is_some());
}

#[test]
fn a_copy_that_dials_the_first_and_nobody_else_gives_way() {
    let mut world = World::new(2);
    world.run_ms(1_000);
    world.copy_state(0, 1, 1_100);
    world.connect(1, 0);
    resolve(&mut world, 0, 1);
    // So it does where the first dials the copy.
    let mut world = World::new(2);
    world.run_ms(1_000);
    world.copy_state(0, 1, 1_100);
    world.connect(0, 1);
    resolve(&mut world, 0, 1);
}

#[test]
fn of_two_that_start_in_the_same_second_one_gives_way() {
    for knows in [1, 2] {
        let mut world = copied(knows, 1_000);
        let begin = world.now;
        let lost = |world: &World| {
            let lost = [0, 3].map(|at| world.count(at, |event| *event == Event::IdentityLost));
            (lost, [0, 3].map(|at| told(world, at)))
        };
        while lost(&world).0 == [0, 0] || lost(&world).1.iter().any(Vec::is_empty) {
            assert!(world.now < begin + KNOWN_WITHIN, "{:?}", lost(&world));
            world.run_ms(50);
        }
        let (lost, told) = lost(&world);
        assert_eq!(lost.iter().sum::<usize>(), 1, "one alone");
        let keeps = usize::from(lost[0] == 1);
        assert_eq!(told[keeps], [true]);
        assert_eq!(told[1 - keeps], [false]);
    }
}

#[test]
fn a_state_folder_that_was_brought_back_is_no_clone() {
    let mut world = World::new(3);
    world.connect(0, 1);
    world.connect(1, 2);
    world.run_ms(2_000);
    // The folder of before its last starts: its boot id is behind those that the others know.
    world.restart(0, 1_050);
    world.connect(0, 1);
    world.run_ms(2_000);
    world.restart(0, 1_010);
    world.connect(0, 1);
    world.run_ms(8_000);
    assert_eq!(world.nodes[0].mesh.boot_id(), 1_051);
    assert_eq!(told(&world, 0), Vec::<bool>::new());
    assert!(world.link(0, 1).is_some());
}

#[test]
fn a_way_that_leads_back_is_no_clone() {
    let mut world = World::new(1);
    world.connect(0, 0);
    world.run_ms(3_000);
    assert_eq!(told(&world, 0), Vec::<bool>::new());
    let to_self = world.count(0, |event| matches!(event, Event::ConnectedToSelf { .. }));
    assert_eq!(to_self, 1);
}

#[test]
fn after_a_jump_of_the_clock_all_streams_and_random_numbers_are_new() {
    let mut world = World::new(3);
    world.connect(0, 1);
    world.connect(1, 2);
    world.run_ms(2_000);
    let own = world.id(0);
    let said = |world: &World| {
        let said = world.nodes[1].mesh.store().router(&own).cloned().unwrap();
        (said.boot_id, said.start_random)
    };
    let before = said(&world);
    let written =
        |action: Option<crate::Action>| matches!(action, Some(crate::Action::Write { .. }));
    let now = world.now;
    let mesh = &mut world.nodes[0].mesh;
    mesh.handle_jump(now, [42; 32]);
    // Streams are closed before anything is said.
    assert!(!written(mesh.poll_action()));
    world.with(0, |mesh, now| mesh.handle_timeout(now));
    world.run_ms(1_000);
    let after = said(&world);
    assert!(after.0 > before.0 && after.1 != before.1);
    assert!(world.link(0, 1).is_some_and(|link| link.udp_is_up()));
    assert_eq!(told(&world, 0), Vec::<bool>::new());
}

#[test]
fn of_three_the_first_alone_keeps_it() {
    let mut world = World::new(5);
    world.connect(0, 1);
    world.connect(1, 2);
    world.run_ms(2_000);
    world.copy_state(0, 3, 1_100);
    world.connect(3, 2);
    world.copy_state(0, 4, 1_200);
    world.connect(4, 1);
    let begin = world.now;
    let lost =
        |world: &World| [0, 3, 4].map(|at| world.count(at, |event| *event == Event::IdentityLost));
    while lost(&world) != [0, 1, 1] {
        assert!(world.now < begin + 2 * KNOWN_WITHIN, "{:?}", lost(&world));
        world.run_ms(50);
    }
}
