//! Containers that move: the same address on another host, and everybody else goes on.

use std::time::{Duration, Instant};

use super::lab::network::LINK_TIME_MAX;
use super::lab::ping::Pinger;
use super::lab::talk::{Conversation, Service, ask_tcp};
use super::lab::{Container, Host, Lab, figure};

pub(super) fn a_container_moves_to_another_engine_with_its_address() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    let run = ["run", "10.0.1.9/24", "--name", "mover", "bb", "idle"];
    a.weave(&run).ok();
    let (one, other) = (a.container("one"), b.container("other"));
    let watched = Watched::start(&one, &other);
    let conversation = Conversation::start(one.namespace(), other.namespace(), "10.0.1.2", 4422);
    let started = Instant::now();
    // There, and back again.
    for (from, to, user) in [(a, b, &one), (b, a, &other)] {
        let old = mac(from);
        watched.found_after("run elsewhere", || {
            from.docker(&["rm", "--force", "mover"]).ok();
            to.weave(&run).ok();
        });
        assert_ne!(mac(to), old, "another device");
        let mover = to.container("mover");
        let _service = Service::start(mover.namespace(), 4422, "mover");
        let answer = ask_tcp(user.namespace(), "10.0.1.9:4422", "Hello").unwrap();
        assert!(
            answer.starts_with("mover heard Hello from 10.0.1."),
            "{answer}"
        );
    }
    let gap = conversation.longest_gap(started, LINK_TIME_MAX);
    figure(&format!("those who stayed paused no longer than {gap:?}"));
    assert!(gap < Duration::from_secs(1), "{gap:?}");
}

pub(super) fn a_container_moves_to_another_engine_with_its_mac() {
    const MAC: &str = "02:00:00:00:09:09";
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    for host in [a, b] {
        let options = ["--name", "mover", "--cap-add", "NET_ADMIN"];
        host.docker(&[&["run", "-d"], &options[..], &["bb", "idle"]].concat())
            .ok();
    }
    // As a machine that is moved with all its memory: it says that it is here, as hypervisors do for those.
    let arrive = |host: &Host| {
        host.weave(&["attach", "10.0.1.9/24", "mover"]).ok();
        let line = format!(
            "ip link set ethwe address {MAC}; arping -U -c 1 -w 1 -I ethwe 10.0.1.9 >/dev/null"
        );
        host.exec("mover", &["sh", "-c", &line]).ok();
        assert_eq!(mac(host), MAC);
    };
    arrive(a);
    let (one, other) = (a.container("one"), b.container("other"));
    let watched = Watched::start(&one, &other);
    for (from, to) in [(a, b), (b, a)] {
        watched.found_after("with its MAC", || {
            from.weave(&["detach", "10.0.1.9/24", "mover"]).ok();
            arrive(to);
        });
    }
}

pub(super) fn an_address_moves_between_containers_that_run() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    let (a, b) = (&pair.a, &pair.b);
    for host in [a, b] {
        host.docker(&["run", "-d", "--name", "mover", "bb", "idle"])
            .ok();
    }
    a.weave(&["attach", "10.0.1.9/24", "mover"]).ok();
    let (one, other) = (a.container("one"), b.container("other"));
    let watched = Watched::start(&one, &other);
    let without = b.snapshot();
    for (from, to) in [(a, b), (b, a)] {
        watched.found_after("attached elsewhere", || {
            from.weave(&["detach", "10.0.1.9/24", "mover"]).ok();
            to.weave(&["attach", "10.0.1.9/24", "mover"]).ok();
        });
        assert!(!from.exec("mover", &["ip", "link", "show", "ethwe"]).is_ok());
    }
    without.must_equal(&b.snapshot());
    // On one host from one to another as well.
    a.docker(&["run", "-d", "--name", "heir", "bb", "idle"])
        .ok();
    watched.found_after("attached to another one", || {
        a.weave(&["detach", "10.0.1.9/24", "mover"]).ok();
        a.weave(&["attach", "10.0.1.9/24", "heir"]).ok();
    });
    let heir = a.container("heir");
    let _service = Service::start(heir.namespace(), 4422, "heir");
    let answer = ask_tcp(other.namespace(), "10.0.1.9:4422", "Hello").unwrap();
    assert_eq!(answer, "heir heard Hello from 10.0.1.2");
}

/// Pings of 10.0.1.9 each 20 ms, from a container on either host.
struct Watched([Pinger; 2]);

impl Watched {
    fn start(one: &Container, other: &Container) -> Self {
        let pinger = |from| Pinger::start(from, "10.0.1.9".parse().unwrap(), b"");
        let watched = Self([pinger(one), pinger(other)]);
        watched.found_after("at first", || ());
        watched
    }

    /// Both have answers no later than 2 s after the move is over.
    #[track_caller]
    fn found_after(&self, how: &str, movement: impl FnOnce()) {
        let started = Instant::now();
        movement();
        let over = Instant::now();
        for (pinger, whence) in self.0.iter().zip(["a", "b"]) {
            let answered = pinger.answered_after(over, FOUND_TIME_MAX);
            let answered = answered.unwrap_or_else(|| panic!("{how}: not found from {whence}"));
            figure(&format!(
                "{how}: from {whence} {:?} without an answer, the next one {:?} after a move that took {:?}",
                pinger.record().gap(started, answered),
                answered.duration_since(over),
                over.duration_since(started)
            ));
        }
    }
}

/// Of the container `mover` on the network.
fn mac(host: &Host) -> String {
    host.exec("mover", &["cat", "/sys/class/net/ethwe/address"])
        .id()
}

const FOUND_TIME_MAX: Duration = Duration::from_secs(2);
