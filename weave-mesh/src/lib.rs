//! Links, signed records, gossip and dialling of the weave overlay network, without I/O.
//!
//! [`Mesh`] is the whole of it: it knows whom to dial, sets links up, watches them, and spreads
//! signed [`Record`]s. It has no sockets, clock or threads: inputs are `handle_*(now, …)`, outputs
//! are drained by `poll_*` after each input, and the caller moves the bytes. What the records mean
//! for frames is the business of the crate above.
//!
//! Two meshes in memory, their stream a pair of buffers:
//!
//! ```
//! use std::{net::SocketAddr, sync::Arc, time::{Duration, Instant}};
//! use weave_crypto::{Identity, NetworkId, Passwords};
//! use weave_mesh::{Action, ConnId, DirectVerifier, Event, Mesh, MeshConfig};
//!
//! let now = Instant::now();
//! let mesh = |seed: u8, targets| {
//!     let config = MeshConfig {
//!         network: NetworkId::from_name("home"),
//!         passwords: Passwords::none(),
//!         name: None,
//!         nickname: format!("host {seed}"),
//!         listen_port: 6783,
//!         targets,
//!         rejoin: vec![],
//!         discovery: true,
//!         conn_limit: 32,
//!         aes: true,
//!         denied: Default::default(),
//!     };
//!     let identity = Arc::new(Identity::from_seed([seed; 32])); // secret, kept
//!     let random = [seed + 100; 32]; // fresh at each start
//!     Mesh::new(config, identity, random, now, Duration::ZERO, 1, Arc::new(DirectVerifier))
//! };
//! let remote: SocketAddr = "198.18.0.2:6783".parse()?;
//! let (mut a, mut b) = (mesh(1, vec![remote.into()]), mesh(2, vec![]));
//! a.handle_timeout(now);
//! b.handle_timeout(now);
//!
//! let mut conns = [ConnId::accepted(0), ConnId::accepted(0)]; // the stream's name on either side
//! let mut quiet = false;
//! while !std::mem::replace(&mut quiet, true) {
//!     while let Some(action) = a.poll_action() {
//!         quiet = false;
//!         match action {
//!             Action::Dial { conn, remote } => {
//!                 conns[0] = conn;
//!                 a.handle_opened(now, conn, remote, true);
//!                 b.handle_opened(now, conns[1], "198.18.0.1:40000".parse()?, false);
//!             }
//!             Action::Write { bytes, .. } => b.handle_bytes(now, conns[1], &bytes),
//!             _ => {}
//!         }
//!     }
//!     while let Some(action) = b.poll_action() {
//!         quiet = false;
//!         if let Action::Write { bytes, .. } = action {
//!             a.handle_bytes(now, conns[0], &bytes);
//!         }
//!     }
//! }
//! let events: Vec<Event> = std::iter::from_fn(|| a.poll_event()).collect();
//! assert!(events.iter().any(|event| matches!(event, Event::LinkUp { peer, .. } if *peer == b.peer_id())));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod budget;
mod conn;
mod dial;
mod error;
mod flooding;
mod link;
mod liveness;
mod mesh;
mod packet_queue;
mod pmtu;
mod probe;
mod record;
mod stats;
mod store;
mod subnet;
mod suspect;
mod target;
mod timer;
mod touched;
pub mod wire;

pub use crate::{
    budget::HALF_OPEN_MAX,
    conn::ConnId,
    dial::{DIALS_MAX, TARGETS_MAX, TargetState, TargetStatus},
    error::{Admission, CloseReason, DownReason, FailReason, SendError},
    link::{Link, PATH_MTU_BYTES_BASE},
    liveness::{ACTIVE_FOR, ACTIVE_INTERVAL, ANSWERS_MIN, IDLE_INTERVAL, MISSES_MAX},
    mesh::{
        Action, CANDIDATES_MAX, CLONE_PATIENCE, CloneMet, DIRECT_PATHS_MAX, DirectEnd, DirectPath,
        Event, FRAME_TIMEOUT, HOLD_TIMEOUT, Mesh, MeshConfig, ROUTED_QUEUE_BYTES_MAX,
        SEARCH_TIMEOUT, SILENCE_TIMEOUT, STAGE_TIMEOUT,
    },
    packet_queue::{PACKET_QUEUE_AGE_MAX, PACKET_QUEUE_BYTES_MAX, PacketQueue},
    probe::{PROBE_BYTES, Probe, ProbeError, ProbeKind},
    record::{
        ADDRESSES_MAX, Address, BOOT_ID_MAX, Body, Carrier, DirectVerifier, Key, LINKS_MAX,
        LinkEntry, LinksBody, RECORD_BYTES_MAX, Record, RecordError, RecordKind, RouterBody,
        SEQUENCE_BITS, TEXT_BYTES_MAX, Verifier,
    },
    stats::MeshStats,
    store::{FORGET_AFTER, ORIGINS_MAX, Store},
    subnet::{OVERLAY_SUBNETS_MAX, Subnet},
    suspect::{REPORT_INTERVAL, RecordFault, SUSPECT_FOR, SUSPECTS_MAX, Suspect},
    target::{DEFAULT_PORT, Target, TargetError},
    timer::WakeReason,
    wire::{Goodbye, ROUTED_BODY_BYTES_MAX, Routed, STREAM_PACKET_BYTES_MAX},
};
