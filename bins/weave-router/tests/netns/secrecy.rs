//! What wires and relays learn of what containers say to each other.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use weave_io::host::Netlink;

use super::basics::LINK_TIME_MAX;
use super::lab::capture::{Capture, Captured, by_device, holds};
use super::lab::container::{DEVICE, Make};
use super::lab::memory::Search;
use super::lab::ping::Pinger;
use super::lab::{Container, Host, Lab, figure, within};

/// A – B – C: B relays. It read floods before it was started anew; since then it knows nothing.
pub(super) fn a_relay_knows_nothing_of_what_it_carries() {
    let mut line = Line::new();
    let underlay = Capture::start(line.lab.underlay());
    // These make both ends know where the other's address is, by floods at first, which the middle reads.
    line.one.must_reach(&line.other, LINK_TIME_MAX);
    line.other.must_reach(&line.one, LINK_TIME_MAX);
    let secrets = line.secrets();
    let before = Search::of(line.b.router(), &secrets.patterns());
    figure(&format!("the relay that read floods: {before:?}"));
    assert!(
        before.found[Secrets::MACS].iter().all(|found| *found > 0),
        "the search is blind: {before:?}"
    );

    line.restart_the_relay();
    let inside = Capture::start(line.one.namespace());
    let pinger = Pinger::start(&line.one, line.other.address(), &secrets.marked());
    for _ in 0..PINGS {
        pinger
            .answered_after(Instant::now(), LINK_TIME_MAX)
            .expect("answers keep coming");
    }
    // While pings go on: what the middle holds at this moment is in the search too.
    let relay = Search::of(line.b.router(), &secrets.patterns());
    let edge = Search::of(line.a.router(), &secrets.patterns());
    // Only then: a relay that stood still for a search is missed, and frames flow again.
    pinger
        .answered_after(Instant::now(), LINK_TIME_MAX)
        .expect("answers come after the searches");
    let relayed = line.b.status().unwrap().traffic.packets_relayed;
    let answers = pinger.record().answers.len();
    drop(pinger);
    figure(&format!(
        "{answers} pings answered, {relayed} packets relayed; {} bytes of the relay searched, {} of the edge",
        relay.bytes, edge.bytes
    ));
    assert!(relayed >= 2 * PINGS as u64, "{relayed} packets relayed");

    // What is to be found is found: in the relay its neighbours' nicknames, which it was told; at the edge all.
    for region in ["[heap]", "[stack]"] {
        assert!(
            relay.regions.iter().any(|name| name == region),
            "{region} was not searched: {:?}",
            relay.regions
        );
    }
    assert!(relay.found[Secrets::TOLD] > 0, "{relay:?}");
    assert!(edge.found[Secrets::MARKER] > 0, "{edge:?}");
    assert!(
        edge.found[Secrets::MACS].iter().any(|found| *found > 0),
        "{edge:?}"
    );
    // The bar.
    assert_eq!(relay.found[Secrets::MARKER], 0, "the marker: {relay:?}");
    assert!(
        relay.found[Secrets::MACS].iter().all(|found| *found == 0),
        "an Ethernet address: {relay:?}"
    );

    let broadcast = line.broadcast();
    let heard = Search::of(line.b.router(), &[&broadcast]);
    figure(&format!(
        "a broadcast's marker: {} times in the relay, which is a member and reads it",
        heard.found[0]
    ));
    assert!(heard.found[0] > 0, "the search is blind: {heard:?}");

    let (inside, underlay) = (inside.stop(), underlay.stop());
    let counts = by_device(&underlay);
    for host in [&line.a, &line.b, &line.c] {
        let seen = counts.get(&line.lab.wire(host)).copied().unwrap_or(0);
        assert!(seen >= answers, "{seen} frames on {}'s wire", host.name());
    }
    let mut patterns = secrets.patterns();
    patterns.push(&broadcast);
    for (number, pattern) in patterns.iter().enumerate() {
        let in_clear = count(&inside, pattern);
        let leaked = count(&underlay, pattern);
        figure(&format!(
            "pattern {number}: in {in_clear} of {} frames at the container, {leaked} of {} on the wires",
            inside.len(),
            underlay.len()
        ));
        if number != Secrets::TOLD && number < Secrets::REVERSED {
            assert!(in_clear > 0, "the capture is blind for pattern {number}");
        }
        assert_eq!(leaked, 0, "pattern {number} on a wire");
    }
    assert!(count(&inside, &broadcast) > 0);
}

/// Three hosts in a line, a silent container at each end.
struct Line {
    one: Container,
    other: Container,
    a: Host,
    b: Host,
    c: Host,
    lab: Lab,
}

impl Line {
    /// Once the ends have found the way over the middle. Nothing has been said in a container yet.
    fn new() -> Self {
        let mut lab = Lab::new();
        let (mut a, mut b, mut c) = (lab.host("a"), lab.host("b"), lab.host("c"));
        lab.cut(&a, &c);
        b.start(&[]);
        a.start(&[b.address()]);
        c.start(&[b.address()]);
        let container = |host: &mut Host, address: &str, number: u8| {
            host.container_as(&Make {
                addresses: &[address],
                // Six bytes that are nowhere by accident.
                mac: Some([0x02, 0xc7, 0x9e, 0x35, 0xd1, number]),
                is_silent: true,
            })
        };
        let one = container(&mut a, "10.32.1.1/24", 0x6b);
        let other = container(&mut c, "10.32.1.2/24", 0xb6);
        introduce(&one, &other);
        introduce(&other, &one);
        let line = Self {
            one,
            other,
            a,
            b,
            c,
            lab,
        };
        line.await_routes();
        line
    }

    fn await_routes(&self) {
        for (host, far) in [(&self.a, "c"), (&self.c, "a")] {
            host.await_status(LINK_TIME_MAX, "a route over b", |status| {
                let mut routes = status.routes.iter();
                routes.any(|route| route.destination == far && route.next_hop == "b")
            });
        }
    }

    /// The middle dies and comes back with nothing but its state folder.
    fn restart_the_relay(&mut self) {
        self.b.kill();
        // The ends have noticed, so that their routes are new ones.
        for host in [&self.a, &self.c] {
            host.await_status(LINK_TIME_MAX, "no route", |status| status.routes.is_empty());
        }
        self.b.start(&[]);
        self.await_routes();
    }

    fn secrets(&self) -> Secrets {
        let [one, other] = [self.one.mac(), self.other.mac()];
        let reversed = |mut mac: [u8; 6]| {
            mac.reverse();
            mac
        };
        Secrets {
            marker: random_pattern(),
            macs: [one, other],
            reversed: [reversed(one), reversed(other)],
        }
    }

    /// A UDP broadcast from the first container that has come to the second; its marker.
    fn broadcast(&self) -> [u8; 32] {
        let marker = random_pattern();
        let listener = self.other.run(|| UdpSocket::bind(BROADCAST).unwrap());
        listener
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let sender = self
            .one
            .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        sender.set_broadcast(true).unwrap();
        let marked = marker.repeat(REPEATS);
        let mut bytes = vec![0; 2_048];
        within(LINK_TIME_MAX, "a broadcast", || {
            sender.send_to(&marked, BROADCAST).unwrap();
            let length = listener.recv(&mut bytes).ok()?;
            (bytes[..length] == marked).then_some(())
        });
        marker
    }
}

/// What nobody between the two ends may know, and what the relay does.
struct Secrets {
    marker: [u8; 32],
    macs: [[u8; 6]; 2],
    /// As a number in the processor's order would have them.
    reversed: [[u8; 6]; 2],
}

impl Secrets {
    const MARKER: usize = 0;
    const TOLD: usize = 1;
    const MACS: std::ops::Range<usize> = 2..4;
    const REVERSED: usize = 4;

    /// The marker, the nickname of a neighbour, the Ethernet addresses both ways round.
    fn patterns(&self) -> Vec<&[u8]> {
        let mut patterns = vec![self.marker.as_slice(), b"host a"];
        patterns.extend(self.macs.iter().map(<[u8; 6]>::as_slice));
        patterns.extend(self.reversed.iter().map(<[u8; 6]>::as_slice));
        patterns
    }

    fn marked(&self) -> Vec<u8> {
        self.marker.repeat(REPEATS)
    }
}

/// Tells a container another's Ethernet address, so that it never asks on the wire.
fn introduce(to: &Container, whom: &Container) {
    let netlink = Netlink::open_in(to.namespace()).unwrap();
    netlink
        .set_neighbour(DEVICE, whom.address(), whom.mac())
        .unwrap();
}

fn count(frames: &[Captured], pattern: &[u8]) -> usize {
    let frames = frames.iter();
    frames.filter(|frame| holds(&frame.bytes, pattern)).count()
}

/// 32 bytes that nothing else has by accident.
fn random_pattern() -> [u8; 32] {
    let mut pattern = [0; 32];
    let mut random = File::open("/dev/urandom").unwrap();
    random.read_exact(&mut pattern).unwrap();
    pattern
}

/// Everybody on the containers' network.
const BROADCAST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 32, 1, 255)), 7_003);
/// The marker stands so often in what is said: 640 bytes, so that no header covers all of it.
const REPEATS: usize = 20;
const PINGS: usize = 100;
