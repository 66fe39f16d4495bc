//! What a mesh is told at its start, and keeps to.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use weave_crypto::{NetworkId, Passwords, PeerId};

use crate::target::Target;

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
    /// Identities that are refused here; see [`Mesh::deny`](super::Mesh::deny).
    pub denied: BTreeSet<PeerId>,
}
