//! The control plane's thread: streams, names, files and deadlines on one tokio runtime.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use weave_core::{
    Action, Command, Config, FindError, Identity, Level, PeerId, Ping, PingError, Status, Trace,
};
use weave_mesh::{MeshConfig, Target};
use zeroize::Zeroizing;

use super::clocks::Clocks;
use super::streams::Streams;
use super::{BridgePort, HostAddresses, Life, RunError, Shared};
use crate::driver::{ControlLoop, Input, Turn};
use crate::udp::canonical;
use crate::{StateDir, UdpTransport, os_seed};

/// What a handle wants.
#[derive(Debug)]
pub(super) enum Request {
    Status(oneshot::Sender<Status>),
    Trace(String, oneshot::Sender<Result<Trace, FindError>>),
    Ping {
        to: String,
        timeout: Duration,
        answer: oneshot::Sender<Result<Ping, PingError>>,
    },
    Command(Command, oneshot::Sender<()>),
    Shutdown(oneshot::Sender<()>),
}

/// What the control thread needs, whoever its router is.
pub(super) struct Control {
    /// What the router was told.
    pub(super) router: Config,
    pub(super) socket: UdpTransport,
    pub(super) requests: mpsc::Receiver<Request>,
    /// Resolves when nobody wants the router any more.
    pub(super) dropped: oneshot::Receiver<()>,
    pub(super) state: Option<Arc<StateDir>>,
    pub(super) local_addresses: Arc<dyn Fn() -> HostAddresses + Send + Sync>,
    pub(super) bridge: Option<BridgePort>,
    pub(super) underlay_mtu: Arc<dyn Fn() -> Option<u16> + Send + Sync>,
}

/// How a router's life ended that was no fault.
enum End {
    /// Nobody wants it any more.
    Done,
    /// Another has its identity: whose it was, and what it had been told by then.
    NewIdentity(PeerId, Box<MeshConfig>),
}

impl Control {
    /// Starts the thread, which stops the worker when it ends. `ended` is dropped when both are through.
    pub(super) fn spawn(
        mut self,
        listener: std::net::TcpListener,
        life: Life,
        ended: oneshot::Sender<()>,
    ) -> std::io::Result<JoinHandle<Result<(), RunError>>> {
        let started = runtime().and_then(|runtime| {
            let guard = runtime.enter();
            let listener = TcpListener::from_std(listener)?;
            drop(guard);
            Ok((runtime, listener))
        });
        let (runtime, listener) = match started {
            Ok(started) => started,
            Err(error) => {
                // It has done nothing yet, so there is nothing to tell but the first fault.
                let _ = life.worker.stop();
                return Err(error);
            }
        };
        std::thread::Builder::new()
            .name("weave-control".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let result = self.live(&runtime, &listener, life);
                // A resolver that hangs must not hold up the end.
                runtime.shutdown_background();
                drop(ended);
                result
            })
    }

    /// One life after the other, on the same sockets and port.
    fn live(
        &mut self,
        runtime: &Runtime,
        listener: &TcpListener,
        mut life: Life,
    ) -> Result<(), RunError> {
        loop {
            let Life {
                control,
                shared,
                worker,
                worker_ended,
                clocks,
            } = life;
            let end = runtime.block_on(self.run(listener, control, shared, worker_ended, clocks));
            let stopped = worker.stop();
            let (former, mesh) = match end? {
                End::Done => return stopped.map(|_| ()),
                End::NewIdentity(former, mesh) => (former, mesh),
            };
            let port = stopped?;
            self.router.mesh = *mesh;
            if let Some(state) = &self.state {
                // Without, the targets will do.
                self.router.mesh.rejoin = state.peers().unwrap_or_default();
            }
            let (identity, boot_id) = self.next_identity()?;
            tracing::warn!(
                "goes on as {}, with a new identity",
                identity.peer_id().default_name()
            );
            life = Life::begin(
                &self.router,
                Arc::new(identity),
                boot_id,
                &self.socket,
                port,
                Some(former),
            )
            .map_err(RunError::Identity)?;
        }
    }

    /// A new identity, stored before it is used.
    fn next_identity(&self) -> Result<(Identity, u64), RunError> {
        let unix_time = super::unix_time();
        match &self.state {
            Some(state) => {
                let identity = state.renew_identity()?;
                Ok((identity, state.next_boot_id(unix_time)?))
            }
            None => {
                let seed = Zeroizing::new(os_seed().map_err(RunError::Identity)?);
                Ok((Identity::from_seed(*seed), unix_time.as_secs()))
            }
        }
    }

    async fn run(
        &mut self,
        listener: &TcpListener,
        control: ControlLoop<UdpTransport>,
        shared: Shared,
        mut worker_ended: oneshot::Receiver<()>,
        clocks: Arc<Clocks>,
    ) -> Result<End, RunError> {
        let local_addresses = Arc::clone(&self.local_addresses);
        let underlay_mtu = Arc::clone(&self.underlay_mtu);
        let (requests, dropped) = (&mut self.requests, &mut self.dropped);
        let noticed = Arc::new(Notify::new());
        let notify = Arc::clone(&noticed);
        shared.notices.on_notices(move || notify.notify_one());
        let notify = Arc::clone(&noticed);
        shared.streams.on_packets(move || notify.notify_one());
        let notify = Arc::clone(&noticed);
        clocks.on_jump(move || notify.notify_one());
        let (inputs, mut from_tasks) = mpsc::channel(INPUTS_MAX);
        tokio::spawn(watch_addresses(local_addresses, inputs.clone()));
        if let Some(bridge) = &self.bridge {
            super::bridge::watch(bridge.clone(), &inputs);
        }
        tokio::spawn(watch_underlay_mtu(underlay_mtu, inputs.clone()));
        let mut outside = Outside::new(inputs, self.state.clone(), clocks);
        let mut control = control;
        let mut accept_at = Instant::now();

        outside.turn(&mut control, None)?;
        loop {
            let deadline = outside.deadline;
            // No order among these: a flood of one kind must not keep the others waiting.
            let input = tokio::select! {
                () = noticed.notified() => None,
                () = sleep_until(deadline) => None,
                Some(input) = from_tasks.recv() => {
                    if !outside.streams.admit(&input) {
                        continue;
                    }
                    Some(input)
                }
                accepted = accept(listener, accept_at) => match accepted {
                    Ok((stream, remote)) => match outside.streams.accept(stream, remote) {
                        Some(input) => Some(input),
                        None => continue,
                    },
                    Err(error) => {
                        // Most likely out of descriptors, which trying again at once does not cure.
                        tracing::warn!(%error, "cannot accept connections for now");
                        accept_at = Instant::now() + ACCEPT_PAUSE;
                        continue;
                    }
                },
                Some(request) = requests.recv() => match request {
                    // Whoever asked may have given up meanwhile; so in the other arms.
                    Request::Status(answer) => {
                        let _ = answer.send(control.status(Instant::now()));
                        continue;
                    }
                    Request::Trace(to, answer) => {
                        let _ = answer.send(control.router().trace(Instant::now(), &to));
                        continue;
                    }
                    Request::Ping { to, timeout, answer } => {
                        let id = outside.expect_ping(answer);
                        let command = Command::Ping { id, to, timeout };
                        outside.turn(&mut control, Some(Input::Command(command)))?;
                        continue;
                    }
                    Request::Command(command, done) => {
                        outside.turn(&mut control, Some(Input::Command(command)))?;
                        let _ = done.send(());
                        continue;
                    }
                    Request::Shutdown(done) => {
                        outside.turn(&mut control, Some(Input::Command(Command::Shutdown)))?;
                        let _ = tokio::time::timeout(GOODBYES, outside.streams.finish()).await;
                        let _ = done.send(());
                        return Ok(End::Done);
                    }
                },
                () = outside.streams.reap() => continue,
                _ = &mut worker_ended => return Ok(End::Done),
                _ = &mut *dropped => return Ok(End::Done),
            };
            outside.turn(&mut control, input)?;
            outside.streams.keep_accepted();
            if outside.is_identity_lost {
                // The goodbyes of the former identity need not be waited for to the last.
                let _ = tokio::time::timeout(RENEWAL, outside.streams.finish()).await;
                let router = control.router();
                let mesh = Box::new(router.mesh().config());
                return Ok(End::NewIdentity(router.peer_id(), mesh));
            }
        }
    }
}

/// The I/O side of a [`ControlLoop`].
struct Outside {
    streams: Streams,
    inputs: mpsc::Sender<Input>,
    state: Option<Arc<StateDir>>,
    /// The newest peers to store.
    peers: watch::Sender<Vec<SocketAddr>>,
    /// Who waits for pings; each ends in time, and the router bounds how many are under way.
    pings: BTreeMap<u64, oneshot::Sender<Result<Ping, PingError>>>,
    /// Pings so far.
    pinged: u64,
    /// When the router wants to be called.
    deadline: Option<Instant>,
    /// Another router keeps the identity of this one.
    is_identity_lost: bool,
    clocks: Arc<Clocks>,
}

impl Outside {
    fn new(inputs: mpsc::Sender<Input>, state: Option<Arc<StateDir>>, clocks: Arc<Clocks>) -> Self {
        let (peers, newest) = watch::channel(Vec::new());
        if let Some(state) = &state {
            tokio::spawn(store_peers(Arc::clone(state), newest));
        }
        Self {
            streams: Streams::new(inputs.clone()),
            inputs,
            state,
            peers,
            pings: BTreeMap::new(),
            pinged: 0,
            deadline: None,
            is_identity_lost: false,
            clocks,
        }
    }

    /// Keeps who waits for a ping, and numbers it.
    fn expect_ping(&mut self, answer: oneshot::Sender<Result<Ping, PingError>>) -> u64 {
        self.pinged += 1;
        self.pings.insert(self.pinged, answer);
        self.pinged
    }

    /// Takes a turn and does what comes out of it, and again for what that causes at once.
    fn turn(
        &mut self,
        control: &mut ControlLoop<UdpTransport>,
        input: Option<Input>,
    ) -> Result<(), RunError> {
        let mut next = Some(input);
        let mut caused = Vec::new();
        if self.clocks.have_jumped() {
            let jumps = self.clocks.jumps();
            let seed = os_seed().map_err(RunError::Random)?;
            caused.extend(self.take_turn(control, Some(Input::ClockJumped { seed }))?);
            self.clocks.settle(jumps);
        }
        while let Some(input) = next.take() {
            caused.extend(self.take_turn(control, input)?);
            next = caused.pop().map(Some);
        }
        Ok(())
    }

    /// One turn, and what it causes at once.
    fn take_turn(
        &mut self,
        control: &mut ControlLoop<UdpTransport>,
        input: Option<Input>,
    ) -> Result<Vec<Input>, RunError> {
        let Turn {
            actions,
            events,
            deadline,
        } = control.turn(Instant::now(), input);
        let mut caused = Vec::new();
        for action in actions {
            caused.extend(self.perform(action)?);
        }
        for event in events {
            match event.level() {
                Level::Debug => tracing::debug!("{event}"),
                Level::Info => tracing::info!("{event}"),
                Level::Warn => tracing::warn!("{event}"),
            }
        }
        self.deadline = deadline.map(|(at, _)| at);
        Ok(caused)
    }

    fn perform(&mut self, action: Action) -> Result<Option<Input>, RunError> {
        match action {
            Action::Dial { conn, remote } => self.streams.dial(conn, remote),
            Action::Write { conn, bytes } => return Ok(self.streams.write(conn, bytes)),
            Action::Close { conn } => self.streams.close(conn),
            Action::AwaitDrained { conn } => return Ok(self.streams.await_drained(conn)),
            Action::Resolve { target } => {
                tokio::spawn(resolve(target, self.inputs.clone()));
            }
            Action::StoreBootId { boot_id } => {
                // Before anything else leaves: a boot id that was used but not stored would be used again. It
                // happens when identities were mixed up, not in the ordinary course, so it may block.
                if let Some(state) = &self.state {
                    state.store_boot_id(boot_id)?;
                }
            }
            Action::RenewIdentity => self.is_identity_lost = true,
            Action::StorePeers { peers } => {
                self.peers.send_replace(peers);
            }
            Action::Pinged { id, result } => {
                if let Some(answer) = self.pings.remove(&id) {
                    // Whoever asked may have given up meanwhile.
                    let _ = answer.send(result);
                }
            }
            // The control loop has handed them on itself.
            Action::SendPacket { .. }
            | Action::SendFrame { .. }
            | Action::Announce { .. }
            | Action::TakePacket { .. } => {}
        }
        Ok(None)
    }
}

/// Looks a name up.
async fn resolve(target: Target, inputs: mpsc::Sender<Input>) {
    let result = match target.socket() {
        Some(address) => Ok(vec![address]),
        None => {
            let name = (target.host().to_owned(), target.port());
            match tokio::time::timeout(RESOLVE_TIMEOUT, lookup_host(name)).await {
                Ok(Ok(found)) => Ok(found.take(ADDRESSES_MAX).map(canonical).collect()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer from the resolver within 5 s".to_owned()),
            }
        }
    };
    // No receiver means that the router has ended; so below.
    let _ = inputs.send(Input::Resolved { target, result }).await;
}

/// Tells the router of this host's addresses, at the start and whenever they changed.
async fn watch_addresses(
    list: Arc<dyn Fn() -> HostAddresses + Send + Sync>,
    inputs: mpsc::Sender<Input>,
) {
    let mut known = None;
    loop {
        let list = Arc::clone(&list);
        // An error means that listing panicked: there are no addresses then, as far as we know.
        let mut addresses = tokio::task::spawn_blocking(move || list())
            .await
            .unwrap_or_default();
        addresses.underlay.sort_unstable();
        addresses.underlay.dedup();
        addresses.overlay_subnets.sort_unstable();
        addresses.overlay_subnets.dedup();
        if known.as_ref() != Some(&addresses) {
            // What is not to be advertised first.
            let subnets = Input::OverlaySubnets(addresses.overlay_subnets.clone());
            let underlay = Input::LocalAddresses(addresses.underlay.clone());
            for input in [subnets, underlay] {
                if inputs.send(input).await.is_err() {
                    return;
                }
            }
            known = Some(addresses);
        }
        tokio::time::sleep(ADDRESSES_INTERVAL).await;
    }
}

/// Tells the router of the underlay's MTU whenever it changed. What it was at the start, its configuration says.
async fn watch_underlay_mtu(
    look: Arc<dyn Fn() -> Option<u16> + Send + Sync>,
    inputs: mpsc::Sender<Input>,
) {
    let mut known = None;
    loop {
        let look = Arc::clone(&look);
        let bytes = tokio::task::spawn_blocking(move || look()).await;
        if let Ok(Some(bytes)) = bytes
            && known != Some(bytes)
        {
            if inputs.send(Input::UnderlayMtu(bytes)).await.is_err() {
                return;
            }
            known = Some(bytes);
        }
        tokio::time::sleep(UNDERLAY_MTU_INTERVAL).await;
    }
}

/// Stores peers as they change: one after the other, and only the newest of those that came meanwhile.
async fn store_peers(state: Arc<StateDir>, mut newest: watch::Receiver<Vec<SocketAddr>>) {
    while newest.changed().await.is_ok() {
        let peers = newest.borrow_and_update().clone();
        let state = Arc::clone(&state);
        let stored = tokio::task::spawn_blocking(move || state.store_peers(&peers)).await;
        if let Ok(Err(error)) = stored {
            tracing::warn!(%error, "peers to rejoin after a restart are not stored");
        }
    }
}

/// Waits for the router's deadline; for ever when it has none.
async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

async fn accept(
    listener: &TcpListener,
    not_before: Instant,
) -> std::io::Result<(TcpStream, SocketAddr)> {
    if not_before > Instant::now() {
        tokio::time::sleep_until(not_before.into()).await;
    }
    listener.accept().await
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("weave-blocking")
        .thread_stack_size(STACK_BYTES)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
}

/// Inputs of streams and helpers that wait: one of each of a few dozen busy neighbours, at most 1 MiB.
const INPUTS_MAX: usize = 64;

/// Accepting rests for so long after a failure.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Goodbyes have this long to go out: a stream's own time to linger, and a little.
const GOODBYES: Duration = Duration::from_millis(1_200);

/// The same, of an identity that is given up: its neighbours notice soon enough by themselves.
const RENEWAL: Duration = Duration::from_millis(300);

/// A name not found after this long is not found.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of one name that are of use.
const ADDRESSES_MAX: usize = 16;

/// Interfaces are looked at this often: within a link's 10 s of patience with a lost stream, so that a host whose
/// address changed is dialled at the new one. A look costs some 100 µs.
const ADDRESSES_INTERVAL: Duration = Duration::from_secs(5);
/// Between looks at the underlay's MTU, one netlink request each. A smaller one is noticed sooner, by the packets it
/// swallows; a larger one is worth no hurry.
const UNDERLAY_MTU_INTERVAL: Duration = Duration::from_secs(3);

/// Blocking calls at once: lookups, each of which may hang for half a minute, a file, the interfaces.
const BLOCKING_THREADS_MAX: usize = 8;

/// The resolver of glibc wants some 100 KiB; the router's own calls are shallow.
const STACK_BYTES: usize = 1 << 20;
