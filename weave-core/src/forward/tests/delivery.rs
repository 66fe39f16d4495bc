//! Where frames go: floods, unicast, relays, and what is refused.

use super::*;

#[test]
fn unknown_addresses_are_flooded_and_known_ones_sent_directly() {
    let mut world = World::new(2, &[(0, 1)]);
    let first = frame(mac(1, 1), mac(0, 1), b"who has it?");
    world.put_one(0, first.clone());
    assert_eq!(kinds(&world), [Kind::Flood]);
    world.carry();
    assert_eq!(world.delivered(1), [first]);
    assert_eq!(world.nodes[1].macs.lookup(mac(0, 1)), Some(site(0)));

    let answer = frame(mac(0, 1), mac(1, 1), b"I have");
    world.put_one(1, answer.clone());
    assert_eq!(kinds(&world), [Kind::Unicast]);
    world.carry();
    assert_eq!(world.delivered(0), [answer]);
    assert_eq!(world.nodes[0].macs.lookup(mac(1, 1)), Some(site(1)));
    assert_eq!(world.drops_total(), 0);
    let stats = world.nodes[0].forwarder.stats();
    assert_eq!(
        (
            stats.frames_in,
            stats.frames_out,
            stats.packets_in,
            stats.packets_out
        ),
        (1, 1, 1, 1)
    );
    assert_eq!(stats.floods_started, 1);
}

#[test]
fn a_relay_carries_what_it_cannot_read() {
    let mut world = line();
    let text = b"only for the other edge";
    let sent = frame(mac(2, 1), mac(0, 1), text);
    world.put_one(0, sent.clone());
    assert_eq!(kinds(&world), [Kind::Relay]);
    let run = world.wire.pop_front().unwrap();
    let envelope = PacketView::new_checked(&run.bytes)
        .unwrap()
        .envelope()
        .unwrap();
    assert_eq!((run.to, envelope.tag, envelope.ttl), (1, tag(1, 0), 16));
    assert_eq!(envelope.destination, short(2));
    world.receive(&run);
    let run = world.wire.pop_front().unwrap();
    let envelope = PacketView::new_checked(&run.bytes)
        .unwrap()
        .envelope()
        .unwrap();
    assert_eq!((run.to, envelope.tag, envelope.ttl), (2, tag(2, 1), 15));
    assert!(!run.bytes.windows(text.len()).any(|window| window == text));
    world.receive(&run);
    assert_eq!(world.delivered(2), [sent]);
    assert_eq!(world.delivered(1), [] as [Vec<u8>; 0]);
    assert_eq!(
        world.nodes[2].macs.lookup(mac(0, 1)),
        Some(site(0)),
        "the origin, not the relay"
    );
    assert_eq!(world.nodes[1].forwarder.stats().packets_relayed, 1);
    assert_eq!(world.drops_total(), 0);
}

#[test]
fn a_run_is_relayed_whole() {
    let mut world = line();
    let frames: Vec<_> = (0..7u8)
        .map(|number| {
            (
                frame(mac(2, 1), mac(0, 1), &[number; 200]),
                Offload::default(),
            )
        })
        .collect();
    world.put(0, &frames);
    assert_eq!(world.wire.len(), 1, "equal sizes share a run");
    let run = world.wire.pop_front().unwrap();
    assert_eq!(run.packets(), 7);
    world.receive(&run);
    assert_eq!(world.wire.len(), 1);
    assert_eq!(world.wire[0].packets(), 7);
    assert_eq!(world.carry(), 1);
    let sent: Vec<_> = frames.into_iter().map(|(frame, _)| frame).collect();
    assert_eq!(world.delivered(2), sent);
    assert_eq!(world.nodes[1].forwarder.stats().packets_relayed, 7);
}

#[test]
fn a_mixed_run_is_taken_packet_by_packet() {
    // Node 1 in the middle of a star relays to 2 and 3, and has a container of its own.
    let mut world = introduced(World::new(4, &[(0, 1), (1, 2), (1, 3)]));
    let mut sent = Vec::new();
    let mut bytes = Vec::new();
    for number in 0..6u8 {
        let to = 1 + usize::from(number % 3);
        let frame = frame(mac(to, 1), mac(0, 1), &[number; 100]);
        world.put_one(0, frame.clone());
        sent.push((to, frame));
        let run = world.wire.pop_back().unwrap();
        bytes.push((run.meta, run.bytes));
    }
    // The direct ones are 16 bytes shorter: padding is not an option, so one run holds those to 2 and 3 only.
    let size = bytes[1].0.segment_bytes;
    let relayed: Vec<u8> = bytes
        .iter()
        .filter(|(meta, _)| meta.segment_bytes == size)
        .flat_map(|(_, bytes)| bytes.clone())
        .collect();
    let run = Run {
        from: 0,
        to: 1,
        meta: bytes[1].0,
        bytes: relayed,
    };
    assert_eq!(run.packets(), 4);
    world.receive(&run);
    assert_eq!(world.wire.len(), 4, "destinations alternate");
    world.carry();
    for node in 2..4 {
        let expected: Vec<_> = sent
            .iter()
            .filter(|(to, _)| *to == node)
            .map(|(_, f)| f.clone())
            .collect();
        assert_eq!(world.delivered(node), expected);
    }
    assert_eq!(world.drops_total(), 0);
}

#[test]
fn relays_refuse_what_they_must() {
    let mut world = line();
    world.put_one(0, frame(mac(2, 1), mac(0, 1), b"on its way"));
    let good = world.wire.pop_front().unwrap();
    let mut refuse = |change: &dyn Fn(&mut World, &mut Run), reason| {
        let mut run = good.clone();
        change(&mut world, &mut run);
        let before = world.drops(1, reason);
        world.receive(&run);
        assert_eq!(world.drops(1, reason), before + 1, "{reason:?}");
        assert!(world.wire.is_empty());
    };
    refuse(&|_, run| run.bytes[1] = 1, DropReason::TtlExpired);
    refuse(&|_, run| run.bytes[1] = 0, DropReason::TtlExpired);
    refuse(&|_, run| run.bytes[2] ^= 1, DropReason::UnknownTag);
    refuse(&|_, run| run.bytes[8] ^= 1, DropReason::UnknownDestination);
    refuse(
        &|_, run| run.bytes.truncate(43),
        DropReason::PacketMalformed,
    );
    refuse(
        &|world, _| world.nodes[1].fib.neighbours[1].packet_bytes_max = 50,
        DropReason::TooBig,
    );
    let told = world.notices(1);
    assert!(
        told.iter().any(|notice| matches!(
            notice,
            Notice::TooBig { neighbour } if *neighbour == site(2)
        )),
        "{told:?}"
    );
}

#[test]
fn a_flood_reaches_each_router_once_also_where_no_tree_is_known() {
    // A ring of five with a chord.
    let links = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (1, 3)];
    for trees in [true, false] {
        let mut world = World::new(5, &links);
        if !trees {
            for node in &mut world.nodes {
                node.fib.floods.clear();
            }
        }
        for origin in 0..5 {
            let sent = frame(BROADCAST, mac(origin, 1), &[origin as u8; 50]);
            world.put_one(origin, sent.clone());
            let runs = world.carry();
            for node in 0..5 {
                let expected = if node == origin {
                    vec![]
                } else {
                    vec![sent.clone()]
                };
                assert_eq!(world.delivered(node), expected, "from {origin} at {node}");
                let lives = if node == origin {
                    Site::LOCAL
                } else {
                    site(origin)
                };
                assert_eq!(world.nodes[node].macs.lookup(mac(origin, 1)), Some(lives));
            }
            if trees {
                assert_eq!(runs, 4, "a tree has no packet too many");
            }
        }
        let duplicates: u64 = (0..5)
            .map(|node| world.drops(node, DropReason::FloodDuplicate))
            .sum();
        let returned: u64 = (0..5)
            .map(|node| world.drops(node, DropReason::FloodReturned))
            .sum();
        assert_eq!(duplicates > 0, !trees);
        assert_eq!(world.drops_total(), duplicates + returned);
    }
}

#[test]
fn floods_end_with_their_ttl_and_come_only_from_neighbours() {
    // A line of 20: longer than a flood may go.
    let links: Vec<_> = (0..19).map(|node| (node, node + 1)).collect();
    let mut world = World::new(20, &links);
    world.put_one(0, frame(BROADCAST, mac(0, 1), b"far"));
    world.carry();
    let reached = (1..20)
        .filter(|node| !world.delivered(*node).is_empty())
        .count();
    assert_eq!(reached, 16);
    assert_eq!(world.drops(16, DropReason::TtlExpired), 1);

    let header = FloodHeader {
        origin: short(3),
        sequence: 1,
        ttl: 9,
    };
    let mut body = header.emit().to_vec();
    body.extend_from_slice(&[1, 0, 0, 20]);
    body.extend(frame(BROADCAST, mac(3, 1), b"forged"));
    let keys = world.nodes[2].fib.sites[site(0).index()]
        .as_ref()
        .unwrap()
        .keys
        .clone()
        .unwrap();
    let bytes = seal_packet(&keys, Kind::Flood, None, &body).unwrap();
    let meta = PacketMeta::single(address(2), bytes.len());
    world.receive(&Run {
        from: 2,
        to: 0,
        meta,
        bytes,
    });
    assert_eq!(
        world.drops(0, DropReason::FloodForeign),
        1,
        "2 is no neighbour of 0"
    );
    assert!(world.delivered(0).is_empty());
}

#[test]
fn what_was_altered_or_recorded_is_not_let_in() {
    let mut world = pair();
    world.put_one(0, frame(mac(1, 1), mac(0, 1), b"genuine"));
    let run = world.wire.pop_front().unwrap();
    for bit in 0..run.bytes.len() * 8 {
        let mut flipped = run.clone();
        flipped.bytes[bit / 8] ^= 1 << (bit % 8);
        world.receive(&flipped);
    }
    for length in 1..run.bytes.len() {
        let mut cut = run.clone();
        cut.bytes.truncate(length);
        world.receive(&cut);
    }
    assert!(world.delivered(1).is_empty());
    assert!(world.drops(1, DropReason::NotGenuine) > 100);
    world.receive(&run);
    assert_eq!(world.delivered(1).len(), 1, "the true one still counts");
    world.receive(&run);
    assert_eq!(world.delivered(1).len(), 0);
    assert_eq!(world.drops(1, DropReason::Replayed), 1);
}

#[test]
fn strangers_are_reported_once_a_second() {
    let mut world = pair();
    world.put_one(0, frame(mac(1, 1), mac(0, 1), b"x"));
    let run = world.wire.pop_front().unwrap();
    world.nodes[1].fib.receivers.clear();
    for _ in 0..5 {
        world.receive(&run);
    }
    assert_eq!(
        world.notices(1),
        [Notice::UnknownReceiver { remote: address(0) }]
    );
    world.now += Duration::from_secs(1);
    world.receive(&run);
    assert_eq!(world.notices(1).len(), 1);
    assert_eq!(world.drops(1, DropReason::UnknownReceiver), 6);
}

#[test]
fn frames_that_stay_here_stay_here() {
    let mut world = pair();
    world.put_one(0, frame(BROADCAST, mac(0, 2), b"second container"));
    world.carry();
    world.put_one(0, frame(mac(0, 2), mac(0, 1), b"behind the same port"));
    world.put_one(
        0,
        frame(
            EthernetAddress([1, 0x80, 0xC2, 0, 0, 0]),
            mac(0, 1),
            b"spanning tree",
        ),
    );
    world.put_one(0, vec![2; 13]);
    assert!(world.wire.is_empty());
    assert_eq!(world.drops(0, DropReason::SamePort), 1);
    assert_eq!(world.drops(0, DropReason::LinkLocal), 1);
    assert_eq!(world.drops(0, DropReason::FrameMalformed), 1);

    world.now += Duration::from_secs(6);
    world.put_one(0, frame(mac(0, 2), mac(0, 1), b"is it still there?"));
    assert_eq!(
        kinds(&world),
        [Kind::Flood],
        "silent for 5 s: it may have moved"
    );
    assert_eq!(world.nodes[0].macs.lookup(mac(0, 2)), None);
}

#[test]
fn an_address_that_moves_is_found_at_once_and_told() {
    let mut world = pair();
    world.put_one(1, frame(BROADCAST, mac(0, 1), b"moved here"));
    world.carry();
    assert_eq!(world.nodes[0].macs.lookup(mac(0, 1)), Some(site(1)));
    let moved = |from, to| Notice::MacMoved {
        mac: mac(0, 1),
        from,
        to,
    };
    assert!(world.notices(0).contains(&moved(Site::LOCAL, site(1))));
    assert!(world.notices(1).contains(&moved(site(0), Site::LOCAL)));
}
