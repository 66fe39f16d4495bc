//! The newest record of each kind from each origin, and digests to compare stores by.
//!
//! Only *reachable* origins stand in digests. An unreachable one is kept for a while, so that a
//! partition that heals needs not send everything again, but two routers never tell each other of
//! it: it would else come back for ever from whoever forgets it last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};
use weave_crypto::PeerId;

use crate::budget::Bucket;
use crate::record::{Key, LinksBody, Record, RecordKind, RouterBody};
use crate::wire::{BUCKETS, KEYS_MAX};

/// Most origins kept. At two records of some hundred bytes each: a few MiB; twice the largest
/// network that the simulator runs.
pub const ORIGINS_MAX: usize = 4096;
/// How long an unreachable origin is kept.
pub const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Records of one origin taken in a second, and at once: an honest one has a new version of each of its two at most
/// each 100 ms, and those of a second or two may come together.
const RECORDS_PER_S: u32 = 20;
const RECORDS_BURST: u32 = 2 * RECORDS_PER_S;

/// Records by origin. Reading is for everybody, changing for the mesh alone.
#[derive(Debug)]
pub struct Store {
    own: PeerId,
    origins: BTreeMap<PeerId, Origin>,
    /// The unreachable ones, the longest first.
    unreachable: BTreeSet<(Instant, PeerId)>,
    /// Hashes of the buckets, made when they are asked for and forgotten at a change.
    hashes: [OnceLock<[u8; 8]>; BUCKETS],
}

#[derive(Debug)]
struct Origin {
    records: [Option<Held>; RecordKind::ALL.len()],
    /// What is left of what it may say.
    budget: Bucket,
    /// `None` while it is reachable.
    unreachable_since: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    record: Record,
    since: Instant,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// It replaced an older one, or is the first.
    Newer,
    /// That version was there already.
    Known,
    /// A newer one is there: whoever sent this should have it.
    Older,
    /// No room for another origin.
    Full,
}

impl Store {
    pub(crate) fn new(own: PeerId) -> Self {
        Self {
            own,
            origins: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            hashes: Default::default(),
        }
    }

    /// Takes a record whose signature is good. A first record of an origin finds it unreachable
    /// until [`Store::set_reachable`] says otherwise. With the table full, the origin longest
    /// unreachable makes room.
    pub(crate) fn insert(&mut self, now: Instant, record: Record) -> Inserted {
        let origin = record.origin();
        if !self.origins.contains_key(&origin) && self.origins.len() >= ORIGINS_MAX {
            let oldest = self.unreachable.first().filter(|(since, _)| *since < now);
            match oldest.copied() {
                Some((_, peer)) => self.remove(&peer),
                None => return Inserted::Full,
            };
        }
        if origin != self.own && !self.origins.contains_key(&origin) {
            self.unreachable.insert((now, origin));
        }
        let own = self.own;
        let entry = self.origins.entry(origin).or_insert_with(|| Origin {
            records: Default::default(),
            budget: Bucket::full(now),
            unreachable_since: (origin != own).then_some(now),
        });
        let slot = &mut entry.records[record.kind() as usize];
        match slot {
            Some(held) if held.record.seq() > record.seq() => Inserted::Older,
            Some(held) if held.record.seq() == record.seq() => Inserted::Known,
            Some(_) | None => {
                *slot = Some(Held { record, since: now });
                entry.budget.take(now, RECORDS_PER_S);
                self.hashes[bucket(&origin)] = OnceLock::new();
                Inserted::Newer
            }
        }
    }

    /// Of two records under one number, both signed, keeps the one whose bytes are greater. Says whether that is this one.
    pub(crate) fn replace_equal(&mut self, now: Instant, record: Record) -> bool {
        let Some(entry) = self.origins.get_mut(&record.origin()) else {
            return false;
        };
        entry.budget.take(now, RECORDS_PER_S);
        let slot = &mut entry.records[record.kind() as usize];
        let is_greater = slot.as_ref().is_some_and(|held| {
            held.record.seq() == record.seq() && held.record.bytes() < record.bytes()
        });
        if is_greater {
            *slot = Some(Held { record, since: now });
        }
        is_greater
    }

    /// Whether `origin` may say more now; one that is not known may.
    pub(crate) fn has_budget(&self, now: Instant, origin: &PeerId) -> bool {
        let entry = self.origins.get(origin);
        entry.is_none_or(|entry| entry.budget.has(now, RECORDS_PER_S, RECORDS_BURST))
    }

    /// Since when the newest record of a kind is here.
    pub(crate) fn held_since(&self, origin: &PeerId, kind: RecordKind) -> Option<Instant> {
        let held = self.origins.get(origin)?.records[kind as usize].as_ref();
        held.map(|held| held.since)
    }

    /// Takes the set of reachable origins (the own one always is) and returns those that became
    /// reachable just now.
    pub(crate) fn set_reachable(
        &mut self,
        now: Instant,
        reachable: &BTreeSet<PeerId>,
    ) -> Vec<PeerId> {
        let mut appeared = Vec::new();
        for (peer, entry) in &mut self.origins {
            if *peer == self.own || reachable.contains(peer) {
                if let Some(since) = entry.unreachable_since.take() {
                    self.unreachable.remove(&(since, *peer));
                    self.hashes[bucket(peer)] = OnceLock::new();
                    appeared.push(*peer);
                }
            } else if entry.unreachable_since.is_none() {
                entry.unreachable_since = Some(now);
                self.unreachable.insert((now, *peer));
                self.hashes[bucket(peer)] = OnceLock::new();
            }
        }
        appeared
    }

    /// Forgets origins that were unreachable for [`FORGET_AFTER`], and returns them. Neighbours are
    /// kept: they said who they are once, when their link came up.
    pub(crate) fn forget_unreachable(
        &mut self,
        now: Instant,
        is_neighbour: &dyn Fn(&PeerId) -> bool,
    ) -> Vec<PeerId> {
        let mut forgotten: Vec<PeerId> = self
            .unreachable
            .iter()
            .take_while(|(since, _)| now >= *since + FORGET_AFTER)
            .map(|(_, peer)| *peer)
            .filter(|peer| !is_neighbour(peer))
            .collect();
        forgotten.sort();
        for peer in &forgotten {
            self.remove(peer);
        }
        forgotten
    }

    /// When [`Store::forget_unreachable`] has something to do next.
    pub(crate) fn next_forget(&self, is_neighbour: &dyn Fn(&PeerId) -> bool) -> Option<Instant> {
        self.unreachable
            .iter()
            .find(|(_, peer)| !is_neighbour(peer))
            .map(|(since, _)| *since + FORGET_AFTER)
    }

    /// Forgets one origin. Used for the own records of an earlier process.
    pub(crate) fn remove(&mut self, origin: &PeerId) {
        let Some(entry) = self.origins.remove(origin) else {
            return;
        };
        if let Some(since) = entry.unreachable_since {
            self.unreachable.remove(&(since, *origin));
        }
        self.hashes[bucket(origin)] = OnceLock::new();
    }

    /// The newest record of a kind.
    pub fn record(&self, origin: &PeerId, kind: RecordKind) -> Option<&Record> {
        let held = self.origins.get(origin)?.records[kind as usize].as_ref();
        held.map(|held| &held.record)
    }

    /// Who `origin` is and where it listens.
    pub fn router(&self, origin: &PeerId) -> Option<&RouterBody> {
        self.record(origin, RecordKind::Router)?.router()
    }

    /// Whom `origin` has links to.
    pub fn links(&self, origin: &PeerId) -> Option<&LinksBody> {
        self.record(origin, RecordKind::Links)?.links()
    }

    /// Highest boot id known of `origin`.
    pub fn boot_id(&self, origin: &PeerId) -> Option<u64> {
        let entry = self.origins.get(origin)?;
        let held = entry.records.iter().flatten();
        held.map(|held| held.record.boot_id()).max()
    }

    /// Whether `origin` was in the set last given to
    /// [`Mesh::handle_reachable`](crate::Mesh::handle_reachable).
    pub fn is_reachable(&self, origin: &PeerId) -> bool {
        self.origins
            .get(origin)
            .is_some_and(|entry| entry.unreachable_since.is_none())
    }

    /// Everybody of whom there is a record, by id, reachable or not.
    pub fn origins(&self) -> impl Iterator<Item = PeerId> {
        self.origins.keys().copied()
    }

    /// Number of origins.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether there is no record at all.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// Hash over (origin, kind, seq) of all reachable origins.
    pub fn digest(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        for bucket in self.buckets() {
            context.update(&bucket);
        }
        hash(context)
    }

    /// The same for each of [`BUCKETS`] ranges of origins.
    pub(crate) fn buckets(&self) -> [[u8; 8]; BUCKETS] {
        std::array::from_fn(|bucket| *self.hashes[bucket].get_or_init(|| self.hash_bucket(bucket)))
    }

    fn hash_bucket(&self, bucket: usize) -> [u8; 8] {
        let mut context = Context::new(&SHA256);
        let (first, last) = bucket_bounds(bucket);
        for key in self.keys_between(&first, &last) {
            context.update(key.origin.as_bytes());
            context.update(&[key.kind as u8]);
            context.update(&key.seq.to_be_bytes());
        }
        let mut short = [0; 8];
        short.copy_from_slice(&hash(context)[..8]);
        short
    }

    /// The keys of one bucket's reachable origins, in runs that fit a message each; together the
    /// runs cover the bucket without gaps: (first, last, keys).
    pub(crate) fn lists(&self, bucket: usize) -> Vec<(PeerId, PeerId, Vec<Key>)> {
        let (mut first, bucket_last) = bucket_bounds(bucket);
        let mut lists = Vec::new();
        let mut keys: Vec<Key> = Vec::new();
        for key in self.keys_between(&first, &bucket_last) {
            let is_new_origin = keys.last().is_some_and(|last| last.origin != key.origin);
            if is_new_origin && keys.len() + RecordKind::ALL.len() > KEYS_MAX {
                let last = keys.last().map_or(bucket_last, |last| last.origin);
                lists.push((first, last, std::mem::take(&mut keys)));
                first = successor(&last);
            }
            keys.push(key);
        }
        lists.push((first, bucket_last, keys));
        lists
    }

    /// Keys of reachable origins from `first` to `last`, both included.
    pub(crate) fn keys_between(
        &self,
        first: &PeerId,
        last: &PeerId,
    ) -> impl Iterator<Item = Key> + use<'_> {
        self.origins
            .range(*first..=*last)
            .filter(|(_, entry)| entry.unreachable_since.is_none())
            .flat_map(|(_, entry)| entry.records.iter().flatten())
            .map(|held| held.record.key())
    }
}

fn bucket(origin: &PeerId) -> usize {
    usize::from(origin.as_bytes()[0] >> 4)
}

fn bucket_bounds(bucket: usize) -> (PeerId, PeerId) {
    let high = (u8::try_from(bucket % BUCKETS).unwrap_or(0)) << 4;
    let (mut first, mut last) = ([0; 32], [0xFF; 32]);
    first[0] = high;
    last[0] = high | 0x0F;
    (PeerId::from_bytes(first), PeerId::from_bytes(last))
}

/// The next id. The last id of all has none; a list that ends there is the last one.
fn successor(peer: &PeerId) -> PeerId {
    let mut bytes = *peer.as_bytes();
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    PeerId::from_bytes(bytes)
}

fn hash(context: Context) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests;
