//! Whom to dial: the targets, and routers met in records up to the limit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};
use weave_crypto::PeerId;

use super::addresses::canonical;
use super::{Action, Event, Mesh, STAGE_TIMEOUT, has_stream};
use crate::conn::{Conn, ConnId, Stage};
use crate::dial::{DialStep, Purpose};
use crate::error::{DownReason, FailReason};
use crate::subnet::common_bits;
use crate::target::Target;
use crate::wire::Goodbye;

impl Mesh {
    /// Starts the dials that are due.
    pub(super) fn dial(&mut self, now: Instant) {
        if self.is_dialling_stale && now >= self.next_choice_at {
            self.is_dialling_stale = false;
            self.next_choice_at = now + CHOICE_INTERVAL;
            let peers = self.wanted_peers();
            self.dialler.set_peers(now, &self.own, &peers);
        }
        if !self.dialler.is_due(now) {
            return;
        }
        loop {
            let links = &self.links;
            let step = self.dialler.next_step(
                now,
                &|peer| has_stream(links, peer),
                &mut self.public_random,
            );
            match step {
                None => break,
                Some(DialStep::Resolve(target)) => {
                    self.actions.push_back(Action::Resolve { target });
                }
                Some(DialStep::Dial(purpose, remote)) => {
                    let remote = canonical(remote);
                    self.dialled_conns += 1;
                    let conn = ConnId::dialled(self.dialled_conns);
                    self.conns.insert(
                        conn,
                        Conn {
                            remote,
                            is_dialled: true,
                            accepted_as: None,
                            stage: Stage::Opening,
                            deadline: Some(now + STAGE_TIMEOUT),
                            out: Vec::new(),
                        },
                    );
                    self.dialler.started(conn, purpose, remote);
                    self.actions.push_back(Action::Dial { conn, remote });
                }
            }
        }
        let links = &self.links;
        self.dialler.rest(now, &|peer| has_stream(links, peer));
    }

    /// A dial came to nothing; nobody is told of connections that were not dialled, for which false is returned.
    pub(super) fn dial_failed(&mut self, now: Instant, conn: ConnId, reason: FailReason) -> bool {
        let Some((purpose, remote)) = self.dialler.failed(conn, &reason) else {
            return false;
        };
        if reason.is_refusal() {
            self.dialler.refused(now, &purpose, &mut self.public_random);
        }
        let target = match purpose {
            Purpose::Target(target) => Some(target),
            Purpose::Peer(_) | Purpose::Rejoin(_) => None,
        };
        self.events.push_back(Event::ConnectFailed {
            target,
            remote: Some(remote),
            reason,
        });
        true
    }

    pub(super) fn forget_target(&mut self, now: Instant, target: &Target) -> bool {
        let attempts = self.dialler.attempts_for(&Purpose::Target(target.clone()));
        let Some(peer) = self.dialler.remove_target(target) else {
            return false;
        };
        for conn in attempts {
            self.dialler.failed(conn, &FailReason::Forgotten);
            self.close(conn, Some(Goodbye::Forgotten));
        }
        if let Some(peer) = peer
            && self.links.get(&peer).is_some_and(|link| link.is_dialled)
        {
            self.take_down(now, peer, DownReason::Forgotten, Some(Goodbye::Forgotten));
        }
        true
    }

    /// Routers met in records that links are wanted to, with boot id and addresses.
    ///
    /// Below the limit: all. Beyond it, half the places go to routers in an order of this router's
    /// own (a hash over both ids): everybody choosing some at random makes a graph that stays
    /// connected and shallow. The other half go to those whose address has most leading bits in
    /// common with one of ours, which are near by, as a rule. Present neighbours keep their places.
    fn wanted_peers(&mut self) -> BTreeMap<PeerId, (u64, Vec<SocketAddr>)> {
        let mut peers = BTreeMap::new();
        if !self.config.discovery {
            return peers;
        }
        let own_sockets: BTreeSet<SocketAddr> = self
            .local_addresses
            .iter()
            .map(|ip| SocketAddr::new(*ip, self.config.listen_port))
            .collect();
        for origin in self.store.origins() {
            let Some(router) = self.store.router(&origin) else {
                continue;
            };
            let addresses: Vec<SocketAddr> = router
                .addresses
                .iter()
                .map(|address| canonical(address.socket))
                .filter(|socket| socket.port() != 0 && self.is_underlay(socket.ip()))
                .filter(|socket| !own_sockets.contains(socket))
                .collect();
            let is_wanted = origin != self.own && !self.is_denied(&origin);
            if is_wanted && !addresses.is_empty() {
                peers.insert(origin, (router.boot_id, addresses));
            }
        }
        let limit = self.config.conn_limit;
        if limit == 0 || peers.len() <= limit {
            return peers;
        }
        let own = self.own;
        self.dial_ranks.retain(|peer, _| peers.contains_key(peer));
        let ranks = &mut self.dial_ranks;
        let is_kept = |peer: &PeerId| self.links.contains_key(peer);
        let places = limit.saturating_sub(self.links.len());
        let mut by_hash: Vec<PeerId> = peers
            .keys()
            .copied()
            .filter(|peer| !is_kept(peer))
            .collect();
        let mut by_nearness = by_hash.clone();
        by_hash.sort_by_cached_key(|peer| {
            (
                *ranks.entry(*peer).or_insert_with(|| rank(&own, peer)),
                *peer,
            )
        });
        by_nearness.sort_by_cached_key(|peer| {
            let common = peers.get(peer).map_or(0, |(_, addresses)| {
                addresses
                    .iter()
                    .flat_map(|to| {
                        self.local_addresses
                            .iter()
                            .filter_map(|own| common_bits(*own, to.ip()))
                            .map(|(common, _)| common)
                    })
                    .max()
                    .unwrap_or(0)
            });
            (std::cmp::Reverse(common), *peer)
        });
        let mut chosen: BTreeSet<PeerId> =
            by_hash.iter().take(places.div_ceil(2)).copied().collect();
        for peer in by_nearness {
            if chosen.len() >= places {
                break;
            }
            chosen.insert(peer);
        }
        peers.retain(|peer, _| is_kept(peer) || chosen.contains(peer));
        peers
    }
}

/// Where a router stands in this router's own order of all.
fn rank(own: &PeerId, peer: &PeerId) -> u64 {
    let both = [*own.as_bytes(), *peer.as_bytes()].concat();
    let mut first = [0; 8];
    first.copy_from_slice(&digest(&SHA256, &both).as_ref()[..8]);
    u64::from_be_bytes(first)
}

/// Between decisions whom to dial, which look at every record; a decision alone comes at once.
const CHOICE_INTERVAL: Duration = Duration::from_millis(50);
