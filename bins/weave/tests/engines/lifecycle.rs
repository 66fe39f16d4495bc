//! What stops, dies, restarts and comes back.

use std::thread;
use std::time::{Duration, Instant};

use super::lab::network::LINK_TIME_MAX;
use super::lab::ping::Pinger;
use super::lab::talk::Conversation;
use super::lab::{Lab, figure, within};

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

pub(super) fn after_a_restart_of_the_engine_all_is_on_the_network_again() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    let run = [
        "run",
        "10.0.1.3/24",
        "--name",
        "lasting",
        "--restart",
        "always",
        "bb",
        "idle",
    ];
    a.weave(&run).ok();
    a.restart_engine();
    let restarted = Instant::now();
    let other = b.container("other");
    other.must_reach("10.0.1.3", Duration::from_secs(20));
    figure(&format!(
        "on the network {:?} after the engine is up",
        restarted.elapsed()
    ));
    // What the engine does not start stays as it was, and comes back when somebody starts it.
    a.docker(&["start", "one"]).ok();
    other.must_reach("10.0.1.1", Duration::from_secs(20));
    let status = a.weave(&["status"]);
    assert!(matches!(status.code, Some(0 | 3)), "{status}");
}

pub(super) fn a_restarted_container_is_attached_again() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    let mac = "cat /sys/class/net/ethwe/address";
    let before = a.exec("one", &["sh", "-c", mac]).id();
    let pinger = Pinger::start(&b.container("other"), "10.0.1.1".parse().unwrap(), b"");
    // By the engine, at somebody's word; then by the container's own end.
    let restarted = Instant::now();
    a.docker(&["restart", "one"]).ok();
    let back = Instant::now();
    let answered = pinger
        .answered_after(back, Duration::from_secs(10))
        .expect("it is attached again");
    figure(&format!(
        "docker restart: answers {:?} after it returned; none for {:?}",
        answered.duration_since(back),
        pinger.gap_since(restarted)
    ));
    assert_eq!(
        a.exec("one", &["sh", "-c", mac]).id(),
        before,
        "it keeps its MAC"
    );
    a.docker(&["stop", "one"]).ok();
    thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    a.docker(&["start", "one"]).ok();
    pinger
        .answered_after(started, Duration::from_secs(10))
        .expect("it is attached again");
}

pub(super) fn reset_leaves_no_trace() {
    let mut lab = Lab::new();
    let [a] = lab.docker_hosts(["a"]);
    a.docker(&["run", "-d", "--name", "web", "bb", "idle"]).ok();
    // Launched and stopped engines leave what is theirs: docker's own proxy of no port, xtables' lock.
    let before = a.snapshot();
    a.weave(&[
        "launch",
        "10.0.0.1/16",
        "-password",
        "wEaVe",
        "198.18.250.1",
    ])
    .ok();
    a.weave(&["run", "10.0.1.1/24", "--name", "one", "bb", "idle"])
        .ok();
    a.weave(&["attach", "10.0.1.2/24", "web"]).ok();
    a.weave(&["attach", "fd00:1::2/64", "web"]).ok();
    a.weave(&["expose", "10.0.1.100/24"]).ok();
    a.await_status("an answer", |_| true);
    assert_ne!(before.changes(&a.snapshot()), "");
    a.docker(&["rm", "--force", "one"]).ok();
    a.weave(&["reset"]).ok();
    before.must_equal(&a.snapshot());
    within(
        Duration::from_secs(1),
        "nobody listens to the engine",
        || a.sh("! pgrep -x docker").is_ok().then_some(()),
    );
    // With nothing there to remove.
    a.weave(&["reset"]).ok();
    before.must_equal(&a.snapshot());
    // And it starts anew.
    a.weave(&["launch", "10.0.0.1/16"]).ok();
    a.weave(&["reset"]).ok();
    before.must_equal(&a.snapshot());
}
