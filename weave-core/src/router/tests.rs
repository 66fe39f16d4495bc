//! Whole routers with their forwarders, joined in memory, in virtual time. Faults, scenarios and hosts with real
//! stacks are the simulator's; this shows that the parts of this crate fit together.

mod announcing;
mod direct;
mod echo;
mod loops;
mod over_tcp;
mod rekey;
mod replays;
mod trace;

use std::collections::VecDeque;
use std::net::SocketAddr;

use weave_crypto::{NetworkId, Passwords};
use weave_mesh::MeshConfig;

use super::*;
use crate::{
    BUFFER_BYTES, Batch, EthernetAddress, Forwarder, ForwarderConfig, FrameCaps, FrameMeta,
    Notices, Output, PacketCaps, PacketMeta, Progress, View,
};

#[test]
fn two_routers_meet_and_a_frame_crosses_both_ways() {
    let mut net = Net::new(&["a", "b"]);
    net.connect(0, 1);
    net.run(Duration::from_millis(300));
    assert!(net.nodes.iter().all(|node| {
        node.router
            .status(net.now, Default::default())
            .verdict()
            .healthy
    }));

    net.send(0, &frame(mac(1), EthernetAddress::BROADCAST, b"who has"));
    net.run(Duration::from_millis(10));
    assert_eq!(
        net.received(1),
        [frame(mac(1), EthernetAddress::BROADCAST, b"who has")]
    );
    net.send(1, &frame(mac(2), mac(1), b"i have"));
    net.run(Duration::from_millis(10));
    assert_eq!(net.received(0), [frame(mac(2), mac(1), b"i have")]);
}

#[test]
fn the_first_frame_crosses_within_a_second_of_the_second_start() {
    let mut net = Net::new(&["a", "b"]);
    let started = net.now;
    net.connect(0, 1);
    while net.received(1).is_empty() {
        assert!(net.now - started < Duration::from_secs(1));
        net.send(0, &frame(mac(1), EthernetAddress::BROADCAST, b"hello"));
        net.run(Duration::from_millis(10));
    }
}

#[test]
fn a_router_that_floods_gets_a_tree_and_loses_it_a_minute_later() {
    let mut net = Net::new(&["a", "b", "c"]);
    net.connect(0, 1);
    net.run(Duration::from_secs(3));
    let a = net.nodes[0].router.peer_id().short_id();
    let has_tree = |net: &Net| net.nodes[1].fib.floods.contains_key(&a);
    assert!(!has_tree(&net), "nothing flooded yet");
    net.send(0, &frame(mac(1), EthernetAddress::BROADCAST, b"hello"));
    net.run(Duration::from_millis(10));
    assert!(has_tree(&net));
    net.run(Duration::from_secs(62));
    // Any change of a link has routes computed anew.
    net.connect(2, 1);
    net.run(Duration::from_secs(3));
    assert!(!has_tree(&net));
    net.send(0, &frame(mac(1), EthernetAddress::BROADCAST, b"hello"));
    net.run(Duration::from_millis(10));
    assert!(has_tree(&net));
}

#[test]
fn routes_follow_a_new_link_without_waiting_for_each_other() {
    let mut net = Net::new(&["a", "b"]);
    net.connect(0, 1);
    let started = net.now;
    let knows_nobody = |node: &Node| {
        let own = node.router.peer_id().short_id();
        node.fib.floods.get(&own).is_none_or(Vec::is_empty)
    };
    while net.nodes.iter().any(knows_nobody) {
        net.run(Duration::from_millis(1));
    }
    // 100 ms between two versions of a record, and some round trips of 2 ms.
    let took = net.now - started;
    assert!(took < Duration::from_millis(140), "{took:?}");
}

#[test]
fn routes_are_computed_no_more_often_than_the_interval_in_the_long_run() {
    let mut net = Net::new(&["a"]);
    let start = net.now;
    let router = &mut net.nodes[0].router;
    let mut computed = 0;
    let mut now = start;
    while now < start + Duration::from_secs(2) {
        router.routes_are_stale(now);
        let (at, wake) = router.timers.next().unwrap();
        if at <= now && wake == Timer::Routes {
            router.handle_timeout(now);
            computed += 1;
        }
        now += Duration::from_millis(1);
    }
    assert!((20..=24).contains(&computed), "{computed}");
}

#[test]
fn a_relay_passes_unicast_on_without_reading_it() {
    let mut net = Net::new(&["a", "b", "c"]);
    net.cut.push((0, 2));
    net.connect(0, 1);
    net.connect(2, 1);
    net.run(Duration::from_secs(3));
    let route = net.nodes[0]
        .router
        .status(net.now, Default::default())
        .routes;
    assert!(
        route.iter().any(|route| route.hops == 2 && !route.direct),
        "{route:?}"
    );

    // Both addresses are learnt from floods; then unicast is sealed between the edges.
    net.send(0, &frame(mac(1), EthernetAddress::BROADCAST, b"hello"));
    net.run(Duration::from_millis(10));
    net.send(2, &frame(mac(3), mac(1), b"marker"));
    net.run(Duration::from_secs(1));
    assert_eq!(
        net.received(0),
        [frame(mac(3), mac(1), b"marker")],
        "the first waits for its tunnel"
    );
    assert!(net.nodes[1].forwarder.stats().packets_relayed > 0);
    assert_eq!(
        net.received(1).len(),
        1,
        "the relay's own port got the flood, not the unicast frame"
    );
}

#[test]
fn a_restarted_router_gets_new_tunnels_at_once() {
    let mut net = Net::new(&["a", "b"]);
    net.connect(0, 1);
    net.run(Duration::from_secs(1));
    net.restart(1);
    net.connect(1, 0);
    net.run(Duration::from_secs(1));
    net.send(0, &frame(mac(1), EthernetAddress::BROADCAST, b"again"));
    net.run(Duration::from_millis(10));
    assert_eq!(net.received(1).len(), 1);
}

#[test]
fn addresses_behind_a_router_are_forgotten_when_it_restarts_or_goes() {
    let mut net = Net::new(&["a", "b"]);
    net.connect(0, 1);
    net.run(Duration::from_secs(1));
    let knows = |net: &Net| net.nodes[0].router.macs().lookup(mac(1)).is_some();
    let hello = frame(mac(1), EthernetAddress::BROADCAST, b"hello");
    net.send(1, &hello);
    net.run(Duration::from_millis(10));
    assert!(knows(&net));
    net.restart(1);
    net.connect(1, 0);
    net.run(Duration::from_secs(1));
    assert!(!knows(&net), "it has forgotten as well");

    net.send(1, &hello);
    net.run(Duration::from_millis(10));
    assert!(knows(&net));
    net.nodes[1]
        .router
        .handle_command(net.now, Command::Shutdown);
    net.drain(1);
    net.run(Duration::from_millis(1_900));
    assert!(knows(&net), "it may be back in a moment");
    net.run(Duration::from_millis(300));
    assert!(!knows(&net));
}

#[test]
fn tunnels_in_use_get_new_keys_and_idle_ones_do_not() {
    let mut net = Net::new(&["a", "b"]);
    net.connect(0, 1);
    net.run(Duration::from_secs(1));
    let peer = net.nodes[1].router.peer_id();
    let index = |net: &Net| {
        net.nodes[0]
            .router
            .tunnels
            .sealing(&peer)
            .unwrap()
            .local_index()
    };
    let first = index(&net);
    // Probes use it.
    net.run(Duration::from_secs(125));
    assert_ne!(index(&net), first);
    net.send(0, &frame(mac(1), EthernetAddress::BROADCAST, b"new keys"));
    net.run(Duration::from_millis(10));
    assert_eq!(net.received(1).len(), 1);
}

#[test]
fn a_wake_up_is_never_asked_for_twice_in_vain() {
    let mut net = Net::new(&["a", "b"]);
    net.connect(0, 1);
    net.run(Duration::from_secs(60));
    // Probes each second both ways, a digest each half minute, and little else.
    assert!(
        net.wake_ups < 60 * 2 * 8,
        "{} wake-ups in a minute of idling",
        net.wake_ups
    );
}

fn frame(source: EthernetAddress, destination: EthernetAddress, payload: &[u8]) -> Vec<u8> {
    let mut frame = [
        destination.as_bytes(),
        source.as_bytes(),
        &[0x88, 0xb6],
        payload,
    ]
    .concat();
    frame.resize(60, 0);
    frame
}

fn mac(number: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, number])
}

struct Node {
    router: Router,
    forwarder: Forwarder,
    fib: Arc<Fib>,
    address: SocketAddr,
    boot_id: u64,
    received: Vec<Vec<u8>>,
    events: Vec<String>,
    pinged: Vec<(Instant, u64, Result<Ping, PingError>)>,
    announced: Vec<(Instant, Vec<u8>)>,
}

/// What is on its way: to whom, from whom, what. A delay of 1 ms each way.
enum Event {
    Opened(ConnId, SocketAddr, bool),
    Bytes(ConnId, Vec<u8>),
    Closed(ConnId, CloseReason),
    Packet(SocketAddr, Vec<u8>),
    /// At the port.
    Frame(Vec<u8>),
}

struct Net {
    start: Instant,
    now: Instant,
    nodes: Vec<Node>,
    queue: VecDeque<(Instant, usize, Event)>,
    /// Each stream's ends: node and its id there.
    streams: Vec<[(usize, ConnId); 2]>,
    /// Nothing passes between these; streams hold what was written.
    cut: Vec<(usize, usize)>,
    /// No datagrams pass between these.
    udp_blocked: Vec<(usize, usize)>,
    stalled: Vec<(usize, ConnId, Vec<u8>)>,
    /// Those that nobody can dial, and that datagrams reach only from where they sent some to (RFC 4787 section 5).
    nats: Vec<usize>,
    sent_to: Vec<(usize, SocketAddr)>,
    /// Bridges of the first two nodes, where they have one.
    bridges: Option<loops::Bridges>,
    /// Keys in use are replaced after this time.
    rekey_after: Duration,
    /// Somebody on the wire, where there is one.
    eavesdropper: Option<replays::Eavesdropper>,
    accepted: u64,
    wake_ups: usize,
    spare: Vec<Buffers>,
}

impl Net {
    fn new(names: &[&str]) -> Self {
        Self::with_rekey_after(Config::REKEY_AFTER, names)
    }

    /// Routers that replace keys in use after this time.
    fn with_rekey_after(rekey_after: Duration, names: &[&str]) -> Self {
        #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
        let now = Instant::now();
        let nodes = names
            .iter()
            .enumerate()
            .map(|(number, name)| node(now, number, name, 1, rekey_after))
            .collect();
        Self {
            start: now,
            now,
            nodes,
            queue: VecDeque::new(),
            streams: Vec::new(),
            cut: Vec::new(),
            udp_blocked: Vec::new(),
            stalled: Vec::new(),
            nats: Vec::new(),
            sent_to: Vec::new(),
            bridges: None,
            rekey_after,
            eavesdropper: None,
            accepted: 0,
            wake_ups: 0,
            spare: Vec::new(),
        }
    }

    fn connect(&mut self, from: usize, to: usize) {
        let target = self.nodes[to].address.to_string().parse().unwrap();
        self.nodes[from]
            .router
            .handle_command(self.now, Command::Connect(target));
        self.drain(from);
    }

    fn restart(&mut self, number: usize) {
        for ends in std::mem::take(&mut self.streams) {
            for (end, conn) in ends {
                if end != number && ends.iter().any(|(other, _)| *other == number) {
                    self.queue
                        .push_back((self.now, end, Event::Closed(conn, CloseReason::Reset)));
                }
            }
        }
        self.queue.retain(|(_, to, _)| *to != number);
        let boot_id = self.nodes[number].boot_id + 1;
        self.nodes[number] = node(self.now, number, "again", boot_id, self.rekey_after);
    }

    /// A container sends.
    fn send(&mut self, from: usize, frame: &[u8]) {
        if self.bridges.is_some() && from < 2 {
            self.put_on_bridge(from, loops::Port::Stations, frame);
        } else {
            self.enter(from, frame);
        }
    }

    /// A frame comes in at a port of a bridge, if there is one.
    fn put_on_bridge(&mut self, node: usize, port: loops::Port, frame: &[u8]) {
        let Some(bridges) = self.bridges.as_mut().filter(|_| node < 2) else {
            return;
        };
        let at = self.now + Duration::from_millis(1);
        for to in bridges.take(node, port, frame) {
            self.queue.push_back((at, to, Event::Frame(frame.to_vec())));
        }
    }

    /// A frame comes in at the port.
    fn enter(&mut self, from: usize, frame: &[u8]) {
        let mut out = self.buffers();
        let node = &mut self.nodes[from];
        let mut rx = Batch::<FrameMeta>::new(1, BUFFER_BYTES);
        assert!(rx.free().unwrap().append(frame));
        rx.commit(FrameMeta::default());
        let view = View {
            fib: &node.fib,
            macs: node.router.macs(),
        };
        let progress = node
            .forwarder
            .handle_frames(self.now, view, &mut rx, &mut out.output());
        assert_eq!(progress, Progress::Done);
        self.finish(from, out);
    }

    fn received(&mut self, number: usize) -> Vec<Vec<u8>> {
        self.nodes[number].received.clone()
    }

    /// Lets virtual time pass.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        for (number, conn, bytes) in std::mem::take(&mut self.stalled) {
            self.write(number, conn, bytes);
        }
        loop {
            let event = self.queue.iter().map(|(at, ..)| *at).min();
            let timer = self
                .nodes
                .iter()
                .filter_map(|node| node.router.poll_timeout())
                .map(|(at, _)| at)
                .min();
            let Some(at) = event.into_iter().chain(timer).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            for number in 0..self.nodes.len() {
                if self.nodes[number]
                    .router
                    .poll_timeout()
                    .is_some_and(|(at, _)| at <= self.now)
                {
                    self.wake_ups += 1;
                    self.nodes[number].router.handle_timeout(self.now);
                    self.drain(number);
                }
            }
            let due: Vec<_> = self
                .queue
                .iter()
                .position(|(at, ..)| *at <= self.now)
                .into_iter()
                .collect();
            for position in due {
                let (_, number, event) = self.queue.remove(position).unwrap();
                self.deliver(number, event);
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, number: usize, event: Event) {
        let now = self.now;
        let node = &mut self.nodes[number];
        match event {
            Event::Opened(conn, remote, dialled) => {
                node.router.handle_opened(now, conn, remote, dialled)
            }
            Event::Bytes(conn, bytes) => node.router.handle_bytes(now, conn, &bytes),
            Event::Closed(conn, reason) => node.router.handle_closed(now, conn, reason),
            Event::Frame(bytes) => self.enter(number, &bytes),
            Event::Packet(remote, bytes) => {
                if self.nats.contains(&number) && !self.sent_to.contains(&(number, remote)) {
                    return;
                }
                let mut rx = Batch::<PacketMeta>::new(1, BUFFER_BYTES);
                assert!(rx.free().unwrap().append(&bytes));
                rx.commit(PacketMeta::single(remote, bytes.len()));
                let mut out = self.buffers();
                let node = &mut self.nodes[number];
                let view = View {
                    fib: &node.fib,
                    macs: node.router.macs(),
                };
                let progress = node
                    .forwarder
                    .handle_packets(now, view, &mut rx, &mut out.output());
                assert_eq!(progress, Progress::Done);
                self.finish(number, out);
                return;
            }
        }
        self.drain(number);
    }

    /// Takes what a forwarder put out.
    fn finish(&mut self, number: usize, mut out: Buffers) {
        let from = self.nodes[number].address;
        while let Some((run, meta)) = out.packets.front() {
            for packet in run.chunks(meta.segment_bytes) {
                self.transmit(number, from, meta.remote, packet.to_vec());
            }
            out.packets.pop();
        }
        while let Some((frame, _)) = out.frames.front() {
            let frame = frame.to_vec();
            out.frames.pop();
            self.put_on_bridge(number, loops::Port::Router, &frame);
            self.nodes[number].received.push(frame);
        }
        while let Some(notice) = out.notices.pop() {
            self.nodes[number].router.handle_notice(self.now, notice);
        }
        self.nodes[number]
            .router
            .handle_streamed(self.now, &mut out.streamed);
        self.spare.push(out);
        self.drain(number);
    }

    /// Empty ones: they are large, so those used before are used again.
    fn buffers(&mut self) -> Buffers {
        self.spare.pop().unwrap_or_else(Buffers::new)
    }

    fn drain(&mut self, number: usize) {
        let from = self.nodes[number].address;
        while let Some(action) = self.nodes[number].router.poll_action() {
            let at = self.now + Duration::from_millis(1);
            match action {
                Action::SendFrame { bytes } => {
                    self.put_on_bridge(number, loops::Port::Router, &bytes);
                }
                Action::Announce { bytes } => {
                    self.nodes[number].announced.push((self.now, bytes.clone()));
                    self.put_on_bridge(number, loops::Port::Router, &bytes);
                    self.queue.push_back((at, number, Event::Frame(bytes)));
                }
                Action::Resolve { target } => {
                    let addresses = vec![target.to_string().parse().unwrap()];
                    self.nodes[number]
                        .router
                        .handle_resolved(self.now, &target, Ok(addresses));
                }
                Action::Dial { conn, remote } => {
                    let to = self.nodes.iter().position(|node| node.address == remote);
                    match to.filter(|to| !self.is_cut(number, *to) && !self.nats.contains(to)) {
                        Some(to) => {
                            self.accepted += 1;
                            let accepted = ConnId::accepted(self.accepted);
                            self.streams.push([(number, conn), (to, accepted)]);
                            self.queue
                                .push_back((at, to, Event::Opened(accepted, from, false)));
                            self.queue
                                .push_back((at, number, Event::Opened(conn, remote, true)));
                        }
                        None => {
                            let event = Event::Closed(conn, CloseReason::Refused);
                            self.queue.push_back((at, number, event));
                        }
                    }
                }
                Action::Write { conn, bytes } => {
                    self.write(number, conn, bytes);
                }
                Action::AwaitDrained { conn } => {
                    if !self.stalled.iter().any(|(_, stalled, _)| *stalled == conn) {
                        self.nodes[number].router.handle_drained(self.now, conn);
                    }
                }
                Action::TakePacket { packet } => {
                    let mut out = self.buffers();
                    let node = &mut self.nodes[number];
                    let view = View {
                        fib: &node.fib,
                        macs: node.router.macs(),
                    };
                    let mut rx = VecDeque::from([packet]);
                    let progress = node.forwarder.handle_stream_packets(
                        self.now,
                        view,
                        &mut rx,
                        &mut out.output(),
                    );
                    assert_eq!(progress, Progress::Done);
                    self.finish(number, out);
                }
                Action::Close { conn } => {
                    if let Some((to, other)) = self.other_end(number, conn) {
                        self.queue
                            .push_back((at, to, Event::Closed(other, CloseReason::Finished)));
                    }
                    self.streams.retain(|ends| !ends.contains(&(number, conn)));
                }
                Action::SendPacket { remote, bytes } => self.transmit(number, from, remote, bytes),
                Action::StoreBootId { .. } | Action::RenewIdentity | Action::StorePeers { .. } => {}
                Action::Pinged { id, result } => {
                    self.nodes[number].pinged.push((self.now, id, result))
                }
            }
        }
        let mut output = self.buffers();
        let node = &mut self.nodes[number];
        let mut changed = false;
        while let Some(fib) = node.router.poll_fib() {
            node.fib = fib;
            changed = true;
            let view = View {
                fib: &node.fib,
                macs: node.router.macs(),
            };
            let progress = node
                .forwarder
                .handle_snapshot(self.now, view, &mut output.output());
            assert_eq!(progress, Progress::Done);
        }
        while let Some(event) = node.router.poll_event() {
            node.events.push(event.to_string());
        }
        if changed {
            self.finish(number, output);
        } else {
            self.spare.push(output);
        }
    }

    fn transmit(&mut self, number: usize, from: SocketAddr, remote: SocketAddr, bytes: Vec<u8>) {
        let to = self.nodes.iter().position(|node| node.address == remote);
        if self.nats.contains(&number) && !self.sent_to.contains(&(number, remote)) {
            self.sent_to.push((number, remote));
        }
        let is_blocked = |to: usize| {
            let pairs = &self.udp_blocked;
            pairs.contains(&(number, to)) || pairs.contains(&(to, number))
        };
        if let Some(to) = to.filter(|to| !self.is_cut(number, *to) && !is_blocked(*to)) {
            let at = self.now + Duration::from_millis(1);
            let senders = match &mut self.eavesdropper {
                Some(eavesdropper) => eavesdropper.hear(to, from, &bytes),
                None => vec![from],
            };
            for from in senders {
                self.queue
                    .push_back((at, to, Event::Packet(from, bytes.clone())));
            }
        }
    }

    fn write(&mut self, number: usize, conn: ConnId, bytes: Vec<u8>) {
        let Some((to, other)) = self.other_end(number, conn) else {
            return;
        };
        if self.is_cut(number, to) {
            self.stalled.push((number, conn, bytes));
        } else {
            let at = self.now + Duration::from_millis(1);
            self.queue.push_back((at, to, Event::Bytes(other, bytes)));
        }
    }

    fn other_end(&self, number: usize, conn: ConnId) -> Option<(usize, ConnId)> {
        let ends = self
            .streams
            .iter()
            .find(|ends| ends.contains(&(number, conn)))?;
        ends.iter().find(|end| **end != (number, conn)).copied()
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a, b)) || self.cut.contains(&(b, a))
    }
}

struct Buffers {
    packets: Batch<PacketMeta>,
    frames: Batch<FrameMeta>,
    notices: Notices,
    streamed: Streamed,
}

impl Buffers {
    fn new() -> Self {
        Self {
            packets: Batch::new(64, BUFFER_BYTES),
            frames: Batch::new(16, BUFFER_BYTES),
            notices: Notices::new(),
            streamed: Streamed::new(),
        }
    }

    fn output(&mut self) -> Output<'_> {
        Output {
            packets: &mut self.packets,
            frames: &mut self.frames,
            notices: &mut self.notices,
            streamed: &mut self.streamed,
        }
    }
}

fn node(now: Instant, number: usize, name: &str, boot_id: u64, rekey_after: Duration) -> Node {
    node_with(now, number, name, boot_id, rekey_after, Vec::new())
}

/// A node whose router has these addresses on the overlay.
fn node_with(
    now: Instant,
    number: usize,
    name: &str,
    boot_id: u64,
    rekey_after: Duration,
    addresses: Vec<Subnet>,
) -> Node {
    let seed = [number as u8 + 1; 32];
    let identity = Arc::new(Identity::from_seed(seed));
    let address = SocketAddr::from(([198, 18, 0, number as u8 + 1], 6783));
    let config = Config {
        mesh: MeshConfig {
            network: NetworkId::from_name("test"),
            passwords: Passwords::none(),
            name: Some(name.to_owned()),
            nickname: name.to_owned(),
            listen_port: address.port(),
            targets: Vec::new(),
            rejoin: Vec::new(),
            discovery: true,
            conn_limit: 32,
            aes: true,
            denied: Default::default(),
        },
        network_name: "test".to_owned(),
        version: "0".to_owned(),
        frame_port: Some("memory".to_owned()),
        addresses,
        underlay_mtu_bytes: 1500,
        mtu_bytes: 1390,
        rekey_after,
    };
    let macs = Arc::new(MacTable::new(1024, now, 7));
    let local = identity.peer_id().short_id();
    let unix_time = Duration::from_secs(boot_id);
    let seed = [number as u8 + 101 + boot_id as u8; 32];
    let mut router = Router::new(config, identity, seed, now, unix_time, boot_id, macs);
    router.handle_local_addresses(now, vec![address.ip()]);
    let caps = FrameCaps {
        frame_bytes_max: 1514,
        segmentation: false,
        checksum: false,
    };
    let forwarder = Forwarder::new(ForwarderConfig {
        frame_caps: caps,
        packet_caps: PacketCaps {
            gso_segments_max: 64,
            gro: true,
            dont_fragment: true,
        },
        has_port: true,
        epoch: now,
    });
    let fib = Arc::new(Fib::empty(now, local, 0));
    Node {
        router,
        forwarder,
        fib,
        address,
        boot_id,
        received: Vec::new(),
        events: Vec::new(),
        pinged: Vec::new(),
        announced: Vec::new(),
    }
}
