//! Frames in pieces: what a path does not take whole is cut into at most eight, and put together at the far edge.
//!
//! Each piece is an entry with a header of its own (id, index, count) in a packet of its own. Relays, and the hops
//! of a flood, carry pieces like any packet; only the edges know of them. Assembly is bounded in frames, bytes and
//! time, for any member may send pieces whose others never come; and what a piece costs does not depend on how many
//! frames are half-built.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weave_crypto::ShortId;

use crate::packet::{EntryChecksum, PIECE_BYTES, PIECES_MAX, Piece};
use crate::{DropReason, Ecn, ForwardStats, Site};

/// The sending side: ids, and room for one frame.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    next_id: u16,
    /// The frame that is being cut: segments of a super-frame stand nowhere else whole.
    pub(super) scratch: Vec<u8>,
}

impl Cutter {
    /// An id for the pieces of one unicast frame. Those of a flood have the low bits of their sequence.
    pub(super) fn next_id(&mut self) -> u16 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}

/// How many pieces a frame of `frame_bytes` makes where `entry_bytes_max` of a frame fit a packet: 1 when it fits
/// whole, none when more than [`PIECES_MAX`] would be needed.
pub(super) fn count(frame_bytes: usize, entry_bytes_max: usize) -> Option<usize> {
    if frame_bytes <= entry_bytes_max {
        return Some(1);
    }
    let room = entry_bytes_max.checked_sub(PIECE_BYTES)?;
    let count = frame_bytes.checked_div(room)? + usize::from(!frame_bytes.is_multiple_of(room));
    (count <= usize::from(PIECES_MAX)).then_some(count)
}

/// The bytes of piece `index` of `count`: as equal as can be, so that they share runs.
pub(super) fn range(frame_bytes: usize, count: usize, index: usize) -> std::ops::Range<usize> {
    let size = frame_bytes.div_ceil(count);
    (size * index).min(frame_bytes)..(size * (index + 1)).min(frame_bytes)
}

/// Whose pieces these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Unicast from this site's tunnel.
    Unicast(Site),
    /// Floods of this router.
    Flood(ShortId),
}

/// One piece that came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) source: Source,
    pub(super) piece: Piece,
    pub(super) checksum: Option<EntryChecksum>,
    pub(super) ecn: Ecn,
    pub(super) bytes: &'a [u8],
}

/// A frame that is whole again.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    pub(super) checksum: Option<EntryChecksum>,
    /// Congestion experienced if any piece says so (RFC 3168 section 5.3).
    pub(super) ecn: Ecn,
}

/// The receiving side: frames of which pieces are missing.
///
/// Both maps keep their nodes while they are small, so a piece costs no allocation but that of a buffer that grows.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    frames: BTreeMap<Key, HalfBuilt>,
    /// The same frames from the oldest on.
    by_age: BTreeMap<u64, Key>,
    next_age: u64,
    bytes: usize,
    /// Buffers of frames that are done, kept for the next.
    spare: Vec<Vec<u8>>,
}

/// A frame in pieces: whose it is, and the id that its pieces have.
type Key = (Source, u16);

#[derive(Debug)]
struct HalfBuilt {
    /// Grows from frame to frame.
    age: u64,
    count: u8,
    checksum: Option<EntryChecksum>,
    ecn: Ecn,
    since: Instant,
    /// The pieces in the order they came in.
    bytes: Vec<u8>,
    /// Where each stands in there.
    places: [Option<(u32, u32)>; PIECES_MAX as usize],
}

impl Assembly {
    /// Takes a piece in, and gives the frame when it was the last that was missing. What is wrong with a piece, or
    /// has waited too long, is counted and dropped.
    pub(super) fn take(
        &mut self,
        now: Instant,
        arrival: &Arrival<'_>,
        frame_bytes_max: usize,
        stats: &mut ForwardStats,
    ) -> Option<Whole> {
        let Arrival { source, piece, .. } = *arrival;
        let key = (source, piece.id);
        self.expire(now, key, stats);
        if !self.frames.contains_key(&key) {
            self.make_room(source, arrival.bytes.len(), stats);
            self.begin(now, key, arrival);
        }
        let frame = self.frames.get_mut(&key)?;
        let place = &mut frame.places[usize::from(piece.index) % usize::from(PIECES_MAX)];
        if place.is_some()
            || frame.count != piece.count
            || frame.checksum != arrival.checksum
            || frame.bytes.len() + arrival.bytes.len() > frame_bytes_max
        {
            // RFC 5722 section 4 does so with fragments that overlap: nothing of such a frame can be believed.
            stats.count_drop(DropReason::PieceRefused);
            self.remove(key);
            return None;
        }
        let start = frame.bytes.len();
        frame.bytes.extend_from_slice(arrival.bytes);
        *place = Some((start as u32, frame.bytes.len() as u32));
        if arrival.ecn == Ecn::Ce {
            frame.ecn = Ecn::Ce;
        }
        self.bytes += arrival.bytes.len();
        let is_whole = frame.places[..usize::from(frame.count)]
            .iter()
            .all(Option::is_some);
        if is_whole { self.finish(key) } else { None }
    }

    fn begin(&mut self, now: Instant, key: Key, arrival: &Arrival<'_>) {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        let age = self.next_age;
        self.next_age += 1;
        self.by_age.insert(age, key);
        let frame = HalfBuilt {
            age,
            count: arrival.piece.count,
            checksum: arrival.checksum,
            ecn: arrival.ecn,
            since: now,
            bytes,
            places: [None; PIECES_MAX as usize],
        };
        self.frames.insert(key, frame);
    }

    /// Takes a frame's buffer back.
    pub(super) fn recycle(&mut self, bytes: Vec<u8>) {
        if bytes.capacity() <= SPARE_BYTES_MAX && self.spare.len() < SPARE_MAX {
            self.spare.push(bytes);
        }
    }

    fn finish(&mut self, key: Key) -> Option<Whole> {
        let frame = self.take_out(key)?;
        let places = &frame.places[..usize::from(frame.count)];
        let bytes = if places.is_sorted() {
            frame.bytes
        } else {
            let mut ordered = self.spare.pop().unwrap_or_default();
            ordered.clear();
            for (start, end) in places.iter().flatten() {
                ordered.extend_from_slice(&frame.bytes[*start as usize..*end as usize]);
            }
            self.recycle(frame.bytes);
            ordered
        };
        Some(Whole {
            bytes,
            checksum: frame.checksum,
            ecn: frame.ecn,
        })
    }

    /// Takes a frame out of both maps and out of the count of bytes.
    fn take_out(&mut self, key: Key) -> Option<HalfBuilt> {
        let frame = self.frames.remove(&key)?;
        self.by_age.remove(&frame.age);
        self.bytes -= frame.bytes.len();
        Some(frame)
    }

    fn remove(&mut self, key: Key) {
        if let Some(frame) = self.take_out(key) {
            self.recycle(frame.bytes);
        }
    }

    fn oldest(&self) -> Option<Key> {
        self.by_age.first_key_value().map(|(_, key)| *key)
    }

    /// Drops frames that waited too long, and those of the same source so far behind that the id comes round.
    fn expire(&mut self, now: Instant, (source, id): Key, stats: &mut ForwardStats) {
        while let Some(key) = self.oldest()
            && self
                .frames
                .get(&key)
                .is_none_or(|oldest| now.saturating_duration_since(oldest.since) > TIME_MAX)
        {
            stats.count_drop(DropReason::PieceMissing);
            self.remove(key);
        }
        while let Some(key) = self.behind(source, id) {
            stats.count_drop(DropReason::PieceMissing);
            self.remove(key);
        }
    }

    /// A frame of the source from [`IDS_BEHIND_MAX`] to half of all ids behind this one: an interval on a circle, and
    /// so one or two in the map.
    fn behind(&self, source: Source, id: u16) -> Option<Key> {
        let (first, last) = (id.wrapping_sub(0x7fff), id.wrapping_sub(IDS_BEHIND_MAX));
        let within = |first: u16, last: u16| {
            let mut keys = self.frames.range((source, first)..=(source, last));
            keys.next().map(|(key, _)| *key)
        };
        if first <= last {
            within(first, last)
        } else {
            within(first, u16::MAX).or_else(|| within(0, last))
        }
    }

    /// Makes room for one more frame of `source`: its own oldest goes first, else the oldest of all.
    fn make_room(&mut self, source: Source, bytes: usize, stats: &mut ForwardStats) {
        let own = self.frames.range((source, 0)..=(source, u16::MAX));
        // At most `SOURCE_FRAMES_MAX` of them.
        let (count, oldest) = own.fold((0, None), |(count, oldest), (key, frame)| {
            let this = (frame.age, *key);
            (
                count + 1,
                Some(oldest.map_or(this, |oldest| this.min(oldest))),
            )
        });
        if let Some((_, key)) = oldest.filter(|_| count >= SOURCE_FRAMES_MAX) {
            stats.count_drop(DropReason::PieceCrowded);
            self.remove(key);
        }
        while let Some(key) = self.oldest()
            && (self.frames.len() >= FRAMES_MAX || self.bytes + bytes > BYTES_MAX)
        {
            stats.count_drop(DropReason::PieceCrowded);
            self.remove(key);
        }
    }
}

/// Half-built frames of one source: some loss on a fast path, and a reordering network.
const SOURCE_FRAMES_MAX: usize = 64;
/// Half-built frames of all sources together: sixteen that fill theirs.
const FRAMES_MAX: usize = 1_024;
/// Bytes of half-built frames, 1,024 of 4,096: beyond, the oldest go.
const BYTES_MAX: usize = 4 << 20;
/// A frame waits this long for its other pieces: they leave together, so a way's reordering is all there is.
const TIME_MAX: Duration = Duration::from_secs(1);
/// A half-built frame this far behind in ids is given up: long before ids come round, pieces of two frames must
/// not meet. Floods take ids at up to 10,000 a second.
const IDS_BEHIND_MAX: u16 = 0x4000;
/// Buffers kept, and the most bytes of one: 64 frames of a 9,000-byte network.
const SPARE_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests;
