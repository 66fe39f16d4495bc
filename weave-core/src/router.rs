//! The router: one sans-IO state machine that is the control plane of a host.
//!
//! It owns the [`Mesh`] (whom we know), the tunnels (keys with each of them), the topology and the routes, and
//! turns all of it into forwarding snapshots ([`Fib`]) for the data plane. This file has the type, its inputs and its
//! outputs; each file below it has one of the things that the router keeps, and what is done with it.

mod admission;
mod announcing;
mod command;
mod config;
mod departures;
mod direct;
mod echo;
mod find;
mod flood_trees;
mod history;
mod housekeeping;
mod keys;
mod loops;
mod mesh_outputs;
mod notes;
mod notices;
mod paths;
mod refusals;
mod refused;
mod sites;
mod snapshot;
mod status;
mod trace;
mod tunnels;
mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use weave_crypto::{Identity, PeerId, TunnelLocal};
use weave_mesh::{CloseReason, ConnId, DirectVerifier, Mesh, Subnet, Target, Verifier};

pub use command::{Action, Command, Event, Level, RouterWake};
pub use config::Config;
pub use echo::{Ping, PingError, PingHop};
pub use find::FindError;
pub use refusals::control_meaning;
pub use status::{
    ConnectionStatus, MacStatus, PeerStatus, RefusedStatus, RouteStatus, SegmentStatus, Status,
    TargetStatus, Verdict,
};
pub use trace::{OtherPath, Trace, TraceHop};

use crate::fib::Fib;
use crate::routes::PathTree;
use crate::timer::{Timer, Timers};
use crate::topology::Topology;
use crate::{MacTable, Site, Streamed};
use announcing::Announcing;
use departures::Departures;
use direct::Meetings;
use echo::Echoes;
use history::History;
use loops::Loops;
use refused::Refused;
use sites::Sites;
use tunnels::Tunnels;

/// MAC addresses are looked through this often; their age limit is 600 s.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(30);
/// Addresses to rejoin are stored this long after a change, all changes of that time together.
const STORE_PEERS_AFTER: Duration = Duration::from_secs(2);
/// Actions of one kind that wait to be polled are bounded by the inputs; events are bounded here.
const EVENTS_MAX: usize = 256;

/// The control plane of one router: its mesh, tunnels, topology and routes, made into forwarding snapshots.
///
/// Inputs are the `handle_*` methods, outputs the `poll_*` ones. **After every input, drain every output**
/// until it gives `None`: first [`poll_action`](Self::poll_action), then [`poll_fib`](Self::poll_fib), then
/// [`poll_event`](Self::poll_event); then sleep until [`poll_timeout`](Self::poll_timeout) and call
/// [`handle_timeout`](Self::handle_timeout). `now` never goes back.
pub struct Router {
    config: Config,
    identity: Arc<Identity>,
    epoch: Instant,
    mesh: Mesh,
    macs: Arc<MacTable>,
    tunnels: Tunnels,
    sites: Sites,
    meetings: Meetings,
    departures: Departures,
    announcing: Announcing,
    loops: Loops,
    verifier: Arc<dyn Verifier>,
    topology: Topology,
    tree: PathTree,
    /// By origin that floods: the neighbours that this router passes its floods on to.
    flood_children: BTreeMap<PeerId, Vec<PeerId>>,
    /// Computations of routes are accounted for up to here.
    routes_paid_until: Instant,
    flood_sequence: Arc<AtomicU64>,
    fib_version: u64,
    fib_is_stale: bool,
    timers: Timers,
    actions: std::collections::VecDeque<Action>,
    events: std::collections::VecDeque<Event>,
    refusals: BTreeMap<&'static str, u64>,
    stored_peers: Vec<SocketAddr>,
    history: History,
    refused: Refused,
    echoes: Echoes,
    stopping: bool,
    /// The next boot id is raised for a jump of the clock.
    has_jumped: bool,
    /// Whose this router was before it met another of the same.
    former_identity: Option<PeerId>,
}

impl Router {
    /// A router at its start. `boot_id` counts the starts of this identity and must have been stored before;
    /// `unix_time` is the wall clock's, once; `macs` is shared with the data plane.
    pub fn new(
        config: Config,
        identity: Arc<Identity>,
        seed: [u8; 32],
        now: Instant,
        unix_time: Duration,
        boot_id: u64,
        macs: Arc<MacTable>,
    ) -> Self {
        Self::with_verifier(
            config,
            identity,
            seed,
            now,
            unix_time,
            boot_id,
            macs,
            Arc::new(DirectVerifier),
        )
    }

    /// As [`Router::new`], with a verifier of one's own: simulated routers share one that remembers.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of it is needed once, at the start"
    )]
    pub fn with_verifier(
        config: Config,
        identity: Arc<Identity>,
        seed: [u8; 32],
        now: Instant,
        unix_time: Duration,
        boot_id: u64,
        macs: Arc<MacTable>,
        verifier: Arc<dyn Verifier>,
    ) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut mesh = Mesh::new(
            config.mesh.clone(),
            Arc::clone(&identity),
            rng.random(),
            now,
            unix_time,
            boot_id,
            Arc::clone(&verifier),
        );
        mesh.handle_underlay_mtu(now, config.underlay_mtu_bytes);
        let tunnels = Tunnels::new(
            TunnelLocal {
                identity: Arc::clone(&identity),
                network: config.mesh.network,
                boot_id,
                aes: config.mesh.aes,
            },
            ChaCha20Rng::from_seed(rng.random()),
            config.rekey_after,
        );
        let mut router = Self {
            epoch: now,
            mesh,
            macs,
            tunnels,
            sites: Sites::default(),
            meetings: Meetings::default(),
            departures: Departures::default(),
            announcing: Announcing::default(),
            loops: Loops::default(),
            verifier: Arc::clone(&verifier),
            topology: Topology::default(),
            tree: PathTree::new(&Topology::default(), 0),
            flood_children: BTreeMap::new(),
            routes_paid_until: now,
            flood_sequence: Arc::new(AtomicU64::new(first_flood_sequence(boot_id))),
            fib_version: 0,
            fib_is_stale: true,
            timers: Timers::default(),
            actions: Default::default(),
            events: Default::default(),
            refusals: BTreeMap::new(),
            stored_peers: Vec::new(),
            history: History::default(),
            refused: Refused::default(),
            echoes: Echoes::new(ChaCha20Rng::from_seed(rng.random())),
            stopping: false,
            has_jumped: false,
            former_identity: None,
            config,
            identity,
        };
        router
            .timers
            .set(Timer::Housekeeping, Some(now + HOUSEKEEPING_INTERVAL));
        router.timers.set(Timer::Routes, Some(now));
        router.start_loop_frames(now);
        router.start_announcing(now);
        router.drain_mesh(now);
        router
    }

    // Inputs.

    /// A TCP stream stands: one that we asked for, or one that was accepted.
    pub fn handle_opened(&mut self, now: Instant, conn: ConnId, remote: SocketAddr, dialled: bool) {
        self.mesh.handle_opened(now, conn, remote, dialled);
        self.drain_mesh(now);
    }

    /// Bytes came in on a stream.
    pub fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.mesh.handle_bytes(now, conn, bytes);
        self.drain_mesh(now);
    }

    /// A stream ended, or a dial failed.
    pub fn handle_closed(&mut self, now: Instant, conn: ConnId, reason: CloseReason) {
        self.mesh.handle_closed(now, conn, reason);
        self.drain_mesh(now);
    }

    /// A target's name was looked up.
    pub fn handle_resolved(
        &mut self,
        now: Instant,
        target: &Target,
        result: Result<Vec<SocketAddr>, String>,
    ) {
        self.mesh.handle_resolved(now, target, result);
        self.drain_mesh(now);
    }

    /// The addresses of this host's interfaces, all of them, whenever they change.
    pub fn handle_local_addresses(&mut self, now: Instant, addresses: Vec<IpAddr>) {
        self.mesh.handle_local_addresses(now, addresses);
        self.drain_mesh(now);
    }

    /// The subnets of overlays that this host has an address in, whenever they change: no address inside of one, or of
    /// those of [`Config::addresses`], is advertised or dialled.
    pub fn handle_overlay_subnets(&mut self, now: Instant, subnets: Vec<Subnet>) {
        let subnets = self.with_own_subnets(subnets);
        self.mesh.handle_overlay_subnets(now, subnets);
        self.drain_mesh(now);
    }

    /// All that was written to a stream is on its way: the answer to [`Action::AwaitDrained`].
    pub fn handle_drained(&mut self, now: Instant, conn: ConnId) {
        self.mesh.handle_drained(now, conn);
        self.drain_mesh(now);
    }

    /// Packets that the data plane has for neighbours' streams. Takes them all.
    pub fn handle_streamed(&mut self, now: Instant, packets: &mut Streamed) {
        while let Some((site, at, packet)) = packets.pop(now) {
            match self.sites.peer(site) {
                Some(peer) => self.mesh.send_packet(now, peer, at, packet),
                // Its router was forgotten meanwhile.
                None => self.refuse("stream_packets_for_nobody"),
            }
        }
        self.drain_mesh(now);
    }

    /// The wall clock jumped against the time since boot by more than two seconds: nothing is sealed with the keys of
    /// before any more, whatever they are ([`Mesh::handle_jump`]). `seed` must be fresh and secret.
    pub fn handle_jump(&mut self, now: Instant, seed: [u8; 32]) {
        let mut rng = ChaCha20Rng::from_seed(seed);
        self.tunnels.reseed(ChaCha20Rng::from_seed(rng.random()));
        self.has_jumped = true;
        self.mesh.handle_jump(now, rng.random());
        self.drain_mesh(now);
    }

    /// This router takes the place of one whose identity another router keeps
    /// ([`Action::RenewIdentity`]): status says so.
    pub fn took_new_identity(&mut self, former: PeerId) {
        self.former_identity = Some(former);
    }

    /// Says records to a neighbour unchecked, as a hostile member does: for simulation alone.
    pub fn say_unchecked(&mut self, now: Instant, to: PeerId, records: Vec<Vec<u8>>) {
        self.mesh.say_unchecked(now, to, records);
        self.drain_mesh(now);
    }

    /// The MTU of the device that leads to the peers changed, in bytes of IP.
    pub fn handle_underlay_mtu(&mut self, now: Instant, underlay_mtu_bytes: u16) {
        self.mesh.handle_underlay_mtu(now, underlay_mtu_bytes);
        self.drain_mesh(now);
    }

    /// A command of the user.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Connect(target) => {
                if !self.mesh.connect(now, target) {
                    self.refuse("targets_full");
                }
            }
            Command::Forget(target) => {
                self.mesh.forget(now, &target);
            }
            Command::SetPasswords(passwords) => self.mesh.set_passwords(now, passwords),
            Command::Deny(peer) => self.deny(now, peer),
            Command::Ping { id, to, timeout } => self.ping(now, id, &to, timeout),
            Command::Shutdown => {
                self.stopping = true;
                self.mesh.shutdown(now);
            }
        }
        self.drain_mesh(now);
    }

    /// The time of [`Router::poll_timeout`] has come (or any other: what is not due is left alone).
    pub fn handle_timeout(&mut self, now: Instant) {
        self.look_at_stamps(now);
        self.mesh.handle_timeout(now);
        if self.timers.take_due(Timer::Meetings, now) {
            self.run_meetings(now);
        }
        if self.timers.take_due(Timer::Tunnels, now) {
            let outcome = self.tunnels.handle_timeout(now);
            for (peer, message) in outcome.again {
                self.send_tunnel_message(now, peer, message);
            }
            for peer in outcome.rekey {
                self.begin_tunnel_anew(now, peer);
            }
            self.fib_is_stale |= outcome.changed;
        }
        if self.timers.take_due(Timer::Housekeeping, now) {
            self.keep_house(now);
            self.timers
                .set(Timer::Housekeeping, Some(now + HOUSEKEEPING_INTERVAL));
        }
        if self.timers.take_due(Timer::StorePeers, now) {
            self.store_peers();
        }
        if self.timers.take_due(Timer::Loops, now) {
            self.handle_loop_timer(now);
        }
        if self.timers.take_due(Timer::Departures, now) {
            self.purge_departed(now);
        }
        if self.timers.take_due(Timer::Echoes, now) {
            self.end_late_rounds(now);
        }
        if self.timers.take_due(Timer::Announcing, now) {
            self.announce(now);
        }
        self.drain_mesh(now);
        if self.timers.take_due(Timer::Routes, now) {
            self.compute_routes(now);
            self.drain_mesh(now);
        }
    }

    // Outputs.

    /// What the I/O side is to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// A new forwarding snapshot, once after each change.
    pub fn poll_fib(&mut self) -> Option<Arc<Fib>> {
        if !std::mem::take(&mut self.fib_is_stale) {
            return None;
        }
        self.fib_version += 1;
        Some(Arc::new(self.build_fib()))
    }

    /// What happened, for the log.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Router::handle_timeout`] is next due, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, RouterWake)> {
        let own = self
            .timers
            .next()
            .map(|(at, timer)| (at, RouterWake::from(timer)));
        let mesh = self
            .mesh
            .poll_timeout()
            .map(|(at, reason)| (at, RouterWake::Mesh(reason)));
        own.into_iter().chain(mesh).min_by_key(|(at, _)| *at)
    }

    // Getters.

    /// This router's identity.
    pub fn peer_id(&self) -> PeerId {
        self.identity.peer_id()
    }

    /// The boot id in force.
    pub fn boot_id(&self) -> u64 {
        self.mesh.boot_id()
    }

    /// The MAC table shared with the data plane.
    pub fn macs(&self) -> &Arc<MacTable> {
        &self.macs
    }

    /// The mesh below, to look at.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// The graph that routes were last computed over.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    // Private.

    fn site_name(&self, site: Site) -> String {
        match self.sites.peer(site) {
            Some(peer) => self.peer_name(&peer),
            None => "this router".to_owned(),
        }
    }

    fn peer_name(&self, peer: &PeerId) -> String {
        match self.mesh.store().router(peer) {
            Some(record) => record.display_name(peer),
            None => peer.default_name(),
        }
    }

    fn refuse(&mut self, reason: &'static str) {
        *self.refusals.entry(reason).or_default() += 1;
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        } else {
            self.refuse("events_dropped");
        }
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("peer", &self.peer_id())
            .field("boot_id", &self.boot_id())
            .field("fib_version", &self.fib_version)
            .finish_non_exhaustive()
    }
}

/// The first flood sequence number of a boot: always ahead of the former boot's, since floods are policed far
/// below 2^16 a second (design.md section 6).
fn first_flood_sequence(boot_id: u64) -> u64 {
    (boot_id << 16) & ((1 << 48) - 1)
}

#[cfg(test)]
mod tests;
