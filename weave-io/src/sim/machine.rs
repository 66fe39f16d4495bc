//! A machine with a router on it: what survives a crash, and the process that doesn't.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weave_core::{Config, Fib, MacTable, PacketCaps, Router};
use weave_crypto::{Identity, NetworkId, Passwords, PeerId};
use weave_mesh::{MeshConfig, Target, Verifier};

use super::dice::Dice;
use super::host::Host;
use super::net::Machine as Answers;
use crate::{
    ControlLoop, Inbox, Input, NoticeQueue, Progress, Published, Shared, SharedStats, StreamQueue,
    Turn, Worker,
};
use crate::{MemoryHost, MemoryPort, MemorySocket, MemoryWire};

/// The port that every router listens on.
pub(super) const PORT: u16 = weave_mesh::DEFAULT_PORT;
/// The wall clock at the beginning of every world: 2024-01-01, so that boot ids look like real ones.
pub(super) const UNIX_TIME: Duration = Duration::from_secs(1_704_067_200);
/// Runs that a socket keeps: as many full-sized datagrams as 7 MB of receive buffer.
const RUNS_MAX: usize = 4_096;
/// Frames that a port keeps: a TAP's queue is 1,000 long.
const FRAMES_MAX: usize = 1_000;
/// MAC addresses that a router remembers.
const MACS_MAX: usize = 1_024;

/// A machine: its state folder, its addresses, and perhaps a running router.
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) identity: Arc<Identity>,
    /// Stored: the boot id of the last start.
    pub(super) boot_id: u64,
    /// Stored: peers to rejoin.
    pub(super) peers: Vec<SocketAddr>,
    /// What the user told it to connect to, now and after each restart.
    pub(super) targets: Vec<Target>,
    /// Neighbours at which it stops to dial the routers that it hears of; 0 is no limit.
    pub(super) conn_limit: usize,
    /// When it replaces the keys of tunnels in use.
    pub(super) rekey_after: Duration,
    /// The network's passwords as it has them, now and after each restart.
    pub(super) passwords: Passwords,
    pub(super) process: Option<Process>,
    pub(super) is_powered: bool,
    /// Whose it was before it met another router with that identity.
    pub(super) former: Option<PeerId>,
    /// Counts starts: what was meant for an earlier process is dropped.
    pub(super) starts: u64,
}

impl Machine {
    pub(super) fn new(name: &str, addresses: Vec<IpAddr>, dice: &mut Dice) -> Self {
        Self {
            name: name.to_owned(),
            addresses,
            identity: Arc::new(Identity::from_seed(dice.seed())),
            boot_id: 0,
            peers: Vec::new(),
            targets: Vec::new(),
            conn_limit: 0,
            rekey_after: Config::REKEY_AFTER,
            passwords: Passwords::none(),
            process: None,
            is_powered: true,
            former: None,
            starts: 0,
        }
    }

    /// What its kernel does with a packet from the network.
    pub(super) fn answers(&self) -> Answers {
        match (self.is_powered, &self.process) {
            (false, _) => Answers::Silent,
            (true, None) => Answers::Idle,
            (true, Some(_)) => Answers::Running,
        }
    }

    /// Starts a router, as the daemon does: boot id stored first, then the state folder read.
    pub(super) fn start(
        &mut self,
        now: Instant,
        at: Duration,
        seed: [u8; 32],
        network: &str,
        verifier: Arc<dyn Verifier>,
    ) {
        let unix_time = UNIX_TIME + at;
        self.is_powered = true;
        self.starts += 1;
        self.boot_id = unix_time.as_secs().max(self.boot_id + 1);
        let config = Config {
            mesh: MeshConfig {
                network: NetworkId::from_name(network),
                passwords: self.passwords.clone(),
                name: Some(self.name.clone()),
                nickname: self.name.clone(),
                listen_port: PORT,
                targets: self.targets.clone(),
                rejoin: self.peers.clone(),
                discovery: true,
                conn_limit: self.conn_limit,
                aes: true,
                denied: Default::default(),
            },
            network_name: network.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            frame_port: Some("memory".to_owned()),
            addresses: Vec::new(),
            underlay_mtu_bytes: 1_500,
            mtu_bytes: Host::MTU_BYTES as u16,
            rekey_after: self.rekey_after,
        };
        let macs = Arc::new(MacTable::new(
            MACS_MAX,
            now,
            u64::from_le_bytes([seed[0]; 8]),
        ));
        let mut router = Router::with_verifier(
            config,
            Arc::clone(&self.identity),
            seed,
            now,
            unix_time,
            self.boot_id,
            Arc::clone(&macs),
            verifier,
        );
        if let Some(former) = self.former {
            router.took_new_identity(former);
        }
        let address = SocketAddr::new(
            self.addresses
                .first()
                .copied()
                .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            PORT,
        );
        self.process = Some(Process::new(router, macs, now, address));
    }
}

/// A running router: both of its halves, and our ends of its transports.
pub(super) struct Process {
    pub(super) control: ControlLoop<MemorySocket>,
    worker: Worker<MemoryPort, MemorySocket>,
    pub(super) wire: MemoryWire,
    pub(super) port: MemoryHost,
    pub(super) macs: Arc<MacTable>,
    /// Set by the queues of notices and of packets for streams, by the inbox and by the published snapshot: the other
    /// half has work.
    has_notices: Arc<AtomicBool>,
    has_snapshot: Arc<AtomicBool>,
    /// The earliest wake-up that stands in the world's queue.
    pub(super) wake_at: Option<Duration>,
    /// Wake-ups in a row without a step of time.
    pub(super) spins: u32,
}

impl Process {
    fn new(router: Router, macs: Arc<MacTable>, now: Instant, address: SocketAddr) -> Self {
        let caps = PacketCaps {
            gso_segments_max: 64,
            gro: false,
            dont_fragment: true,
        };
        let (socket, wire) = MemorySocket::pair(address, caps, RUNS_MAX);
        let (memory_port, port) = MemoryPort::plain(Host::MTU_BYTES + 14, FRAMES_MAX);
        let flag = || Arc::new(AtomicBool::new(false));
        let (has_notices, has_snapshot) = (flag(), flag());
        let notices = NoticeQueue::new();
        let raise = Arc::clone(&has_notices);
        notices.on_notices(move || raise.store(true, Ordering::Relaxed));
        let streams = StreamQueue::new();
        let raise = Arc::clone(&has_notices);
        streams.on_packets(move || raise.store(true, Ordering::Relaxed));
        let published = Published::new(Arc::new(Fib::empty(now, router.peer_id().short_id(), 0)));
        let raise = Arc::clone(&has_snapshot);
        published.on_store(move || raise.store(true, Ordering::Relaxed));
        let inbox = Inbox::new();
        let raise = Arc::clone(&has_snapshot);
        inbox.on_filled(move || raise.store(true, Ordering::Relaxed));
        let shared = Shared {
            published: Arc::new(published),
            notices: Arc::new(notices),
            streams: Arc::new(streams),
            stats: Arc::new(SharedStats::new()),
            inbox: Arc::new(inbox),
            macs: Arc::clone(&macs),
        };
        Self {
            control: ControlLoop::new(router, socket.clone(), &shared),
            worker: Worker::new(Some(memory_port), socket, shared, now),
            wire,
            port,
            macs,
            has_notices,
            has_snapshot,
            wake_at: None,
            spins: 0,
        }
    }

    /// One turn of the control plane, then as many of both as there is work for. What leaves the machine stands
    /// in the turns, in `wire` and in `port`.
    pub(super) fn turn(&mut self, now: Instant, input: Option<Input>) -> Vec<Turn> {
        let mut turns = vec![self.control.turn(now, input)];
        if self.has_snapshot.swap(false, Ordering::Relaxed) {
            turns.extend(self.work(now));
        }
        turns
    }

    /// The worker's turns until nothing is left, and the control plane's where it got notices.
    pub(super) fn work(&mut self, now: Instant) -> Vec<Turn> {
        let mut turns = Vec::new();
        loop {
            // Memory transports never break.
            while self
                .worker
                .turn(now)
                .is_ok_and(|progress| progress == Progress::Busy)
            {}
            if !self.has_notices.swap(false, Ordering::Relaxed) {
                return turns;
            }
            turns.push(self.control.turn(now, None));
            if !self.has_snapshot.swap(false, Ordering::Relaxed) {
                return turns;
            }
        }
    }
}
