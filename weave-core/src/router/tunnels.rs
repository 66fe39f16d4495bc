//! The tunnels of one router: set-up, re-key, and which keys seal and open at the moment.
//!
//! ```text
//!   begin --message 1--> [initiating] --message 2 in--> current (seals at once) --confirmation-->
//!   message 1 in --message 2--> next (opens only) --first packet of theirs opened--> current
//!   current --replaced--> previous (opens for 30 s) --> gone
//!   next --our own set-up is answered first--> previous
//! ```
//!
//! Messages travel as control messages along the mesh; unanswered ones go again. Of two set-ups begun at once
//! the smaller identity's wins. A peer's new boot ends all its tunnels at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Config;
use crate::packet::{Kind, Note, PacketView, SEALED_HEADER_BYTES, seal_packet};
use rand::RngExt as _;
use rand_chacha::ChaCha20Rng;
use weave_crypto::{
    PeerId, Suite, TunnelError, TunnelInitiation, TunnelKeys, TunnelLocal, respond,
};

/// Keys are replaced after this many packets, far below the counter's 2^48.
const REKEY_AFTER_PACKETS: u64 = 1 << 32;
/// Replaced keys still open packets on their way for this long.
const PREVIOUS_FOR: Duration = Duration::from_secs(30);
/// An unanswered message goes again after these times; then the set-up is given up until traffic asks again.
const RETRIES: [Duration; 4] = [
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1200),
    Duration::from_millis(1200),
];
/// Different initiations of one router are answered at most this often: each costs some 300 µs, and a replayed one
/// takes the place of keys that wait for their confirmation. An initiator that gave up begins anew after 3.3 s.
const ANSWER_INTERVAL: Duration = Duration::from_millis(200);
/// Keys that are not confirmed after this time, which is longer than their initiator tries, are not waited for any
/// more. They open packets all the same: the initiator may have the answer, and only its confirmation have been lost.
const UNCONFIRMED_FOR: Duration = Duration::from_secs(10);
/// Former keys of one tunnel that still open packets: those replaced last, and those that were about to.
const PREVIOUS_MAX: usize = 2;
/// The use of old keys is looked at this often.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// What a set-up needs to know of the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remote {
    pub(crate) peer: PeerId,
    pub(crate) noise_public: [u8; 32],
    pub(crate) boot_id: u64,
    /// It lists AES-256-GCM among its capabilities.
    pub(crate) aes: bool,
}

/// What came of an input.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// To send to the peer.
    pub(crate) reply: Option<TunnelMessage>,
    /// Keys changed: a new snapshot is due.
    pub(crate) changed: bool,
    /// Why a message was refused.
    pub(crate) refused: Option<Refusal>,
}

/// A tunnel message, as it goes along the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TunnelMessage {
    Initiation(Vec<u8>),
    Answer(Vec<u8>),
    Confirmation(Vec<u8>),
}

/// Why a tunnel message did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It was made for an older boot of one of the two.
    StaleBoot,
    /// Our own set-up, begun at the same time, wins.
    Lost,
    /// It answers nothing that we asked, or not well.
    Unexpected,
    /// It does not verify.
    NotGenuine,
    /// Another one was answered a moment ago.
    TooOften,
}

/// All tunnels; see the [module](self).
#[derive(Debug)]
pub(crate) struct Tunnels {
    local: TunnelLocal,
    rng: ChaCha20Rng,
    /// Keys are replaced after this time.
    rekey_after: Duration,
    peers: BTreeMap<PeerId, Tunnel>,
    /// Receiver indexes in use, and whose they are.
    indexes: BTreeMap<u32, PeerId>,
}

/// The keys shared with one router.
#[derive(Debug, Default)]
pub(crate) struct Tunnel {
    boot_id: u64,
    current: Option<Epoch>,
    /// Keys that open packets until then, oldest first.
    previous: Vec<(Arc<TunnelKeys>, Instant)>,
    next: Option<Epoch>,
    /// The next keys should have been confirmed long ago.
    is_overdue: bool,
    pending: Option<Pending>,
    /// The last initiation that was answered, and the answer: the same one again gets the same answer, or else
    /// the keys that the initiator makes of the first would not be ours any more.
    answered: Option<Answered>,
}

#[derive(Debug)]
struct Answered {
    at: Instant,
    initiation: Vec<u8>,
    answer: Vec<u8>,
}

#[derive(Debug)]
struct Epoch {
    keys: Arc<TunnelKeys>,
    /// We began it, so we re-key it.
    initiator: bool,
    /// When it is next looked at: old enough, and still in use? Or, not confirmed yet, is the initiator missed?
    check_at: Instant,
    /// Packets both ways when its use was last looked at.
    used: u64,
}

impl Epoch {
    fn new(keys: Arc<TunnelKeys>, initiator: bool, check_at: Instant) -> Self {
        Self {
            // The confirmation is no use.
            used: packets(&keys),
            keys,
            initiator,
            check_at,
        }
    }
}

#[derive(Debug)]
struct Pending {
    initiation: TunnelInitiation,
    message: Vec<u8>,
    tries: usize,
    again_at: Instant,
}

impl Tunnels {
    /// None yet; `rekey_after` is kept within the bounds that [`Config`](crate::Config) names.
    pub(crate) fn new(local: TunnelLocal, rng: ChaCha20Rng, rekey_after: Duration) -> Self {
        Self {
            local,
            rng,
            rekey_after: rekey_after.clamp(Config::REKEY_AFTER_MIN, Config::REKEY_AFTER),
            peers: BTreeMap::new(),
            indexes: BTreeMap::new(),
        }
    }

    /// Our boot id was raised: nothing of the former one is valid any more.
    pub(crate) fn handle_boot(&mut self, boot_id: u64) {
        self.local.boot_id = boot_id;
        self.peers.clear();
        self.indexes.clear();
    }

    /// Begins a set-up unless one is under way, and says what to send.
    pub(crate) fn begin(&mut self, now: Instant, remote: Remote) -> Option<TunnelMessage> {
        self.forget_older_boot(&remote.peer, remote.boot_id);
        if self
            .peers
            .get(&remote.peer)
            .is_some_and(|tunnel| tunnel.pending.is_some())
        {
            return None;
        }
        let index = self.draw_index(remote.peer);
        let suite = if self.local.aes && remote.aes {
            Suite::Aes256Gcm
        } else {
            Suite::ChaCha20Poly1305
        };
        let started = TunnelInitiation::start(
            &self.local,
            remote.peer,
            &remote.noise_public,
            remote.boot_id,
            suite,
            index,
            self.rng.random(),
        );
        let Ok((initiation, message)) = started else {
            self.indexes.remove(&index);
            return None;
        };
        let tunnel = self.peers.entry(remote.peer).or_default();
        tunnel.boot_id = remote.boot_id;
        tunnel.pending = Some(Pending {
            initiation,
            message: message.clone(),
            tries: 0,
            again_at: now + RETRIES[0],
        });
        Some(TunnelMessage::Initiation(message))
    }

    /// Message 1 from `remote`.
    pub(crate) fn handle_initiation(
        &mut self,
        now: Instant,
        remote: Remote,
        message: &[u8],
    ) -> Outcome {
        self.forget_older_boot(&remote.peer, remote.boot_id);
        let answered = self
            .peers
            .get(&remote.peer)
            .and_then(|tunnel| tunnel.answered.as_ref());
        if let Some(answered) = answered {
            if answered.initiation == message {
                let reply = Some(TunnelMessage::Answer(answered.answer.clone()));
                return Outcome {
                    reply,
                    ..Outcome::default()
                };
            }
            if now.saturating_duration_since(answered.at) < ANSWER_INTERVAL {
                return Outcome::refused(Refusal::TooOften);
            }
        }
        let ours_wins = self.local.identity.peer_id() < remote.peer;
        if ours_wins
            && self
                .peers
                .get(&remote.peer)
                .is_some_and(|tunnel| tunnel.pending.is_some())
        {
            return Outcome::refused(Refusal::Lost);
        }
        let index = self.draw_index(remote.peer);
        let answered = respond(
            &self.local,
            remote.peer,
            &remote.noise_public,
            remote.boot_id,
            message,
            index,
            self.rng.random(),
        );
        let response = match answered {
            Ok(response) => response,
            Err(error) => {
                self.indexes.remove(&index);
                let stale = matches!(error, TunnelError::StaleBoot { ours: true, .. });
                return Outcome::refused(if stale {
                    Refusal::StaleBoot
                } else {
                    Refusal::NotGenuine
                });
            }
        };
        let tunnel = self.peers.entry(remote.peer).or_default();
        tunnel.boot_id = remote.boot_id;
        let mut freed = Vec::new();
        if let Some(lost) = tunnel.pending.take() {
            freed.push(lost.initiation.local_index());
        }
        freed.extend(tunnel.next.take().map(|unused| unused.keys.local_index()));
        tunnel.is_overdue = false;
        tunnel.next = Some(Epoch::new(
            Arc::new(response.keys),
            false,
            now + UNCONFIRMED_FOR,
        ));
        tunnel.answered = Some(Answered {
            at: now,
            initiation: message.to_vec(),
            answer: response.message.clone(),
        });
        for index in freed {
            self.indexes.remove(&index);
        }
        Outcome {
            reply: Some(TunnelMessage::Answer(response.message)),
            changed: true,
            refused: None,
        }
    }

    /// Message 2 from `peer`: the new keys seal from now on. The reply confirms them, so that the other end
    /// may seal with them too.
    pub(crate) fn handle_answer(&mut self, now: Instant, peer: PeerId, message: &[u8]) -> Outcome {
        let Some(tunnel) = self.peers.get_mut(&peer) else {
            return Outcome::refused(Refusal::Unexpected);
        };
        let answers = |pending: &mut Pending| {
            weave_crypto::response_index(message) == Some(pending.initiation.local_index())
        };
        let Some(pending) = tunnel.pending.take_if(answers) else {
            return Outcome::refused(Refusal::Unexpected);
        };
        let index = pending.initiation.local_index();
        match pending.initiation.finish(message) {
            Ok(keys) => {
                let keys = Arc::new(keys);
                let confirmation = confirmation(&keys);
                // Those of a set-up of theirs, which were not used yet as far as we know. Were they confirmed later, they
                // would replace newer ones here and not there.
                let unused = tunnel.next.take().map(|next| next.keys);
                let mut gone = tunnel.replace(now, Epoch::new(keys, true, now + self.rekey_after));
                gone.extend(unused.and_then(|keys| tunnel.retire(now, keys)));
                for index in gone {
                    self.indexes.remove(&index);
                }
                Outcome {
                    reply: confirmation.map(TunnelMessage::Confirmation),
                    changed: true,
                    refused: None,
                }
            }
            Err(_) => {
                self.indexes.remove(&index);
                Outcome::refused(Refusal::NotGenuine)
            }
        }
    }

    /// The confirmation came along the mesh: a sealed packet like any other, opened here.
    pub(crate) fn handle_confirmation(
        &mut self,
        now: Instant,
        peer: PeerId,
        packet: &[u8],
    ) -> Outcome {
        let Some(next) = self
            .peers
            .get(&peer)
            .and_then(|tunnel| tunnel.next.as_ref())
        else {
            return Outcome::default();
        };
        let index = next.keys.local_index();
        if !confirms(&next.keys, packet) {
            return Outcome::refused(Refusal::NotGenuine);
        }
        next.keys.confirm();
        self.handle_confirmed(now, index)
    }

    /// A packet sealed with these keys opened: they become current.
    pub(crate) fn handle_confirmed(&mut self, now: Instant, index: u32) -> Outcome {
        let Some(peer) = self.indexes.get(&index).copied() else {
            return Outcome::default();
        };
        let Some(tunnel) = self.peers.get_mut(&peer) else {
            return Outcome::default();
        };
        if tunnel
            .next
            .as_ref()
            .is_none_or(|next| next.keys.local_index() != index)
        {
            return Outcome::default();
        }
        let gone = match tunnel.next.take() {
            Some(next) => tunnel.replace(now, next),
            None => Vec::new(),
        };
        for index in gone {
            self.indexes.remove(&index);
        }
        Outcome {
            changed: true,
            ..Outcome::default()
        }
    }

    /// Messages that go again; peers whose tunnel is due for new keys; and whether keys went away.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> TimeoutOutcome {
        let mut outcome = TimeoutOutcome::default();
        for (peer, tunnel) in &mut self.peers {
            if let Some(pending) = &mut tunnel.pending
                && pending.again_at <= now
            {
                pending.tries += 1;
                if let Some(wait) = RETRIES.get(pending.tries) {
                    pending.again_at = now + *wait;
                    outcome
                        .again
                        .push((*peer, TunnelMessage::Initiation(pending.message.clone())));
                } else {
                    self.indexes.remove(&pending.initiation.local_index());
                    tunnel.pending = None;
                }
            }
            if let Some(next) = &mut tunnel.next
                && next.check_at <= now
            {
                tunnel.is_overdue = true;
                next.check_at = now + CHECK_EVERY;
                // Perhaps the initiator seals with these and will soon not open the current ones any more.
                if tunnel.current.is_some() && tunnel.pending.is_none() {
                    outcome.rekey.push(*peer);
                }
            }
            while let Some((keys, _)) = tunnel.previous.first().filter(|(_, until)| *until <= now) {
                self.indexes.remove(&keys.local_index());
                tunnel.previous.remove(0);
                outcome.changed = true;
            }
            if let Some(current) = &mut tunnel.current
                && current.initiator
                && (current.check_at <= now || packets(&current.keys) >= REKEY_AFTER_PACKETS)
            {
                current.check_at = now + CHECK_EVERY;
                let used = packets(&current.keys);
                if used != current.used && tunnel.pending.is_none() {
                    outcome.rekey.push(*peer);
                }
                current.used = used;
            }
        }
        outcome
    }

    /// When something is next to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.peers
            .values()
            .flat_map(|tunnel| {
                let again = tunnel.pending.as_ref().map(|pending| pending.again_at);
                let gone = tunnel.previous.first().map(|(_, until)| *until);
                let check = tunnel
                    .current
                    .as_ref()
                    .filter(|current| current.initiator)
                    .map(|current| current.check_at);
                let unconfirmed = tunnel.next.as_ref().map(|next| next.check_at);
                [again, gone, check, unconfirmed]
            })
            .flatten()
            .min()
    }

    /// Keys to seal with.
    pub(crate) fn sealing(&self, peer: &PeerId) -> Option<&Arc<TunnelKeys>> {
        self.peers
            .get(peer)?
            .current
            .as_ref()
            .map(|current| &current.keys)
    }

    /// Whether a set-up with this router is under way.
    pub(crate) fn is_pending(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|tunnel| {
            tunnel.pending.is_some() || tunnel.next.is_some() && !tunnel.is_overdue
        })
    }

    /// All keys that open packets, with their routers.
    pub(crate) fn opening(&self) -> impl Iterator<Item = (PeerId, &Arc<TunnelKeys>)> {
        self.peers
            .iter()
            .flat_map(|(peer, tunnel)| tunnel.opening().map(move |keys| (*peer, keys)))
    }

    /// The keys of a router that open what names this receiver index.
    pub(crate) fn opening_at(&self, peer: &PeerId, index: u32) -> Option<&Arc<TunnelKeys>> {
        let mut all = self.peers.get(peer)?.opening();
        all.find(|keys| keys.local_index() == index)
    }

    /// Forgets a router's tunnel.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
        self.indexes.retain(|_, owner| owner != peer);
    }

    /// Ends the tunnel with a boot of a router before this one, and says whether there was any.
    pub(crate) fn forget_older_boot(&mut self, peer: &PeerId, boot_id: u64) -> bool {
        let older = self
            .peers
            .get(peer)
            .is_some_and(|tunnel| tunnel.boot_id < boot_id);
        if older {
            self.forget(peer);
        }
        older
    }

    /// A receiver index that no keys of ours have. Zero is never drawn.
    fn draw_index(&mut self, peer: PeerId) -> u32 {
        loop {
            let index: u32 = self.rng.random();
            if index != 0 && !self.indexes.contains_key(&index) {
                self.indexes.insert(index, peer);
                return index;
            }
        }
    }
}

impl Tunnel {
    /// Makes `epoch` current; what it replaces opens for a while longer. Gives the indexes of keys gone.
    fn replace(&mut self, now: Instant, epoch: Epoch) -> Vec<u32> {
        let replaced = self.current.replace(epoch);
        let gone = replaced.and_then(|replaced| self.retire(now, replaced.keys));
        gone.into_iter().collect()
    }

    /// Keys only open from now on. Gives the index of older ones that do not even that any more.
    fn retire(&mut self, now: Instant, keys: Arc<TunnelKeys>) -> Option<u32> {
        self.previous.push((keys, now + PREVIOUS_FOR));
        let (gone, _) = (self.previous.len() > PREVIOUS_MAX).then(|| self.previous.remove(0))?;
        Some(gone.local_index())
    }

    /// All keys that open packets.
    fn opening(&self) -> impl Iterator<Item = &Arc<TunnelKeys>> {
        let current = self.current.as_ref().map(|epoch| &epoch.keys);
        let next = self.next.as_ref().map(|epoch| &epoch.keys);
        let previous = self.previous.iter().map(|(keys, _)| keys);
        current.into_iter().chain(previous).chain(next)
    }
}

impl Outcome {
    fn refused(refusal: Refusal) -> Self {
        Self {
            refused: Some(refusal),
            ..Self::default()
        }
    }
}

/// What a time-out asks for.
#[derive(Debug, Default)]
pub(crate) struct TimeoutOutcome {
    pub(crate) again: Vec<(PeerId, TunnelMessage)>,
    pub(crate) rekey: Vec<PeerId>,
    pub(crate) changed: bool,
}

/// Packets both ways.
fn packets(keys: &TunnelKeys) -> u64 {
    keys.sent_packets() + keys.received_packets()
}

/// A sealed note that says "confirm", made with new keys.
fn confirmation(keys: &TunnelKeys) -> Option<Vec<u8>> {
    let mut note = [0; Note::BYTES_MAX];
    let len = Note::Confirm.emit(&mut note);
    seal_packet(keys, Kind::Note, None, &note[..len]).ok()
}

/// Whether `packet` is a genuine note sealed with the other side of `keys`.
fn confirms(keys: &TunnelKeys, packet: &[u8]) -> bool {
    let Ok(view) = PacketView::new_checked(packet) else {
        return false;
    };
    let header = view.sealed();
    if view.envelope().is_some()
        || header.kind != Kind::Note
        || header.receiver != keys.local_index()
    {
        return false;
    }
    let (aad, body) = packet.split_at(SEALED_HEADER_BYTES);
    let mut body = body.to_vec();
    let genuine = keys
        .open(header.counter, aad, &mut body)
        .is_ok_and(|note| Note::parse(note) == Ok(Note::Confirm));
    let mut fresh = false;
    if genuine {
        keys.accept(&[header.counter], |_, verdict| fresh = verdict.is_ok());
    }
    fresh
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use weave_crypto::{Identity, NetworkId};

    use super::*;

    #[test]
    fn an_initiation_that_comes_again_gets_the_same_answer_and_both_ends_agree() {
        let (now, mut a, mut b) = pair();
        let first = message(a.tunnels.begin(now, b.remote));
        let answer = message(b.tunnels.handle_initiation(now, a.remote, &first).reply);
        let again = message(b.tunnels.handle_initiation(now, a.remote, &first).reply);
        assert_eq!(again, answer);
        let outcome = a.tunnels.handle_answer(now, b.remote.peer, &again);
        let confirmation = message(outcome.reply);
        let outcome = b
            .tunnels
            .handle_confirmation(now, a.remote.peer, &confirmation);
        assert!(outcome.changed);
        let sealing = b.tunnels.sealing(&a.remote.peer).unwrap();
        let theirs = a.tunnels.sealing(&b.remote.peer).unwrap();
        assert_eq!(sealing.remote_index(), theirs.local_index());
        let outcome = b
            .tunnels
            .handle_confirmation(now, a.remote.peer, &confirmation);
        assert!(!outcome.changed, "said once, it is settled");
    }

    #[test]
    fn of_two_begun_at_once_that_of_the_smaller_identity_wins() {
        let (now, mut a, mut b) = pair();
        let from_a = message(a.tunnels.begin(now, b.remote));
        let from_b = message(b.tunnels.begin(now, a.remote));
        let (at_a, at_b) = (
            a.tunnels.handle_initiation(now, b.remote, &from_b),
            b.tunnels.handle_initiation(now, a.remote, &from_a),
        );
        let a_wins = a.remote.peer < b.remote.peer;
        assert_eq!(at_a.refused == Some(Refusal::Lost), a_wins);
        assert_eq!(at_b.refused == Some(Refusal::Lost), !a_wins);
        assert_eq!(at_a.reply.is_none(), a_wins);
    }

    #[test]
    fn keys_that_nobody_confirms_open_what_comes_and_a_set_up_can_begin() {
        let (now, mut a, mut b) = pair();
        let first = message(a.tunnels.begin(now, b.remote));
        b.tunnels.handle_initiation(now, a.remote, &first);
        assert!(b.tunnels.is_pending(&a.remote.peer));
        let later = b.tunnels.next_timeout().unwrap();
        assert_eq!(later - now, UNCONFIRMED_FOR);
        let outcome = b.tunnels.handle_timeout(later);
        assert!(
            outcome.rekey.is_empty(),
            "traffic asks for keys where there are none"
        );
        assert!(!b.tunnels.is_pending(&a.remote.peer));
        assert_eq!(b.tunnels.opening().count(), 1);
        assert!(b.tunnels.begin(later, a.remote).is_some());
    }

    #[test]
    fn a_confirmation_that_is_lost_leaves_no_end_with_keys_that_the_other_has_not() {
        let (start, mut a, mut b) = tunnel();
        // Different initiations are answered only so often.
        let mut now = start + ANSWER_INTERVAL;
        // New keys, of which only their initiator knows that they stand; and it has nothing to send.
        let first = message(a.tunnels.begin(now, b.remote));
        let answer = message(b.tunnels.handle_initiation(now, a.remote, &first).reply);
        assert!(a.tunnels.handle_answer(now, b.remote.peer, &answer).changed);
        loop {
            assert_both_open(&a, &b);
            now = b.tunnels.next_timeout().unwrap();
            assert!(now < start + PREVIOUS_FOR, "in time");
            a.tunnels.handle_timeout(now);
            if b.tunnels.handle_timeout(now).rekey == [a.remote.peer] {
                break;
            }
        }
        let first = message(b.tunnels.begin(now, a.remote));
        let answer = message(a.tunnels.handle_initiation(now, b.remote, &first).reply);
        let confirmation = message(b.tunnels.handle_answer(now, a.remote.peer, &answer).reply);
        assert_both_open(&a, &b);
        a.tunnels
            .handle_confirmation(now, b.remote.peer, &confirmation);
        assert_both_open(&a, &b);
        let (at_a, at_b) = (a.sealing(&b), b.sealing(&a));
        assert_eq!(at_a.local_index(), at_b.remote_index());
        for now in [now + UNCONFIRMED_FOR, now + PREVIOUS_FOR] {
            assert!(b.tunnels.handle_timeout(now).rekey.is_empty());
            assert_both_open(&a, &b);
        }
    }

    #[test]
    fn a_late_confirmation_brings_no_older_keys_back() {
        let (start, mut a, mut b) = tunnel();
        let now = start + ANSWER_INTERVAL;
        let from_b = message(b.tunnels.begin(now, a.remote));
        let to_b = message(a.tunnels.handle_initiation(now, b.remote, &from_b).reply);
        let from_a = message(a.tunnels.begin(now, b.remote));
        let confirmed_late = message(b.tunnels.handle_answer(now, a.remote.peer, &to_b).reply);
        let to_a = message(b.tunnels.handle_initiation(now, a.remote, &from_a).reply);
        let confirmed = message(a.tunnels.handle_answer(now, b.remote.peer, &to_a).reply);
        assert_both_open(&a, &b);
        let newest = a.sealing(&b).local_index();
        a.tunnels
            .handle_confirmation(now, b.remote.peer, &confirmed_late);
        assert_eq!(a.sealing(&b).local_index(), newest);
        b.tunnels
            .handle_confirmation(now, a.remote.peer, &confirmed);
        assert_eq!(b.sealing(&a).remote_index(), newest);
        assert_both_open(&a, &b);
    }

    #[test]
    fn keys_in_use_are_replaced_in_time_and_those_that_nobody_uses_stay() {
        let (now, mut a, mut b) = tunnel();
        let due = a.tunnels.next_timeout().unwrap();
        assert_eq!(due - now, Config::REKEY_AFTER);
        assert!(
            a.tunnels.handle_timeout(due).rekey.is_empty(),
            "nobody used them"
        );
        let next = a.tunnels.next_timeout().unwrap();
        assert_eq!(next - due, CHECK_EVERY);
        b.sealing(&a).reserve(1).unwrap();
        assert!(
            a.tunnels.handle_timeout(next).rekey.is_empty(),
            "on its way"
        );
        a.sealing(&b).accept(&[2], |_, verdict| verdict.unwrap());
        let next = next + CHECK_EVERY;
        assert_eq!(a.tunnels.handle_timeout(next).rekey, [b.remote.peer]);
        assert!(
            b.tunnels.handle_timeout(next).rekey.is_empty(),
            "who began it sees to it"
        );
    }

    #[test]
    fn the_time_of_keys_is_kept_within_its_bounds() {
        let bounds = [
            (Duration::ZERO, Config::REKEY_AFTER_MIN),
            (Duration::from_secs(5), Duration::from_secs(5)),
            (Duration::MAX, Config::REKEY_AFTER),
        ];
        for (wanted, expected) in bounds {
            let (_, end, _) = pair();
            let rng = ChaCha20Rng::from_seed([3; 32]);
            let tunnels = Tunnels::new(end.tunnels.local, rng, wanted);
            assert_eq!(tunnels.rekey_after, expected);
        }
    }

    #[test]
    fn different_initiations_are_answered_only_so_often() {
        let (now, mut a, mut b) = pair();
        let (_, mut other, _) = pair();
        let first = message(a.tunnels.begin(now, b.remote));
        other.tunnels.rng = ChaCha20Rng::from_seed([99; 32]);
        let second = message(other.tunnels.begin(now, b.remote));
        assert!(
            b.tunnels
                .handle_initiation(now, a.remote, &first)
                .reply
                .is_some()
        );
        let outcome = b.tunnels.handle_initiation(now, a.remote, &second);
        assert_eq!(outcome.refused, Some(Refusal::TooOften));
        let later = now + ANSWER_INTERVAL;
        assert!(
            b.tunnels
                .handle_initiation(later, a.remote, &second)
                .reply
                .is_some()
        );
    }

    #[test]
    fn an_unanswered_initiation_goes_again_three_times_and_is_given_up() {
        let (now, mut a, b) = pair();
        let first = a.tunnels.begin(now, b.remote);
        assert!(a.tunnels.begin(now, b.remote).is_none(), "one at a time");
        let mut at = now;
        let mut sent = Vec::new();
        while let Some(next) = a.tunnels.next_timeout() {
            at = next;
            sent.extend(a.tunnels.handle_timeout(at).again);
        }
        assert_eq!(sent.len(), RETRIES.len() - 1);
        assert!(
            sent.iter()
                .all(|(_, message)| Some(message) == first.as_ref())
        );
        assert_eq!(at - now, RETRIES.iter().sum());
        assert!(a.tunnels.begin(at, b.remote).is_some());
    }

    struct End {
        tunnels: Tunnels,
        remote: Remote,
    }

    fn pair() -> (Instant, End, End) {
        #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
        let now = Instant::now();
        let end = |seed: u8| {
            let identity = Arc::new(Identity::from_seed([seed; 32]));
            let remote = Remote {
                peer: identity.peer_id(),
                noise_public: identity.noise_public(),
                boot_id: u64::from(seed),
                aes: true,
            };
            let local = TunnelLocal {
                identity,
                network: NetworkId::from_name("test"),
                boot_id: remote.boot_id,
                aes: true,
            };
            let rng = ChaCha20Rng::from_seed([seed + 50; 32]);
            let tunnels = Tunnels::new(local, rng, Config::REKEY_AFTER);
            End { tunnels, remote }
        };
        (now, end(1), end(2))
    }

    /// Two ends with a tunnel that the first began.
    fn tunnel() -> (Instant, End, End) {
        let (now, mut a, mut b) = pair();
        let first = message(a.tunnels.begin(now, b.remote));
        let answer = message(b.tunnels.handle_initiation(now, a.remote, &first).reply);
        let confirmation = message(a.tunnels.handle_answer(now, b.remote.peer, &answer).reply);
        b.tunnels
            .handle_confirmation(now, a.remote.peer, &confirmation);
        assert_both_open(&a, &b);
        (now, a, b)
    }

    impl End {
        fn sealing(&self, other: &Self) -> &Arc<TunnelKeys> {
            self.tunnels.sealing(&other.remote.peer).unwrap()
        }
    }

    /// Whatever one of the two seals, the other opens.
    fn assert_both_open(a: &End, b: &End) {
        for (from, to) in [(a, b), (b, a)] {
            let index = from.sealing(to).remote_index();
            let opening = to.tunnels.opening_at(&from.remote.peer, index);
            assert!(opening.is_some(), "{index}");
        }
    }

    fn message(message: Option<TunnelMessage>) -> Vec<u8> {
        match message.unwrap() {
            TunnelMessage::Initiation(bytes)
            | TunnelMessage::Answer(bytes)
            | TunnelMessage::Confirmation(bytes) => bytes,
        }
    }
}
