//! Copied state folders: two routers with one identity at once. Within ten seconds both say so, the one that started
//! later has a new identity, and the network is whole.

use std::time::Duration;

use weave_io::sim::{HostId, RouterId, World};

/// Routers `r0`, `r1`, .. with a container each, of whom each knows those given.
fn network(seed: u64, count: usize, knows: &[(usize, usize)]) -> (World, Vec<RouterId>) {
    let mut world = World::new(seed);
    let routers: Vec<RouterId> = (0..count)
        .map(|number| world.add_router(&format!("r{number}")))
        .collect();
    for (a, b) in knows {
        world.connect(routers[*a], routers[*b]);
    }
    for (number, router) in routers.iter().enumerate() {
        world.add_host(*router, &format!("10.0.0.{}/24", number + 1));
    }
    world.run_for(Duration::from_secs(4) + Duration::from_millis(37 * seed));
    (world, routers)
}

/// Runs until router `copy` has an identity of its own and both said why, and looks at everything then.
fn resolve(world: &mut World, first: RouterId, copy: RouterId) {
    let is_said = |world: &World| {
        let says = |router, words: &str| {
            let status = world.status(router);
            status.is_some_and(|status| {
                status
                    .warnings
                    .iter()
                    .any(|warning| warning.contains(words))
            })
        };
        world.is_distinct(copy)
            && says(first, "this one keeps its own")
            && says(
                copy,
                "has a new identity since it met another one with its former",
            )
    };
    let is_resolved = world.run_while_not(Duration::from_secs(10), is_said);
    if !is_resolved {
        let log: Vec<&str> = world.log().collect();
        panic!("not resolved:\n{}", log.join("\n"));
    }
    for (router, words) in [
        (first, "this one keeps its own"),
        (copy, "takes a new identity"),
    ] {
        let line = format!(" {router}: another router runs with the identity of this one");
        assert!(
            world
                .log()
                .any(|logged| logged.contains(&line) && logged.contains(words)),
            "{router} logged nothing"
        );
    }
    let hosts: Vec<HostId> = (0..world.routers().count()).map(HostId).collect();
    for (index, from) in hosts.iter().enumerate() {
        for to in &hosts[index + 1..] {
            world.watch(*from, *to, Duration::from_millis(200));
        }
    }
    world.run_for(Duration::from_secs(20));
    world.look_at_end(&[]);
    world.assert_clean();
    assert!(world.beacons_delivered() > 100);
    for from in &hosts {
        for to in hosts.iter().filter(|to| *to != from) {
            assert!(world.ping(*from, *to).is_some(), "{from:?} to {to:?}");
        }
    }
}

#[test]
fn a_copy_that_is_linked_to_the_first_takes_a_new_identity() {
    for seed in 0..5 {
        // Each knows the other, and nobody else is there; or the copy knows it, in a network of four.
        let (mut world, routers) = network(seed, 2, &[(1, 0)]);
        world.copy_state(routers[0], routers[1]);
        resolve(&mut world, routers[0], routers[1]);
        let (mut world, routers) = network(seed, 4, &[(1, 0), (2, 0), (3, 0)]);
        world.copy_state(routers[0], routers[3]);
        resolve(&mut world, routers[0], routers[3]);
    }
}

#[test]
fn a_copy_far_from_the_first_takes_a_new_identity() {
    for seed in 0..5 {
        let (mut world, routers) = network(seed, 5, &[(1, 0), (2, 1), (3, 2), (4, 3)]);
        // The ends of a line see each other through all the others.
        for (a, b) in [(0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 4)] {
            world.cut(routers[a], routers[b]);
        }
        world.run_for(Duration::from_secs(8));
        world.copy_state(routers[0], routers[4]);
        resolve(&mut world, routers[0], routers[4]);
    }
}

#[test]
fn a_copy_of_the_only_relay_takes_a_new_identity() {
    for seed in 0..5 {
        let (mut world, routers) = network(seed, 4, &[(0, 1), (2, 1), (3, 0)]);
        // 0 and 2 meet at 1 alone.
        world.cut(routers[0], routers[2]);
        world.cut(routers[3], routers[2]);
        world.cut(routers[3], routers[1]);
        world.run_for(Duration::from_secs(8));
        world.copy_state(routers[1], routers[3]);
        resolve(&mut world, routers[1], routers[3]);
    }
}

#[test]
fn two_copies_of_a_machine_that_start_at_once_end_as_two_routers() {
    for seed in 0..5 {
        let (mut world, routers) = network(seed, 3, &[(1, 0), (2, 0)]);
        // Both stop, the folder is copied, both start in the same second.
        world.crash(routers[1]);
        world.crash(routers[2]);
        world.run_for(Duration::from_secs(5));
        world.copy_state(routers[1], routers[2]);
        world.restart(routers[1]);
        let both = [routers[1], routers[2]];
        let is_resolved = world.run_while_not(Duration::from_secs(10), |world| {
            world.is_distinct(routers[1])
        });
        assert!(is_resolved);
        // Which of the two it is, their random numbers decide.
        let said = |world: &World, router| {
            let status = world.status(router);
            status.is_some_and(|status| {
                let mut warnings = status.warnings.iter();
                warnings.any(|warning| warning.contains("identity"))
            })
        };
        let is_said = world.run_while_not(Duration::from_secs(5), |world| {
            both.iter().all(|router| said(world, *router))
        });
        assert!(is_said);
        let hosts: Vec<HostId> = (0..3).map(HostId).collect();
        world.run_for(Duration::from_secs(5));
        for from in &hosts {
            for to in hosts.iter().filter(|to| *to != from) {
                assert!(world.ping(*from, *to).is_some(), "{from:?} to {to:?}");
            }
        }
        world.look_at_end(&[]);
        world.assert_clean();
    }
}

#[test]
fn a_copy_that_appears_when_a_partition_heals_takes_a_new_identity() {
    for seed in 0..3 {
        let (mut world, routers) = network(seed, 4, &[(1, 0), (2, 1), (3, 2)]);
        world.apply(&"partition 2,3".parse().unwrap());
        world.run_for(Duration::from_secs(10));
        world.copy_state(routers[0], routers[3]);
        world.run_for(Duration::from_secs(20));
        world.apply(&"heal-all".parse().unwrap());
        // The ways have to be dialled first.
        world.run_while_not(Duration::from_secs(8), |world| {
            world.log().any(|line| line.contains("later start of this"))
        });
        resolve(&mut world, routers[0], routers[3]);
    }
}

#[test]
fn a_machine_whose_state_was_brought_back_keeps_its_identity() {
    let (mut world, routers) = network(1, 3, &[(1, 0), (2, 0)]);
    let peer = world.status(routers[1]).unwrap().peer_id;
    world.crash(routers[1]);
    world.run_for(Duration::from_secs(2));
    world.restart(routers[1]);
    world.run_for(Duration::from_secs(8));
    let status = world.status(routers[1]).unwrap();
    assert_eq!(status.peer_id, peer);
    assert!(
        !status
            .warnings
            .iter()
            .any(|warning| warning.contains("identity"))
    );
    world.assert_clean();
}

#[test]
fn a_clock_that_jumps_costs_no_more_than_a_restart() {
    for seed in 0..5 {
        let (mut world, routers) = network(seed, 4, &[(1, 0), (2, 0), (3, 0)]);
        for (a, b) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
            world.watch(HostId(a), HostId(b), Duration::from_millis(200));
        }
        world.run_for(Duration::from_secs(3));
        world.jump_clock(routers[seed as usize % 4]);
        assert!(world.log().any(|line| line.contains("the clock jumped")));
        world.run_for(Duration::from_secs(20));
        world.look_at_end(&[]);
        world.assert_clean();
        for router in &routers {
            let status = world.status(*router).unwrap();
            let mut warnings = status.warnings.iter();
            assert!(!warnings.any(|warning| warning.contains("identity")));
        }
    }
}
