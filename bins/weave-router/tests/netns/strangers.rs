//! Strangers who send all they can: nobody who belongs to the network notices, and nothing of it stays.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, Socket, Type};
use weave_io::host::NetNs;

use super::basics::LINK_TIME_MAX;
use super::input::{Random, datagram};
use super::lab::capture::{Capture, Tap};
use super::lab::ping::{Pinger, Record};
use super::lab::{Container, Host, Lab, figure, nft, shapes};

pub(super) fn a_storm_of_datagrams_disturbs_nobody_and_gets_no_byte() {
    let pair = Pair::new();
    let genuine = pair.genuine_datagrams();
    pair.settle();
    let before_kib = pair.a.router().resident_kib();
    let heard = Heard::of(&pair.stranger, pair.a.address());

    let pinger = Pinger::start_every(BEAT, &pair.one, pair.other.address(), b"");
    let start = Instant::now();
    let storm = Storm {
        socket: pair.stranger_socket(),
        datagrams: malformed(&genuine),
    };
    let sent = thread::spawn(move || storm.rage()).join().unwrap();
    let took = start.elapsed();
    // The last answers are on their way.
    let record = pinger.record();
    thread::sleep(Duration::from_millis(200));
    let lost = Loss::of(&record, &pinger.record());
    drop(pinger);

    let per_s = f64::from(sent) / took.as_secs_f64();
    let drops = pair.a.status().unwrap().traffic.drops;
    figure(&format!(
        "{per_s:.0} datagrams a second for {took:?}: {lost}; drops {drops:?}"
    ));
    assert!(per_s >= 45_000.0, "only {per_s:.0} a second were sent");
    lost.must_be_at_most_a_percent();
    assert_eq!(heard.bytes(), 0, "the stranger was sent something");
    pair.must_not_have_grown(before_kib, 4 << 10);
}

pub(super) fn ten_thousand_half_open_strangers_keep_no_peer_out() {
    raise_descriptors();
    let mut pair = Pair::new();
    pair.settle();
    let before_kib = pair.a.router().resident_kib();
    let before_sockets = pair.a.router().sockets_at_rest();
    pair.give_stranger_many_addresses();

    // Noise of all lengths, on 2,000 connections that stay open as long as the router likes.
    let target = SocketAddr::new(pair.a.address().into(), PORT);
    let start = Instant::now();
    let noise = Crowd::gather(pair.stranger.namespace(), target, 2_000, Saying::Noise);
    noise.await_gathered(Duration::from_secs(60));
    figure(&format!(
        "2,000 connections with noise in {:?}, {} sockets held",
        start.elapsed(),
        pair.a.router().sockets().saturating_sub(before_sockets)
    ));
    drop(noise);

    // Silence on 10,000, renewed without end, while a peer that was killed comes back; several times.
    let start = Instant::now();
    let crowd = Crowd::gather(pair.stranger.namespace(), target, 10_000, Saying::Nothing);
    let mut held_max = 0;
    while crowd.count() < 10_000 {
        held_max = held_max.max(pair.a.router().sockets());
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{}",
            crowd.count()
        );
        thread::sleep(Duration::from_millis(20));
    }
    figure(&format!("10,000 opened within {:?}", start.elapsed()));
    let pinger = Pinger::start(&pair.one, pair.other.address(), b"");
    for _ in 0..3 {
        pinger
            .answered_after(Instant::now(), LINK_TIME_MAX)
            .expect("the network works before");
        pair.b.kill();
        let started = pair.b.start(&[pair.a.address()]);
        let answered = pinger
            .answered_after(started, LINK_TIME_MAX)
            .expect("the peer is let in");
        let took = answered.duration_since(started);
        held_max = held_max.max(pair.a.router().sockets());
        figure(&format!(
            "the peer is back after {took:?}, beside {} connections opened so far",
            crowd.count()
        ));
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    let held = held_max.saturating_sub(before_sockets);
    let opened = crowd.count();
    drop(crowd);
    drop(pinger);
    let refusals = pair.a.status().unwrap().refusals;
    figure(&format!(
        "{opened} connections, {held} held at most; {refusals:?}"
    ));
    // Those of strangers, and the link's own new stream beside its old one.
    assert!(held <= 256, "{held} held");
    assert!(refusals.contains_key("refused_rate"), "{refusals:?}");
    pair.must_not_have_grown(before_kib, 4 << 10);
}

pub(super) fn a_million_source_addresses_harm_no_known_traffic() {
    let mut pair = Pair::new();
    pair.settle();
    let before_kib = pair.a.router().resident_kib();
    let before_far_kib = pair.b.router().resident_kib();
    let noisy = pair.a.container(&["10.32.1.3/24"]);
    let pinger = Pinger::start_every(BEAT, &pair.one, pair.other.address(), b"");
    let tap = Tap::open(&noisy);
    let far = pair.other.mac();
    let start = Instant::now();
    thread::spawn(move || {
        let mut pace = Pace::new(50_000);
        for number in 0..1_000_000_u32 {
            let [_, high, middle, low] = number.to_be_bytes();
            let mut frame = vec![0; 60];
            // Half to all, which every router learns from; half to a container of the other host.
            frame[..6].copy_from_slice(if number % 2 == 0 { &[0xff; 6] } else { &far });
            frame[6..12].copy_from_slice(&[0x02, 0x5a, 0, high, middle, low]);
            // Local experimental EtherType 2 (IEEE 802): nobody answers.
            frame[12..14].copy_from_slice(&[0x88, 0xb6]);
            pace.wait();
            tap.send(&frame);
        }
    })
    .join()
    .unwrap();
    let took = start.elapsed();
    let record = pinger.record();
    thread::sleep(Duration::from_millis(200));
    let lost = Loss::of(&record, &pinger.record());
    drop(pinger);
    let status = pair.a.status().unwrap();
    figure(&format!(
        "1,000,000 source addresses in {took:?}: {lost}; {} addresses known, drops {:?}",
        status.macs.len(),
        status.traffic.drops
    ));
    lost.must_be_at_most_a_percent();
    pair.must_not_have_grown(before_kib, 10 << 10);
    let grown_kib = pair
        .b
        .router()
        .resident_kib()
        .saturating_sub(before_far_kib);
    figure(&format!("the other router: {grown_kib} KiB more"));
    assert!(grown_kib <= 10 << 10, "{grown_kib} KiB more");
}

/// Two hosts with a router and a container each, and a host of somebody else's.
struct Pair {
    one: Container,
    other: Container,
    a: Host,
    b: Host,
    stranger: Host,
    lab: Lab,
}

impl Pair {
    fn new() -> Self {
        let mut lab = Lab::new();
        // Only b dials: it has to be let in.
        let shapes::Pair { one, other, a, b } = lab.pair(&["--no-discovery"]);
        let stranger = lab.host("s");
        b.await_links(LINK_TIME_MAX, &[&a]);
        Self {
            one,
            other,
            a,
            b,
            stranger,
            lab,
        }
    }

    /// Lets the routers take what ordinary traffic takes, so that only the strangers' part is measured.
    fn settle(&self) {
        let pinger = Pinger::start_every(BEAT, &self.one, self.other.address(), b"");
        thread::sleep(Duration::from_secs(3));
        drop(pinger);
        for _ in 0..20 {
            self.a.status().expect("it answers");
        }
    }

    /// Datagrams of the other router to the first, as they are on the wire.
    fn genuine_datagrams(&self) -> Vec<Vec<u8>> {
        let pinger = Pinger::start(&self.other, self.one.address(), &[7; 600]);
        let capture = Capture::start(self.lab.underlay());
        thread::sleep(Duration::from_secs(1));
        drop(pinger);
        let mut genuine: Vec<Vec<u8>> = capture
            .stop()
            .iter()
            .filter_map(|frame| datagram(&frame.bytes, self.a.address()))
            .collect();
        genuine.sort();
        genuine.dedup();
        assert!(genuine.len() > 10, "{}", genuine.len());
        genuine
    }

    fn stranger_socket(&self) -> UdpSocket {
        let bind = || UdpSocket::bind((self.stranger.address(), 0)).unwrap();
        let socket = self.stranger.namespace().run(bind).unwrap();
        socket
            .connect(SocketAddr::new(self.a.address().into(), PORT))
            .unwrap();
        socket
    }

    /// All of 198.19.0.0/16 is the stranger's.
    fn give_stranger_many_addresses(&self) {
        let via = self.stranger.address().to_string();
        for (host, arguments) in [
            (&self.stranger, vec!["local", "198.19.0.0/16", "dev", "lo"]),
            (&self.a, vec!["198.19.0.0/16", "via", &via]),
        ] {
            let mut command = Command::new("ip");
            command.args(["route", "add"]).args(arguments);
            let status = host.namespace().run(|| command.status()).unwrap().unwrap();
            assert!(status.success(), "package iproute2 is installed");
        }
    }

    /// The bar for memory, 10 s after the last of it.
    fn must_not_have_grown(&self, before_kib: u64, more_kib_max: u64) {
        thread::sleep(Duration::from_secs(10));
        let grown_kib = self.a.router().resident_kib().saturating_sub(before_kib);
        figure(&format!(
            "10 s later: {grown_kib} KiB more than {before_kib}"
        ));
        assert!(grown_kib <= more_kib_max, "{grown_kib} KiB more");
    }
}

/// What came to a host from another, over IPv4.
struct Heard<'h> {
    host: &'h Host,
}

impl<'h> Heard<'h> {
    fn of(host: &'h Host, from: Ipv4Addr) -> Self {
        nft(
            host.namespace(),
            &format!(
                "table ip lab {{
                    counter heard {{ }}
                    chain input {{ type filter hook input priority 0; ip saddr {from} counter name heard; }}
                }}"
            ),
        );
        Self { host }
    }

    fn bytes(&self) -> u64 {
        let mut command = Command::new("nft");
        command.args(["list", "counter", "ip", "lab", "heard"]);
        let output = self.host.namespace().run(|| command.output());
        let text = String::from_utf8(output.unwrap().unwrap().stdout).unwrap();
        let mut words = text.split_whitespace();
        words
            .find(|word| *word == "bytes")
            .expect("a counter has them");
        words.next().unwrap().parse().unwrap()
    }
}

/// Random bytes, packets that begin as ours do, and genuine ones: changed, cut, or just sent again.
fn malformed(genuine: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut random = Random(1);
    let mut datagrams = Vec::new();
    for round in 0..4_096_usize {
        let mut bytes = if round % 2 == 0 {
            let lengths = [1, 2, 12, 16, 27, 28, 29, 44, 100, 400, 1_200, 1_472];
            let length = lengths[random.next() as usize % lengths.len()];
            random.bytes(length)
        } else {
            genuine[random.next() as usize % genuine.len()].clone()
        };
        let at = random.next() as usize % bytes.len();
        match round % 16 {
            0 | 2 | 4 | 6 => bytes[0] = 0x10 | (random.next() as u8 & 7),
            1 | 3 | 5 => bytes[at] ^= 1 << (random.next() % 8),
            7 => bytes.truncate(at),
            _ => {}
        }
        datagrams.push(bytes);
    }
    datagrams
}

/// 50,000 datagrams a second, for 10 s.
struct Storm {
    socket: UdpSocket,
    datagrams: Vec<Vec<u8>>,
}

impl Storm {
    fn rage(self) -> u32 {
        const PER_S: u32 = 50_000;
        let mut pace = Pace::new(PER_S);
        let mut sent = 0;
        for datagram in self.datagrams.iter().cycle().take(10 * PER_S as usize) {
            pace.wait();
            sent += u32::from(self.socket.send(datagram).is_ok());
        }
        sent
    }
}

/// A beat too fast for a timer: as many as are due go at once.
pub(super) struct Pace {
    start: Instant,
    per_s: u32,
    begun: u32,
    due: u32,
}

impl Pace {
    pub(super) fn new(per_s: u32) -> Self {
        Self {
            start: Instant::now(),
            per_s,
            begun: 0,
            due: 0,
        }
    }

    /// Returns when the next one is due.
    pub(super) fn wait(&mut self) {
        while self.begun >= self.due {
            self.due = (self.start.elapsed().as_secs_f64() * f64::from(self.per_s)) as u32;
            if self.begun >= self.due {
                thread::sleep(Duration::from_micros(500));
            }
        }
        self.begun += 1;
    }
}

/// Connections of somebody who opens more and more, and keeps so many of the last.
struct Crowd {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicUsize>,
    wanted: usize,
    thread: Option<JoinHandle<()>>,
}

/// What is said on them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Saying {
    Nothing,
    Noise,
}

impl Crowd {
    /// Opens `wanted` connections; those that are to say nothing are renewed then, 1,000 a second, until the end.
    fn gather(namespace: &NetNs, target: SocketAddr, wanted: usize, saying: Saying) -> Self {
        let (stop, opened) = (Arc::default(), Arc::default());
        let namespace = namespace.clone();
        let (own_stop, own_opened): (Arc<AtomicBool>, Arc<AtomicUsize>) =
            (Arc::clone(&stop), Arc::clone(&opened));
        let thread = thread::spawn(move || {
            namespace.enter_current_thread().unwrap();
            let mut random = Random(3);
            let mut held = VecDeque::new();
            let mut number = 0_u32;
            let mut pace = Pace::new(1_000);
            while !own_stop.load(Ordering::Relaxed) {
                if held.len() >= wanted {
                    if saying == Saying::Noise {
                        thread::sleep(Duration::from_millis(10));
                        continue;
                    }
                    held.pop_front();
                    pace.wait();
                } else {
                    pace = Pace::new(1_000);
                }
                number += 1;
                let Some(socket) = open(number, target) else {
                    continue;
                };
                if saying == Saying::Noise {
                    let length = [1, 3, 60, 4_096][number as usize % 4];
                    // The router may have closed it, unheard.
                    let _ = socket.send(&random.bytes(length));
                }
                held.push_back(socket);
                own_opened.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            stop,
            opened,
            wanted,
            thread: Some(thread),
        }
    }

    /// Connections opened so far.
    fn count(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    fn await_gathered(&self, limit: Duration) {
        let start = Instant::now();
        while self.count() < self.wanted {
            assert!(start.elapsed() < limit, "{} opened", self.count());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the crowd broke up");
        }
    }
}

/// A connection from an address of its own; none if it does not stand in a moment.
fn open(number: u32, target: SocketAddr) -> Option<Socket> {
    let [_, _, high, low] = number.to_be_bytes();
    let from = SocketAddr::from(([198, 19, high, low], 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::from(from)).unwrap();
    socket
        .connect_timeout(&target.into(), Duration::from_millis(200))
        .ok()?;
    Some(socket)
}

/// The crowd needs a descriptor for each of its connections.
fn raise_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= 16_384, "only {hard} descriptors are allowed");
    setrlimit(Resource::RLIMIT_NOFILE, 16_384, hard).unwrap();
}

/// Pings that were not answered.
struct Loss {
    sent: u32,
    lost: u32,
}

impl Loss {
    /// Of those sent by the first record, as the later one knows.
    fn of(until: &Record, later: &Record) -> Self {
        let answers = later.answers.iter();
        let answered = answers.filter(|(number, _)| *number < until.sent).count() as u32;
        Self {
            sent: until.sent,
            lost: until.sent - answered,
        }
    }

    fn must_be_at_most_a_percent(&self) {
        assert!(self.sent > 3_000, "{self}");
        assert!(self.lost * 100 <= self.sent, "{self}");
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} pings lost", self.lost, self.sent)
    }
}

/// 500 pings a second.
const BEAT: Duration = Duration::from_millis(2);
const PORT: u16 = 6783;
