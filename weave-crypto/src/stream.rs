//! The cipher of a TCP link: after the handshake, every byte of the stream is inside a sealed, bounded frame.
//!
//! ```text
//!   0 length of what follows, 2 bytes, big-endian: message and tag; authenticated as associated data
//!   2 message, at most 32,768 bytes, sealed with ChaCha20-Poly1305
//!     tag, 16 bytes
//! ```
//!
//! Each direction has a key of its own and counts its frames from 0; the count is the nonce. TCP keeps the order, so a
//! frame that was removed, repeated or moved fails to open, and that ends the stream.

#[cfg(test)]
mod tests;

use std::fmt;

use ring::aead;

use crate::noise::{DirectionKeys, aead_key};

/// Seals what goes out and opens what comes in on one TCP link. Made by the handshake; see
/// [`Established`](crate::Established).
///
/// After every [`handle_bytes`](Self::handle_bytes), call [`next_message`](Self::next_message) until it has no more: what
/// is then left over is less than one frame, so no more than that is ever kept between calls.
pub struct SealedStream {
    sealing: aead::LessSafeKey,
    opening: aead::LessSafeKey,
    frames_sealed: u64,
    frames_opened: u64,
    received: Vec<u8>,
    /// How much of `received` is already dealt with.
    consumed: usize,
    /// Set once the incoming direction can't be trusted any more.
    failed: Option<StreamError>,
}

impl SealedStream {
    /// The longest message of one frame, in bytes.
    pub const MESSAGE_BYTES_MAX: usize = 32 * 1024;

    /// What a frame adds to its message, in bytes: the length and the tag.
    pub const FRAME_OVERHEAD_BYTES: usize = LENGTH_BYTES + TAG_BYTES;

    pub(crate) fn new(keys: &DirectionKeys) -> Self {
        Self {
            sealing: aead_key(&aead::CHACHA20_POLY1305, &keys.send),
            opening: aead_key(&aead::CHACHA20_POLY1305, &keys.receive),
            frames_sealed: 0,
            frames_opened: 0,
            received: Vec::new(),
            consumed: 0,
            failed: None,
        }
    }

    /// Appends the frame with `message` to `out`. Frames must go on the wire in the order in which they were sealed.
    ///
    /// # Errors
    /// [`StreamError::MessageTooLong`] above [`Self::MESSAGE_BYTES_MAX`], [`StreamError::Exhausted`] after 2^64 − 1 frames;
    /// `out` is then as it was.
    pub fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), StreamError> {
        if message.len() > Self::MESSAGE_BYTES_MAX {
            return Err(StreamError::MessageTooLong);
        }
        let next = self
            .frames_sealed
            .checked_add(1)
            .ok_or(StreamError::Exhausted)?;
        let length = u16::try_from(message.len() + TAG_BYTES)
            .map_err(|_| StreamError::MessageTooLong)?
            .to_be_bytes();
        out.reserve(message.len() + Self::FRAME_OVERHEAD_BYTES);
        out.extend_from_slice(&length);
        let start = out.len();
        out.extend_from_slice(message);
        let tag = self
            .sealing
            .seal_in_place_separate_tag(
                nonce(self.frames_sealed),
                aead::Aad::from(length),
                &mut out[start..],
            )
            .expect("a frame is far shorter than the cipher's limit");
        out.extend_from_slice(tag.as_ref());
        self.frames_sealed = next;
        Ok(())
    }

    /// Takes bytes as they came from the wire, cut anyhow. Once the stream has failed they are thrown away.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        self.received.drain(..self.consumed);
        self.consumed = 0;
        self.received.extend_from_slice(bytes);
    }

    /// The next message that has come in whole.
    ///
    /// # Errors
    /// [`StreamError::BadLength`] and [`StreamError::Forged`]: the stream is at its end, each later call says the same, and
    /// the connection has to be closed.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, StreamError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.open_next().inspect_err(|&error| {
            self.failed = Some(error);
            self.received = Vec::new();
            self.consumed = 0;
        })
    }

    /// Whether bytes of a frame are in that is not whole yet, once [`next_message`](Self::next_message) has no more. A
    /// length that was changed on the way can leave a stream so, with every later frame swallowed: who calls bounds the
    /// time.
    pub fn is_mid_frame(&self) -> bool {
        self.received.len() > self.consumed
    }

    fn open_next(&mut self) -> Result<Option<Vec<u8>>, StreamError> {
        let pending = &mut self.received[self.consumed..];
        let Some((&mut length, rest)) = pending.split_first_chunk_mut::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let sealed_bytes = usize::from(u16::from_be_bytes(length));
        // Before waiting for it: a length that no frame can have is never worth buffering.
        if !(TAG_BYTES..=Self::MESSAGE_BYTES_MAX + TAG_BYTES).contains(&sealed_bytes) {
            return Err(StreamError::BadLength);
        }
        let Some(sealed) = rest.get_mut(..sealed_bytes) else {
            return Ok(None);
        };
        let next = self
            .frames_opened
            .checked_add(1)
            .ok_or(StreamError::Exhausted)?;
        let message = self
            .opening
            .open_in_place(nonce(self.frames_opened), aead::Aad::from(length), sealed)
            .map_err(|ring::error::Unspecified| StreamError::Forged)?
            .to_vec();
        self.frames_opened = next;
        self.consumed += LENGTH_BYTES + sealed_bytes;
        Ok(Some(message))
    }
}

impl fmt::Debug for SealedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedStream")
            .field("frames_sealed", &self.frames_sealed)
            .field("frames_opened", &self.frames_opened)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// Why a stream can't seal, or can't go on.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Our caller wants to send more than fits a frame.
    #[error("a message of more than 32768 bytes does not fit a frame")]
    MessageTooLong,
    /// The peer broke the protocol: no frame has that length.
    #[error("a frame with an impossible length")]
    BadLength,
    /// A frame did not open: changed, removed, repeated or put in on the way.
    #[error("a frame that the peer did not seal, or not as the next one")]
    Forged,
    /// All 2^64 nonces of a direction are used up.
    #[error("the stream has used up its nonces")]
    Exhausted,
}

/// Four zero bytes, then the frame's number, big-endian.
fn nonce(frame: u64) -> aead::Nonce {
    let mut nonce = [0; aead::NONCE_LEN];
    nonce[4..].copy_from_slice(&frame.to_be_bytes());
    aead::Nonce::assume_unique_for_key(nonce)
}

const LENGTH_BYTES: usize = 2;
const TAG_BYTES: usize = 16;
