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
        conn: weave_mesh::ConnId(2),
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
