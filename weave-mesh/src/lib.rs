//! Links, signed records, gossip and dialling of the weave overlay network, without I/O.
//!
//! [`Mesh`] is the whole of it: it knows whom to dial, sets links up, watches them, and spreads
//! signed [`Record`]s. It has no sockets, clock or threads: inputs are `handle_*(now, …)`, outputs
//! are drained by `poll_*` after each input, and the caller moves the bytes. What the records mean
//! for frames is the business of the crate above.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod conn;
mod dial;
mod error;
mod flooding;
mod link;
mod liveness;
mod mesh;
mod probe;
mod record;
mod stats;
mod store;
mod target;
mod timer;
pub mod wire;

pub use crate::{
    conn::ConnId,
    dial::{DIALS_MAX, TARGETS_MAX, TargetState, TargetStatus},
    error::{CloseReason, DownReason, FailReason, SendError},
    link::{Link, PATH_MTU_BYTES_BASE},
    liveness::{ACTIVE_FOR, ACTIVE_INTERVAL, ANSWERS_MIN, IDLE_INTERVAL, MISSES_MAX},
    mesh::{
        Action, Event, HALF_OPEN_MAX, HOLD_TIMEOUT, Mesh, MeshConfig, ROUTED_QUEUE_BYTES_MAX,
        SILENCE_TIMEOUT, STAGE_TIMEOUT,
    },
    probe::{PROBE_BYTES, Probe, ProbeError, ProbeKind},
    record::{
        ADDRESSES_MAX, Address, BOOT_ID_MAX, Body, Carrier, DirectVerifier, Key, LINKS_MAX,
        LinkEntry, LinksBody, RECORD_BYTES_MAX, Record, RecordError, RecordKind, RouterBody,
        SEQUENCE_BITS, TEXT_BYTES_MAX, Verifier,
    },
    stats::MeshStats,
    store::{FORGET_AFTER, ORIGINS_MAX, Store},
    target::{DEFAULT_PORT, Target, TargetError},
    timer::WakeReason,
    wire::{Goodbye, ROUTED_BODY_BYTES_MAX, Routed},
};
