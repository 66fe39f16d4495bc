//! What a router says of itself: the document behind `weave status`, `--json` and `weave report`.
//!
//! Plain data, the same in the daemon, on the control socket and in the tool; fields are only ever added.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::Traffic;

/// Everything a router tells about itself at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the router program.
    pub version: String,
    /// Its name in the mesh: a label.
    pub name: String,
    /// Shown to people; usually the host's name.
    pub nickname: String,
    /// Its identity: 64 hex digits.
    pub peer_id: String,
    /// The mesh's name.
    pub network: String,
    /// A password decides who may join.
    pub password: bool,
    /// Counts its starts; roughly the unix time of the last one.
    pub boot_id: u64,
    /// Milliseconds since its start.
    pub uptime_ms: u64,
    /// TCP and UDP port.
    pub port: u16,
    /// The frame port in words, for instance `tap weave-tap on bridge weave`, or `none`.
    pub frame_port: String,
    /// MTU for containers, in bytes.
    pub mtu_bytes: u16,
    /// Every router known, this one first.
    pub peers: Vec<PeerStatus>,
    /// Neighbours: links that stand or are being set up.
    pub connections: Vec<ConnectionStatus>,
    /// Peers it was told to connect to, and how that goes.
    pub targets: Vec<TargetStatus>,
    /// MAC addresses learned, by address.
    pub macs: Vec<MacStatus>,
    /// Routes to every other router.
    pub routes: Vec<RouteStatus>,
    /// Frames, packets, and drops by reason.
    pub traffic: Traffic,
    /// Refusals and faults of the control plane by name, only those that happened.
    pub refusals: std::collections::BTreeMap<String, u64>,
    /// What somebody should look at, a sentence each.
    pub warnings: Vec<String>,
}

/// One router of the mesh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Its nickname.
    pub nickname: String,
    /// Its identity: 64 hex digits.
    pub peer_id: String,
    /// Its version.
    pub version: String,
    /// A route leads to it (always so for the router itself).
    pub reachable: bool,
    /// Addresses where it says that it can be reached.
    pub addresses: Vec<SocketAddr>,
    /// Its neighbours as it tells them: name and cost in microseconds.
    pub neighbours: Vec<(String, u32)>,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// The neighbour's name.
    pub name: String,
    /// The neighbour's identity: 64 hex digits.
    pub peer_id: String,
    /// Where its TCP stream ends.
    pub remote: SocketAddr,
    /// Where its UDP packets come from, once known.
    pub udp_remote: Option<SocketAddr>,
    /// We dialled it.
    pub dialled: bool,
    /// `established`, `no tunnel yet`, `no answer on UDP`, ...: state in words.
    pub state: String,
    /// Frames flow over it.
    pub usable: bool,
    /// Smoothed round trip in microseconds.
    pub rtt_us: Option<u64>,
    /// Smoothed loss of probes, 0 to 1.
    pub loss: f32,
    /// The link's cost in routes, in microseconds.
    pub cost_us: u32,
    /// The largest UDP payload it takes.
    pub path_mtu_bytes: u16,
    /// Cipher of the tunnel with it, once one stands.
    pub cipher: Option<String>,
}

/// One peer that the router was told to connect to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// As given: HOST[:PORT].
    pub target: String,
    /// `connected to NAME`, `trying`, `waiting`, ...: state in words, with the last failure's reason.
    pub state: String,
    /// A link to it stands.
    pub connected: bool,
    /// Milliseconds until the next try, while waiting.
    pub retry_in_ms: Option<u64>,
}

/// One learned MAC address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MacStatus {
    /// The address, in colon form.
    pub mac: String,
    /// Name of the router behind which it lives; this router's own name for local ones.
    pub peer: String,
    /// It lives behind this router's own port.
    pub local: bool,
    /// Seconds since it was last a source.
    pub age_s: u64,
}

/// The route to one router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Name of the destination.
    pub destination: String,
    /// Its identity: 64 hex digits.
    pub peer_id: String,
    /// Name of the next hop; the destination's own name for a direct route.
    pub next_hop: String,
    /// Whether the destination itself is the next hop.
    pub direct: bool,
    /// Routers on the way, the destination counted.
    pub hops: u32,
    /// Cost in microseconds.
    pub cost_us: u64,
    /// A tunnel with it stands.
    pub tunnel: bool,
}

/// The first line of `weave status`: is all well?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Nothing to look at.
    pub healthy: bool,
    /// The line.
    pub sentence: String,
}

impl Status {
    /// Sums up: degraded when a target is not connected, a known router is out of reach, or a neighbour's
    /// link does not carry frames.
    pub fn verdict(&self) -> Verdict {
        let others = self.peers.iter().filter(|peer| peer.peer_id != self.peer_id);
        let unreachable: Vec<&str> =
            others.clone().filter(|peer| !peer.reachable).map(|peer| peer.name.as_str()).collect();
        let unusable: Vec<&str> = self
            .connections
            .iter()
            .filter(|connection| !connection.usable)
            .map(|connection| connection.name.as_str())
            .collect();
        let missing: Vec<&str> = self
            .targets
            .iter()
            .filter(|target| !target.connected)
            .map(|target| target.target.as_str())
            .collect();
        let mut faults = Vec::new();
        if !unreachable.is_empty() {
            faults.push(format!("no route to {}", unreachable.join(", ")));
        }
        if !unusable.is_empty() {
            faults.push(format!("no frames over the link to {}", unusable.join(", ")));
        }
        if !missing.is_empty() {
            faults.push(format!("not connected to {}", missing.join(", ")));
        }
        let reachable = others.filter(|peer| peer.reachable).count();
        if faults.is_empty() {
            let routers = match reachable {
                0 => "no other router known".to_owned(),
                1 => "1 other router reachable".to_owned(),
                count => format!("{count} other routers reachable"),
            };
            return Verdict { healthy: true, sentence: format!("healthy: {routers}") };
        }
        Verdict { healthy: false, sentence: format!("degraded: {}", faults.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_alone_is_healthy() {
        assert_eq!(
            status().verdict(),
            Verdict { healthy: true, sentence: "healthy: no other router known".into() }
        );
    }

    #[test]
    fn a_missing_target_and_a_lost_peer_are_both_named() {
        let mut status = status();
        status.peers.push(PeerStatus {
            name: "b".into(),
            nickname: "b".into(),
            peer_id: "02".into(),
            version: "0".into(),
            reachable: false,
            addresses: vec![],
            neighbours: vec![],
        });
        status.targets.push(TargetStatus {
            target: "198.18.0.9:6783".into(),
            state: "waiting".into(),
            connected: false,
            retry_in_ms: Some(500),
        });
        let verdict = status.verdict();
        assert!(!verdict.healthy);
        assert_eq!(verdict.sentence, "degraded: no route to b; not connected to 198.18.0.9:6783");
    }

    fn status() -> Status {
        Status {
            version: "0".into(),
            name: "a".into(),
            nickname: "a".into(),
            peer_id: "01".into(),
            network: "weave".into(),
            password: false,
            boot_id: 1,
            uptime_ms: 0,
            port: 6783,
            frame_port: "none".into(),
            mtu_bytes: 1390,
            peers: vec![],
            connections: vec![],
            targets: vec![],
            macs: vec![],
            routes: vec![],
            traffic: Traffic::default(),
            refusals: Default::default(),
            warnings: vec![],
        }
    }
}
