//! Frames that wait, probes, notes, and what the control plane is told.

use super::*;

#[test]
fn frames_wait_for_a_tunnel_for_a_while_and_in_order() {
    let mut world = pair();
    let route = world.nodes[0].fib.sites[site(1).index()].take().unwrap();
    let mut without = route.clone();
    without.keys = None;
    world.nodes[0].fib.sites[site(1).index()] = Some(without);
    let sent: Vec<_> = (0..8u8)
        .map(|number| frame(mac(1, 1), mac(0, 1), &[number; 20]))
        .collect();
    for frame in &sent {
        world.put_one(0, frame.clone());
    }
    assert_eq!(
        world.notices(0),
        [Notice::NoTunnel { site: site(1) }],
        "told once in 100 ms"
    );
    world.put_one(0, frame(mac(1, 1), mac(0, 1), b"a ninth"));
    assert_eq!(world.drops(0, DropReason::NoTunnel), 1);
    world.snapshot(0);
    assert!(world.wire.is_empty(), "still no keys");
    world.nodes[0].fib.sites[site(1).index()] = Some(route.clone());
    let mut world = world.with_slots(1);
    world.snapshot(0);
    world.carry();
    assert_eq!(world.delivered(1), sent);

    let mut without = route.clone();
    without.next_hop = None;
    world.nodes[0].fib.sites[site(1).index()] = Some(without);
    world.put_one(0, sent[0].clone());
    world.put_one(0, frame(mac(1, 1), mac(0, 1), &[0; 2_050]));
    assert_eq!(world.drops(0, DropReason::NoTunnel), 2, "too large to wait");
    world.now += Duration::from_millis(2_001);
    world.nodes[0].fib.sites[site(1).index()] = Some(route);
    world.snapshot(0);
    assert!(world.wire.is_empty());
    assert_eq!(world.drops(0, DropReason::NoTunnel), 3, "waited too long");
    world.nodes[0].fib.sites[site(1).index()] = None;
    world.put_one(0, sent[0].clone());
    assert_eq!(world.drops(0, DropReason::NoRoute), 1);
}

#[test]
fn challenges_are_answered_on_the_spot_to_where_they_came_from() {
    let mut world = pair();
    let keys = world.nodes[0].fib.neighbours[0].keys.clone().unwrap();
    let challenge = Probe {
        kind: ProbeKind::Challenge,
        last_heard_ms: 3,
        sequence: 4,
        token: 5,
        seen: Some(address(1)),
    };
    world.now += Duration::from_millis(250);
    let mut body = vec![0; PROBE_BYTES + 900];
    challenge.emit(&mut body);
    let bytes = seal_packet(&keys, Kind::Probe, None, &body).unwrap();
    let run = Run {
        from: 0,
        to: 1,
        meta: PacketMeta::single(address(0), bytes.len()),
        bytes,
    };
    world.receive(&run);
    let report = |probe, from: usize| Notice::Probe {
        site: site(from),
        remote: address(from),
        probe,
    };
    assert_eq!(world.notices(1), [report(challenge, 0)]);
    let answer = world.wire.pop_front().unwrap();
    assert_eq!(answer.to, 0);
    world.receive(&answer);
    assert_eq!(
        world.notices(0),
        [report(challenge.answer(250, address(0)), 1)],
        "heard 250 ms before the challenge"
    );
    assert!(world.wire.is_empty(), "an answer needs none");
    assert_eq!(
        world.nodes[1].fib.neighbours[0]
            .heard
            .last(world.nodes[1].fib.epoch),
        Some(world.now)
    );
}

#[test]
fn a_relayed_packet_says_nothing_of_the_direct_path() {
    // 0 and 2 are neighbours, but 0 sends by 1.
    let mut world = World::new(3, &[(0, 1), (1, 2), (0, 2)]);
    for node in 0..3 {
        let to = (node + 1) % 3;
        world.nodes[node]
            .macs
            .learn(world.now, mac(to, 1), site(to));
    }
    world.nodes[0].macs.learn(world.now, mac(2, 1), site(2));
    world.nodes[2].macs.learn(world.now, mac(2, 1), Site::LOCAL);
    world.nodes[0].fib.sites[site(2).index()]
        .as_mut()
        .unwrap()
        .next_hop = Some(crate::NextHop::Relay(NeighbourIndex(0)));
    world.put_one(0, frame(mac(2, 1), mac(0, 1), b"the long way"));
    assert_eq!(world.carry(), 2);
    assert_eq!(world.delivered(2).len(), 1);
    let fib = &world.nodes[2].fib;
    assert!(
        fib.neighbours[0].heard.last(fib.epoch).is_none(),
        "0 was not heard"
    );
    assert!(
        fib.neighbours[1].heard.last_unicast(fib.epoch).is_some(),
        "1 carried a frame"
    );
    let active = |node: usize| Notice::Active { site: site(node) };
    assert_eq!(world.notices(0), [active(1)]);
    assert_eq!(world.notices(1), [active(0), active(2)]);
    assert!(world.notices(2).contains(&active(1)));
}

#[test]
fn the_first_packet_confirms_the_keys() {
    let mut world = World::new(2, &[(0, 1)]);
    world.put_one(0, frame(BROADCAST, mac(0, 1), b"x"));
    world.put_one(0, frame(BROADCAST, mac(0, 1), b"y"));
    world.carry();
    let confirmed = |notice: &&Notice| matches!(notice, Notice::Confirmed { .. });
    let told = world.notices(1);
    let keys = &world.nodes[1].fib.receivers[&index(1, 0)].keys;
    assert!(keys.is_confirmed());
    assert!(told.iter().filter(confirmed).count() <= 1, "{told:?}");
}

#[test]
fn a_note_that_an_address_is_not_there_has_it_forgotten() {
    let mut world = line();
    let note = |world: &mut World, from: usize, to: usize, mac| {
        let keys = world.nodes[from].fib.sites[site(to).index()]
            .as_ref()
            .unwrap()
            .keys
            .clone()
            .unwrap();
        let mut body = [0; Note::BYTES_MAX];
        let length = Note::NotHere { mac }.emit(&mut body);
        let bytes = seal_packet(&keys, Kind::Note, None, &body[..length]).unwrap();
        let meta = PacketMeta::single(address(from), bytes.len());
        world.receive(&Run {
            from,
            to,
            meta,
            bytes,
        });
    };
    note(&mut world, 1, 0, mac(2, 1));
    assert_eq!(
        world.nodes[0].macs.lookup(mac(2, 1)),
        Some(site(2)),
        "not 1's to say"
    );
    note(&mut world, 2, 0, mac(2, 1));
    assert_eq!(world.nodes[0].macs.lookup(mac(2, 1)), None);
    assert_eq!(
        world.notices(0),
        [],
        "nothing that the control plane has to know"
    );
    assert_eq!(world.nodes[0].forwarder.stats().not_here_obeyed, 1);
}

#[test]
fn a_frame_for_an_address_that_is_gone_is_written_answered_and_found_elsewhere() {
    for relayed in [false, true] {
        let mut world = if relayed { line() } else { pair() };
        let (far, other) = if relayed { (2, 1) } else { (1, 1) };
        // Silent, it went from `far` to `other` (or, of two, nowhere), and only its old host knows that it went.
        world.nodes[far].macs.forget(mac(far, 1));
        let ping = frame(mac(far, 1), mac(0, 1), b"are you there?");
        world.put_one(0, ping.clone());
        assert_eq!(
            kinds(&world),
            [if relayed { Kind::Relay } else { Kind::Unicast }]
        );
        world.carry();
        assert_eq!(
            world.delivered(far),
            std::slice::from_ref(&ping),
            "written all the same"
        );
        assert_eq!(world.nodes[far].forwarder.stats().not_here_sent, 1);
        assert_eq!(world.nodes[0].macs.lookup(mac(far, 1)), None);
        world.put_one(0, ping.clone());
        assert_eq!(kinds(&world), [Kind::Flood]);
        world.carry();
        assert!(world.delivered(other).contains(&ping));
        world.delivered(far);
        let answer = frame(mac(0, 1), mac(far, 1), b"here");
        world.put_one(other, answer.clone());
        world.carry();
        assert_eq!(world.delivered(0), [answer]);
        assert_eq!(world.nodes[0].macs.lookup(mac(far, 1)), Some(site(other)));
        assert_eq!(world.drops_total(), 0);
    }
}

#[test]
fn a_host_whose_address_is_nowhere_is_asked_for_everywhere() {
    // With batches of one buffer each step ends half-way.
    for mut world in [line(), line().with_slots(1)] {
        let packet = [
            0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 9,
        ];
        let lost = mac(2, 99);
        let mut ip = frame(lost, mac(0, 1), &packet);
        ip[12..14].copy_from_slice(&[8, 0]);
        world.put_one(0, ip.clone());
        let own = world.delivered(0);
        world.carry();
        let (near, far) = (world.delivered(1), world.delivered(2));
        assert_eq!(near, far);
        assert_eq!(near[0], ip);
        let asks = |question: &[u8], source: EthernetAddress| {
            question[..6] == [0xff; 6]
                && question[6..12] == source.0
                && question[22..28] == mac(0, 1).0
                && question[28..32] == [10, 0, 0, 1]
                && question[38..42] == [10, 0, 0, 9]
        };
        assert!(asks(&near[1], mac(0, 1)), "{near:?}");
        // Who it is for may be near; the sender's address stays where it is.
        assert_eq!((own.len(), near.len()), (1, 2));
        assert!(asks(&own[0], crate::loop_frame::router_mac(&short(0))));
        assert_eq!(world.nodes[1].macs.lookup(mac(0, 1)), Some(site(0)));
        assert_eq!(world.nodes[0].macs.lookup(mac(0, 1)), Some(Site::LOCAL));

        // The next frames are flooded, and the question waits for a second.
        world.put_one(0, ip.clone());
        assert!(world.delivered(0).is_empty());
        world.carry();
        assert_eq!(world.delivered(2), std::slice::from_ref(&ip));
        assert_eq!(world.nodes[0].forwarder.stats().asked, 1);
        // The answer ends it.
        let answer = frame(mac(0, 1), mac(2, 7), b"here, by another address");
        world.delivered(1);
        world.put_one(2, answer.clone());
        world.carry();
        assert_eq!(world.delivered(0), [answer]);
        assert_eq!(world.drops_total(), 0);
    }
}

#[test]
fn one_router_is_told_once_a_second_that_an_address_is_not_here() {
    let mut world = pair();
    world.nodes[1].macs.forget(mac(1, 1));
    let sent = |world: &World| world.nodes[1].forwarder.stats().not_here_sent;
    for _ in 0..5 {
        // It does not listen.
        world.nodes[0].macs.learn(world.now, mac(1, 1), site(1));
        world.put_one(0, frame(mac(1, 1), mac(0, 1), b"x"));
        world.carry();
    }
    assert_eq!(sent(&world), 1);
    world.now += Duration::from_secs(1);
    world.nodes[0].macs.learn(world.now, mac(1, 1), site(1));
    world.put_one(0, frame(mac(1, 1), mac(0, 1), b"x"));
    world.carry();
    assert_eq!(sent(&world), 2);
}

#[test]
fn what_could_not_have_been_learned_is_not_denied() {
    let mut world = pair();
    world.nodes[1].macs = MacTable::new(4, world.nodes[1].fib.epoch, 3);
    for number in 10..12 {
        let learned = world.nodes[1]
            .macs
            .learn(world.now, mac(1, number), Site::LOCAL);
        assert_eq!(learned, Learned::New);
    }
    world.put_one(0, frame(mac(1, 1), mac(0, 1), b"one too many to be known"));
    assert_eq!(world.carry(), 1, "no answer");
    assert_eq!(world.delivered(1).len(), 1);
    world.put_one(0, frame(mac(1, 10), mac(0, 1), b"known"));
    world.carry();
    assert_eq!(world.nodes[1].forwarder.stats().not_here_sent, 0);
}

#[test]
fn an_address_that_flaps_is_told_of_once_and_stays() {
    let mut world = pair();
    for _ in 0..8 {
        for node in 0..2 {
            world.put_one(node, frame(BROADCAST, mac(0, 1), b"two have one address"));
            world.carry();
        }
    }
    for node in 0..2 {
        let told = world.notices(node);
        let damped = |notice: &&Notice| matches!(notice, Notice::MacDamped { .. });
        assert_eq!(told.iter().filter(damped).count(), 1, "{told:?}");
        let stats = world.nodes[node].forwarder.stats();
        assert_eq!(stats.macs_moved, 5);
        assert!(stats.macs_damped > 0);
    }
    assert_eq!(world.drops_total(), 0, "its frames go on");
}
