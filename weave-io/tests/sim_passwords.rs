//! Who may join: wrong, missing and surplus passwords, and a network that changes its own without losing a frame.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::time::Duration;

use weave_core::{Command, Status};
use weave_crypto::{PasswordKey, Passwords};
use weave_io::sim::{HostId, RouterId, World};

fn key(byte: u8) -> PasswordKey {
    PasswordKey::from_bytes([byte; 32])
}

fn one(byte: u8) -> Passwords {
    Passwords::one(key(byte))
}

/// Routers with these passwords and a container each; all but the first are told to connect to it.
fn star(seed: u64, passwords: &[Passwords]) -> (World, Vec<RouterId>, Vec<HostId>) {
    let mut world = World::new(seed);
    let mut routers = Vec::new();
    let mut hosts = Vec::new();
    for (number, passwords) in passwords.iter().enumerate() {
        let router = world.add_router(&format!("r{number}"));
        world.set_passwords(router, passwords.clone());
        hosts.push(world.add_host(router, &format!("10.2.1.{}/24", number + 1)));
        routers.push(router);
    }
    for router in &routers[1..] {
        world.connect(*router, routers[0]);
    }
    (world, routers, hosts)
}

fn status(world: &World, router: RouterId) -> Status {
    world.status(router).unwrap()
}

/// How many links came up at all routers since the start, and how many stand.
fn links(world: &World, routers: &[RouterId]) -> (u64, usize) {
    let statuses: Vec<Status> = routers
        .iter()
        .map(|router| status(world, *router))
        .collect();
    let ups = statuses
        .iter()
        .map(|status| status.gossip["links_up"])
        .sum();
    (
        ups,
        statuses.iter().map(|status| status.connections.len()).sum(),
    )
}

#[test]
fn routers_with_one_password_make_one_network() {
    let (mut world, routers, hosts) = star(1, &[one(1), one(1), one(1)]);
    world.run_for(Duration::from_secs(3));
    assert_eq!(links(&world, &routers), (6, 6));
    assert!(world.ping(hosts[1], hosts[2]).is_some());
    let status = status(&world, routers[0]);
    assert!(status.password && status.passwords == 1);
    assert!(status.warnings.is_empty(), "{:?}", status.warnings);
    world.assert_clean();
}

#[test]
fn who_is_not_let_in_is_named_on_both_sides_within_two_seconds() {
    let none = Passwords::none();
    for (inside, outside, here, there) in [
        (
            one(1),
            one(2),
            "its password is not that of this network",
            "wrong password: this side's and the other side's differ",
        ),
        (
            one(1),
            none.clone(),
            "it has no password, and this network has one",
            "the other side has a password and this side has none",
        ),
        (
            none,
            one(1),
            "it has a password, and this network has none",
            "this side has a password and the other side has none",
        ),
    ] {
        let (mut world, routers, hosts) = star(2, &[inside, outside]);
        world.run_for(Duration::from_secs(2));
        let (listener, dialler) = (status(&world, routers[0]), status(&world, routers[1]));
        assert!(listener.connections.is_empty() && dialler.connections.is_empty());
        assert_eq!(listener.refused[0].reason, here);
        assert_eq!(listener.refused[0].from, world.address(routers[1]).ip());
        assert!(
            listener
                .warnings
                .iter()
                .any(|warning| warning.contains(here)),
            "{:?}",
            listener.warnings
        );
        assert!(
            dialler.targets[0].state.contains(there),
            "{:?}",
            dialler.targets
        );
        assert!(dialler.targets[0].retry_in_ms.is_some_and(|ms| ms > 7_000));
        let lines = |what: &str| world.log().filter(|line| line.contains(what)).count();
        assert_eq!((lines(here), lines(there)), (1, 1));
        assert!(world.ping(hosts[0], hosts[1]).is_none());
        world.assert_clean();
    }
}

#[test]
fn a_network_changes_its_password_without_losing_a_link_or_a_frame() {
    let (mut world, routers, hosts) = star(3, &vec![one(1); 4]);
    world.run_for(Duration::from_secs(3));
    let before = links(&world, &routers);
    assert_eq!(before.1, 12);
    world.watch(hosts[0], hosts[3], Duration::from_millis(10));
    world.watch(hosts[2], hosts[1], Duration::from_millis(10));
    let sent_from = world.now();
    let delivered = world.beacons_delivered();
    // First everybody learns the new one, then everybody forgets the old one.
    for router in &routers {
        world.set_passwords(*router, Passwords::two(key(2), key(1)));
        world.run_for(Duration::from_secs(1));
    }
    assert!(status(&world, routers[0]).warnings[0].contains("2 passwords are accepted"));
    for router in &routers {
        world.set_passwords(*router, one(2));
        world.run_for(Duration::from_secs(1));
    }
    assert_eq!(links(&world, &routers), before, "no link was lost");
    let sent = (world.now() - sent_from).as_millis() as u64 / 10 * 4;
    // Two pairs, and each beacon is answered.
    let arrived = world.beacons_delivered() - delivered;
    assert!(
        arrived.abs_diff(sent) <= 4,
        "{arrived} of {sent}, but for those under way"
    );
    world.assert_clean();

    // At any moment of it a router could have restarted.
    for (with, of) in [
        (Passwords::two(key(3), key(2)), 0),
        (Passwords::two(key(3), key(2)), 1),
    ] {
        world.set_passwords(routers[of], with);
        world.crash(routers[of]);
        world.run_for(Duration::from_secs(1));
        world.restart(routers[of]);
        world.run_for(Duration::from_secs(8));
        assert_eq!(links(&world, &routers).1, 12, "after a restart of {of}");
    }
    world.assert_clean();
}

#[test]
fn who_missed_the_change_stays_out_until_told_and_is_in_at_once_then() {
    let (mut world, routers, _) = star(4, &vec![one(1); 3]);
    world.run_for(Duration::from_secs(3));
    for router in &routers[..2] {
        world.set_passwords(*router, one(2));
    }
    world.crash(routers[2]);
    world.run_for(Duration::from_secs(6));
    world.restart(routers[2]);
    world.run_for(Duration::from_secs(30));
    let left_out = status(&world, routers[2]);
    assert!(left_out.connections.is_empty());
    assert!(left_out.refusals["password_differs"] >= 2);
    assert!(!left_out.verdict().healthy);
    world.set_passwords(routers[2], one(2));
    world.run_for(Duration::from_secs(2));
    assert_eq!(links(&world, &routers).1, 6);
}

#[test]
fn a_denied_identity_has_no_part_in_what_this_host_sees() {
    let (mut world, routers, hosts) = star(5, &vec![one(1); 3]);
    world.run_for(Duration::from_secs(3));
    assert!(world.ping(hosts[1], hosts[2]).is_some());
    let denied = status(&world, routers[2]).peer_id;
    world.command(routers[1], Command::Deny(peer_id(&denied)));
    world.run_for(Duration::from_secs(3));
    // Both go on with the third, and nothing of the one gets to the other, by whatever way.
    assert!(world.ping(hosts[0], hosts[2]).is_some());
    assert!(world.ping(hosts[0], hosts[1]).is_some());
    assert!(world.ping(hosts[2], hosts[1]).is_none());
    // One that nobody has met asks for the other by ARP, which goes to all.
    let fresh = world.add_host(routers[2], "10.2.1.9/24");
    assert!(world.ping(fresh, hosts[1]).is_none());
    let other = world.add_host(routers[2], "10.2.1.10/24");
    assert!(world.ping(other, hosts[0]).is_some());
    let status = status(&world, routers[1]);
    assert_eq!(status.connections.len(), 1);
    assert!(status.traffic.drops["denied"] > 0);
    assert!(status.refusals["refused_denied"] > 0);
    assert!(
        status
            .warnings
            .iter()
            .any(|warning| warning.contains("--deny")),
        "{:?}",
        status.warnings
    );
}

fn peer_id(hex: &str) -> weave_crypto::PeerId {
    let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    weave_crypto::PeerId::from_bytes(std::array::from_fn(byte))
}
