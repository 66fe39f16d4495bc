//! Puts a router together out of its options, runs it, and takes it apart again.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;
use weave_core::Config;
use weave_crypto::{Identity, NetworkId, Passwords};
use weave_io::host::Cidr;
use weave_io::{
    FramePort, Handle, RunConfig, Running, Sockets, StartError, StateDir, StateError, Station,
};
use weave_mesh::MeshConfig;

use crate::control::{self, Api, VERSION};
use crate::notify::Notifier;
use crate::password::{self, Door};
use crate::port::{LocalPort, PortKind};
use crate::socket::ControlSocket;
use crate::underlay::{self, Underlay, Watch};
use crate::{Failure, Options, log, metrics, report, words};

/// Runs a router until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting, or from going on.
pub(crate) fn run(options: Options) -> Result<(), Failure> {
    options.check()?;
    log::start(options.level());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start", words(&error), ""))?;
    let result = runtime.block_on(serve(options));
    // A look-up of local addresses or a name may hang on a thread of the runtime: it is not waited for.
    runtime.shutdown_background();
    result
}

async fn serve(options: Options) -> Result<(), Failure> {
    // From here on a signal waits for its turn, so that no start is left half done.
    let signals =
        Signals::new().map_err(|error| Failure::new("cannot start", words(&error), ""))?;
    let options = Arc::new(options);
    let kind = PortKind::of(&options);
    let underlay = Arc::new(Underlay::find(&options.targets(), &kind.devices()));
    kind.check_underlay(&options.targets(), &underlay)?;
    let state = StateDir::open(&options.state_dir).map_err(|error| state_failure(&error))?;
    let network = NetworkId::from_name(&options.network);
    // Before anything listens: stretching takes a while, and without a password nobody is to be let in.
    let acquired = match password::at_start(&options, &state, network) {
        Ok(passwords) => Resources::acquire(&options, &state, &kind)
            .await
            .map(|resources| (passwords, resources)),
        Err(failure) => Err(failure),
    };
    let ((source, keys), resources) = match acquired {
        Ok(acquired) => acquired,
        Err(failure) => {
            state.discard_if_new();
            return Err(failure);
        }
    };
    let state = Arc::new(state);
    let Resources {
        control,
        listener,
        metrics,
        router,
    } = resources;
    let door = Door::new(network, Arc::clone(&state), source, &keys, Instant::now());
    let passwords = door.passwords().await;
    let has_password = !passwords.is_empty();
    let running = start(&options, passwords, state, router, &kind, &underlay)?;
    announce(&options, has_password, &running, &kind);

    let api = Api {
        handle: running.handle(),
        options: Arc::clone(&options),
        door: Arc::new(door),
        underlay,
    };
    let metrics = metrics.map(|listener| metrics::serve(listener, api.handle.clone()));
    let notifier = Arc::new(Notifier::from_environment());
    let status = api.handle.clone();
    let api = tokio::spawn(control::serve(listener, api));
    let metrics = metrics.map(tokio::spawn);
    let manager = notifier
        .is_heard()
        .then(|| tokio::spawn(tell_manager(Arc::clone(&notifier), status)));
    let result = until_the_end(running, signals, &notifier).await;
    api.abort();
    if let Some(manager) = manager {
        manager.abort();
    }
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    drop(control);
    result
}

/// All that a start can be refused. It is asked for before anything is changed on the host, in the order in which
/// each is refused most plainly, and given back by a drop.
struct Resources {
    control: ControlSocket,
    listener: tokio::net::UnixListener,
    metrics: Option<tokio::net::TcpListener>,
    router: RouterResources,
}

/// Those of them that the router itself takes.
struct RouterResources {
    sockets: Sockets,
    port: Option<LocalPort>,
    identity: Arc<Identity>,
    rejoin: Vec<SocketAddr>,
    boot_id: u64,
}

impl Resources {
    async fn acquire(
        options: &Options,
        state: &StateDir,
        kind: &PortKind,
    ) -> Result<Self, Failure> {
        let (control, listener) = ControlSocket::bind(&options.control)?;
        let listener = tokio::net::UnixListener::from_std(listener)
            .map_err(|error| Failure::new("cannot make the control socket", words(&error), ""))?;
        let listen = SocketAddr::new(
            options.listen.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            options.port,
        );
        let sockets = Sockets::bind(listen).map_err(|error| start_failure(options, &error))?;
        let metrics = match options.metrics {
            Some(address) => Some(metrics::bind(address).await?),
            None => None,
        };
        let port = kind.open()?;
        let identity = Arc::new(state.identity().map_err(|error| state_failure(&error))?);
        if options.denied().contains(&identity.peer_id()) {
            return Err(Failure::usage(
                "--deny names this router's own identity",
                "it could have no link at all",
                "give the key of another router",
            ));
        }
        // With --no-discovery only the peers named are dialled, those known before are not.
        let rejoin = if options.no_discovery {
            Vec::new()
        } else {
            state.peers().map_err(|error| state_failure(&error))?
        };
        // A clock before 1970 is as good as one at 1970: the boot id grows all the same.
        let unix_time = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let boot_id = state
            .next_boot_id(unix_time)
            .map_err(|error| state_failure(&error))?;
        Ok(Self {
            control,
            listener,
            metrics,
            router: RouterResources {
                sockets,
                port,
                identity,
                rejoin,
                boot_id,
            },
        })
    }
}

/// Starts the router itself.
fn start(
    options: &Options,
    passwords: Passwords,
    state: Arc<StateDir>,
    resources: RouterResources,
    kind: &PortKind,
    underlay: &Underlay,
) -> Result<Running, Failure> {
    let mtu_bytes = options
        .mtu
        .unwrap_or_else(|| underlay.container_mtu_bytes());
    let nickname = options
        .nickname
        .clone()
        .or_else(report::host_name)
        .unwrap_or_default();
    kind.connect(mtu_bytes)?;
    let logged = options.level() == Level::TRACE;
    let port = resources
        .port
        .map(|port| port.into_frame_port(mtu_bytes, logged))
        .transpose()
        .map_err(|error| Failure::new("cannot use the frame port", words(&error), ""))?;
    let addresses = options.overlay_addresses();
    let port = if addresses.is_empty() {
        port
    } else {
        let addresses = addresses.iter().map(Cidr::address);
        let station = Station::new(resources.identity.peer_id(), addresses);
        Some(FramePort::with_station(port, station))
    };
    let watch = Arc::new(Watch::default());
    let own_devices: Vec<String> = kind.devices().into_iter().map(str::to_owned).collect();
    weave_io::start(RunConfig {
        router: Config {
            mesh: MeshConfig {
                network: NetworkId::from_name(&options.network),
                passwords,
                name: options.name.clone(),
                nickname,
                listen_port: options.port,
                targets: options.targets(),
                discovery: !options.no_discovery,
                conn_limit: options.conn_limit,
                aes: has_fast_aes(),
                denied: options.denied(),
                rejoin: resources.rejoin,
            },
            network_name: options.network.clone(),
            version: VERSION.to_owned(),
            frame_port: frame_port(options, kind),
            addresses: addresses.iter().map(underlay::subnet).collect(),
            underlay_mtu_bytes: underlay.mtu_bytes,
            mtu_bytes,
            rekey_after: Duration::from_secs(options.rekey_after),
        },
        identity: resources.identity,
        boot_id: resources.boot_id,
        sockets: resources.sockets,
        port,
        bridge: kind.bridge_port(),
        state: Some(state),
        local_addresses: {
            let watch = Arc::clone(&watch);
            Box::new(move || watch.local_addresses(&own_devices))
        },
        underlay_mtu: {
            let device = underlay.device.clone();
            Box::new(move || watch.mtu_bytes(device.as_deref()?))
        },
    })
    .map_err(|error| start_failure(options, &error))
}

/// The frame port in words, and the router's own addresses beside it; none without both.
fn frame_port(options: &Options, kind: &PortKind) -> Option<String> {
    let addresses = (!options.addresses.is_empty())
        .then(|| format!("this router at {}", options.addresses.join(", ")));
    match (kind.words(), addresses) {
        (Some(port), Some(addresses)) => Some(format!("{port}, and {addresses}")),
        (port, addresses) => port.or(addresses),
    }
}

fn announce(options: &Options, has_password: bool, running: &Running, kind: &PortKind) {
    let frames = frame_port(options, kind).unwrap_or_else(|| "no frame port".to_owned());
    tracing::info!(
        "weave-router {VERSION} listens on {} (TCP and UDP), network {}, {frames}, control socket {}",
        running.address(),
        options.network,
        options.control.display()
    );
    if let Some(address) = options.metrics {
        tracing::info!("serves metrics at http://{address}/metrics");
        if !address.ip().is_loopback() {
            tracing::warn!(
                "whoever reaches {address} can read the metrics: names, counters and links"
            );
        }
    }
    if !has_password {
        tracing::warn!("there is no password: whoever reaches the port can join the network");
    }
}

/// Keeps the service manager's line about the router as `weave status` has it.
async fn tell_manager(notifier: Arc<Notifier>, handle: Handle) {
    let mut told = None;
    while let Ok(status) = handle.status().await {
        let verdict = Some(status.verdict().sentence);
        if verdict != told {
            let text = verdict.as_deref().unwrap_or_default();
            match told {
                None => notifier.ready(text),
                Some(_) => notifier.status(text),
            }
            told = verdict;
        }
        tokio::time::sleep(TELL_EVERY).await;
    }
}

/// Waits for a signal, then for the goodbyes; or for the router's own end.
async fn until_the_end(
    running: Running,
    mut signals: Signals,
    notifier: &Notifier,
) -> Result<(), Failure> {
    let handle = running.handle();
    let mut ended = std::pin::pin!(running.wait());
    let ended = tokio::select! {
        ended = &mut ended => ended,
        name = signals.next() => {
            tracing::info!("ends on {name}");
            notifier.stopping();
            let goodbye = async {
                // One that has ended already needs no goodbye.
                let _ = handle.shutdown().await;
                (&mut ended).await
            };
            match tokio::time::timeout(GOODBYE, goodbye).await {
                Ok(ended) => ended,
                Err(_) => {
                    tracing::warn!("ends without having said goodbye to all peers");
                    // The system takes the TAP and the sockets back with the process.
                    return Ok(());
                }
            }
        }
    };
    ended.map_err(|error| Failure::new("stopped", chain(&error), "see its log; start it again"))
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// How long an end on request may take in all, goodbyes included.
const GOODBYE: Duration = Duration::from_millis(1500);

/// How old what the service manager was told may be.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Whether the processor has AES instructions; without, ChaCha20 is the faster cipher.
fn has_fast_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

fn state_failure(error: &StateError) -> Failure {
    // The others say themselves what to do.
    let remedy = if matches!(error, StateError::System { .. }) {
        "run it as root, or give another folder with --state-dir"
    } else {
        ""
    };
    Failure::new("cannot use the state folder", chain(error), remedy)
}

fn start_failure(options: &Options, error: &StartError) -> Failure {
    let StartError::Listen { source, .. } = error else {
        return Failure::new("cannot start", chain(error), "");
    };
    let port = options.port;
    let (what, remedy) = match options.listen {
        Some(address) => (
            format!("cannot listen on {address} port {port} (TCP and UDP)"),
            "give an address of this host with --listen, or a port that is free with --port",
        ),
        None => (
            format!("cannot listen on port {port} (TCP and UDP)"),
            "stop what uses it, another router perhaps, or give another one with --port",
        ),
    };
    Failure::new(what, words(source), remedy)
}

/// An error and what caused it, in words.
fn chain(error: &dyn Error) -> String {
    let own = |error: &dyn Error, io: Option<&io::Error>| match io {
        Some(io) => words(io),
        None => error.to_string(),
    };
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = own(cause, cause.downcast_ref::<io::Error>());
        // Errors that only pass another on repeat its words.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}
