//! Paths that are half broken: loss, flapping, partitions, relays that die.

use std::thread;
use std::time::{Duration, Instant};

use super::lab::ping::Pinger;
use super::lab::shapes::FullMesh;
use super::lab::{Host, Lab, figure, within};

pub(super) fn a_path_that_loses_thirty_percent_is_left_within_three_seconds() {
    let mut lab = Lab::new();
    let FullMesh { containers, hosts } = lab.full_mesh(3);
    let _pinger = Pinger::start(&containers[0], containers[1].address(), b"");
    for turn in 0..3 {
        hosts[0].await_direct(HEAL_TIME_MAX, &[&hosts[1]]);
        thread::sleep(Duration::from_secs(3) + Duration::from_millis(370 * turn));
        let began = Instant::now();
        lab.lose(&hosts[0], &hosts[1], 30);
        let (_, took) = within(Duration::from_secs(3), "the path is left", || {
            relayed(&hosts[0], &hosts[1]).then_some(())
        });
        figure(&format!("30 % lost: left after {took:?}"));
        assert!(began.elapsed() < Duration::from_secs(3));
        lab.lose_nothing();
    }
}

pub(super) fn a_link_that_flaps_each_second_moves_routes_once_in_two_seconds_at_most() {
    let mut lab = Lab::new();
    let FullMesh { containers, hosts } = lab.full_mesh(3);
    let pinger = Pinger::start(&containers[0], containers[1].address(), b"");
    thread::sleep(Duration::from_secs(3));
    let began = Instant::now();
    let (mut changes, mut known) = (0, relayed(&hosts[0], &hosts[1]));
    let mut watch = |time: Duration| {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let now = relayed(&hosts[0], &hosts[1]);
            changes += usize::from(now != known);
            known = now;
            thread::sleep(Duration::from_millis(20));
        }
    };
    for _ in 0..60 {
        lab.cut(&hosts[0], &hosts[1]);
        watch(Duration::from_millis(500));
        lab.heal(&hosts[0], &hosts[1]);
        watch(Duration::from_millis(500));
    }
    let gap = pinger.gap_since(began);
    figure(&format!(
        "{changes} route changes, {gap:?} without an answer at most"
    ));
    assert!(changes <= 30, "{changes}");
    assert!(gap < Duration::from_secs(2), "{gap:?}");
    for host in &hosts {
        let drops = host.status().unwrap().traffic.drops;
        assert!(!drops.contains_key("ttl_expired"), "a loop: {drops:?}");
    }
}

pub(super) fn both_sides_of_a_partition_work_and_meet_again_within_five_seconds() {
    let mut lab = Lab::new();
    let FullMesh { containers, hosts } = lab.full_mesh(4);
    let sides = [
        Pinger::start(&containers[0], containers[1].address(), b""),
        Pinger::start(&containers[2], containers[3].address(), b""),
    ];
    let across = Pinger::start(&containers[0], containers[2].address(), b"");
    let cuts = [(0, 2), (0, 3), (1, 2), (1, 3)];
    for _ in 0..3 {
        thread::sleep(Duration::from_secs(2));
        let cut = Instant::now();
        for (one, other) in cuts {
            lab.cut(&hosts[one], &hosts[other]);
        }
        thread::sleep(Duration::from_secs(60));
        for side in &sides {
            let gap = side.gap_since(cut);
            assert!(gap < Duration::from_secs(1), "{gap:?} on one side");
        }
        let healed = Instant::now();
        for (one, other) in cuts {
            lab.heal(&hosts[one], &hosts[other]);
        }
        let answered = across
            .answered_after(healed, Duration::from_secs(10))
            .expect("the sides meet again");
        let took = answered.duration_since(healed);
        figure(&format!("answers across {took:?} after healing"));
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

pub(super) fn a_relay_that_is_killed_costs_less_than_two_seconds() {
    let mut lab = Lab::new();
    let FullMesh {
        containers,
        mut hosts,
    } = lab.full_mesh(4);
    lab.cut(&hosts[0], &hosts[1]);
    let pinger = Pinger::start(&containers[0], containers[1].address(), b"");
    thread::sleep(Duration::from_secs(4));
    let status = hosts[0].status().unwrap();
    let route = status
        .routes
        .iter()
        .find(|route| route.destination == "b")
        .unwrap();
    let relay = hosts
        .iter()
        .position(|host| host.name() == route.next_hop)
        .unwrap();
    assert!(relay > 1, "{route:?}");
    let killed = Instant::now();
    hosts[relay].kill();
    thread::sleep(Duration::from_secs(4));
    let gap = pinger.gap_since(killed);
    figure(&format!("the relay is killed: {gap:?} without an answer"));
    assert!(gap < Duration::from_secs(2), "{gap:?}");
}

/// Whether frames from one host to another go by a third.
fn relayed(from: &Host, to: &Host) -> bool {
    let status = from.status().unwrap();
    let mut routes = status.routes.iter();
    routes.any(|route| route.destination == to.name() && !route.direct)
}

/// A lossy path is left alone for 10 s at the least, 20 and 40 when it was taken too early.
const HEAL_TIME_MAX: Duration = Duration::from_secs(70);
