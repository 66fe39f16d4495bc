//! Three hosts, not all of which reach each other.

use std::time::{Duration, Instant};

use super::lab::network::LINK_TIME_MAX;
use super::lab::ping::Pinger;
use super::lab::{Host, Lab, figure};

pub(super) fn hosts_that_are_cut_off_meet_over_a_third() {
    let mut lab = Lab::new();
    let hosts = lab.docker_hosts(["a", "b", "c"]);
    let [a, b, c] = &hosts;
    lab.cut(a, c);
    launch_all(&hosts, [&[], &[&a.address()], &[&b.address()]]);
    let one = a.container("one");
    one.must_reach("10.0.1.3", LINK_TIME_MAX);
    a.exec("one", &["ping", "-c", "1", "-q", "10.0.1.3"]).ok();
    let trace = a.weave(&["trace", "c"]).ok();
    assert!(trace.stdout.contains('b'), "{trace}");
    // The direct path, when there is one.
    lab.heal(a, c);
    a.await_direct("c");
    // The wire breaks under traffic, and b is there.
    let pinger = Pinger::start(&one, "10.0.1.3".parse().unwrap(), b"");
    let cut = Instant::now();
    lab.cut(a, c);
    std::thread::sleep(Duration::from_secs(3));
    let gap = pinger.gap_since(cut);
    figure(&format!("a cut wire cost {gap:?}"));
    assert!(gap < Duration::from_secs(2), "{gap:?}");
}

pub(super) fn whoever_is_told_one_peer_finds_all() {
    let mut lab = Lab::new();
    let hosts = lab.docker_hosts(["a", "b", "c"]);
    let [a, b, c] = &hosts;
    launch_all(&hosts, [&[], &[&a.address()], &[&b.address()]]);
    a.await_direct("c");
    c.await_direct("a");
    // The one in the middle goes, and the others stay together.
    b.weave(&["stop"]).ok();
    a.container("one").must_reach("10.0.1.3", LINK_TIME_MAX);
    // It comes back as a host that is told nobody's name: it knows them.
    b.weave(&["launch", "10.0.0.2/16"]).ok();
    b.container("one").must_reach("10.0.1.1", LINK_TIME_MAX);
    // Whom it is told while it runs.
    c.weave(&["forget", &b.address()]).ok();
    c.weave(&["connect", &a.address()]).ok();
    c.container("one").must_reach("10.0.1.2", LINK_TIME_MAX);
}

/// Starts router and container `one` on each host, at 10.0.1.1 and so on, with these peers; once each has all others'
/// routes.
fn launch_all(hosts: &[Host; 3], peers: [&[&str]; 3]) {
    std::thread::scope(|scope| {
        for ((host, peers), number) in hosts.iter().zip(peers).zip(1..) {
            scope.spawn(move || {
                let address = format!("10.0.0.{number}/16");
                host.weave(&[&["launch", &address], peers].concat()).ok();
                let address = format!("10.0.1.{number}/24");
                host.weave(&["run", &address, "--name", "one", "bb", "idle"])
                    .ok();
            });
        }
    });
    for host in hosts {
        host.await_status("routes to both others", |status| status.routes.len() == 2);
    }
}
