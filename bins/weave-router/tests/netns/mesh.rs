//! Routers find each other.

use std::time::{Duration, Instant};

use super::lab::ping::Pinger;
use super::lab::shapes::with_others;
use super::lab::{Container, Host, Lab, figure, within};

pub(super) fn a_chain_becomes_a_full_mesh_and_lives_on_without_its_middle() {
    let mut lab = Lab::new();
    let mut hosts: Vec<Host> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| lab.host(name))
        .collect();
    let addresses: Vec<_> = hosts.iter().map(Host::address).collect();
    let containers: Vec<Container> = hosts
        .iter_mut()
        .zip(1..)
        .map(|(host, number)| host.container(&[&format!("10.32.1.{number}/24")]))
        .collect();
    let mut started = Instant::now();
    for (host, told) in hosts.iter_mut().zip([1, 0, 1, 2]) {
        started = host.start(&[addresses[told]]);
    }
    for (host, others) in with_others(&hosts) {
        host.await_links(FULL_MESH_TIME_MAX, &others);
    }
    let full = started.elapsed();
    figure(&format!("a full mesh of four after {full:?}"));
    assert!(full < FULL_MESH_TIME_MAX, "{full:?}");
    all_reach_each_other(&containers.iter().collect::<Vec<_>>());
    // Nobody stays with a detour that was shorter while all were starting.
    for (host, others) in with_others(&hosts) {
        host.await_direct(SETTLING_TIME_MAX, &others);
    }

    hosts[1].kill();
    let killed = Instant::now();
    let rest: Vec<&Container> = containers
        .iter()
        .enumerate()
        .filter(|(n, _)| *n != 1)
        .map(|(_, c)| c)
        .collect();
    all_reach_each_other(&rest);
    figure(&format!(
        "the rest reach each other {:?} after the middle was killed",
        killed.elapsed()
    ));
    for host in hosts.iter().filter(|host| host.name() != "b") {
        host.await_status(
            Duration::from_secs(6),
            "the killed router gone from the routes",
            |status| status.routes.iter().all(|route| route.destination != "b"),
        );
    }
    all_reach_each_other(&rest);
}

pub(super) fn the_first_ping_is_answered_within_a_second_of_the_start() {
    let mut lab = Lab::new();
    let (mut a, mut b) = (lab.host("a"), lab.host("b"));
    let (one, other) = (
        a.container(&["10.32.1.1/24"]),
        b.container(&["10.32.1.2/24"]),
    );
    a.start(&[]);
    within(Duration::from_secs(5), "the first router's status", || {
        a.status()
    });
    let pinger = Pinger::start(&one, other.address(), b"");
    let started = b.start(&[a.address()]);
    let answered = pinger
        .answered_after(started, Duration::from_secs(5))
        .expect("an answer");
    let took = answered.duration_since(started);
    figure(&format!("the first ping was answered after {took:?}"));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

fn all_reach_each_other(containers: &[&Container]) {
    for one in containers {
        for other in containers
            .iter()
            .filter(|other| other.address() != one.address())
        {
            one.must_reach(other, Duration::from_secs(1));
        }
    }
}

/// A cost that was measured while all were starting is published anew after 5 s.
const SETTLING_TIME_MAX: Duration = Duration::from_secs(12);
const FULL_MESH_TIME_MAX: Duration = Duration::from_secs(6);
