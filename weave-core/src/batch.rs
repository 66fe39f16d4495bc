//! Batches: a fixed set of buffers that the caller owns, filled at one end and drained at the other.
//!
//! All buffers are allocated when the batch is made. Forwarding copies a frame once, between head space and
//! tag of a packet, or not at all: a relay swaps whole buffers from one batch into another.

use std::collections::VecDeque;

/// Room in front of a frame or packet for headers: a relay envelope (16), a sealed packet's header (12), a
/// flood header (16), an entry header (4), a virtio-net header (12), rounded up to a cache line.
pub const HEAD_BYTES: usize = 64;

/// The most bytes of one run or super-frame: a UDP datagram's or IP packet's 65,535, and an Ethernet header
/// with one VLAN tag.
pub const BUFFER_BYTES: usize = HEAD_BYTES + 65_535 + 18;

/// One buffer with head space. `bytes` is the part in use.
#[derive(Debug)]
pub struct Buffer {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// A buffer of `capacity_bytes`, head space included. Untouched pages cost no memory.
    pub fn new(capacity_bytes: usize) -> Self {
        let start = HEAD_BYTES.min(capacity_bytes);
        Self {
            memory: vec![0; capacity_bytes].into_boxed_slice(),
            start,
            end: start,
        }
    }

    /// Forgets the contents; the head space is [`HEAD_BYTES`] again.
    pub fn reset(&mut self) {
        self.start = HEAD_BYTES.min(self.memory.len());
        self.end = self.start;
    }

    /// The bytes in use.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// The bytes in use.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }

    /// How many bytes are in use.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether no byte is in use.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes that can still be appended.
    pub fn room(&self) -> usize {
        self.memory.len() - self.end
    }

    /// The free part behind the bytes in use, to read into; then [`Buffer::grow`].
    pub fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.end..]
    }

    /// Takes `count` bytes of the free part into use.
    ///
    /// # Panics
    /// When `count` is more than [`Buffer::room`]: the caller's error.
    pub fn grow(&mut self, count: usize) {
        assert!(count <= self.room(), "grow past the buffer's end");
        self.end += count;
    }

    /// Appends `bytes`, or says that there is no room and changes nothing.
    #[must_use]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.room() {
            return false;
        }
        self.memory[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
        true
    }

    /// Takes `count` bytes of head space into use and gives them to be written.
    ///
    /// # Panics
    /// When there is less head space: the caller's error.
    pub fn prepend(&mut self, count: usize) -> &mut [u8] {
        assert!(count <= self.start, "more headers than head space");
        self.start -= count;
        &mut self.memory[self.start..self.start + count]
    }

    /// Drops `count` bytes at the front, which become head space; all of them where there are fewer.
    pub fn strip(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Keeps the first `count` bytes only.
    pub fn truncate(&mut self, count: usize) {
        self.end = self.end.min(self.start + count);
    }
}

/// A bounded queue of buffers with their metadata: all allocated at the start, filled at one end and drained at the other.
///
/// ```
/// use weave_core::{Batch, FrameMeta};
/// let mut batch = Batch::new(2, 2048);
/// let buffer = batch.free().expect("an empty batch has room");
/// assert!(buffer.append(b"an Ethernet frame"));
/// batch.commit(FrameMeta::default());
/// assert_eq!(batch.front().expect("just committed").0, b"an Ethernet frame");
/// batch.pop();
/// assert!(batch.is_empty());
/// ```
#[derive(Debug)]
pub struct Batch<M> {
    /// In use, oldest first.
    queue: VecDeque<(Buffer, M)>,
    /// Not in use; the one used last is on top, still warm in the cache.
    spare: Vec<Buffer>,
}

impl<M> Batch<M> {
    /// A batch of `slots` buffers of `buffer_bytes` each, head space included.
    pub fn new(slots: usize, buffer_bytes: usize) -> Self {
        Self {
            queue: VecDeque::with_capacity(slots),
            spare: (0..slots).map(|_| Buffer::new(buffer_bytes)).collect(),
        }
    }

    /// Buffers in use.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no buffer is in use.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether every buffer is in use.
    pub fn is_full(&self) -> bool {
        self.spare.is_empty()
    }

    /// Buffers not in use.
    pub fn room(&self) -> usize {
        self.spare.len()
    }

    /// The buffer that the next [`Batch::commit`] puts into use, reset; none when the batch is full.
    ///
    /// Without a commit it stays free: asking twice gives the same buffer.
    pub fn free(&mut self) -> Option<&mut Buffer> {
        let buffer = self.spare.last_mut()?;
        buffer.reset();
        Some(buffer)
    }

    /// Puts the buffer of the last [`Batch::free`] into use, behind the others.
    ///
    /// # Panics
    /// When the batch is full: the caller's error.
    pub fn commit(&mut self, meta: M) {
        let buffer = self.spare.pop().expect("commit follows a successful free");
        self.queue.push_back((buffer, meta));
    }

    /// The oldest bytes in use, with their metadata.
    pub fn front(&self) -> Option<(&[u8], &M)> {
        self.queue
            .front()
            .map(|(buffer, meta)| (buffer.bytes(), meta))
    }

    /// The oldest buffer in use, with its metadata.
    pub fn front_mut(&mut self) -> Option<(&mut Buffer, &mut M)> {
        self.queue.front_mut().map(|(buffer, meta)| (buffer, meta))
    }

    /// The newest buffer in use, with its metadata: an open run to append to.
    pub fn back_mut(&mut self) -> Option<(&mut Buffer, &mut M)> {
        self.queue.back_mut().map(|(buffer, meta)| (buffer, meta))
    }

    /// Frees the oldest buffer.
    pub fn pop(&mut self) {
        if let Some((buffer, _)) = self.queue.pop_front() {
            self.spare.push(buffer);
        }
    }

    /// Frees all buffers.
    pub fn clear(&mut self) {
        while !self.is_empty() {
            self.pop();
        }
    }

    /// Moves the oldest buffer behind the others of `other`, which gives a free one in exchange; nothing is
    /// copied. Both batches should have buffers of one size. Says whether `other` had room.
    #[must_use]
    pub fn move_front<N>(&mut self, other: &mut Batch<N>, meta: N) -> bool {
        let Some(exchange) = other.spare.pop() else {
            return false;
        };
        let Some((buffer, _)) = self.queue.pop_front() else {
            other.spare.push(exchange);
            return false;
        };
        self.spare.push(exchange);
        other.queue.push_back((buffer, meta));
        true
    }

    /// Frees those of which `keep` says no, from number `from` on (0 is the oldest); the others keep their order.
    /// `keep` is asked once for each, oldest first.
    pub fn retain(&mut self, from: usize, mut keep: impl FnMut(&mut Buffer, &mut M) -> bool) {
        let mut kept = from;
        for at in from..self.queue.len() {
            let (buffer, meta) = &mut self.queue[at];
            if keep(buffer, meta) {
                if kept != at {
                    self.queue.swap(kept, at);
                }
                kept += 1;
            }
        }
        while self.queue.len() > kept {
            if let Some((buffer, _)) = self.queue.pop_back() {
                self.spare.push(buffer);
            }
        }
    }

    /// All in use, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &M)> {
        self.queue
            .iter()
            .map(|(buffer, meta)| (buffer.bytes(), meta))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_takes_headers_in_front_and_bytes_behind() {
        let mut buffer = Buffer::new(HEAD_BYTES + 8);
        assert!(buffer.append(b"frame"));
        buffer.prepend(2).copy_from_slice(b"H:");
        assert_eq!(buffer.bytes(), b"H:frame");
        assert!(!buffer.append(b"too much"), "no room, nothing changed");
        buffer.strip(2);
        buffer.truncate(3);
        assert_eq!(buffer.bytes(), b"fra");
        buffer.strip(100);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_batch_is_first_in_first_out_and_bounded() {
        let mut batch = Batch::new(2, 128);
        for byte in [1u8, 2] {
            assert!(batch.free().unwrap().append(&[byte]));
            batch.commit(byte);
        }
        assert!(batch.is_full());
        assert!(batch.free().is_none());
        assert_eq!(batch.front(), Some((&[1u8][..], &1)));
        batch.pop();
        assert_eq!(batch.front(), Some((&[2u8][..], &2)));
        assert_eq!(batch.room(), 1);
    }

    #[test]
    fn retaining_frees_the_others_and_keeps_the_order() {
        for from in 0..=6 {
            let mut batch = Batch::new(6, 128);
            for number in 0..6 {
                assert!(batch.free().unwrap().append(&[number]));
                batch.commit(number);
            }
            let mut asked = Vec::new();
            batch.retain(from, |buffer, number| {
                assert_eq!(buffer.bytes(), [*number]);
                asked.push(*number);
                *number % 3 != 1
            });
            assert!(asked.iter().copied().eq(from as u8..6));
            let left: Vec<u8> = batch.iter().map(|(_, number)| *number).collect();
            let wanted = (0..6).filter(|number| usize::from(*number) < from || number % 3 != 1);
            assert!(left.iter().copied().eq(wanted), "{from}: {left:?}");
            assert_eq!(batch.len() + batch.room(), 6);
        }
    }

    #[test]
    fn moving_swaps_buffers_and_keeps_both_sizes() {
        let mut from = Batch::new(2, 128);
        let mut to: Batch<&str> = Batch::new(1, 128);
        assert!(from.free().unwrap().append(b"relayed"));
        from.commit(());
        let before = from.front().unwrap().0.as_ptr();
        assert!(from.move_front(&mut to, "next"));
        assert_eq!(to.front().unwrap().0.as_ptr(), before, "moved, not copied");
        assert_eq!((from.room(), to.room()), (2, 0));
        assert!(!from.move_front(&mut to, "full"), "no room there");
    }
}
