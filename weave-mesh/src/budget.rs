//! What connections that nobody asked for may cost: how many at once, from one source, and from all.
//!
//! Whoever reaches the port can open connections, from as many addresses as it has; each that is let in costs memory
//! for [`STAGE_TIMEOUT`](crate::STAGE_TIMEOUT) and perhaps a handshake of some 300 µs. So each has to pass three
//! bounds before it costs either, and half of everything is kept for *known* sources: addresses of links, targets,
//! records and of peers let in lately. All tables are of constant size, whoever fills them.
//!
//! | bound | strangers | known sources |
//! |---|---|---|
//! | being set up at once | [`STRANGERS_HALF_OPEN_MAX`] | [`HALF_OPEN_MAX`](crate::HALF_OPEN_MAX), strangers included |
//! | let in by a second | [`STRANGERS_PER_S`] | [`ALL_PER_S`], strangers included |
//! | from one source | [`SOURCE_BURST`], then one a second; given back when a peer is let in | the same |
//!
//! A wrong password takes its source's burst away, so that one guess a second is tested at most. Hosts behind one
//! address share its budget: who guesses from there slows its neighbours down, and nobody else.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Most accepted connections that are not set up yet; more are closed at once.
pub const HALF_OPEN_MAX: usize = 256;
/// Most of them that come from strangers.
const STRANGERS_HALF_OPEN_MAX: usize = HALF_OPEN_MAX / 2;
/// Connections let in by a second in the long run, and at once: a handshake costs some 300 µs, so all of them cost a
/// sixtieth of a core.
const ALL_PER_S: u32 = 50;
/// The same, of strangers alone.
const STRANGERS_PER_S: u32 = ALL_PER_S / 2;
/// Connections from one source at once.
const SOURCE_BURST: u32 = 20;
/// Buckets of sources; two sources may share one, which is harmless among strangers, and seldom among the known.
const SOURCES: usize = 4_096;
/// Sources that had a peer let in and are remembered.
const ADMITTED_MAX: usize = 1_024;
/// How long they are.
const ADMITTED_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Where connections come from, as far as whoever is there can't choose at will: an IPv4 address, or the /56 that a
/// provider gives a customer (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source(u64);

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(v4.to_bits())),
            // The upper 56 bits, in the lower 56 of the number, and a mark above them.
            IpAddr::V6(v6) => Self(1 << 56 | (v6.to_bits() >> 72) as u64),
        }
    }
}

/// Connections being set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HalfOpen {
    pub(crate) strangers: usize,
    pub(crate) known: usize,
}

/// Who a connection that is let in is counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Stranger,
    Known,
}

/// Which bound a connection would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many are being set up.
    HalfOpen,
    /// Too many from everywhere of late.
    Rate,
    /// Too many from that source of late.
    Source,
}

/// The bounds and what is used up of them; see the [module](self).
#[derive(Debug)]
pub(crate) struct Budget {
    /// Mixed into the hash of a source, so that nobody can choose addresses that share a bucket with another's.
    secret: u64,
    strangers: Bucket,
    all: Bucket,
    /// Strangers can't use up the buckets of the known, whose table is apart.
    stranger_sources: Box<[Bucket]>,
    known_sources: Box<[Bucket]>,
    admitted: BTreeMap<Source, Instant>,
}

impl Budget {
    /// All budgets full. `secret` must not be guessed.
    pub(crate) fn new(secret: u64, now: Instant) -> Self {
        let sources = || vec![Bucket::full(now); SOURCES].into_boxed_slice();
        Self {
            secret,
            strangers: Bucket::full(now),
            all: Bucket::full(now),
            stranger_sources: sources(),
            known_sources: sources(),
            admitted: BTreeMap::new(),
        }
    }

    /// Lets a connection in, or says which bound is in the way; a refused one uses up nothing. `is_known` says
    /// whether the mesh itself knows the source.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        source: Source,
        half_open: HalfOpen,
        is_known: bool,
    ) -> Result<Class, Refusal> {
        let was_admitted = self
            .admitted
            .get(&source)
            .is_some_and(|at| now.saturating_duration_since(*at) < ADMITTED_FOR);
        let class = if is_known || was_admitted {
            Class::Known
        } else {
            Class::Stranger
        };
        let is_full = half_open.strangers + half_open.known >= HALF_OPEN_MAX;
        let place = self.place(source);
        let (sources, is_full, is_spent) = match class {
            Class::Known => (&mut self.known_sources, is_full, false),
            Class::Stranger => (
                &mut self.stranger_sources,
                is_full || half_open.strangers >= STRANGERS_HALF_OPEN_MAX,
                !self.strangers.has(now, STRANGERS_PER_S, STRANGERS_PER_S),
            ),
        };
        if is_full {
            return Err(Refusal::HalfOpen);
        }
        if is_spent || !self.all.has(now, ALL_PER_S, ALL_PER_S) {
            return Err(Refusal::Rate);
        }
        if !sources[place].has(now, 1, SOURCE_BURST) {
            return Err(Refusal::Source);
        }
        sources[place].take(now, 1);
        self.all.take(now, ALL_PER_S);
        if class == Class::Stranger {
            self.strangers.take(now, STRANGERS_PER_S);
        }
        Ok(class)
    }

    /// A peer proved who it is on a connection that was let in: its source gets back what that took, and is known.
    pub(crate) fn handle_peer(&mut self, now: Instant, source: Source, class: Class) {
        let place = self.place(source);
        match class {
            Class::Known => self.known_sources[place].give_back(),
            Class::Stranger => self.stranger_sources[place].give_back(),
        }
        if self.admitted.len() >= ADMITTED_MAX && !self.admitted.contains_key(&source) {
            let oldest = self.admitted.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(source, _)| *source) {
                self.admitted.remove(&oldest);
            }
        }
        self.admitted.insert(source, now);
    }

    /// A wrong password came on a connection that was let in: nothing is left of its source's burst.
    pub(crate) fn handle_wrong(&mut self, now: Instant, source: Source, class: Class) {
        let place = self.place(source);
        let bucket = match class {
            Class::Known => &mut self.known_sources[place],
            Class::Stranger => &mut self.stranger_sources[place],
        };
        bucket.empty(now);
    }

    fn place(&self, source: Source) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.secret);
        hasher.write_u64(source.0);
        // The remainder is below the table's size.
        (hasher.finish() % SOURCES as u64) as usize
    }
}

/// A token bucket, kept as the time at which it will be full again (GCRA, as in ITU-T I.371).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    pub(crate) fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    pub(crate) fn has(&self, now: Instant, per_s: u32, burst: u32) -> bool {
        let interval = Duration::from_secs(1) / per_s;
        let ahead = self.full_at.saturating_duration_since(now) + interval;
        ahead <= interval * burst
    }

    pub(crate) fn take(&mut self, now: Instant, per_s: u32) {
        self.full_at = self.full_at.max(now) + Duration::from_secs(1) / per_s;
    }

    /// Of a bucket that fills up by one a second: nothing is left until a second has passed.
    fn empty(&mut self, now: Instant) {
        let full_at = now + Duration::from_secs(u64::from(SOURCE_BURST));
        self.full_at = self.full_at.max(full_at);
    }

    /// One of a bucket that fills up by one a second.
    fn give_back(&mut self) {
        self.full_at = self
            .full_at
            .checked_sub(Duration::from_secs(1))
            .unwrap_or(self.full_at);
    }
}
