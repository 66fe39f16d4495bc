//! What comes out of a mesh: things to do, and things that happened.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use weave_crypto::PeerId;

use super::{CloneMet, DirectEnd};
use crate::conn::ConnId;
use crate::error::{Admission, DownReason, FailReason};
use crate::suspect::Suspect;
use crate::target::Target;
use crate::wire::Routed;

/// Something for the driver (or the crate above) to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Resolve a name; answer with [`Mesh::handle_resolved`](super::Mesh::handle_resolved).
    Resolve {
        /// What to resolve.
        target: Target,
    },
    /// Open a TCP connection; answer with [`Mesh::handle_opened`](super::Mesh::handle_opened) or [`Mesh::handle_closed`](super::Mesh::handle_closed).
    Dial {
        /// Its name from now on.
        conn: ConnId,
        /// Where to.
        remote: SocketAddr,
    },
    /// Write bytes to a connection, after all bytes before.
    Write {
        /// Which.
        conn: ConnId,
        /// What; never empty.
        bytes: Vec<u8>,
    },
    /// Close a connection, once what was written is sent. No `handle_closed` is wanted for it.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Packets wait for a connection: tell by [`Mesh::handle_drained`](super::Mesh::handle_drained), once, as soon as
    /// all that was written to it before is on its way; at once where it is.
    AwaitDrained {
        /// Which.
        conn: ConnId,
    },
    /// Seal a probe in the neighbour's tunnel and send it over UDP.
    Probe {
        /// The neighbour.
        peer: PeerId,
        /// Where to: not always the neighbour's present address.
        remote: SocketAddr,
        /// The body, for [`Probe::parse`](crate::Probe::parse).
        bytes: Vec<u8>,
    },
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A link stands: its stream carries messages. Whoever dialled begins the tunnel.
    LinkUp {
        /// The neighbour.
        peer: PeerId,
        /// Its boot id.
        boot_id: u64,
        /// Its X25519 key, proved.
        noise_public: [u8; 32],
        /// Whether this router dialled.
        dialled: bool,
    },
    /// Another stream between the same two processes took the link over. Tunnel keys stay.
    LinkMoved {
        /// The neighbour.
        peer: PeerId,
    },
    /// UDP went up or down, frames take the other carrier, or an address, a tag, the cost or the path MTU changed.
    LinkChanged {
        /// The neighbour.
        peer: PeerId,
    },
    /// A link is gone. [`DownReason::Replaced`] is followed by a new [`Event::LinkUp`].
    LinkDown {
        /// The neighbour.
        peer: PeerId,
        /// Why.
        reason: DownReason,
    },
    /// A direct path to a router that is no neighbour was found: [`Mesh::direct_path`](super::Mesh::direct_path).
    DirectUp {
        /// The router.
        peer: PeerId,
    },
    /// Another address is at the other end of a direct path, or it has another path MTU.
    DirectChanged {
        /// The router.
        peer: PeerId,
    },
    /// A direct path was not found, or is gone.
    DirectDown {
        /// The router.
        peer: PeerId,
        /// Why.
        reason: DirectEnd,
        /// How long frames could take it; nothing if it was never found.
        stood_for: Option<Duration>,
    },
    /// Records of these origins are new, or (if the store no longer has them) forgotten. Our own
    /// are among them. At most one such event stands in the queue.
    Records {
        /// Whose.
        changed: BTreeSet<PeerId>,
    },
    /// A message for this router, or on its way through: its `to` says which. Hops left are not 0.
    Message {
        /// The neighbour that handed it over.
        via: PeerId,
        /// The message.
        message: Routed,
    },
    /// A data packet came down a neighbour's stream.
    Packet {
        /// The neighbour.
        from: PeerId,
        /// The packet, as it would have come over UDP; at most
        /// [`STREAM_PACKET_BYTES_MAX`](crate::STREAM_PACKET_BYTES_MAX).
        packet: Vec<u8>,
    },
    /// The network knew a later boot id of ours: this is ours from now on. All links went down, to
    /// be set up anew. To be stored before anything else is done.
    BootIdRaised {
        /// The new one.
        boot_id: u64,
    },
    /// Another router with this one's identity lives: a copied state folder, most likely.
    CloneMet {
        /// Which, and which of the two keeps the identity.
        clone: CloneMet,
    },
    /// The identity is the other's from now on. All links went down, and this mesh does nothing more: go on with a
    /// new one, made with another identity.
    IdentityLost,
    /// An attempt to reach a target, or a router met in records (then without target), failed.
    ConnectFailed {
        /// What the user gave.
        target: Option<Target>,
        /// The address tried.
        remote: Option<SocketAddr>,
        /// Why.
        reason: FailReason,
    },
    /// A neighbour sent records that were refused: at most once in
    /// [`REPORT_INTERVAL`](crate::REPORT_INTERVAL), whoever it is; [`Mesh::suspects`](super::Mesh::suspects) has all.
    RecordsRefused {
        /// Whose they were, who sent them, and what was wrong.
        suspect: Suspect,
    },
    /// Somebody who connected to this router is not let in, for what only people can change.
    Refused {
        /// Where the connection came from.
        remote: SocketAddr,
        /// Who it was, if that was proved.
        peer: Option<PeerId>,
        /// Why.
        reason: Admission,
    },
    /// An address led back to this router; it is left alone for 10 min.
    ConnectedToSelf {
        /// The address.
        remote: SocketAddr,
    },
}

impl Event {
    /// The origins of a [`Event::Records`], to add more.
    pub(super) fn records_mut(&mut self) -> Option<&mut BTreeSet<PeerId>> {
        if let Self::Records { changed } = self {
            Some(changed)
        } else {
            None
        }
    }
}
