//! Reliable flooding of records to one neighbour.
//!
//! What changed waits here by (origin, kind), so that ten changes of one record while the
//! neighbour is slow cost one message: the version sent is the newest at that moment. Records on
//! their way are bounded; an acknowledgement makes room. The stream itself is reliable, so nothing
//! is repeated on it; a new stream begins again with all that was not acknowledged.
//!
//! Messages to one neighbour are a little apart. A single change goes at once; in a storm of them, what comes in
//! meanwhile goes together, older versions of one record are never sent, and what the neighbour sends itself
//! need not be sent to it.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use weave_crypto::PeerId;

use crate::record::{Key, RecordKind};
use crate::store::Store;
use crate::wire::{Control, MESSAGE_BYTES_MAX, RecordBytes};

/// Most record bytes on their way to a neighbour: two full messages, a quarter of a second at
/// 2 Mbit/s.
const IN_FLIGHT_BYTES_MAX: usize = 64 * 1024;
/// Between messages of records to one neighbour: at most this much for each hop is added to the way of a record, and
/// only where records came along that hop just before.
const PACE: Duration = Duration::from_millis(20);
/// So much more for each router beyond 50: the more there are, the more has come together by then, and come from
/// the neighbour itself.
const PACE_PER_ROUTER: Duration = Duration::from_micros(400);
/// Room for enum index and lengths in a message of records.
const RECORDS_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 64;

/// What one neighbour still has to be told.
#[derive(Debug, Default)]
pub(crate) struct Flooding {
    pending: BTreeSet<(PeerId, RecordKind)>,
    /// What is on its way, in order, and how many bytes each is.
    in_flight: VecDeque<((PeerId, RecordKind), usize)>,
    in_flight_names: BTreeSet<(PeerId, RecordKind)>,
    in_flight_bytes: usize,
    /// Something was sent: not again before this time.
    paced_until: Option<Instant>,
    /// All that is pending waits for an acknowledgement.
    is_blocked: bool,
}

impl Flooding {
    /// The neighbour shall have the newest version of this record.
    pub(crate) fn offer(&mut self, origin: PeerId, kind: RecordKind) {
        self.is_blocked &= !self.pending.insert((origin, kind));
    }

    /// The neighbour has this version, for it sent it.
    pub(crate) fn has(&mut self, key: Key, store: &Store) {
        if store
            .record(&key.origin, key.kind)
            .is_none_or(|held| held.seq() <= key.seq)
        {
            self.pending.remove(&(key.origin, key.kind));
        }
    }

    /// The neighbour took in the next `count` records. Returns false if so many are not on their
    /// way.
    pub(crate) fn acknowledge(&mut self, count: u32) -> bool {
        self.is_blocked &= count == 0;
        for _ in 0..count {
            let Some((name, bytes)) = self.in_flight.pop_front() else {
                return false;
            };
            self.in_flight_names.remove(&name);
            self.in_flight_bytes -= bytes;
        }
        true
    }

    /// So many records were said that nobody offered: they will be acknowledged like others.
    pub(crate) fn said_unchecked(&mut self, own: PeerId, count: usize) {
        let unnamed = ((own, RecordKind::Router), 0);
        self.in_flight.extend(std::iter::repeat_n(unnamed, count));
    }

    /// A new stream carries the link: nothing sent on the old one counts.
    pub(crate) fn restart(&mut self) {
        self.in_flight.clear();
        self.pending.append(&mut self.in_flight_names);
        self.in_flight_bytes = 0;
        self.is_blocked = false;
    }

    /// When [`Flooding::next_message`] may have something, as far as pace and acknowledgements go.
    pub(crate) fn next_at(&self, now: Instant) -> Option<Instant> {
        let is_waiting = !self.pending.is_empty() && !self.is_blocked;
        is_waiting.then(|| self.paced_until.map_or(now, |until| until.max(now)))
    }

    /// All messages that are due. Nothing more is sent for the moment.
    pub(crate) fn due_messages(&mut self, now: Instant, store: &Store) -> Vec<Control> {
        if self.next_at(now).is_none_or(|at| now < at) {
            return Vec::new();
        }
        let messages: Vec<Control> = std::iter::from_fn(|| self.next_message(store)).collect();
        if !messages.is_empty() {
            let beyond = u32::try_from(store.len().saturating_sub(50)).unwrap_or(u32::MAX);
            self.paced_until = Some(now + PACE + PACE_PER_ROUTER.saturating_mul(beyond));
        }
        self.is_blocked = true;
        messages
    }

    /// The next message, if something is to be told and there is room.
    fn next_message(&mut self, store: &Store) -> Option<Control> {
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut sent = Vec::new();
        for name in &self.pending {
            if self.in_flight_names.contains(name) {
                // An older version is on its way: its acknowledgement lets this one go.
                continue;
            }
            let Some(record) = store.record(&name.0, name.1) else {
                sent.push(*name);
                continue;
            };
            let length = record.bytes().len() + 8;
            let is_window_full =
                self.in_flight_bytes > 0 && self.in_flight_bytes + length > IN_FLIGHT_BYTES_MAX;
            if bytes + length > RECORDS_BYTES_MAX || is_window_full {
                break;
            }
            bytes += length;
            self.in_flight_bytes += length;
            self.in_flight.push_back((*name, length));
            self.in_flight_names.insert(*name);
            records.push(RecordBytes(record.bytes().clone()));
            sent.push(*name);
        }
        for name in sent {
            self.pending.remove(&name);
        }
        (!records.is_empty()).then_some(Control::Records(records))
    }

    /// Whether the neighbour acknowledged everything it was to be told.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.in_flight.is_empty()
    }
}

#[cfg(test)]
mod proptests;
