//! Containers that move to another host, and take their address along.
//!
//! The one that pings knows the Ethernet address it talked to for as long as its kernel believes in it: up to 45 s
//! after it was last confirmed, and 5 s more (`base_reachable_time_ms`, `delay_first_probe_time` of arp(7)).

use std::time::{Duration, Instant};

use super::basics::LINK_TIME_MAX;
use super::lab::capture::Tap;
use super::lab::container::Make;
use super::lab::ping::Pinger;
use super::lab::{Container, Host, Lab, figure};

pub(super) fn a_container_that_moves_is_found_by_its_old_mac() {
    let mut scene = Scene::new();
    for (to, speaks) in ROUND {
        scene = scene.move_to(to, MAC, speaks);
    }
}

pub(super) fn a_container_that_moves_is_found_by_a_new_mac() {
    let mut scene = Scene::new();
    for ((to, speaks), number) in ROUND.into_iter().zip(1..) {
        let [a, b, c, d, e, f] = MAC;
        scene = scene.move_to(to, [a, b, c, d, e, f + number], speaks);
    }
}

pub(super) fn a_container_that_moves_is_found_by_a_new_mac_over_ipv6() {
    let mut scene = Scene::with(V6);
    let [a, b, c, d, e, f] = MAC;
    for (to, number) in [(1, 1), (2, 2), (0, 3)] {
        scene = scene.move_to(to, [a, b, c, d, e, f + number], Speaks::Silent);
    }
}

pub(super) fn a_container_is_found_after_its_old_host_died() {
    for (mac, name) in [(MAC, "its old"), (NEW_MAC, "a new")] {
        let mut scene = Scene::new();
        let pinger = scene.pinger();
        // Host and container go without a word.
        let [a, b, c] = &mut scene.hosts;
        scene.lab.cut(a, b);
        scene.lab.cut(a, c);
        let moved = Instant::now();
        a.kill();
        scene.moving.remove(a.netlink());
        let _new = container(b, mac, V4);
        let answered = pinger.answered_after(moved + SETTLE, SILENT_TIME_MAX);
        let gap = pinger.gap_since(moved);
        figure(&format!("with {name} MAC: an interruption of {gap:?}"));
        assert!(answered.is_some(), "not found");
        assert!(gap < SILENT_TIME_MAX, "{gap:?}");
    }
}

/// Three hosts, one container that moves and one on the last host that pings it.
struct Scene {
    moving: Container,
    /// The host of that.
    at: usize,
    addresses: Addresses,
    pinging: Container,
    /// `a`, `b`, and `c` with the one that pings.
    hosts: [Host; 3],
    lab: Lab,
}

/// Whether a container says that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Announces,
    Silent,
}

impl Scene {
    fn new() -> Self {
        Self::with(V4)
    }

    /// With the addresses of the one that moves and of the one that pings.
    fn with(addresses: Addresses) -> Self {
        let mut lab = Lab::new();
        let mut hosts = ["a", "b", "c"].map(|name| lab.host(name));
        let first = hosts[0].address();
        hosts[0].start(&[]);
        hosts[1].start(&[first]);
        hosts[2].start(&[first]);
        let pinging = hosts[2].container(&[addresses[1]]);
        let moving = container(&mut hosts[0], MAC, addresses);
        pinging.must_reach(&moving, LINK_TIME_MAX);
        for n in 0..3 {
            let others: Vec<&Host> = (0..3).filter(|m| *m != n).map(|m| &hosts[m]).collect();
            hosts[n].await_direct(LINK_TIME_MAX, &others);
        }
        // Every bridge knows now where it is.
        announce(&moving);
        Self {
            moving,
            at: 0,
            addresses,
            pinging,
            hosts,
            lab,
        }
    }

    fn pinger(&self) -> Pinger {
        let pinger = Pinger::start(&self.pinging, self.moving.address(), b"");
        pinger
            .answered_after(Instant::now(), LINK_TIME_MAX)
            .expect("an answer before the move");
        pinger
    }

    /// Moves it while it is pinged.
    fn move_to(mut self, host: usize, mac: [u8; 6], speaks: Speaks) -> Self {
        let pinger = self.pinger();
        std::thread::sleep(SETTLE);
        let moved = Instant::now();
        self.moving.remove(self.hosts[self.at].netlink());
        self.at = host;
        self.moving = container(&mut self.hosts[host], mac, self.addresses);
        if speaks == Speaks::Announces {
            announce(&self.moving);
        }
        let made = moved.elapsed();
        let limit = match speaks {
            Speaks::Announces => ANNOUNCING_TIME_MAX,
            Speaks::Silent => SILENT_TIME_MAX,
        };
        let answered = pinger.answered_after(moved + made, limit);
        let gap = pinger.gap_since(moved);
        figure(&format!(
            "to host {}, {speaks:?}: an interruption of {gap:?}, {made:?} of it for the move itself",
            self.hosts[host].name(),
        ));
        assert!(answered.is_some(), "not found");
        assert!(gap < limit, "{gap:?}");
        // And it stays so.
        std::thread::sleep(SETTLE);
        let gap = pinger.gap_since(Instant::now() - SETTLE / 2);
        assert!(gap < SETTLE / 2, "lost again");
        announce(&self.moving);
        self
    }
}

/// The container that moves, on a host. It says nothing by itself; with IPv6 nothing of its Ethernet address.
fn container(host: &mut Host, mac: [u8; 6], addresses: Addresses) -> Container {
    host.container_as(&Make {
        addresses: &addresses[..1],
        mac: Some(mac),
        is_silent: addresses == V4,
    })
}

/// An ARP announcement (RFC 5227 section 3), where it has an address for one.
fn announce(container: &Container) {
    let mac = container.mac();
    let std::net::IpAddr::V4(address) = container.address() else {
        return;
    };
    let address = address.octets();
    let frame = [
        &[0xff; 6][..],
        &mac,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &mac,
        &address,
        &[0; 6],
        &address,
        &[0; 18],
    ]
    .concat();
    Tap::open(container).send(&frame);
}

type Addresses = [&'static str; 2];

const V4: Addresses = ["10.32.1.1/24", "10.32.1.2/24"];
const V6: Addresses = ["fd32::1/64", "fd32::2/64"];
const MAC: [u8; 6] = [2, 0, 0, 0, 0x17, 0x10];
const NEW_MAC: [u8; 6] = [2, 0, 0, 0, 0x17, 0x99];
/// Each host once, and back; the last is where the one that pings is.
const ROUND: [(usize, Speaks); 6] = [
    (1, Speaks::Announces),
    (0, Speaks::Silent),
    (1, Speaks::Silent),
    (2, Speaks::Silent),
    (0, Speaks::Silent),
    (2, Speaks::Announces),
];
const ANNOUNCING_TIME_MAX: Duration = Duration::from_secs(2);
const SILENT_TIME_MAX: Duration = Duration::from_secs(7);
/// Much longer than the beat of the pings.
const SETTLE: Duration = Duration::from_millis(400);
