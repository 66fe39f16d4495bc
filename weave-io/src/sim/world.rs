//! The world: routers, network and containers, and the loop that moves time from event to event.

mod clones;
mod disturbed;
mod events;
mod members;
mod moves;
mod strangers;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use smoltcp::wire::EthernetAddress;
use weave_core::{Command, Config, Status};
use weave_crypto::Passwords;
use weave_mesh::{ConnId, Target};

use super::check::{BlackHoles, Checker, FaultKind, Frames, Violation};
use super::dice::Dice;
use super::fault::{Conditions, Fault};
use super::host::{Host, TransferState};
use super::machine::{Machine, PORT};
use super::member::HostileMember;
use super::nat::{NatId, NatKind};
use super::net::{Net, StreamEvent, Streams};
use super::queue::Queue;
use super::trace::{Trace, TraceKind};
use super::verifier::CachingVerifier;
use super::{RouterId, base_instant};
use crate::Input;
use disturbed::Disturbed;
use moves::Moves;
use strangers::Strangers;

/// A way that takes smaller datagrams only (design.md section 4: the path MTU search begins here) is none.
const MTU_BYTES_MIN: usize = 1_200;

/// A container of a [`World`], by the order in which they were added, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

/// A transfer between containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId {
    host: HostId,
    to: HostId,
    name: u64,
}

/// Routers, network and containers in virtual time; see the [module](super).
pub struct World {
    base: Instant,
    now: Duration,
    dice: Dice,
    queue: Queue<Event>,
    net: Net,
    streams: Streams,
    machines: Vec<Machine>,
    hosts: Vec<Attached>,
    beacons: Vec<BeaconPair>,
    moves: Moves,
    strangers: Strangers,
    /// Routers that are hostile.
    members: BTreeMap<RouterId, HostileMember>,
    verifier: Arc<CachingVerifier>,
    trace: Trace,
    frames: Frames,
    black_holes: BlackHoles,
    violations: Vec<Violation>,
    log: VecDeque<String>,
    is_watching: bool,
    /// What routers added from now on are told of `--conn-limit`.
    conn_limit: usize,
    /// When routers added from now on replace the keys of tunnels in use.
    rekey_after: Duration,
    /// Until when routes may be longer than the graph's shortest, and links idle.
    detours_until: Option<Duration>,
    /// Every way was equally long when that was last looked at.
    was_uniform: bool,
    /// Identities that were given up: their records stay for ten minutes.
    identities_gone: usize,
    disturbed: Disturbed,
    /// Some way lost datagrams by chance at some time.
    was_lossy: bool,
}

/// What happens later.
#[derive(Debug)]
enum Event {
    /// A datagram reaches a machine.
    Datagram {
        to: RouterId,
        /// Where it was sent to: the machine's own address, or one of its NAT box.
        local: SocketAddr,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// Something happens to a TCP stream.
    Stream(StreamEvent),
    /// A router asked to be woken.
    Wake { router: RouterId, start: u64 },
    /// A name was looked up.
    Resolved {
        router: RouterId,
        start: u64,
        target: Target,
    },
    /// A frame reaches the port of a router.
    FrameIn { router: RouterId, bytes: Vec<u8> },
    /// A frame reaches a container.
    FrameOut { host: HostId, bytes: Vec<u8> },
    /// A container asked to be woken.
    HostWake(HostId),
    /// A beacon is due.
    Beacon(usize),
    /// A stranger's datagram reaches a machine, and so many more follow.
    Hostile {
        router: RouterId,
        left: u16,
        gap: Duration,
    },
    /// A stranger does something to its connection.
    Stranger(ConnId),
    /// A hostile member makes something up.
    Mischief(RouterId),
    /// The checkers look around.
    Look,
}

impl From<StreamEvent> for Event {
    fn from(event: StreamEvent) -> Self {
        Self::Stream(event)
    }
}

#[derive(Debug)]
struct Attached {
    host: Host,
    router: RouterId,
    /// The earliest wake-up that stands in the queue.
    wake_at: Option<Duration>,
}

/// Two containers that exchange a beacon over and over.
#[derive(Debug)]
struct BeaconPair {
    from: HostId,
    to: HostId,
    every: Duration,
    sequence: u32,
}

impl World {
    /// The mesh that all routers belong to.
    pub const NETWORK: &'static str = "weave-sim";
    /// How long a frame takes over a bridge and a veth.
    const BRIDGE_DELAY: Duration = Duration::from_micros(10);
    /// How long a name takes to be looked up.
    const RESOLVE_DELAY: Duration = Duration::from_millis(1);
    /// How often the checkers look around: half of what a beacon may take.
    const LOOK_INTERVAL: Duration = Duration::from_millis(250);
    /// How long [`World::ping`] waits.
    const PING_TIMEOUT: Duration = Duration::from_secs(5);
    /// Log lines kept.
    const LOG_MAX: usize = 4_096;
    /// Violations kept: the first one matters.
    const VIOLATIONS_MAX: usize = 16;

    /// An empty world with a [local network](Conditions::LOCAL).
    pub fn new(seed: u64) -> Self {
        Self::with_network(seed, Conditions::LOCAL)
    }

    /// An empty world whose ways are all like `normal`.
    pub fn with_network(seed: u64, normal: Conditions) -> Self {
        let mut dice = Dice::new(seed);
        let net = Net::new(dice.fork(), normal);
        let strangers = Strangers::new(dice.fork());
        Self {
            base: base_instant(),
            now: Duration::ZERO,
            dice,
            queue: Queue::new(),
            net,
            streams: Streams::default(),
            machines: Vec::new(),
            hosts: Vec::new(),
            beacons: Vec::new(),
            moves: Moves::default(),
            strangers,
            members: BTreeMap::new(),
            verifier: Arc::new(CachingVerifier::default()),
            trace: Trace::new(),
            frames: Frames::default(),
            black_holes: BlackHoles::default(),
            violations: Vec::new(),
            log: VecDeque::new(),
            is_watching: false,
            conn_limit: 0,
            rekey_after: Config::REKEY_AFTER,
            detours_until: None,
            was_uniform: true,
            identities_gone: 0,
            disturbed: Disturbed::default(),
            was_lossy: false,
        }
    }

    // What there is.

    /// Sets at how many neighbours routers added from now on stop to dial those that they hear of; 0, as at first,
    /// is no limit.
    pub fn limit_connections(&mut self, limit: usize) {
        self.conn_limit = limit;
    }

    /// Sets after which time routers added from now on replace the keys of tunnels in use; within the bounds that
    /// [`Config::rekey_after`] has.
    pub fn replace_keys_after(&mut self, time: Duration) {
        self.rekey_after = time;
    }

    /// Adds a machine with an address of its own, 198.18.x.y, and starts a router on it.
    pub fn add_router(&mut self, name: &str) -> RouterId {
        // 198.18.0.0/15 is for tests (RFC 2544); .0 and .255 are left out.
        let number = self.machines.len();
        let address = Ipv4Addr::new(
            198,
            18 + (number / 64_000) as u8,
            (number / 250 % 256) as u8,
            (number % 250 + 1) as u8,
        );
        self.add_router_at(name, &[IpAddr::V4(address)])
    }

    /// Adds a machine with these addresses, and starts a router on it. The first of each family is the one that
    /// it sends from.
    pub fn add_router_at(&mut self, name: &str, addresses: &[IpAddr]) -> RouterId {
        let router = RouterId(self.machines.len());
        for address in addresses {
            self.net.add_address(*address, router);
        }
        self.add_machine(name, addresses.to_vec())
    }

    /// Adds a NAT box with nothing behind it yet.
    pub fn add_nat(&mut self, kind: NatKind) -> NatId {
        self.net.add_nat(kind)
    }

    /// Adds a machine behind a NAT box, with a private address, and starts a router on it.
    pub fn add_router_behind(&mut self, name: &str, nat: NatId) -> RouterId {
        let address = self.net.add_behind(nat, RouterId(self.machines.len()));
        self.add_machine(name, vec![address])
    }

    /// Adds a container to a router's bridge. `address` is like `10.0.0.1/24`.
    ///
    /// # Panics
    /// When it isn't, or the router does not exist: the caller's error.
    pub fn add_host(&mut self, router: RouterId, address: &str) -> HostId {
        let (address, prefix_len) = address
            .split_once('/')
            .expect("an address has the form 10.0.0.1/24");
        let address: Ipv4Addr = address
            .parse()
            .expect("an address has the form 10.0.0.1/24");
        let prefix_len = prefix_len
            .parse()
            .expect("an address has the form 10.0.0.1/24");
        assert!(
            router.0 < self.machines.len(),
            "there is no router {router}"
        );
        let id = HostId(self.hosts.len());
        let [.., high, low] = (id.0 as u32).to_be_bytes();
        let mac = EthernetAddress([0x02, 0xc0, 0, 0, high, low]);
        let host = Host::new(mac, address, prefix_len, self.dice.number(), self.now);
        self.hosts.push(Attached {
            host,
            router,
            wake_at: None,
        });
        id
    }

    /// A container.
    pub fn host(&self, host: HostId) -> &Host {
        &self.hosts[host.0].host
    }

    /// The router that a container is at.
    pub fn router_of(&self, host: HostId) -> RouterId {
        self.hosts[host.0].router
    }

    /// Every router, running or not.
    pub fn routers(&self) -> impl Iterator<Item = RouterId> + use<> {
        (0..self.machines.len()).map(RouterId)
    }

    /// The network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Sets what the way between two routers is like, both directions, from now on and after each healing.
    pub fn set_conditions(&mut self, a: RouterId, b: RouterId, conditions: Conditions) {
        self.net.set_normal_between(a, b, conditions);
        self.changed(FaultKind::Break);
    }

    /// The first address of a router.
    pub fn address(&self, router: RouterId) -> SocketAddr {
        let ip = self.machines[router.0].addresses.first().copied();
        SocketAddr::new(ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), PORT)
    }

    // What is done.

    /// Tells router `a` to connect to router `b`, now and after each restart.
    pub fn connect(&mut self, a: RouterId, b: RouterId) {
        let target = Target::from(self.address(b));
        self.machines[a.0].targets.push(target.clone());
        self.control(a, Some(Input::Command(Command::Connect(target))));
    }

    /// Gives a router the network's passwords, now and after each restart; it has none at first.
    pub fn set_passwords(&mut self, router: RouterId, passwords: Passwords) {
        self.machines[router.0].passwords = passwords.clone();
        self.control(
            router,
            Some(Input::Command(Command::SetPasswords(passwords))),
        );
    }

    /// Gives a router a command of its user.
    pub fn command(&mut self, router: RouterId, command: Command) {
        self.control(router, Some(Input::Command(command)));
    }

    /// Cuts the way between two routers, silently, in both directions.
    pub fn cut(&mut self, a: RouterId, b: RouterId) {
        self.apply(&Fault::Cut(a, b));
    }

    /// Heals what was done to the way between two routers.
    pub fn heal(&mut self, a: RouterId, b: RouterId) {
        self.apply(&Fault::Heal(a, b));
    }

    /// The router's process dies; its state folder survives.
    pub fn crash(&mut self, router: RouterId) {
        self.apply(&Fault::Crash(router));
    }

    /// Starts a router that is down, with the state that survived.
    pub fn restart(&mut self, router: RouterId) {
        self.apply(&Fault::Restart(router));
    }

    /// Injects a fault. One that names routers that don't exist, or that changes nothing (a crash of a router
    /// that is down), is no fault.
    pub fn apply(&mut self, fault: &Fault) {
        if fault
            .router_max()
            .is_some_and(|router| router.0 >= self.machines.len())
        {
            return;
        }
        self.trace
            .record(self.now, TraceKind::Fault, 0, fault.to_string().as_bytes());
        self.note(|| format!("fault: {fault}"));
        self.net.apply(fault, self.machines.len());
        let kind = match fault {
            Fault::Crash(router) | Fault::PowerOff(router) => {
                let silent = matches!(fault, Fault::PowerOff(_));
                if self.machines[router.0].process.is_none() {
                    return;
                }
                self.stop(*router, silent);
                FaultKind::Break
            }
            Fault::Restart(router) => {
                if self.machines[router.0].process.is_some() {
                    return;
                }
                self.start(*router);
                FaultKind::Restart
            }
            Fault::NatRebind(router) => {
                let Some(nat) = self.net.nat_of(*router) else {
                    return;
                };
                let inside = self.net.flush_nat(nat);
                self.with_streams(|streams, context| streams.sever(context, &inside));
                FaultKind::OneWay
            }
            // It begins with the next bytes.
            Fault::FlipStream(a, b) => {
                self.streams.flip(*a, *b);
                return;
            }
            // Nothing that strangers do changes anything.
            Fault::Hostile(router, count) => {
                self.attack_datagrams(*router, *count);
                return;
            }
            // The network is as it was: the others' beacons have no excuse.
            Fault::Move(from, to) => {
                self.move_from(*from, *to, true);
                return;
            }
            Fault::MoveSilently(from, to) => {
                self.move_from(*from, *to, false);
                return;
            }
            Fault::Strangers(router, count) => {
                self.attack_streams(*router, *count);
                return;
            }
            Fault::Misbehave(router, mischief) => {
                self.misbehave(*router, *mischief);
                FaultKind::Break
            }
            Fault::Heal(..) | Fault::HealAll => FaultKind::Heal,
            Fault::CutOneWay(..) => FaultKind::OneWay,
            Fault::Cut(..)
            | Fault::BlockUdp(..)
            | Fault::Partition(_)
            | Fault::Loss(..)
            | Fault::Bursts(..)
            | Fault::Corrupt(..) => FaultKind::Break,
            Fault::Mtu(_, _, bytes) if *bytes < MTU_BYTES_MIN => FaultKind::Break,
            Fault::Mtu(..) => FaultKind::Change,
            Fault::Jitter(..) | Fault::Latency(..) | Fault::Reorder(..) | Fault::Duplicate(..) => {
                FaultKind::Change
            }
        };
        self.changed(kind);
    }

    /// Lets two containers exchange a beacon every so often from now on; the checkers watch that it arrives.
    pub fn watch(&mut self, from: HostId, to: HostId, every: Duration) {
        for host in [from, to] {
            self.black_holes.watch(self.hosts[host.0].router.0);
        }
        let index = self.beacons.len();
        self.beacons.push(BeaconPair {
            from,
            to,
            every: every.max(Duration::from_millis(1)),
            sequence: 0,
        });
        let first = self.dice.duration(every);
        self.queue.schedule(self.now + first, Event::Beacon(index));
    }

    /// Pings one container from another and runs until the answer is there: how long it took, ARP included.
    /// None after five seconds without.
    pub fn ping(&mut self, from: HostId, to: HostId) -> Option<Duration> {
        let address = self.hosts[to.0].host.address();
        let begin = self.now;
        let sequence = self.hosts[from.0].host.start_ping(address)?;
        self.poll_host(from);
        self.run_until(begin + Self::PING_TIMEOUT, |world| {
            world.hosts[from.0].host.answered(sequence).is_some()
        });
        let answered = self.hosts[from.0].host.answered(sequence)?;
        Some(answered - begin)
    }

    /// Begins to send `bytes` over TCP from one container to another.
    pub fn start_transfer(&mut self, from: HostId, to: HostId, bytes: u64) -> TransferId {
        let address = self.hosts[to.0].host.address();
        let name = self.hosts[from.0].host.start_transfer(address, bytes);
        self.poll_host(from);
        TransferId {
            host: from,
            to,
            name,
        }
    }

    /// How a transfer goes.
    pub fn transfer(&self, transfer: TransferId) -> TransferState {
        self.hosts[transfer.host.0]
            .host
            .transfer(transfer.name)
            .unwrap_or(TransferState::Failed)
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time, |_| false);
    }

    /// Lets time pass until something holds, at most for `time`. Says whether it came to hold.
    pub fn run_while_not(&mut self, time: Duration, holds: impl FnMut(&Self) -> bool) -> bool {
        self.run_until(self.now + time, holds)
    }

    // What can be seen.

    /// Virtual time since the world began.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// What a router says of itself; none while it is down.
    pub fn status(&self, router: RouterId) -> Option<Status> {
        let process = self.machines[router.0].process.as_ref()?;
        Some(process.control.status(self.instant()))
    }

    /// The name of the next hop on the route from one router to another; none where there is no route.
    pub fn route_of(&self, from: RouterId, to: RouterId) -> Option<String> {
        let peer_id = self.machines[to.0].identity.peer_id().to_string();
        self.status(from)?
            .routes
            .into_iter()
            .find(|route| route.peer_id == peer_id)
            .map(|route| route.next_hop)
    }

    /// Whether a router runs.
    pub fn is_running(&self, router: RouterId) -> bool {
        self.machines[router.0].process.is_some()
    }

    /// What the checkers found: the first few.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Panics with the first violation and the last log lines if there is one: for tests.
    ///
    /// # Panics
    /// When a checker found something.
    pub fn assert_clean(&self) {
        if let Some(violation) = self.violations.first() {
            let log: Vec<&str> = self.log.iter().map(String::as_str).collect();
            let tail = &log[log.len().saturating_sub(80)..];
            panic!("{violation}\nlog:\n{}", tail.join("\n"));
        }
    }

    /// The fingerprint of all that happened: equal for equal seeds and calls.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Events that happened.
    pub fn events(&self) -> u64 {
        self.trace.events()
    }

    /// Beacons and answers that arrived.
    pub fn beacons_delivered(&self) -> u64 {
        self.black_holes.count()
    }

    /// What routers and faults logged, oldest first: the last few thousand lines.
    pub fn log(&self) -> impl Iterator<Item = &str> {
        self.log.iter().map(String::as_str)
    }

    /// Whether beacons between two routers must arrive now: a path connects them, and faults are long enough ago.
    pub fn is_settled(&self, a: RouterId, b: RouterId) -> bool {
        self.black_holes
            .is_settled((a.0.min(b.0), a.0.max(b.0)), self.now)
    }

    // Private.

    fn add_machine(&mut self, name: &str, addresses: Vec<IpAddr>) -> RouterId {
        let router = RouterId(self.machines.len());
        let mut machine = Machine::new(name, addresses, &mut self.dice);
        machine.conn_limit = self.conn_limit;
        machine.rekey_after = self.rekey_after;
        self.machines.push(machine);
        self.start(router);
        self.changed(FaultKind::Start);
        router
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn start(&mut self, router: RouterId) {
        let (now, at) = (self.instant(), self.now);
        let seed = self.dice.seed();
        let verifier = Arc::clone(&self.verifier);
        let machine = &mut self.machines[router.0];
        machine.start(now, at, seed, Self::NETWORK, verifier);
        let addresses = machine.addresses.clone();
        self.control(router, Some(Input::LocalAddresses(addresses)));
    }

    fn stop(&mut self, router: RouterId, silent: bool) {
        let machine = &mut self.machines[router.0];
        machine.process = None;
        machine.is_powered = !silent;
        self.with_streams(|streams, context| streams.drop_router(context, router, silent));
    }

    fn violate(&mut self, checker: Checker, sentence: String) {
        let violation = Violation {
            checker,
            at: self.now,
            sentence,
        };
        self.note(|| format!("VIOLATION: {violation}"));
        if self.violations.len() < Self::VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.log.len() >= Self::LOG_MAX {
            self.log.pop_front();
        }
        let line = format!("{:10.6} {}", self.now.as_secs_f64(), line());
        self.log.push_back(line);
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("now", &self.now)
            .field("routers", &self.machines.len())
            .field("hosts", &self.hosts.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
