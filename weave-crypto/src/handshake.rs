//! Link set-up over a byte stream: who is there, of which network, and the keys of everything that follows.
//!
//! ```text
//!   dialler                                           listener
//!   hello, 46 bytes  ─────────────────────────────>   silent until a hello of its network is in
//!                    <─────────────────────────────   hello
//!                     (here passwords will be proved)
//!   XX 1: e          ─────────────────────────────>
//!                    <─────────────────────────────   XX 2: e, ee, s, es, { peer id, binding, boot id }
//!   XX 3: s, se, { peer id, binding, boot id } ───>
//!   established      <──── sealed stream ──────────>   established
//! ```
//!
//! Each XX message stands behind its length, 2 bytes, big-endian. The prologue is SHA-256 of all bytes before XX 1, both
//! ways, in the order they were said: nobody on the way can change a hello (and so make two routers speak an older version)
//! without the handshake failing. The X25519 key of a side is bound to its Ed25519 key by a signature in the payload, as in
//! libp2p-noise; the listener shows who it is first, and only to whoever completed `ee`.

mod hello;
#[cfg(test)]
mod tests;

use std::{fmt, mem, sync::Arc};

use ring::digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::hello::{Hello, OUR_VERSIONS};
use crate::{
    admission::Passwords,
    error::Fault,
    identity::{Identity, NetworkId, PeerId, verify_noise_binding},
    noise::{self, Noise, NoiseError, Setup},
    stream::SealedStream,
};

/// What a router brings to each link.
#[derive(Clone, Debug)]
pub struct LinkLocal {
    /// Who we are.
    pub identity: Arc<Identity>,
    /// Which network we are of; the other side has to be of the same.
    pub network: NetworkId,
    /// This process's boot id: higher than at any start before.
    pub boot_id: u64,
    /// The passwords accepted, of which the other side has to have one; none are needed if there are none.
    pub passwords: Passwords,
}

/// One link's set-up: bytes in, bytes out, and at last [`Established`].
///
/// ```text
///   dialler:   Hello ── hello in, XX 1 out ──> DiallerXx ── XX 2 in, XX 3 out ──> Over
///   listener:  Hello ── hello in, hello out ─> ListenerXx1 ── XX 1 in, XX 2 out ──> ListenerXx3 ── XX 3 in ──> Over
///   any of them ── an error ──> Over
/// ```
///
/// It keeps less than one message of at most 512 bytes between calls. It has no clock: the caller bounds how long a stage
/// may take, and how many set-ups are under way.
pub struct LinkHandshake {
    local: LinkLocal,
    seed: Zeroizing<[u8; 32]>,
    step: Step,
    /// What came in and is not dealt with yet.
    received: Vec<u8>,
    /// Everything said so far, both ways, up to the first XX message.
    transcript: digest::Context,
}

/// What is being waited for.
enum Step {
    /// The other side's hello. A password exchange will stand between this and the next step.
    Hello { role: Role },
    /// As dialler, XX message 2.
    DiallerXx(Box<Noise>),
    /// As listener, XX message 1.
    ListenerXx1(Box<Noise>),
    /// As listener, XX message 3.
    ListenerXx3(Box<Noise>),
    /// Nothing more: why.
    Over(HandshakeError),
}

#[derive(Copy, Clone)]
enum Role {
    Dialler,
    Listener,
}

impl LinkHandshake {
    /// The side that opened the connection. Appends the hello to `out`.
    ///
    /// `seed` makes the ephemeral key: 32 fresh secret bytes for each set-up, never used again.
    pub fn dialler(local: LinkLocal, seed: [u8; 32], out: &mut Vec<u8>) -> Self {
        let mut handshake = Self::new(local, seed, Role::Dialler);
        handshake.say(&handshake.our_hello().emit(), out);
        handshake
    }

    /// The side that accepted the connection. It says nothing until the dialler's hello is in and names our network.
    ///
    /// `seed` as for [`LinkHandshake::dialler`].
    #[must_use]
    pub fn listener(local: LinkLocal, seed: [u8; 32]) -> Self {
        Self::new(local, seed, Role::Listener)
    }

    /// Takes bytes from the stream, cut anyhow, and appends to `out` what has to be written to it. `Some` once the link is
    /// established; call it no more then.
    ///
    /// # Errors
    /// Any [`HandshakeError`] ends the set-up: write what is in `out` all the same, since it may tell the other side the
    /// reason (a listener still says hello to a router of its network with which it can't go on), then close. Each later
    /// call returns the same error; after success it is [`HandshakeError::Over`].
    pub fn handle_bytes(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Established>, HandshakeError> {
        if let Step::Over(error) = self.step {
            return Err(error);
        }
        self.received.extend_from_slice(bytes);
        let result = self.advance(out);
        match result {
            Ok(None) => {}
            Ok(Some(_)) => self.step = Step::Over(HandshakeError::Over),
            Err(error) => {
                self.step = Step::Over(error);
                self.received = Vec::new();
            }
        }
        result
    }

    fn new(local: LinkLocal, seed: [u8; 32], role: Role) -> Self {
        Self {
            local,
            seed: Zeroizing::new(seed),
            step: Step::Hello { role },
            received: Vec::new(),
            transcript: digest::Context::new(&digest::SHA256),
        }
    }

    fn our_hello(&self) -> Hello {
        Hello {
            versions: OUR_VERSIONS,
            network: self.local.network,
            passwords: self.local.passwords.len() as u8,
        }
    }

    /// Goes on as far as the bytes reach.
    fn advance(&mut self, out: &mut Vec<u8>) -> Result<Option<Established>, HandshakeError> {
        loop {
            // A step that fails, or finds its bytes incomplete, puts down what holds afterwards.
            self.step = match mem::replace(&mut self.step, Step::Over(HandshakeError::Over)) {
                Step::Hello { role } => {
                    let Some(theirs) = Hello::parse(&self.received)? else {
                        self.step = Step::Hello { role };
                        return Ok(None);
                    };
                    self.handle_hello(role, theirs, out)?
                }
                Step::DiallerXx(mut noise) => {
                    let Some(message) = self.take_message()? else {
                        self.step = Step::DiallerXx(noise);
                        return Ok(None);
                    };
                    let theirs = self.read_introduction(&mut noise, &message)?;
                    write_message(&noise.write(&self.introduction())?, out)?;
                    return self.establish(*noise, theirs).map(Some);
                }
                Step::ListenerXx1(mut noise) => {
                    let Some(message) = self.take_message()? else {
                        self.step = Step::ListenerXx1(noise);
                        return Ok(None);
                    };
                    if !noise.read(&message)?.is_empty() {
                        return Err(HandshakeError::Malformed);
                    }
                    write_message(&noise.write(&self.introduction())?, out)?;
                    Step::ListenerXx3(noise)
                }
                Step::ListenerXx3(mut noise) => {
                    let Some(message) = self.take_message()? else {
                        self.step = Step::ListenerXx3(noise);
                        return Ok(None);
                    };
                    let theirs = self.read_introduction(&mut noise, &message)?;
                    return self.establish(*noise, theirs).map(Some);
                }
                Step::Over(error) => return Err(error),
            };
        }
    }

    fn handle_hello(
        &mut self,
        role: Role,
        theirs: Hello,
        out: &mut Vec<u8>,
    ) -> Result<Step, HandshakeError> {
        let bytes: Vec<u8> = self.received.drain(..Hello::BYTES).collect();
        self.transcript.update(&bytes);
        let ours = self.our_hello();
        let checked = ours.check(&theirs);
        match role {
            Role::Dialler => {
                checked?;
                if !self.local.passwords.is_empty() {
                    return Err(HandshakeError::WrongPassword);
                }
                let mut noise = self.start_noise(Noise::initiator)?;
                write_message(&noise.write(&[])?, out)?;
                Ok(Step::DiallerXx(noise))
            }
            Role::Listener => {
                // Whoever can't name our network hears nothing; whoever can shall know why it is refused.
                if checked != Err(HandshakeError::OtherNetwork) {
                    self.say(&ours.emit(), out);
                }
                checked?;
                if !self.local.passwords.is_empty() {
                    return Err(HandshakeError::WrongPassword);
                }
                Ok(Step::ListenerXx1(self.start_noise(Noise::responder)?))
            }
        }
    }

    /// Writes what belongs to the prologue.
    fn say(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.transcript.update(bytes);
        out.extend_from_slice(bytes);
    }

    fn start_noise(
        &self,
        side: impl FnOnce(&Setup<'_>) -> Result<Noise, NoiseError>,
    ) -> Result<Box<Noise>, HandshakeError> {
        let prologue = self.transcript.clone().finish();
        let noise = side(&Setup {
            pattern: noise::XX,
            secret: self.local.identity.noise_secret(),
            remote: None,
            prologue: prologue.as_ref(),
            seed: self.seed.clone(),
        })?;
        Ok(Box::new(noise))
    }

    /// The XX message at the start of what came in, without its length; `None` while it is not whole.
    fn take_message(&mut self) -> Result<Option<Vec<u8>>, HandshakeError> {
        let Some((length, rest)) = self.received.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > MESSAGE_BYTES_MAX {
            return Err(HandshakeError::TooLong);
        }
        let Some(message) = rest.get(..length) else {
            return Ok(None);
        };
        let message = message.to_vec();
        self.received.drain(..2 + length);
        Ok(Some(message))
    }

    fn introduction(&self) -> Vec<u8> {
        let identity = &self.local.identity;
        let introduction = Introduction {
            peer: identity.peer_id(),
            binding: halves(&identity.noise_binding()),
            boot_id: self.local.boot_id,
        };
        postcard::to_stdvec(&introduction).expect("fixed fields always have an encoding")
    }

    /// Reads message 2 or 3 and checks that whoever wrote it is who it says.
    fn read_introduction(
        &self,
        noise: &mut Noise,
        message: &[u8],
    ) -> Result<Theirs, HandshakeError> {
        let payload = noise.read(message)?;
        let (introduction, rest): (Introduction, _) =
            postcard::take_from_bytes(&payload).map_err(|_| HandshakeError::Malformed)?;
        if !rest.is_empty() {
            return Err(HandshakeError::Malformed);
        }
        let noise_public = noise.remote_static().ok_or(HandshakeError::Noise)?;
        verify_noise_binding(
            &introduction.peer,
            &noise_public,
            &joined(&introduction.binding),
        )
        .map_err(|_| HandshakeError::BadBinding)?;
        Ok(Theirs {
            peer: introduction.peer,
            noise_public,
            boot_id: introduction.boot_id,
        })
    }

    fn establish(&mut self, noise: Noise, theirs: Theirs) -> Result<Established, HandshakeError> {
        Ok(Established {
            peer: theirs.peer,
            peer_noise_public: theirs.noise_public,
            peer_boot_id: theirs.boot_id,
            stream: SealedStream::new(&noise.split()?),
            rest: mem::take(&mut self.received),
        })
    }
}

impl fmt::Debug for LinkHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Hello {
                role: Role::Dialler,
            } => "dialler, waits for hello",
            Step::Hello {
                role: Role::Listener,
            } => "listener, waits for hello",
            Step::DiallerXx(_) => "dialler, waits for XX 2",
            Step::ListenerXx1(_) => "listener, waits for XX 1",
            Step::ListenerXx3(_) => "listener, waits for XX 3",
            Step::Over(_) => "over",
        };
        f.debug_struct("LinkHandshake")
            .field("local", &self.local)
            .field("step", &step)
            .finish_non_exhaustive()
    }
}

/// A link that stands: the other side proved who it is, and holds the same keys.
///
/// The other side may be ourselves (a router that dialled its own address): compare `peer` with the own id.
#[derive(Debug)]
pub struct Established {
    /// Who the other side proved to be.
    pub peer: PeerId,
    /// The other side's X25519 key, bound to `peer`; its tunnels are set up with it.
    pub peer_noise_public: [u8; 32],
    /// The boot id the other side gave.
    pub peer_boot_id: u64,
    /// Seals and opens everything from here on.
    pub stream: SealedStream,
    /// What came in behind the handshake, already part of the sealed stream: hand it to `stream` first.
    pub rest: Vec<u8>,
}

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

/// The payload of XX messages 2 and 3, in postcard.
#[derive(Serialize, Deserialize)]
struct Introduction {
    peer: PeerId,
    /// The signature's two halves: serde knows arrays up to 32.
    binding: [[u8; 32]; 2],
    boot_id: u64,
}

/// What a checked introduction says.
struct Theirs {
    peer: PeerId,
    noise_public: [u8; 32],
    boot_id: u64,
}

fn write_message(message: &[u8], out: &mut Vec<u8>) -> Result<(), HandshakeError> {
    let length = u16::try_from(message.len()).map_err(|_| HandshakeError::TooLong)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
    Ok(())
}

fn halves(signature: &[u8; 64]) -> [[u8; 32]; 2] {
    let mut halves = [[0; 32]; 2];
    halves[0].copy_from_slice(&signature[..32]);
    halves[1].copy_from_slice(&signature[32..]);
    halves
}

fn joined(halves: &[[u8; 32]; 2]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&halves[0]);
    signature[32..].copy_from_slice(&halves[1]);
    signature
}

/// Message 2, the longest, has 197 bytes with a boot id of today, 202 at most; the rest is room for later versions.
const MESSAGE_BYTES_MAX: usize = 512;
