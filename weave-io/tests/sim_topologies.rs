//! Named topologies and faults in the simulator: what a user would try first.

use std::time::Duration;

use weave_io::sim::{
    Conditions, Fault, HostId, NatBehaviour, NatKind, RouterId, TransferState, World,
};

#[test]
fn in_a_line_of_three_the_middle_relays() {
    let (mut world, routers, hosts) = line(1, 3);
    world.cut(routers[0], routers[2]);
    world.run_for(seconds(4));
    let took = world
        .ping(hosts[0], hosts[2])
        .expect("a ping across the relay");
    // Two hops of 0.2 ms each way, for ARP and for the ping, and bridges.
    assert!(took < ms(5), "{took:?}");
    assert_eq!(
        world.route_of(routers[0], routers[2]).as_deref(),
        Some("r1")
    );
    assert_eq!(
        world.route_of(routers[0], routers[1]).as_deref(),
        Some("r1")
    );
    world.assert_clean();
}

#[test]
fn told_one_peer_a_chain_of_five_becomes_a_full_mesh() {
    let (mut world, routers, hosts) = line(2, 5);
    world.run_for(seconds(3));
    for a in &routers {
        let status = world.status(*a).unwrap();
        assert_eq!(
            status
                .connections
                .iter()
                .filter(|connection| connection.usable)
                .count(),
            4
        );
        for b in routers.iter().filter(|b| *b != a) {
            assert_eq!(
                world.route_of(*a, *b),
                Some(format!("r{b}")),
                "a direct route"
            );
        }
    }
    for host in &hosts[1..] {
        assert!(world.ping(hosts[0], *host).is_some());
    }
    world.assert_clean();
}

#[test]
fn a_silent_cut_in_a_triangle_is_routed_around_within_a_second() {
    let (mut world, routers, hosts) = line(3, 3);
    watch_all(&mut world, &hosts);
    world.run_for(seconds(6));
    assert_eq!(
        world.route_of(routers[0], routers[2]).as_deref(),
        Some("r2")
    );
    world.cut(routers[0], routers[2]);
    let rerouted = world.run_while_not(seconds(1), |world| {
        world.route_of(RouterId(0), RouterId(2)).as_deref() == Some("r1")
            && world.route_of(RouterId(2), RouterId(0)).as_deref() == Some("r1")
    });
    assert!(rerouted, "still not after {:?}", world.now());
    // The checkers find any beacon lost later than a second after the cut.
    world.run_for(seconds(5));
    world.heal(routers[0], routers[2]);
    world.run_for(seconds(10));
    assert_eq!(
        world.route_of(routers[0], routers[2]).as_deref(),
        Some("r2"),
        "and back"
    );
    world.assert_clean();
}

#[test]
fn a_cut_of_one_direction_is_routed_around_within_two_seconds() {
    let (mut world, routers, hosts) = line(4, 3);
    watch_all(&mut world, &hosts);
    world.run_for(seconds(6));
    world.apply(&Fault::CutOneWay(routers[0], routers[2]));
    world.run_for(seconds(8));
    assert_eq!(
        world.route_of(routers[0], routers[2]).as_deref(),
        Some("r1")
    );
    assert_eq!(
        world.route_of(routers[2], routers[0]).as_deref(),
        Some("r1")
    );
    world.assert_clean();
}

#[test]
fn both_sides_of_a_partition_live_on_and_join_again() {
    let (mut world, routers, hosts) = line(5, 4);
    watch_all(&mut world, &hosts);
    world.run_for(seconds(5));
    world.apply(&Fault::Partition([routers[0], routers[1]].into()));
    world.run_for(seconds(20));
    assert!(world.ping(hosts[0], hosts[1]).is_some());
    assert!(world.ping(hosts[2], hosts[3]).is_some());
    assert!(world.ping(hosts[0], hosts[2]).is_none());
    assert_eq!(world.route_of(routers[0], routers[2]), None);
    world.apply(&Fault::HealAll);
    world.run_for(seconds(8));
    assert!(world.ping(hosts[0], hosts[2]).is_some());
    world.assert_clean();
}

#[test]
fn a_crashed_router_is_back_within_two_seconds_of_its_restart() {
    for silent in [false, true] {
        let (mut world, routers, hosts) = line(6, 3);
        watch_all(&mut world, &hosts);
        world.run_for(seconds(5));
        let boot_id = world.status(routers[1]).unwrap().boot_id;
        world.apply(&if silent {
            Fault::PowerOff(routers[1])
        } else {
            Fault::Crash(routers[1])
        });
        assert!(!world.is_running(routers[1]));
        assert!(world.status(routers[1]).is_none());
        world.run_for(seconds(7));
        assert!(world.ping(hosts[0], hosts[2]).is_some(), "the others go on");
        assert!(world.ping(hosts[0], hosts[1]).is_none());
        world.restart(routers[1]);
        world.run_for(seconds(2));
        let took = world
            .ping(hosts[0], hosts[1])
            .expect("an answer from the restarted router's container");
        assert!(took < seconds(1), "{took:?}");
        assert!(world.status(routers[1]).unwrap().boot_id > boot_id);
        world.run_for(seconds(3));
        world.assert_clean();
    }
}

#[test]
fn a_restarted_router_rejoins_even_if_all_it_was_told_is_gone() {
    let (mut world, routers, hosts) = line(7, 3);
    watch_all(&mut world, &hosts);
    world.run_for(seconds(6));
    // Router 2 was told of router 1 only.
    world.crash(routers[1]);
    world.crash(routers[2]);
    world.run_for(seconds(5));
    world.restart(routers[2]);
    world.run_for(seconds(2));
    assert!(world.ping(hosts[2], hosts[0]).is_some());
    world.assert_clean();
}

#[test]
fn the_nearer_way_is_taken() {
    let mut world = World::new(8);
    let routers: Vec<RouterId> = (0..3).map(|n| world.add_router(&format!("r{n}"))).collect();
    let far = Conditions {
        latency: ms(30),
        ..Conditions::LOCAL
    };
    world.set_conditions(routers[0], routers[2], far);
    world.connect(routers[0], routers[1]);
    world.connect(routers[2], routers[1]);
    let left = world.add_host(routers[0], "10.0.0.1/24");
    let right = world.add_host(routers[2], "10.0.0.2/24");
    world.run_for(seconds(12));
    assert_eq!(
        world.route_of(routers[0], routers[2]).as_deref(),
        Some("r1"),
        "60 ms direct, under 1 ms by r1"
    );
    assert!(world.ping(left, right).unwrap() < ms(5));
    world.assert_clean();
}

#[test]
fn tcp_gets_through_loss_duplication_and_reordering() {
    let (mut world, routers, hosts) = line(9, 3);
    world.cut(routers[0], routers[2]);
    for (a, b) in [(0, 1), (1, 2)] {
        world.apply(&Fault::Bursts(routers[a], routers[b], [5, 400, 600]));
        world.apply(&Fault::Duplicate(routers[a], routers[b], 50));
        world.apply(&Fault::Reorder(routers[a], routers[b], 50));
    }
    world.run_for(seconds(5));
    let transfer = world.start_transfer(hosts[0], hosts[2], 400_000);
    assert!(
        world.run_while_not(seconds(60), |world| world.transfer(transfer)
            == TransferState::Done)
    );
    let counters = world.net().counters();
    assert!(
        counters.lost > 0 && counters.duplicated > 0 && counters.reordered > 0,
        "{counters:?}"
    );
    world.assert_clean();
}

#[test]
fn tcp_gets_through_a_path_whose_mtu_shrinks_under_it() {
    for relayed in [false, true] {
        let (mut world, routers, hosts) = line(13, 3);
        let (near, far) = if relayed {
            world.cut(routers[0], routers[2]);
            (1, 2)
        } else {
            (0, 2)
        };
        world.run_for(seconds(4));
        let transfer = world.start_transfer(hosts[0], hosts[2], 2_000_000);
        world.run_for(ms(20));
        assert_ne!(world.transfer(transfer), TransferState::Done);
        for bytes in [1_372, 1_252] {
            world.apply(&Fault::Mtu(routers[near], routers[far], bytes));
            world.run_for(seconds(2));
        }
        assert!(
            world.run_while_not(seconds(20), |world| world.transfer(transfer)
                == TransferState::Done),
            "relayed: {relayed}"
        );
        let status = world.status(routers[near]).unwrap();
        let name = format!("r{far}");
        let found = status
            .connections
            .iter()
            .find(|connection| connection.name == name)
            .map(|connection| connection.path_mtu_bytes);
        assert_eq!(found, Some(1_252), "{:?}", status.connections);
        world.assert_clean();
    }
}

#[test]
fn a_container_that_moves_is_found() {
    for announces in [true, false] {
        let (mut world, routers, hosts) = line(14, 4);
        watch_all(&mut world, &hosts);
        world.run_for(seconds(6));
        // Nobody pings it but those who learned where it was; the checkers find whom it does not answer in time.
        for to in [routers[3], routers[1], routers[0]] {
            world.move_host(hosts[0], to, announces);
            assert_eq!(world.router_of(hosts[0]), to);
            let left = Duration::from_millis(if announces { 2_500 } else { 7_500 });
            world.run_for(left);
            let took = world.ping(hosts[2], hosts[0]).expect("an answer");
            assert!(took < ms(100), "{took:?}");
            world.run_for(seconds(10));
        }
        world.assert_clean();
    }
}

#[test]
fn a_container_moves_away_from_a_router_that_dies() {
    let (mut world, routers, hosts) = line(15, 3);
    watch_all(&mut world, &hosts);
    world.run_for(seconds(6));
    world.crash(routers[2]);
    world.move_host(hosts[2], routers[1], true);
    world.run_for(seconds(3));
    assert!(world.ping(hosts[0], hosts[2]).is_some());
    world.run_for(seconds(10));
    world.assert_clean();
}

#[test]
fn containers_on_one_bridge_and_on_others_reach_each_other() {
    let (mut world, routers, hosts) = line(10, 2);
    let more = world.add_host(routers[0], "10.0.0.77/24");
    world.run_for(seconds(3));
    assert!(world.ping(hosts[0], more).is_some(), "over the bridge");
    assert!(world.ping(more, hosts[1]).is_some(), "over the mesh");
    world.assert_clean();
}

#[test]
fn a_router_resolves_names() {
    let mut world = World::new(11);
    let (a, b) = (world.add_router("a"), world.add_router("b"));
    world.command(a, weave_core::Command::Connect("b".parse().unwrap()));
    world.run_for(seconds(2));
    assert_eq!(world.route_of(a, b).as_deref(), Some("b"));
    world.assert_clean();
}

#[test]
fn thirty_routers_find_each_other() {
    let (mut world, routers, hosts) = line(12, 30);
    world.run_for(seconds(4));
    for router in &routers {
        assert_eq!(
            world.status(*router).unwrap().routes.len(),
            29,
            "router {router}"
        );
    }
    assert!(world.ping(hosts[0], hosts[29]).is_some());
    world.assert_clean();
}

#[test]
fn routers_behind_nat_boxes_reach_each_other_through_one_in_the_open() {
    for mapping in NatBehaviour::ALL {
        let mut world = World::new(13);
        let open = world.add_router("r0");
        let kind = NatKind {
            mapping,
            ..NatKind::MASQUERADE
        };
        let nats = [world.add_nat(kind), world.add_nat(kind)];
        let mut routers = vec![open];
        for (number, nat) in [nats[0], nats[0], nats[1]].into_iter().enumerate() {
            routers.push(world.add_router_behind(&format!("r{}", number + 1), nat));
            world.connect(routers[number + 1], open);
        }
        let hosts: Vec<HostId> = routers
            .iter()
            .map(|router| world.add_host(*router, &format!("10.0.0.{}/24", router.0 + 1)))
            .collect();
        watch_all(&mut world, &hosts);
        world.run_for(seconds(4));
        assert!(world.ping(hosts[1], hosts[3]).is_some());
        assert_eq!(
            world.route_of(routers[1], routers[2]).as_deref(),
            Some("r2"),
            "behind one box: by their private addresses"
        );
        // The boxes forget: new ports, and new streams.
        for router in [routers[1], routers[3]] {
            world.apply(&Fault::NatRebind(router));
            world.run_for(seconds(6));
        }
        assert!(world.ping(hosts[3], hosts[2]).is_some());
        world.assert_clean();
    }
}

#[test]
fn routers_behind_two_nat_boxes_find_a_direct_path_where_the_kind_of_box_allows_it() {
    for mapping in NatBehaviour::ALL {
        for filtering in NatBehaviour::ALL {
            let kind = NatKind {
                mapping,
                filtering,
                timeout: NatKind::TIMEOUT,
            };
            let mut world = World::new(14);
            let open = world.add_router("r0");
            let routers = ["r1", "r2"].map(|name| {
                let nat = world.add_nat(kind);
                let router = world.add_router_behind(name, nat);
                world.connect(router, open);
                router
            });
            let hosts = [
                world.add_host(routers[0], "10.0.0.1/24"),
                world.add_host(routers[1], "10.0.0.2/24"),
            ];
            // Its beacons are frames all the time, and the checkers find any that is lost.
            watch_all(&mut world, &hosts);
            let direct = |world: &World| {
                let route = |from: RouterId, to: RouterId| {
                    let status = world.status(from).unwrap();
                    let name = format!("r{to}");
                    status
                        .routes
                        .into_iter()
                        .find(|route| route.destination == name)
                };
                let routes = [route(routers[0], routers[1]), route(routers[1], routers[0])];
                routes.map(|route| {
                    route.map(|route| (route.direct_remote.is_some(), route.direct_path))
                })
            };
            let both =
                |world: &World| direct(world).iter().flatten().filter(|at| at.0).count() == 2;
            // Probes must be let in, and answered from where they went.
            let is_possible = match mapping {
                NatBehaviour::EndpointIndependent => true,
                NatBehaviour::AddressDependent => filtering == NatBehaviour::EndpointIndependent,
                NatBehaviour::AddressAndPortDependent => false,
            };
            let is_found = world.run_while_not(seconds(10), both);
            assert_eq!(is_found, is_possible, "{kind}: {:?}", direct(&world));
            if is_possible {
                // The boxes forget: by the relay, and by a new path.
                world.apply(&Fault::NatRebind(routers[0]));
                world.run_for(seconds(1));
                assert!(world.run_while_not(seconds(10), both), "{kind}: again");
            } else {
                // Between two tries, both say why there is none.
                let say_why = |world: &World| {
                    direct(world).into_iter().flatten().all(|(_, words)| {
                        words.is_some_and(|words| {
                            words.starts_with("no direct path: no answer from")
                                && words.contains("the NATs of both change ports")
                        })
                    })
                };
                let is_said = world.run_while_not(seconds(10), say_why);
                assert!(is_said, "{kind}: {:?}", direct(&world));
            }
            world.assert_clean();
        }
    }
}

/// Routers in a row, each told of the one before, each with a container. Discovery makes a mesh of them.
fn line(seed: u64, count: usize) -> (World, Vec<RouterId>, Vec<HostId>) {
    let mut world = World::new(seed);
    let routers: Vec<RouterId> = (0..count)
        .map(|n| world.add_router(&format!("r{n}")))
        .collect();
    for pair in routers.windows(2) {
        world.connect(pair[1], pair[0]);
    }
    let hosts = routers
        .iter()
        .map(|router| world.add_host(*router, &format!("10.0.0.{}/24", router.0 + 1)))
        .collect();
    (world, routers, hosts)
}

fn watch_all(world: &mut World, hosts: &[HostId]) {
    for (index, from) in hosts.iter().enumerate() {
        for to in &hosts[index + 1..] {
            world.watch(*from, *to, ms(100));
        }
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
