//! Two edge routers that only a third one links: their frames move to a direct path, and back.

use super::*;

#[test]
fn frames_move_to_a_direct_path_and_none_is_lost() {
    let mut net = behind_nats();
    let mut sent = 0;
    let found = loop {
        assert!(sent < 1_000, "{:?}", words(&net, 0));
        talk(&mut net);
        sent += 1;
        if remote(&net, 0).is_some() && remote(&net, 2).is_some() {
            break sent;
        }
    };
    // A second of frames, then a round trip by the relay and some of the path.
    assert!(found < 130, "{found} frames each way");
    let relayed = net.nodes[1].forwarder.stats().packets_relayed;
    for _ in 0..100 {
        talk(&mut net);
        sent += 1;
    }
    assert_eq!(net.nodes[1].forwarder.stats().packets_relayed, relayed);
    net.run(Duration::from_millis(20));
    for (at, mac_of_other) in [(0, 3), (2, 1)] {
        let got = net
            .received(at)
            .iter()
            .filter(|frame| frame[6..12] == mac(mac_of_other).0)
            .count();
        // The floods by which both addresses were learnt, too.
        assert_eq!(got, sent + 1, "at {at}");
    }
    let words = words(&net, 0).unwrap();
    assert!(
        words.starts_with("direct path without a link, to 198.18.0.3:6783, round trip "),
        "{words}"
    );
    // It is nobody else's business.
    let status = net.nodes[0].router.status(net.now, Default::default());
    assert_eq!(status.connections.len(), 1);
    assert!(status.verdict().healthy);
}

#[test]
fn frames_go_back_to_the_relay_when_probes_stop_and_status_says_why() {
    let mut net = with_path();
    net.cut.push((0, 2));
    let cut = net.now;
    while remote(&net, 0).is_some() || remote(&net, 2).is_some() {
        talk(&mut net);
        assert!(net.now - cut < Duration::from_secs(1));
    }
    let before = net.received(0).len();
    talk(&mut net);
    net.run(Duration::from_millis(20));
    assert_eq!(net.received(0).len(), before + 1, "by the relay");
    let said = words(&net, 0).unwrap();
    assert!(
        said.contains("no direct path: three probes over UDP in a row"),
        "{said}"
    );
    // It is looked for again, more and more seldom.
    talk_for(&mut net, Duration::from_secs(20));
    let said = words(&net, 0).unwrap();
    assert!(said.contains("no answer from 1 addresses"), "{said}");
    net.cut.clear();
    talk_for(&mut net, Duration::from_secs(60));
    assert!(remote(&net, 0).is_some(), "{:?}", words(&net, 0));
}

#[test]
fn a_path_stands_while_the_relay_is_gone() {
    let mut net = with_path();
    net.cut.extend([(0, 1), (1, 2)]);
    talk_for(&mut net, Duration::from_secs(20));
    let before = net.received(0).len();
    talk(&mut net);
    net.run(Duration::from_millis(20));
    assert_eq!(net.received(0).len(), before + 1);
}

#[test]
fn floods_never_take_a_direct_path() {
    let mut net = with_path();
    let (a, c) = (net.nodes[0].address, net.nodes[2].router.peer_id());
    let passed = net.nodes[1].forwarder.stats().floods_passed;
    net.send(0, &frame(mac(1), EthernetAddress::BROADCAST, b"who has"));
    net.run(Duration::from_millis(20));
    assert_eq!(net.nodes[1].forwarder.stats().floods_passed, passed + 1);
    let fib = &net.nodes[0].fib;
    let direct = fib
        .neighbours
        .iter()
        .find(|neighbour| neighbour.remote != crate::Remote::Udp(a) && neighbour.keys.is_none());
    assert!(direct.is_some());
    let site = net.nodes[0].router.sites.site(&c).unwrap();
    let receivers: Vec<_> = net.nodes[0]
        .router
        .tunnels
        .opening()
        .filter(|(peer, _)| *peer == c)
        .map(|(_, keys)| &fib.receivers[&keys.local_index()])
        .collect();
    assert!(!receivers.is_empty());
    for receiver in receivers {
        assert_eq!(receiver.site, site);
        assert!(receiver.neighbour.is_none(), "it may send none either");
    }
}

#[test]
fn a_path_without_frames_is_given_up() {
    let mut net = with_path();
    net.run(Duration::from_secs(190));
    assert!(remote(&net, 0).is_none() && remote(&net, 2).is_none());
    assert_eq!(words(&net, 0), None);
}

#[test]
fn a_router_without_discovery_neither_asks_nor_answers() {
    let mut net = behind_nats();
    net.nodes[2].router.config.mesh.discovery = false;
    talk_for(&mut net, Duration::from_secs(10));
    assert!(remote(&net, 0).is_none());
    let said = words(&net, 0).unwrap();
    assert!(
        said.contains("no direct path: the other router wants none; tried again in"),
        "{said}"
    );
    let said = words(&net, 2).unwrap();
    assert!(said.starts_with("no direct path is looked for: "), "{said}");
}

#[test]
fn forged_and_repeated_messages_make_nobody_probe() {
    let mut net = behind_nats();
    talk(&mut net);
    let (a, c) = (net.nodes[0].router.peer_id(), net.nodes[2].router.peer_id());
    let keys = Arc::clone(net.nodes[2].router.tunnels.sealing(&a).unwrap());
    let meet = crate::router::direct::Meet {
        answer: false,
        candidates: vec!["192.0.2.1:6783".parse().unwrap()],
    };
    let now = net.now;
    let hand = |net: &mut Net, from: PeerId, body: &wire::Body| {
        let wire::Body::Meet {
            receiver,
            counter,
            sealed,
        } = body
        else {
            panic!("it is one");
        };
        net.nodes[0]
            .router
            .handle_meet(now, from, *receiver, *counter, sealed);
        net.nodes[0].router.mesh().direct_paths().count()
    };
    let body = meet.seal(&keys).unwrap();
    let relay = net.nodes[1].router.peer_id();
    assert_eq!(
        hand(&mut net, relay, &body),
        0,
        "not sealed by whom it claims"
    );
    assert_eq!(hand(&mut net, c, &body), 1);
    net.nodes[0].router.forget_direct(&c);
    let again = meet.seal(&keys).unwrap();
    assert_eq!(hand(&mut net, c, &again), 1);
    let third = meet.seal(&keys).unwrap();
    hand(&mut net, c, &third);
    hand(&mut net, c, &again);
    let unasked = crate::router::direct::Meet {
        answer: true,
        ..meet
    };
    net.nodes[0].router.forget_direct(&c);
    assert_eq!(hand(&mut net, c, &unasked.seal(&keys).unwrap()), 0);
    let refused = net.nodes[0].router.refusals.clone();
    for reason in [
        "meet_not_genuine",
        "meet_too_often",
        "meet_replayed",
        "meet_unexpected",
    ] {
        assert_eq!(refused.get(reason), Some(&1), "{reason}: {refused:?}");
    }
}

/// Two routers that nobody can reach unasked, and one between them; both addresses are learnt.
fn behind_nats() -> Net {
    let mut net = Net::new(&["a", "b", "c"]);
    net.nats.extend([0, 2]);
    net.connect(0, 1);
    net.connect(2, 1);
    net.run(Duration::from_secs(3));
    net.send(0, &frame(mac(1), EthernetAddress::BROADCAST, b"hello"));
    net.run(Duration::from_millis(10));
    net.send(2, &frame(mac(3), EthernetAddress::BROADCAST, b"hello"));
    net.run(Duration::from_millis(10));
    net
}

/// As before, with a path that stands on both sides.
fn with_path() -> Net {
    let mut net = behind_nats();
    talk_for(&mut net, Duration::from_secs(3));
    assert!(
        remote(&net, 0).is_some() && remote(&net, 2).is_some(),
        "{:?}",
        words(&net, 0)
    );
    net
}

/// A frame each way, and 10 ms.
fn talk(net: &mut Net) {
    net.send(0, &frame(mac(1), mac(3), b"to c"));
    net.send(2, &frame(mac(3), mac(1), b"to a"));
    net.run(Duration::from_millis(10));
}

fn talk_for(net: &mut Net, time: Duration) {
    let end = net.now + time;
    while net.now < end {
        talk(net);
        // Each frame costs buffers.
        net.run(Duration::from_millis(190));
    }
}

/// Where frames between the two go directly, as one of them has it.
fn remote(net: &Net, at: usize) -> Option<SocketAddr> {
    net.nodes[at].router.direct_remote(&other(net, at))
}

fn words(net: &Net, at: usize) -> Option<String> {
    net.nodes[at].router.direct_words(net.now, &other(net, at))
}

fn other(net: &Net, at: usize) -> PeerId {
    net.nodes[2 - at].router.peer_id()
}
