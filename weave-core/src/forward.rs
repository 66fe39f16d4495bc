//! The data plane: frames from the port become packets, packets become frames or go on to others.
//!
//! A [`Forwarder`] belongs to one worker and does no I/O. It moves bytes between batches that the caller owns
//! and reads everything else from one [`View`]: the forwarding snapshot and the MAC table. Each stage stands in
//! a file of its own:
//!
//! ```text
//!            ingress                     run                           relay
//!  port ───> learn, look up, police ───> copy, seal in place ───> net <─── tag, TTL, next hop <─── net
//!            segment: cut                 (packets of equal size)
//!            waiting: no tunnel yet
//!            asking: for what is nowhere
//!            too_big, pieces: more than the path takes
//!            egress, not_here                                          flood
//!  port <─── entries, checksum, ECN <─── open, replay, learn <─── net ───> once each, on to the tree's children
//! ```
//!
//! The net is UDP. Where it does not pass, packets for a neighbour go into [`Streamed`], and come by
//! [`Forwarder::handle_stream_packets`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use smoltcp::wire::EthernetAddress;
use weave_crypto::TunnelKeys;

use self::police::Police;
pub use self::recover::recover_offload;
use self::run::{PushError, Runs};
use crate::frame::FrameView;
use crate::packet::{self, ENVELOPE_BYTES, Envelope, FLOOD_HEADER_BYTES, FloodHeader, Kind};
use crate::packet::{EntryHeader, PACKET_OVERHEAD_BYTES, SEALED_HEADER_BYTES, TAG_BYTES};
use crate::{
    Batch, DropReason, Ecn, Fib, ForwardStats, FrameCaps, FrameMeta, Heard, Learned, MacTable,
    Neighbour, Notice, Notices, Origin, PacketCaps, PacketMeta, Remote, Site, Streamed,
};

mod asking;
mod checksum;
mod egress;
mod flood;
mod ingress;
mod loops;
mod not_here;
mod pieces;
mod police;
mod recover;
mod relay;
mod run;
mod segment;
mod too_big;
mod waiting;

/// What forwarding reads: one snapshot, and the table that all workers share.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The snapshot.
    pub fib: &'a Fib,
    /// Where addresses live.
    pub macs: &'a MacTable,
}

/// Where forwarding writes to. Both batches need buffers of the size that the received ones have.
#[derive(Debug)]
pub struct Output<'a> {
    /// Runs for the network.
    pub packets: &'a mut Batch<PacketMeta>,
    /// Frames for the port.
    pub frames: &'a mut Batch<FrameMeta>,
    /// Hints for the control plane.
    pub notices: &'a mut Notices,
    /// Packets for neighbours that datagrams do not reach: the control plane sends them down streams. Never full:
    /// it drops the oldest.
    pub streamed: &'a mut Streamed,
}

/// How far a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// All input was taken.
    Done,
    /// An output batch is full. Flush both and call again with the same input, not touched in between, and the
    /// same view: work goes on where it stopped, nothing is lost or done twice. (With another view nothing
    /// breaks, but a half-done flood may miss a neighbour or reach one twice.)
    OutputFull,
}

/// What a [`Forwarder`] has to know of its surroundings; fixed for its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwarderConfig {
    /// What the port can do.
    pub frame_caps: FrameCaps,
    /// What the socket can do.
    pub packet_caps: PacketCaps,
    /// There is a port. Without one the router only relays and passes floods on.
    pub has_port: bool,
    /// The start of time: flood budgets are full then.
    pub epoch: Instant,
}

impl ForwarderConfig {
    /// For plain frames of up to 1,514 bytes and packets one by one: nothing is offloaded to the I/O side.
    pub fn new(epoch: Instant) -> Self {
        Self {
            frame_caps: FrameCaps {
                frame_bytes_max: 1514,
                segmentation: false,
                checksum: false,
            },
            packet_caps: PacketCaps {
                gso_segments_max: 1,
                gro: false,
                dont_fragment: false,
            },
            has_port: true,
            epoch,
        }
    }
}

/// The data plane of one worker: frames become packets, packets frames, or go on to others.
///
/// # Contract
/// Call [`Forwarder::handle_snapshot`] once after each new snapshot, then the two others as input comes in. Send
/// what stands in the output batches after each call: a run is never continued by a later call. All calls of one
/// turn use one view, and a call that answered [`Progress::OutputFull`] is repeated with the same one.
///
/// Costs: per frame one copy, one AEAD pass and look-ups; no allocation once buffers for waiting frames and
/// windows for flooding origins have been made.
///
/// Duplicate windows and budgets of floods are this worker's own: several workers of one router need their
/// sockets fed so that packets of one remote address come to one worker, as SO_REUSEPORT does.
#[derive(Debug)]
pub struct Forwarder {
    common: Common,
    ingress: ingress::Cursor,
    egress: egress::Cursor,
    waiting: waiting::Waiting,
    floods: flood::Floods,
    port_police: Police,
    loop_police: loops::LoopPolice,
    limits: Limits,
}

/// What every direction needs.
#[derive(Debug)]
struct Common {
    config: ForwarderConfig,
    stats: ForwardStats,
    asked: asking::Asked,
    told: not_here::Told,
    oversize: Oversize,
}

/// When a notice that is rate-limited was last given.
#[derive(Debug, Default)]
struct Limits {
    unknown_receiver: Option<Instant>,
}

/// What frames that a path does not take whole need.
#[derive(Debug)]
struct Oversize {
    told: too_big::Told,
    cutter: pieces::Cutter,
    assembly: pieces::Assembly,
    /// When the control plane was last told of a packet too big for a link, and of which.
    noticed: Option<(Site, Instant)>,
}

impl Forwarder {
    /// A forwarder with nothing in hand.
    pub fn new(config: ForwarderConfig) -> Self {
        Self {
            common: Common {
                config,
                stats: ForwardStats::new(),
                asked: asking::Asked::default(),
                told: not_here::Told::default(),
                oversize: Oversize {
                    told: too_big::Told::new(config.epoch),
                    cutter: pieces::Cutter::default(),
                    assembly: pieces::Assembly::default(),
                    noticed: None,
                },
            },
            ingress: ingress::Cursor::default(),
            egress: egress::Cursor::default(),
            waiting: waiting::Waiting::default(),
            floods: flood::Floods::new(config.epoch),
            port_police: Police::new(config.epoch),
            loop_police: loops::LoopPolice::new(config.epoch),
            limits: Limits::default(),
        }
    }

    /// Takes frames that the port gave from `rx`, and puts packets for other routers out.
    pub fn handle_frames(
        &mut self,
        now: Instant,
        view: View<'_>,
        rx: &mut Batch<FrameMeta>,
        out: &mut Output<'_>,
    ) -> Progress {
        let mut turn = Turn::new(now, view, &mut self.common, out);
        ingress::handle(
            &mut turn,
            &mut self.ingress,
            &mut self.waiting,
            &mut self.port_police,
            &mut self.loop_police,
            rx,
        )
    }

    /// Takes runs that the network gave from `rx`, and puts out frames for the port, packets to pass on, and
    /// answers to probes. Bodies are opened where they lie in `rx`.
    pub fn handle_packets(
        &mut self,
        now: Instant,
        view: View<'_>,
        rx: &mut Batch<PacketMeta>,
        out: &mut Output<'_>,
    ) -> Progress {
        let mut turn = Turn::new(now, view, &mut self.common, out);
        egress::handle(
            &mut turn,
            &mut self.egress,
            &mut self.floods,
            &mut self.limits,
            rx,
        )
    }

    /// Takes packets that came down neighbours' streams from the front of `rx`; else as
    /// [`Forwarder::handle_packets`].
    pub fn handle_stream_packets(
        &mut self,
        now: Instant,
        view: View<'_>,
        rx: &mut VecDeque<Vec<u8>>,
        out: &mut Output<'_>,
    ) -> Progress {
        let mut turn = Turn::new(now, view, &mut self.common, out);
        egress::handle_streamed(
            &mut turn,
            &mut self.egress,
            &mut self.floods,
            &mut self.limits,
            rx,
        )
    }

    /// Looks at a new snapshot: frames that waited for a tunnel that stands now are sent.
    pub fn handle_snapshot(
        &mut self,
        now: Instant,
        view: View<'_>,
        out: &mut Output<'_>,
    ) -> Progress {
        let mut turn = Turn::new(now, view, &mut self.common, out);
        self.waiting.release(&mut turn)
    }

    /// The counters.
    pub fn stats(&self) -> &ForwardStats {
        &self.common.stats
    }

    /// The counters, for the driver to count what port and socket refuse.
    pub fn stats_mut(&mut self) -> &mut ForwardStats {
        &mut self.common.stats
    }
}

/// One call: what it reads and writes, and the run that is open.
struct Turn<'a, 'o> {
    now: Instant,
    view: View<'a>,
    config: &'o ForwarderConfig,
    stats: &'o mut ForwardStats,
    packets: &'o mut Batch<PacketMeta>,
    frames: &'o mut Batch<FrameMeta>,
    notices: &'o mut Notices,
    asked: &'o mut asking::Asked,
    streamed: &'o mut Streamed,
    told: &'o mut not_here::Told,
    oversize: &'o mut Oversize,
    runs: Runs,
}

/// A packet to be sealed: to whom, and what stands around the entry.
struct Sealing<'k> {
    to: To,
    keys: &'k TunnelKeys,
    envelope: Option<Envelope>,
    /// Set for a flood, else it is unicast.
    flood: Option<FloodHeader>,
    /// Bytes of the largest packet that the path takes.
    packet_bytes_max: usize,
}

impl Sealing<'_> {
    /// Bytes of the largest frame that the path takes whole. An envelope is reckoned with, whether there is one or
    /// not: a route may change to a relayed one at any time, and what a sender was told stays true.
    fn frame_bytes_max(&self) -> usize {
        self.packet_bytes_max.saturating_sub(PACKET_OVERHEAD_BYTES)
    }

    /// Bytes of the packet around one entry (header included) of `entry_bytes`.
    fn packet_bytes(&self, entry_bytes: usize) -> usize {
        let envelope = if self.envelope.is_some() {
            ENVELOPE_BYTES
        } else {
            0
        };
        let flood = if self.flood.is_some() {
            FLOOD_HEADER_BYTES
        } else {
            0
        };
        envelope + SEALED_HEADER_BYTES + flood + entry_bytes + TAG_BYTES
    }
}

impl<'a, 'o> Turn<'a, 'o> {
    fn new(now: Instant, view: View<'a>, common: &'o mut Common, out: &'o mut Output<'_>) -> Self {
        let Common {
            config,
            stats,
            asked,
            told,
            oversize,
        } = common;
        Self {
            now,
            view,
            config,
            stats,
            packets: out.packets,
            frames: out.frames,
            notices: out.notices,
            asked,
            streamed: out.streamed,
            told,
            oversize,
            runs: Runs::new(config.packet_caps.gso_segments_max),
        }
    }

    /// Puts one sealed packet with one entry into the open run or a new one; `fill` writes the frame.
    fn seal_entry(
        &mut self,
        sealing: &Sealing<'_>,
        entry: EntryHeader,
        frame_bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), PushError> {
        if frame_bytes > usize::from(u16::MAX) {
            return Err(PushError::Drop(DropReason::TooBig));
        }
        let packet_bytes = sealing.packet_bytes(entry.len_bytes() + frame_bytes);
        if packet_bytes > sealing.packet_bytes_max {
            return Err(PushError::Drop(DropReason::TooBig));
        }
        self.push(sealing.to, packet_bytes, |mut packet| {
            if let Some(envelope) = &sealing.envelope {
                let (front, rest) = packet.split_at_mut(ENVELOPE_BYTES);
                front.copy_from_slice(&envelope.emit());
                packet = rest;
            }
            let mut body = &mut packet[SEALED_HEADER_BYTES..];
            let mut kind = Kind::Unicast;
            if let Some(flood) = &sealing.flood {
                let (front, rest) = body.split_at_mut(FLOOD_HEADER_BYTES);
                front.copy_from_slice(&flood.emit());
                body = rest;
                kind = Kind::Flood;
            }
            let head = entry.emit(frame_bytes, body);
            fill(&mut body[head..][..frame_bytes]);
            packet::seal_in_place(sealing.keys, kind, packet)
                .map_err(|_| DropReason::CounterExhausted)
        })
    }

    /// Puts one packet of `packet_bytes` into the open run or a new one, or with those for a stream, and counts it.
    fn push(
        &mut self,
        to: To,
        packet_bytes: usize,
        write: impl FnOnce(&mut [u8]) -> Result<(), DropReason>,
    ) -> Result<(), PushError> {
        match to {
            To::Udp(to) => self.runs.push(self.packets, to, packet_bytes, write)?,
            To::Stream(site) => {
                let mut packet = vec![0; packet_bytes];
                write(&mut packet).map_err(PushError::Drop)?;
                self.streamed.push(self.now, site, packet);
            }
        }
        self.stats.packets_out += 1;
        self.stats.packet_bytes_out += packet_bytes as u64;
        Ok(())
    }

    /// Whether the port's batch must be flushed before the next frame.
    fn port_is_full(&self) -> bool {
        self.config.has_port && self.frames.is_full()
    }

    /// Tells the control plane that a link takes less than a packet for it has: at most ten times a second.
    fn notice_too_big(&mut self, neighbour: Site) {
        let is_known = self.oversize.noticed.is_some_and(|(known, at)| {
            known == neighbour && self.now.saturating_duration_since(at) < TOO_BIG_INTERVAL
        });
        if !is_known {
            self.oversize.noticed = Some((neighbour, self.now));
            self.notices.push(Notice::TooBig { neighbour });
        }
    }

    fn count_drop(&mut self, reason: DropReason) {
        self.stats.count_drop(reason);
    }

    /// Learns the source of a frame. One that no station can have is passed over.
    fn learn(&mut self, frame: FrameView<'_>, site: Site) {
        let mac = frame.source();
        if !mac.is_unicast() || mac == EthernetAddress([0; 6]) {
            return;
        }
        match self.view.macs.learn(self.now, mac, site) {
            Learned::Known | Learned::New => {}
            Learned::Moved { from } => {
                self.stats.macs_moved += 1;
                self.notices.push(Notice::MacMoved {
                    mac,
                    from,
                    to: site,
                });
            }
            Learned::Damped { at, begins } => {
                self.stats.macs_damped += 1;
                if begins {
                    self.notices.push(Notice::MacDamped {
                        mac,
                        at,
                        seen: site,
                    });
                }
            }
            Learned::Full => self.stats.macs_not_learned += 1,
        }
    }

    /// Stamps a flood that came in.
    fn stamp_flood(&mut self, origin: &Origin) {
        if origin.heard.stamp_flood(self.view.fib.epoch, self.now) {
            self.notices.push(Notice::Floods { site: origin.site });
        }
    }

    /// Stamps a unicast frame that goes to or comes from a router.
    fn stamp_unicast(&mut self, heard: &Heard, site: Site) {
        if heard.stamp_unicast(self.view.fib.epoch, self.now) {
            self.notices.push(Notice::Active { site });
        }
    }
}

/// Notices of packets too big for one link are at least this far apart.
const TOO_BIG_INTERVAL: std::time::Duration = std::time::Duration::from_millis(100);

/// Where packets go.
#[derive(Debug, Clone, Copy)]
enum To {
    Udp(run::To),
    Stream(Site),
}

/// Where packets for a neighbour go, with an ECN field (which a stream does not carry), from whichever address the
/// system likes.
fn to(neighbour: &Neighbour, ecn: Ecn) -> To {
    match neighbour.remote {
        Remote::Udp(remote) => To::Udp(run::To {
            remote,
            local: None,
            ecn,
        }),
        Remote::Stream => To::Stream(neighbour.site),
    }
}

/// How a packet came.
#[derive(Debug, Clone, Copy)]
struct Came {
    /// From where over UDP; nothing for one that came down a stream.
    remote: Option<SocketAddr>,
    local: Option<std::net::IpAddr>,
    ecn: Ecn,
    segment_bytes: usize,
}

impl From<&PacketMeta> for Came {
    fn from(meta: &PacketMeta) -> Self {
        Self {
            remote: Some(meta.remote),
            local: meta.local,
            ecn: meta.ecn,
            segment_bytes: meta.segment_bytes,
        }
    }
}

#[cfg(test)]
mod tests;
