//! What stops, dies, restarts and comes back.

use std::time::{Duration, Instant};

use super::lab::network::LINK_TIME_MAX;
use super::lab::ping::Pinger;
use super::lab::talk::Conversation;
use super::lab::{Lab, figure};

pub(super) fn stop_leaves_local_traffic_and_launch_brings_back_the_rest() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let a = &pair.a;
    a.weave(&["run", "10.0.1.3/24", "--name", "near", "bb", "idle"])
        .ok();
    a.weave(&["stop"]).ok();
    assert_eq!(a.weave(&["status"]).code, Some(4));
    let one = a.container("one");
    one.must_reach("10.0.1.3", Duration::from_secs(2));
    assert!(one.reaches("10.0.1.2", Duration::from_secs(1)).is_none());
    // Containers come and go meanwhile.
    a.weave(&["run", "10.0.1.4/24", "--name", "new", "bb", "idle"])
        .ok();
    one.must_reach("10.0.1.4", Duration::from_secs(2));
    // It knows no peer but the one that it knew.
    a.weave(&["launch", "10.0.0.1/16"]).ok();
    one.must_reach("10.0.1.2", LINK_TIME_MAX);
    a.container("new").must_reach("10.0.1.2", LINK_TIME_MAX);
}

pub(super) fn a_connection_survives_a_relaunch() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    let (one, other) = (a.container("one"), b.container("other"));
    let conversation = Conversation::start(one.namespace(), other.namespace(), "10.0.1.2", 4422);
    for (host, arguments) in [
        (a, &["launch", "10.0.0.1/16"][..]),
        (b, &["launch", "10.0.0.2/16", &a.address()][..]),
    ] {
        let stopped = Instant::now();
        host.weave(&["stop"]).ok();
        host.weave(arguments).ok();
        let gap = conversation.longest_gap(stopped, LINK_TIME_MAX);
        figure(&format!("a connection paused {gap:?} over stop and launch"));
    }
}

pub(super) fn a_killed_router_is_back_by_itself() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let a = &pair.a;
    let (one, other) = (a.container("one"), pair.b.container("other"));
    let conversation = Conversation::start(one.namespace(), other.namespace(), "10.0.1.2", 4422);
    let pinger = Pinger::start(&one, "10.0.1.2".parse().unwrap(), b"");
    let first = a.router_pid();
    let killed = Instant::now();
    a.sh(&format!("kill -9 {first}")).ok();
    a.await_status("another router", |_| a.router_pid() != first);
    let gap = conversation.longest_gap(killed, LINK_TIME_MAX);
    figure(&format!(
        "killed: pings paused {:?}, a connection {gap:?}",
        pinger.gap_since(killed)
    ));
    assert!(pinger.gap_since(killed) < Duration::from_secs(5));
}
