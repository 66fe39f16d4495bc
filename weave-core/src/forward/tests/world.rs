//! Some forwarders joined in memory: snapshots made by hand, a wire that is a queue.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smoltcp::wire::EthernetAddress;
use weave_crypto::{ShortId, Suite, TunnelKeys};

use super::super::*;
use crate::{
    BUFFER_BYTES, HEAD_BYTES, Neighbour, NeighbourIndex, NextHop, Offload, Origin, Receiver,
    SiteRoute,
};

/// A run on the wire.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) meta: PacketMeta,
    pub(super) bytes: Vec<u8>,
}

impl Run {
    pub(super) fn packets(&self) -> usize {
        self.bytes.len().div_ceil(self.meta.segment_bytes)
    }
}

pub(super) struct Node {
    pub(super) fib: Fib,
    pub(super) macs: MacTable,
    pub(super) forwarder: Forwarder,
    /// Frames that came out of the port.
    pub(super) delivered: Vec<(Vec<u8>, FrameMeta)>,
    pub(super) notices: Notices,
    pub(super) streamed: Streamed,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    pub(super) wire: VecDeque<Run>,
    /// The batches, made once: their buffers are large.
    rx: Batch<PacketMeta>,
    packets: Batch<PacketMeta>,
    frames: Batch<FrameMeta>,
}

pub(super) fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8 + 1], 6783))
}

pub(super) fn short(node: usize) -> ShortId {
    ShortId::from_bytes([node as u8 + 1; 8])
}

pub(super) fn site(node: usize) -> Site {
    Site(node as u16 + 1)
}

/// The tag that `by` gave `to`.
pub(super) fn tag(by: usize, to: usize) -> [u8; 6] {
    [0x7a, by as u8, to as u8, 1, 2, 3]
}

/// A receiver index drawn by `by` for packets from `from`.
pub(super) fn index(by: usize, from: usize) -> u32 {
    (by as u32) << 16 | from as u32 | 0x4000_0000
}

/// A container's address at a node.
pub(super) fn mac(node: usize, number: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, node as u8 + 1, number])
}

pub(super) fn frame(to: EthernetAddress, from: EthernetAddress, payload: &[u8]) -> Vec<u8> {
    [to.as_bytes(), from.as_bytes(), &[0x12, 0x34], payload].concat()
}

pub(super) fn config(epoch: Instant) -> ForwarderConfig {
    ForwarderConfig {
        frame_caps: FrameCaps {
            frame_bytes_max: 65_535,
            segmentation: true,
            checksum: true,
        },
        packet_caps: PacketCaps {
            gso_segments_max: 64,
            gro: true,
            dont_fragment: true,
        },
        has_port: true,
        epoch,
    }
}

impl World {
    /// `count` routers with these links, a tunnel between any two, shortest routes and trees.
    pub(super) fn new(count: usize, links: &[(usize, usize)]) -> Self {
        #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
        let epoch = Instant::now();
        let near = |node: usize| -> BTreeSet<usize> {
            links
                .iter()
                .filter_map(|&(a, b)| match node {
                    n if n == a => Some(b),
                    n if n == b => Some(a),
                    _ => None,
                })
                .collect()
        };
        // parent[origin][node]: the next node on the way from `node` to `origin`.
        let parents: Vec<Vec<Option<usize>>> = (0..count)
            .map(|origin| {
                let mut parent = vec![None; count];
                let mut queue = VecDeque::from([origin]);
                while let Some(node) = queue.pop_front() {
                    for next in near(node) {
                        if next != origin && parent[next].is_none() {
                            parent[next] = Some(node);
                            queue.push_back(next);
                        }
                    }
                }
                parent
            })
            .collect();
        let mut fibs: Vec<Fib> = (0..count)
            .map(|node| Fib::empty(epoch, short(node), 1_700_000_000 << 16))
            .collect();
        for (node, fib) in fibs.iter_mut().enumerate() {
            fib.sites = vec![None; count + 1];
            for (at, &peer) in near(node).iter().enumerate() {
                let index = NeighbourIndex(at as u16);
                fib.neighbours.push(Neighbour {
                    site: site(peer),
                    remote: Remote::Udp(address(peer)),
                    tag: tag(peer, node),
                    keys: None,
                    heard: Arc::default(),
                    packet_bytes_max: 1_472,
                });
                fib.tags.insert(tag(node, peer), index);
            }
        }
        for a in 0..count {
            for b in 0..count {
                if a < b {
                    let secret = [(a * count + b) as u8; 32];
                    let (at_a, at_b) =
                        TunnelKeys::pair(secret, Suite::Aes256Gcm, index(a, b), index(b, a));
                    join(&mut fibs[a], b, near(a), &parents[b], a, Arc::new(at_a));
                    join(&mut fibs[b], a, near(b), &parents[a], b, Arc::new(at_b));
                }
            }
            for (node, fib) in fibs.iter_mut().enumerate() {
                let children = near(node)
                    .iter()
                    .enumerate()
                    .filter(|(_, peer)| parents[a][**peer] == Some(node))
                    .map(|(at, _)| NeighbourIndex(at as u16))
                    .collect();
                fib.floods.insert(short(a), children);
            }
        }
        let nodes = fibs
            .into_iter()
            .map(|fib| Node {
                macs: MacTable::new(1_024, epoch, 5),
                forwarder: Forwarder::new(config(epoch)),
                delivered: Vec::new(),
                notices: Notices::new(),
                streamed: Streamed::new(),
                fib,
            })
            .collect();
        Self {
            now: epoch + Duration::from_secs(100),
            nodes,
            wire: VecDeque::new(),
            rx: Batch::new(1, BUFFER_BYTES),
            packets: Batch::new(16, BUFFER_BYTES),
            frames: Batch::new(16, BUFFER_BYTES),
        }
    }

    /// Output batches of `slots` buffers from now on.
    pub(super) fn with_slots(mut self, slots: usize) -> Self {
        self.packets = Batch::new(slots, BUFFER_BYTES);
        self.frames = Batch::new(slots, BUFFER_BYTES);
        self
    }

    /// Makes all forwarders anew with a changed configuration.
    pub(super) fn with_config(mut self, change: impl Fn(&mut ForwarderConfig)) -> Self {
        for node in &mut self.nodes {
            let mut config = config(node.fib.epoch);
            change(&mut config);
            node.forwarder = Forwarder::new(config);
        }
        self
    }

    /// Gives a node frames from its port in one batch, and puts what comes out on the wire.
    pub(super) fn put(&mut self, node: usize, frames: &[(Vec<u8>, Offload)]) {
        let longest = frames.iter().map(|(bytes, _)| bytes.len()).max();
        let mut rx = Batch::new(frames.len(), HEAD_BYTES + longest.unwrap_or(0));
        for (bytes, offload) in frames {
            assert!(rx.free().unwrap().append(bytes));
            rx.commit(FrameMeta { offload: *offload });
        }
        self.call(node, |forwarder, now, view, out| {
            forwarder.handle_frames(now, view, &mut rx, out)
        });
    }

    /// Gives a node a frame from its port.
    pub(super) fn put_one(&mut self, node: usize, frame: Vec<u8>) {
        self.put(node, &[(frame, Offload::default())]);
    }

    /// Gives a node a run from the wire.
    pub(super) fn receive(&mut self, run: &Run) {
        let mut rx = std::mem::replace(&mut self.rx, Batch::new(0, 0));
        assert!(rx.free().unwrap().append(&run.bytes));
        rx.commit(PacketMeta {
            remote: address(run.from),
            ..run.meta
        });
        self.call(run.to, |forwarder, now, view, out| {
            forwarder.handle_packets(now, view, &mut rx, out)
        });
        self.rx = rx;
    }

    /// Tells a node of a new snapshot.
    pub(super) fn snapshot(&mut self, node: usize) {
        self.call(node, |forwarder, now, view, out| {
            forwarder.handle_snapshot(now, view, out)
        });
    }

    /// Carries runs until the wire is empty, and says how many.
    pub(super) fn carry(&mut self) -> usize {
        let mut runs = 0;
        while let Some(run) = self.wire.pop_front() {
            self.receive(&run);
            runs += 1;
            assert!(runs < 10_000, "packets go round");
        }
        runs
    }

    /// Frames that came out of a node's port since the last time.
    pub(super) fn delivered(&mut self, node: usize) -> Vec<Vec<u8>> {
        self.nodes[node]
            .delivered
            .drain(..)
            .map(|(frame, _)| frame)
            .collect()
    }

    pub(super) fn notices(&mut self, node: usize) -> Vec<Notice> {
        std::iter::from_fn(|| self.nodes[node].notices.pop()).collect()
    }

    pub(super) fn drops(&self, node: usize, reason: DropReason) -> u64 {
        self.nodes[node].forwarder.stats().drops(reason)
    }

    pub(super) fn drops_total(&self) -> u64 {
        self.nodes
            .iter()
            .map(|node| node.forwarder.stats().drops_total())
            .sum()
    }

    /// Calls until it is done, with empty output batches each time.
    pub(super) fn call(
        &mut self,
        at: usize,
        mut step: impl FnMut(&mut Forwarder, Instant, View<'_>, &mut Output<'_>) -> Progress,
    ) {
        let (packets, frames) = (&mut self.packets, &mut self.frames);
        let node = &mut self.nodes[at];
        for _ in 0..100_000 {
            let view = View {
                fib: &node.fib,
                macs: &node.macs,
            };
            let mut out = Output {
                packets: &mut *packets,
                frames: &mut *frames,
                notices: &mut node.notices,
                streamed: &mut node.streamed,
            };
            let progress = step(&mut node.forwarder, self.now, view, &mut out);
            if progress == Progress::OutputFull {
                assert!(
                    !packets.is_empty() || !frames.is_empty(),
                    "full without output"
                );
            }
            for (bytes, meta) in frames.iter() {
                node.delivered.push((bytes.to_vec(), *meta));
            }
            frames.clear();
            for (bytes, meta) in packets.iter() {
                let to = (0..256).find(|node| address(*node) == meta.remote).unwrap();
                self.wire.push_back(Run {
                    from: at,
                    to,
                    meta: *meta,
                    bytes: bytes.to_vec(),
                });
            }
            packets.clear();
            if progress == Progress::Done {
                return;
            }
        }
        panic!("no progress");
    }
}

/// Adds to `node`'s snapshot all that leads to `peer` and comes from it.
fn join(
    fib: &mut Fib,
    peer: usize,
    near: BTreeSet<usize>,
    parents: &[Option<usize>],
    node: usize,
    keys: Arc<TunnelKeys>,
) {
    let place = |peer: usize| {
        let at = near.iter().position(|near| *near == peer)?;
        Some(NeighbourIndex(at as u16))
    };
    let neighbour = place(peer);
    let next_hop = match neighbour {
        Some(index) => Some(NextHop::Direct(index)),
        None => parents[node].and_then(place).map(NextHop::Relay),
    };
    let heard = neighbour.map_or_else(Arc::default, |index| {
        let neighbour = &mut fib.neighbours[usize::from(index.0)];
        neighbour.keys = Some(Arc::clone(&keys));
        Arc::clone(&neighbour.heard)
    });
    if let Some(NextHop::Direct(index) | NextHop::Relay(index)) = next_hop {
        fib.relays.insert(short(peer), index);
    }
    fib.receivers.insert(
        index(node, peer),
        Receiver {
            keys: Arc::clone(&keys),
            site: site(peer),
            neighbour,
            heard,
        },
    );
    Arc::make_mut(&mut fib.origins).insert(
        short(peer),
        Origin {
            site: site(peer),
            heard: Arc::default(),
        },
    );
    fib.sites[site(peer).index()] = Some(SiteRoute {
        heard: None,
        destination: short(peer),
        keys: Some(keys),
        next_hop,
        packet_bytes_max: 1_472,
    });
}
