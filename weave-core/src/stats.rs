//! Why frames and packets are dropped, and how many went where.

use serde::{Deserialize, Serialize};

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// Why the data plane dropped a frame or packet. Each has a counter in [`ForwardStats`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum DropReason { $($(#[doc = $doc])+ $name,)+ }

        impl DropReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The counter's name in status and metrics: lower case with underscores, stable.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// What was dropped, in words: the documentation of the variant.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

drop_reasons! {
    /// From a port: shorter than an Ethernet header, or longer than its metadata allows.
    FrameMalformed = "frame_malformed",
    /// From a port: to 01:80:C2:00:00:0x, which a bridge keeps to itself (IEEE 802.1Q table 8-1).
    LinkLocal = "link_local",
    /// From a port: to a MAC address behind the same port.
    SamePort = "same_port",
    /// To a site that no route leads to.
    NoRoute = "no_route",
    /// To a site without a tunnel yet, and the few places to wait were taken, or it waited too long.
    NoTunnel = "no_tunnel",
    /// Larger than the path takes. The sender is told where it may be, else not even pieces would do.
    TooBig = "too_big",
    /// A flood over the port's or the origin's budget.
    FloodPoliced = "flood_policed",
    /// A flood that was seen before.
    FloodDuplicate = "flood_duplicate",
    /// A flood of our own that came back.
    FloodReturned = "flood_returned",
    /// A flood from a router that is not a neighbour, or under a name that no reachable router has.
    FloodForeign = "flood_foreign",
    /// A flood or relayed packet at the end of its TTL.
    TtlExpired = "ttl_expired",
    /// A packet that is no packet of ours: too short, wrong version, unknown kind.
    PacketMalformed = "packet_malformed",
    /// A packet for a receiver index that we did not draw.
    UnknownReceiver = "unknown_receiver",
    /// An envelope with a link tag that we did not give.
    UnknownTag = "unknown_tag",
    /// An envelope for a destination that no route leads to.
    UnknownDestination = "unknown_destination",
    /// A packet that its key does not open: altered, or forged.
    NotGenuine = "not_genuine",
    /// A packet that was opened before, or is older than the replay window.
    Replayed = "replayed",
    /// An opened packet whose contents break the format.
    BodyMalformed = "body_malformed",
    /// A frame in pieces of which some did not come within a second.
    PieceMissing = "piece_missing",
    /// A frame in pieces that had to make room: too many were half-built.
    PieceCrowded = "piece_crowded",
    /// A piece that contradicts those before it, or came twice; what was there of the frame goes with it. Also a
    /// frame that was put together and is none.
    PieceRefused = "piece_refused",
    /// A packet with a congestion mark whose frame can't carry one (RFC 6040 section 4.2).
    Congested = "congested",
    /// The tunnel's counter is used up and the next epoch does not stand yet.
    CounterExhausted = "counter_exhausted",
    /// Between the port and the mesh, while another router carries the segment's floods; or from a router on the same
    /// segment.
    SharedSegment = "shared_segment",
    /// A loop frame beyond those that are looked at.
    LoopFramePoliced = "loop_frame_policed",
    /// The port took no more frames.
    PortFull = "port_full",
    /// The socket took no more packets.
    SocketFull = "socket_full",
    /// For a neighbour that datagrams do not reach: its stream took no more, or too late.
    StreamFull = "stream_full",
    /// From the control plane, for the data plane: packets that came by TCP, or frames of its own, found their
    /// queue full.
    InboxFull = "inbox_full",
    /// The port's device refused a frame: malformed, or it is down.
    PortRefused = "port_refused",
    /// From a port: lost before it was read, because its buffer was full.
    PortOverrun = "port_overrun",
    /// From a port: larger than its device's MTU, and nothing tells how to cut it: a super-frame of UDP, or of TCP inside
    /// of a tunnel, that a capture shows uncut.
    FrameUnfinished = "frame_unfinished",
    /// The network refused a packet: unreachable, larger than the device takes, forbidden.
    SocketRefused = "socket_refused",
    /// A flood of a router whose identity is refused here (--deny): kept from the port, though passed on.
    Denied = "denied",
}

/// Counters of one worker since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardStats {
    /// Frames from the port, super-frames counted once.
    pub frames_in: u64,
    /// Bytes of those.
    pub frame_bytes_in: u64,
    /// Frames to the port.
    pub frames_out: u64,
    /// Bytes of those.
    pub frame_bytes_out: u64,
    /// Packets from the network, each of a run counted.
    pub packets_in: u64,
    /// Bytes of those.
    pub packet_bytes_in: u64,
    /// Packets to the network.
    pub packets_out: u64,
    /// Bytes of those.
    pub packet_bytes_out: u64,
    /// Packets relayed for others (also in `packets_in` and `packets_out`).
    pub packets_relayed: u64,
    /// Floods started at our port.
    pub floods_started: u64,
    /// Floods passed on for others.
    pub floods_passed: u64,
    /// MAC addresses that found the table full.
    pub macs_not_learned: u64,
    /// MAC addresses that moved from one site to another.
    pub macs_moved: u64,
    /// Frames whose source moves too often, and was not learned anew.
    pub macs_damped: u64,
    /// Frames from other routers for a MAC address that is not known to live here, of which they were told.
    pub not_here_sent: u64,
    /// MAC addresses that other routers said are not theirs, and that were forgotten.
    pub not_here_obeyed: u64,
    /// Questions for hosts whose MAC address nobody is known to have, on the behalf of those who sent to it.
    pub asked: u64,
    /// Loop frames of this network at the port, genuine or not.
    pub loop_frames_in: u64,
    /// Frames cut into pieces, once for each way that they took.
    pub frames_cut: u64,
    /// Frames put together from pieces.
    pub frames_joined: u64,
    /// Senders told that their packet is too big for the path.
    pub too_big_told: u64,
    drops: [u64; DropReason::ALL.len()],
}

impl ForwardStats {
    /// All zero.
    pub fn new() -> Self {
        Self {
            frames_in: 0,
            frame_bytes_in: 0,
            frames_out: 0,
            frame_bytes_out: 0,
            packets_in: 0,
            packet_bytes_in: 0,
            packets_out: 0,
            packet_bytes_out: 0,
            packets_relayed: 0,
            floods_started: 0,
            floods_passed: 0,
            macs_not_learned: 0,
            macs_moved: 0,
            macs_damped: 0,
            not_here_sent: 0,
            not_here_obeyed: 0,
            asked: 0,
            loop_frames_in: 0,
            frames_cut: 0,
            frames_joined: 0,
            too_big_told: 0,
            drops: [0; DropReason::ALL.len()],
        }
    }

    /// Counts one dropped frame or packet.
    pub fn count_drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Takes over a count that is kept elsewhere.
    pub fn set_drops(&mut self, reason: DropReason, count: u64) {
        self.drops[reason as usize] = count;
    }

    /// Frames and packets dropped for one reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Frames and packets dropped for any reason.
    pub fn drops_total(&self) -> u64 {
        self.drops.iter().sum()
    }
}

impl Default for ForwardStats {
    fn default() -> Self {
        Self::new()
    }
}

/// [`ForwardStats`] as status shows it: one name and one number each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Frames from the port.
    pub frames_in: u64,
    /// Bytes of those.
    pub frame_bytes_in: u64,
    /// Frames to the port.
    pub frames_out: u64,
    /// Bytes of those.
    pub frame_bytes_out: u64,
    /// Packets from the network.
    pub packets_in: u64,
    /// Bytes of those.
    pub packet_bytes_in: u64,
    /// Packets to the network.
    pub packets_out: u64,
    /// Bytes of those.
    pub packet_bytes_out: u64,
    /// Packets relayed for others.
    pub packets_relayed: u64,
    /// What became of MAC addresses, by name; what never happened is left out.
    #[serde(default)]
    pub macs: std::collections::BTreeMap<String, u64>,
    /// Loop frames that came in at the port, genuine or not.
    #[serde(default)]
    pub loop_frames_in: u64,
    /// Frames cut into pieces.
    #[serde(default)]
    pub frames_cut: u64,
    /// Frames put together from pieces.
    #[serde(default)]
    pub frames_joined: u64,
    /// Senders told that their packet is too big for the path.
    #[serde(default)]
    pub too_big_told: u64,
    /// Dropped frames and packets by reason; reasons that never happened are left out.
    pub drops: std::collections::BTreeMap<String, u64>,
}

impl From<&ForwardStats> for Traffic {
    fn from(stats: &ForwardStats) -> Self {
        Self {
            frames_in: stats.frames_in,
            frame_bytes_in: stats.frame_bytes_in,
            frames_out: stats.frames_out,
            frame_bytes_out: stats.frame_bytes_out,
            packets_in: stats.packets_in,
            packet_bytes_in: stats.packet_bytes_in,
            packets_out: stats.packets_out,
            packet_bytes_out: stats.packet_bytes_out,
            packets_relayed: stats.packets_relayed,
            loop_frames_in: stats.loop_frames_in,
            macs: [
                ("not_learned", stats.macs_not_learned),
                ("moved", stats.macs_moved),
                ("damped", stats.macs_damped),
                ("not_here_sent", stats.not_here_sent),
                ("not_here_obeyed", stats.not_here_obeyed),
                ("asked", stats.asked),
            ]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), count))
            .collect(),
            frames_cut: stats.frames_cut,
            frames_joined: stats.frames_joined,
            too_big_told: stats.too_big_told,
            drops: DropReason::ALL
                .iter()
                .filter(|reason| stats.drops(**reason) > 0)
                .map(|reason| (reason.name().to_owned(), stats.drops(*reason)))
                .collect(),
        }
    }
}
