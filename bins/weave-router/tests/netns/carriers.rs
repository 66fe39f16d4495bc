//! UDP that a firewall blocks: frames go over TCP, and back.

use std::time::{Duration, Instant};

use weave_core::Status;

use super::basics::LINK_TIME_MAX;
use super::lab::ping::Pinger;
use super::lab::shapes::Pair;
use super::lab::{Lab, figure};

pub(super) fn blocked_udp_costs_less_than_a_second_and_tcp_is_left_within_ten() {
    let mut lab = Lab::new();
    let Pair { one, other, a, b } = lab.pair(&[]);
    let pinger = Pinger::start(&one, other.address(), b"");
    a.await_links(LINK_TIME_MAX, &[&b]);
    std::thread::sleep(Duration::from_secs(2));

    let blocked = Instant::now();
    lab.block_udp(&a, &b);
    std::thread::sleep(Duration::from_secs(3));
    let gap = pinger.gap_since(blocked);
    figure(&format!("UDP blocked: {gap:?} without an answer"));
    assert!(gap < Duration::from_secs(1), "{gap:?}");
    for (host, other) in [(&a, "b"), (&b, "a")] {
        let status = host.status().unwrap();
        let link = &status.connections[0];
        assert_eq!(link.carrier.as_deref(), Some("tcp"), "{}", link.state);
        assert!(
            link.state.starts_with("over TCP: "),
            "the reason stands behind it: {}",
            link.state
        );
        assert_eq!(status.routes[0].carrier, "tcp");
        let warning = format!("frames to {other} go over TCP: ");
        assert!(
            status
                .warnings
                .iter()
                .any(|text| text.starts_with(&warning)),
            "{:?}",
            status.warnings
        );
    }
    figure(&a.status().unwrap().connections[0].state);

    lab.unblock_udp(&a, &b);
    let healed = Instant::now();
    let over_udp = |status: &Status| status.connections[0].carrier.as_deref() == Some("udp");
    for host in [&a, &b] {
        host.await_status(Duration::from_secs(10), "frames over UDP again", over_udp);
    }
    let took = healed.elapsed();
    let gap = pinger.gap_since(healed);
    figure(&format!(
        "UDP passes: taken again after {took:?}, {gap:?} without an answer"
    ));
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(gap < Duration::from_millis(500), "{gap:?}");
}

pub(super) fn udp_that_never_passes_leaves_all_to_tcp() {
    let mut lab = Lab::new();
    let (mut a, mut b, mut c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    // c is reached over b alone, and from there over TCP.
    lab.cut(&a, &c);
    lab.block_udp(&b, &c);
    a.start(&[]);
    b.start(&[a.address()]);
    let started = c.start(&[b.address()]);
    let (one, other) = (
        a.container(&["10.32.1.1/24"]),
        c.container(&["10.32.1.2/24"]),
    );
    // ARP crosses as a flood, the pings are relayed.
    one.must_reach(&other, LINK_TIME_MAX);
    figure(&format!("answered {:?} after the start", started.elapsed()));
    let status = c.status().unwrap();
    let link = status
        .connections
        .iter()
        .find(|link| link.name == "b")
        .unwrap();
    figure(&format!("c says of b: {}", link.state));
    assert_eq!(link.state, "over TCP: no probe over UDP was answered yet");
    let pinger = Pinger::start(&one, other.address(), b"");
    std::thread::sleep(Duration::from_secs(2));
    let since = Instant::now();
    std::thread::sleep(Duration::from_secs(3));
    let gap = pinger.gap_since(since);
    assert!(gap < Duration::from_millis(200), "{gap:?}");
    let relayed = b.status().unwrap().traffic.packets_relayed;
    assert!(relayed > 100, "{relayed}");
}
