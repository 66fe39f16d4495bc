//! Who sent records that were refused: named by origin and by the neighbour they came from, and bounded in number.
//!
//! An honest router checks each record before it hands it on, so a neighbour that sends one that is not signed by its
//! origin, or contradicts itself, is faulty or hostile itself. Two records under one number, both signed, are the
//! origin's doing, or that of a copy of it. What is refused changes nothing here but this table and its counters.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use weave_crypto::PeerId;

use crate::budget::Bucket;

/// Suspects kept: each is a line of status, and who reads more than so many looks at the log.
pub const SUSPECTS_MAX: usize = 16;
/// A suspect is forgotten when nothing more came for so long.
pub const SUSPECT_FOR: Duration = Duration::from_secs(600);
/// Between two reports, whoever they are about.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Refused records that a neighbour may send at once, and by the second, before its stream is closed. Each costs a
/// check of a signature at most (45 µs), so that this is half a thousandth of a core in the long run.
const REFUSED_BURST: u32 = 100;
const REFUSED_PER_S: u32 = 10;
/// Neighbours whose refused records are reckoned with at once.
const SENDERS_MAX: usize = 64;

/// Why a record was refused that its sender should not have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RecordFault {
    /// It did not decode, was too long, or broke a bound.
    Malformed,
    /// It says what can't be true: [`RecordError::Contradictory`](crate::RecordError::Contradictory), or its X25519 key
    /// is not the origin's.
    Contradictory,
    /// Its origin did not sign it for this network.
    Forged,
    /// Its origin signed another one under the same number.
    Equivocal,
    /// It is older than one that the sender must have for long.
    Replayed,
    /// Its origin changes its records more often than routers do.
    TooOften,
}

/// Somebody whose records were refused of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Whose records they claim to be; nothing if they are too short to say.
    pub origin: Option<PeerId>,
    /// The neighbour that sent them.
    pub via: PeerId,
    /// What was wrong with them.
    pub fault: RecordFault,
    /// How many they were.
    pub count: u64,
    /// When the last one came.
    pub last_at: Instant,
}

impl Suspect {
    /// One sentence for people, without its full stop; `name` says how they call a router.
    pub fn sentence(&self, name: impl Fn(&PeerId) -> String) -> String {
        let via = name(&self.via);
        let origin = self
            .origin
            .as_ref()
            .map_or_else(|| "nobody".to_owned(), &name);
        let records = match self.count {
            1 => "a record".to_owned(),
            count => format!("{count} records"),
        };
        match self.fault {
            RecordFault::Malformed => {
                format!(
                    "{via} sent {records} of {origin} that do not decode: {via} is faulty or hostile"
                )
            }
            RecordFault::Contradictory => format!(
                "{via} sent {records} of {origin} that contradict themselves: {origin} or {via} is faulty or hostile"
            ),
            RecordFault::Forged => format!(
                "{via} sent {records} of {origin} that {origin} did not sign for this network: {via} is faulty or hostile"
            ),
            RecordFault::Equivocal => format!(
                "{origin} signed two different records under one number, one of them came by {via} ({records}): \
                 {origin} is faulty or hostile, or a copy of it runs"
            ),
            RecordFault::Replayed => format!(
                "{via} sent {records} of {origin} that are long out of date: {via} is faulty, or replays them"
            ),
            RecordFault::TooOften => format!(
                "{origin} changes its records more often than a router does ({records} refused, the last came by \
                 {via}): {origin} is faulty or hostile"
            ),
        }
    }
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed",
            Self::Contradictory => "contradictory",
            Self::Forged => "forged",
            Self::Equivocal => "equivocal",
            Self::Replayed => "replayed",
            Self::TooOften => "too often",
        })
    }
}

/// All suspects; see the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    known: Vec<Suspect>,
    reported_at: Option<Instant>,
    senders: BTreeMap<PeerId, Bucket>,
}

impl Suspects {
    /// A record was refused. Gives the suspect where it is time to tell of one.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        origin: Option<PeerId>,
        via: PeerId,
        fault: RecordFault,
    ) -> Option<Suspect> {
        self.known.retain(|known| is_recent(now, known));
        let is_same =
            |known: &Suspect| (known.origin, known.via, known.fault) == (origin, via, fault);
        let before = self.known.iter().position(is_same);
        let count = before.map_or(0, |index| self.known.remove(index).count) + 1;
        if self.known.len() >= SUSPECTS_MAX {
            self.known.remove(0);
        }
        let suspect = Suspect {
            origin,
            via,
            fault,
            count,
            last_at: now,
        };
        self.known.push(suspect);
        if self
            .reported_at
            .is_some_and(|at| now < at + REPORT_INTERVAL)
        {
            return None;
        }
        self.reported_at = Some(now);
        Some(suspect)
    }

    /// A neighbour sent another record that was refused: whether to listen to it any longer.
    pub(crate) fn has_patience(&mut self, now: Instant, via: PeerId) -> bool {
        if self.senders.len() >= SENDERS_MAX && !self.senders.contains_key(&via) {
            self.senders
                .retain(|_, bucket| !bucket.has(now, REFUSED_PER_S, 1));
            if self.senders.len() >= SENDERS_MAX {
                return false;
            }
        }
        let bucket = self.senders.entry(via).or_insert_with(|| Bucket::full(now));
        let has_patience = bucket.has(now, REFUSED_PER_S, REFUSED_BURST);
        if has_patience {
            bucket.take(now, REFUSED_PER_S);
        }
        has_patience
    }

    /// Those of late, the newest last.
    pub(crate) fn recent(&self, now: Instant) -> impl Iterator<Item = &Suspect> {
        self.known.iter().filter(move |known| is_recent(now, known))
    }
}

fn is_recent(now: Instant, suspect: &Suspect) -> bool {
    now.saturating_duration_since(suspect.last_at) < SUSPECT_FOR
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::tests_base;

    #[test]
    fn what_is_refused_is_counted_by_origin_sender_and_fault_and_reported_now_and_then() {
        let mut suspects = Suspects::default();
        let start = tests_base();
        let mut reported = 0;
        for ms in (0..25_000).step_by(100) {
            let now = start + Duration::from_millis(ms);
            let told = suspects.note(now, Some(id(1)), id(2), RecordFault::Forged);
            reported += usize::from(told.is_some());
        }
        assert_eq!(reported, 3, "at 0, 10 and 20 s");
        let now = start + Duration::from_secs(25);
        suspects.note(now, None, id(2), RecordFault::Malformed);
        let known: Vec<_> = suspects.recent(now).map(|known| known.count).collect();
        assert_eq!(known, [250, 1]);
        assert_eq!(suspects.recent(now + SUSPECT_FOR).count(), 0);
    }

    #[test]
    fn however_many_there_are_the_table_is_small_and_the_newest_stay() {
        let mut suspects = Suspects::default();
        let now = tests_base();
        for number in 0..200 {
            suspects.note(now, Some(id(number)), id(2), RecordFault::Forged);
            suspects.has_patience(now, id(number));
        }
        assert_eq!(suspects.recent(now).count(), SUSPECTS_MAX);
        assert_eq!(
            suspects.recent(now).last().map(|known| known.origin),
            Some(Some(id(199)))
        );
        assert_eq!(suspects.senders.len(), SENDERS_MAX);
    }

    #[test]
    fn a_neighbour_may_err_so_often() {
        let mut suspects = Suspects::default();
        let now = tests_base();
        let refused = (0..300)
            .filter(|_| suspects.has_patience(now, id(1)))
            .count();
        assert_eq!(refused, REFUSED_BURST as usize);
        let later = now + Duration::from_secs(1);
        let refused = (0..300)
            .filter(|_| suspects.has_patience(later, id(1)))
            .count();
        assert_eq!(refused, REFUSED_PER_S as usize);
    }

    #[test]
    fn every_sentence_names_both() {
        for fault in [
            RecordFault::Malformed,
            RecordFault::Contradictory,
            RecordFault::Forged,
            RecordFault::Equivocal,
            RecordFault::Replayed,
            RecordFault::TooOften,
        ] {
            let suspect = Suspect {
                origin: Some(id(1)),
                via: id(2),
                fault,
                count: 2,
                last_at: tests_base(),
            };
            let sentence =
                suspect.sentence(|peer| if *peer == id(1) { "hare" } else { "fox" }.to_owned());
            assert!(
                sentence.contains("hare") && sentence.contains("fox"),
                "{sentence}"
            );
        }
    }

    fn id(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }
}
