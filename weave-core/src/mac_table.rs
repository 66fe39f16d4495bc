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
//!                    | 8 counts of moves: looked at only when a source is not where it was
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
/// At most `capacity` addresses in all, and at most half of that for one site. Where the table is full, or the
/// eight slots that an address's hash allows are taken, an address of a site that holds more than twice as many
/// as the newcomer's makes room, the one silent for longest. So whoever makes addresses up (a container, a
/// router, several of them) can neither push out nor keep out those of sites with few: it only crowds its own
/// site, whose known addresses stay. A refused address is no fault: frames to it are flooded.
///
/// # Flapping
/// An address that moves more than 5 times ([`MacTable::MOVES_MAX`]) in 10 s ([`MacTable::MOVES_WINDOW`]) is
/// *damped*: it stays where it is for 10 s ([`MacTable::DAMPED_FOR`]), whatever other sites say. What makes it
/// forgotten (its site says that it is not there, or goes) ends that too.
#[derive(Debug)]
pub struct MacTable {
    epoch: Instant,
    seed: u64,
    capacity: usize,
    buckets: Box<[Bucket]>,
    len: AtomicUsize,
    /// Taken by whoever changes a slot. Addresses held by each site, by index.
    counts: Mutex<Counts>,
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
    /// The address moved too often: it stays where it is for a while.
    Damped {
        /// Where it is taken to live.
        at: Site,
        /// It begins with this frame: the one to tell of.
        begins: bool,
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
    /// It moved too often and stays where it is for a while, though it was seen elsewhere.
    pub damped: bool,
}

impl MacTable {
    /// Addresses silent for this long are forgotten: the 10 minutes that weave has always used, twice a Linux
    /// bridge's 300 s, since forgetting costs a flood through all sites.
    pub const AGE_MAX: Duration = Duration::from_secs(600);

    /// Moves that are followed within [`MacTable::MOVES_WINDOW`] (design.md section 5). A container moves once,
    /// and a pair that shares an address for redundancy once at each fail-over.
    pub const MOVES_MAX: u8 = 5;

    /// Moves are counted for so long from the first.
    pub const MOVES_WINDOW: Duration = Duration::from_secs(10);

    /// A damped address stays where it is for so long: then the next five moves are followed again.
    pub const DAMPED_FOR: Duration = Duration::from_secs(10);

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
            counts: Mutex::new(Counts::default()),
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
        if let Some((slot, word)) = bucket.find(key) {
            let at = site_of(word);
            if at == site {
                // Renewing does not take the lock. Where the slot changes hands at this very moment, its new
                // address looks as young as it is.
                if bucket.stamps[slot].load(Ordering::Relaxed) != stamp {
                    bucket.stamps[slot].store(stamp, Ordering::Relaxed);
                }
                return Learned::Known;
            }
            // Nor does this: it may come with every frame.
            if bucket.moves(slot).is_damped(stamp) {
                return Learned::Damped { at, begins: false };
            }
        }
        self.learn_locked(key, stamp, site)
    }

    /// Forgets `mac`, and says where it lived.
    pub fn forget(&self, mac: EthernetAddress) -> Option<Site> {
        self.forget_where(mac, |_| true)
    }

    /// Forgets `mac` if it lives at `site`, and says whether it did: for news that are only true of one site.
    pub fn forget_at(&self, mac: EthernetAddress, site: Site) -> bool {
        // The look without the lock keeps news of what is not here cheap.
        self.lookup(mac) == Some(site) && self.forget_where(mac, |at| at == site).is_some()
    }

    /// Whether there would be a place for `mac` at `site`. Where there is none, that it is not known says
    /// nothing. Takes the lock: not for every frame.
    pub fn has_room(&self, mac: EthernetAddress, site: Site) -> bool {
        let Some(key) = key(mac) else {
            return false;
        };
        let counts = self.lock();
        let index = self.index(key);
        let is_there = self.buckets[index]
            .find(key)
            .is_some_and(|(_, word)| site_of(word) == site);
        is_there || self.room(&counts, index, site).is_some()
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
                    damped: bucket.moves(slot).is_damped(stamp_now),
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

    fn learn_locked(&self, key: u64, stamp: u64, site: Site) -> Learned {
        let mut counts = self.lock();
        let index = self.index(key);
        let bucket = &self.buckets[index];
        if let Some((slot, word)) = bucket.find(key) {
            let from = site_of(word);
            if from == site {
                // Another worker was first.
                bucket.stamps[slot].store(stamp, Ordering::Relaxed);
                return Learned::Known;
            }
            let (moves, moved) = bucket.moves(slot).add(stamp);
            bucket.moves[slot].store(moves.0, Ordering::Relaxed);
            if let Err(begins) = moved {
                return Learned::Damped { at: from, begins };
            }
            if counts.of(site) >= self.site_capacity() {
                // It is not where it was, and we can't say where it is: better flooded than lost.
                self.clear(&mut counts, bucket, slot, word);
                return Learned::Full;
            }
            counts.remove(from);
            counts.add(site);
            bucket.stamps[slot].store(stamp, Ordering::Relaxed);
            bucket.slots[slot].store(key | u64::from(site.0), Ordering::Release);
            return Learned::Moved { from };
        }
        let Some(room) = self.room(&counts, index, site) else {
            return Learned::Full;
        };
        if let Some((crowded, slot)) = room.evicted {
            let word = crowded.slots[slot].load(Ordering::Relaxed);
            self.clear(&mut counts, crowded, slot, word);
        }
        counts.add(site);
        self.len.fetch_add(1, Ordering::Relaxed);
        // The stamp first: whoever sees the address sees its age.
        bucket.stamps[room.slot].store(stamp, Ordering::Relaxed);
        bucket.slots[room.slot].store(key | u64::from(site.0), Ordering::Release);
        Learned::New
    }

    /// A slot for a new address of `site` in a bucket, and what has to go for it; the lock is held.
    fn room(&self, counts: &Counts, index: usize, site: Site) -> Option<Room<'_>> {
        if counts.of(site) >= self.site_capacity() {
            return None;
        }
        let bucket = &self.buckets[index];
        let free = bucket.free();
        if let Some(slot) = free
            && self.len() < self.capacity
        {
            return Some(Room {
                slot,
                evicted: None,
            });
        }
        if let Some(crowded) = bucket.crowded(counts, site) {
            return Some(Room {
                slot: free.unwrap_or(crowded),
                evicted: Some((bucket, crowded)),
            });
        }
        // The table is full, and this bucket has none to spare: a crowded site has one in every few buckets.
        let slot = free?;
        (1..self.buckets.len().min(EVICTION_BUCKETS_MAX)).find_map(|step| {
            let other = &self.buckets[(index + step) & (self.buckets.len() - 1)];
            let crowded = other.crowded(counts, site)?;
            Some(Room {
                slot,
                evicted: Some((other, crowded)),
            })
        })
    }

    fn forget_where(&self, mac: EthernetAddress, is_meant: impl Fn(Site) -> bool) -> Option<Site> {
        let key = key(mac)?;
        let mut counts = self.lock();
        let bucket = self.bucket(key);
        let (slot, word) = bucket
            .find(key)
            .filter(|(_, word)| is_meant(site_of(*word)))?;
        let site = site_of(word);
        self.clear(&mut counts, bucket, slot, word);
        Some(site)
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
    fn clear(&self, counts: &mut Counts, bucket: &Bucket, slot: usize, word: u64) {
        counts.remove(site_of(word));
        self.len.fetch_sub(1, Ordering::Relaxed);
        bucket.moves[slot].store(0, Ordering::Relaxed);
        bucket.slots[slot].store(EMPTY, Ordering::Release);
    }

    fn lock(&self) -> impl std::ops::DerefMut<Target = Counts> + '_ {
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
        &self.buckets[self.index(key)]
    }

    fn index(&self, key: u64) -> usize {
        // Fibonacci hashing of the seeded key, folded so that high and low bits both count; the number of
        // buckets is a power of two.
        let mixed = (key ^ self.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(self.seed | 1);
        (mixed >> 32) as usize & (self.buckets.len() - 1)
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
/// Buckets that are looked at for an address that may go. A site that holds an eighth of a full table has one in
/// every fourth bucket; this bounds what a new address costs a full table that nobody crowds.
const EVICTION_BUCKETS_MAX: usize = 32;

/// Addresses held by each site, by index.
#[derive(Debug, Default)]
struct Counts(Vec<u32>);

impl Counts {
    fn of(&self, site: Site) -> usize {
        self.0.get(site.index()).map_or(0, |count| *count as usize)
    }

    fn add(&mut self, site: Site) {
        if self.0.len() <= site.index() {
            self.0.resize(site.index() + 1, 0);
        }
        self.0[site.index()] += 1;
    }

    /// Takes one off; the site has one.
    fn remove(&mut self, site: Site) {
        self.0[site.index()] -= 1;
    }
}

/// A place for a new address.
struct Room<'t> {
    /// In the address's own bucket.
    slot: usize,
    /// The slot to be emptied first.
    evicted: Option<(&'t Bucket, usize)>,
}

/// How often an address moved lately. The low 8 bits count; above them stands a stamp: when the first of these
/// moves was, or, once there were too many, until when the address is damped. Changed under the lock only.
#[derive(Debug, Clone, Copy)]
struct Moves(u64);

impl Moves {
    fn new(count: u8, at: u64) -> Self {
        Self(at << 8 | u64::from(count))
    }

    fn count(self) -> u8 {
        self.0 as u8
    }

    fn at(self) -> u64 {
        self.0 >> 8
    }

    fn is_damped(self, stamp: u64) -> bool {
        self.count() > MacTable::MOVES_MAX && stamp < self.at()
    }

    /// One more move; refused when it is one too many, or when there was one already: then it says whether this
    /// is the first that is refused.
    fn add(self, stamp: u64) -> (Self, Result<(), bool>) {
        if self.is_damped(stamp) {
            return (self, Err(false));
        }
        let counts = (1..=MacTable::MOVES_MAX).contains(&self.count());
        if !counts || stamp.saturating_sub(self.at()) >= millis(MacTable::MOVES_WINDOW) {
            return (Self::new(1, stamp), Ok(()));
        }
        if self.count() < MacTable::MOVES_MAX {
            return (Self::new(self.count() + 1, self.at()), Ok(()));
        }
        let until = stamp + millis(MacTable::DAMPED_FOR);
        (Self::new(MacTable::MOVES_MAX + 1, until), Err(true))
    }
}

#[derive(Debug)]
#[repr(align(64))]
struct Bucket {
    slots: [AtomicU64; SLOTS],
    stamps: [AtomicU64; SLOTS],
    moves: [AtomicU64; SLOTS],
}

impl Bucket {
    fn new() -> Self {
        Self {
            slots: std::array::from_fn(|_| AtomicU64::new(EMPTY)),
            stamps: std::array::from_fn(|_| AtomicU64::new(0)),
            moves: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn moves(&self, slot: usize) -> Moves {
        Moves(self.moves[slot].load(Ordering::Relaxed))
    }

    /// A slot not in use.
    fn free(&self) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.load(Ordering::Relaxed) == EMPTY)
    }

    /// The slot to be emptied for an address of `site`: of the site here that holds most in all, if that is more
    /// than twice as many as `site` does, the address silent for longest.
    fn crowded(&self, counts: &Counts, site: Site) -> Option<usize> {
        let enough = 2 * counts.of(site);
        (0..SLOTS)
            .filter_map(|slot| {
                let word = self.slots[slot].load(Ordering::Relaxed);
                let held = (word != EMPTY).then(|| counts.of(site_of(word)))?;
                let stamp = self.stamps[slot].load(Ordering::Relaxed);
                (held > enough.max(1)).then_some((slot, held, stamp))
            })
            .max_by_key(|(_, held, stamp)| (*held, std::cmp::Reverse(*stamp)))
            .map(|(slot, ..)| slot)
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
