//! Why connections, links and commands fail, in sentences that a status line can show.

use weave_crypto::HandshakeError;

/// Why the driver says that a connection is closed, or never opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The other side closed it in order.
    #[error("the other side closed the connection")]
    Finished,
    /// The other side reset it.
    #[error("the connection was reset")]
    Reset,
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// No answer in time, at opening or later.
    #[error("timed out")]
    TimedOut,
    /// No way there.
    #[error("unreachable")]
    Unreachable,
    /// The other side took too little of what was written to it.
    #[error("too much was unsent")]
    Overflow,
    /// What the system said.
    #[error("{0}")]
    Other(String),
}

/// Why an attempt to connect came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailReason {
    /// The name has no address; what the resolver said.
    #[error("cannot resolve: {0}")]
    Resolve(String),
    /// The connection did not open, or closed before the link stood.
    #[error("{0}")]
    Closed(CloseReason),
    /// The set-up failed.
    #[error("{0}")]
    Handshake(HandshakeError),
    /// The other side was silent during the set-up.
    #[error("no answer within 5 s")]
    SetUpTimeout,
    /// It leads back to this router.
    #[error("that is this router itself")]
    Itself,
    /// Another router with this one's identity answered.
    #[error("another router with the identity of this one answered")]
    Clone,
    /// The other side has neighbours enough.
    #[error("the other router has as many neighbours as it wants")]
    Full,
    /// One side restarted with an older boot id than the network knows; it will raise it.
    #[error("the network knows a later start of one of the two routers")]
    StaleBoot,
    /// The other side broke the protocol after the set-up.
    #[error("the other side broke the protocol")]
    Protocol,
    /// The other side said goodbye before the link stood.
    #[error("the other router said goodbye")]
    Goodbye,
    /// The user told one of the two routers to forget the other.
    #[error("forgotten by command")]
    Forgotten,
    /// Sealed bytes did not open, or a frame never became whole.
    #[error("bytes of the connection were changed on the way")]
    Unreadable,
    /// The connection ended when the other side had this side's proof of the password, and before it answered.
    #[error("the other side left without an answer to the password: it may have another one")]
    ProofUnanswered,
    /// This router is told to refuse the identity found there.
    #[error("this router refuses the identity found there (--deny)")]
    Denied,
    /// The other router is told to refuse ours.
    #[error("the other router refuses this router's identity (--deny)")]
    DeniedThere,
}

impl FailReason {
    /// Whether only people can change it: trying again soon is of no use.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Handshake(error) => Admission::of(error).is_some(),
            Self::ProofUnanswered | Self::Denied | Self::DeniedThere => true,
            Self::Resolve(_)
            | Self::Closed(_)
            | Self::SetUpTimeout
            | Self::Itself
            | Self::Clone
            | Self::Full
            | Self::StaleBoot
            | Self::Protocol
            | Self::Goodbye
            | Self::Forgotten
            | Self::Unreadable => false,
        }
    }
}

/// Why somebody is not let in who otherwise could be: what only people can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Admission {
    /// This network has a password, the other router has none.
    #[error("it has no password, and this network has one")]
    NoPassword,
    /// The other router has a password, this network has none.
    #[error("it has a password, and this network has none")]
    SurplusPassword,
    /// Its password is not ours.
    #[error("its password is not that of this network")]
    WrongPassword,
    /// This router is told to refuse its identity.
    #[error("this router refuses its identity (--deny)")]
    Denied,
}

impl Admission {
    /// The one that a failed set-up is about.
    pub(crate) fn of(error: &HandshakeError) -> Option<Self> {
        match error {
            HandshakeError::PasswordHere => Some(Self::NoPassword),
            HandshakeError::PasswordThere => Some(Self::SurplusPassword),
            HandshakeError::WrongPassword => Some(Self::WrongPassword),
            HandshakeError::NotWeave
            | HandshakeError::Version { .. }
            | HandshakeError::OtherNetwork
            | HandshakeError::BadBinding
            | HandshakeError::Noise
            | HandshakeError::WeakKey
            | HandshakeError::TooLong
            | HandshakeError::Malformed
            | HandshakeError::Over
            | _ => None,
        }
    }
}

/// Why a link went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DownReason {
    /// The neighbour said that it stops, or wants the link no more.
    #[error("the neighbour said goodbye")]
    Goodbye,
    /// Nothing over either carrier for 5 s.
    #[error("nothing heard over TCP and UDP for 5 s")]
    Silent,
    /// The stream is gone, and UDP does not answer or no new stream came within 10 s.
    #[error("the TCP connection was lost")]
    StreamLost,
    /// The neighbour restarted: a newer link takes its place.
    #[error("the neighbour restarted")]
    Replaced,
    /// This router took a new boot id.
    #[error("this router took a new boot id")]
    Renewed,
    /// The neighbour broke the protocol.
    #[error("the neighbour broke the protocol")]
    Protocol,
    /// The user told this router to forget the target.
    #[error("forgotten by command")]
    Forgotten,
    /// This router stops.
    #[error("this router stops")]
    Shutdown,
    /// This router is told to refuse the neighbour.
    #[error("this router refuses that identity (--deny)")]
    Denied,
    /// The neighbour is told to refuse this router.
    #[error("the neighbour refuses this router's identity (--deny)")]
    DeniedThere,
}

/// Why a message could not be sent. The caller may try again later, or another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No link to that neighbour, or none with a stream at this moment.
    #[error("no stream to that neighbour")]
    NoStream,
    /// The body is longer than a routed message may carry.
    #[error("message is too long")]
    TooLong,
    /// The message has no hops left.
    #[error("message has no hops left")]
    Ttl,
    /// Too many bytes wait to be drained for that neighbour.
    #[error("too much is queued for that neighbour")]
    Full,
}
