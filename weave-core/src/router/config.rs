//! What a router is told at its start.

use weave_crypto::NetworkId;
use weave_mesh::{DEFAULT_PORT, MeshConfig, Subnet};

/// What a router is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its part of the mesh: names, port, targets, limits.
    pub mesh: MeshConfig,
    /// The mesh's name, for status.
    pub network_name: String,
    /// Version of the program, for status.
    pub version: String,
    /// The frame port in words, for status; `None` for a pure relay.
    pub frame_port: Option<String>,
    /// Addresses on the overlay that a station at this router, with the [MAC address](weave_crypto::PeerId::mac) of its
    /// identity, answers for, each with its subnet. The router announces them; it answers nothing itself.
    pub addresses: Vec<Subnet>,
    /// IP MTU of the device that leads to the peers, in bytes.
    pub underlay_mtu_bytes: u16,
    /// MTU for containers, in bytes, for status.
    pub mtu_bytes: u16,
}

impl Config {
    /// The defaults: port 6783, up to 32 neighbours, discovery on, a frame port, an underlay of 1,500 bytes.
    pub fn new(network_name: &str, nickname: &str) -> Self {
        let underlay_mtu_bytes = 1500;
        Self {
            mesh: MeshConfig {
                network: NetworkId::from_name(network_name),
                name: None,
                nickname: nickname.to_owned(),
                listen_port: DEFAULT_PORT,
                targets: Vec::new(),
                rejoin: Vec::new(),
                discovery: true,
                conn_limit: CONN_LIMIT,
                aes: true,
            },
            network_name: network_name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            frame_port: Some("embedded".to_owned()),
            addresses: Vec::new(),
            underlay_mtu_bytes,
            mtu_bytes: crate::overlay_mtu_bytes(usize::from(underlay_mtu_bytes), true) as u16,
        }
    }
}

/// Neighbours by default (cli.md, `--conn-limit`).
const CONN_LIMIT: usize = 32;
