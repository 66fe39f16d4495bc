//! Neighbours that datagrams do not reach: packets go down their streams, and come by ours.

use super::*;
use crate::{DropReason, Remote};

impl World {
    /// From now on nothing between two neighbours goes in datagrams.
    fn block_udp(&mut self, a: usize, b: usize) {
        for (at, to) in [(a, b), (b, a)] {
            let neighbours = &mut self.nodes[at].fib.neighbours;
            let neighbour = neighbours.iter_mut().find(|n| n.site == site(to)).unwrap();
            neighbour.remote = Remote::Stream;
            neighbour.packet_bytes_max = usize::from(weave_mesh::PATH_MTU_BYTES_BASE);
        }
    }

    /// Carries datagrams and what goes down streams until there is nothing left; says how many packets took streams.
    fn carry_all(&mut self) -> usize {
        let mut count = 0;
        loop {
            self.carry();
            let mut carried = false;
            for node in 0..self.nodes.len() {
                while let Some((to, at, packet)) = self.nodes[node].streamed.pop(self.now) {
                    assert_eq!(at, self.now);
                    self.stream(usize::from(to.0) - 1, packet);
                    carried = true;
                    count += 1;
                }
            }
            if !carried {
                return count;
            }
        }
    }

    /// Gives a node a packet that came down a stream.
    fn stream(&mut self, node: usize, packet: Vec<u8>) {
        let mut rx = VecDeque::from([packet]);
        self.call(node, |forwarder, now, view, out| {
            forwarder.handle_stream_packets(now, view, &mut rx, out)
        });
        assert!(rx.is_empty());
    }
}

#[test]
fn frames_for_a_neighbour_without_udp_go_down_its_stream() {
    let mut world = pair();
    world.block_udp(0, 1);
    let heard = world.nodes[1].fib.neighbours[0]
        .heard
        .last(world.nodes[1].fib.epoch);
    world.now += Duration::from_secs(1);
    let unicast = frame(mac(1, 1), mac(0, 1), b"hello");
    world.put_one(0, unicast.clone());
    assert!(world.wire.is_empty());
    assert_eq!(world.carry_all(), 1);
    assert_eq!(world.delivered(1), [unicast]);
    let fib = &world.nodes[1].fib;
    assert_eq!(
        fib.neighbours[0].heard.last(fib.epoch),
        heard,
        "it says nothing about datagrams"
    );
    assert!(fib.neighbours[0].heard.last_unicast(fib.epoch) == Some(world.now));
}

#[test]
fn a_super_frame_is_cut_for_the_stream() {
    let mut world = pair();
    world.block_udp(0, 1);
    let (frame, offload) = super_frame(false, 20_000, 1_000);
    world.put(0, &[(frame, offload)]);
    assert_eq!(world.carry_all(), 20);
    assert_eq!(world.delivered(1).len(), 20);
}

#[test]
fn a_relay_passes_on_from_udp_to_a_stream_and_back() {
    let mut world = line();
    world.block_udp(1, 2);
    // Made for the larger path, before its maker heard of the change.
    let there = frame(mac(2, 1), mac(0, 1), &[7; 1_300]);
    world.put_one(0, there.clone());
    assert_eq!(world.carry_all(), 1);
    assert_eq!(world.delivered(2), [there]);
    let back = frame(mac(0, 1), mac(2, 1), b"back");
    world.put_one(2, back.clone());
    assert_eq!(world.carry_all(), 1);
    assert_eq!(world.delivered(0), [back]);
    assert_eq!(world.nodes[1].forwarder.stats().packets_relayed, 2);
    assert_eq!(world.nodes[1].forwarder.stats().drops_total(), 0);
}

#[test]
fn a_flood_crosses_a_stream_once() {
    let mut world = line();
    world.block_udp(0, 1);
    world.block_udp(1, 2);
    let flood = frame(BROADCAST, mac(0, 1), b"who has");
    world.put_one(0, flood.clone());
    assert_eq!(world.carry_all(), 2);
    assert_eq!(world.delivered(1), std::slice::from_ref(&flood));
    assert_eq!(world.delivered(2), [flood]);
}

#[test]
fn a_packet_that_came_twice_or_is_none_is_dropped() {
    let mut world = pair();
    world.block_udp(0, 1);
    world.put_one(0, frame(mac(1, 1), mac(0, 1), b"hello"));
    let (_, _, packet) = world.nodes[0].streamed.pop(world.now).unwrap();
    world.stream(1, packet.clone());
    world.stream(1, packet.clone());
    world.stream(1, packet[..10].to_vec());
    world.stream(1, Vec::new());
    let mut forged = packet;
    forged[20] ^= 1;
    world.stream(1, forged);
    assert_eq!(world.delivered(1).len(), 1);
    let stats = world.nodes[1].forwarder.stats();
    assert_eq!(stats.drops(DropReason::Replayed), 1);
    assert_eq!(stats.drops(DropReason::PacketMalformed), 1);
    assert_eq!(stats.drops(DropReason::NotGenuine), 1);
    assert_eq!(stats.drops_total(), 3, "nothing is no packet");
}

#[test]
fn a_probe_has_no_place_on_a_stream() {
    let mut world = pair();
    let probe = Probe {
        kind: ProbeKind::Challenge,
        last_heard_ms: 0,
        sequence: 1,
        token: 2,
        seen: None,
    };
    let keys = world.nodes[0].fib.neighbours[0].keys.clone().unwrap();
    let packet = seal_packet(&keys, Kind::Probe, None, &probe.to_bytes()).unwrap();
    world.stream(1, packet);
    assert!(world.wire.is_empty() && world.notices(1).is_empty());
    let stats = world.nodes[1].forwarder.stats();
    assert_eq!(stats.drops(DropReason::BodyMalformed), 1);
}
