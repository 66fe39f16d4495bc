//! What a worker's turn costs: `cargo bench -p weave-core --bench forward`.
//!
//! One group for each stage: ingress (look up, copy, seal), egress (open, check for replay, write), relay. Each
//! iteration handles a run of 64 frames of 64 B or of 1,400 B, or one TCP super-frame of nearly 64 KiB; throughput
//! counts inner frame bytes. What an iteration consumes (packets open only once) is made outside of the measured
//! time.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark reads the clock, and is no API"
)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use smoltcp::wire::EthernetAddress;
use weave_core::{
    BUFFER_BYTES, Batch, Fib, Forwarder, ForwarderConfig, FrameCaps, FrameMeta, MacTable,
    Neighbour, NeighbourIndex, NextHop, Notices, Offload, Output, PacketCaps, PacketMeta,
    PartialChecksum, Progress, Receiver, Remote, SegmentKind, Segments, Site, SiteRoute, Streamed,
    View,
};
use weave_crypto::{ShortId, Suite, TunnelKeys};

criterion_group!(benches, ingress, egress, relay);
criterion_main!(benches);

fn ingress(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ingress");
    for load in LOADS {
        let mut routers = routers(NextHop::Direct(NeighbourIndex(0)));
        let mut rx = load.batch();
        group.throughput(Throughput::Bytes(load.bytes()));
        group.bench_function(BenchmarkId::from_parameter(load.name), |bencher| {
            bencher.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| {
                        load.fill(&mut rx);
                        let start = Instant::now();
                        routers[0].handle_frames(&mut rx);
                        start.elapsed()
                    })
                    .sum()
            });
        });
    }
}

fn egress(criterion: &mut Criterion) {
    stage(criterion, "egress", NextHop::Direct(NeighbourIndex(0)), 1);
}

fn relay(criterion: &mut Criterion) {
    stage(criterion, "relay", NextHop::Relay(NeighbourIndex(1)), 2);
}

/// Measures router `at` handling what router 0 has sealed for router 1.
fn stage(criterion: &mut Criterion, name: &str, next_hop: NextHop, at: usize) {
    let mut group = criterion.benchmark_group(name);
    for load in LOADS {
        let mut routers = routers(next_hop);
        let mut rx = load.batch();
        group.throughput(Throughput::Bytes(load.bytes()));
        group.bench_function(BenchmarkId::from_parameter(load.name), |bencher| {
            bencher.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| {
                        load.fill(&mut rx);
                        routers[0].handle_frames(&mut rx);
                        let mut packets = routers[0].packets.take().expect("given back below");
                        let start = Instant::now();
                        routers[at].handle_packets(&mut packets);
                        let elapsed = start.elapsed();
                        routers[0].packets = Some(packets);
                        elapsed
                    })
                    .sum()
            });
            assert_eq!(routers[at].forwarder.stats().drops_total(), 0);
        });
    }
}

/// What is forwarded in one iteration.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    frames: usize,
    frame_bytes: usize,
    /// TCP payload of each segment, for a super-frame.
    segment: Option<u16>,
}

const LOADS: [Load; 3] = [
    Load {
        name: "64B x 64",
        frames: 64,
        frame_bytes: 64,
        segment: None,
    },
    Load {
        name: "1400B x 44",
        frames: 44,
        frame_bytes: 1_400,
        segment: None,
    },
    Load {
        name: "60KiB super-frame",
        frames: 1,
        frame_bytes: 54 + 44 * 1_370,
        segment: Some(1_370),
    },
];

impl Load {
    fn bytes(&self) -> u64 {
        (self.frames * self.frame_bytes) as u64
    }

    fn batch(&self) -> Batch<FrameMeta> {
        Batch::new(self.frames, BUFFER_BYTES)
    }

    /// Fills a batch with frames from container 0 to container 1, each a TCP segment.
    fn fill(&self, rx: &mut Batch<FrameMeta>) {
        let ip_bytes = (self.frame_bytes - 14) as u16;
        let mut head = Vec::with_capacity(54);
        head.extend_from_slice(mac(1).as_bytes());
        head.extend_from_slice(mac(0).as_bytes());
        head.extend_from_slice(&[8, 0, 0x45, 0]);
        head.extend_from_slice(&ip_bytes.to_be_bytes());
        head.extend_from_slice(&[0, 1, 0x40, 0, 64, 6, 0, 0, 10, 32, 0, 1, 10, 32, 0, 2]);
        head.extend_from_slice(&[
            0x13, 0x88, 0x13, 0x89, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 4, 0, 0, 0, 0, 0,
        ]);
        let offload = Offload {
            checksum: Some(PartialChecksum {
                start: 34,
                offset: 16,
            }),
            segments: self.segment.map(|payload_bytes| Segments {
                kind: SegmentKind::Tcp4,
                payload_bytes,
            }),
        };
        while let Some(buffer) = rx.free() {
            buffer.grow(self.frame_bytes);
            buffer.bytes_mut()[..54].copy_from_slice(&head);
            rx.commit(FrameMeta { offload });
        }
    }
}

/// A router with batches of its own.
struct Router {
    fib: Fib,
    macs: MacTable,
    forwarder: Forwarder,
    now: Instant,
    packets: Option<Batch<PacketMeta>>,
    frames: Batch<FrameMeta>,
    notices: Notices,
    streamed: Streamed,
}

impl Router {
    fn handle_frames(&mut self, rx: &mut Batch<FrameMeta>) {
        let packets = self
            .packets
            .as_mut()
            .expect("always there between iterations");
        packets.clear();
        let mut out = Output {
            packets,
            frames: &mut self.frames,
            notices: &mut self.notices,
            streamed: &mut self.streamed,
        };
        let view = View {
            fib: &self.fib,
            macs: &self.macs,
        };
        let progress = self.forwarder.handle_frames(self.now, view, rx, &mut out);
        assert_eq!(progress, Progress::Done);
    }

    fn handle_packets(&mut self, rx: &mut Batch<PacketMeta>) {
        let packets = self
            .packets
            .as_mut()
            .expect("always there between iterations");
        let view = View {
            fib: &self.fib,
            macs: &self.macs,
        };
        loop {
            packets.clear();
            self.frames.clear();
            let mut out = Output {
                packets: &mut *packets,
                frames: &mut self.frames,
                notices: &mut self.notices,
                streamed: &mut self.streamed,
            };
            let progress = self.forwarder.handle_packets(self.now, view, rx, &mut out);
            black_box(self.frames.len());
            if progress == Progress::Done {
                return;
            }
        }
    }
}

fn mac(number: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, number])
}

fn short(number: u8) -> ShortId {
    ShortId::from_bytes([number; 8])
}

/// Router 0 sends to router 1, its neighbour 0, directly or by router 2, its neighbour 1.
fn routers(next_hop: NextHop) -> [Router; 3] {
    let epoch = Instant::now();
    let remote = |number: u8| SocketAddr::from(([10, 0, 0, number], 6783));
    let neighbour = |number: u8| Neighbour {
        site: Site(u16::from(number) + 1),
        remote: Remote::Udp(remote(number)),
        tag: [7; 6],
        keys: None,
        heard: Arc::default(),
        packet_bytes_max: 1_472,
    };
    let router = |number: u8| {
        let mut fib = Fib::empty(epoch, short(number), 1 << 32);
        fib.sites = vec![None; 4];
        Router {
            macs: MacTable::new(1_024, epoch, 11),
            forwarder: Forwarder::new(ForwarderConfig {
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
            }),
            now: epoch + Duration::from_secs(10),
            packets: Some(Batch::new(4, BUFFER_BYTES)),
            frames: Batch::new(64, BUFFER_BYTES),
            notices: Notices::new(),
            streamed: Streamed::new(),
            fib,
        }
    };
    let mut routers = [router(0), router(1), router(2)];
    let (sending, opening) = TunnelKeys::pair([3; 32], Suite::Aes256Gcm, 1, 2);
    routers[0].fib.neighbours = vec![neighbour(1), neighbour(2)];
    routers[0].fib.sites[2] = Some(SiteRoute {
        heard: None,
        destination: short(1),
        keys: Some(Arc::new(sending)),
        next_hop: Some(next_hop),
        packet_bytes_max: 1_472,
    });
    let now = routers[0].now;
    routers[0].macs.learn(now, mac(1), Site(2));
    routers[1].fib.neighbours = vec![neighbour(0)];
    routers[1].fib.receivers.insert(
        2,
        Receiver {
            keys: Arc::new(opening),
            site: Site(1),
            neighbour: Some(NeighbourIndex(0)),
            heard: Arc::default(),
        },
    );
    routers[2].fib.neighbours = vec![neighbour(0), neighbour(1)];
    routers[2].fib.tags.insert([7; 6], NeighbourIndex(0));
    routers[2].fib.relays.insert(short(1), NeighbourIndex(1));
    routers
}
