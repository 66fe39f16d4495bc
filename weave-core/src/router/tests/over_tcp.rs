//! UDP that does not pass: frames, floods, relayed packets and notes go over TCP, and everybody says so.

use super::*;
use crate::Status;

#[test]
fn frames_go_over_tcp_within_a_second_and_over_udp_again_within_ten() {
    let mut net = Net::new(&["a", "b"]);
    net.connect(0, 1);
    net.run(Duration::from_secs(40));
    greet(&mut net);
    net.udp_blocked.push((0, 1));
    let gap = longest_gap(&mut net, Duration::from_secs(3));
    assert!(gap < Duration::from_millis(700), "{gap:?}");

    let status = status(&net, 0);
    let connection = &status.connections[0];
    assert_eq!(connection.carrier.as_deref(), Some("tcp"));
    assert_eq!(
        connection.state,
        "over TCP: three probes over UDP in a row were not answered"
    );
    assert!(connection.usable && status.verdict().healthy);
    assert_eq!(status.routes[0].carrier, "tcp");
    let reason = "frames to b go over TCP: three probes over UDP in a row were not answered";
    assert_eq!(status.routes[0].carrier_reason.as_deref(), Some(reason));
    assert!(status.warnings.iter().any(|warning| warning == reason));
    let trace = net.trace(0, "b");
    assert_eq!(trace.hops[0].carrier, "tcp");
    assert!(trace.why.iter().any(|why| why == reason), "{:?}", trace.why);

    net.udp_blocked.clear();
    let gap = longest_gap(&mut net, Duration::from_secs(10));
    assert!(gap < Duration::from_millis(50), "{gap:?}");
    assert_eq!(
        self::status(&net, 0).connections[0].carrier.as_deref(),
        Some("udp")
    );
    assert_eq!(net.trace(1, "a").hops[0].carrier, "udp");
}

#[test]
fn udp_that_never_passed_is_told_and_floods_cross_all_the_same() {
    let mut net = Net::new(&["a", "b"]);
    net.udp_blocked.push((0, 1));
    net.connect(0, 1);
    net.run(Duration::from_secs(2));
    let status = status(&net, 1);
    assert_eq!(
        status.connections[0].state,
        "over TCP: no probe over UDP was answered yet"
    );
    let flood = frame(mac(1), EthernetAddress::BROADCAST, b"who has");
    net.send(0, &flood);
    net.run(Duration::from_millis(10));
    assert_eq!(net.received(1), [flood]);
}

#[test]
fn a_hop_over_tcp_carries_relayed_packets_and_pings() {
    let mut net = Net::new(&["a", "b", "c"]);
    net.cut.push((0, 2));
    net.udp_blocked.push((1, 2));
    net.connect(0, 1);
    net.connect(2, 1);
    net.run(Duration::from_secs(3));
    net.send(0, &frame(mac(1), EthernetAddress::BROADCAST, b"hello"));
    net.run(Duration::from_millis(10));
    net.send(2, &frame(mac(3), EthernetAddress::BROADCAST, b"hello"));
    net.run(Duration::from_millis(300));
    let relayed = net.nodes[1].forwarder.stats().packets_relayed;
    let there = frame(mac(1), mac(3), b"there");
    net.send(0, &there);
    net.run(Duration::from_millis(300));
    assert_eq!(net.received(2).last(), Some(&there));
    assert_eq!(net.nodes[1].forwarder.stats().packets_relayed, relayed + 1);

    let now = net.now;
    net.nodes[0].router.handle_command(
        now,
        Command::Ping {
            id: 7,
            to: "c".to_owned(),
            timeout: Duration::from_secs(1),
        },
    );
    net.drain(0);
    net.run(Duration::from_millis(900));
    let (_, _, ping) = net.nodes[0].pinged.pop().expect("an answer");
    let hops = ping.unwrap().hops;
    let carriers: Vec<(&str, bool)> = hops
        .iter()
        .map(|hop| (hop.carrier.as_str(), hop.rtt_us.is_some()))
        .collect();
    assert_eq!(carriers, [("udp", true), ("tcp", true)]);
}

fn status(net: &Net, at: usize) -> Status {
    net.nodes[at].router.status(net.now, Default::default())
}

/// Has both ends know each other's station.
fn greet(net: &mut Net) {
    for (at, number) in [(0, 1), (1, 2)] {
        net.send(
            at,
            &frame(mac(number), EthernetAddress::BROADCAST, b"hello"),
        );
        net.run(Duration::from_millis(10));
    }
}

/// Sends a frame each 10 ms both ways, and gives the longest time in which one end got none.
fn longest_gap(net: &mut Net, time: Duration) -> Duration {
    let end = net.now + time;
    let mut last = [
        (net.now, net.received(0).len()),
        (net.now, net.received(1).len()),
    ];
    let mut longest = Duration::ZERO;
    while net.now < end {
        net.send(0, &frame(mac(1), mac(2), b"ping"));
        net.send(1, &frame(mac(2), mac(1), b"pong"));
        net.run(Duration::from_millis(10));
        for (at, (since, count)) in last.iter_mut().enumerate() {
            let received = net.received(at).len();
            if received > *count {
                (*since, *count) = (net.now, received);
            }
            longest = longest.max(net.now - *since);
        }
    }
    longest
}
