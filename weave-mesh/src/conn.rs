//! One TCP connection: from opening, through set-up, to being a link's stream or a candidate for it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use weave_crypto::{LinkHandshake, PeerId, SealedStream};

use crate::budget::Class;
use crate::timer::{WakeReason, sooner};

/// Names a TCP connection between the mesh and its driver; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl ConnId {
    /// The id of the `n`th connection that the driver accepted (odd; those of dialled ones are
    /// drawn by the mesh, and even).
    pub const fn accepted(n: u64) -> Self {
        Self(n.wrapping_mul(2) | 1)
    }

    /// The id of the `n`th connection that the mesh dials.
    pub(crate) fn dialled(n: u64) -> Self {
        Self(n.wrapping_mul(2))
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the mesh knows of a connection.
pub(crate) struct Conn {
    pub(crate) remote: SocketAddr,
    pub(crate) is_dialled: bool,
    /// What it counts as while it is set up, if it was accepted.
    pub(crate) accepted_as: Option<Class>,
    pub(crate) stage: Stage,
    /// When the stage must be over. None for the stream of a link.
    pub(crate) deadline: Option<Instant>,
    /// Bytes to write, gathered until the input is dealt with.
    pub(crate) out: Vec<u8>,
}

/// How far a connection is.
pub(crate) enum Stage {
    /// Dialled, no word from the driver yet.
    Opening,
    /// Proving who we are.
    HandshakeRuns(Box<LinkHandshake>),
    /// The sealed stream stands.
    Open(Box<Session>),
}

/// A sealed stream with a known peer.
pub(crate) struct Session {
    pub(crate) peer: PeerId,
    pub(crate) boot_id: u64,
    pub(crate) noise_public: [u8; 32],
    pub(crate) stream: SealedStream,
    /// Which process with its identity the peer is; its welcome is in.
    pub(crate) start_random: Option<u64>,
    /// Tag that we drew and said.
    pub(crate) tag_in: [u8; 6],
    /// Tag that the peer drew; its welcome is in.
    pub(crate) tag_out: Option<[u8; 6]>,
    /// It is the link's stream, not just a candidate.
    pub(crate) is_adopted: bool,
    /// The decider probed the link's present stream, and waits until then for it to show life.
    pub(crate) contest_until: Option<Instant>,
    /// A frame has begun: by then it must be whole.
    pub(crate) frame_until: Option<Instant>,
}

impl Conn {
    /// When the connection needs a look, whatever happens, and why.
    pub(crate) fn next_deadline(&self) -> Option<(Instant, WakeReason)> {
        let contest = self.session().and_then(|session| session.contest_until);
        let frame = self.session().and_then(|session| session.frame_until);
        sooner(
            self.deadline.map(|at| (at, WakeReason::SetUp)),
            sooner(
                contest.map(|at| (at, WakeReason::Contest)),
                frame.map(|at| (at, WakeReason::Frame)),
            ),
        )
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.stage {
            Stage::Open(session) => Some(session),
            Stage::Opening | Stage::HandshakeRuns(_) => None,
        }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.stage {
            Stage::Open(session) => Some(session),
            Stage::Opening | Stage::HandshakeRuns(_) => None,
        }
    }
}
