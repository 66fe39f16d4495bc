//! Each checker that looks at a world finds what it is for. Those with rules of their own are tested beside them.

use weave_core::{Learned, Site};

use super::*;
use crate::sim::host::{Beacon, MARKER};

#[test]
fn a_world_without_faults_is_clean() {
    let mut pair = Pair::new();
    pair.world.run_for(seconds(5));
    pair.world.look_at_end(&[]);
    pair.world.assert_clean();
    assert!(pair.world.beacons_delivered() > 50);
}

#[test]
fn a_cut_that_the_checkers_were_not_told_of_is_a_black_hole() {
    let mut pair = Pair::new();
    pair.world.run_for(seconds(5));
    pair.cut_secretly();
    pair.world.run_for(seconds(2));
    pair.expect(Checker::BlackHole);
}

#[test]
fn a_container_that_is_not_found_after_a_move_is_a_black_hole() {
    for (announces, within) in [(true, seconds(2)), (false, seconds(7))] {
        let mut pair = Pair::new();
        let [a, b] = pair.routers;
        let c = pair.world.add_router("c");
        pair.world.connect(c, a);
        pair.world.run_for(seconds(5));
        for to in [c, b, c] {
            pair.world.move_host(pair.hosts[1], to, announces);
            pair.world.run_for(seconds(12));
        }
        pair.world.assert_clean();
        let moved_at = pair.world.now();
        pair.world.move_host(pair.hosts[1], b, announces);
        pair.cut_secretly();
        pair.world.net.apply(&Fault::Cut(b, c), 3);
        pair.world.run_for(seconds(10));
        pair.expect(Checker::BlackHole);
        let found = pair.world.violations()[0].at - moved_at;
        assert!(found >= within && found < within + seconds(2), "{found:?}");
    }
}

#[test]
fn a_way_that_swallows_large_frames_is_a_black_hole_to_those_only() {
    let mut pair = Pair::new();
    pair.world.run_for(seconds(5));
    let [a, b] = pair.routers;
    for bytes in [1_300, 1_200, 1_472] {
        pair.world.apply(&Fault::Mtu(a, b, bytes));
        pair.world.run_for(seconds(10));
    }
    pair.world.assert_clean();
    // Less than any path is taken to have, and nobody told the checkers.
    pair.world.net.apply(&Fault::Mtu(a, b, 600), 2);
    pair.world.run_for(seconds(5));
    pair.expect(Checker::BlackHole);
    let large = |violation: &Violation| violation.sentence.starts_with("large");
    assert!(pair.world.violations().iter().all(large));
}

#[test]
fn a_view_that_is_not_the_network_is_found() {
    let mut pair = Pair::new();
    pair.world.run_for(seconds(5));
    pair.cut_secretly();
    pair.world.run_for(seconds(8));
    pair.world.violations.clear();
    pair.world.look_at_end(&[]);
    pair.expect(Checker::View);
}

#[test]
fn a_transfer_that_does_not_get_through_is_found() {
    let mut pair = Pair::new();
    pair.world.run_for(seconds(5));
    let transfer = pair
        .world
        .start_transfer(pair.hosts[0], pair.hosts[1], 1_000_000_000);
    pair.world.run_for(seconds(1));
    assert_eq!(pair.world.transfer(transfer), TransferState::Running);
    pair.world.look_at_end(&[transfer]);
    pair.expect(Checker::Transfer);
}

#[test]
fn a_payload_in_a_datagram_or_a_stream_is_found() {
    let mut pair = Pair::new();
    let meta = weave_core::PacketMeta::single(pair.world.address(pair.routers[1]), MARKER.len());
    let run = crate::MemoryPacket {
        bytes: MARKER.to_vec(),
        meta,
    };
    pair.world.send_run(pair.routers[0], &run);
    pair.expect(Checker::Clear);
    pair.world.violations.clear();
    let write = weave_core::Action::Write {
        conn: ConnId(2),
        bytes: MARKER.to_vec(),
    };
    pair.world.act(pair.routers[0], vec![write]);
    pair.expect(Checker::Clear);
}

#[test]
fn a_table_with_more_than_there_is_is_found() {
    let mut pair = Pair::new();
    let now = pair.world.instant();
    let macs = &pair.world.machines[0].process.as_ref().unwrap().macs;
    for low in 0..3 {
        assert_eq!(
            macs.learn(now, EthernetAddress([2, 9, 9, 9, 9, low]), Site::LOCAL),
            Learned::New
        );
    }
    pair.world.look();
    pair.expect(Checker::Bounds);
}

#[test]
fn a_router_that_wants_to_be_woken_without_end_is_found() {
    let mut pair = Pair::new();
    let deadline = Some((pair.world.instant(), weave_core::RouterWake::Routes));
    for _ in 0..100 {
        let turn = crate::Turn {
            actions: Vec::new(),
            events: Vec::new(),
            deadline,
        };
        pair.world.settle(pair.routers[0], vec![turn]);
    }
    pair.expect(Checker::Spin);
}

#[test]
fn a_forged_packet_among_the_honest_is_found() {
    let mut pair = Pair::new();
    pair.world.run_for(seconds(2));
    let to = pair.routers[1];
    let (local, from) = (pair.world.address(to), pair.world.address(pair.routers[0]));
    pair.world.queue.schedule(
        pair.world.now,
        Event::Datagram {
            to,
            local,
            from,
            bytes: vec![0xff; 60],
        },
    );
    pair.world.run_for(seconds(1));
    pair.world.look_at_end(&[]);
    pair.expect(Checker::Honest);
}

#[test]
fn a_frame_that_comes_out_twice_is_found() {
    let mut pair = Pair::new();
    pair.world.run_for(seconds(2));
    let [a, b] = [0, 1].map(|index| {
        let host = pair.world.host(pair.hosts[index]);
        (host.mac(), host.address())
    });
    let frame = Beacon {
        from: 0,
        to: 1,
        sequence: 1_000_000,
        answer: false,
    }
    .emit(a, b);
    pair.world.frame_in(pair.routers[0], frame.clone());
    pair.world.run_for(seconds(1));
    pair.world.assert_clean();
    pair.world.give_frame(pair.routers[1], &frame);
    pair.expect(Checker::Once);
}

#[test]
fn an_answer_to_a_stranger_is_found() {
    // To one that only replays, a probe would be right.
    for stranger in ["198.51.100.9:1", "192.0.2.1:6783"] {
        let mut pair = Pair::new();
        let run = crate::MemoryPacket {
            bytes: vec![1; 40],
            meta: weave_core::PacketMeta::single(stranger.parse().unwrap(), 40),
        };
        pair.world.send_run(pair.routers[0], &run);
        pair.expect(Checker::Silence);
    }
}

#[test]
fn strangers_get_nothing_and_disturb_nobody() {
    let mut pair = Pair::new();
    pair.world.run_for(seconds(3));
    let [a, b] = pair.routers;
    for fault in [
        Fault::Hostile(a, 3_000),
        Fault::Hostile(b, 3_000),
        Fault::Strangers(a, 300),
    ] {
        pair.world.apply(&fault);
    }
    pair.world.run_for(seconds(2));
    let status = pair.world.status(a).unwrap();
    let dropped = |reason: &str| status.traffic.drops.get(reason).copied().unwrap_or(0);
    assert!(dropped("packet_malformed") > 100 && dropped("not_genuine") > 10);
    // One carries the link; 25 strangers are let in each second, and most of them say at once what ends them.
    assert!(pair.world.streams.len() > 5, "some are held");
    assert!(status.refusals["refused_rate"] > 100);
    pair.world.run_for(seconds(30));
    assert!(pair.world.held_strangers().is_none());
    assert!(pair.world.streams.len() <= 2, "all were closed");
    pair.world.look_at_end(&[]);
    pair.world.assert_clean();
}

#[test]
fn a_strangers_connection_that_is_held_is_found() {
    let mut pair = Pair::new();
    pair.world.run_for(seconds(3));
    pair.world.apply(&Fault::Strangers(pair.routers[0], 300));
    pair.world.run_for(Duration::from_millis(1_500));
    pair.world.now += seconds(30);
    pair.world.look();
    pair.expect(Checker::Bounds);
}

#[test]
fn flipped_bits_are_found_by_who_opens_them() {
    let mut pair = Pair::new();
    pair.world.run_for(seconds(3));
    let [a, b] = pair.routers;
    pair.world.apply(&Fault::Corrupt(a, b, 200));
    pair.world.run_for(seconds(5));
    let status = pair.world.status(b).unwrap();
    assert!(status.traffic.drops.contains_key("not_genuine"));
    assert!(pair.world.net.counters().corrupted > 10);
    pair.world.look_at_end(&[]);
    pair.world.assert_clean();
}

#[test]
fn hostile_datagrams_change_nothing_that_routers_send_or_deliver() {
    let run = |is_attacked| {
        let mut pair = Pair::new();
        pair.world.run_for(seconds(3));
        let transfer = pair
            .world
            .start_transfer(pair.hosts[0], pair.hosts[1], 100_000);
        if is_attacked {
            for router in pair.routers {
                pair.world.apply(&Fault::Hostile(router, 5_000));
            }
        }
        pair.world.run_for(seconds(5));
        assert_eq!(pair.world.transfer(transfer), TransferState::Done);
        pair.world.assert_clean();
        let tables = pair.world.machines.iter().map(|machine| {
            let process = machine.process.as_ref().unwrap();
            (
                process.macs.len(),
                process.control.router().mesh().store().len(),
            )
        });
        let status = pair.world.status(pair.routers[0]).unwrap();
        (
            tables.collect::<Vec<_>>(),
            format!("{:?}", status.routes),
            pair.world.net.counters(),
            pair.world.beacons_delivered(),
        )
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn a_stream_with_flipped_bits_ends_and_the_link_goes_on() {
    let mut pair = Pair::new();
    pair.world.run_for(seconds(3));
    let [a, b] = pair.routers;
    for _ in 0..20 {
        let before = pair.world.net.counters().flipped;
        pair.world.apply(&Fault::FlipStream(a, b));
        // Until something is said on the stream: stores are compared each 30 s.
        let flipped = |world: &World| world.net.counters().flipped > before;
        assert!(pair.world.run_while_not(seconds(60), flipped));
        pair.world.run_for(seconds(10));
        let connection = &pair.world.status(a).unwrap().connections[0];
        assert!(connection.usable, "{connection:?}");
    }
    let downs = pair.world.log().filter(|line| line.contains("is down"));
    assert_eq!(downs.count(), 0, "UDP holds the link");
    let sent = u64::from(pair.world.beacons[0].sequence);
    let delivered = pair.world.beacons_delivered();
    assert!(
        delivered + 100 > 2 * sent,
        "{delivered} of {sent} and as many answers"
    );
    pair.world.look_at_end(&[]);
    pair.world.assert_clean();
}

/// Two routers with a container each that exchange beacons.
struct Pair {
    world: World,
    routers: [RouterId; 2],
    hosts: [HostId; 2],
}

impl Pair {
    fn new() -> Self {
        let mut world = World::new(1);
        let routers = [world.add_router("a"), world.add_router("b")];
        world.connect(routers[0], routers[1]);
        let hosts = [
            world.add_host(routers[0], "10.0.0.1/24"),
            world.add_host(routers[1], "10.0.0.2/24"),
        ];
        world.watch(hosts[0], hosts[1], Duration::from_millis(100));
        Self {
            world,
            routers,
            hosts,
        }
    }

    fn cut_secretly(&mut self) {
        self.world
            .net
            .apply(&Fault::Cut(self.routers[0], self.routers[1]), 2);
    }

    fn expect(&self, checker: Checker) {
        let first = self.world.violations().first().expect("a violation");
        assert_eq!(first.checker, checker, "{first}");
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
