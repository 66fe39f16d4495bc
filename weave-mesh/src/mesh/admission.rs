//! Who is let in: refusals that only people can change, and what they cost.
//!
//! A stranger's wrong password is one guess. It takes its source's whole burst away, and closes what else that source has
//! half open: so one guess a second is tested, however many connections it opens side by side. See `budget.rs`.

use std::net::SocketAddr;
use std::time::Instant;

use weave_crypto::{Fault, HandshakeError, Passwords, PeerId};

use super::{DirectEnd, Event, Mesh};
use crate::budget::Source;
use crate::conn::{ConnId, Stage};
use crate::error::{Admission, DownReason, FailReason};
use crate::wire::Goodbye;

impl Mesh {
    /// Refuses an identity from now on: no link with it is dialled or accepted, one that stands is closed. Its records are
    /// kept and passed on, since others may have links with it.
    pub fn deny(&mut self, now: Instant, peer: PeerId) {
        self.now = now;
        self.config.denied.insert(peer);
        self.is_dialling_stale = true;
        self.end_direct(peer, DirectEnd::Denied);
        self.take_down(now, peer, DownReason::Denied, Some(Goodbye::Denied));
        let candidates: Vec<ConnId> = self.candidates(&peer).map(|(id, _)| id).collect();
        for id in candidates {
            self.dial_failed(now, id, FailReason::Denied);
            self.close(id, Some(Goodbye::Denied));
        }
        self.settle(now);
    }

    /// The passwords of which a neighbour has to have one, from now on. Links that stand go on; set-ups under way end as
    /// they began. Whoever refused us is dialled at once.
    pub fn set_passwords(&mut self, now: Instant, passwords: Passwords) {
        self.now = now;
        self.config.passwords = passwords;
        self.dialler.forgive(now);
        self.settle(now);
    }

    /// How many passwords are accepted: 0 lets everybody in, 2 while one is being replaced.
    pub fn passwords(&self) -> usize {
        self.config.passwords.len()
    }

    /// Whether an identity is refused.
    pub fn is_denied(&self, peer: &PeerId) -> bool {
        self.config.denied.contains(peer)
    }

    /// Identities that are refused.
    pub fn denied(&self) -> impl Iterator<Item = &PeerId> {
        self.config.denied.iter()
    }

    /// A set-up ended with an error.
    pub(super) fn fail_set_up(&mut self, now: Instant, id: ConnId, error: HandshakeError) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let (remote, accepted_as) = (conn.remote, conn.accepted_as);
        let admission = Admission::of(&error);
        let count = match (admission, error.fault()) {
            (Some(Admission::NoPassword), _) => &mut self.stats.password_missing,
            (Some(Admission::SurplusPassword), _) => &mut self.stats.password_surplus,
            (Some(_), _) if accepted_as.is_some() => &mut self.stats.wrong_passwords,
            (Some(_), _) => &mut self.stats.password_differs,
            (None, Fault::Peer) => &mut self.stats.set_up_peer_errors,
            (None, Fault::Incompatible) => &mut self.stats.set_up_incompatible,
            (None, Fault::Stale | Fault::Caller | _) => &mut self.stats.set_up_errors,
        };
        *count += 1;
        self.lose_stream(now, id, FailReason::Handshake(error));
        self.close(id, None);
        let (Some(reason), Some(class)) = (admission, accepted_as) else {
            return;
        };
        self.tell_refused(remote, None, reason);
        if reason == Admission::WrongPassword {
            let source = Source::from(remote.ip());
            self.budget.handle_wrong(now, source, class);
            self.close_half_open(source);
        }
    }

    /// Why a stream that is being set up ended; to whoever has our proof of the password and does not answer, it was a
    /// guess, which must not be had more often than any other.
    pub(super) fn as_guess(&mut self, id: ConnId, reason: FailReason) -> FailReason {
        let is_unanswered = self.conns.get(&id).is_some_and(|conn| match &conn.stage {
            Stage::HandshakeRuns(handshake) => handshake.proof_is_unanswered(),
            Stage::Opening | Stage::Open(_) => false,
        });
        if !is_unanswered {
            return reason;
        }
        self.stats.proofs_unanswered += 1;
        FailReason::ProofUnanswered
    }

    /// Sends somebody away who proved to be an identity that is refused.
    pub(super) fn send_away(&mut self, now: Instant, id: ConnId, peer: PeerId, remote: SocketAddr) {
        self.stats.refused_denied += 1;
        if !self.dial_failed(now, id, FailReason::Denied) {
            self.tell_refused(remote, Some(peer), Admission::Denied);
        }
        self.close(id, Some(Goodbye::Denied));
    }

    /// What is left of a source's connections that are not set up: their guesses will not be tested.
    fn close_half_open(&mut self, source: Source) {
        let half_open: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.accepted_as.is_some() && conn.session().is_none())
            .filter(|(_, conn)| Source::from(conn.remote.ip()) == source)
            .map(|(id, _)| *id)
            .collect();
        for id in half_open {
            self.stats.refused_guessing += 1;
            self.close(id, None);
        }
    }

    fn tell_refused(&mut self, remote: SocketAddr, peer: Option<PeerId>, reason: Admission) {
        self.events.push_back(Event::Refused {
            remote,
            peer,
            reason,
        });
    }
}
