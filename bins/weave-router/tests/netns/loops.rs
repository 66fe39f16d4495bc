//! Bridges that are joined outside of the mesh: a loop, were it not noticed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use weave_core::Status;
use weave_io::host::NetNs;

use super::basics::LINK_TIME_MAX;
use super::lab::ping::Pinger;
use super::lab::{Container, Host, Lab, figure};

pub(super) fn joined_bridges_are_noticed_and_nothing_goes_round() {
    let mut lab = Lab::new();
    let mut hosts = ["a", "b", "c"].map(|name| lab.host(name));
    start(&mut hosts);
    let containers = containers(&mut hosts);
    let pingers = ping_all(&containers);
    thread::sleep(Duration::from_secs(1));

    let [a, b, c] = &hosts;
    let joined = Instant::now();
    let [end, _] = lab.join_bridges(a, b);
    let rates = Rates::watch(a.namespace(), &[&end, "weave-tap"]);
    let mut noticed = Duration::ZERO;
    for (host, other) in [(a, "b"), (b, "a")] {
        host.await_status(NOTICED_TIME_MAX, "the loop named", |status| {
            names(status, other)
        });
        noticed = joined.elapsed();
    }
    assert!(noticed < NOTICED_TIME_MAX, "{noticed:?}");
    // Nobody else has anything to do with it.
    assert!(c.status().unwrap().segment.is_empty());
    let before = status_of(&hosts);
    // Something that everybody gets, all the time: a container asks for addresses that nobody has.
    let nobody = Pinger::start(&containers[0], "10.32.1.99".parse().unwrap(), b"");
    let nobody_either = Pinger::start(&containers[1], "10.32.1.98".parse().unwrap(), b"");
    thread::sleep(LONG);
    drop((nobody, nobody_either));
    let gap = longest(&pingers, joined, Instant::now());
    let settled = longest(&pingers, joined + SETTLED, Instant::now());
    let frames = rates.stop();
    figure(&format!(
        "noticed after {noticed:?}; pings were interrupted for {gap:?}, and {settled:?} once it had settled; \
         most frames in a second: {frames:?}"
    ));
    assert!(gap < Duration::from_secs(2), "{gap:?}");
    assert!(settled < Duration::from_millis(500), "{settled:?}");
    for (device, most) in &frames {
        assert!(*most < FRAMES_PER_S_MAX, "{device}: {most} in a second");
    }
    // The control plane has gone on: no link went down, no stream was lost.
    for ((host, before), now) in hosts.iter().zip(before).zip(status_of(&hosts)) {
        assert_eq!(now.connections.len(), 2, "{}", host.name());
        for link in &now.connections {
            assert!(link.usable && link.loss < 0.05, "{link:?}");
        }
        let dropped = |status: &Status, name| status.traffic.drops.get(name).copied().unwrap_or(0);
        assert_eq!(
            dropped(&before, "flood_policed"),
            dropped(&now, "flood_policed"),
            "a storm"
        );
    }

    // The wire goes, and all is as before.
    let parted = Instant::now();
    assert!(a.netlink().delete_link(&end).unwrap());
    for host in [a, b] {
        host.await_status(PARTED_TIME_MAX, "no loop named", |status| {
            status.segment.is_empty() && !status.warnings.iter().any(|text| text.contains("loop"))
        });
    }
    let forgotten = parted.elapsed();
    thread::sleep(Duration::from_secs(2));
    let gap = longest(&pingers, parted, Instant::now());
    figure(&format!(
        "the wire's end is noticed after {forgotten:?}; pings were interrupted for {gap:?}"
    ));
    assert!(gap < Duration::from_secs(2), "{gap:?}");
    drop(pingers);
    for one in &containers {
        for other in &containers {
            if one.address() != other.address() {
                one.must_reach(other, Duration::from_secs(1));
            }
        }
    }
}

pub(super) fn bridges_that_were_joined_before_the_routers_start_are_noticed() {
    let mut lab = Lab::new();
    let mut hosts = ["a", "b", "c"].map(|name| lab.host(name));
    let containers = containers(&mut hosts);
    let [end, _] = lab.join_bridges(&hosts[0], &hosts[1]);
    let rates = Rates::watch(hosts[0].namespace(), &[&end]);
    // Whose containers reach each other by the wire, and go on to do so.
    containers[0].must_reach(&containers[1], Duration::from_secs(1));
    let pinger = Pinger::start(&containers[0], containers[1].address(), b"");
    let started = Instant::now();
    start(&mut hosts);
    for (host, other) in [(&hosts[0], "b"), (&hosts[1], "a")] {
        host.await_status(LINK_TIME_MAX, "the loop named", |status| {
            names(status, other)
        });
    }
    let noticed = started.elapsed();
    for (one, other) in [(2, 0), (2, 1), (0, 2), (1, 2)] {
        containers[one].must_reach(&containers[other], Duration::from_secs(2));
    }
    let gap = pinger.gap_since(started);
    let frames = rates.stop();
    figure(&format!(
        "noticed {noticed:?} after the start; the longest gap between the two: {gap:?}; most frames in a second: {frames:?}"
    ));
    assert!(noticed < NOTICED_TIME_MAX, "{noticed:?}");
    assert!(gap < Duration::from_secs(2), "{gap:?}");
    for most in frames.values() {
        assert!(*most < FRAMES_PER_S_MAX, "{most} in a second");
    }
}

/// The routers, told of the first, and linked with one another.
fn start(hosts: &mut [Host; 3]) {
    let first = hosts[0].address();
    hosts[0].start(&[]);
    hosts[1].start(&[first]);
    hosts[2].start(&[first]);
    for n in 0..3 {
        let others: Vec<&Host> = (0..3).filter(|m| *m != n).map(|m| &hosts[m]).collect();
        hosts[n].await_links(LINK_TIME_MAX, &others);
    }
}

/// One on each host.
fn containers(hosts: &mut [Host; 3]) -> Vec<Container> {
    let with_number = hosts.iter_mut().zip(1..);
    with_number
        .map(|(host, number)| host.container(&[&format!("10.32.1.{number}/24")]))
        .collect()
}

/// Each pings each other.
fn ping_all(containers: &[Container]) -> Vec<Pinger> {
    let mut pingers = Vec::new();
    for one in containers {
        for other in containers {
            if one.address() != other.address() {
                one.must_reach(other, LINK_TIME_MAX);
                pingers.push(Pinger::start(one, other.address(), b""));
            }
        }
    }
    pingers
}

fn longest(pingers: &[Pinger], from: Instant, until: Instant) -> Duration {
    let gaps = pingers
        .iter()
        .map(|pinger| pinger.record().gap(from, until));
    gaps.max().expect("there are some")
}

/// Whether a router says that it shares a segment with another, and what that means.
fn names(status: &Status, other: &str) -> bool {
    let is_listed = status.segment.iter().any(|mate| mate.name == other);
    let warned = status.warnings.iter().any(|text| {
        text.contains("a loop:")
            && text.contains(&format!("with that of {other} "))
            && text.contains("carries its floods")
    });
    is_listed && warned
}

fn status_of(hosts: &[Host; 3]) -> Vec<Status> {
    hosts.iter().map(|host| host.status().unwrap()).collect()
}

/// Counts frames on devices, both ways, second by second.
struct Rates {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<String, u64>>,
}

impl Rates {
    fn watch(namespace: &NetNs, devices: &[&str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let own_stop = Arc::clone(&stop);
        let namespace = namespace.clone();
        let devices: Vec<String> = devices.iter().map(|device| (*device).to_owned()).collect();
        let thread = thread::spawn(move || {
            namespace.enter_current_thread().unwrap();
            let mut most: BTreeMap<String, u64> = BTreeMap::new();
            let mut before = frames(&devices);
            while !own_stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                thread::sleep(Duration::from_secs(1));
                let now = frames(&devices);
                for (device, count) in &now {
                    let since = count - before.get(device).unwrap_or(count);
                    let rate = since as f64 / begun.elapsed().as_secs_f64();
                    let most = most.entry(device.clone()).or_default();
                    *most = (*most).max(rate as u64);
                }
                before = now;
            }
            most
        });
        Self { stop, thread }
    }

    /// The most frames of a second on each device.
    fn stop(self) -> BTreeMap<String, u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Frames received and sent by each of these devices that there is (`/proc/thread-self/net/dev`, proc(5)).
fn frames(devices: &[String]) -> BTreeMap<String, u64> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let rows = table.lines().filter_map(|line| line.split_once(':'));
    let counts = rows.filter_map(|(device, fields)| {
        let device = device.trim();
        let fields: Vec<u64> = fields
            .split_whitespace()
            .map(|field| field.parse().unwrap())
            .collect();
        let is_asked_for = devices.iter().any(|asked| asked == device);
        is_asked_for.then(|| (device.to_owned(), fields[1] + fields[9]))
    });
    counts.collect()
}

const NOTICED_TIME_MAX: Duration = Duration::from_secs(3);
/// 1.5 s of silence after a bridge's port went say that the wire is gone.
const PARTED_TIME_MAX: Duration = Duration::from_secs(2);
/// From then on nothing is learned anew.
const SETTLED: Duration = Duration::from_secs(3);
/// How long a loop stands.
const LONG: Duration = Duration::from_secs(8);
/// Six pings each 20 ms and their answers are 600 a second, and ARP requests a few more. A storm is of 25,000.
const FRAMES_PER_S_MAX: u64 = 2_000;
