//! The composition: connections become links, links carry records, records say whom to dial.
//!
//! This file has the type, its inputs and its outputs, and what follows from every input. What it is made of:
//!
//! * `streams` connections and links, `messages` what is said on them, `packets` the data packets among it;
//! * `probing` whether a link's carriers answer, `direct` paths to routers that are no neighbours;
//! * `admission` whom to refuse;
//! * `gossip` records, `intake` those of others, `dialling` whom to dial, `addresses` which addresses count.

mod addresses;
mod admission;
mod clones;
mod config;
mod dialling;
mod direct;
mod event;
mod gossip;
mod intake;
mod messages;
mod packets;
mod probing;
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
use weave_crypto::{Identity, PeerId};

use self::addresses::canonical;
use self::clones::Clones;
pub use self::clones::{CLONE_PATIENCE, CloneMet};
pub use self::config::MeshConfig;
use self::direct::Directs;
pub use self::direct::{CANDIDATES_MAX, DIRECT_PATHS_MAX, DirectEnd, DirectPath, SEARCH_TIMEOUT};
pub use self::event::{Action, Event};
use self::gossip::{DIGEST_SOON, Publisher};
use crate::budget::{Budget, Source};
use crate::conn::{Conn, ConnId};
use crate::dial::{Dialler, TargetStatus};
use crate::error::{CloseReason, DownReason, FailReason};
use crate::link::Link;
use crate::liveness::LATE;
use crate::record::Verifier;
use crate::stats::MeshStats;
use crate::store::Store;
use crate::subnet::Subnet;
use crate::suspect::Suspects;
use crate::target::Target;
use crate::timer::{Deadlines, WakeReason, sooner};
use crate::touched::Touched;
use crate::wire::{Goodbye, RecordBytes};

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
    suspects: Suspects,
    clones: Clones,
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
            suspects: Suspects::default(),
            clones: Clones::default(),
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
        // It came along the mesh: nobody's stream is to be closed for it.
        let _ = self.take_records(now, via, &[RecordBytes(bytes.into())]);
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
        self.give_up_identity_when_due(now);
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
        at(self.clone_deadline(), WakeReason::Clone);
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

    /// What another mesh is to be told that takes this one's place: the configuration as commands have changed it.
    pub fn config(&self) -> MeshConfig {
        let targets = self.targets().into_iter().map(|status| status.target);
        MeshConfig {
            targets: targets.collect(),
            ..self.config.clone()
        }
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
}

/// The underlay's MTU until [`Mesh::handle_underlay_mtu`] says another: Ethernet's.
const UNDERLAY_MTU_BYTES: u16 = 1_500;

fn has_stream(links: &Touched<PeerId, Link>, peer: &PeerId) -> bool {
    links.get(peer).is_some_and(|link| link.conn.is_some())
}
