//! What carries frames, and how good it is: blocked UDP, loss, cuts of one direction, flapping, partitions.
//!
//! Everything runs over several seeds, which move the phase of probes and timers. The bars are those of the
//! namespace tests, which show the same with real kernels.

use std::time::Duration;

use weave_io::sim::{Fault, HostId, RouterId, World};

#[test]
fn blocked_udp_leaves_frames_to_tcp_within_a_second_and_takes_them_back_within_ten() {
    for seed in 0..10 {
        let (mut world, routers, hosts) = mesh(seed, 2);
        ping(&mut world, hosts[0], hosts[1]);
        world.run_for(seconds(35) + ms(37 * seed));
        world.apply(&Fault::BlockUdp(routers[0], routers[1]));
        let gap = longest_gap(&mut world, seconds(5), |_| {});
        assert!(gap < seconds(1), "{gap:?}");
        for (at, to) in [(0, 1), (1, 0)] {
            let status = world.status(routers[at]).unwrap();
            let link = &status.connections[0];
            assert_eq!(link.carrier.as_deref(), Some("tcp"));
            assert_eq!(
                link.state,
                "over TCP: three probes over UDP in a row were not answered"
            );
            assert_eq!(status.routes[0].carrier, "tcp");
            assert!(!status.traffic.drops.contains_key("stream_full"));
            assert!(status.warnings.iter().any(|warning| {
                warning.starts_with(&format!("frames to r{to} go over TCP: three probes"))
            }));
        }
        world.run_for(seconds(25));
        let healed = world.now();
        world.heal(routers[0], routers[1]);
        let mut back = None;
        let gap = longest_gap(&mut world, seconds(12), |world| {
            let is_back = [0, 1].iter().all(|at| {
                let status = world.status(routers[*at]).unwrap();
                status.connections[0].carrier.as_deref() == Some("udp")
            });
            if is_back && back.is_none() {
                back = Some(world.now() - healed);
            }
        });
        assert!(gap < ms(100), "nothing is lost on the way back: {gap:?}");
        assert!(back.is_some_and(|back| back < seconds(10)), "{back:?}");
        world.assert_clean();
    }
}

#[test]
fn keys_replaced_each_second_cost_no_frame_over_ways_that_reorder() {
    for (seed, is_relayed) in [(0, false), (1, true), (2, true)] {
        let mut world = World::new(seed);
        world.replace_keys_after(seconds(1));
        let routers = ["r0", "r1", "r2"].map(|name| world.add_router(name));
        if is_relayed {
            world.cut(routers[0], routers[2]);
        }
        world.connect(routers[0], routers[1]);
        world.connect(routers[2], routers[1]);
        let hosts = [
            world.add_host(routers[0], "10.0.0.1/24"),
            world.add_host(routers[2], "10.0.0.2/24"),
        ];
        world.run_for(seconds(5));
        ping(&mut world, hosts[0], hosts[1]);
        ping(&mut world, hosts[1], hosts[0]);
        // A packet may be overtaken by those of 30 ms, so by whole set-ups, whose messages go by streams.
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            let (a, b) = (routers[a], routers[b]);
            world.apply(&Fault::Latency(a, b, ms(3)));
            world.apply(&Fault::Jitter(a, b, ms(30)));
            world.apply(&Fault::Reorder(a, b, 200));
        }
        world.run_for(seconds(3));
        let before = world.beacons_delivered();
        // Each beacon is answered.
        world.watch(hosts[0], hosts[1], ms(2));
        world.run_for(seconds(20));
        let delivered = world.beacons_delivered() - before;
        // A first that may come late, and what is on its way at the end.
        assert!(delivered >= 2 * (10_000 - 60), "{delivered}, seed {seed}");
        for router in routers {
            let drops = world.status(router).unwrap().traffic.drops;
            for reason in ["unknown_receiver", "not_genuine", "replayed", "no_route"] {
                assert!(!drops.contains_key(reason), "{drops:?}, seed {seed}");
            }
        }
        world.assert_clean();
    }
}

#[test]
fn a_flood_and_relayed_frames_cross_a_hop_over_tcp() {
    let (mut world, routers, hosts) = mesh(3, 3);
    world.cut(routers[0], routers[2]);
    world.apply(&Fault::BlockUdp(routers[1], routers[2]));
    world.run_for(seconds(8));
    // ARP is the flood.
    assert!(world.ping(hosts[0], hosts[2]).is_some());
    let relay = world.status(routers[1]).unwrap().traffic;
    assert!(relay.packets_relayed > 0);
    let transfer = world.start_transfer(hosts[2], hosts[0], 300_000);
    world.run_for(seconds(10));
    assert_eq!(world.transfer(transfer), weave_io::sim::TransferState::Done);
    let route = world.status(routers[2]).unwrap().routes.remove(0);
    assert_eq!(
        (route.destination.as_str(), route.carrier.as_str()),
        ("r0", "tcp")
    );
    world.assert_clean();
}

#[test]
fn udp_that_never_passes_is_no_hindrance() {
    let (mut world, routers, hosts) = idle_mesh(4, 2);
    world.apply(&Fault::BlockUdp(routers[0], routers[1]));
    world.connect(routers[0], routers[1]);
    world.run_for(seconds(2));
    assert!(world.ping(hosts[0], hosts[1]).is_some());
    let link = world.status(routers[0]).unwrap().connections.remove(0);
    assert_eq!(link.state, "over TCP: no probe over UDP was answered yet");
    world.assert_clean();
}

#[test]
fn each_cut_of_one_direction_costs_less_than_two_seconds() {
    let (mut world, routers, hosts) = mesh(5, 3);
    ping(&mut world, hosts[0], hosts[2]);
    world.run_for(seconds(10));
    for turn in 0..10 {
        let cut = if turn % 2 == 0 { (0, 2) } else { (2, 0) };
        // A prime, so that all phases of 150 ms come.
        world.run_for(ms(37 * turn));
        world.apply(&Fault::CutOneWay(routers[cut.0], routers[cut.1]));
        let gap = longest_gap(&mut world, seconds(6), |_| {});
        assert!(gap < seconds(2), "{gap:?} at turn {turn}");
        world.heal(routers[0], routers[2]);
        let gap = longest_gap(&mut world, seconds(14), |_| {});
        assert!(gap < ms(500), "{gap:?} after healing at turn {turn}");
        assert_eq!(
            world.route_of(routers[0], routers[2]).as_deref(),
            Some("r2")
        );
    }
    world.assert_clean();
}

#[test]
fn a_path_that_loses_thirty_percent_is_left_within_three_seconds() {
    let mut slowest = Duration::ZERO;
    for seed in 0..40 {
        let (mut world, routers, hosts) = mesh(seed, 3);
        ping(&mut world, hosts[0], hosts[2]);
        world.run_for(seconds(10) + ms(13 * seed));
        assert_eq!(
            world.route_of(routers[0], routers[2]).as_deref(),
            Some("r2")
        );
        world.apply(&Fault::Loss(routers[0], routers[2], 300));
        let began = world.now();
        let is_left = world.run_while_not(seconds(3), |world| relayed(world, (0, 2), "r1"));
        assert!(is_left, "seed {seed}");
        slowest = slowest.max(world.now() - began);
        let changes = route_changes(&mut world, seconds(60));
        // Three probes lost in a row take UDP down, and five answers bring it back before the loss shows as such.
        assert!(changes <= 10, "{changes} in a minute, seed {seed}");
        world.assert_clean();
    }
    assert!(slowest < seconds(3), "{slowest:?}");
}

#[test]
fn a_path_that_is_clean_again_is_taken_again() {
    let (mut world, routers, hosts) = mesh(6, 3);
    ping(&mut world, hosts[0], hosts[2]);
    world.run_for(seconds(10));
    world.apply(&Fault::Loss(routers[0], routers[2], 300));
    world.run_for(seconds(20));
    assert!(relayed(&world, (0, 2), "r1"));
    world.heal(routers[0], routers[2]);
    let is_back = world.run_while_not(seconds(60), |world| relayed(world, (0, 2), "r2"));
    assert!(is_back);
    world.assert_clean();
}

#[test]
fn a_link_that_flaps_once_a_second_moves_routes_once_in_two_seconds_at_most() {
    for seed in 0..6 {
        let (mut world, routers, hosts) = mesh(seed, 3);
        ping(&mut world, hosts[0], hosts[2]);
        world.run_for(seconds(10) + ms(29 * seed));
        let mut changes = 0;
        for _ in 0..60 {
            world.cut(routers[0], routers[2]);
            changes += route_changes(&mut world, ms(500));
            world.heal(routers[0], routers[2]);
            changes += route_changes(&mut world, ms(500));
        }
        assert!(changes <= 30, "{changes} route changes, seed {seed}");
        // The checkers have looked for loops and duplicates.
        world.assert_clean();
    }
}

#[test]
fn both_sides_of_a_partition_work_and_meet_again_within_five_seconds() {
    for seed in 0..3 {
        let (mut world, routers, hosts) = mesh(seed, 4);
        for (from, to) in [(0, 1), (2, 3)] {
            ping(&mut world, hosts[from], hosts[to]);
        }
        world.run_for(seconds(10));
        world.apply(&Fault::Partition([routers[0], routers[1]].into()));
        let mut delivered = world.beacons_delivered();
        for _ in 0..60 {
            world.run_for(seconds(1));
            let now = world.beacons_delivered();
            // 50 pings a second and their answers, on either side.
            assert!(now - delivered >= 190, "{}", now - delivered);
            delivered = now;
        }
        world.apply(&Fault::HealAll);
        let healed = world.now();
        let mut answered = Duration::MAX;
        for (from, to) in [(0, 2), (1, 3), (3, 0)] {
            while world.ping(hosts[from], hosts[to]).is_none() {}
            answered = world.now() - healed;
            assert!(answered < seconds(5), "{answered:?}, seed {seed}");
        }
        assert!(answered < seconds(5));
        world.run_for(seconds(20));
        world.assert_clean();
    }
}

#[test]
fn a_relay_that_dies_costs_less_than_two_seconds() {
    for seed in 0..6 {
        let (mut world, routers, hosts) = mesh(seed, 4);
        world.cut(routers[0], routers[2]);
        ping(&mut world, hosts[0], hosts[2]);
        world.run_for(seconds(10) + ms(31 * seed));
        let relay = world.route_of(routers[0], routers[2]).unwrap();
        let relay = RouterId(usize::from(relay == "r3") * 2 + 1);
        world.apply(&if seed % 2 == 0 {
            Fault::Crash(relay)
        } else {
            Fault::PowerOff(relay)
        });
        let gap = longest_gap(&mut world, seconds(6), |_| {});
        assert!(gap < seconds(2), "{gap:?}, seed {seed}");
        world.assert_clean();
    }
}

/// So many routers that all know each other, each with a container, all settled.
fn mesh(seed: u64, count: usize) -> (World, Vec<RouterId>, Vec<HostId>) {
    let (mut world, routers, hosts) = idle_mesh(seed, count);
    for (at, to) in routers.iter().zip(routers.iter().skip(1)) {
        world.connect(*at, *to);
    }
    world.run_for(seconds(5));
    (world, routers, hosts)
}

/// The same, of which none knows another.
fn idle_mesh(seed: u64, count: usize) -> (World, Vec<RouterId>, Vec<HostId>) {
    let mut world = World::new(seed);
    let routers: Vec<RouterId> = (0..count)
        .map(|number| world.add_router(&format!("r{number}")))
        .collect();
    let hosts = routers
        .iter()
        .enumerate()
        .map(|(number, router)| world.add_host(*router, &format!("10.32.0.{}/24", number + 1)))
        .collect();
    (world, routers, hosts)
}

/// A ping each 20 ms from now on.
fn ping(world: &mut World, from: HostId, to: HostId) {
    world.watch(from, to, ms(20));
}

/// The longest time without an answered ping, of one pair that pings. `look` is called all the time.
fn longest_gap(world: &mut World, time: Duration, mut look: impl FnMut(&World)) -> Duration {
    let until = world.now() + time;
    let (mut longest, mut gap) = (Duration::ZERO, Duration::ZERO);
    while world.now() < until {
        let before = world.beacons_delivered();
        world.run_for(ms(40));
        // Two pings and their answers; one of the four may have come a moment earlier or later.
        let is_whole = world.beacons_delivered() - before >= 3;
        gap = if is_whole {
            Duration::ZERO
        } else {
            gap + ms(40)
        };
        longest = longest.max(gap);
        look(world);
    }
    longest
}

/// Whether both of two routers reach each other by this one.
fn relayed(world: &World, (a, b): (usize, usize), next_hop: &str) -> bool {
    let (a, b) = (RouterId(a), RouterId(b));
    let by = |from, to, itself: &str| {
        let expected = if next_hop == "r2" { itself } else { next_hop };
        world.route_of(from, to).as_deref() == Some(expected)
    };
    by(a, b, "r2") && by(b, a, "r0")
}

/// How often the route from router 0 to router 2 changes.
fn route_changes(world: &mut World, time: Duration) -> usize {
    let until = world.now() + time;
    let route = |world: &World| world.route_of(RouterId(0), RouterId(2));
    let mut known = route(world);
    let mut changes = 0;
    while world.now() < until {
        world.run_for(ms(20));
        let now = route(world);
        changes += usize::from(now != known);
        known = now;
    }
    changes
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
