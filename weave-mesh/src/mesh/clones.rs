//! Another router with this one's identity: a state folder that was brought back from a copy, or one that runs twice.
//!
//! A record of our own that this process did not sign comes from another process with our key. Most often that one is
//! gone: the folder was restored, or a boot id was lost. Going above its boot id is all that is needed, and we say in
//! our next `self` whom we went above. If it lives, it does the same, and names us. Nobody can name a process before it
//! began, so who reads its own random number in a record of its own identity knows of a *clone*.
//!
//! ```text
//!   A starts, B starts          A: self(10)             B: self(20)
//!   A reads B's 20          ->  A: self(21, met B)
//!   B reads A's 21, "met B" ->                          B: self(22, met A)      B knows: A lives
//!   A reads B's 22, "met A" ->  A: self(23, met B)                              A knows: B lives
//!   B reads A's 23          ->                          B knows that A knows
//! ```
//!
//! The one that started later takes a new identity, or of two that started in the same second the one with the smaller
//! random number; once it knows that the other knows, or after [`CLONE_PATIENCE`]. Each raise sets all links up anew, so
//! that this takes some seconds. Two that have a stream with each other know at once.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use weave_crypto::PeerId;

use super::gossip::Publisher;
use super::{DirectEnd, Event, Mesh};
use crate::conn::ConnId;
use crate::error::DownReason;
use crate::record::{BOOT_ID_MAX, Key, Record, RecordKind, RouterBody};
use crate::wire::{Control, Goodbye, RecordBytes};

/// How long the later one of two waits for the other to know. Three rounds of raised boot ids take one to three
/// seconds; both are to know within ten.
pub const CLONE_PATIENCE: Duration = Duration::from_secs(4);

/// Another process with our identity that lives, and what becomes of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloneMet {
    /// Boot id at its start: about the unix time.
    pub start_boot_id: u64,
    /// Its random number.
    pub start_random: u64,
    /// This router keeps the identity, and the other takes a new one; or the other way round.
    pub keeps: bool,
}

/// What is known of others with our identity.
#[derive(Debug, Default)]
pub(super) struct Clones {
    /// The random number of the last one met, alive or not: our `self` names it.
    pub(super) other_random: Option<u64>,
    met: Option<CloneMet>,
    /// When to take a new identity though the other may not know.
    give_up_at: Option<Instant>,
}

impl Mesh {
    /// Another process with this router's identity, if one was met that lives.
    pub fn clone_met(&self) -> Option<CloneMet> {
        self.clones.met
    }

    pub(super) fn clone_deadline(&self) -> Option<Instant> {
        self.clones.give_up_at
    }

    /// A record of our own identity.
    pub(super) fn take_own(
        &mut self,
        now: Instant,
        via: PeerId,
        key: Key,
        bytes: &RecordBytes,
    ) -> bool {
        let held = self.store.record(&key.origin, key.kind);
        let is_newer = match held {
            Some(held) => held.seq() < key.seq || held.seq() == key.seq && *held.bytes() != bytes.0,
            None => key.boot_id() >= self.boot_id,
        };
        let record = match Record::parse(&bytes.0) {
            Ok(record) => record,
            Err(error) => return self.refuse_record(now, Some(key.origin), via, error),
        };
        // Of two with the same boot id each has to go above the other, whoever said more.
        let is_ahead = is_newer
            || record
                .router()
                .is_some_and(|said| !self.is_ours(said) && said.boot_id >= self.boot_id);
        let is_live = via == self.own || record.router().is_some_and(|said| self.is_named(said));
        if !is_ahead && !is_live {
            self.take_known(now, via, key);
            return true;
        }
        if !record.verify(&self.config.network, &*self.verifier) {
            return self.refuse_forged(now, via, key);
        }
        let by_another = record.router().filter(|said| !self.is_ours(said)).cloned();
        if let Some(said) = &by_another {
            self.clones.other_random = Some(said.start_random);
        }
        // Whether we know of the other must not change what is judged now: so before our own self is renewed.
        if let Some(said) = by_another.filter(|_| is_live) {
            self.meet_clone(now, &said);
        }
        if !self.is_shut_down {
            self.raise_boot_id(now, record.boot_id());
        }
        true
    }

    /// A stream with our own identity at its other end, or with a peer of which two run: true if that is all that is to
    /// be done with it.
    pub(super) fn meets_clone(
        &mut self,
        now: Instant,
        id: ConnId,
        peer: PeerId,
        start_random: u64,
    ) -> bool {
        let Some((boot_id, is_dialled, remote)) = self.conns.get(&id).and_then(|conn| {
            let session = conn.session()?;
            Some((session.boot_id, conn.is_dialled, conn.remote))
        }) else {
            return false;
        };
        if peer != self.own {
            // Two that started in the same second have the same boot id.
            let is_another = self.store.router(&peer).is_some_and(|known| {
                known.boot_id == boot_id && known.start_random != start_random
            });
            if is_another {
                self.tell_stale(now, id, &peer);
            }
            return is_another;
        }
        if start_random == self.start_random {
            self.stats.connected_to_self += 1;
            if is_dialled {
                self.dialler.led_to_self(now, id, remote);
                self.events.push_back(Event::ConnectedToSelf { remote });
            }
            self.close(id, None);
            return true;
        }
        // It proved to have our key just now. Who it is, its own record says, as ours does to it.
        if let Some(record) = self.store.record(&self.own, RecordKind::Router) {
            let bytes = RecordBytes(record.bytes().clone());
            self.say(id, &Control::Records(vec![bytes]));
        }
        true
    }

    /// The wall clock jumped against the time since boot: this machine may have been brought back from a snapshot, and
    /// another may go on from the same one, with the same random numbers and the same keys. So nothing is sealed with any
    /// key of before: all streams are closed without a word, and everything begins anew with `seed`, which must be
    /// fresh and secret, and another boot id.
    pub fn handle_jump(&mut self, now: Instant, seed: [u8; 32]) {
        self.now = now;
        self.secret_random = ChaCha20Rng::from_seed(seed);
        self.public_random = ChaCha20Rng::from_rng(&mut self.secret_random);
        self.start_random = self.secret_random.next_u64();
        let peers: Vec<PeerId> = self.links.keys().copied().collect();
        for peer in peers {
            if let Some(link) = self.links.get_mut(&peer) {
                link.conn = None;
            }
        }
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.close(conn, None);
        }
        self.raise_boot_id(now, self.boot_id);
        self.settle(now);
    }

    /// The other has had its time: this router takes a new identity.
    pub(super) fn give_up_identity_when_due(&mut self, now: Instant) {
        if self.clones.give_up_at.is_some_and(|at| now >= at) {
            self.give_up_identity(now);
        }
    }

    /// Takes a boot id above `met`, and sets every link up anew. Nothing is done about one that is below ours.
    pub(super) fn raise_boot_id(&mut self, now: Instant, met: u64) {
        if met < self.boot_id || met >= BOOT_ID_MAX {
            // Nothing is above the largest. Only our own key can have signed that.
            return;
        }
        self.boot_id = met + 1;
        self.store.remove(&self.own);
        self.router_publisher = Publisher::new();
        self.links_publisher = Publisher::new();
        self.end_all(now);
        self.dialler.hurry(now);
        self.events.push_back(Event::BootIdRaised {
            boot_id: self.boot_id,
        });
    }

    /// Another process with our identity lives.
    fn meet_clone(&mut self, now: Instant, other: &RouterBody) {
        let rank = |boot_id: u64, random: u64| (boot_id, Reverse(random));
        let keeps = rank(self.start_boot_id, self.start_random)
            < rank(other.start_boot_id, other.start_random);
        let met = CloneMet {
            start_boot_id: other.start_boot_id,
            start_random: other.start_random,
            keeps,
        };
        let is_known = self.clones.met.replace(met) == Some(met);
        if !is_known {
            self.stats.clones_met += 1;
            self.events.push_back(Event::CloneMet { clone: met });
        }
        if keeps {
            return;
        }
        // It went above the self in which we named it, so it has read that.
        let own = self.store.router(&self.own);
        let has_read = other.boot_id > self.boot_id
            && self.is_named(other)
            && own.is_some_and(|own| own.other_random == Some(other.start_random));
        if has_read {
            self.give_up_identity(now);
        } else if self.clones.give_up_at.is_none() {
            self.clones.give_up_at = Some(now + CLONE_PATIENCE);
        }
    }

    /// The last that this mesh does: the driver makes another with a new identity.
    fn give_up_identity(&mut self, now: Instant) {
        self.clones.give_up_at = None;
        self.is_shut_down = true;
        self.end_all(now);
        self.events.push_back(Event::IdentityLost);
    }

    /// All links and streams end, and may come again.
    fn end_all(&mut self, now: Instant) {
        self.end_directs(DirectEnd::NoTunnel);
        let peers: Vec<PeerId> = self.links.keys().copied().collect();
        for peer in peers {
            self.take_down(now, peer, DownReason::Renewed, Some(Goodbye::Renewed));
        }
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.close(conn, Some(Goodbye::Renewed));
        }
    }

    /// Whether a `self` is of this very process.
    fn is_ours(&self, said: &RouterBody) -> bool {
        said.start_random == self.start_random && said.start_boot_id == self.start_boot_id
    }

    /// Whether a `self` of another process names this one.
    fn is_named(&self, said: &RouterBody) -> bool {
        !self.is_ours(said) && said.other_random == Some(self.start_random)
    }
}
