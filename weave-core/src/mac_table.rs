//! Which MAC address lives behind which [`Site`]: learned from frames, looked up for each one, shared by all
//! workers.
//!
//! Reading is free of locks: a slot is one 64-bit word that holds address and site together, so a reader sees
//! the old place of an address or the new one, never half of each. Everything that changes a slot (new
//! addresses, moves, ageing: rare beside frames) goes through one short lock, which makes the bounds exact.
//!
//! ```text
//! bucket = hash(MAC) | 8 slots: 48 bits MAC, 16 bits site   (one cache line)
//!                    | 8 stamps: ms since the epoch
//! ```

use std::time::{Duration, Instant};

use smoltcp::wire::EthernetAddress;

use self::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::Site;

#[cfg(not(loom))]
mod sync {
    pub(super) use std::sync::Mutex;
    pub(super) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
}
#[cfg(loom)]
mod sync {
    pub(super) use loom::sync::Mutex;
    pub(super) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
}

/// The table of MAC addresses. All methods take `&self`.
///
/// # Bounds
/// At most `capacity` addresses in all, and at most half of that for one site, so that one router (or one
/// container that makes addresses up) can't push out all others. An address is also refused when the eight
/// slots that its hash allows are taken: with twice as many slots as addresses that meets some 2 % of the
/// addresses of a *full* table, and none of one half full. A refused address is no fault: frames to it are
/// flooded.
#[derive(Debug)]
pub struct MacTable {
    epoch: Instant,
    seed: u64,
    capacity: usize,
    buckets: Box<[Bucket]>,
    len: AtomicUsize,
    /// Taken by whoever changes a slot. Addresses held by each site, by index.
    counts: Mutex<Vec<u32>>,
}

/// What [`MacTable::learn`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// The address was known at this site; its stamp is renewed.
    Known,
    /// The address is new.
    New,
    /// The address lived elsewhere until now.
    Moved {
        /// Where it lived.
        from: Site,
    },
    /// There is no place for the address: the table, its site's share or its bucket is full; or it is no address
    /// of a station (multicast, zero). It is not in the table now, even if it was there for another site.
    Full,
}

/// One address, as status shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MacEntry {
    /// The address.
    pub mac: EthernetAddress,
    /// Where it lives.
    pub site: Site,
    /// How long ago it was last the source of a frame.
    pub age: Duration,
}

impl MacTable {
    /// Addresses silent for this long are forgotten: the 10 minutes that weave has always used, twice a Linux
    /// bridge's 300 s, since forgetting costs a flood through all sites.
    pub const AGE_MAX: Duration = Duration::from_secs(600);

    /// A table of at most `capacity` addresses. Stamps count from `epoch`. The `seed` chooses the hash, so that
    /// nobody can prepare addresses that share a bucket.
    pub fn new(capacity: usize, epoch: Instant, seed: u64) -> Self {
        let buckets = (capacity * 2).div_ceil(SLOTS).next_power_of_two();
        Self {
            epoch,
            seed,
            capacity,
            buckets: (0..buckets).map(|_| Bucket::new()).collect(),
            len: AtomicUsize::new(0),
            counts: Mutex::new(Vec::new()),
        }
    }

    /// Where `mac` lives.
    pub fn lookup(&self, mac: EthernetAddress) -> Option<Site> {
        let key = key(mac)?;
        let (_, word) = self.bucket(key).find(key)?;
        Some(site_of(word))
    }

    /// Notes that `mac` was the source of a frame from `site`.
    pub fn learn(&self, now: Instant, mac: EthernetAddress, site: Site) -> Learned {
        let Some(key) = key(mac) else {
            return Learned::Full;
        };
        let bucket = self.bucket(key);
        let stamp = self.stamp(now);
        if let Some((slot, word)) = bucket.find(key)
            && site_of(word) == site
        {
            // Renewing does not take the lock. Where the slot changes hands at this very moment, its new
            // address looks as young as it is.
            if bucket.stamps[slot].load(Ordering::Relaxed) != stamp {
                bucket.stamps[slot].store(stamp, Ordering::Relaxed);
            }
            return Learned::Known;
        }
        self.learn_locked(bucket, key, stamp, site)
    }

    /// Forgets `mac`, and says where it lived.
    pub fn forget(&self, mac: EthernetAddress) -> Option<Site> {
        let key = key(mac)?;
        let mut counts = self.lock();
        let bucket = self.bucket(key);
        let (slot, word) = bucket.find(key)?;
        self.clear(&mut counts, bucket, slot, word);
        Some(site_of(word))
    }

    /// Forgets all addresses that were silent for more than `age_max`, and says how many. Walks the table:
    /// once every few seconds is enough.
    pub fn age(&self, now: Instant, age_max: Duration) -> usize {
        let oldest = self.stamp(now).saturating_sub(millis(age_max));
        self.retain(|_, stamp| stamp >= oldest)
    }

    /// Forgets all addresses at `site`, and says how many.
    pub fn purge(&self, site: Site) -> usize {
        self.retain(|at, _| at != site)
    }

    /// When `mac` was last the source of a frame.
    pub fn last_seen(&self, mac: EthernetAddress) -> Option<Instant> {
        let key = key(mac)?;
        let bucket = self.bucket(key);
        let (slot, _) = bucket.find(key)?;
        let stamp = bucket.stamps[slot].load(Ordering::Relaxed);
        Some(self.epoch + Duration::from_millis(stamp))
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most addresses that are ever known.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The most addresses of one site.
    pub fn site_capacity(&self) -> usize {
        (self.capacity / 2).max(1)
    }

    /// All addresses, sorted. For status: allocates, and sees each slot at a moment of its own.
    pub fn entries(&self, now: Instant) -> Vec<MacEntry> {
        let stamp_now = self.stamp(now);
        let mut entries: Vec<_> = self
            .slots()
            .filter_map(|(bucket, slot)| {
                let word = bucket.slots[slot].load(Ordering::Acquire);
                let stamp = bucket.stamps[slot].load(Ordering::Relaxed);
                (word != EMPTY).then(|| MacEntry {
                    mac: mac_of(word),
                    site: site_of(word),
                    age: Duration::from_millis(stamp_now.saturating_sub(stamp)),
                })
            })
            .collect();
        entries.sort_unstable();
        // An address that moved between two slots while we walked is seen twice: the younger one is right.
        entries.dedup_by(|later, first| {
            let same = later.mac == first.mac;
            if same && later.age < first.age {
                *first = *later;
            }
            same
        });
        entries
    }

    fn learn_locked(&self, bucket: &Bucket, key: u64, stamp: u64, site: Site) -> Learned {
        let mut counts = self.lock();
        if counts.len() <= site.index() {
            counts.resize(site.index() + 1, 0);
        }
        let share_taken = counts[site.index()] as usize >= self.site_capacity();
        if let Some((slot, word)) = bucket.find(key) {
            let from = site_of(word);
            if from == site {
                // Another worker was first.
                bucket.stamps[slot].store(stamp, Ordering::Relaxed);
                return Learned::Known;
            }
            if share_taken {
                // It is not where it was, and we can't say where it is: better flooded than lost.
                self.clear(&mut counts, bucket, slot, word);
                return Learned::Full;
            }
            counts[from.index()] -= 1;
            counts[site.index()] += 1;
            bucket.stamps[slot].store(stamp, Ordering::Relaxed);
            bucket.slots[slot].store(key | u64::from(site.0), Ordering::Release);
            return Learned::Moved { from };
        }
        let free = bucket
            .slots
            .iter()
            .position(|slot| slot.load(Ordering::Relaxed) == EMPTY);
        let Some(slot) = free.filter(|_| !share_taken && self.len() < self.capacity) else {
            return Learned::Full;
        };
        counts[site.index()] += 1;
        self.len.fetch_add(1, Ordering::Relaxed);
        // The stamp first: whoever sees the address sees its age.
        bucket.stamps[slot].store(stamp, Ordering::Relaxed);
        bucket.slots[slot].store(key | u64::from(site.0), Ordering::Release);
        Learned::New
    }

    fn retain(&self, keep: impl Fn(Site, u64) -> bool) -> usize {
        let mut counts = self.lock();
        let mut removed = 0;
        for (bucket, slot) in self.slots() {
            let word = bucket.slots[slot].load(Ordering::Relaxed);
            if word != EMPTY && !keep(site_of(word), bucket.stamps[slot].load(Ordering::Relaxed)) {
                self.clear(&mut counts, bucket, slot, word);
                removed += 1;
            }
        }
        removed
    }

    /// Empties a slot; the lock is held.
    fn clear(&self, counts: &mut [u32], bucket: &Bucket, slot: usize, word: u64) {
        counts[site_of(word).index()] -= 1;
        self.len.fetch_sub(1, Ordering::Relaxed);
        bucket.slots[slot].store(EMPTY, Ordering::Release);
    }

    fn lock(&self) -> impl std::ops::DerefMut<Target = Vec<u32>> + '_ {
        self.counts
            .lock()
            .expect("nothing that holds the lock can panic")
    }

    fn slots(&self) -> impl Iterator<Item = (&Bucket, usize)> {
        self.buckets
            .iter()
            .flat_map(|bucket| (0..SLOTS).map(move |slot| (bucket, slot)))
    }

    fn bucket(&self, key: u64) -> &Bucket {
        // Fibonacci hashing of the seeded key, folded so that high and low bits both count; the number of
        // buckets is a power of two.
        let mixed = (key ^ self.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(self.seed | 1);
        &self.buckets[(mixed >> 32) as usize & (self.buckets.len() - 1)]
    }

    fn stamp(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch))
    }
}

/// Slots of a bucket: 64 bytes, one cache line for a look-up.
const SLOTS: usize = 8;
/// A slot not in use: the address 00:00:00:00:00:00, which no station has.
const EMPTY: u64 = 0;
/// The part of a slot that is the site.
const SITE_MASK: u64 = 0xffff;

#[derive(Debug)]
#[repr(align(64))]
struct Bucket {
    slots: [AtomicU64; SLOTS],
    stamps: [AtomicU64; SLOTS],
}

impl Bucket {
    fn new() -> Self {
        Self {
            slots: std::array::from_fn(|_| AtomicU64::new(EMPTY)),
            stamps: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The slot that holds the address, and its word.
    fn find(&self, key: u64) -> Option<(usize, u64)> {
        self.slots.iter().enumerate().find_map(|(index, slot)| {
            let word = slot.load(Ordering::Acquire);
            (word & !SITE_MASK == key).then_some((index, word))
        })
    }
}

/// The address in the upper 48 bits of a slot; none for what no station can have as its address.
fn key(mac: EthernetAddress) -> Option<u64> {
    let number = mac
        .as_bytes()
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte));
    (mac.is_unicast() && number != 0).then_some(number << 16)
}

fn mac_of(word: u64) -> EthernetAddress {
    EthernetAddress::from_bytes(&word.to_be_bytes()[..6])
}

fn site_of(word: u64) -> Site {
    Site((word & SITE_MASK) as u16)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
