//! One bit flipped anywhere: what was sealed is dropped; what only says the way is dropped, or leads to the very frame
//! that was sent, once.

use super::*;
use crate::packet::{ENTRY_HEADER_BYTES, ENVELOPE_BYTES};

#[test]
fn a_flipped_bit_of_a_unicast_packet_is_noticed() {
    for payload_bytes in [1, 100, 1_300] {
        exhaust(pair(), 0, |world| {
            world.put_one(0, frame(mac(1, 1), mac(0, 1), &vec![7; payload_bytes]));
        });
    }
}

#[test]
fn a_flipped_bit_of_a_relayed_packet_leads_nowhere_or_changes_nothing() {
    for hops in [0, 1] {
        let led = exhaust(line(), hops, |world| {
            world.put_one(0, frame(mac(2, 1), mac(0, 1), &[7; 100]));
        });
        // At first any TTL does but the 0 that is one flip from 16, and so does the tag of the relay's other
        // neighbour, which is one flip away in this world, where tags are not drawn. On the last hop the TTL does
        // not matter any more.
        assert_eq!(led, 8, "behind {hops} hops");
    }
}

#[test]
fn a_flipped_bit_of_a_flood_is_noticed_at_each_hop() {
    for hops in [0, 1] {
        exhaust(line(), hops, |world| {
            world.put_one(0, frame(BROADCAST, mac(0, 1), &[7; 100]));
        });
    }
}

#[test]
fn a_flipped_bit_of_a_probe_or_note_is_noticed() {
    let probe = Probe {
        kind: ProbeKind::Challenge,
        last_heard_ms: 7,
        sequence: 5,
        token: 9,
        seen: None,
    };
    let mut body = [0; PROBE_BYTES];
    let _bytes = probe.emit(&mut body);
    exhaust(pair(), 0, |world| send(world, Kind::Probe, &body));
    let mut note = [0; Note::BYTES_MAX];
    let len = Note::Echo { token: 9 }.emit(&mut note);
    exhaust(pair(), 0, |world| send(world, Kind::Note, &note[..len]));
}

#[test]
fn a_flipped_bit_of_a_packet_with_several_frames_costs_all_of_them() {
    let mut body = Vec::new();
    for number in 1..=3 {
        let bytes = frame(mac(1, 1), mac(0, 1), &[number; 30]);
        let mut head = [0; ENTRY_HEADER_BYTES];
        EntryHeader::default().emit(bytes.len(), &mut head);
        body.extend_from_slice(&head);
        body.extend_from_slice(&bytes);
    }
    exhaust(pair(), 0, |world| send(world, Kind::Unicast, &body));
}

#[test]
fn a_flipped_bit_of_either_piece_is_noticed_and_the_frame_comes_whole_or_not_at_all() {
    for piece in [0, 1] {
        let mut world = line();
        for node in &mut world.nodes {
            for route in node.fib.sites.iter_mut().flatten() {
                route.packet_bytes_max = 500;
            }
        }
        exhaust(world, 0, |world| {
            world.put_one(0, frame(mac(1, 1), mac(0, 1), &[7; 700]));
            let run = world.wire.pop_front().unwrap();
            assert!(world.wire.is_empty());
            assert_eq!(run.packets(), 2);
            for (number, packet) in run.bytes.chunks(run.meta.segment_bytes).enumerate() {
                let part = Run {
                    meta: PacketMeta::single(run.meta.remote, packet.len()),
                    bytes: packet.to_vec(),
                    ..run
                };
                if number == piece {
                    world.wire.push_back(part);
                } else {
                    world.receive(&part);
                }
            }
        });
    }
}

/// Has `send` put one packet on the wire, lets it pass `hops` routers, and then flips each of its bits in turn: before
/// the true one arrives, which still does what it should, but not twice. Every trial has a packet of its own. Tells how
/// many flips of a relay's envelope led to the true frame.
fn exhaust(mut world: World, hops: usize, send: impl Fn(&mut World)) -> usize {
    let attack = |world: &mut World| {
        send(world);
        for _ in 0..hops {
            let run = world.wire.pop_front().unwrap();
            world.receive(&run);
        }
        // What the routers before it did is not looked at.
        let run = world.wire.pop_front().unwrap();
        let _before = effects(world);
        world.wire.clear();
        run
    };
    let arrive = |world: &mut World, run: &Run| {
        world.receive(run);
        effects(world)
    };
    let run = attack(&mut world);
    let expected = arrive(&mut world, &run);
    assert!(!expected.is_nothing(), "the attack is on nothing");
    let is_relayed = run.bytes[0] & 0xf == Kind::Relay as u8;
    let way_bytes = if is_relayed { ENVELOPE_BYTES } else { 0 };
    let mut led = 0;
    for place in 0..run.bytes.len() * 8 {
        // Nothing that is limited to so many a second gets in the way.
        world.now += Duration::from_millis(2);
        let run = attack(&mut world);
        let mut flipped = run.clone();
        flipped.bytes[place / 8] ^= 1 << (place % 8);
        let found = arrive(&mut world, &flipped);
        let is_through = place / 8 < way_bytes && found == expected;
        assert!(found.is_nothing() || is_through, "bit {place}: {found:?}");
        let found = arrive(&mut world, &run);
        if is_through {
            led += 1;
            assert!(found.is_nothing(), "bit {place}: twice");
        } else {
            assert_eq!(found, expected, "bit {place}");
        }
        let found = arrive(&mut world, &run);
        assert!(found.is_nothing(), "bit {place}: again");
    }
    led
}

/// What arrived, at all routers.
#[derive(Debug, PartialEq, Eq)]
struct Effects {
    delivered: Vec<Vec<Vec<u8>>>,
    /// What the control plane is told that somebody said.
    said: Vec<Notice>,
    /// Answers that were sent; sealed anew each time, so no more than how many.
    answers: usize,
}

impl Effects {
    fn is_nothing(&self) -> bool {
        self.delivered.iter().all(Vec::is_empty) && self.said.is_empty() && self.answers == 0
    }
}

fn effects(world: &mut World) -> Effects {
    let mut answers = 0;
    // A relayed packet goes on to its end; an answer goes back and is no part of this.
    while let Some(run) = world.wire.pop_front() {
        let kind = PacketView::new_checked(&run.bytes).unwrap().kind();
        if kind == Kind::Probe {
            answers += 1;
        } else {
            world.receive(&run);
        }
    }
    let nodes = 0..world.nodes.len();
    let said = |notice: &Notice| {
        matches!(
            notice,
            Notice::Probe { .. } | Notice::Note { .. } | Notice::MacMoved { .. }
        )
    };
    Effects {
        delivered: nodes.clone().map(|node| world.delivered(node)).collect(),
        said: nodes
            .flat_map(|node| world.notices(node))
            .filter(said)
            .collect(),
        answers,
    }
}

/// Puts a sealed packet with this body on the wire, from router 0 to router 1.
fn send(world: &mut World, kind: Kind, body: &[u8]) {
    let keys = world.nodes[0].fib.neighbours[0].keys.clone().unwrap();
    let bytes = seal_packet(&keys, kind, None, body).unwrap();
    world.wire.push_back(Run {
        from: 0,
        to: 1,
        meta: PacketMeta::single(address(1), bytes.len()),
        bytes,
    });
}
