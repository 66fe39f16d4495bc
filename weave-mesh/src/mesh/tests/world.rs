//! A few meshes, a network between them, and just enough of the crate above to carry probes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weave_crypto::{Identity, NetworkId, Passwords, PeerId};

use crate::{
    Action, CloseReason, ConnId, DirectVerifier, Event, Mesh, MeshConfig, Probe, ProbeKind,
};

/// One way, each hop.
pub(super) const LATENCY: Duration = Duration::from_millis(2);

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    queue: BTreeMap<(Instant, u64), Delivery>,
    drawn: u64,
    /// Directions in which datagrams vanish.
    pub(super) udp_cuts: BTreeSet<(usize, usize)>,
    /// Pairs whose streams stall; they die 5 s later.
    pub(super) tcp_cuts: BTreeSet<(usize, usize)>,
    /// No stream takes more than it has: nobody hears that one is drained.
    pub(super) is_congested: bool,
    /// Routers behind a NAT that filters by address and port (RFC 4787 section 5): only where they sent to
    /// can send to them.
    pub(super) nats: BTreeSet<usize>,
    sent_to: BTreeSet<(usize, SocketAddr)>,
    wires: BTreeMap<(usize, ConnId), (usize, ConnId)>,
}

pub(super) struct Node {
    pub(super) mesh: Mesh,
    pub(super) identity: Arc<Identity>,
    pub(super) config: MeshConfig,
    pub(super) tcp: SocketAddr,
    pub(super) udp: SocketAddr,
    /// Everything that happened, and when.
    pub(super) events: Vec<(Instant, Event)>,
    heard: BTreeMap<PeerId, Instant>,
    is_running: bool,
    /// Woken this much late.
    pub(super) delay: Duration,
}

enum Delivery {
    Opened {
        to: usize,
        conn: ConnId,
        remote: SocketAddr,
        dialled: bool,
    },
    Bytes {
        to: usize,
        conn: ConnId,
        bytes: Vec<u8>,
    },
    Closed {
        to: usize,
        conn: ConnId,
        reason: CloseReason,
    },
    Datagram {
        to: usize,
        from: PeerId,
        remote: SocketAddr,
        bytes: Vec<u8>,
    },
    Tunnel {
        to: usize,
        peer: PeerId,
    },
}

impl World {
    /// `count` routers; the first has the smallest id. None knows another.
    pub(super) fn new(count: usize) -> Self {
        let mut identities: Vec<Identity> = (0..count)
            .map(|index| Identity::from_seed([u8::try_from(index).unwrap() + 1; 32]))
            .collect();
        identities.sort_by_key(Identity::peer_id);
        let now = base();
        let mut world = Self {
            now,
            nodes: Vec::new(),
            queue: BTreeMap::new(),
            drawn: 0,
            udp_cuts: BTreeSet::new(),
            tcp_cuts: BTreeSet::new(),
            is_congested: false,
            nats: BTreeSet::new(),
            sent_to: BTreeSet::new(),
            wires: BTreeMap::new(),
        };
        for (index, identity) in identities.into_iter().enumerate() {
            let tcp = address(index);
            let config = MeshConfig {
                network: NetworkId::from_name("test"),
                passwords: Passwords::none(),
                name: None,
                nickname: format!("router {index}"),
                listen_port: tcp.port(),
                targets: Vec::new(),
                rejoin: Vec::new(),
                discovery: false,
                conn_limit: 0,
                aes: true,
                denied: BTreeSet::new(),
            };
            let identity = Arc::new(identity);
            world.nodes.push(Node {
                mesh: mesh(&config, &identity, now, 1000, index),
                identity,
                config,
                tcp,
                udp: tcp,
                events: Vec::new(),
                heard: BTreeMap::new(),
                is_running: true,
                delay: Duration::ZERO,
            });
            world.start(index);
        }
        world
    }

    fn start(&mut self, index: usize) {
        let now = self.now;
        let ip = self.nodes[index].tcp.ip();
        self.nodes[index].mesh.handle_local_addresses(now, vec![ip]);
        self.nodes[index].mesh.handle_timeout(now);
        self.drain(index);
    }

    /// Gives one router the identity of another, as a copied state folder does, and starts it anew.
    pub(super) fn copy_state(&mut self, from: usize, to: usize, boot_id: u64) {
        self.nodes[to].identity = self.nodes[from].identity.clone();
        self.restart(to, boot_id);
    }

    /// Ends a router without a word; its streams are reset.
    pub(super) fn kill(&mut self, index: usize) {
        self.nodes[index].is_running = false;
        let wires: Vec<_> = self
            .wires
            .iter()
            .filter(|((node, _), _)| *node == index)
            .map(|(near, far)| (*near, *far))
            .collect();
        for (near, (to, conn)) in wires {
            self.wires.remove(&near);
            self.wires.remove(&(to, conn));
            self.deliver(
                LATENCY,
                Delivery::Closed {
                    to,
                    conn,
                    reason: CloseReason::Reset,
                },
            );
        }
    }

    /// Starts a router anew, with nothing but its identity.
    pub(super) fn restart(&mut self, index: usize, boot_id: u64) {
        self.kill(index);
        let seed = index + 100 + usize::try_from(boot_id).unwrap() % 100;
        let node = &mut self.nodes[index];
        node.mesh = mesh(&node.config, &node.identity, self.now, boot_id, seed);
        node.is_running = true;
        self.start(index);
    }

    pub(super) fn id(&self, index: usize) -> PeerId {
        self.nodes[index].identity.peer_id()
    }

    pub(super) fn connect(&mut self, from: usize, to: usize) {
        let target = self.nodes[to].tcp.into();
        let now = self.now;
        assert!(self.nodes[from].mesh.connect(now, target));
        self.drain(from);
    }

    /// An input that is not of the network.
    pub(super) fn with(&mut self, index: usize, input: impl FnOnce(&mut Mesh, Instant)) {
        input(&mut self.nodes[index].mesh, self.now);
        self.drain(index);
    }

    pub(super) fn cut_udp(&mut self, a: usize, b: usize) {
        self.udp_cuts.extend([(a, b), (b, a)]);
    }

    pub(super) fn cut_all(&mut self, a: usize, b: usize) {
        self.cut_udp(a, b);
        self.tcp_cuts.extend([(a, b), (b, a)]);
    }

    pub(super) fn heal(&mut self) {
        self.udp_cuts.clear();
        self.tcp_cuts.clear();
    }

    pub(super) fn link(&self, at: usize, to: usize) -> Option<&crate::Link> {
        self.nodes[at].mesh.link(&self.id(to))
    }

    pub(super) fn is_published(&self, at: usize, to: usize) -> bool {
        let listed = |at: usize, to: usize, in_store_of: usize| {
            let links = self.nodes[in_store_of].mesh.store().links(&self.id(at));
            links.is_some_and(|links| {
                links
                    .links
                    .iter()
                    .any(|entry| entry.neighbour == self.id(to))
            })
        };
        listed(at, to, at)
    }

    pub(super) fn count(&self, at: usize, of: impl Fn(&Event) -> bool) -> usize {
        self.nodes[at]
            .events
            .iter()
            .filter(|(_, event)| of(event))
            .count()
    }

    pub(super) fn clear_events(&mut self) {
        for node in &mut self.nodes {
            node.events.clear();
        }
    }

    /// Open connections at one router, as the network sees them.
    pub(super) fn open_streams(&self, at: usize) -> usize {
        self.wires.keys().filter(|(node, _)| *node == at).count()
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        self.run(Duration::from_millis(ms));
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut turns = 0_u32;
        loop {
            turns += 1;
            assert!(turns < 1_000_000, "time does not pass");
            let timer = self
                .nodes
                .iter()
                .enumerate()
                .filter(|(_, node)| node.is_running)
                .filter_map(|(index, node)| {
                    let (at, _) = node.mesh.poll_timeout()?;
                    Some((at.max(self.now) + node.delay, index))
                })
                .min();
            let delivery = self.queue.keys().next().copied();
            let is_delivery_first = match (timer, delivery) {
                (Some((timer, _)), Some((at, _))) => at <= timer,
                (None, Some(_)) => true,
                (_, None) => false,
            };
            if is_delivery_first && let Some(key) = delivery {
                if key.0 > end {
                    break;
                }
                self.now = key.0;
                let delivery = self.queue.remove(&key).unwrap();
                self.take(delivery);
            } else if let Some((at, index)) = timer {
                if at > end {
                    break;
                }
                self.now = at;
                let reason = self.nodes[index].mesh.poll_timeout();
                self.nodes[index].mesh.handle_timeout(at);
                self.drain(index);
                let next = self.nodes[index].mesh.poll_timeout();
                assert!(
                    next.is_none_or(|(next, _)| next > at),
                    "asked for now twice: {reason:?} {next:?}"
                );
            } else {
                break;
            }
        }
        self.now = end;
    }

    fn take(&mut self, delivery: Delivery) {
        let now = self.now;
        let to = match &delivery {
            Delivery::Opened { to, .. }
            | Delivery::Bytes { to, .. }
            | Delivery::Closed { to, .. }
            | Delivery::Datagram { to, .. }
            | Delivery::Tunnel { to, .. } => *to,
        };
        let is_connected = |conn| self.wires.contains_key(&(to, conn));
        let node = &mut self.nodes[to];
        if !node.is_running {
            return;
        }
        match delivery {
            Delivery::Opened {
                conn,
                remote,
                dialled,
                ..
            } => {
                node.mesh.handle_opened(now, conn, remote, dialled);
            }
            Delivery::Bytes { conn, bytes, .. } => {
                if is_connected(conn) {
                    node.mesh.handle_bytes(now, conn, &bytes);
                }
            }
            Delivery::Closed { conn, reason, .. } => {
                self.wires.remove(&(to, conn));
                node.mesh.handle_closed(now, conn, reason);
            }
            Delivery::Tunnel { peer, .. } => node.mesh.handle_tunnel(now, peer, true),
            Delivery::Datagram {
                from,
                remote,
                bytes,
                ..
            } => {
                if self.nats.contains(&to) && !self.sent_to.contains(&(to, remote)) {
                    return;
                }
                let probe = Probe::parse(&bytes).unwrap();
                let heard = node.heard.insert(from, now);
                if probe.kind == ProbeKind::Challenge {
                    let age = heard.map(|at| now - at);
                    let answer = probe.answer(Probe::age_ms(age), remote);
                    let own = node.identity.peer_id();
                    self.send_datagram(to, own, remote, answer.to_bytes());
                }
                self.nodes[to].mesh.handle_probe(now, from, remote, &probe);
            }
        }
        self.drain(to);
    }

    fn deliver(&mut self, after: Duration, delivery: Delivery) {
        self.drawn += 1;
        self.queue.insert((self.now + after, self.drawn), delivery);
    }

    fn send_datagram(&mut self, from: usize, own: PeerId, remote: SocketAddr, bytes: Vec<u8>) {
        let Some(to) = self.nodes.iter().position(|node| node.udp == remote) else {
            return;
        };
        self.sent_to.insert((from, remote));
        if !self.udp_cuts.contains(&(from, to)) {
            let remote = self.nodes[from].udp;
            self.deliver(
                LATENCY,
                Delivery::Datagram {
                    to,
                    from: own,
                    remote,
                    bytes,
                },
            );
        }
    }

    /// What the driver and the crate above do with a mesh's outputs.
    fn drain(&mut self, index: usize) {
        loop {
            while let Some(action) = self.nodes[index].mesh.poll_action() {
                self.act(index, action);
            }
            let Some(event) = self.nodes[index].mesh.poll_event() else {
                break;
            };
            if let Event::LinkUp { peer, .. } = &event {
                let tunnel = Delivery::Tunnel {
                    to: index,
                    peer: *peer,
                };
                self.deliver(LATENCY * 2, tunnel);
            }
            if let Event::Records { .. } = &event {
                let reachable = reachable(&self.nodes[index].mesh);
                let now = self.now;
                self.nodes[index].mesh.handle_reachable(now, &reachable);
            }
            self.nodes[index].events.push((self.now, event));
        }
    }

    fn act(&mut self, index: usize, action: Action) {
        match action {
            Action::Resolve { .. } => {}
            Action::Dial { conn, remote } => {
                let to = self.nodes.iter().position(|node| node.tcp == remote);
                let Some(to) = to.filter(|to| self.nodes[*to].is_running) else {
                    let reason = CloseReason::Refused;
                    self.deliver(
                        LATENCY * 2,
                        Delivery::Closed {
                            to: index,
                            conn,
                            reason,
                        },
                    );
                    return;
                };
                if self.tcp_cuts.contains(&(index, to)) {
                    let closed = Delivery::Closed {
                        to: index,
                        conn,
                        reason: CloseReason::TimedOut,
                    };
                    self.deliver(Duration::from_secs(2), closed);
                    return;
                }
                self.drawn += 1;
                let accepted = ConnId::accepted(self.drawn);
                self.wires.insert((index, conn), (to, accepted));
                self.wires.insert((to, accepted), (index, conn));
                let near = SocketAddr::new(self.nodes[index].tcp.ip(), 40_000);
                self.deliver(
                    LATENCY,
                    Delivery::Opened {
                        to,
                        conn: accepted,
                        remote: near,
                        dialled: false,
                    },
                );
                self.deliver(
                    LATENCY * 2,
                    Delivery::Opened {
                        to: index,
                        conn,
                        remote,
                        dialled: true,
                    },
                );
            }
            Action::Write { conn, bytes } => {
                assert!(!bytes.is_empty());
                let Some((to, far)) = self.wires.get(&(index, conn)).copied() else {
                    return;
                };
                if self.tcp_cuts.contains(&(index, to)) {
                    // Stalled: both ends find out when TCP gives up.
                    let after = Duration::from_secs(5);
                    let reason = CloseReason::TimedOut;
                    self.deliver(
                        after,
                        Delivery::Closed {
                            to: index,
                            conn,
                            reason,
                        },
                    );
                } else {
                    self.deliver(
                        LATENCY,
                        Delivery::Bytes {
                            to,
                            conn: far,
                            bytes,
                        },
                    );
                }
            }
            Action::Close { conn } => {
                if let Some((to, far)) = self.wires.remove(&(index, conn))
                    && !self.tcp_cuts.contains(&(index, to))
                {
                    let reason = CloseReason::Finished;
                    self.deliver(
                        LATENCY,
                        Delivery::Closed {
                            to,
                            conn: far,
                            reason,
                        },
                    );
                }
            }
            Action::AwaitDrained { conn } => {
                if !self.is_congested {
                    self.nodes[index].mesh.handle_drained(self.now, conn);
                }
            }
            Action::Probe { remote, bytes, .. } => {
                let own = self.id(index);
                self.send_datagram(index, own, remote, bytes);
            }
        }
    }
}

pub(super) fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(index).unwrap() + 1], 6783))
}

fn mesh(
    config: &MeshConfig,
    identity: &Arc<Identity>,
    now: Instant,
    boot_id: u64,
    seed: usize,
) -> Mesh {
    let mut bytes = [7; 32];
    bytes[0] = u8::try_from(seed % 256).unwrap();
    Mesh::new(
        config.clone(),
        identity.clone(),
        bytes,
        now,
        Duration::from_secs(boot_id),
        boot_id,
        Arc::new(DirectVerifier),
    )
}

/// Whom a mesh reaches by links that both ends report.
pub(super) fn reachable(mesh: &Mesh) -> BTreeSet<PeerId> {
    let store = mesh.store();
    let reports = |from: &PeerId, to: &PeerId| {
        store
            .links(from)
            .is_some_and(|links| links.links.iter().any(|entry| entry.neighbour == *to))
    };
    let mut reached = BTreeSet::from([mesh.peer_id()]);
    let mut edge = vec![mesh.peer_id()];
    while let Some(from) = edge.pop() {
        let Some(links) = store.links(&from) else {
            continue;
        };
        for entry in &links.links {
            if reports(&entry.neighbour, &from) && reached.insert(entry.neighbour) {
                edge.push(entry.neighbour);
            }
        }
    }
    reached
}

/// The only clock reading of these tests; everything else is reckoned from it.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to make an Instant"
)]
pub(crate) fn base() -> Instant {
    Instant::now()
}
