//! Runs a router on threads: the only place that waits, reads clocks, and opens sockets.
//!
//! Two threads. The worker's sleeps in epoll until the port or the socket has something, or a new snapshot
//! wakes it. The control plane's runs a tokio runtime of its own: TCP streams, names, files, deadlines. Neither
//! ever wakes up just to look.

mod bridge;
mod clocks;
mod control;
mod port;
mod streams;
mod thread;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};
use weave_core::{
    Command, Config, Fib, FindError, MacTable, Ping, PingError, Router, Status, Trace,
};
use weave_crypto::{Identity, Passwords, PeerId};
use weave_mesh::{Subnet, Target};

use super::{
    ControlLoop, Inbox, NoticeQueue, Published, Shared, SharedStats, StreamQueue, Worker,
    WorkerError,
};
use crate::udp::canonical;
use crate::{StateDir, StateError, UdpTransport, os_seed, tcp};

use clocks::Clocks;
use control::{Control, Request};
pub use port::FramePort;
use thread::WorkerThread;

/// What a router is run with.
pub struct RunConfig {
    /// The router's own configuration. Its listen port is set to the one that was bound, and the peers of the
    /// state folder are added to those to rejoin.
    pub router: Config,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Counts its starts; stored already.
    pub boot_id: u64,
    /// Where it listens.
    pub sockets: Sockets,
    /// Where frames enter and leave; none for a pure relay.
    pub port: Option<FramePort>,
    /// Set where the port is a device on a bridge of the calling thread's namespace: with the feature `host`, the
    /// bridge's own table is watched, so that addresses go with the device behind which they were.
    pub bridge: Option<BridgePort>,
    /// Where to keep what must outlive the process; without, a restart begins anew.
    pub state: Option<Arc<StateDir>>,
    /// Lists the addresses of this host's interfaces. Called at the start and every 5 s, may block.
    pub local_addresses: Box<dyn Fn() -> HostAddresses + Send + Sync>,
    /// The MTU of the device that leads to the peers, bytes of IP, asked every few seconds; none while it is not known.
    pub underlay_mtu: Box<dyn Fn() -> Option<u16> + Send + Sync>,
}

/// The addresses of a host, sorted by what they are to a router.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// Those where other routers may reach this one.
    pub underlay: Vec<IpAddr>,
    /// Subnets of the overlay, by which no router is to be reached.
    pub overlay_subnets: Vec<Subnet>,
}

/// Which bridge the frame port is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgePort {
    /// Name of the bridge.
    pub bridge: String,
    /// Name of the device on it that is the router's port.
    pub port: String,
}

/// The sockets that a router listens on: TCP and UDP, at one address and port.
///
/// Bound before everything else, since this is what another router on the same host makes fail.
#[derive(Debug)]
pub struct Sockets {
    listener: std::net::TcpListener,
    socket: UdpTransport,
    address: SocketAddr,
}

impl Sockets {
    /// Binds both; `[::]:6783` is every address of both families. Port 0 takes one that is free for both.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub fn bind(address: SocketAddr) -> Result<Self, StartError> {
        let refused = |source| StartError::Listen { address, source };
        let (listener, socket) = bind(address).map_err(refused)?;
        let address = canonical(listener.local_addr().map_err(refused)?);
        Ok(Self {
            listener,
            socket,
            address,
        })
    }
}

/// Why a router did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The listen address cannot be had.
    #[error(
        "cannot listen on {address}; is another router running, or is the address not this host's?"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system refused a thread, a file descriptor or random bytes.
    #[error("the system refused what a router needs")]
    System(#[from] io::Error),
}

/// Why a running router ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The data plane cannot go on.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The system refused to let the worker wait.
    #[error("the system refused to wait for port and socket")]
    Wait(#[source] io::Error),
    /// A boot id could not be stored, and must not be used unstored.
    #[error(transparent)]
    State(#[from] StateError),
    /// The clock jumped, and the system had no randomness for new keys.
    #[error("no random bytes for new keys")]
    Random(#[source] io::Error),
    /// Another router has this one's identity, and a new one could not be begun with.
    #[error("cannot go on with a new identity")]
    Identity(#[source] io::Error),
    /// A thread panicked: a fault of this program.
    #[error("the {0} thread panicked")]
    Panicked(&'static str),
}

/// The router is not running any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the router has ended")]
pub struct Ended;

/// Starts a router. It runs until [`Handle::shutdown`], a fault, or the drop of [`Running`].
///
/// # Errors
/// See [`StartError`]; nothing is left running.
pub fn start(config: RunConfig) -> Result<Running, StartError> {
    let Sockets {
        listener,
        socket,
        address,
    } = config.sockets;
    let mut router_config = config.router;
    router_config.mesh.listen_port = address.port();
    if let Some(state) = &config.state {
        // Nobody needs to be known from before; targets and those who dial us will do.
        let rejoin = state.peers().inspect_err(|error| tracing::warn!("{error}"));
        router_config.mesh.rejoin.extend(rejoin.unwrap_or_default());
    }
    let life = Life::begin(
        &router_config,
        config.identity,
        config.boot_id,
        &socket,
        config.port,
        None,
    )?;

    let (requests, from_handles) = mpsc::channel(REQUESTS_MAX);
    let (keep, dropped) = oneshot::channel();
    let (control_ended, ended) = oneshot::channel();
    let control = Control {
        router: router_config,
        socket,
        requests: from_handles,
        dropped,
        state: config.state,
        bridge: config.bridge,
        local_addresses: config.local_addresses.into(),
        underlay_mtu: config.underlay_mtu.into(),
    };
    let thread = control.spawn(listener, life, control_ended)?;
    Ok(Running {
        handle: Handle { requests },
        address,
        thread: Some(thread),
        keep: Some(keep),
        ended,
    })
}

/// A router with one identity, from its start to its end: both halves, and what they share.
struct Life {
    control: ControlLoop<UdpTransport>,
    shared: Shared,
    worker: WorkerThread,
    worker_ended: oneshot::Receiver<()>,
    clocks: Arc<Clocks>,
}

impl Life {
    /// Makes a router and starts its worker. `former` is whose place it takes, where it met another of that identity.
    fn begin(
        config: &Config,
        identity: Arc<Identity>,
        boot_id: u64,
        socket: &UdpTransport,
        port: Option<FramePort>,
        former: Option<PeerId>,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let [s0, s1, s2, s3, s4, s5, s6, s7, ..] = os_seed()?;
        let macs_seed = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let macs = Arc::new(MacTable::new(MACS_MAX, now, macs_seed));
        let peer = identity.peer_id();
        let mut router = Router::new(
            config.clone(),
            identity,
            os_seed()?,
            now,
            unix_time(),
            boot_id,
            Arc::clone(&macs),
        );
        if let Some(former) = former {
            router.took_new_identity(former);
        }
        let fib = router
            .poll_fib()
            .unwrap_or_else(|| Arc::new(Fib::empty(now, peer.short_id(), boot_id << 16)));
        let shared = Shared {
            published: Arc::new(Published::new(fib)),
            notices: Arc::new(NoticeQueue::new()),
            streams: Arc::new(StreamQueue::new()),
            stats: Arc::new(SharedStats::new()),
            inbox: Arc::new(Inbox::new()),
            macs,
        };
        let port = port.map(|port| port.with_peer(peer).into_parts());
        let (frames, wait_for) = port.unzip();
        let worker = Worker::new(frames, socket.clone(), shared.clone(), now);
        let control = ControlLoop::new(router, socket.clone(), &shared);
        let (ended, worker_ended) = oneshot::channel();
        let clocks = Arc::new(Clocks::new());
        let worker = WorkerThread::spawn(
            worker,
            wait_for,
            socket,
            &shared,
            Arc::clone(&clocks),
            ended,
        )?;
        Ok(Self {
            control,
            shared,
            worker,
            worker_ended,
            clocks,
        })
    }
}

/// The wall clock. One before 1970 is as good as one at 1970: the boot id grows all the same.
fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// A router that runs. Dropping it stops the router at once, without goodbyes.
#[derive(Debug)]
pub struct Running {
    handle: Handle,
    address: SocketAddr,
    thread: Option<std::thread::JoinHandle<Result<(), RunError>>>,
    /// Dropped to stop the control thread.
    keep: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
}

impl Running {
    /// To ask and command it, from anywhere.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The address that it listens on, with the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the router ended, by command or by itself.
    ///
    /// # Errors
    /// What made it end by itself.
    pub async fn wait(mut self) -> Result<(), RunError> {
        // An error means that the thread is gone without a word, which joining it will tell.
        let _ = (&mut self.ended).await;
        self.join()
    }

    /// Says goodbye to all neighbours, stops, and gives port and sockets back.
    ///
    /// # Errors
    /// What had made it end by itself before.
    pub async fn shutdown(self) -> Result<(), RunError> {
        // One that has ended already needs no goodbye.
        let _: Result<(), Ended> = self.handle.shutdown().await;
        self.wait().await
    }

    fn join(&mut self) -> Result<(), RunError> {
        match self.thread.take().map(std::thread::JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(RunError::Panicked("control")),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.keep = None;
        if let Err(error) = self.join() {
            tracing::warn!(%error, "the router had ended by itself");
        }
    }
}

/// Asks and commands a running router; clones are cheap.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
}

impl Handle {
    /// What the router says of itself.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn status(&self) -> Result<Status, Ended> {
        self.ask(Request::Status).await
    }

    /// By which path frames reach a router, named as [`Router::trace`] takes it, and why by that one.
    ///
    /// # Errors
    /// When the router has ended. The inner error says that nobody is meant, or several.
    pub async fn trace(&self, to: impl Into<String>) -> Result<Result<Trace, FindError>, Ended> {
        let to = to.into();
        self.ask(|answer| Request::Trace(to, answer)).await
    }

    /// Asks each router on the path to one, named as [`Router::trace`] takes it, for an answer, and waits for them:
    /// no longer than `timeout`, which is at most 10 s.
    ///
    /// # Errors
    /// When the router has ended. The inner error says that nobody is meant, or several, or that too many pings are
    /// under way; a router that does not answer is none.
    pub async fn ping(
        &self,
        to: impl Into<String>,
        timeout: Duration,
    ) -> Result<Result<Ping, PingError>, Ended> {
        let to = to.into();
        self.ask(|answer| Request::Ping {
            to,
            timeout,
            answer,
        })
        .await
    }

    /// Connects to a target, and keeps trying.
    ///
    /// # Errors
    /// When the router has ended.
    pub async fn connect(&self, target: Target) -> Result<(), Ended> {
        self.command(Command::Connect(target)).await
    }

    /// Tries a target no longer.
    ///
    /// # Errors
    /// When the router has ended.
    pub async fn forget(&self, target: Target) -> Result<(), Ended> {
        self.command(Command::Forget(target)).await
    }

    /// Accepts these passwords from now on, for new links.
    ///
    /// # Errors
    /// When the router has ended.
    pub async fn set_passwords(&self, passwords: Passwords) -> Result<(), Ended> {
        self.command(Command::SetPasswords(passwords)).await
    }

    /// Says goodbye to all neighbours and stops; returns when the goodbyes are out.
    ///
    /// # Errors
    /// When the router had ended before.
    pub async fn shutdown(&self) -> Result<(), Ended> {
        self.ask(Request::Shutdown).await
    }

    async fn command(&self, command: Command) -> Result<(), Ended> {
        self.ask(|done| Request::Command(command, done)).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Ended> {
        let (answer, answered) = oneshot::channel();
        self.requests
            .send(request(answer))
            .await
            .map_err(|_| Ended)?;
        answered.await.map_err(|_| Ended)
    }
}

/// TCP and UDP on the same port, which for a free one may take some tries.
fn bind(listen: SocketAddr) -> io::Result<(std::net::TcpListener, UdpTransport)> {
    let mut tries = if listen.port() == 0 { 16 } else { 1 };
    loop {
        tries -= 1;
        let listener = tcp::listen(listen)?;
        let port = listener.local_addr()?.port();
        match UdpTransport::bind(SocketAddr::new(listen.ip(), port)) {
            Ok(socket) => return Ok((listener, socket)),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

/// MAC addresses kept: more than the containers of 250 full hosts, in half a megabyte.
const MACS_MAX: usize = 16_384;

/// Requests that wait: from the handful of people and programs that look at one router.
const REQUESTS_MAX: usize = 16;

#[cfg(test)]
mod tests;
