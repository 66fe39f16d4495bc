//! What a router is told at its start.

use std::time::Duration;

use weave_crypto::{NetworkId, Passwords};
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
    /// Keys of a tunnel in use are replaced after this time: [`Config::REKEY_AFTER`] at most, so that no
    /// configuration lengthens the life of a key, and a second at least, the time that a set-up may take. Tests have them
    /// replaced often.
    pub rekey_after: Duration,
}

impl Config {
    /// How long the keys of a tunnel in use are used (design: 120 s or 2^32 packets).
    pub const REKEY_AFTER: Duration = Duration::from_secs(120);
    /// The shortest time after which they are replaced.
    pub const REKEY_AFTER_MIN: Duration = Duration::from_secs(1);

    /// The defaults: port 6783, up to 32 neighbours, discovery on, a frame port, an underlay of 1,500 bytes.
    pub fn new(network_name: &str, nickname: &str) -> Self {
        let underlay_mtu_bytes = 1500;
        Self {
            mesh: MeshConfig {
                network: NetworkId::from_name(network_name),
                passwords: Passwords::none(),
                name: None,
                nickname: nickname.to_owned(),
                listen_port: DEFAULT_PORT,
                targets: Vec::new(),
                rejoin: Vec::new(),
                discovery: true,
                conn_limit: CONN_LIMIT,
                aes: true,
                denied: Default::default(),
            },
            network_name: network_name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            frame_port: Some("embedded".to_owned()),
            addresses: Vec::new(),
            underlay_mtu_bytes,
            mtu_bytes: crate::overlay_mtu_bytes(usize::from(underlay_mtu_bytes), true) as u16,
            rekey_after: Self::REKEY_AFTER,
        }
    }
}

/// Neighbours by default (cli.md, `--conn-limit`).
const CONN_LIMIT: usize = 32;
