//! Connections and links: set-up, which of several streams is the link, and loss.
//!
//! Of two routers the one with the smaller id *decides* which stream between them is the link, and
//! says so with `Adopt`; the other follows. Without that, each would judge by its own clock and
//! its own order of events, and the two could close a stream each.
//!
//! ```text
//!  Opening ─ opened ─► HandshakeRuns ─ peer known ─► candidate ─ Adopt ─► the link's stream
//!                           │                            │                    │
//!                           └── error, 5 s, or it leads ─┴── another stays ───┴── gone: held while
//!                               to ourselves: closed         closed               UDP answers
//! ```

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;
use weave_crypto::{Established, LinkHandshake, LinkLocal, PeerId};

use super::{Action, DirectEnd, Event, HOLD_TIMEOUT, Mesh, STAGE_TIMEOUT};
use crate::budget::{Class, HalfOpen, Refusal, Source};
use crate::conn::{Conn, ConnId, Session, Stage};
use crate::error::{DownReason, FailReason};
use crate::flooding::Flooding;
use crate::link::Link;
use crate::liveness::{Liveness, StreamLiveness};
use crate::packet_queue::PacketQueue;
use crate::pmtu::PathMtu;
use crate::probe::{Probe, ProbeKind};
use crate::record::{Carrier, RecordKind};
use crate::wire::{Control, Goodbye, RecordBytes};

/// How long the present stream has to show life when another one stands.
const CONTEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Between looks at all addresses that are known, which cost some ten microseconds each in a large network.
const KNOWN_SOURCES_INTERVAL: Duration = Duration::from_millis(200);
/// Accepted links beyond the limit of those dialled: room for routers that know nobody else.
const INBOUND_EXTRA: usize = 8;

impl Mesh {
    pub(super) fn open(&mut self, now: Instant, id: ConnId, remote: SocketAddr, dialled: bool) {
        self.stats.opened += 1;
        let mut out = Vec::new();
        let local = LinkLocal {
            identity: self.identity.clone(),
            network: self.config.network,
            boot_id: self.boot_id,
            passwords: self.config.passwords.clone(),
        };
        let accepted_as = match self.let_in(now, remote, dialled) {
            Ok(class) => class,
            Err(refusal) => {
                match refusal {
                    Refusal::HalfOpen => self.stats.refused_half_open += 1,
                    Refusal::Rate => self.stats.refused_rate += 1,
                    Refusal::Source => self.stats.refused_source += 1,
                }
                self.actions.push_back(Action::Close { conn: id });
                return;
            }
        };
        if dialled && !self.conns.contains_key(&id) {
            // Closed while it opened: the driver has been told.
            self.stats.unknown_connections += 1;
            return;
        }
        let mut seed = [0; 32];
        self.secret_random.fill_bytes(&mut seed);
        let handshake = if dialled {
            LinkHandshake::dialler(local, seed, &mut out)
        } else {
            LinkHandshake::listener(local, seed)
        };
        self.conns.insert(
            id,
            Conn {
                remote,
                is_dialled: dialled,
                accepted_as,
                stage: Stage::HandshakeRuns(Box::new(handshake)),
                deadline: Some(now + STAGE_TIMEOUT),
                out,
            },
        );
    }

    /// Whether a stream may be set up, and as whose; those that this router dialled always may.
    fn let_in(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        dialled: bool,
    ) -> Result<Option<Class>, Refusal> {
        if dialled {
            return Ok(None);
        }
        if self.is_shut_down {
            return Err(Refusal::HalfOpen);
        }
        let source = Source::from(remote.ip());
        let is_known = self.knows(now, source);
        let mut half_open = HalfOpen::default();
        for conn in self.conns.values().filter(|conn| conn.session().is_none()) {
            match conn.accepted_as {
                Some(Class::Stranger) => half_open.strangers += 1,
                Some(Class::Known) => half_open.known += 1,
                None => {}
            }
        }
        let class = self.budget.admit(now, source, half_open, is_known)?;
        Ok(Some(class))
    }

    /// Whether a source is the address of a link, of a target or of a router with a record, as of a moment ago.
    fn knows(&mut self, now: Instant, source: Source) -> bool {
        let (looked_at, known) = &mut self.known_sources;
        if looked_at.is_none_or(|at| now >= at + KNOWN_SOURCES_INTERVAL) {
            *looked_at = Some(now);
            let records = self
                .store
                .origins()
                .filter_map(|origin| self.store.router(&origin))
                .flat_map(|router| router.addresses.iter().map(|address| address.socket));
            let links = self
                .links
                .values()
                .flat_map(|link| [Some(link.remote), link.udp_remote()])
                .flatten();
            *known = records
                .chain(links)
                .chain(self.dialler.addresses())
                .map(|socket| Source::from(socket.ip()))
                .collect();
        }
        known.contains(&source)
    }

    pub(super) fn receive(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(&id) else {
            self.stats.unknown_connections += 1;
            return;
        };
        match &mut conn.stage {
            Stage::Opening => {}
            Stage::HandshakeRuns(handshake) => match handshake.handle_bytes(bytes, &mut conn.out) {
                Ok(None) => {}
                Ok(Some(established)) => self.establish(now, id, established),
                Err(error) => self.fail_set_up(now, id, error),
            },
            Stage::Open(session) => {
                session.stream.handle_bytes(bytes);
                self.take_messages(now, id);
            }
        }
    }

    /// The peer is known: is it one to talk with?
    fn establish(&mut self, now: Instant, id: ConnId, established: Established) {
        let peer = established.peer;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let (remote, is_dialled) = (conn.remote, conn.is_dialled);
        let is_denied = self.config.denied.contains(&peer);
        if let Some(class) = conn.accepted_as.filter(|_| !is_denied) {
            self.budget
                .handle_peer(now, Source::from(remote.ip()), class);
        }
        let held = self.links.get(&peer);
        let tag_in = match held {
            // A stream that moves leaves the tag as it is: packets under way stay good.
            Some(link) if link.boot_id == established.peer_boot_id => link.tag_in,
            _ => {
                let mut tag = [0; 6];
                self.secret_random.fill_bytes(&mut tag);
                tag
            }
        };
        let held_boot_id = held.map(|link| link.boot_id);
        let mut stream = established.stream;
        stream.handle_bytes(&established.rest);
        conn.stage = Stage::Open(Box::new(Session {
            peer,
            boot_id: established.peer_boot_id,
            noise_public: established.peer_noise_public,
            start_random: None,
            stream,
            tag_in,
            tag_out: None,
            is_adopted: false,
            contest_until: None,
            frame_until: None,
        }));
        conn.deadline = Some(now + STAGE_TIMEOUT);
        let welcome = Control::Welcome {
            tag: tag_in,
            seen: remote,
            start_random: self.start_random,
        };
        self.say(id, &welcome);
        if peer == self.own {
            // This process itself, or another with the same identity: its welcome says which.
            self.take_messages(now, id);
            return;
        }
        if is_denied {
            self.send_away(now, id, peer, remote);
            return;
        }

        let known_boot_id = self.store.boot_id(&peer).max(held_boot_id);
        if known_boot_id > Some(established.peer_boot_id) {
            self.tell_stale(now, id, &peer);
            return;
        }
        let limit = self.config.conn_limit;
        let is_full = limit != 0 && self.links.len() >= limit + INBOUND_EXTRA;
        if is_full && !is_dialled && held_boot_id.is_none() {
            self.stats.refused_full += 1;
            self.close(id, Some(Goodbye::Full));
            return;
        }
        if held_boot_id.is_some_and(|boot_id| boot_id < established.peer_boot_id) {
            self.take_down(now, peer, DownReason::Replaced, Some(Goodbye::Duplicate));
        }
        self.decide(now, id);
        self.take_messages(now, id);
    }

    /// The peer is not the newest of its identity that is known: it is told of that one, and may come again as newer.
    pub(super) fn tell_stale(&mut self, now: Instant, id: ConnId, peer: &PeerId) {
        self.stats.stale_boot_ids += 1;
        if let Some(record) = self.store.record(peer, RecordKind::Router) {
            let bytes = RecordBytes(record.bytes().clone());
            self.say(id, &Control::Records(vec![bytes]));
        }
        self.dial_failed(now, id, FailReason::StaleBoot);
        self.close(id, Some(Goodbye::StaleBoot));
    }

    /// Whether this candidate becomes the link's stream. Called when it stands, when its welcome
    /// is in, and when the present stream is gone.
    pub(super) fn decide(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let is_dialled = conn.is_dialled;
        let Some(session) = conn.session_mut() else {
            return;
        };
        let peer = session.peer;
        if self.own > peer || session.is_adopted {
            return;
        }
        let Some(link) = self.links.get(&peer) else {
            self.adopt(now, id);
            return;
        };
        let Some(present) = link.conn else {
            self.adopt(now, id);
            return;
        };
        if is_dialled && !link.is_dialled {
            // The one dialled by the smaller id stays, once the other side is known to have it.
            if session.tag_out.is_some() {
                self.adopt(now, id);
            }
        } else if session.contest_until.is_none() {
            session.contest_until = Some(now + CONTEST_TIMEOUT);
            self.contested.insert(peer);
            let probe = self.stream_probe(now, &peer);
            self.say(present, &Control::Probe(probe));
        }
    }

    /// The present stream of a link showed life: candidates that waited for it to be dead go.
    pub(super) fn win_contest(&mut self, peer: &PeerId) {
        if !self.contested.remove(peer) {
            return;
        }
        let losers: Vec<ConnId> = self
            .candidates(peer)
            .filter(|(_, session)| session.contest_until.is_some())
            .map(|(id, _)| id)
            .collect();
        for id in losers {
            self.stats.duplicate_streams += 1;
            self.dialler.reached(id, *peer);
            self.close(id, Some(Goodbye::Duplicate));
        }
    }

    pub(super) fn adopt(&mut self, now: Instant, id: ConnId) {
        let own = self.own;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let (remote, is_dialled) = (conn.remote, conn.is_dialled);
        conn.deadline = None;
        let Some(session) = conn.session_mut() else {
            return;
        };
        let peer = session.peer;
        session.is_adopted = true;
        session.contest_until = None;
        let (tag_in, tag_out) = (session.tag_in, session.tag_out);
        let (boot_id, noise_public) = (session.boot_id, session.noise_public);
        if own < peer {
            self.say(id, &Control::Adopt);
        }
        self.dialler.reached(id, peer);
        if let Some(link) = self.links.get_mut(&peer) {
            let old = link.conn.replace(id);
            link.remote = remote;
            link.is_dialled = is_dialled;
            link.tag_in = tag_in;
            link.tag_out = tag_out.or(link.tag_out);
            link.stream_heard_at = now;
            link.held_until = None;
            link.flooding.restart();
            link.stream.handle_moved(now);
            self.stats.packets_dropped += link.packets.clear();
            link.awaits_drained = false;
            if is_dialled {
                link.liveness.suggest_remote(now, remote);
            }
            self.events.push_back(Event::LinkMoved { peer });
            if let Some(old) = old {
                self.stats.duplicate_streams += 1;
                self.close(old, Some(Goodbye::Duplicate));
            }
        } else {
            self.stats.links_up += 1;
            self.end_direct(peer, DirectEnd::Linked);
            let udp_remote = is_dialled.then_some(remote);
            self.links.insert(
                peer,
                Link {
                    peer,
                    conn: Some(id),
                    remote,
                    is_dialled,
                    boot_id,
                    noise_public,
                    since: now,
                    tag_in,
                    tag_out,
                    liveness: Liveness::new(now, udp_remote),
                    stream: StreamLiveness::default(),
                    packets: PacketQueue::default(),
                    awaits_drained: false,
                    told_carrier: None,
                    flooding: Flooding::default(),
                    stream_heard_at: now,
                    patient_since: now,
                    held_until: None,
                    digest_at: now,
                    path_mtu: PathMtu::new(),
                    seen_as: None,
                    routed_bytes: 0,
                    published_cost: None,
                    published_carrier: Carrier::Udp,
                    published_lossy: false,
                    cost_deviates_since: None,
                },
            );
            self.events.push_back(Event::LinkUp {
                peer,
                boot_id,
                noise_public,
                dialled: is_dialled,
            });
        }
        self.is_dialling_stale = true;
        if own < peer {
            let losers: Vec<ConnId> = self.candidates(&peer).map(|(id, _)| id).collect();
            for loser in losers {
                self.stats.duplicate_streams += 1;
                self.dialler.reached(loser, peer);
                self.close(loser, Some(Goodbye::Duplicate));
            }
        }
        self.greet(now, peer);
    }

    /// Streams with a peer that are not its link's.
    pub(super) fn candidates(&self, peer: &PeerId) -> impl Iterator<Item = (ConnId, &Session)> {
        let peer = *peer;
        self.conns.iter().filter_map(move |(id, conn)| {
            let session = conn.session()?;
            (session.peer == peer && !session.is_adopted).then_some((*id, session))
        })
    }

    /// A connection is gone, for a reason not of our making. A link that it carried goes on without
    /// while UDP answers or another stream stands.
    pub(super) fn lose_stream(&mut self, now: Instant, id: ConnId, reason: FailReason) {
        let reason = self.as_guess(id, reason);
        self.dial_failed(now, id, reason);
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        // What waits to be written is written by the close that follows, if one does.
        let out = std::mem::take(&mut conn.out);
        if !out.is_empty() {
            self.actions.push_back(Action::Write {
                conn: id,
                bytes: out,
            });
        }
        let peer = conn.session().map(|session| session.peer);
        self.conns.remove(&id);
        let Some(peer) = peer else { return };
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if link.conn != Some(id) {
            return;
        }
        link.conn = None;
        self.stats.packets_dropped += link.packets.clear();
        let since = link.since;
        let is_up = link.liveness.is_up();
        self.is_dialling_stale = true;
        let candidate = self.candidates(&peer).map(|(id, _)| id).next();
        self.dialler.link_lost(now, &self.own, &peer, since);
        let hold = match (is_up, candidate) {
            (true, _) => HOLD_TIMEOUT,
            (false, Some(_)) => STAGE_TIMEOUT,
            (false, None) => {
                self.take_down(now, peer, DownReason::StreamLost, None);
                return;
            }
        };
        if let Some(link) = self.links.get_mut(&peer) {
            link.held_until = Some(now + hold);
        }
        if let Some(candidate) = candidate {
            self.decide(now, candidate);
        }
    }

    /// UDP of a link went down; without a stream that is the end of the link.
    pub(super) fn udp_went_down(&mut self, now: Instant, peer: PeerId) {
        self.stats.udp_down += 1;
        self.router_publisher.is_stale = true;
        let Some(link) = self.links.get(&peer) else {
            return;
        };
        if link.conn.is_none() && self.candidates(&peer).next().is_none() {
            self.take_down(now, peer, DownReason::StreamLost, None);
        } else {
            self.changed_links.insert(peer);
        }
    }

    /// Ends a link, with a word to the neighbour if one is given.
    pub(super) fn take_down(
        &mut self,
        now: Instant,
        peer: PeerId,
        reason: DownReason,
        goodbye: Option<Goodbye>,
    ) {
        let Some(link) = self.links.remove(&peer) else {
            return;
        };
        if let Some(conn) = link.conn {
            self.close(conn, goodbye);
        }
        self.links_publisher.is_stale = true;
        self.is_dialling_stale = true;
        if link.seen_as.is_some() {
            self.router_publisher.is_stale = true;
        }
        self.dialler.link_lost(now, &self.own, &peer, link.since);
        self.events.push_back(Event::LinkDown { peer, reason });
    }

    /// Closes a connection, which is forgotten at once.
    pub(super) fn close(&mut self, id: ConnId, goodbye: Option<Goodbye>) {
        if let Some(goodbye) = goodbye
            && self
                .conns
                .get(&id)
                .is_some_and(|conn| conn.session().is_some())
        {
            self.say(id, &Control::Goodbye(goodbye as u32));
        }
        if let Some(conn) = self.conns.remove(&id)
            && !conn.out.is_empty()
        {
            self.actions.push_back(Action::Write {
                conn: id,
                bytes: conn.out,
            });
        }
        self.dialler.failed(id, &FailReason::Goodbye);
        self.actions.push_back(Action::Close { conn: id });
    }

    /// Ends what takes too long to be set up, and contests.
    pub(super) fn expire_conns(&mut self, now: Instant) {
        for id in self.conn_deadlines.due(now) {
            let Some(conn) = self.conns.get_mut(&id) else {
                continue;
            };
            let contest = conn.session().and_then(|session| session.contest_until);
            let frame = conn.session().and_then(|session| session.frame_until);
            if frame.is_some_and(|at| now >= at) {
                self.lose_unreadable(now, id);
            } else if conn.deadline.is_some_and(|at| now >= at) {
                self.stats.set_up_timeouts += 1;
                self.lose_stream(now, id, FailReason::SetUpTimeout);
                self.close(id, None);
            } else if contest.is_some_and(|until| now >= until) {
                self.adopt(now, id);
            }
        }
    }

    pub(super) fn expire_link(&mut self, now: Instant, peer: PeerId) {
        let Some(link) = self.links.get(&peer) else {
            return;
        };
        let reason = if now >= link.silent_at() {
            DownReason::Silent
        } else if link.held_until.is_some_and(|until| now >= until) {
            DownReason::StreamLost
        } else {
            return;
        };
        self.take_down(now, peer, reason, None);
    }

    fn stream_probe(&mut self, now: Instant, peer: &PeerId) -> Probe {
        Probe {
            kind: ProbeKind::Challenge,
            last_heard_ms: self
                .links
                .get(peer)
                .map_or(Probe::NEVER_HEARD, |link| link.liveness.last_heard_ms(now)),
            sequence: 0,
            token: self.secret_random.next_u64(),
            seen: None,
        }
    }
}
