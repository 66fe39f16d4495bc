//! Somebody on the wire who sends again what routers sent, as it was or changed.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use weave_io::host::Netlink;

use super::basics::LINK_TIME_MAX;
use super::input::Random;
use super::lab::capture::{Capture, Captured, Tap};
use super::lab::container::{DEVICE, Make};
use super::lab::datagram::{Datagram, Spoofer, send_one_by_one};
use super::lab::{Container, Host, Lab, figure};

pub(super) fn what_is_sent_again_is_delivered_once() {
    let mut line = Line::new();
    let heard = Capture::start(line.other.namespace());
    let tap = Tap::open(&line.one);

    // That the stranger's datagrams arrive and are read: what a router sent and nobody got is delivered, once.
    let held = line.hold_back(|| {
        for number in 0..20 {
            tap.send(&line.frame(Kind::Unicast, HELD + number));
        }
    });
    let mut spoofer = Spoofer::on(&line.stranger);
    for datagram in held.iter().chain(&held) {
        spoofer.send(datagram);
    }

    // Ten seconds of traffic, each datagram of which comes at once two times more.
    let wires = [&line.a, &line.b].map(|host| (host.address(), line.lab.wire(host)));
    let is_first = move |frame: &Captured| {
        let datagram = Datagram::of(frame)?;
        let first = (*datagram.from.ip(), frame.device);
        wires.contains(&first).then_some(datagram)
    };
    let capture = Capture::start_where(line.lab.underlay(), move |frame| {
        let Some(datagram) = is_first(frame) else {
            return false;
        };
        spoofer.send_twice(&datagram);
        true
    });
    let mut sent = 0;
    for _ in 0..TRAFFIC.as_millis() / BEAT.as_millis() {
        for kind in [Kind::Unicast, Kind::Broadcast, Kind::Cut] {
            if kind == Kind::Unicast || sent % 10 == 0 {
                tap.send(&line.frame(kind, sent));
            }
        }
        sent += 1;
        thread::sleep(BEAT);
    }
    let datagrams: Vec<Datagram> = capture.stop().iter().filter_map(Datagram::of).collect();
    let to_b = datagrams
        .iter()
        .filter(|datagram| *datagram.to.ip() == line.b.address())
        .count();
    figure(&format!(
        "{} datagrams captured, {to_b} to b; {} held back",
        datagrams.len(),
        held.len()
    ));
    assert!(to_b as u32 > sent, "{to_b}");

    let mut spoofer = Spoofer::on(&line.stranger);
    for pause in [1, REKEY_AFTER_S + 1, 2 * REKEY_AFTER_S + 2] {
        thread::sleep(Duration::from_secs(pause));
        let before = line.refused();
        for datagram in &datagrams {
            spoofer.send_twice(datagram);
        }
        thread::sleep(Duration::from_millis(500));
        let refused = line.refused() - before;
        figure(&format!(
            "{refused} refused, sent again after {pause} s more"
        ));
        // Nearly all came to a router that looked at them: to a full socket some may be lost.
        assert!(refused * 10 >= datagrams.len() as u64 * 2 * 9, "{refused}");
    }
    line.b.kill();
    line.b.start_with(&FLAGS, &[line.a.address()]);
    line.b.await_links(LINK_TIME_MAX, &[&line.a]);
    for datagram in held.iter().chain(&datagrams) {
        spoofer.send_twice(datagram);
    }
    for number in 0..20 {
        tap.send(&line.frame(Kind::Broadcast, LAST + number));
        thread::sleep(BEAT);
    }
    thread::sleep(Duration::from_millis(500));

    let delivered = line.delivered(&heard.stop());
    let twice: Vec<_> = delivered.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let count = |kind: Kind, from: u32, to: u32| {
        delivered
            .range((kind as u8, from)..(kind as u8, to))
            .count() as u32
    };
    let delivered = [Kind::Unicast, Kind::Broadcast, Kind::Cut].map(|kind| count(kind, 0, sent));
    let held = count(Kind::Unicast, HELD, HELD + 20);
    let last = count(Kind::Broadcast, LAST, LAST + 20);
    figure(&format!(
        "{delivered:?} of {sent} frames each once, {held} of 20 that were held back, {last} of 20 at the end"
    ));
    assert_eq!(delivered, [sent, sent.div_ceil(10), sent.div_ceil(10)]);
    assert_eq!((held, last), (20, 20));
}

pub(super) fn a_flipped_bit_is_dropped_or_leads_to_the_true_frame_once() {
    let mut line = Line::new();
    let c = &mut line.c;
    c.start_with(&FLAGS, &[line.b.address()]);
    let far = container(c, "10.32.1.3/24", 3);
    line.one.must_reach(&far, LINK_TIME_MAX);
    line.a.await_status(LINK_TIME_MAX, "c over b", |status| {
        let mut routes = status.routes.iter();
        routes.any(|route| route.destination == "c" && !route.direct && route.tunnel)
    });
    let heard = [&line.other, &far].map(|container| Capture::start(container.namespace()));
    let tap = Tap::open(&line.one);
    let mut spoofer = Spoofer::on(&line.stranger);
    let mut random = Random(7);
    let mut tried = BTreeMap::new();
    for (number, kind) in KINDS.into_iter().enumerate() {
        let mut frame = line.frame(kind, number as u32);
        if kind == Kind::Relayed {
            frame[..6].copy_from_slice(&far.mac());
        }
        let held = line.hold_back(|| tap.send(&frame));
        for datagram in &held {
            for at in 0..datagram.payload.len() {
                let mut flipped = datagram.clone();
                flipped.payload[at] ^= 1 << (random.next() % 8);
                spoofer.send(&flipped);
            }
            let first = datagram.payload[0];
            *tried.entry((first, datagram.is_relayed())).or_insert(0) += datagram.payload.len();
        }
        for datagram in &held {
            spoofer.send(datagram);
        }
        thread::sleep(Duration::from_millis(300));
    }
    figure(&format!(
        "bytes flipped, by a packet's first byte: {tried:?}"
    ));
    // Unicast, flood and probe, and a relay's envelope.
    for first in [0x11, 0x12, 0x13, 0x14] {
        assert!(tried.keys().any(|(found, _)| *found == first), "{first:#x}");
    }
    let [near, far] = heard.map(|capture| line.delivered(&capture.stop()));
    figure(&format!("delivered: {near:?}, behind the relay {far:?}"));
    let once = |kinds: &[Kind]| -> BTreeMap<(u8, u32), usize> {
        KINDS
            .into_iter()
            .enumerate()
            .filter(|(_, kind)| kinds.contains(kind))
            .map(|(number, kind)| ((kind as u8, number as u32), 1))
            .collect()
    };
    assert_eq!(near, once(&[Kind::Unicast, Kind::Broadcast, Kind::Cut]));
    assert_eq!(far, once(&[Kind::Relayed, Kind::Broadcast]));
    for host in [&line.a, &line.b] {
        for connection in host.status().unwrap().connections {
            let remote = connection.udp_remote.map(|remote| remote.ip());
            assert_ne!(remote, Some(line.stranger.address().into()));
        }
    }
}

/// A frame that goes one way or another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unicast = 1,
    Broadcast = 2,
    /// Too long for one packet.
    Cut = 3,
    Relayed = 4,
}

const KINDS: [Kind; 4] = [Kind::Unicast, Kind::Broadcast, Kind::Cut, Kind::Relayed];

/// Two hosts with a link and a silent container each, a third that has one with the second only, and a host of somebody
/// else's on the same wire.
struct Line {
    one: Container,
    other: Container,
    a: Host,
    b: Host,
    c: Host,
    stranger: Host,
    lab: Lab,
}

impl Line {
    /// Once the first two containers know of each other. The third router does not run yet.
    fn new() -> Self {
        let mut lab = Lab::new();
        let (mut a, mut b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
        let stranger = lab.host("s");
        lab.cut(&a, &c);
        for host in [&a, &b, &c] {
            send_one_by_one(host);
        }
        a.start_with(&FLAGS, &[]);
        b.start_with(&FLAGS, &[a.address()]);
        let one = container(&mut a, "10.32.1.1/24", 1);
        let other = container(&mut b, "10.32.1.2/24", 2);
        one.must_reach(&other, LINK_TIME_MAX);
        b.await_links(LINK_TIME_MAX, &[&a]);
        Self {
            one,
            other,
            a,
            b,
            c,
            stranger,
            lab,
        }
    }

    /// Whatever a sends to b while `work` is done is lost, but for what is given back.
    fn hold_back(&self, work: impl FnOnce()) -> Vec<Datagram> {
        self.lab.cut_one_way(&self.a, &self.b);
        let capture = Capture::start(self.lab.underlay());
        work();
        thread::sleep(Duration::from_millis(200));
        let frames = capture.stop();
        self.lab.heal_one_way(&self.a, &self.b);
        let mut held: Vec<Datagram> = frames
            .iter()
            .filter_map(Datagram::of)
            .filter(|datagram| *datagram.from.ip() == self.a.address())
            .collect();
        held.sort();
        held.dedup();
        assert!(!held.is_empty());
        held
    }

    /// A numbered frame from the first container to the second, or to all.
    fn frame(&self, kind: Kind, number: u32) -> Vec<u8> {
        let to = if kind == Kind::Broadcast {
            [0xff; 6]
        } else {
            self.other.mac()
        };
        let mut frame = [to, self.one.mac()].concat();
        frame.extend(EXPERIMENT);
        frame.push(kind as u8);
        frame.extend(number.to_be_bytes());
        let bytes = if kind == Kind::Cut { 1_514 } else { 80 };
        frame.resize(bytes, number as u8);
        frame
    }

    /// How often each of those numbered frames arrived; one that is not as it was sent fails.
    fn delivered(&self, frames: &[Captured]) -> BTreeMap<(u8, u32), usize> {
        let mut delivered = BTreeMap::new();
        for frame in frames {
            let bytes = &frame.bytes;
            if bytes.get(12..14) != Some(&EXPERIMENT) {
                continue;
            }
            let kind = KINDS.into_iter().find(|kind| *kind as u8 == bytes[14]);
            let kind = kind.expect("one of those sent");
            let number = u32::from_be_bytes([bytes[15], bytes[16], bytes[17], bytes[18]]);
            let sent = self.frame(kind, number);
            // To whom it goes is the test's business, where it is the third.
            assert!(bytes[6..] == sent[6..], "{bytes:x?}, and not {sent:x?}");
            *delivered.entry((kind as u8, number)).or_insert(0) += 1;
        }
        delivered
    }

    /// Packets that a and b did not take, since they had them before or had not the keys any more.
    fn refused(&self) -> u64 {
        let hosts = [&self.a, &self.b].into_iter();
        hosts
            .map(|host| {
                let drops = host.status().unwrap().traffic.drops;
                ["replayed", "unknown_receiver"]
                    .into_iter()
                    .filter_map(|reason| drops.get(reason))
                    .sum::<u64>()
            })
            .sum()
    }
}

/// One that says nothing by itself, and may send frames of 1,514 bytes.
fn container(host: &mut Host, address: &str, number: u8) -> Container {
    let container = host.container_as(&Make {
        addresses: &[address],
        mac: Some([0x02, 0xc7, 0x9e, 0x35, 0xd1, number]),
        is_silent: true,
    });
    let netlink = Netlink::open_in(container.namespace()).unwrap();
    netlink.set_mtu(DEVICE, 1_500).unwrap();
    container
}

/// Keys are replaced often, and frames of 1,514 bytes are cut to what an underlay of as many takes.
const FLAGS: [&str; 4] = ["--rekey-after", "5", "--mtu", "1500"];
const REKEY_AFTER_S: u64 = 5;
/// Local experimental EtherType 2 (IEEE 802): nobody answers.
const EXPERIMENT: [u8; 2] = [0x88, 0xb6];
const TRAFFIC: Duration = Duration::from_secs(10);
const BEAT: Duration = Duration::from_millis(5);
/// Numbers of the frames that were held back, and of those at the end.
const HELD: u32 = 1_000_000;
const LAST: u32 = 2_000_000;
