use std::time::Duration;

use proptest::prelude::*;
use smoltcp::wire::{EthernetAddress, IpAddress, Ipv4Address, TcpPacket, UdpPacket};
use weave_mesh::{PROBE_BYTES, Probe, ProbeKind};

use self::world::{Run, World, address, frame, index, mac, short, site, tag};
use super::*;
use crate::packet::{PACKET_OVERHEAD_BYTES, PacketView, seal_packet};
use crate::{NeighbourIndex, Note, Offload, PartialChecksum, SegmentKind, Segments};

mod delivery;
mod notices;
mod offload;
mod oversize;
mod streamed;
mod tampered;
mod world;

const BROADCAST: EthernetAddress = EthernetAddress::BROADCAST;

/// Two routers that know each other's container.
fn pair() -> World {
    introduced(World::new(2, &[(0, 1)]))
}

/// Three in a line: 0 and 2 reach each other by 1.
fn line() -> World {
    introduced(World::new(3, &[(0, 1), (1, 2)]))
}

/// Has container 1 of each router say something to all.
fn introduced(mut world: World) -> World {
    for node in 0..world.nodes.len() {
        world.put_one(node, frame(BROADCAST, mac(node, 1), b"here I am"));
        world.carry();
    }
    for node in 0..world.nodes.len() {
        assert_eq!(
            world.delivered(node).len(),
            world.nodes.len() - 1,
            "each other's greeting, once"
        );
        world.notices(node);
    }
    world
}

fn kinds(world: &World) -> Vec<Kind> {
    world
        .wire
        .iter()
        .flat_map(|run| run.bytes.chunks(run.meta.segment_bytes))
        .map(|packet| PacketView::new_checked(packet).unwrap().kind())
        .collect()
}

/// A TCP or UDP frame whose checksum is open, from container 1 of node 0 to that of node 1.
fn open_frame(udp: bool, ecn: u8, ports: (u16, u16), payload: &[u8]) -> (Vec<u8>, PartialChecksum) {
    let transport_bytes = payload.len() + if udp { 8 } else { 20 };
    let total = (transport_bytes + 20) as u16;
    let protocol = if udp { 17 } else { 6 };
    let mut packet = vec![
        0x45, ecn, 0, 0, 0, 9, 0, 0, 64, protocol, 0, 0, 10, 32, 0, 1, 10, 32, 0, 2,
    ];
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    checksum::finish_ipv4(&mut packet);
    let pseudo = checksum::fold(
        checksum::sum(&packet[12..20]) + u64::from(protocol) + transport_bytes as u64,
    );
    packet.extend_from_slice(&ports.0.to_be_bytes());
    packet.extend_from_slice(&ports.1.to_be_bytes());
    if udp {
        packet.extend_from_slice(&(transport_bytes as u16).to_be_bytes());
    } else {
        packet.extend_from_slice(&[0, 0, 1, 0, 0, 0, 2, 0, 0x50, 0x18, 1, 0]);
    }
    packet.extend_from_slice(&pseudo.to_be_bytes());
    if !udp {
        packet.extend_from_slice(&[0, 0]);
    }
    packet.extend_from_slice(payload);
    let mut bytes = frame(mac(1, 1), mac(0, 1), &packet);
    bytes[12..14].copy_from_slice(&[8, 0]);
    let partial = PartialChecksum {
        start: 34,
        offset: if udp { 6 } else { 16 },
    };
    (bytes, partial)
}

fn checksum_is_right(frame: &[u8], udp: bool) -> bool {
    let source = IpAddress::from(Ipv4Address::new(10, 32, 0, 1));
    let destination = IpAddress::from(Ipv4Address::new(10, 32, 0, 2));
    if udp {
        UdpPacket::new_checked(&frame[34..])
            .unwrap()
            .verify_checksum(&source, &destination)
    } else {
        TcpPacket::new_checked(&frame[34..])
            .unwrap()
            .verify_checksum(&source, &destination)
    }
}

fn super_frame(udp: bool, bytes: usize, segment: u16) -> (Vec<u8>, Offload) {
    let payload: Vec<u8> = (0..bytes).map(|at| (at * 31 / 8) as u8).collect();
    let (frame, partial) = open_frame(udp, 0, (1000, 2000), &payload);
    let kind = if udp {
        SegmentKind::Udp
    } else {
        SegmentKind::Tcp4
    };
    let segments = Some(Segments {
        kind,
        payload_bytes: segment,
    });
    (
        frame,
        Offload {
            checksum: Some(partial),
            segments,
        },
    )
}

#[test]
fn congestion_goes_out_and_in() {
    let mut world = pair();
    let (bytes, partial) = open_frame(false, Ecn::Ect0 as u8, (1, 2), b"x");
    let offload = Offload {
        checksum: Some(partial),
        segments: None,
    };
    world.put(0, &[(bytes, offload)]);
    let mut run = world.wire.pop_front().unwrap();
    assert_eq!(run.meta.ecn, Ecn::Ect0);
    run.meta.ecn = Ecn::Ce;
    world.receive(&run);
    let out = world.delivered(1).pop().unwrap();
    assert_eq!(FrameView::new_checked(&out).unwrap().ecn(), Some(Ecn::Ce));

    let (bytes, partial) = open_frame(false, Ecn::NotEct as u8, (1, 2), b"x");
    world.put(
        0,
        &[(
            bytes,
            Offload {
                checksum: Some(partial),
                segments: None,
            },
        )],
    );
    let mut run = world.wire.pop_front().unwrap();
    run.meta.ecn = Ecn::Ce;
    world.receive(&run);
    assert!(world.delivered(1).is_empty());
    assert_eq!(world.drops(1, DropReason::Congested), 1);
}

#[test]
fn a_storm_of_floods_is_policed_at_the_port_and_per_origin() {
    let mut world = World::new(3, &[(0, 1), (1, 2)]);
    let storm: Vec<_> = (0..3_000)
        .map(|_| (frame(BROADCAST, mac(0, 1), b"storm"), Offload::default()))
        .collect();
    for chunk in storm.chunks(500) {
        world.put(0, chunk);
    }
    world.carry();
    assert_eq!(world.drops(0, DropReason::FloodPoliced), 1_000);
    assert_eq!(world.delivered(2).len(), 2_000);
    // One that does not police itself.
    world.nodes[0].forwarder = Forwarder::new(world::config(world.now));
    world.put(0, &storm[..50]);
    world.carry();
    assert_eq!(world.drops(1, DropReason::FloodPoliced), 50);
}

#[test]
fn a_router_without_a_port_passes_floods_on() {
    let mut world = World::new(3, &[(0, 1), (1, 2)]);
    world.nodes[1].forwarder = Forwarder::new(ForwarderConfig {
        has_port: false,
        ..world::config(world.now)
    });
    world.put_one(0, frame(BROADCAST, mac(0, 1), b"x"));
    world.carry();
    assert!(world.delivered(1).is_empty());
    assert_eq!(world.delivered(2).len(), 1);
    assert_eq!(world.drops_total(), 0);
}

/// Something that comes in at the port of node 0.
#[derive(Debug, Clone)]
enum In {
    Unicast {
        to: usize,
        bytes: usize,
    },
    Flood {
        bytes: usize,
    },
    Super {
        udp: bool,
        bytes: usize,
        segment: u16,
    },
}

fn any_in() -> impl Strategy<Value = In> {
    prop_oneof![
        4 => (1..4usize, prop_oneof![Just(60usize), Just(61), 0..300usize])
            .prop_map(|(to, bytes)| In::Unicast { to, bytes }),
        2 => (0..100usize).prop_map(|bytes| In::Flood { bytes }),
        1 => (any::<bool>(), 1..9_000usize, 400..1_300u16)
            .prop_map(|(udp, bytes, segment)| In::Super { udp, bytes, segment }),
    ]
}

/// Sends all that through a star with a tail, with output batches of `slots` buffers, and gives what each router
/// wrote to its port.
fn through(slots: usize, gso: usize, inputs: &[In]) -> (Vec<Vec<Vec<u8>>>, u64) {
    let world = World::new(5, &[(0, 1), (1, 2), (1, 3), (3, 4), (2, 3)]);
    let mut world = introduced(world)
        .with_slots(slots)
        .with_config(|config| config.packet_caps.gso_segments_max = gso);
    // Node 4 has no trees: it and its neighbour meet duplicates.
    world.nodes[3].fib.floods.clear();
    let mut frames = Vec::new();
    for (number, input) in inputs.iter().enumerate() {
        frames.push(match input {
            In::Unicast { to, bytes } => {
                let mut payload = vec![number as u8; *bytes];
                payload.push(9);
                (frame(mac(*to, 1), mac(0, 1), &payload), Offload::default())
            }
            In::Flood { bytes } => (
                frame(BROADCAST, mac(0, 1), &vec![number as u8; *bytes]),
                Offload::default(),
            ),
            In::Super {
                udp,
                bytes,
                segment,
            } => super_frame(*udp, *bytes, *segment),
        });
    }
    world.put(0, &frames);
    world.carry();
    let out = (0..5).map(|node| world.delivered(node)).collect();
    (out, world.drops_total())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn tiny_outputs_lose_nothing_and_double_nothing(
        inputs in proptest::collection::vec(any_in(), 1..24),
        slots in 1usize..4,
        gso in prop_oneof![Just(1usize), Just(3), Just(64)],
    ) {
        let (expected, drops) = through(64, 64, &inputs);
        let (out, tiny_drops) = through(slots, gso, &inputs);
        prop_assert_eq!(tiny_drops, drops);
        for (out, expected) in out.into_iter().zip(expected) {
            // Runs differ, so frames by different ways overtake each other: the same frames, each as often.
            let sorted = |mut frames: Vec<Vec<u8>>| {
                frames.sort();
                frames
            };
            prop_assert_eq!(sorted(out), sorted(expected));
        }
    }
}
