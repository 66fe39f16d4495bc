//! A router that is told to stop.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::basics::LINK_TIME_MAX;
use super::lab::ping::Pinger;
use super::lab::{Lab, figure};

pub(super) fn a_terminated_router_takes_what_it_made_and_leaves_the_rest() {
    stops_on(Signal::SIGTERM);
}

pub(super) fn an_interrupted_router_takes_what_it_made_and_leaves_the_rest() {
    stops_on(Signal::SIGINT);
}

fn stops_on(signal: Signal) {
    let mut lab = Lab::new();
    let (mut a, mut b) = (lab.host("a"), lab.host("b"));
    a.start(&[]);
    b.start(&[a.address()]);
    let (one, neighbour) = (
        a.container(&["10.32.1.1/24"]),
        a.container(&["10.32.1.2/24"]),
    );
    let far = b.container(&["10.32.1.3/24"]);
    one.must_reach(&far, LINK_TIME_MAX);
    b.await_links(LINK_TIME_MAX, &[&a]);
    assert_eq!(taps(&a), 1);
    assert!(a.control_path().exists());

    let pinger = Pinger::start(&one, neighbour.address(), b"");
    let before = Instant::now();
    pinger
        .answered_after(before, LINK_TIME_MAX)
        .expect("local traffic");
    let before = Instant::now();
    a.router().signal(signal);
    let status = a.router().wait(Duration::from_secs(3)).expect("it ends");
    figure(&format!("ended {:?} after {signal}", before.elapsed()));
    assert_eq!(status.code(), Some(0), "{status}");

    assert_eq!(taps(&a), 0, "the TAP is left");
    assert!(!a.control_path().exists(), "the control socket is left");
    // The goodbye: nobody waits for time-outs.
    b.await_status(
        Duration::from_secs(1),
        "the stopped router gone",
        |status| status.routes.is_empty() && status.connections.is_empty(),
    );

    let bridge = a.netlink().link("weave").unwrap();
    assert!(bridge.up && bridge.kind.as_deref() == Some("bridge"));
    assert_eq!(a.netlink().bridge_ports("weave").unwrap().len(), 2);
    one.must_reach(&neighbour, Duration::from_millis(200));
    std::thread::sleep(Duration::from_millis(300));
    let gap = pinger.gap_since(before);
    assert!(
        gap < Duration::from_millis(200),
        "local traffic was interrupted for {gap:?}"
    );

    // And it starts again as if nothing had been.
    a.start(&[]);
    one.must_reach(&far, LINK_TIME_MAX);
}

fn taps(host: &super::lab::Host) -> usize {
    let links = host.netlink().links().unwrap();
    links
        .iter()
        .filter(|link| link.kind.as_deref() == Some("tun"))
        .count()
}
