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

mod confirmation;
mod tunnel;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand_chacha::ChaCha20Rng;
use weave_crypto::{
    PeerId, Suite, TunnelError, TunnelInitiation, TunnelKeys, TunnelLocal, respond,
};

use self::confirmation::{confirmation, confirms};
use self::tunnel::{Answered, Epoch, Pending, Tunnel, packets};
use crate::Config;

/// Keys are replaced after this many packets, far below the counter's 2^48.
const REKEY_AFTER_PACKETS: u64 = 1 << 32;
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

    /// Random numbers of another generator from now on.
    pub(crate) fn reseed(&mut self, rng: ChaCha20Rng) {
        self.rng = rng;
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

#[cfg(test)]
mod tests;
