//! A forwarder with a snapshot made by hand, fed with datagrams of strangers and with bodies that members sealed.
//!
//! ```text
//!   NEAR (neighbour, keys) ──┐
//!                            ├── forwarder ── port
//!   NEXT (neighbour, keys) ──┘
//!   FAR (an edge router, keys, reached through NEXT)
//! ```

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weave_core::{
    Batch, Entries, Entry, Fib, FloodHeader, Forwarder, ForwarderConfig, FrameMeta, HEAD_BYTES,
    Kind, MacTable, Neighbour, NeighbourIndex, NextHop, Note, Notice, Notices, Origin, Output,
    PacketMeta, PacketView, Progress, Receiver, Remote, SEALED_HEADER_BYTES, Site, SiteRoute,
    Streamed, View, seal_packet,
};
use weave_crypto::{ShortId, Suite, TunnelKeys};
use weave_mesh::{Probe, ProbeKind};

use crate::BASE;

/// Bytes that nobody sealed must leave no trace: no frame, nothing learned, and no packet, but for one in an envelope with
/// a tag that we gave, which goes on as it is.
pub(crate) fn strangers_datagrams(bytes: &[u8]) {
    if bytes.len() > INPUT_BYTES_MAX || bytes.is_empty() {
        return;
    }
    // As one datagram, and as a run that its first byte cuts.
    for segment_bytes in [bytes.len(), usize::from(bytes[0]).max(1)] {
        let mut world = World::new();
        let put = world.receive(bytes, segment_bytes.min(bytes.len()));
        assert!(put.frames.is_empty(), "a frame out of what nobody sealed");
        assert!(world.macs.is_empty(), "learned from what nobody sealed");
        let mut given = bytes.chunks(segment_bytes);
        for (remote, packet) in put.packets {
            assert_eq!(remote, address(NEXT), "relayed to the next hop");
            let view = PacketView::new_checked(&packet).expect("a relay passes on what it checked");
            let envelope = view.envelope().expect("only envelopes are relayed");
            assert_eq!(envelope.tag, TAG_OUT, "with the tag of the next hop");
            let from = given
                .find(|from| from.len() == packet.len() && from[8..] == packet[8..])
                .expect("each was received, in this order");
            assert_eq!(from[2..8], TAG_IN, "by a neighbour that holds our tag");
            assert_eq!(from[1], packet[1] + 1, "a hop is taken off");
        }
        for notice in put.notices {
            assert!(
                matches!(
                    notice,
                    Notice::UnknownReceiver { .. } | Notice::Active { .. } | Notice::TooBig { .. }
                ),
                "{notice:?} for what nobody sealed"
            );
        }
    }
}

/// The same bytes as the body of each kind of packet, sealed by a neighbour and by an edge router.
pub(crate) fn sealed_bodies(body: &[u8]) {
    if body.len() > INPUT_BYTES_MAX - 64 {
        return;
    }
    for kind in [Kind::Unicast, Kind::Flood, Kind::Probe, Kind::Note] {
        for sender in [NEAR, FAR] {
            let mut world = World::new();
            let keys = Arc::clone(&world.theirs[sender]);
            let packet = seal_packet(&keys, kind, None, body).expect("counters are left");
            let put = world.receive(&packet, packet.len());
            match kind {
                Kind::Unicast => {
                    let entries: Result<Vec<Entry<'_>>, _> = Entries::new(body).collect();
                    let most = entries.map_or(0, |entries| entries.len());
                    assert!(put.frames.len() <= most, "a body is right or refused whole");
                    assert!(put.packets.len() <= most, "a word for each address at most");
                    for (_, packet) in put.packets {
                        let view = PacketView::new_checked(&packet).expect("made by ourselves");
                        let note =
                            world.opened(sender, Kind::Note, packet[view.sealed_at()..].to_vec());
                        assert!(matches!(Note::parse(&note), Ok(Note::NotHere { .. })));
                    }
                }
                Kind::Flood => {
                    let header = FloodHeader::parse(body).ok().filter(|_| sender == NEAR);
                    let most = usize::from(header.is_some());
                    assert!(put.frames.len() <= most && put.packets.len() <= most);
                    for (remote, packet) in put.packets {
                        assert_eq!(remote, address(NEXT), "not back to where it came from");
                        let passed = world.opened(NEXT, Kind::Flood, packet);
                        let (passed, _) = FloodHeader::parse(&passed).expect("passed on as it was");
                        let (header, _) = header.expect("counted above");
                        let ttl = header.ttl - 1;
                        assert_eq!(passed, FloodHeader { ttl, ..header });
                    }
                }
                Kind::Probe => {
                    assert!(put.frames.is_empty() && put.packets.len() <= 1);
                    for (remote, packet) in put.packets {
                        assert_eq!(remote, address(NEAR), "answered to where it came from");
                        assert_eq!(
                            packet.len(),
                            12 + 34 + 16,
                            "no larger than the shortest probe"
                        );
                        let answer = Probe::parse(&world.opened(sender, Kind::Probe, packet));
                        let challenge = Probe::parse(body).expect("something was answered");
                        assert_eq!(challenge.kind, ProbeKind::Challenge);
                        assert_eq!(answer.map(|answer| answer.token), Ok(challenge.token));
                    }
                }
                Kind::Note | Kind::Relay => {
                    assert!(put.frames.is_empty() && put.packets.is_empty());
                }
            }
        }
    }
}

/// One router, and the keys of those around it.
struct World {
    fib: Fib,
    macs: MacTable,
    forwarder: Forwarder,
    /// The other halves of the tunnels, by router.
    theirs: [Arc<TunnelKeys>; 3],
}

/// What a forwarder put out.
#[derive(Default)]
struct Put {
    frames: Vec<Vec<u8>>,
    packets: Vec<(SocketAddr, Vec<u8>)>,
    notices: Vec<Notice>,
}

impl World {
    fn new() -> Self {
        let mut fib = Fib::empty(*BASE, LOCAL, 1 << 40);
        fib.sites = vec![None; 4];
        let theirs = [NEAR, NEXT, FAR].map(|router| {
            let secret = [0x51 + router as u8; 32];
            let suite = if router == NEXT {
                Suite::ChaCha20Poly1305
            } else {
                Suite::Aes256Gcm
            };
            let index = RECEIVER + router as u32;
            let (ours, theirs) = TunnelKeys::pair(secret, suite, index, index + 100);
            let keys = Arc::new(ours);
            let neighbour = (router != FAR).then_some(NeighbourIndex(router as u16));
            let site = Site(router as u16 + 1);
            let short = short(router);
            fib.receivers.insert(
                index,
                Receiver {
                    keys: Arc::clone(&keys),
                    site,
                    neighbour,
                    heard: Arc::default(),
                },
            );
            if neighbour.is_some() {
                fib.neighbours.push(Neighbour {
                    site,
                    remote: Remote::Udp(address(router)),
                    tag: TAG_OUT,
                    keys: Some(Arc::clone(&keys)),
                    heard: Arc::default(),
                    packet_bytes_max: 1_472,
                });
            }
            Arc::make_mut(&mut fib.origins).insert(
                short,
                Origin {
                    site,
                    heard: Arc::default(),
                },
            );
            fib.sites[site.index()] = Some(SiteRoute {
                heard: None,
                destination: short,
                keys: Some(keys),
                next_hop: Some(match neighbour {
                    Some(index) => NextHop::Direct(index),
                    None => NextHop::Relay(NeighbourIndex(NEXT as u16)),
                }),
                packet_bytes_max: 1_472,
            });
            Arc::new(theirs)
        });
        fib.tags.insert(TAG_IN, NeighbourIndex(NEAR as u16));
        fib.relays.insert(short(FAR), NeighbourIndex(NEXT as u16));
        Self {
            fib,
            macs: MacTable::new(16, *BASE, 1),
            forwarder: Forwarder::new(ForwarderConfig::new(*BASE)),
            theirs,
        }
    }

    /// Gives the forwarder a run from NEAR's address.
    fn receive(&mut self, run: &[u8], segment_bytes: usize) -> Put {
        BATCHES.with_borrow_mut(|(rx, packets, frames)| {
            let mut put = Put::default();
            let mut notices = Notices::new();
            let mut streamed = Streamed::new();
            rx.clear();
            let buffer = rx.free().expect("the batch is empty");
            assert!(buffer.append(run), "inputs are shorter than a buffer");
            rx.commit(PacketMeta {
                segment_bytes,
                ..PacketMeta::single(address(NEAR), run.len())
            });
            let now = *BASE + Duration::from_secs(1);
            for _ in 0..=run.len() {
                let view = View {
                    fib: &self.fib,
                    macs: &self.macs,
                };
                let mut out = Output {
                    packets,
                    frames,
                    notices: &mut notices,
                    streamed: &mut streamed,
                };
                let progress = self.forwarder.handle_packets(now, view, rx, &mut out);
                while let Some((frame, _)) = frames.front() {
                    put.frames.push(frame.to_vec());
                    frames.pop();
                }
                while let Some((run, meta)) = packets.front() {
                    for packet in run.chunks(meta.segment_bytes) {
                        put.packets.push((meta.remote, packet.to_vec()));
                    }
                    packets.pop();
                }
                if progress == Progress::Done {
                    put.notices = std::iter::from_fn(|| notices.pop()).collect();
                    return put;
                }
            }
            panic!("no progress on a run of {} bytes", run.len());
        })
    }

    /// The body of a packet that the forwarder sealed for `router`.
    fn opened(&self, router: usize, kind: Kind, packet: Vec<u8>) -> Vec<u8> {
        let header = PacketView::new_checked(&packet)
            .expect("what is sealed here is well-formed")
            .sealed();
        assert_eq!(header.kind, kind);
        let (aad, body) = packet.split_at(SEALED_HEADER_BYTES);
        let mut body = body.to_vec();
        let opened = self.theirs[router].open(header.counter, aad, &mut body);
        opened.expect("sealed with that router's keys").to_vec()
    }
}

fn address(router: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, router as u8 + 1], 6783))
}

/// The far router is the destination of the vectors in weave-core/tests/vectors/packets.txt.
fn short(router: usize) -> ShortId {
    match router {
        FAR => ShortId::from_bytes([0xd0, 1, 2, 3, 4, 5, 6, 7]),
        _ => ShortId::from_bytes([router as u8 + 1; 8]),
    }
}

type Batches = (Batch<PacketMeta>, Batch<PacketMeta>, Batch<FrameMeta>);

thread_local! {
    /// Received, sent, written: made once, since their buffers are large. Few slots, so that outputs run full.
    static BATCHES: RefCell<Batches> = RefCell::new((
        Batch::new(1, HEAD_BYTES + INPUT_BYTES_MAX),
        Batch::new(3, HEAD_BYTES + INPUT_BYTES_MAX),
        Batch::new(3, HEAD_BYTES + INPUT_BYTES_MAX),
    ));
}

const NEAR: usize = 0;
const NEXT: usize = 1;
const FAR: usize = 2;
const LOCAL: ShortId = ShortId::from_bytes([0x10; 8]);
/// Tag and first receiver index of the vectors, whose keys are others than here.
const TAG_IN: [u8; 6] = *b"linktg";
const RECEIVER: u32 = 0xa1a2_a3a4;
const TAG_OUT: [u8; 6] = *b"tagout";
/// Longer inputs are left alone: a datagram of this size holds every case.
const INPUT_BYTES_MAX: usize = 8 * 1024;
