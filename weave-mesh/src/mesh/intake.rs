//! Taking in records of others: what is new is kept and handed on, what should not have been sent is refused, counted,
//! and named.
//!
//! The cheap looks come first: length and number, then the origin's budget, then the form, then the signature. Nothing
//! is kept, and nobody else told, before the last one.

use std::time::{Duration, Instant};

use weave_crypto::PeerId;

use super::gossip::DIGEST_AFTER_LEFT;
use super::{Event, Mesh};
use crate::error::DownReason;
use crate::record::{Key, Record, RecordError, RecordKind};
use crate::store::Inserted;
use crate::suspect::{RecordFault, Suspect};
use crate::wire::{Control, RecordBytes};

/// A neighbour whose link stands for so long has what this router has had for so long: stores are compared each 30 s.
const REPLAYED_AFTER: Duration = Duration::from_secs(60);

/// Unchecked records in one message: of usual size, they fit.
const UNCHECKED_MAX: usize = 16;

impl Mesh {
    /// Who sent records of late that were refused, the newest last.
    pub fn suspects(&self, now: Instant) -> impl Iterator<Item = &Suspect> {
        self.suspects.recent(now)
    }

    /// Records from a neighbour's stream. False when it sent so many that were refused that its stream is to be closed.
    #[must_use]
    pub(super) fn take_records(
        &mut self,
        now: Instant,
        via: PeerId,
        records: &[RecordBytes],
    ) -> bool {
        records
            .iter()
            .all(|bytes| self.take_record(now, via, bytes))
    }

    /// Says records to a neighbour as they are, whatever they are: what a hostile member does, for simulation. No
    /// other router takes harm by it, or there is a fault in it.
    pub fn say_unchecked(&mut self, now: Instant, to: PeerId, records: Vec<Vec<u8>>) {
        self.now = now;
        let own = self.own;
        for records in records.chunks(UNCHECKED_MAX) {
            let Some(link) = self.links.get_mut(&to).filter(|link| link.conn().is_some()) else {
                return;
            };
            link.flooding.said_unchecked(own, records.len());
            let records = records
                .iter()
                .map(|bytes| RecordBytes(bytes.as_slice().into()));
            self.say_to(to, &Control::Records(records.collect()));
        }
        self.settle(now);
    }

    fn take_record(&mut self, now: Instant, via: PeerId, bytes: &RecordBytes) -> bool {
        let key = match Record::peek(&bytes.0) {
            Ok(key) => key,
            Err(error) => return self.refuse_record(now, None, via, error),
        };
        if key.origin == self.own {
            return self.take_own(now, via, key, bytes);
        }
        let held = self.store.record(&key.origin, key.kind);
        let held_seq = held.map(Record::seq);
        let is_equal = held_seq == Some(key.seq);
        if held_seq > Some(key.seq) || held.is_some_and(|held| *held.bytes() == bytes.0) {
            self.take_known(now, via, key);
            return true;
        }
        if !self.store.has_budget(now, &key.origin) {
            // Whatever it is that was missed is found by a comparison.
            self.stats.records_too_often += 1;
            self.suspect(now, Some(key.origin), via, RecordFault::TooOften);
            self.compare_soon(now + DIGEST_AFTER_LEFT);
            return true;
        }
        let record = match Record::parse(&bytes.0) {
            Ok(record) => record,
            Err(error) => return self.refuse_record(now, Some(key.origin), via, error),
        };
        if !record.verify(&self.config.network, &*self.verifier) {
            return self.refuse_forged(now, via, key);
        }
        let held = self.store.record(&key.origin, key.kind);
        if !record.verify_binding(held, &*self.verifier) {
            self.stats.records_contradictory += 1;
            return self.refuse(now, Some(key.origin), via, RecordFault::Contradictory);
        }
        if is_equal {
            self.take_equivocation(now, via, record);
        } else {
            self.take_new(now, via, record);
        }
        true
    }

    /// Nothing new: the sender has it, or is told of what is newer.
    pub(super) fn take_known(&mut self, now: Instant, via: PeerId, key: Key) {
        self.stats.records_known += 1;
        if self.is_replay(now, &via, &key) {
            self.stats.records_replayed += 1;
            self.suspect(now, Some(key.origin), via, RecordFault::Replayed);
        }
        let held = self.store.record(&key.origin, key.kind);
        let is_equal = held.is_some_and(|held| held.seq() == key.seq);
        if let Some(link) = self.links.get_mut(&via) {
            if is_equal {
                link.flooding.has(key, &self.store);
            } else {
                link.flooding.offer(key.origin, key.kind);
            }
        }
    }

    fn take_new(&mut self, now: Instant, via: PeerId, record: Record) {
        let (key, boot_id) = (record.key(), record.boot_id());
        match self.store.insert(now, record) {
            Inserted::Newer => {
                self.stats.records_accepted += 1;
                self.changed.insert(key.origin);
                self.put_comparison_off(now);
                if key.kind == RecordKind::Router {
                    self.is_dialling_stale = true;
                }
                self.hand_on(now, &via, key);
                let link = self.links.get(&key.origin);
                if link.is_some_and(|link| link.boot_id < boot_id) {
                    // It restarted, and others noticed first: that link leads to nobody.
                    self.take_down(now, key.origin, DownReason::Replaced, None);
                }
            }
            Inserted::Known | Inserted::Older => self.stats.records_known += 1,
            Inserted::Full => self.stats.records_full += 1,
        }
    }

    /// Another record under a number that is taken, signed as well. Everybody has to settle on the same of the two, or
    /// routes would differ for ever: it is the one whose bytes are greater, whichever came first. Comparisons don't
    /// find the difference, so it is offered to all neighbours.
    fn take_equivocation(&mut self, now: Instant, via: PeerId, record: Record) {
        let key = record.key();
        self.stats.records_equivocal += 1;
        self.suspect(now, Some(key.origin), via, RecordFault::Equivocal);
        if self.store.replace_equal(now, record) {
            self.changed.insert(key.origin);
            self.is_dialling_stale |= key.kind == RecordKind::Router;
            for link in self.links.values_mut() {
                if link.peer() != via {
                    link.flooding.offer(key.origin, key.kind);
                }
            }
        } else if let Some(link) = self.links.get_mut(&via) {
            link.flooding.offer(key.origin, key.kind);
        }
    }

    /// Whether a neighbour sent a version that it must know is out of date: honest ones send the newest they have.
    fn is_replay(&self, now: Instant, via: &PeerId, key: &Key) -> bool {
        let is_long_ago = |at: Instant| now >= at + REPLAYED_AFTER;
        let held = self.store.record(&key.origin, key.kind);
        held.is_some_and(|held| held.seq() > key.seq)
            && self.store.is_reachable(&key.origin)
            && self
                .store
                .held_since(&key.origin, key.kind)
                .is_some_and(is_long_ago)
            && self
                .links
                .get(via)
                .is_some_and(|link| is_long_ago(link.since()))
    }

    pub(super) fn refuse_forged(&mut self, now: Instant, via: PeerId, key: Key) -> bool {
        self.stats.records_bad_signature += 1;
        self.refuse(now, Some(key.origin), via, RecordFault::Forged)
    }

    pub(super) fn refuse_record(
        &mut self,
        now: Instant,
        origin: Option<PeerId>,
        via: PeerId,
        error: RecordError,
    ) -> bool {
        match error {
            RecordError::UnknownKind(_) => {
                // Of a later release: nobody's fault.
                self.stats.records_unknown_kind += 1;
                true
            }
            RecordError::Contradictory => {
                self.stats.records_contradictory += 1;
                self.refuse(now, origin, via, RecordFault::Contradictory)
            }
            RecordError::Truncated
            | RecordError::TooLong
            | RecordError::Malformed
            | RecordError::OutOfBounds => {
                self.stats.records_malformed += 1;
                self.refuse(now, origin, via, RecordFault::Malformed)
            }
        }
    }

    /// Names who sent what no honest router sends. False when that was too often.
    fn refuse(
        &mut self,
        now: Instant,
        origin: Option<PeerId>,
        via: PeerId,
        fault: RecordFault,
    ) -> bool {
        self.suspect(now, origin, via, fault);
        self.suspects.has_patience(now, via)
    }

    fn suspect(&mut self, now: Instant, origin: Option<PeerId>, via: PeerId, fault: RecordFault) {
        if let Some(suspect) = self.suspects.note(now, origin, via, fault) {
            self.events.push_back(Event::RecordsRefused { suspect });
        }
    }
}
