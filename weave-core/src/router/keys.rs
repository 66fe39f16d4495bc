//! Control messages between routers, and the tunnels that they set up.

use std::collections::BTreeSet;
use std::time::Instant;

use weave_crypto::PeerId;
use weave_mesh::{RecordKind, Routed, RouterBody};

use super::Router;
use super::tunnels::{Outcome, Refusal, Remote, TunnelMessage};
use super::wire::Body;

impl Router {
    pub(super) fn handle_routed(&mut self, now: Instant, via: PeerId, message: Routed) {
        if message.to != self.peer_id() {
            self.pass_on(now, via, message);
            return;
        }
        let from = message.from;
        if self.mesh.is_denied(&from) {
            self.refuse("routed_denied");
            return;
        }
        let Some(body) = Body::decode(&message.body) else {
            self.refuse("routed_malformed");
            return;
        };
        match body {
            Body::Initiation(bytes) => {
                let Some(remote) = self.remote(&from) else {
                    self.refuse("tunnel_unknown_peer");
                    return;
                };
                let outcome = self.tunnels.handle_initiation(now, remote, &bytes);
                self.apply_tunnel_outcome(now, Some(from), outcome);
            }
            Body::Answer(bytes) => {
                let outcome = self.tunnels.handle_answer(now, from, &bytes);
                self.apply_tunnel_outcome(now, Some(from), outcome);
            }
            Body::Confirmation(bytes) => {
                let outcome = self.tunnels.handle_confirmation(now, from, &bytes);
                self.apply_tunnel_outcome(now, Some(from), outcome);
            }
            Body::Meet {
                receiver,
                counter,
                sealed,
            } => self.handle_meet(now, from, receiver, counter, &sealed),
            Body::Current(bytes) => self.mesh.handle_record(now, via, &bytes),
        }
    }

    pub(super) fn pass_on(&mut self, now: Instant, via: PeerId, message: Routed) {
        let Some(next) = self.next_hop(&message.to).filter(|next| *next != via) else {
            self.refuse("routed_no_route");
            return;
        };
        let Some(ttl) = message.ttl.checked_sub(1).filter(|ttl| *ttl > 0) else {
            self.refuse("routed_ttl_expired");
            return;
        };
        if self
            .mesh
            .send(now, next, Routed { ttl, ..message })
            .is_err()
        {
            self.refuse("routed_queue_full");
        }
    }

    pub(super) fn send_to(&mut self, now: Instant, to: PeerId, body: Body) {
        let via = if self.mesh.link(&to).is_some() {
            Some(to)
        } else {
            self.next_hop(&to)
        };
        let Some(via) = via else {
            self.refuse("routed_no_route");
            return;
        };
        let message = Routed {
            from: self.peer_id(),
            to,
            ttl: ROUTED_TTL,
            body: body.encode(),
        };
        if self.mesh.send(now, via, message).is_err() {
            self.refuse("routed_queue_full");
        }
    }

    /// Begins a tunnel unless one stands, one is under way, or the peer's record is not there yet.
    pub(super) fn begin_tunnel(&mut self, now: Instant, peer: PeerId) {
        if self.tunnels.sealing(&peer).is_none() && !self.tunnels.is_pending(&peer) {
            self.begin_tunnel_anew(now, peer);
        }
    }

    pub(super) fn begin_tunnel_anew(&mut self, now: Instant, peer: PeerId) {
        if let Some(remote) = self.remote(&peer)
            && let Some(message) = self.tunnels.begin(now, remote)
        {
            self.send_tunnel_message(now, peer, message);
        }
    }

    /// Links that stood before their peer's record was there.
    pub(super) fn begin_awaited_tunnels(&mut self, now: Instant) {
        let awaited: Vec<PeerId> = self
            .mesh
            .links()
            .filter(|link| link.dialled())
            .map(|link| link.peer())
            .filter(|peer| self.tunnels.sealing(peer).is_none() && !self.tunnels.is_pending(peer))
            .collect();
        for peer in awaited {
            self.begin_tunnel(now, peer);
        }
    }

    /// Records of these routers changed: perhaps they restarted.
    pub(super) fn end_tunnels_of_older_boots(&mut self, now: Instant, changed: &BTreeSet<PeerId>) {
        for peer in changed {
            if self.sites.site(peer).is_some()
                && let Some(boot_id) = self.mesh.store().boot_id(peer)
            {
                self.end_tunnel_of_older_boot(now, *peer, boot_id);
            }
        }
    }

    pub(super) fn end_tunnel_of_older_boot(&mut self, now: Instant, peer: PeerId, boot_id: u64) {
        self.note_boot(peer, boot_id);
        if self.tunnels.forget_older_boot(&peer, boot_id) {
            self.mesh.handle_tunnel(now, peer, false);
            self.fib_is_stale = true;
        }
    }

    pub(super) fn apply_tunnel_outcome(
        &mut self,
        now: Instant,
        from: Option<PeerId>,
        outcome: Outcome,
    ) {
        self.fib_is_stale |= outcome.changed;
        if let Some(peer) = from {
            if let Some(message) = outcome.reply {
                self.send_tunnel_message(now, peer, message);
            }
            if outcome.refused == Some(Refusal::StaleBoot) {
                self.send_current(now, peer);
            }
        }
        if outcome.changed {
            let ready: Vec<PeerId> = self
                .mesh
                .links()
                .map(|link| link.peer())
                .filter(|peer| self.tunnels.sealing(peer).is_some())
                .collect();
            for peer in ready {
                self.mesh.handle_tunnel(now, peer, true);
            }
        }
        match outcome.refused {
            Some(Refusal::StaleBoot) => self.refuse("tunnel_stale_boot"),
            Some(Refusal::Unexpected) => self.refuse("tunnel_unexpected"),
            Some(Refusal::NotGenuine) => self.refuse("tunnel_not_genuine"),
            Some(Refusal::TooOften) => self.refuse("tunnel_too_often"),
            Some(Refusal::Lost) | None => {}
        }
    }

    pub(super) fn send_tunnel_message(
        &mut self,
        now: Instant,
        peer: PeerId,
        message: TunnelMessage,
    ) {
        self.send_to(now, peer, message.into());
    }

    /// Tells a peer that holds an older boot of ours which one is current.
    pub(super) fn send_current(&mut self, now: Instant, peer: PeerId) {
        let own = self.peer_id();
        if let Some(record) = self.mesh.store().record(&own, RecordKind::Router) {
            let bytes = record.bytes().to_vec();
            self.send_to(now, peer, Body::Current(bytes));
        }
    }

    /// What a set-up with this peer needs: from its link, or from its record.
    pub(super) fn remote(&self, peer: &PeerId) -> Option<Remote> {
        if self.mesh.is_denied(peer) {
            return None;
        }
        let record = self.mesh.store().router(peer)?;
        // A link to a later boot stands already, and its record is on the way.
        if self
            .mesh
            .link(peer)
            .is_some_and(|link| link.boot_id() > record.boot_id)
        {
            return None;
        }
        Some(Remote {
            peer: *peer,
            noise_public: record.noise_public,
            boot_id: record.boot_id,
            aes: record.capabilities & RouterBody::CAPABILITY_AES != 0,
        })
    }
}

/// Control messages between routers go over at most so many hops.
const ROUTED_TTL: u8 = 32;
