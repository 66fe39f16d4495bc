//! Frames that a path does not take whole.

use smoltcp::wire::{Icmpv4Packet, Ipv4Packet};

use super::*;

/// Sets what every path and link of the world takes.
fn with_paths(mut world: World, packet_bytes_max: usize) -> World {
    for node in &mut world.nodes {
        for route in node.fib.sites.iter_mut().flatten() {
            route.packet_bytes_max = packet_bytes_max;
        }
        for neighbour in &mut node.fib.neighbours {
            neighbour.packet_bytes_max = packet_bytes_max;
        }
        node.fib.flood_packet_bytes_max = packet_bytes_max;
    }
    world
}

/// As [`open_frame`] of UDP with "don't fragment".
fn frame_with_df(payload: usize) -> (Vec<u8>, Offload) {
    let (mut bytes, partial) = open_frame(true, 0, (1, 2), &vec![3; payload]);
    bytes[14 + 6] = 0x40;
    checksum::finish_ipv4(&mut bytes[14..34]);
    let offload = Offload {
        checksum: Some(partial),
        segments: None,
    };
    (bytes, offload)
}

/// The MTU that an answer in `frame` tells.
fn told(frame: &[u8]) -> u16 {
    let packet = Ipv4Packet::new_checked(&frame[14..]).unwrap();
    let icmp = Icmpv4Packet::new_checked(packet.payload()).unwrap();
    assert!(packet.verify_checksum() && icmp.verify_checksum());
    u16::from_be_bytes([packet.payload()[6], packet.payload()[7]])
}

#[test]
fn a_sender_is_told_an_mtu_that_then_fits() {
    for relayed in [false, true] {
        let world = if relayed { line() } else { pair() };
        let mut world = with_paths(world, 1_400);
        let far = if relayed { 2 } else { 1 };
        let aim = |mut frame: Vec<u8>| {
            frame[..6].copy_from_slice(mac(far, 1).as_bytes());
            frame
        };
        let (bytes, offload) = frame_with_df(1_390 - 28);
        world.put(0, &[(aim(bytes.clone()), offload)]);
        assert!(world.wire.is_empty());
        let mtu = told(&world.delivered(0).pop().unwrap());
        assert_eq!(usize::from(mtu), crate::overlay_mtu_bytes(1_428, false));
        assert_eq!(world.drops(0, DropReason::TooBig), 1);
        let (bytes, offload) = frame_with_df(usize::from(mtu) - 28);
        world.put(0, &[(aim(bytes), offload)]);
        world.carry();
        assert_eq!(world.delivered(far).len(), 1);
        assert!(world.delivered(0).is_empty());
    }
}

#[test]
fn a_super_frame_is_answered_once_and_quotes_its_first_segment() {
    let mut world = with_paths(pair(), 1_400);
    let (mut bytes, offload) = super_frame(false, 20_000, 1_350);
    bytes[14 + 6] = 0x40;
    checksum::finish_ipv4(&mut bytes[14..34]);
    world.put(0, &[(bytes, offload)]);
    assert!(world.wire.is_empty());
    let out = world.delivered(0);
    assert_eq!(out.len(), 1);
    assert_eq!(told(&out[0]), 1_338);
    let quoted = Ipv4Packet::new_unchecked(&out[0][14 + 28..]);
    assert_eq!(quoted.total_len(), 1_390);
}

#[test]
fn a_path_that_is_being_measured_tells_nobody() {
    let mut world = with_paths(pair(), 1_200);
    let (bytes, offload) = frame_with_df(1_362);
    world.put(0, &[(bytes.clone(), offload)]);
    world.carry();
    assert!(world.delivered(0).is_empty());
    let out = world.delivered(1);
    assert_eq!(out.len(), 1);
    assert!(checksum_is_right(&out[0], true));
    assert_eq!(out[0][..40], bytes[..40]);
    assert_eq!(out[0][42..], bytes[42..]);
}

#[test]
fn floods_in_pieces_pass_every_hop_and_are_put_together_everywhere() {
    let mut world = with_paths(World::new(4, &[(0, 1), (1, 2), (2, 3)]), 1_200);
    let sent = frame(BROADCAST, mac(0, 1), &[7; 4_000]);
    world.put_one(0, sent.clone());
    world.carry();
    for node in 1..4 {
        assert_eq!(
            world.delivered(node),
            std::slice::from_ref(&sent),
            "at {node}"
        );
        assert_eq!(world.nodes[node].macs.lookup(mac(0, 1)), Some(site(0)));
    }
    assert_eq!(world.drops_total(), 0);
    let mut world = with_paths(World::new(3, &[(0, 1), (1, 2)]), 1_200);
    let (frame, offload) = super_frame(true, 5_000, 1_300);
    world.put(0, &[(frame, offload)]);
    world.carry();
    // And the question where its receiver is.
    assert_eq!(
        world.delivered(2).len(),
        4 + 1,
        "super-frames are cut twice"
    );
    assert_eq!(world.drops_total(), 0, "their sequence numbers differ");
}

#[test]
fn a_flood_too_big_for_a_hop_is_dropped_there_and_noticed() {
    let mut world = with_paths(World::new(3, &[(0, 1), (1, 2)]), 1_472);
    world.nodes[1].fib.neighbours[1].packet_bytes_max = 1_300;
    world.put_one(0, frame(BROADCAST, mac(0, 1), &[7; 1_390]));
    world.carry();
    assert_eq!(world.delivered(1).len(), 1);
    assert!(world.delivered(2).is_empty());
    assert_eq!(world.drops(1, DropReason::TooBig), 1);
    let told = world.notices(1);
    assert!(
        told.iter().any(|notice| matches!(
            notice,
            Notice::TooBig { neighbour } if *neighbour == site(2)
        )),
        "{told:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever the sizes of frames, paths and output batches: frames come out as they went in.
    #[test]
    fn frames_in_pieces_come_out_whole(
        path in 300usize..1_600,
        sizes in proptest::collection::vec((0usize..4_000, any::<bool>()), 1..12),
        slots in 1usize..4,
        gso in prop_oneof![Just(1usize), Just(3), Just(64)],
    ) {
        let world = World::new(3, &[(0, 1), (1, 2)]);
        let world = introduced(world)
            .with_slots(slots)
            .with_config(|config| config.packet_caps.gso_segments_max = gso);
        let mut world = with_paths(world, path);
        let frames: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(number, (bytes, flood))| {
                let to = if *flood { BROADCAST } else { mac(2, 1) };
                frame(to, mac(0, 1), &vec![number as u8; *bytes])
            })
            .collect();
        let fits = |frame: &&Vec<u8>| {
            pieces::count(frame.len(), path - PACKET_OVERHEAD_BYTES).is_some()
        };
        let mut expected: Vec<_> = frames.iter().filter(fits).cloned().collect();
        let inputs: Vec<_> = frames.iter().map(|frame| (frame.clone(), Offload::default())).collect();
        world.put(0, &inputs);
        world.carry();
        let mut out = world.delivered(2);
        out.sort();
        expected.sort();
        prop_assert_eq!(out, expected);
        prop_assert_eq!(world.drops_total(), world.drops(0, DropReason::TooBig));
    }
}
