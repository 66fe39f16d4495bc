//! Probes of links: what both carriers are asked and answer, and the path MTU of the one over UDP.
//!
//! [`Liveness`](crate::liveness::Liveness) and [`PathMtu`](crate::pmtu::PathMtu) decide for one link; here their
//! probes go out, their answers come in, and what follows from them for the link is done.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use weave_crypto::PeerId;

use super::addresses::canonical;
use super::{Action, DirectEnd, Mesh};
use crate::liveness::Transmit;
use crate::pmtu::Challenge;
use crate::probe::{Probe, ProbeKind};
use crate::record::Carrier;
use crate::wire::Control;

impl Mesh {
    /// Tunnel keys with a neighbour are there (probing begins at once), or gone (UDP is down).
    pub fn handle_tunnel(&mut self, now: Instant, peer: PeerId, ready: bool) {
        self.now = now;
        if !ready {
            self.end_direct(peer, DirectEnd::NoTunnel);
        }
        if self
            .links
            .get(&peer)
            .is_none_or(|link| link.liveness.is_ready() == ready)
        {
            return;
        }
        if let Some(link) = self.links.get_mut(&peer)
            && link.liveness.handle_ready(now, ready)
        {
            self.udp_went_down(now, peer);
        }
        self.run_probes(now, peer);
        self.settle(now);
    }

    /// A genuine probe came over UDP. A challenge was answered already, by whoever opened it.
    pub fn handle_probe(&mut self, now: Instant, from: PeerId, remote: SocketAddr, probe: &Probe) {
        self.now = now;
        let remote = canonical(remote);
        let Some(link) = self.links.get_mut(&from) else {
            if self.take_direct_probe(now, from, remote, probe) {
                self.run_directs(now);
                self.settle(now);
            } else {
                self.stats.probes_unknown += 1;
            }
            return;
        };
        if let Some(seen) = probe.seen
            && link.seen_as.is_none_or(|(known, _)| known != seen)
        {
            link.seen_as = Some((seen, now));
            self.router_publisher.is_stale = true;
        }
        let was_up = link.liveness.is_up();
        let mut transmits = Vec::new();
        let has_changed = match probe.kind {
            ProbeKind::Challenge => link.liveness.handle_challenge(
                now,
                remote,
                probe,
                &mut self.secret_random,
                &mut transmits,
            ),
            ProbeKind::Answer => {
                let loss = link.liveness.loss_permille();
                match link.path_mtu.handle_answer(now, loss, probe) {
                    Some(path_mtu_has_changed) => {
                        link.liveness.handle_heard(now);
                        self.links_publisher.is_stale |= path_mtu_has_changed;
                        path_mtu_has_changed
                    }
                    None => link.liveness.handle_answer(now, remote, probe),
                }
            }
        };
        let is_up = link.liveness.is_up();
        if was_up != is_up {
            // Where the neighbour saw us counts while its packets find the way.
            self.router_publisher.is_stale = true;
        }
        if is_up && !was_up {
            link.path_mtu.handle_up(now);
        }
        self.transmit(now, from, transmits);
        if was_up && !is_up {
            self.udp_went_down(now, from);
        } else if has_changed {
            self.changed_links.insert(from);
        }
        self.run_probes(now, from);
        self.settle(now);
    }

    /// A unicast frame went to or came from a neighbour: it is probed at once if it was idle, and
    /// more often for [`ACTIVE_FOR`](crate::ACTIVE_FOR) from now on. Enough to call once a second
    /// while frames flow.
    pub fn handle_activity(&mut self, now: Instant, peer: PeerId) {
        self.now = now;
        if let Some(link) = self.links.get_mut(&peer) {
            if !link.liveness.is_active(now) {
                link.stream.hurry(now);
            }
            link.liveness.handle_activity(now);
            link.path_mtu.handle_activity(now);
        } else {
            self.direct_activity(now, &peer);
            self.run_directs(now);
        }
        self.run_probes(now, peer);
        self.settle(now);
    }

    /// Something genuine came from a neighbour over UDP at `at`, as the data plane stamped it.
    pub fn handle_heard(&mut self, now: Instant, peer: PeerId, at: Instant) {
        self.now = now;
        if let Some(link) = self.links.get_mut(&peer) {
            link.liveness.handle_heard(at.min(now));
        } else {
            self.direct_heard(&peer, at.min(now));
        }
    }

    /// The MTU of the device that leads to the peers, bytes of IP: no search of a path MTU goes beyond.
    pub fn handle_underlay_mtu(&mut self, now: Instant, underlay_mtu_bytes: u16) {
        self.now = now;
        self.underlay_mtu_bytes = underlay_mtu_bytes;
        let peers: Vec<PeerId> = self.links.keys().copied().collect();
        for peer in peers {
            self.run_path_mtu(now, peer);
        }
        self.settle_directs(now);
        self.settle(now);
    }

    /// The data plane had a packet too big for the way to a neighbour: the path MTU is probed at once.
    pub fn handle_too_big(&mut self, now: Instant, peer: PeerId) {
        self.now = now;
        if let Some(link) = self.links.get_mut(&peer) {
            link.path_mtu.handle_too_big(now);
        } else {
            self.direct_too_big(now, &peer);
            self.run_directs(now);
        }
        self.run_probes(now, peer);
        self.settle(now);
    }

    /// Probes of one link that are due. Tests of its path MTU go before those of liveness: so the first answer,
    /// which makes UDP usable, comes behind that of the first test.
    pub(super) fn run_probes(&mut self, now: Instant, peer: PeerId) {
        self.run_path_mtu(now, peer);
        let is_due = self
            .links
            .get(&peer)
            .is_some_and(|link| link.liveness.next_timeout() <= now);
        let Some(link) = self.links.get_mut(&peer).filter(|_| is_due) else {
            return;
        };
        let mut transmits = Vec::new();
        let went_down = link
            .liveness
            .handle_timeout(now, &mut self.secret_random, &mut transmits);
        self.transmit(now, peer, transmits);
        if went_down {
            self.udp_went_down(now, peer);
        }
    }

    /// What carries the frames of each link, and the probes of those streams that do or shall.
    pub(super) fn settle_carriers(&mut self, now: Instant, touched: &BTreeSet<PeerId>) {
        for peer in touched {
            let Some(link) = self.links.get_untouched(peer) else {
                continue;
            };
            link.settle_carrier(now);
            let (is_active, last_heard_ms) = (
                link.liveness.is_active(now),
                link.liveness.last_heard_ms(now),
            );
            let probe = link.conn.and_then(|conn| {
                let random = &mut self.secret_random;
                let probe = link
                    .stream
                    .handle_timeout(now, is_active, last_heard_ms, random)?;
                Some((conn, probe))
            });
            let carrier = link.carrier();
            if std::mem::replace(&mut link.told_carrier, carrier) != carrier {
                self.changed_links.insert(*peer);
                self.stats.streams_carried += u64::from(carrier == Some(Carrier::Tcp));
            }
            if let Some((conn, probe)) = probe {
                self.say(conn, &Control::Probe(probe));
            }
        }
    }

    pub(super) fn run_path_mtu(&mut self, now: Instant, peer: PeerId) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let mut challenges = Vec::new();
        let remote = link.liveness.remote().filter(|_| link.liveness.is_ready());
        let mut has_changed = link
            .path_mtu
            .handle_path(now, remote, self.underlay_mtu_bytes);
        if link.path_mtu.next_timeout().is_some_and(|at| at <= now) {
            let loss = link.liveness.loss_permille();
            has_changed |=
                link.path_mtu
                    .handle_timeout(now, loss, &mut self.secret_random, &mut challenges);
        }
        if has_changed {
            self.links_publisher.is_stale = true;
            self.changed_links.insert(peer);
        }
        let last_heard_ms = link.liveness.last_heard_ms(now);
        self.actions.extend(
            challenges
                .iter()
                .map(|test| path_mtu_probe(peer, last_heard_ms, test)),
        );
    }

    fn transmit(&mut self, now: Instant, peer: PeerId, transmits: Vec<Transmit>) {
        for transmit in transmits {
            match transmit {
                Transmit::Udp(remote, probe) => self.actions.push_back(Action::Probe {
                    peer,
                    remote,
                    bytes: probe.to_bytes(),
                }),
                Transmit::Stream(probe) => {
                    let Some(link) = self.links.get_mut(&peer) else {
                        continue;
                    };
                    // A stream that carries frames is probed for its own sake.
                    if let Some(conn) = link.conn.filter(|_| !link.stream.is_needed()) {
                        link.stream.handle_repeated(now, &probe);
                        self.say(conn, &Control::Probe(probe));
                    }
                }
            }
        }
    }
}

/// Sends the challenge of a test of a path MTU.
pub(super) fn path_mtu_probe(peer: PeerId, last_heard_ms: u16, challenge: &Challenge) -> Action {
    let probe = Probe {
        kind: ProbeKind::Challenge,
        last_heard_ms,
        sequence: challenge.sequence,
        token: challenge.token,
        seen: Some(challenge.remote),
    };
    let mut bytes = probe.to_bytes();
    if let Some(packet_bytes) = challenge.packet_bytes {
        let body_bytes = usize::from(packet_bytes) - PROBE_AROUND_BYTES;
        bytes.resize(body_bytes.max(bytes.len()), 0);
    }
    Action::Probe {
        peer,
        remote: challenge.remote,
        bytes,
    }
}

/// Bytes of a sealed packet around a probe: header 12, tag 16.
const PROBE_AROUND_BYTES: usize = 12 + 16;
