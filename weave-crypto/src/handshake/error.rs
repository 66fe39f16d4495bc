//! Why a link can't be set up, in words for whoever runs the router.

use crate::{admission::ExchangeError, error::Fault, noise::NoiseError};

/// Why a link can't be set up. [`HandshakeError::fault`] says who has to change something.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// What came in is no hello: another protocol speaks there.
    #[error("the other side does not speak weave")]
    NotWeave,
    /// No protocol version is spoken by both sides.
    #[error("the other side speaks protocol versions {oldest} to {newest} only")]
    Version {
        /// The oldest version the other side speaks.
        oldest: u16,
        /// The newest version the other side speaks.
        newest: u16,
    },
    /// The other side belongs to a network of another name.
    #[error("the other side is of another network")]
    OtherNetwork,
    /// Our network has a password, the other side has none.
    #[error("this side has a password and the other side has none")]
    PasswordHere,
    /// The other side's network has a password, ours has none.
    #[error("the other side has a password and this side has none")]
    PasswordThere,
    /// Both sides have passwords, and none of one side's is the other's. Both sides get this error.
    ///
    /// It is what either side sees of a wrong password, and as likely as not that is the cause; bytes changed on the way
    /// look the same.
    #[error("wrong password: this side's and the other side's differ")]
    WrongPassword,
    /// The X25519 key in use is not signed by the peer id that was given.
    #[error("the other side is not who it says it is")]
    BadBinding,
    /// A handshake message was damaged, forged or replayed, or a hello was changed on the way.
    #[error("a handshake message does not fit what was said before")]
    Noise,
    /// The other side used a public key of small order, with which anybody could read along.
    #[error("the other side used a weak key")]
    WeakKey,
    /// A handshake message says it is longer than any is.
    #[error("a handshake message is too long")]
    TooLong,
    /// A hello or a payload has fields that no router writes.
    #[error("a handshake message is malformed")]
    Malformed,
    /// The caller went on after the handshake had ended.
    #[error("the handshake is over")]
    Over,
}

impl HandshakeError {
    /// Who has to change something.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Version { .. }
            | Self::OtherNetwork
            | Self::PasswordHere
            | Self::PasswordThere
            | Self::WrongPassword => Fault::Incompatible,
            Self::NotWeave
            | Self::BadBinding
            | Self::Noise
            | Self::WeakKey
            | Self::TooLong
            | Self::Malformed => Fault::Peer,
            Self::Over => Fault::Caller,
        }
    }
}

impl From<NoiseError> for HandshakeError {
    fn from(error: NoiseError) -> Self {
        match error {
            NoiseError::Refused => Self::Noise,
            NoiseError::WeakKey => Self::WeakKey,
        }
    }
}

impl From<ExchangeError> for HandshakeError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Malformed => Self::Malformed,
            ExchangeError::WeakKey => Self::WeakKey,
        }
    }
}
