use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;

use weave_core::{
    EthernetAddress, Fib, Heard, Neighbour, NeighbourIndex, NextHop, Notice, Origin, PacketCaps,
    Receiver, Remote, Site, SiteRoute,
};
use weave_crypto::{ShortId, Suite, TunnelKeys};

use super::*;
use crate::{MemoryHost, MemoryNet, MemoryPort, MemorySocket};

const CAPS: PacketCaps = PacketCaps {
    gso_segments_max: 64,
    gro: true,
    dont_fragment: true,
};

#[test]
fn two_workers_carry_a_flood_there_and_unicast_back() {
    let mut pair = Pair::new(64);
    let question = frame(BROADCAST, mac(1), b"who?");
    pair.a.host.push_bytes(&question);
    pair.settle();
    assert_eq!(pair.b.host.pop().unwrap().bytes, question);

    // Both sides learned on the way, so the answer goes to one site only.
    let answer = frame(mac(1), mac(2), b"me");
    pair.b.host.push_bytes(&answer);
    pair.settle();
    assert_eq!(pair.a.host.pop().unwrap().bytes, answer);
    let stats = pair.b.shared.stats.load();
    assert_eq!((stats.frames_in, stats.frames_out), (1, 1));
    assert_eq!(stats.floods_started, 0);
    assert_eq!(stats.drops_total(), 0);
}

#[test]
fn an_announcement_is_written_to_the_port_and_flooded() {
    let mut pair = Pair::new(64);
    let announcement = frame(BROADCAST, mac(7), b"here I am");
    pair.a.shared.inbox.push_announcement(announcement.clone());
    pair.settle();
    for side in [&pair.a, &pair.b] {
        assert_eq!(side.host.pop().unwrap().bytes, announcement);
        assert_eq!(side.host.pop(), None, "once");
    }
    assert_eq!(pair.a.shared.macs.lookup(mac(7)), Some(Site::LOCAL));
    assert_eq!(pair.b.shared.macs.lookup(mac(7)), Some(SITE));
}

#[test]
fn a_snapshot_published_later_is_used_from_the_next_turn() {
    let mut pair = Pair::new(64);
    let fib = pair.a.shared.published.load();
    let empty = Fib::empty(pair.now, ShortId::from_bytes([1; 8]), 0);
    pair.a.shared.published.store(Arc::new(empty));
    pair.a.host.push_bytes(&frame(BROADCAST, mac(1), b"lost"));
    pair.settle();
    assert_eq!(pair.b.host.pop(), None);
    pair.a.shared.published.store(fib);
    let found = frame(BROADCAST, mac(1), b"found");
    pair.a.host.push_bytes(&found);
    pair.settle();
    assert_eq!(pair.b.host.pop().unwrap().bytes, found);
}

#[test]
fn what_is_received_is_opened_with_the_snapshot_of_that_moment() {
    // Amidst a turn the control plane answers a tunnel's first message, and the peer seals with what comes of it.
    let mut pair = Pair::new(64);
    let whole = pair.b.shared.published.load();
    let mut without_keys = renumbered(&whole, 8);
    without_keys.receivers.clear();
    let without_keys = Arc::new(without_keys);
    pair.b.shared.published.store(Arc::clone(&without_keys));
    let published = Arc::clone(&pair.b.shared.published);
    let inbox = Arc::clone(&pair.b.shared.inbox);
    let socket = Hooked {
        socket: pair.b.worker.outlet.packets,
        received: Box::new({
            let (published, whole) = (Arc::clone(&published), Arc::clone(&whole));
            move || published.store(Arc::clone(&whole))
        }),
        sending: Box::new(|| {}),
    };
    let port = pair.b.worker.outlet.frames;
    let mut worker = Worker::new(port, socket, pair.b.shared.clone(), pair.now);
    let early = frame(BROADCAST, mac(1), b"early");
    pair.a.host.push_bytes(&early);
    pair.a.worker.turn(pair.now).unwrap();
    pair.net.deliver();
    worker.turn(pair.now).unwrap();
    assert_eq!(pair.b.host.pop().unwrap().bytes, early);

    // The same by a stream, while the worker sends a frame's packet.
    published.store(without_keys);
    worker.turn(pair.now).unwrap();
    let late = frame(BROADCAST, mac(1), b"late");
    pair.a.host.push_bytes(&late);
    pair.a.worker.turn(pair.now).unwrap();
    pair.net.deliver();
    let mut packets = Batch::new(1, BUFFER_BYTES);
    let socket = &mut worker.outlet.packets;
    assert_eq!(socket.socket.recv(&mut packets).unwrap(), 1);
    let packet = packets.front().unwrap().0.to_vec();
    socket.received = Box::new(|| {});
    socket.sending = Box::new(move || {
        published.store(Arc::clone(&whole));
        inbox.push_packet(packet.clone());
    });
    pair.b.host.push_bytes(&frame(BROADCAST, mac(2), b"busy"));
    worker.turn(pair.now).unwrap();
    assert_eq!(pair.b.host.pop().unwrap().bytes, late);
}

/// A socket with something that happens at the same time.
struct Hooked {
    socket: MemorySocket,
    /// Once packets have come.
    received: Box<dyn FnMut()>,
    sending: Box<dyn FnMut()>,
}

impl PacketIo for Hooked {
    fn caps(&self) -> PacketCaps {
        self.socket.caps()
    }

    fn recv(&mut self, rx: &mut Batch<PacketMeta>) -> io::Result<usize> {
        let runs = self.socket.recv(rx)?;
        if runs > 0 {
            (self.received)();
        }
        Ok(runs)
    }

    fn send(&mut self, tx: &mut Batch<PacketMeta>) -> io::Result<usize> {
        (self.sending)();
        self.socket.send(tx)
    }
}

#[test]
fn frames_that_wait_for_a_tunnel_go_out_when_the_snapshot_has_it() {
    let mut pair = Pair::new(64);
    let fib = pair.a.shared.published.load();
    pair.a
        .shared
        .published
        .store(Arc::new(without_site_keys(&fib)));
    pair.a.shared.macs.learn(pair.now, mac(2), SITE);
    let patient = frame(mac(2), mac(1), b"patient");
    pair.a.host.push_bytes(&patient);
    pair.settle();
    assert_eq!(pair.b.host.pop(), None);
    let mut notices = Vec::new();
    pair.a.shared.notices.take_all(&mut notices);
    assert!(notices.contains(&Notice::NoTunnel { site: SITE }));

    pair.a.shared.published.store(Arc::new(renumbered(&fib, 9)));
    pair.settle();
    assert_eq!(pair.b.host.pop().unwrap().bytes, patient);
}

#[test]
fn what_the_port_itself_refused_is_shown_with_the_other_drops() {
    struct Refusing(MemoryPort);
    impl FrameIo for Refusing {
        fn caps(&self) -> weave_core::FrameCaps {
            self.0.caps()
        }
        fn recv(&mut self, rx: &mut Batch<FrameMeta>) -> io::Result<usize> {
            self.0.recv(rx)
        }
        fn send(&mut self, tx: &mut Batch<FrameMeta>) -> io::Result<usize> {
            self.0.send(tx)
        }
        fn refused(&self) -> u64 {
            7
        }
    }
    let pair = Pair::new(64);
    let (port, host) = MemoryPort::plain(1514, 4);
    let socket = MemorySocket::pair(SocketAddr::from(([198, 18, 0, 9], 1)), CAPS, 4).0;
    let shared = pair.a.shared.clone();
    let mut worker = Worker::new(Some(Refusing(port)), socket, shared.clone(), pair.now);
    host.push_bytes(&frame(BROADCAST, mac(1), b"hello"));
    worker.turn(pair.now).unwrap();
    assert_eq!(shared.stats.load().drops(DropReason::PortRefused), 7);
}

#[test]
fn a_full_socket_costs_packets_and_no_time() {
    let mut pair = Pair::new(1);
    for size in [100, 200, 300] {
        let mut frame = frame(BROADCAST, mac(1), b"");
        // Growing sizes, so that no two packets share a run.
        frame.resize(size, 0);
        pair.a.host.push_bytes(&frame);
    }
    assert_eq!(pair.a.worker.turn(pair.now).unwrap(), Progress::Idle);
    let stats = pair.a.shared.stats.load();
    assert_eq!(stats.drops(DropReason::SocketFull), 2);
    pair.net.deliver();
    assert_eq!(pair.a.worker.turn(pair.now).unwrap(), Progress::Idle);
}

#[test]
fn a_full_port_costs_frames_and_no_time() {
    let mut pair = Pair::new(64);
    for number in 0..PORT_FRAMES + 5 {
        let frame = frame(BROADCAST, mac(1), &[number as u8]);
        pair.a.host.push_bytes(&frame);
        pair.settle();
    }
    let stats = pair.b.shared.stats.load();
    assert_eq!(stats.drops(DropReason::PortFull), 5);
}

#[test]
fn a_turn_that_filled_a_batch_asks_for_another() {
    let mut pair = Pair::new(64);
    for _ in 0..RECEIVE_SLOTS + 1 {
        pair.a.host.push_bytes(&frame(BROADCAST, mac(1), b"many"));
    }
    assert_eq!(pair.a.worker.turn(pair.now).unwrap(), Progress::Busy);
    assert_eq!(pair.a.worker.turn(pair.now).unwrap(), Progress::Idle);
}

struct Pair {
    now: Instant,
    net: MemoryNet,
    a: Side,
    b: Side,
}

struct Side {
    worker: Worker<MemoryPort, MemorySocket>,
    host: MemoryHost,
    shared: Shared,
}

impl Pair {
    /// Two workers whose sockets keep `runs_max` runs each way.
    fn new(runs_max: usize) -> Self {
        let now = Instant::now();
        let mut net = MemoryNet::new();
        let keys = TunnelKeys::pair([7; 32], Suite::Aes256Gcm, 11, 22);
        let mut side = |number: u8, keys: TunnelKeys| {
            let (port, host) = MemoryPort::plain(1514, PORT_FRAMES);
            let socket = net.bind(address(number), CAPS, runs_max);
            let fib = fib(now, number, Arc::new(keys));
            let shared = Shared {
                published: Arc::new(Published::new(Arc::new(fib))),
                notices: Arc::new(NoticeQueue::new()),
                streams: Arc::new(StreamQueue::new()),
                stats: Arc::new(SharedStats::new()),
                inbox: Arc::new(Inbox::new()),
                macs: Arc::new(MacTable::new(64, now, 1)),
            };
            Side {
                worker: Worker::new(Some(port), socket, shared.clone(), now),
                host,
                shared,
            }
        };
        let (a, b) = (side(1, keys.0), side(2, keys.1));
        Self { now, net, a, b }
    }

    /// Turns until nothing moves.
    fn settle(&mut self) {
        loop {
            self.a.worker.turn(self.now).unwrap();
            self.b.worker.turn(self.now).unwrap();
            if self.net.deliver() == 0 {
                return;
            }
        }
    }
}

const PORT_FRAMES: usize = 16;
const SITE: Site = Site(1);
const BROADCAST: EthernetAddress = EthernetAddress::BROADCAST;

/// The snapshot of router 1 or 2, whose only neighbour is the other one.
fn fib(epoch: Instant, number: u8, keys: Arc<TunnelKeys>) -> Fib {
    let other = 3 - number;
    let (local, remote) = (
        ShortId::from_bytes([number; 8]),
        ShortId::from_bytes([other; 8]),
    );
    let neighbour = NeighbourIndex(0);
    let heard = Arc::new(Heard::default());
    let receiver = Receiver {
        keys: Arc::clone(&keys),
        site: SITE,
        neighbour: Some(neighbour),
        heard: Arc::clone(&heard),
    };
    Fib {
        version: 1,
        sites: vec![
            None,
            Some(SiteRoute {
                heard: None,
                destination: remote,
                keys: Some(Arc::clone(&keys)),
                next_hop: Some(NextHop::Direct(neighbour)),
                packet_bytes_max: 1472,
            }),
        ],
        receivers: HashMap::from([(keys.local_index(), receiver)]),
        neighbours: vec![Neighbour {
            site: SITE,
            remote: Remote::Udp(address(other)),
            tag: [other; 6],
            keys: Some(keys),
            heard,
            packet_bytes_max: 1472,
        }],
        tags: HashMap::from([([number; 6], neighbour)]),
        floods: HashMap::from([(local, vec![neighbour]), (remote, vec![])]),
        origins: Arc::new(HashMap::from([(
            remote,
            Origin {
                site: SITE,
                heard: Arc::default(),
            },
        )])),
        flood_sequence: Arc::new(AtomicU64::new(1 << 16)),
        ..Fib::empty(epoch, local, 0)
    }
}

fn without_site_keys(fib: &Fib) -> Fib {
    let mut without = renumbered(fib, 8);
    for route in without.sites.iter_mut().flatten() {
        route.keys = None;
    }
    without
}

/// The same snapshot under another version.
fn renumbered(fib: &Fib, version: u64) -> Fib {
    Fib {
        version,
        epoch: fib.epoch,
        local: fib.local,
        sites: fib.sites.clone(),
        neighbours: fib.neighbours.clone(),
        receivers: fib.receivers.clone(),
        tags: fib.tags.clone(),
        relays: fib.relays.clone(),
        floods: fib.floods.clone(),
        origins: fib.origins.clone(),
        flood_packet_bytes_max: fib.flood_packet_bytes_max,
        flood_sequence: Arc::clone(&fib.flood_sequence),
        mates: fib.mates.clone(),
        port_is_blocked: fib.port_is_blocked,
        loop_network: fib.loop_network,
        denied: fib.denied.clone(),
    }
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([198, 18, 0, number], 6783))
}

fn mac(number: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, number])
}

fn frame(to: EthernetAddress, from: EthernetAddress, payload: &[u8]) -> Vec<u8> {
    // An EtherType for experiments (IEEE 802), and the least length of a frame.
    let mut frame = [to.as_bytes(), from.as_bytes(), &[0x88, 0xb6], payload].concat();
    frame.resize(60, 0);
    frame
}
