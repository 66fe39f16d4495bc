//! Link set-up over a byte stream: who is there, of which network, and the keys of everything that follows.
//!
//! ```text
//!   dialler                                           listener
//!   hello, 46 bytes  ─────────────────────────────>   silent until a hello of its network is in
//!                    <─────────────────────────────   hello
//!   ┌ with passwords <─────────────────────────────   Y, one element for each password in question
//!   │ X as many, and as many tags ────────────────>   one of them fits, or it is a wrong password
//!   │                <─────────────────────────────   which one fits, and a tag for it
//!   └ now both know that they have a password in common, and have a key made of it: Noise gets it as psk0
//!   XX 1: e          ─────────────────────────────>
//!                    <─────────────────────────────   XX 2: e, ee, s, es, { peer id, binding, boot id }
//!   XX 3: s, se, { peer id, binding, boot id } ───>
//!   established      <──── sealed stream ──────────>   established
//! ```
//!
//! Each message after the hellos stands behind its length, 2 bytes, big-endian. The prologue is SHA-256 of all bytes before
//! XX 1, both ways, in the order they were said: nobody on the way can change a hello (and so make two routers speak an older
//! version, or go without a password) without the handshake failing. The X25519 key of a side is bound to its Ed25519 key by a
//! signature in the payload, as in libp2p-noise; the listener shows who it is first, and only to whoever completed `ee`: in a
//! network with a password, to a member.

mod error;
mod hello;
mod introduction;
mod proof;
#[cfg(test)]
mod tests;

use std::{fmt, mem, sync::Arc};

use ring::digest;
use zeroize::Zeroizing;

pub use self::error::HandshakeError;
use self::{
    hello::{Hello, OUR_VERSIONS},
    introduction::Theirs,
};
use crate::{
    admission::{Exchange, Passwords, SharedKeys},
    identity::{Identity, NetworkId, PeerId},
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
///              with passwords, between the two: ── hello in ──> DiallerElements ── Y in, X and tags out ──>
///                 DiallerAnswer ── tag in, XX 1 out ──>
///   listener:  Hello ── hello in, hello out ─> ListenerXx1 ── XX 1 in, XX 2 out ──> ListenerXx3 ── XX 3 in ──> Over
///              with passwords, between the two: ── hello in, hello and Y out ──> ListenerProof ── X and tags in, tag out ──>
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
    /// Which of our passwords the other side has, counted from the newest, once it proved it.
    password: Option<usize>,
}

/// What is being waited for.
enum Step {
    /// The other side's hello.
    Hello { role: Role },
    /// As dialler, the listener's elements, as many as there are instances of the password exchange.
    DiallerElements { theirs: usize },
    /// As dialler, the answer to our tags: which instance met, if any.
    DiallerAnswer(Box<SharedKeys>),
    /// As listener, the dialler's elements and tags.
    ListenerProof(Box<Exchange>),
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
            password: None,
        }
    }

    fn our_hello(&self) -> Hello {
        Hello {
            versions: OUR_VERSIONS,
            network: self.local.network,
            passwords: self.local.passwords.count(),
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
                Step::DiallerElements { theirs } => {
                    let Some(message) = self.take_message()? else {
                        self.step = Step::DiallerElements { theirs };
                        return Ok(None);
                    };
                    self.handle_elements(theirs, &message, out)?
                }
                Step::DiallerAnswer(keys) => {
                    // A router of this network would have written what is right.
                    let message = self.take_message();
                    let Some(message) = message.map_err(|_| HandshakeError::WrongPassword)? else {
                        self.step = Step::DiallerAnswer(keys);
                        return Ok(None);
                    };
                    self.handle_answer(&keys, &message, out)?
                }
                Step::ListenerProof(exchange) => {
                    let Some(message) = self.take_message()? else {
                        self.step = Step::ListenerProof(exchange);
                        return Ok(None);
                    };
                    self.handle_proof(*exchange, &message, out)?
                }
                Step::DiallerXx(mut noise) => {
                    let Some(message) = self.take_message()? else {
                        self.step = Step::DiallerXx(noise);
                        return Ok(None);
                    };
                    let theirs = introduction::read(&mut noise, &message)?;
                    write_message(&noise.write(&introduction::write(&self.local))?, out)?;
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
                    write_message(&noise.write(&introduction::write(&self.local))?, out)?;
                    Step::ListenerXx3(noise)
                }
                Step::ListenerXx3(mut noise) => {
                    let Some(message) = self.take_message()? else {
                        self.step = Step::ListenerXx3(noise);
                        return Ok(None);
                    };
                    let theirs = introduction::read(&mut noise, &message)?;
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
                if theirs.passwords > 0 {
                    let theirs = usize::from(theirs.passwords);
                    Ok(Step::DiallerElements { theirs })
                } else {
                    self.start_dialler_xx(None, out)
                }
            }
            Role::Listener => {
                // Whoever can't name our network hears nothing; whoever can shall know why it is refused.
                if checked != Err(HandshakeError::OtherNetwork) {
                    self.say(&ours.emit(), out);
                }
                checked?;
                if theirs.passwords > 0 {
                    Ok(self.begin_exchange(usize::from(theirs.passwords), out))
                } else {
                    self.start_listener_xx(None)
                }
            }
        }
    }

    /// Begins the Noise handshake as dialler; `psk` is what a password exchange left.
    fn start_dialler_xx(
        &self,
        psk: Option<&[u8; 32]>,
        out: &mut Vec<u8>,
    ) -> Result<Step, HandshakeError> {
        let mut noise = self.start_noise(psk, Noise::initiator)?;
        write_message(&noise.write(&[])?, out)?;
        Ok(Step::DiallerXx(noise))
    }

    fn start_listener_xx(&self, psk: Option<&[u8; 32]>) -> Result<Step, HandshakeError> {
        Ok(Step::ListenerXx1(self.start_noise(psk, Noise::responder)?))
    }

    /// Writes what belongs to the prologue.
    fn say(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.transcript.update(bytes);
        out.extend_from_slice(bytes);
    }

    /// A hash of all that was said so far.
    fn said(&self) -> digest::Digest {
        self.transcript.clone().finish()
    }

    fn start_noise(
        &self,
        psk: Option<&[u8; 32]>,
        side: impl FnOnce(&Setup<'_>) -> Result<Noise, NoiseError>,
    ) -> Result<Box<Noise>, HandshakeError> {
        let prologue = self.said();
        let noise = side(&Setup {
            pattern: if psk.is_some() {
                noise::XX_PSK
            } else {
                noise::XX
            },
            secret: self.local.identity.noise_secret(),
            remote: None,
            psk,
            prologue: prologue.as_ref(),
            seed: self.seed.clone(),
        })?;
        Ok(Box::new(noise))
    }

    /// The message at the start of what came in, without its length; `None` while it is not whole.
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

    fn establish(&mut self, noise: Noise, theirs: Theirs) -> Result<Established, HandshakeError> {
        Ok(Established {
            peer: theirs.peer,
            peer_noise_public: theirs.noise_public,
            peer_boot_id: theirs.boot_id,
            stream: SealedStream::new(&noise.split()?),
            password: self.password,
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
            Step::DiallerElements { .. } => "dialler, waits for elements",
            Step::DiallerAnswer(_) => "dialler, waits for the answer to its tags",
            Step::ListenerProof(_) => "listener, waits for elements and tags",
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
    /// Which of our passwords the other side has as well, counted from the newest, 0; `None` if we have none. With both of two
    /// it is the newest.
    pub password: Option<usize>,
    /// Seals and opens everything from here on.
    pub stream: SealedStream,
    /// What came in behind the handshake, already part of the sealed stream: hand it to `stream` first.
    pub rest: Vec<u8>,
}

fn write_message(message: &[u8], out: &mut Vec<u8>) -> Result<(), HandshakeError> {
    let length = u16::try_from(message.len()).map_err(|_| HandshakeError::TooLong)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
    Ok(())
}

/// Message 2, the longest, has 197 bytes with a boot id of today, 202 at most; the rest is room for later versions.
const MESSAGE_BYTES_MAX: usize = 512;
