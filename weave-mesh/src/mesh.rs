//! The composition: connections become links, links carry records, records say whom to dial.
//!
//! `mesh/streams.rs` has connections and links, `mesh/messages.rs` what is said on them, `mesh/packets.rs` the data packets among it,
//! `mesh/gossip.rs` records, `mesh/dialling.rs` whom
//! to dial, `mesh/admission.rs` whom to refuse, `mesh/direct.rs` paths to routers that are no neighbours; this file has the type, its inputs and its outputs.

mod admission;
mod dialling;
mod direct;
mod event;
mod gossip;
mod messages;
mod packets;
mod streams;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use self::tests::base as tests_base;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use weave_crypto::{Identity, NetworkId, Passwords, PeerId};

use self::direct::Directs;
pub use self::direct::{CANDIDATES_MAX, DIRECT_PATHS_MAX, DirectEnd, DirectPath, SEARCH_TIMEOUT};
pub use self::event::{Action, Event};
use self::gossip::{DIGEST_SOON, Publisher};
use crate::budget::{Budget, Source};
use crate::conn::{Conn, ConnId};
use crate::dial::{Dialler, TargetStatus};
use crate::error::{CloseReason, DownReason, FailReason, SendError};
use crate::link::Link;
use crate::liveness::{LATE, Transmit};
use crate::pmtu::Challenge;
use crate::probe::{Probe, ProbeKind};
use crate::record::{Carrier, Verifier};
use crate::stats::MeshStats;
use crate::store::Store;
use crate::subnet::{OVERLAY_SUBNETS_MAX, Subnet};
use crate::target::Target;
use crate::timer::{Deadlines, WakeReason, sooner};
use crate::touched::Touched;
use crate::wire::{Control, Goodbye, ROUTED_BODY_BYTES_MAX, RecordBytes, Routed};

/// How long opening, and then the set-up of a stream, may each take.
pub const STAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a frame of a stream may take from its first byte to its last: longer than TCP itself waits for what is not
/// acknowledged (TCP_USER_TIMEOUT, 5 s).
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(6);
/// A link with nothing heard over either carrier for this long goes down.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a link whose stream is gone waits for another while UDP answers.
pub const HOLD_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of routed messages handed to one link's stream between two drains.
pub const ROUTED_QUEUE_BYTES_MAX: usize = 256 * 1024;

/// What a mesh is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshConfig {
    /// Which network; records and links of others are refused.
    pub network: NetworkId,
    /// The passwords of which a neighbour has to have one.
    pub passwords: Passwords,
    /// The name that people see, instead of one made of the key.
    pub name: Option<String>,
    /// A second label, usually the host's name.
    pub nickname: String,
    /// Port of TCP and UDP, as others reach it.
    pub listen_port: u16,
    /// Whom to dial whatever the records say.
    pub targets: Vec<Target>,
    /// Addresses of neighbours before the restart, dialled until each led somewhere once.
    pub rejoin: Vec<SocketAddr>,
    /// Whether routers met in records are dialled, too.
    pub discovery: bool,
    /// Neighbours at which dialling the ones met in records ends; 0 is no limit.
    pub conn_limit: usize,
    /// Whether this router is fast at AES.
    pub aes: bool,
    /// Identities that are refused here; see [`Mesh::deny`].
    pub denied: BTreeSet<PeerId>,
}

/// Links, records and dialling of one router.
///
/// * **Inputs** are the `handle_*` methods and the commands [`Mesh::connect`], [`Mesh::forget`],
///   [`Mesh::send`] and [`Mesh::shutdown`]. `now` never goes back.
/// * **Outputs**: after each input, drain [`Mesh::poll_action`], then [`Mesh::poll_event`], each to
///   `None`, then take [`Mesh::poll_timeout`] and call [`Mesh::handle_timeout`] at that time. Call
///   [`Mesh::handle_timeout`] once after [`Mesh::new`], too: that publishes the first records and
///   starts dialling.
///
/// Everything that comes from outside is bounded: connections being set up ([`HALF_OPEN_MAX`](crate::HALF_OPEN_MAX)),
/// bytes of one message, origins, addresses, targets. What is written and not yet sent is the
/// driver's to bound: it closes a connection with more than 1 MiB unsent.
pub struct Mesh {
    config: MeshConfig,
    identity: Arc<Identity>,
    own: PeerId,
    verifier: Arc<dyn Verifier>,
    /// For what must not be guessed: handshakes, tags, tokens.
    secret_random: ChaCha20Rng,
    /// For jitter, which anybody may watch.
    public_random: ChaCha20Rng,
    boot_id: u64,
    start_boot_id: u64,
    start_random: u64,
    started_unix: Duration,
    now: Instant,

    conns: Touched<ConnId, Conn>,
    conn_deadlines: Deadlines<ConnId>,
    dialled_conns: u64,
    budget: Budget,
    /// Sources that this router knows of itself, and when it last looked.
    known_sources: (Option<Instant>, BTreeSet<Source>),
    links: Touched<PeerId, Link>,
    link_deadlines: Deadlines<PeerId>,
    /// Peers with streams that contest, or did: see [`Session::contest_until`](crate::conn::Session::contest_until).
    contested: BTreeSet<PeerId>,
    /// Links that were handed routed messages since the outputs were last drained.
    routed_links: Vec<PeerId>,

    store: Store,
    router_publisher: Publisher,
    links_publisher: Publisher,
    local_addresses: Vec<IpAddr>,
    /// What lies inside of overlays: neither advertised nor dialled.
    overlay_subnets: Vec<Subnet>,
    underlay_mtu_bytes: u16,
    /// When stores are compared with all neighbours.
    compare_at: Option<Instant>,
    /// When they are compared though news keeps coming.
    compare_by: Option<Instant>,

    directs: Directs,
    dialler: Dialler,
    /// Something changed that decides whom to dial.
    is_dialling_stale: bool,
    /// Whom to dial is not decided again before this time.
    next_choice_at: Instant,
    /// The order in which this router likes the others.
    dial_ranks: BTreeMap<PeerId, u64>,
    is_shut_down: bool,

    /// Origins and links to report once the input is dealt with.
    changed: BTreeSet<PeerId>,
    changed_links: BTreeSet<PeerId>,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    stats: MeshStats,
}

impl Mesh {
    /// A mesh with no links. `seed` must be fresh and secret; `unix_time` is the time since 1970
    /// at `now`; `boot_id` must be larger than any used before with this identity, and stored.
    pub fn new(
        config: MeshConfig,
        identity: Arc<Identity>,
        seed: [u8; 32],
        now: Instant,
        unix_time: Duration,
        boot_id: u64,
        verifier: Arc<dyn Verifier>,
    ) -> Self {
        let mut secret_random = ChaCha20Rng::from_seed(seed);
        let public_random = ChaCha20Rng::from_rng(&mut secret_random);
        let start_random = secret_random.next_u64();
        let budget_secret = secret_random.next_u64();
        let own = identity.peer_id();
        let mut mesh = Self {
            own,
            identity,
            verifier,
            secret_random,
            public_random,
            boot_id,
            start_boot_id: boot_id,
            start_random,
            started_unix: unix_time,
            now,
            conns: Touched::new(),
            conn_deadlines: Deadlines::new(),
            dialled_conns: 0,
            budget: Budget::new(budget_secret, now),
            known_sources: (None, BTreeSet::new()),
            links: Touched::new(),
            link_deadlines: Deadlines::new(),
            contested: BTreeSet::new(),
            routed_links: Vec::new(),
            store: Store::new(own),
            router_publisher: Publisher::new(),
            links_publisher: Publisher::new(),
            local_addresses: Vec::new(),
            overlay_subnets: Vec::new(),
            directs: Directs::default(),
            underlay_mtu_bytes: UNDERLAY_MTU_BYTES,
            compare_at: None,
            compare_by: None,
            dialler: Dialler::default(),
            is_dialling_stale: true,
            next_choice_at: now,
            dial_ranks: BTreeMap::new(),
            is_shut_down: false,
            changed: BTreeSet::new(),
            changed_links: BTreeSet::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            stats: MeshStats::default(),
            config,
        };
        for target in std::mem::take(&mut mesh.config.targets) {
            mesh.dialler.add_target(now, target);
        }
        for address in std::mem::take(&mut mesh.config.rejoin) {
            mesh.dialler.add_rejoin(now, address);
        }
        mesh
    }

    /// A connection opened: one that [`Action::Dial`] asked for, or an accepted one with an id of
    /// [`ConnId::accepted`].
    pub fn handle_opened(&mut self, now: Instant, conn: ConnId, remote: SocketAddr, dialled: bool) {
        self.now = now;
        self.open(now, conn, canonical(remote), dialled);
        self.settle(now);
    }

    /// Bytes came in. They may be cut anyhow.
    pub fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.now = now;
        self.receive(now, conn, bytes);
        self.settle(now);
    }

    /// A connection is gone, or could not be opened. Not for those closed by [`Action::Close`],
    /// though it does no harm.
    pub fn handle_closed(&mut self, now: Instant, conn: ConnId, reason: CloseReason) {
        self.now = now;
        if let Some(gone) = self.conns.get_mut(&conn) {
            gone.out.clear();
        }
        self.lose_stream(now, conn, FailReason::Closed(reason));
        self.settle(now);
    }

    /// The answer to [`Action::Resolve`].
    pub fn handle_resolved(
        &mut self,
        now: Instant,
        target: &Target,
        result: Result<Vec<SocketAddr>, String>,
    ) {
        self.now = now;
        if let Some(reason) = self.dialler.handle_resolved(now, target, result) {
            self.events.push_back(Event::ConnectFailed {
                target: Some(target.clone()),
                remote: None,
                reason,
            });
        }
        self.settle(now);
    }

    /// Addresses of the host's interfaces, without those of overlays. Loopback, link-local and
    /// unspecified ones are left out here.
    pub fn handle_local_addresses(&mut self, now: Instant, addresses: Vec<IpAddr>) {
        self.now = now;
        let distinct: BTreeSet<IpAddr> = addresses
            .into_iter()
            .map(|ip| ip.to_canonical())
            .filter(|ip| is_advertisable(*ip))
            .collect();
        self.local_addresses = distinct.into_iter().collect();
        self.router_publisher.is_stale = true;
        self.is_dialling_stale = true;
        self.settle(now);
    }

    /// Subnets of overlays that this host has an address in: an address inside of one leads through a tunnel, so
    /// none is advertised or dialled from records, whoever saw it or says it. At most
    /// [`OVERLAY_SUBNETS_MAX`](crate::OVERLAY_SUBNETS_MAX) are taken.
    pub fn handle_overlay_subnets(&mut self, now: Instant, mut subnets: Vec<Subnet>) {
        self.now = now;
        subnets.truncate(OVERLAY_SUBNETS_MAX);
        if self.overlay_subnets != subnets {
            self.overlay_subnets = subnets;
            self.router_publisher.is_stale = true;
            self.is_dialling_stale = true;
        }
        self.settle(now);
    }

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

    /// Which origins can be reached, as the routes say. Only their records stand in digests; those
    /// of others are forgotten after [`FORGET_AFTER`](crate::FORGET_AFTER).
    pub fn handle_reachable(&mut self, now: Instant, reachable: &BTreeSet<PeerId>) {
        self.now = now;
        let appeared = self.store.set_reachable(now, reachable);
        if !appeared.is_empty() {
            self.compare_soon(now + DIGEST_SOON);
        }
        self.settle(now);
    }

    /// A record that came another way than by gossip: a router's answer to a message made for its former boot.
    /// It is checked, stored and passed on like any other.
    pub fn handle_record(&mut self, now: Instant, via: PeerId, bytes: &[u8]) {
        self.now = now;
        self.take_records(now, via, &[RecordBytes(bytes.into())]);
        self.settle(now);
    }

    /// Adds a target, or has one that is there dialled at once. Beyond
    /// [`TARGETS_MAX`](crate::TARGETS_MAX) it is not taken: then false.
    pub fn connect(&mut self, now: Instant, target: Target) -> bool {
        self.now = now;
        let is_taken = self.dialler.add_target(now, target);
        self.settle(now);
        is_taken
    }

    /// Forgets a target and closes the link that it led to, if this router dialled it. Returns
    /// false if it is no target. With discovery on, the peer may be dialled again for its record's
    /// sake.
    pub fn forget(&mut self, now: Instant, target: &Target) -> bool {
        self.now = now;
        let is_target = self.forget_target(now, target);
        self.settle(now);
        is_target
    }

    /// Time passed. Harmless to call at any time; late by more than 100 ms, it takes the delay for
    /// this router's own and judges nobody by it.
    pub fn handle_timeout(&mut self, now: Instant) {
        let is_late = self.poll_timeout().is_some_and(|(at, _)| now > at + LATE);
        self.now = now;
        if is_late {
            self.stats.late_timeouts += 1;
            for link in self.links.values_mut() {
                link.patient_since = now;
            }
        }
        self.expire_conns(now);
        self.look_at_links(now);
        self.run_directs(now);
        self.compare_due(now);
        let links = &self.links;
        let forgotten = self
            .store
            .forget_unreachable(now, &|peer| links.contains_key(peer));
        self.stats.origins_forgotten += forgotten.len() as u64;
        self.is_dialling_stale |= !forgotten.is_empty();
        self.changed.extend(forgotten);
        self.settle(now);
    }

    /// Says goodbye on every link and closes it. Nothing is dialled or accepted afterwards.
    pub fn shutdown(&mut self, now: Instant) {
        self.now = now;
        self.is_shut_down = true;
        self.directs = Directs::default();
        let peers: Vec<PeerId> = self.links.keys().copied().collect();
        for peer in peers {
            self.take_down(now, peer, DownReason::Shutdown, Some(Goodbye::Shutdown));
        }
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.close(conn, Some(Goodbye::Shutdown));
        }
        self.settle(now);
    }

    /// Sends a message on its way by the neighbour `via`, which the routes chose.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing is sent then.
    pub fn send(&mut self, now: Instant, via: PeerId, message: Routed) -> Result<(), SendError> {
        self.now = now;
        if message.ttl == 0 {
            return Err(SendError::Ttl);
        }
        let length = message.body.len();
        if length > ROUTED_BODY_BYTES_MAX {
            return Err(SendError::TooLong);
        }
        let link = self.links.get_mut(&via).ok_or(SendError::NoStream)?;
        let conn = link.conn.ok_or(SendError::NoStream)?;
        if link.routed_bytes + length > ROUTED_QUEUE_BYTES_MAX {
            return Err(SendError::Full);
        }
        if link.routed_bytes == 0 {
            self.routed_links.push(via);
        }
        link.routed_bytes += length;
        self.say(conn, &Control::Routed(message));
        self.settle(now);
        Ok(())
    }

    /// The next thing to do. Drain first, to `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if action.is_none() {
            for peer in std::mem::take(&mut self.routed_links) {
                if let Some(link) = self.links.get_mut(&peer) {
                    link.routed_bytes = 0;
                }
            }
        }
        action
    }

    /// The next thing that happened. Drain second, to `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Mesh::handle_timeout`] is to be called, and why. Take last.
    pub fn poll_timeout(&self) -> Option<(Instant, WakeReason)> {
        let mut next = None;
        let mut at = |when: Option<Instant>, reason| {
            next = sooner(next, when.map(|when| (when, reason)));
        };
        for (when, reason) in [self.conn_deadlines.next(), self.link_deadlines.next()]
            .into_iter()
            .flatten()
        {
            at(Some(when), reason);
        }
        at(self.directs.next_timeout(), WakeReason::Direct);
        at(self.compare_at, WakeReason::Digest);
        let forget_at = self
            .store
            .next_forget(&|peer| self.links.contains_key(peer));
        at(forget_at, WakeReason::Forget);
        if !self.is_shut_down {
            let routers = self.store.len();
            at(self.router_publisher.next_at(routers), WakeReason::Publish);
            at(self.links_publisher.next_at(routers), WakeReason::Publish);
            at(self.dialler.rests_until(self.now), WakeReason::Dial);
            let choice_at = self.is_dialling_stale.then_some(self.next_choice_at);
            at(choice_at, WakeReason::Dial);
        }
        next
    }

    /// Everything known by records.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// All links, by neighbour.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The link to a neighbour.
    pub fn link(&self, peer: &PeerId) -> Option<&Link> {
        self.links.get(peer)
    }

    /// The user's targets and how they stand.
    pub fn targets(&self) -> Vec<TargetStatus> {
        self.dialler
            .statuses(self.now, &|peer| has_stream(&self.links, peer))
    }

    /// Who this router is.
    pub fn peer_id(&self) -> PeerId {
        self.own
    }

    /// The boot id now.
    pub fn boot_id(&self) -> u64 {
        self.boot_id
    }

    /// The time since 1970 at which the mesh was made.
    pub fn started_unix_time(&self) -> Duration {
        self.started_unix
    }

    /// What was refused, and why.
    pub fn stats(&self) -> &MeshStats {
        &self.stats
    }

    /// Links whose deadline has come. Tell what the data plane heard of these
    /// ([`Mesh::handle_heard`], [`Mesh::handle_activity`]) before [`Mesh::handle_timeout`]: of the others it
    /// matters at their own time.
    pub fn due_links(&self, now: Instant) -> BTreeSet<PeerId> {
        self.link_deadlines.due(now)
    }

    /// After every input: records, messages and dials that follow from it. Looks at what was touched only.
    fn settle(&mut self, now: Instant) {
        let mut touched = self.links.take_touched();
        for peer in &touched {
            self.run_path_mtu(now, *peer);
        }
        self.settle_carriers(now, &touched);
        self.settle_costs(now, &touched);
        if !self.is_shut_down {
            self.publish(now);
            touched.append(&mut self.links.take_touched());
            self.flood(now, &touched);
            self.dial(now);
        }
        touched.append(&mut self.links.take_touched());
        for peer in touched {
            let deadline = self
                .links
                .get(&peer)
                .and_then(|link| link.next_deadline(now));
            self.link_deadlines.set(peer, deadline);
        }
        self.flush();
        for peer in std::mem::take(&mut self.changed_links) {
            if self.links.contains_key(&peer) {
                self.events.push_back(Event::LinkChanged { peer });
            }
        }
        if !self.changed.is_empty() {
            let changed = std::mem::take(&mut self.changed);
            let queued = self.events.iter_mut().find_map(Event::records_mut);
            match queued {
                Some(queued) => queued.extend(changed),
                None => self.events.push_back(Event::Records { changed }),
            }
        }
    }

    /// Whether others can be told of an address, or it can be tried when they tell of it.
    fn is_underlay(&self, ip: IpAddr) -> bool {
        is_advertisable(ip)
            && !self
                .overlay_subnets
                .iter()
                .any(|subnet| subnet.contains(ip))
    }

    /// Links whose deadline has come: probes, silence, and the comparison of stores. Costs and records follow when
    /// they settle.
    fn look_at_links(&mut self, now: Instant) {
        for peer in self.link_deadlines.due(now) {
            self.run_probes(now, peer);
            self.expire_link(now, peer);
            let is_due = self
                .links
                .get_mut(&peer)
                .is_some_and(|link| link.conn.is_some() && now >= link.digest_at);
            if is_due {
                self.compare(now, peer);
            }
        }
    }

    /// Probes of one link that are due. Tests of its path MTU go before those of liveness: so the first answer,
    /// which makes UDP usable, comes behind that of the first test.
    fn run_probes(&mut self, now: Instant, peer: PeerId) {
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
    fn settle_carriers(&mut self, now: Instant, touched: &BTreeSet<PeerId>) {
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

    fn run_path_mtu(&mut self, now: Instant, peer: PeerId) {
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
fn path_mtu_probe(peer: PeerId, last_heard_ms: u16, challenge: &Challenge) -> Action {
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
/// The underlay's MTU until [`Mesh::handle_underlay_mtu`] says another: Ethernet's.
const UNDERLAY_MTU_BYTES: u16 = 1_500;

/// An address as everybody writes it: IPv4 is not mapped into IPv6.
fn canonical(socket: SocketAddr) -> SocketAddr {
    SocketAddr::new(socket.ip().to_canonical(), socket.port())
}

/// Whether others can be told of an address. Private ones (RFC 1918) can: hosts of one site use
/// them.
fn is_advertisable(ip: IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || is_link_local)
}

fn has_stream(links: &Touched<PeerId, Link>, peer: &PeerId) -> bool {
    links.get(peer).is_some_and(|link| link.conn.is_some())
}
