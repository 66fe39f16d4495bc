//! A – B – C, with A and C cut off from each other.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::lab::capture::{Capture, by_device, holds};
use super::lab::ping::Pinger;
use super::lab::{Lab, figure};

pub(super) fn two_hosts_cut_off_from_each_other_meet_over_a_third() {
    let mut lab = Lab::new();
    let line = lab.line(&[]);
    line.one.must_reach(&line.other, Duration::from_secs(1));
    line.other.must_reach(&line.one, Duration::from_secs(1));
    for (host, far) in [(&line.a, "c"), (&line.c, "a")] {
        let status = host.status().unwrap();
        let route = status
            .routes
            .iter()
            .find(|route| route.destination == far)
            .unwrap();
        assert_eq!(
            (route.next_hop.as_str(), route.direct, route.hops),
            ("b", false, 2)
        );
        assert!(
            !status
                .connections
                .iter()
                .any(|connection| connection.name == far && connection.usable)
        );
    }
}

pub(super) fn nothing_of_a_relayed_frame_is_on_any_wire() {
    let mut lab = Lab::new();
    let line = lab.line(&[]);
    let capture = Capture::start(lab.underlay());
    let start = Instant::now();
    let pinger = Pinger::start(&line.one, line.other.address(), MARKER);
    for _ in 0..PINGS {
        pinger
            .answered_after(Instant::now(), Duration::from_secs(1))
            .expect("answers keep coming");
    }
    // Any answer is one to a ping with the marker, which has thus crossed every wire on the way, and back.
    let answers = pinger.record().answers.len();
    drop(pinger);
    let frames = capture.stop();
    figure(&format!(
        "{answers} pings relayed, {} frames captured in {:?}",
        frames.len(),
        start.elapsed()
    ));

    let counts = by_device(&frames);
    for host in [&line.a, &line.b, &line.c] {
        let seen = counts.get(&lab.wire(host)).copied().unwrap_or(0);
        assert!(
            seen >= answers,
            "only {seen} frames on the wire of {}",
            host.name()
        );
    }
    let leaked = frames
        .iter()
        .filter(|frame| holds(&frame.bytes, MARKER))
        .count();
    assert_eq!(leaked, 0, "frames with the marker in clear");

    // The same search finds it where it is: a capture that is blind would not fail this test.
    let capture = Capture::start(lab.underlay());
    let (from, to) = (line.a.address(), line.b.address());
    let stranger = line
        .a
        .namespace()
        .run(|| UdpSocket::bind((from, 0)).unwrap())
        .unwrap();
    stranger.send_to(MARKER, (to, 9)).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let found = capture
        .stop()
        .iter()
        .filter(|frame| holds(&frame.bytes, MARKER))
        .count();
    assert!(
        found >= 2,
        "a datagram in clear was seen {found} times on its two wires"
    );
}

/// Longer than any accident.
const MARKER: &[u8] = b"what two containers say to each other is nobody else's business";
const PINGS: usize = 50;
