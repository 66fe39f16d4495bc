//! What goes into a router from its user, and what comes out of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smoltcp::wire::EthernetAddress;
use weave_crypto::{Passwords, PeerId};
use weave_mesh::{Admission, ConnId, Target};

use super::admission::who;
use super::echo::{Ping, PingError};
use super::refused::remedy;

use crate::timer::Timer;

/// A command of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Connect to this peer, and keep trying.
    Connect(Target),
    /// Connect to it no longer; a link that stands stays while gossip wants it.
    Forget(Target),
    /// Accept these passwords from now on, for new links: those that stand go on. Whoever refused us is dialled anew.
    SetPasswords(Passwords),
    /// Refuse this identity on this host from now on; see [`MeshConfig::denied`](weave_mesh::MeshConfig::denied).
    Deny(PeerId),
    /// Ask each router on the path to this one for an answer; answered by [`Action::Pinged`].
    Ping {
        /// Names this ping among those under way.
        id: u64,
        /// Whom, as [`Router::trace`](super::Router::trace) takes it.
        to: String,
        /// How long to wait for answers; at most 10 s.
        timeout: Duration,
    },
    /// Say goodbye to all neighbours. Drain the actions afterwards, then drop the router.
    Shutdown,
}

/// What the I/O side is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look a target's name up; answer with `handle_resolved`.
    Resolve {
        /// The target.
        target: Target,
    },
    /// Open a TCP stream; answer with `handle_opened` or `handle_closed`.
    Dial {
        /// The stream's id from now on.
        conn: ConnId,
        /// Where to.
        remote: SocketAddr,
    },
    /// Write to a stream.
    Write {
        /// The stream.
        conn: ConnId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Packets wait for a stream: answer with `handle_drained`, once, as soon as all that was written to it before is
    /// on its way; at once where it is.
    AwaitDrained {
        /// The stream.
        conn: ConnId,
    },
    /// Have the data plane take a packet that came down a stream ([`Forwarder::handle_stream_packets`]).
    ///
    /// [`Forwarder::handle_stream_packets`]: crate::Forwarder::handle_stream_packets
    TakePacket {
        /// The packet.
        packet: Vec<u8>,
    },
    /// Close a stream after what was written; nothing more of it comes in.
    Close {
        /// The stream.
        conn: ConnId,
    },
    /// Send one UDP datagram from the router's port.
    SendPacket {
        /// Where to.
        remote: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Write a frame to the local port.
    SendFrame {
        /// The frame.
        bytes: Vec<u8>,
    },
    /// Write a frame of the router's own station to the local port, and have the data plane take it as if it had come
    /// from there ([`Forwarder::handle_frames`]).
    ///
    /// [`Forwarder::handle_frames`]: crate::Forwarder::handle_frames
    Announce {
        /// The frame.
        bytes: Vec<u8>,
    },
    /// Store this boot id, so that the next start is ahead of it.
    StoreBootId {
        /// The boot id.
        boot_id: u64,
    },
    /// Another router has this one's identity, and keeps it: draw a new one, store it before it is used, and go on with
    /// a new router made with it ([`Router::took_new_identity`](super::Router::took_new_identity)). This one does
    /// nothing more.
    RenewIdentity,
    /// Store these addresses, to be dialled after a restart.
    StorePeers {
        /// The addresses.
        peers: Vec<SocketAddr>,
    },
    /// A ping has ended: tell whoever asked for it.
    Pinged {
        /// The id given with [`Command::Ping`].
        id: u64,
        /// What came back.
        result: Result<Ping, PingError>,
    },
}

/// What happened, for the log: `Display` is one sentence.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A link stands.
    LinkUp {
        /// The neighbour.
        peer: PeerId,
        /// Its name.
        name: String,
    },
    /// A link ended.
    LinkDown {
        /// The neighbour.
        peer: PeerId,
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A MAC address moved.
    MacMoved {
        /// The address.
        mac: EthernetAddress,
        /// The router where it lived.
        from: String,
        /// The router where it lives.
        to: String,
    },
    /// A MAC address moves too often, and stays where it is for a while: two stations have it, or a loop outside
    /// shows it in several places.
    MacDamped {
        /// The address.
        mac: EthernetAddress,
        /// The router where it is taken to live.
        at: String,
        /// The router where it was seen, too.
        seen: String,
    },
    /// Another router's port is on one segment with ours: bridges are joined outside of the mesh.
    SegmentJoined {
        /// The other router.
        peer: PeerId,
        /// Its name.
        name: String,
        /// We carry the floods of the segment from now on; else it does, or a third one.
        carries: bool,
    },
    /// A router is not on our segment any more.
    SegmentParted {
        /// The other router.
        peer: PeerId,
        /// Its name.
        name: String,
    },
    /// A frame that we wrote to the port came back by it: the bridge has a loop.
    LoopFrameReturned,
    /// A record under our identity came from a later boot than ours: we went above it.
    BootIdRaised {
        /// The new boot id.
        boot_id: u64,
    },
    /// Another stream between the same two processes carries a link now.
    LinkMoved {
        /// The neighbour.
        peer: PeerId,
        /// Its name.
        name: String,
    },
    /// An attempt to connect failed; it is tried again.
    ConnectFailed {
        /// What the user gave, or the address from a record.
        to: String,
        /// Why.
        reason: String,
    },
    /// A connection that came here is refused, for what only people can change. At most one of each cause in 10 s.
    Refused {
        /// Where it came from.
        from: IpAddr,
        /// Who it is, where that is the cause.
        name: Option<String>,
        /// Why.
        reason: Admission,
        /// Refusals of this cause since the last such event, of which there was none.
        unsaid: u64,
    },
    /// Frames to a router that is no neighbour take a direct path from now on.
    DirectUp {
        /// The router.
        peer: PeerId,
        /// Its name.
        name: String,
        /// Where they go.
        remote: SocketAddr,
    },
    /// A direct path was not found, or frames take it no more.
    DirectDown {
        /// The router.
        peer: PeerId,
        /// Its name.
        name: String,
        /// Frames took it until now.
        stood: bool,
        /// Why.
        reason: String,
    },
    /// The wall clock jumped: all keys and links are made anew.
    ClockJumped,
    /// Another router with this one's identity lives.
    CloneMet {
        /// This router keeps the identity; else the other does, and this one takes a new one.
        keeps: bool,
    },
    /// A neighbour sent records that were refused; told at most each 10 s.
    RecordsRefused {
        /// Whose they were, who sent them, and what was wrong.
        sentence: String,
    },
    /// An address led back to this router; it is left alone for 10 min.
    ConnectedToSelf {
        /// The address.
        remote: SocketAddr,
    },
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For finding faults.
    Debug,
    /// Part of the ordinary course.
    Info,
    /// Somebody should look at it.
    Warn,
}

impl Event {
    /// How much it matters.
    pub fn level(&self) -> Level {
        match self {
            Self::LinkUp { .. }
            | Self::LinkDown { .. }
            | Self::ConnectFailed { .. }
            | Self::DirectUp { .. }
            | Self::DirectDown { stood: true, .. }
            | Self::SegmentParted { .. } => Level::Info,
            Self::BootIdRaised { .. }
            | Self::RecordsRefused { .. }
            | Self::ClockJumped
            | Self::CloneMet { .. }
            | Self::Refused { .. }
            | Self::MacDamped { .. }
            | Self::SegmentJoined { .. }
            | Self::LoopFrameReturned => Level::Warn,
            Self::DirectDown { stood: false, .. }
            | Self::MacMoved { .. }
            | Self::LinkMoved { .. }
            | Self::ConnectedToSelf { .. } => Level::Debug,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkUp { name, .. } => write!(f, "link to {name} is up"),
            Self::LinkDown { name, reason, .. } => write!(f, "link to {name} is down: {reason}"),
            Self::MacMoved { mac, from, to } => {
                write!(f, "{} moved from {from} to {to}", colons(*mac))
            }
            Self::MacDamped { mac, at, seen } => write!(
                f,
                "{} moves too often, last between {at} and {seen}: it is taken to be at {at} for now; do two \
                 containers have this address, or are two bridges joined?",
                colons(*mac)
            ),
            Self::SegmentJoined { name, carries, .. } => {
                let carrier = if *carries { "this router" } else { "the other" };
                write!(
                    f,
                    "a loop: the port is on one segment with that of {name}; of the two, {carrier} carries its floods"
                )
            }
            Self::SegmentParted { name, .. } => {
                write!(
                    f,
                    "the port is not on one segment with that of {name} any more"
                )
            }
            Self::LoopFrameReturned => write!(
                f,
                "a loop: what this router writes to its port comes back by it; two ports of the bridge are joined outside"
            ),
            Self::BootIdRaised { boot_id } => {
                write!(
                    f,
                    "met a later start of this identity; boot id is now {boot_id}"
                )
            }
            Self::LinkMoved { name, .. } => {
                write!(f, "another TCP stream carries the link to {name}")
            }
            Self::ConnectFailed { to, reason } => write!(f, "cannot connect to {to}: {reason}"),
            Self::Refused {
                from,
                name,
                reason,
                unsaid,
            } => {
                let who = who(*from, name.as_deref());
                write!(f, "refused {who}: {reason}; {}", remedy(*reason))?;
                match unsaid {
                    0 => Ok(()),
                    count => write!(f, " ({count} more since the last such line)"),
                }
            }
            Self::DirectUp { name, remote, .. } => {
                write!(f, "frames to {name} take a direct path to {remote}")
            }
            Self::DirectDown {
                name,
                stood: true,
                reason,
                ..
            } => write!(f, "frames to {name} take a direct path no more: {reason}"),
            Self::DirectDown { name, reason, .. } => {
                write!(f, "no direct path to {name} was found: {reason}")
            }
            Self::ClockJumped => f.write_str(
                "the clock jumped by more than 2 s: it was set, or this machine was brought back from a snapshot; all keys \
                 and links are made anew",
            ),
            Self::CloneMet { keeps } => f.write_str(clone_words(*keeps)),
            Self::RecordsRefused { sentence } => f.write_str(sentence),
            Self::ConnectedToSelf { remote } => write!(f, "{remote} is this router itself"),
        }
    }
}

/// What happened, and what to do, where two routers have one identity.
pub(super) fn clone_words(keeps: bool) -> &'static str {
    if keeps {
        "another router runs with the identity of this one: a state folder or a machine was copied; the other, which \
         started later, takes a new identity, and this one keeps its own; delete the state folder in copies before they \
         start"
    } else {
        "another router runs with the identity of this one: a state folder or a machine was copied; this one started \
         later, and takes a new identity; delete the state folder in copies before they start"
    }
}

/// What a wake-up of the router is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterWake {
    /// The mesh asks for it.
    Mesh(weave_mesh::WakeReason),
    /// Routes are to be computed.
    Routes,
    /// A tunnel message goes again, or keys are due.
    Tunnels,
    /// A direct path is asked for, or looked at.
    Meetings,
    /// MAC addresses age.
    Housekeeping,
    /// Peers to rejoin are to be stored.
    StorePeers,
    /// MAC addresses of a router that is gone are to be forgotten.
    Departures,
    /// A loop frame is due, or a router was not heard at the port for long.
    Loops,
    /// A ping ends without an answer.
    Echoes,
    /// The router's own addresses are announced.
    Announcing,
}

impl From<Timer> for RouterWake {
    fn from(timer: Timer) -> Self {
        match timer {
            Timer::Routes => Self::Routes,
            Timer::Tunnels => Self::Tunnels,
            Timer::Meetings => Self::Meetings,
            Timer::Housekeeping => Self::Housekeeping,
            Timer::StorePeers => Self::StorePeers,
            Timer::Departures => Self::Departures,
            Timer::Loops => Self::Loops,
            Timer::Echoes => Self::Echoes,
            Timer::Announcing => Self::Announcing,
        }
    }
}

/// A MAC address in the form that `ip link` prints.
pub(super) fn colons(mac: EthernetAddress) -> String {
    let [a, b, c, d, e, f] = mac.0;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// Milliseconds, as status shows them.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
