//! Whom to dial, when, and at which address.
//!
//! Each wish (a target of the user's, a peer met in records) has rounds: a round tries the
//! addresses one after the other, 250 ms apart, and the next round starts a back-off after the
//! start of this one. The first to reach the peer ends it.
//!
//! Whoever refuses us for what only people can change (a password, `--deny`) is left alone for longer, 10 s to 5 min:
//! trying again soon would do no more than use up guesses and fill logs. A new password of our own, a new boot or
//! address of theirs, or the user's `connect` has it tried again at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};
use weave_crypto::PeerId;

use crate::conn::ConnId;
use crate::error::FailReason;
use crate::target::Target;

/// Most targets. More would be a peer list, which records are for.
pub const TARGETS_MAX: usize = 256;
/// Most connections being opened or set up at once by this router.
pub const DIALS_MAX: usize = 32;

/// Most addresses of one wish that a round tries.
const ADDRESSES_MAX: usize = 32;
/// Between addresses of one wish (RFC 8305 section 5).
const ADDRESS_DELAY: Duration = Duration::from_millis(250);
/// First back-off, start to start, × 1.5 each time, ± 20 %.
const BACK_OFF_MIN: Duration = Duration::from_millis(500);
/// Longest back-off for targets and neighbours lost lately.
const BACK_OFF_MAX_NEAR: Duration = Duration::from_secs(3);
/// Longest back-off for others.
const BACK_OFF_MAX_FAR: Duration = Duration::from_secs(60);
/// First back-off after a refusal that only people can change, from the refusal on; × 2 each time, up to 20 % less.
const REFUSED_MIN: Duration = Duration::from_secs(10);
/// The longest.
const REFUSED_MAX: Duration = Duration::from_secs(300);
/// Steps after which the longest back-off is reached.
const STEPS_MAX: u32 = 16;
/// A neighbour lost this long ago is as good as a target.
const LOST_LATELY: Duration = Duration::from_secs(600);
/// A link that lived this long was worth being dialled again at once.
const LIVED: Duration = Duration::from_secs(3);
/// How much later the router with the larger id dials a peer met in records.
const LARGER_WAITS: Duration = Duration::from_millis(1500);
/// How long an address that leads to ourselves is left alone.
const SELF_FOR: Duration = Duration::from_secs(600);
/// Addresses that lead to ourselves remembered at most.
const SELF_MAX: usize = 64;
/// A resolver that says nothing for this long is asked again.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A wish to be connected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Target(Target),
    Peer(PeerId),
    /// An address of a neighbour before the restart: wanted until it leads somewhere once.
    Rejoin(SocketAddr),
}

/// What a user sees of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetStatus {
    /// What the user gave.
    pub target: Target,
    /// How it stands.
    pub state: TargetState,
    /// Why the last attempt failed, since it was last connected.
    pub last_error: Option<FailReason>,
}

/// How a target stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetState {
    /// A link to this peer stands.
    Connected(PeerId),
    /// Its name is being resolved.
    Resolving,
    /// A connection is being opened or set up.
    Dialling,
    /// Tried again at this time.
    Waiting(Instant),
    /// It leads to this router itself.
    Itself,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DialStep {
    Resolve(Target),
    Dial(Purpose, SocketAddr),
}

#[derive(Debug, Default)]
pub(crate) struct Dialler {
    wishes: BTreeMap<Purpose, Wish>,
    attempts: BTreeMap<ConnId, (Purpose, SocketAddr)>,
    own_addresses: BTreeMap<SocketAddr, Instant>,
    /// Nothing changed since [`Dialler::rest`]: until then there is nothing to do.
    rests_until: Rest,
}

/// Whether somebody may have to be dialled.
#[derive(Clone, Copy, Debug, Default)]
enum Rest {
    /// Something changed.
    #[default]
    Awake,
    /// Not before this time, or before something changes.
    Until(Option<Instant>),
}

#[derive(Debug)]
struct Wish {
    step: u32,
    /// Rounds in a row that ended with a refusal that only people can change.
    refused: u32,
    /// One of them is this round.
    is_refused: bool,
    /// Start of the next round.
    next_at: Instant,
    /// Addresses that this round has not tried yet.
    queue: VecDeque<SocketAddr>,
    next_address_at: Instant,
    resolving_until: Option<Instant>,
    /// Who was found there.
    peer: Option<PeerId>,
    lost_at: Option<Instant>,
    last_error: Option<FailReason>,
    is_self_until: Option<Instant>,
    /// Of a peer: what its record says.
    boot_id: u64,
    addresses: Vec<SocketAddr>,
    /// The address that worked last, tried first.
    working: Option<SocketAddr>,
}

impl Wish {
    fn new(next_at: Instant) -> Self {
        Self {
            step: 0,
            refused: 0,
            is_refused: false,
            next_at,
            queue: VecDeque::new(),
            next_address_at: next_at,
            resolving_until: None,
            peer: None,
            lost_at: None,
            last_error: None,
            is_self_until: None,
            boot_id: 0,
            addresses: Vec::new(),
            working: None,
        }
    }

    /// Nothing that was refused is held against it any more.
    fn is_worth_trying(&mut self) {
        self.step = 0;
        self.refused = 0;
        self.is_refused = false;
    }

    fn is_satisfied(&self, now: Instant, is_linked: &dyn Fn(&PeerId) -> bool) -> bool {
        self.peer.as_ref().is_some_and(is_linked)
            || self.is_self_until.is_some_and(|until| now < until)
    }
}

impl Dialler {
    /// Adds a target, or has one that is there dialled at once. Returns false if there are
    /// [`TARGETS_MAX`] others.
    pub(crate) fn add_target(&mut self, now: Instant, target: Target) -> bool {
        self.rests_until = Rest::Awake;
        let purpose = Purpose::Target(target);
        if let Some(wish) = self.wishes.get_mut(&purpose) {
            wish.is_worth_trying();
            wish.next_at = now;
            wish.is_self_until = None;
            return true;
        }
        if self.targets().count() >= TARGETS_MAX {
            return false;
        }
        self.wishes.insert(purpose, Wish::new(now));
        true
    }

    /// Has an address dialled until it leads to a peer that there is a link to.
    pub(crate) fn add_rejoin(&mut self, now: Instant, address: SocketAddr) {
        self.rests_until = Rest::Awake;
        self.wishes
            .entry(Purpose::Rejoin(address))
            .or_insert_with(|| Wish::new(now));
    }

    /// Removes a target; returns who was found there, `None` if it is no target.
    pub(crate) fn remove_target(&mut self, target: &Target) -> Option<Option<PeerId>> {
        self.rests_until = Rest::Awake;
        let wish = self.wishes.remove(&Purpose::Target(target.clone()))?;
        Some(wish.peer)
    }

    /// Every address that somebody wanted may be found at.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let of_wishes = self.wishes.iter().flat_map(|(purpose, wish)| {
            let named = match purpose {
                Purpose::Target(target) => target.socket(),
                Purpose::Rejoin(address) => Some(*address),
                Purpose::Peer(_) => None,
            };
            let found = wish.addresses.iter().chain(&wish.queue).copied();
            found.chain(named).chain(wish.working)
        });
        of_wishes.chain(self.attempts.values().map(|(_, remote)| *remote))
    }

    /// Connections under way for a purpose.
    pub(crate) fn attempts_for(&self, purpose: &Purpose) -> Vec<ConnId> {
        self.attempts
            .iter()
            .filter(|(_, (of, _))| of == purpose)
            .map(|(conn, _)| *conn)
            .collect()
    }

    /// Wishes for links to exactly these peers, by what their records say; targets are left alone.
    pub(crate) fn set_peers(
        &mut self,
        now: Instant,
        own: &PeerId,
        peers: &BTreeMap<PeerId, (u64, Vec<SocketAddr>)>,
    ) {
        self.rests_until = Rest::Awake;
        self.wishes.retain(|purpose, _| match purpose {
            Purpose::Target(_) | Purpose::Rejoin(_) => true,
            Purpose::Peer(peer) => peers.contains_key(peer),
        });
        for (peer, (boot_id, addresses)) in peers {
            let first_at = now + patience_of_larger(own, peer);
            let wish = self
                .wishes
                .entry(Purpose::Peer(*peer))
                .or_insert_with(|| Wish::new(first_at));
            wish.peer = Some(*peer);
            if wish.boot_id != *boot_id || wish.addresses != *addresses {
                if wish.boot_id != 0 {
                    wish.is_worth_trying();
                    wish.next_at = wish.next_at.min(first_at);
                }
                wish.boot_id = *boot_id;
                wish.addresses.clone_from(addresses);
                wish.addresses.truncate(ADDRESSES_MAX);
            }
        }
    }

    /// The resolver's answer. Returns the failure to report.
    pub(crate) fn handle_resolved(
        &mut self,
        now: Instant,
        target: &Target,
        result: Result<Vec<SocketAddr>, String>,
    ) -> Option<FailReason> {
        self.rests_until = Rest::Awake;
        let wish = self.wishes.get_mut(&Purpose::Target(target.clone()))?;
        wish.resolving_until.take()?;
        let reason = match result {
            Ok(addresses) if !addresses.is_empty() => {
                wish.queue = addresses.into_iter().take(ADDRESSES_MAX).collect();
                wish.next_address_at = now;
                return None;
            }
            Ok(_) => FailReason::Resolve("no address".into()),
            Err(message) => FailReason::Resolve(message),
        };
        wish.last_error = Some(reason.clone());
        Some(reason)
    }

    /// What is due. The caller gives each dialled address a connection by [`Dialler::started`].
    pub(crate) fn next_step(
        &mut self,
        now: Instant,
        is_linked: &dyn Fn(&PeerId) -> bool,
        random: &mut impl Rng,
    ) -> Option<DialStep> {
        self.own_addresses.retain(|_, until| now < *until);
        self.wishes.retain(|purpose, wish| {
            !matches!(purpose, Purpose::Rejoin(_)) || !wish.is_satisfied(now, is_linked)
        });
        let busy: BTreeSet<&Purpose> = self.attempts.values().map(|(of, _)| of).collect();
        for (purpose, wish) in &mut self.wishes {
            if wish.is_satisfied(now, is_linked) {
                wish.queue.clear();
                continue;
            }
            let is_resolving = wish.resolving_until.is_some_and(|until| now < until);
            let is_round_over = wish.queue.is_empty() && !is_resolving && !busy.contains(purpose);
            if is_round_over && now >= wish.next_at {
                let is_near = matches!(purpose, Purpose::Target(_))
                    || wish.lost_at.is_some_and(|at| now < at + LOST_LATELY);
                wish.next_at = now + back_off(wish.step, is_near, random);
                wish.step = (wish.step + 1).min(STEPS_MAX);
                wish.is_refused = false;
                wish.next_address_at = now;
                match purpose {
                    Purpose::Target(target) => match target.socket() {
                        Some(socket) => wish.queue.push_back(socket),
                        None => {
                            wish.resolving_until = Some(now + RESOLVE_TIMEOUT);
                            return Some(DialStep::Resolve(target.clone()));
                        }
                    },
                    Purpose::Rejoin(address) => wish.queue.push_back(*address),
                    Purpose::Peer(_) => {
                        let mut tried = BTreeSet::new();
                        let all = wish.working.iter().chain(&wish.addresses);
                        wish.queue = all.copied().filter(|to| tried.insert(*to)).collect();
                    }
                }
            }
            if self.attempts.len() >= DIALS_MAX {
                continue;
            }
            while now >= wish.next_address_at
                && let Some(remote) = wish.queue.pop_front()
            {
                let is_under_way = self.attempts.values().any(|(_, to)| *to == remote);
                if is_under_way || self.own_addresses.contains_key(&remote) {
                    continue;
                }
                wish.next_address_at = now + ADDRESS_DELAY;
                return Some(DialStep::Dial(purpose.clone(), remote));
            }
        }
        None
    }

    /// A connection is being opened.
    pub(crate) fn started(&mut self, conn: ConnId, purpose: Purpose, remote: SocketAddr) {
        self.rests_until = Rest::Awake;
        self.attempts.insert(conn, (purpose, remote));
    }

    /// A connection led to a peer to which there is a link now, by it or by another stream.
    pub(crate) fn reached(&mut self, conn: ConnId, peer: PeerId) {
        self.rests_until = Rest::Awake;
        let Some((purpose, remote)) = self.attempts.remove(&conn) else {
            return;
        };
        if let Some(wish) = self.wishes.get_mut(&purpose) {
            wish.peer = Some(peer);
            wish.working = Some(remote);
            wish.last_error = None;
            wish.refused = 0;
            wish.queue.clear();
        }
        if let Some(wish) = self.wishes.get_mut(&Purpose::Peer(peer)) {
            wish.working = Some(remote);
        }
    }

    /// A connection led nowhere. Returns what it was for.
    pub(crate) fn failed(
        &mut self,
        conn: ConnId,
        reason: &FailReason,
    ) -> Option<(Purpose, SocketAddr)> {
        let (purpose, remote) = self.attempts.remove(&conn)?;
        self.rests_until = Rest::Awake;
        if let Some(wish) = self.wishes.get_mut(&purpose) {
            wish.last_error = Some(reason.clone());
            if wish.working == Some(remote) {
                wish.working = None;
            }
        }
        Some((purpose, remote))
    }

    /// A connection led back to this router.
    pub(crate) fn led_to_self(&mut self, now: Instant, conn: ConnId, remote: SocketAddr) {
        self.rests_until = Rest::Awake;
        if self.own_addresses.len() < SELF_MAX {
            self.own_addresses.insert(remote, now + SELF_FOR);
        }
        if let Some((purpose, _)) = self.attempts.remove(&conn)
            && let Some(wish) = self.wishes.get_mut(&purpose)
            && matches!(purpose, Purpose::Target(_))
            && wish.queue.is_empty()
        {
            wish.is_self_until = Some(now + SELF_FOR);
            wish.last_error = Some(FailReason::Itself);
        }
    }

    /// A link that came up at `since` lost its stream, or went down: it is wanted again.
    pub(crate) fn link_lost(&mut self, now: Instant, own: &PeerId, peer: &PeerId, since: Instant) {
        self.rests_until = Rest::Awake;
        for (purpose, wish) in &mut self.wishes {
            if wish.peer.as_ref() != Some(peer) {
                continue;
            }
            wish.lost_at = Some(now);
            if now >= since + LIVED {
                wish.is_worth_trying();
                let patience = match purpose {
                    Purpose::Target(_) | Purpose::Rejoin(_) => Duration::ZERO,
                    Purpose::Peer(peer) => patience_of_larger(own, peer),
                };
                wish.next_at = now + patience;
            }
        }
    }

    /// All links went down for a cause that waiting does not mend: everybody is tried at once.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.rests_until = Rest::Awake;
        for wish in self.wishes.values_mut() {
            wish.step = 0;
            wish.next_at = now;
        }
    }

    /// A connection for this purpose [failed](Self::failed) for what only people can change.
    pub(crate) fn refused(&mut self, now: Instant, purpose: &Purpose, random: &mut impl Rng) {
        let Some(wish) = self.wishes.get_mut(purpose) else {
            return;
        };
        // Once a round, however many addresses lead to refusals.
        if !std::mem::replace(&mut wish.is_refused, true) {
            wish.next_at = wish
                .next_at
                .max(now + refused_back_off(wish.refused, random));
            wish.refused = (wish.refused + 1).min(STEPS_MAX);
        }
    }

    /// What others refused us for may have changed: whoever did is tried at once.
    pub(crate) fn forgive(&mut self, now: Instant) {
        self.rests_until = Rest::Awake;
        for wish in self.wishes.values_mut().filter(|wish| wish.refused > 0) {
            wish.is_worth_trying();
            wish.next_at = now;
        }
    }

    /// Whether [`Dialler::next_step`] may have something to do. `is_linked` may have changed only with
    /// [`Dialler::reached`] and [`Dialler::link_lost`].
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        match self.rests_until {
            Rest::Awake => true,
            Rest::Until(at) => at.is_some_and(|at| now >= at),
        }
    }

    /// All steps were taken: works out when the next one is due.
    pub(crate) fn rest(&mut self, now: Instant, is_linked: &dyn Fn(&PeerId) -> bool) {
        self.rests_until = Rest::Until(self.next_timeout(now, is_linked));
    }

    /// When the next step is due, as of [`Dialler::rest`].
    pub(crate) fn rests_until(&self, now: Instant) -> Option<Instant> {
        match self.rests_until {
            Rest::Awake => Some(now),
            Rest::Until(at) => at,
        }
    }

    /// When [`Dialler::next_step`] has something to do.
    fn next_timeout(&self, now: Instant, is_linked: &dyn Fn(&PeerId) -> bool) -> Option<Instant> {
        let is_full = self.attempts.len() >= DIALS_MAX;
        let busy: BTreeSet<&Purpose> = self.attempts.values().map(|(of, _)| of).collect();
        self.wishes
            .iter()
            .filter_map(|(purpose, wish)| {
                if wish.peer.as_ref().is_some_and(is_linked) {
                    None
                } else if let Some(until) = wish.is_self_until.filter(|until| now < *until) {
                    Some(until)
                } else if !wish.queue.is_empty() {
                    (!is_full).then_some(wish.next_address_at)
                } else if let Some(until) = wish.resolving_until {
                    Some(until.max(wish.next_at))
                } else if busy.contains(purpose) {
                    None
                } else {
                    Some(wish.next_at)
                }
            })
            .min()
    }

    /// All targets, in order.
    pub(crate) fn statuses(
        &self,
        now: Instant,
        is_linked: &dyn Fn(&PeerId) -> bool,
    ) -> Vec<TargetStatus> {
        self.targets()
            .map(|(target, wish)| {
                let purpose = Purpose::Target(target.clone());
                let is_dialling = self.attempts.values().any(|(of, _)| *of == purpose);
                let state = match wish.peer {
                    Some(peer) if is_linked(&peer) => TargetState::Connected(peer),
                    _ if wish.is_self_until.is_some_and(|until| now < until) => TargetState::Itself,
                    _ if wish.resolving_until.is_some() => TargetState::Resolving,
                    _ if is_dialling || !wish.queue.is_empty() => TargetState::Dialling,
                    _ => TargetState::Waiting(wish.next_at),
                };
                TargetStatus {
                    target: target.clone(),
                    state,
                    last_error: wish.last_error.clone(),
                }
            })
            .collect()
    }

    fn targets(&self) -> impl Iterator<Item = (&Target, &Wish)> {
        self.wishes
            .iter()
            .filter_map(|(purpose, wish)| match purpose {
                Purpose::Target(target) => Some((target, wish)),
                Purpose::Peer(_) | Purpose::Rejoin(_) => None,
            })
    }
}

fn patience_of_larger(own: &PeerId, peer: &PeerId) -> Duration {
    if own > peer {
        LARGER_WAITS
    } else {
        Duration::ZERO
    }
}

fn back_off(step: u32, is_near: bool, random: &mut impl Rng) -> Duration {
    let longest = if is_near {
        BACK_OFF_MAX_NEAR
    } else {
        BACK_OFF_MAX_FAR
    };
    let mut delay = BACK_OFF_MIN;
    for _ in 0..step {
        delay = delay * 3 / 2;
    }
    delay.min(longest) * random.random_range(800..=1200) / 1000
}

fn refused_back_off(refused: u32, random: &mut impl Rng) -> Duration {
    let longest = REFUSED_MIN
        .saturating_mul(1 << refused.min(STEPS_MAX))
        .min(REFUSED_MAX);
    // Less, not more: the bounds hold as they stand.
    (longest * random.random_range(800..=1000) / 1000).max(REFUSED_MIN)
}

#[cfg(test)]
mod tests;
