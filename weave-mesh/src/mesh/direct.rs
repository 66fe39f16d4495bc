//! Direct UDP paths to routers that are no neighbours: found by probes, kept by probes.
//!
//! ```text
//!         meet                       answer from the address probed      answer
//!  none ────────► searching ──────────────────────────────────► chosen ────────► up
//!                     │ 5 s                                        │ 5 s           │ three misses, no keys,
//!                     └────────────────────────────────────────────┴───────────────┴─ a link ──► none
//! ```
//!
//! Both routers are told of each other at about the same time, and both probe: what one sends opens its NAT for
//! what the other sends (RFC 5245 section 2.2; with filtering that depends on address and port, RFC 4787
//! section 5, nothing else would get in). Probes are sealed in the pair's tunnel, so an answer proves who sent
//! it; only one from the very address that was probed counts. A genuine challenge from an address that nobody
//! named is one more address to probe: a NAT with a mapping for each destination (RFC 4787 section 4.1) shows
//! itself so.
//!
//! A path carries frames of the two routers alone. It is no link: no records, no floods, and nobody else hears
//! of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;
use weave_crypto::PeerId;

use super::addresses::canonical;
use super::probing::path_mtu_probe;
use super::{Action, Event, Mesh};
use crate::liveness::{Liveness, Transmit};
use crate::pmtu::PathMtu;
use crate::probe::{Probe, ProbeKind};

/// Most addresses that a router names for itself, and that are taken from another.
pub const CANDIDATES_MAX: usize = 8;
/// Most paths looked for or standing at once.
pub const DIRECT_PATHS_MAX: usize = 64;
/// How long a path is looked for, and how long the address that answered has to answer again.
pub const SEARCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses that may join those named, since genuine challenges came from them.
const REFLEXIVE_MAX: usize = 2;
/// Between two rounds of a search. With [`CANDIDATES_MAX`] addresses, 40 packets of some 100 bytes a second at most.
const ROUND_INTERVAL: Duration = Duration::from_millis(250);

/// A path to one router, looked for or standing.
#[derive(Debug)]
pub struct DirectPath {
    peer: PeerId,
    search: Option<Search>,
    /// The address that answered, and whether it still does.
    chosen: Option<Liveness>,
    path_mtu: PathMtu,
    /// Until it is up: when it is given up.
    deadline: Option<Instant>,
    up_since: Option<Instant>,
    probed: usize,
}

impl DirectPath {
    /// The router at its other end.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Where packets go, while frames may take it.
    pub fn remote(&self) -> Option<SocketAddr> {
        let chosen = self.chosen.as_ref().filter(|chosen| chosen.is_up())?;
        chosen.remote()
    }

    /// Smoothed round trip, once measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.chosen.as_ref()?.rtt()
    }

    /// Largest UDP payload that passes, bytes; [`PATH_MTU_BYTES_BASE`](crate::PATH_MTU_BYTES_BASE) while it is not known.
    pub fn path_mtu_bytes(&self) -> u16 {
        self.path_mtu.bytes()
    }

    /// Since when frames may take it.
    pub fn up_since(&self) -> Option<Instant> {
        self.up_since
    }

    /// How many addresses were probed in the last search.
    pub fn probed(&self) -> usize {
        self.probed
    }

    fn next_timeout(&self) -> Option<Instant> {
        let round = self.search.as_ref().map(|search| search.next_at);
        let probe = self.chosen.as_ref().map(Liveness::next_timeout);
        let test = self.path_mtu.next_timeout();
        [round, probe, test, self.deadline]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Why there is no direct path any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectEnd {
    /// No probe returned in time.
    #[error("no answer from {probed} addresses")]
    NoAnswer {
        /// How many were probed.
        probed: usize,
    },
    /// It stood, and probes were answered no more.
    #[error("{0}")]
    Silent(&'static str),
    /// A link with the router stands.
    #[error("a link takes its place")]
    Linked,
    /// The tunnel that its probes are sealed in is gone.
    #[error("the tunnel is gone")]
    NoTunnel,
    /// The router's identity is refused.
    #[error("this router refuses that identity (--deny)")]
    Denied,
}

/// The addresses that are probed.
#[derive(Debug)]
struct Search {
    next_at: Instant,
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    remote: SocketAddr,
    /// One for all rounds: an answer proves that the address took a challenge, whichever.
    token: u64,
}

/// All paths of one router.
#[derive(Debug, Default)]
pub(super) struct Directs {
    by_peer: BTreeMap<PeerId, DirectPath>,
}

impl Directs {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let paths = self.by_peer.values();
        paths.filter_map(DirectPath::next_timeout).min()
    }
}

impl Mesh {
    /// Addresses at which another router may find this one by UDP, at most [`CANDIDATES_MAX`]: first those that
    /// neighbours see us at, then those of interfaces.
    pub fn own_candidates(&self) -> Vec<SocketAddr> {
        let addresses = self.router_body().addresses;
        let (seen, own): (Vec<_>, Vec<_>) =
            addresses.into_iter().partition(|address| address.observed);
        let all = seen.into_iter().chain(own);
        all.map(|address| address.socket)
            .take(CANDIDATES_MAX)
            .collect()
    }

    /// Looks for a direct path to a router that is no neighbour, at these addresses of it. The router must look
    /// for one at the same time, and a tunnel with it must stand. One that stands goes on meanwhile.
    ///
    /// Ends in [`Event::DirectUp`] or [`Event::DirectDown`]. Returns false if there is a link, or too many paths.
    pub fn meet(&mut self, now: Instant, peer: PeerId, candidates: &[SocketAddr]) -> bool {
        self.now = now;
        let is_full = self.directs.by_peer.len() >= DIRECT_PATHS_MAX
            && !self.directs.by_peer.contains_key(&peer);
        if is_full || self.is_shut_down || peer == self.own || self.links.contains_key(&peer) {
            return false;
        }
        let mut remotes: Vec<SocketAddr> = Vec::new();
        for remote in candidates.iter().copied().map(canonical) {
            if self.is_probeable(remote) && !remotes.contains(&remote) {
                remotes.push(remote);
            }
        }
        remotes.truncate(CANDIDATES_MAX);
        let path = self
            .directs
            .by_peer
            .entry(peer)
            .or_insert_with(|| DirectPath {
                peer,
                search: None,
                chosen: None,
                path_mtu: PathMtu::new(),
                deadline: None,
                up_since: None,
                probed: 0,
            });
        path.probed = remotes.len();
        path.search = Some(Search {
            next_at: now,
            candidates: remotes
                .into_iter()
                .map(|remote| Candidate {
                    remote,
                    token: self.secret_random.next_u64(),
                })
                .collect(),
        });
        path.deadline = Some(now + SEARCH_TIMEOUT);
        self.run_directs(now);
        self.settle(now);
        true
    }

    /// Gives a direct path up, without a word to the other router or an event.
    pub fn part(&mut self, peer: &PeerId) {
        self.directs.by_peer.remove(peer);
    }

    /// The direct path to a router, looked for or standing.
    pub fn direct_path(&self, peer: &PeerId) -> Option<&DirectPath> {
        self.directs.by_peer.get(peer)
    }

    /// All direct paths, by router.
    pub fn direct_paths(&self) -> impl Iterator<Item = &DirectPath> {
        self.directs.by_peer.values()
    }

    /// Rounds of searches and probes of paths that are due.
    pub(super) fn run_directs(&mut self, now: Instant) {
        let due: Vec<PeerId> = self
            .directs
            .by_peer
            .values()
            .filter(|path| path.next_timeout().is_some_and(|at| at <= now))
            .map(DirectPath::peer)
            .collect();
        for peer in due {
            let Some(path) = self.directs.by_peer.get_mut(&peer) else {
                continue;
            };
            if path.deadline.is_some_and(|at| at <= now) {
                path.search = None;
                path.deadline = None;
                if path.up_since.is_none() {
                    let probed = path.probed;
                    self.end_direct(peer, DirectEnd::NoAnswer { probed });
                    continue;
                }
            }
            let mut actions = Vec::new();
            if let Some(search) = path.search.as_mut().filter(|search| search.next_at <= now) {
                search.next_at = now + ROUND_INTERVAL;
                actions.extend(
                    search
                        .candidates
                        .iter()
                        .map(|candidate| candidate.ask(peer)),
                );
            }
            let mut transmits = Vec::new();
            if let Some(chosen) = &mut path.chosen
                && chosen.next_timeout() <= now
            {
                chosen.handle_timeout(now, &mut self.secret_random, &mut transmits);
            }
            self.actions.extend(actions);
            // Tests first, as with a link: what passes is known when the path is up.
            self.settle_direct(now, peer);
            self.transmit_direct(peer, transmits);
            self.settle_direct(now, peer);
        }
    }

    /// A genuine probe of a router that is no neighbour. Returns false if there is no path to it.
    pub(super) fn take_direct_probe(
        &mut self,
        now: Instant,
        from: PeerId,
        remote: SocketAddr,
        probe: &Probe,
    ) -> bool {
        let is_probeable = self.is_probeable(remote);
        let Some(path) = self.directs.by_peer.get_mut(&from) else {
            return false;
        };
        let mut transmits = Vec::new();
        match probe.kind {
            ProbeKind::Challenge => {
                if let Some(search) = &mut path.search
                    && is_probeable
                    && search.candidates.len() < CANDIDATES_MAX + REFLEXIVE_MAX
                    && search.candidates.iter().all(|known| known.remote != remote)
                {
                    // At once: its NAT is open for the answer this very moment.
                    let candidate = Candidate {
                        remote,
                        token: self.secret_random.next_u64(),
                    };
                    self.actions.push_back(candidate.ask(from));
                    path.probed += 1;
                    search.candidates.push(candidate);
                }
                if let Some(chosen) = &mut path.chosen {
                    chosen.handle_challenge(
                        now,
                        remote,
                        probe,
                        &mut self.secret_random,
                        &mut transmits,
                    );
                }
            }
            ProbeKind::Answer => {
                let answers = |candidate: &Candidate| {
                    candidate.remote == remote && candidate.token == probe.token
                };
                let is_found = path
                    .search
                    .as_ref()
                    .is_some_and(|search| search.candidates.iter().any(answers));
                if is_found && path.up_since.is_none() && path.chosen.is_none() {
                    // The first to answer is the nearest. The rounds go on until it is up: the other router may
                    // need them yet.
                    let mut chosen = Liveness::new(now, Some(remote));
                    chosen.handle_ready(now, true);
                    chosen.handle_timeout(now, &mut self.secret_random, &mut transmits);
                    path.chosen = Some(chosen);
                    path.deadline = Some(now + SEARCH_TIMEOUT);
                } else if let Some(chosen) = &mut path.chosen {
                    let before = chosen.remote();
                    let loss = chosen.loss_permille();
                    let has_changed = match path.path_mtu.handle_answer(now, loss, probe) {
                        Some(path_mtu_has_changed) => {
                            chosen.handle_heard(now);
                            path_mtu_has_changed
                        }
                        None => {
                            chosen.handle_answer(now, remote, probe);
                            chosen.remote() != before
                        }
                    };
                    if has_changed && path.up_since.is_some() {
                        self.events.push_back(Event::DirectChanged { peer: from });
                    }
                }
            }
        }
        self.transmit_direct(from, transmits);
        self.settle_direct(now, from);
        true
    }

    /// A unicast frame went to or came from a router that is no neighbour.
    pub(super) fn direct_activity(&mut self, now: Instant, peer: &PeerId) {
        if let Some(path) = self.directs.by_peer.get_mut(peer)
            && let Some(chosen) = &mut path.chosen
        {
            chosen.handle_activity(now);
            path.path_mtu.handle_activity(now);
        }
    }

    /// Something genuine came from such a router by itself, not through a relay.
    pub(super) fn direct_heard(&mut self, peer: &PeerId, at: Instant) {
        if let Some(path) = self.directs.by_peer.get_mut(peer)
            && let Some(chosen) = &mut path.chosen
        {
            chosen.handle_heard(at);
        }
    }

    /// A packet was too big for the path to such a router.
    pub(super) fn direct_too_big(&mut self, now: Instant, peer: &PeerId) {
        if let Some(path) = self.directs.by_peer.get_mut(peer) {
            path.path_mtu.handle_too_big(now);
        }
    }

    /// The underlay's device changed.
    pub(super) fn settle_directs(&mut self, now: Instant) {
        let peers: Vec<PeerId> = self.directs.by_peer.keys().copied().collect();
        for peer in peers {
            self.settle_direct(now, peer);
        }
    }

    /// Ends a path, if there is one.
    pub(super) fn end_direct(&mut self, peer: PeerId, reason: DirectEnd) {
        if let Some(path) = self.directs.by_peer.remove(&peer) {
            let since = path.up_since;
            self.events.push_back(Event::DirectDown {
                peer,
                reason,
                stood_for: since.map(|since| self.now.saturating_duration_since(since)),
            });
        }
    }

    /// Ends all paths.
    pub(super) fn end_directs(&mut self, reason: DirectEnd) {
        let peers: Vec<PeerId> = self.directs.by_peer.keys().copied().collect();
        for peer in peers {
            self.end_direct(peer, reason);
        }
    }

    /// What has become of a path after an input.
    fn settle_direct(&mut self, now: Instant, peer: PeerId) {
        let Some(path) = self.directs.by_peer.get_mut(&peer) else {
            return;
        };
        let Some(chosen) = &path.chosen else {
            return;
        };
        let underlay_mtu_bytes = self.underlay_mtu_bytes;
        let mut has_changed = path
            .path_mtu
            .handle_path(now, chosen.remote(), underlay_mtu_bytes);
        if path.path_mtu.next_timeout().is_some_and(|at| at <= now) {
            let mut challenges = Vec::new();
            has_changed |= path.path_mtu.handle_timeout(
                now,
                chosen.loss_permille(),
                &mut self.secret_random,
                &mut challenges,
            );
            let last_heard_ms = chosen.last_heard_ms(now);
            let tests = challenges.iter();
            self.actions
                .extend(tests.map(|test| path_mtu_probe(peer, last_heard_ms, test)));
        }
        if has_changed && path.up_since.is_some() {
            self.events.push_back(Event::DirectChanged { peer });
        }
        match (path.up_since, chosen.is_up()) {
            (None, true) => {
                path.up_since = Some(now);
                path.deadline = None;
                path.search = None;
                path.path_mtu.handle_up(now);
                self.events.push_back(Event::DirectUp { peer });
            }
            (Some(_), false) => {
                let why = chosen.down_reason().unwrap_or("it is down");
                self.end_direct(peer, DirectEnd::Silent(why));
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    fn transmit_direct(&mut self, peer: PeerId, transmits: Vec<Transmit>) {
        for transmit in transmits {
            // There is no stream on which the others could go.
            if let Transmit::Udp(remote, probe) = transmit {
                self.actions.push_back(Action::Probe {
                    peer,
                    remote,
                    bytes: probe.to_bytes(),
                });
            }
        }
    }

    /// Whether another router may have us send probes to an address.
    fn is_probeable(&self, remote: SocketAddr) -> bool {
        let is_own =
            remote.port() == self.config.listen_port && self.local_addresses.contains(&remote.ip());
        remote.port() != 0 && self.is_underlay(remote.ip()) && !is_own
    }
}

impl Candidate {
    fn ask(&self, peer: PeerId) -> Action {
        let probe = Probe {
            kind: ProbeKind::Challenge,
            last_heard_ms: Probe::NEVER_HEARD,
            sequence: 0,
            token: self.token,
            seen: Some(self.remote),
        };
        Action::Probe {
            peer,
            remote: self.remote,
            bytes: probe.to_bytes(),
        }
    }
}
