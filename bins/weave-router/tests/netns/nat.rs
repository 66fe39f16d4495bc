//! Networks that hide routers, and addresses that change.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use weave_core::{RouteStatus, Status};

use super::basics::LINK_TIME_MAX;
use super::lab::nat::Ports;
use super::lab::ping::Pinger;
use super::lab::{Container, Host, Lab, NatBox, figure, nft};

pub(super) fn a_host_behind_nat_meets_one_with_an_open_port() {
    for ports in [Ports::Kept, Ports::Random] {
        let mut lab = Lab::new();
        let mut nat = lab.nat("nat", ports);
        let mut a = lab.host_behind(&mut nat, "a");
        let mut b = lab.host("b");
        // One port is all that a firewall has to let in.
        nft(
            b.namespace(),
            "table ip lab {
                chain input {
                    type filter hook input priority 0; policy drop;
                    iifname lo accept;
                    ct state established accept;
                    meta l4proto { tcp, udp } th dport 6783 accept;
                }
            }",
        );
        let (one, other) = (
            a.container(&["10.32.1.1/24"]),
            b.container(&["10.32.1.2/24"]),
        );
        b.start(&[]);
        let started = a.start(&[b.address()]);
        let pinger = Pinger::start(&other, one.address(), b"");
        let answered = pinger
            .answered_after(started, LINK_TIME_MAX)
            .expect("an answer from behind the NAT");
        one.must_reach(&other, Duration::from_secs(1));
        figure(&format!(
            "{ports:?} ports: the first ping from outside is answered {:?} after the start",
            answered.duration_since(started)
        ));
        let status = b.status().unwrap();
        let link = &status.connections[0];
        let seen = link.udp_remote.expect("frames have come");
        assert_eq!(seen.ip(), IpAddr::from(nat.address()));
        assert_eq!(seen.port() == 6783, ports == Ports::Kept, "{seen}");

        // Nothing leads in; so the one behind must come again by itself.
        b.kill();
        let restarted = b.start(&[]);
        let answered = pinger
            .answered_after(restarted, LINK_TIME_MAX)
            .expect("an answer after the restart");
        let took = answered.duration_since(restarted);
        figure(&format!("back {took:?} after a restart of the one outside"));
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

pub(super) fn two_hosts_behind_nats_find_the_direct_path() {
    let both = BothBehind::new(Ports::Kept, Ports::Kept);
    let BothBehind { a, b, c, .. } = &both;
    let pinger = Pinger::start(&both.one, both.other.address(), b"");
    let begun = pinger
        .answered_after(both.started, LINK_TIME_MAX)
        .expect("an answer by the relay");
    for (host, far, nat) in [(a, "b", &both.nat_b), (b, "a", &both.nat_a)] {
        host.await_status(DIRECT_TIME_MAX, "a direct path", |status| {
            let remote = route(status, far).and_then(|route| route.direct_remote);
            remote.is_some_and(|remote| remote.ip() == IpAddr::from(nat.address()))
        });
    }
    let took = begun.elapsed();
    assert!(took < DIRECT_TIME_MAX, "{took:?}");
    std::thread::sleep(Duration::from_secs(1));
    let lost = lost(&pinger, begun);
    figure(&format!(
        "the direct path was found {took:?} after the first answer; {lost} of {} pings were lost",
        pinger.record().sent
    ));
    assert_eq!(lost, 0);

    for (host, far) in [(a, "b"), (b, "a")] {
        let status = host.status().unwrap();
        let route = route(&status, far).unwrap();
        let words = route.direct_path.as_deref().unwrap();
        assert!(words.starts_with("direct path without a link"), "{words}");
        // The mesh still leads over the third router, and no link was made.
        assert_eq!((route.next_hop.as_str(), route.hops), ("c", 2));
        assert_eq!(status.connections.len(), 1);
    }
    // None of the frames goes by the third router any more.
    let relayed = || c.status().unwrap().traffic.packets_relayed;
    let before = relayed();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(relayed(), before);

    // The path breaks where nobody tells: back to the relay, and direct again when it is mended.
    let cut = Instant::now();
    both.lab.cut(a, b);
    std::thread::sleep(Duration::from_secs(2));
    let gap = pinger.gap_since(cut);
    figure(&format!("cut: back to the relay after {gap:?}"));
    assert!(gap < Duration::from_secs(1), "{gap:?}");
    let status = a.status().unwrap();
    let words = route(&status, "b").unwrap().direct_path.clone().unwrap();
    figure(&words);
    assert!(!words.starts_with("direct path without"), "{words}");
    both.lab.heal(a, b);
    let healed = a.await_status(DIRECT_TIME_MAX, "a direct path again", |status| {
        route(status, "b").is_some_and(|route| route.direct_remote.is_some())
    });
    figure(&format!("healed: direct again after {healed:?}"));
}

pub(super) fn nats_that_change_ports_leave_the_relay_and_status_says_so() {
    for (ports_b, at_a, at_b) in [
        (
            Ports::Random,
            "(the NATs of both change ports)",
            "(the NATs of both change ports)",
        ),
        (
            Ports::Kept,
            "(the NAT here changes ports)",
            "(the NAT there changes ports)",
        ),
    ] {
        let both = BothBehind::new(Ports::Random, ports_b);
        let pinger = Pinger::start(&both.one, both.other.address(), b"");
        let begun = pinger
            .answered_after(both.started, LINK_TIME_MAX)
            .expect("an answer by the relay");
        for (host, far, why) in [(&both.a, "b", at_a), (&both.b, "a", at_b)] {
            // 1 s until it is tried, 5 s of trying, and a little for asking.
            host.await_status(Duration::from_secs(10), why, |status| {
                let words = route(status, far).and_then(|route| route.direct_path.clone());
                words.is_some_and(|words| {
                    words.starts_with("no direct path: no answer from") && words.contains(why)
                })
            });
        }
        let status = both.a.status().unwrap();
        figure(
            route(&status, "b")
                .unwrap()
                .direct_path
                .as_deref()
                .unwrap_or("nothing"),
        );
        let lost = lost(&pinger, begun);
        assert_eq!(lost, 0, "of {}", pinger.record().sent);
    }
}

pub(super) fn a_neighbour_that_changes_its_address_is_followed() {
    // The one that moves was told its peer, or the other was told it.
    for told in [true, false] {
        let mut lab = Lab::new();
        let (mut a, mut b) = (lab.host("a"), lab.host("b"));
        if told {
            a.start(&[]);
            b.start(&[a.address()]);
        } else {
            b.start(&[]);
            a.start(&[b.address()]);
        }
        let (one, other) = (
            a.container(&["10.32.1.1/24"]),
            b.container(&["10.32.1.2/24"]),
        );
        one.must_reach(&other, LINK_TIME_MAX);
        let pinger = Pinger::start(&one, other.address(), b"");
        for _ in 0..2 {
            let address = lab.next_address();
            let moved = Instant::now();
            b.move_to(address);
            // The stream dies with the old address, is found dead after 5 s, and another takes the link over.
            std::thread::sleep(Duration::from_secs(12));
            let gap = pinger.gap_since(moved);
            figure(&format!(
                "{}: an interruption of {gap:?}",
                if told {
                    "the one that moves was told its peer"
                } else {
                    "the other was told it"
                }
            ));
            assert!(gap < Duration::from_secs(2), "{gap:?}");
            let status = a.status().unwrap();
            let link = &status.connections[0];
            let now_at = IpAddr::from(b.address());
            assert!(link.usable, "{link:?}");
            assert_eq!(link.udp_remote.map(|remote| remote.ip()), Some(now_at));
            // What others are told of it is true, too.
            let moved = status.peers.iter().find(|peer| peer.name == "b").unwrap();
            let addresses: Vec<_> = moved.addresses.iter().map(|at| at.ip()).collect();
            assert!(addresses.contains(&now_at), "{addresses:?}");
        }
    }
}

/// Two hosts behind a box each, told of a third that all can reach.
struct BothBehind {
    one: Container,
    other: Container,
    a: Host,
    b: Host,
    c: Host,
    nat_a: NatBox,
    nat_b: NatBox,
    started: Instant,
    lab: Lab,
}

impl BothBehind {
    fn new(ports_a: Ports, ports_b: Ports) -> Self {
        let mut lab = Lab::new();
        let (mut nat_a, mut nat_b) = (lab.nat("nat-a", ports_a), lab.nat("nat-b", ports_b));
        let mut c = lab.host("c");
        let mut a = lab.host_behind(&mut nat_a, "a");
        let mut b = lab.host_behind(&mut nat_b, "b");
        let (one, other) = (
            a.container(&["10.32.1.1/24"]),
            b.container(&["10.32.1.2/24"]),
        );
        c.start(&[]);
        a.start(&[c.address()]);
        let started = b.start(&[c.address()]);
        Self {
            one,
            other,
            a,
            b,
            c,
            nat_a,
            nat_b,
            started,
            lab,
        }
    }
}

/// Pings sent after that moment's answer that were not answered, but for those that may still be.
///
/// Not those before: ARP's answer lets all that were sent until then go at once, more than wait for a tunnel.
fn lost(pinger: &Pinger, since: Instant) -> usize {
    let record = pinger.record();
    let answered: BTreeSet<u32> = record.answers.iter().map(|(number, _)| *number).collect();
    // The beat began when the quickest answer's request says; its round trip is far shorter than a beat.
    let begun = record
        .answers
        .iter()
        .map(|(number, at)| *at - BEAT * *number);
    let since_begun = begun
        .min()
        .map(|begun| since.saturating_duration_since(begun));
    let beats = since_begun.map_or(0, |time| time.as_millis() / BEAT.as_millis());
    let first = u32::try_from(beats).unwrap() + 1;
    // 10 pings are 200 ms: more than any round trip here.
    let last = record.sent.saturating_sub(10);
    assert!(first < last, "{first} to {last}");
    (first..last)
        .filter(|number| !answered.contains(number))
        .count()
}

fn route<'a>(status: &'a Status, to: &str) -> Option<&'a RouteStatus> {
    status.routes.iter().find(|route| route.destination == to)
}

/// [`Pinger::start`]'s.
const BEAT: Duration = Duration::from_millis(20);
/// From the first frames by the relay on.
const DIRECT_TIME_MAX: Duration = Duration::from_secs(10);
