//! What a router says of itself: the document behind `weave status`, `--json` and `weave report`.
//!
//! Plain data, the same in the daemon, on the control socket and in the tool; fields are only ever added.

use std::net::{IpAddr, SocketAddr};

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use weave_crypto::{PeerId, Suite};
use weave_mesh::{Carrier, Link, TargetState};

use super::Router;
use super::command::milliseconds;
use super::trace::carrier_name;
use crate::{DropReason, MacTable, Traffic};

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
    /// How many passwords are accepted: 0, 1, or 2 while one is being replaced.
    #[serde(default)]
    pub passwords: u8,
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
    /// Other routers whose ports are on one segment with this one's: bridges are joined outside of the mesh.
    #[serde(default)]
    pub segment: Vec<SegmentStatus>,
    /// Routes to every other router.
    pub routes: Vec<RouteStatus>,
    /// Frames, packets, and drops by reason.
    pub traffic: Traffic,
    /// Refusals and faults of the control plane by name, only those that happened.
    pub refusals: BTreeMap<String, u64>,
    /// Control messages, records and links by name, since the start.
    #[serde(default)]
    pub gossip: BTreeMap<String, u64>,
    /// Connections that came here in the last 10 min and were refused for what only people can change, the newest
    /// first.
    #[serde(default)]
    pub refused: Vec<RefusedStatus>,
    /// What somebody should look at, a sentence each.
    pub warnings: Vec<String>,
}

/// Connections from one address that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedStatus {
    /// Where they came from.
    pub from: IpAddr,
    /// Name of the identity that is refused, where that is the reason.
    pub name: Option<String>,
    /// Why, in words.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// Seconds since the last.
    pub last_s: u64,
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
    /// Why none does, in words, where none does.
    #[serde(default)]
    pub unreachable_reason: Option<String>,
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
    /// `established`, `over TCP: ` and why, `no tunnel yet`, ...: state in words.
    pub state: String,
    /// What carries frames, `udp` or `tcp`; nothing while none flow.
    #[serde(default)]
    pub carrier: Option<String>,
    /// Frames flow over it.
    pub usable: bool,
    /// Smoothed round trip in microseconds.
    pub rtt_us: Option<u64>,
    /// Smoothed loss of probes, 0 to 1.
    pub loss: f32,
    /// The link's cost in routes, in microseconds.
    pub cost_us: u32,
    /// The largest UDP payload it takes, as far as is known.
    pub path_mtu_bytes: u16,
    /// How that is known, in words.
    #[serde(default)]
    pub path_mtu_state: String,
    /// Cipher of the tunnel with it, once one stands.
    pub cipher: Option<String>,
}

/// One peer that the router was told to connect to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// As given: a host, perhaps with a port.
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
    /// It moved too often and is kept here for a while, though it was seen elsewhere.
    #[serde(default)]
    pub damped: bool,
}

/// A router whose port is on one segment with this one's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentStatus {
    /// Its name.
    pub name: String,
    /// Its identity: 64 hex digits.
    pub peer_id: String,
    /// The mesh leads there as well, so that there is a loop: of all routers on the segment, the one with the
    /// smallest identity carries its floods.
    pub reachable: bool,
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
    /// What carries frames to the next hop: `udp` or `tcp`.
    #[serde(default)]
    pub carrier: String,
    /// Why that is TCP, where it is.
    #[serde(default)]
    pub carrier_reason: Option<String>,
    /// A tunnel with it stands.
    pub tunnel: bool,
    /// Where frames go, if by a direct path without a link; the rest then says how else they would.
    #[serde(default)]
    pub direct_remote: Option<SocketAddr>,
    /// How it stands with a direct path without a link, and why there is none; nothing for neighbours, and
    /// where no frames asked for one.
    #[serde(default)]
    pub direct_path: Option<String>,
}

/// The first line of `weave status`: is all well?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Nothing to look at.
    pub healthy: bool,
    /// The line.
    pub sentence: String,
}

impl Router {
    /// Everything about this router at this moment; `traffic` comes from the data plane.
    pub fn status(&self, now: Instant, traffic: Traffic) -> Status {
        let warnings = self.warnings(now, &traffic);
        Status {
            version: self.config.version.clone(),
            name: self.peer_name(&self.peer_id()),
            nickname: self.config.mesh.nickname.clone(),
            peer_id: self.peer_id().to_string(),
            network: self.config.network_name.clone(),
            password: self.mesh.passwords() > 0,
            passwords: self.mesh.passwords() as u8,
            boot_id: self.boot_id(),
            uptime_ms: milliseconds(now.saturating_duration_since(self.epoch)),
            port: self.config.mesh.listen_port,
            frame_port: self
                .config
                .frame_port
                .clone()
                .unwrap_or_else(|| "none".to_owned()),
            mtu_bytes: self.config.mtu_bytes,
            peers: self.peer_statuses(now),
            connections: self.connection_statuses(),
            targets: self.target_statuses(now),
            macs: self.mac_statuses(now),
            segment: self.segment_statuses(),
            routes: self.route_statuses(now),
            traffic,
            refusals: self.refusal_counts(),
            gossip: self
                .mesh
                .stats()
                .activity()
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            refused: self.refused_statuses(now),
            warnings,
        }
    }

    fn peer_statuses(&self, now: Instant) -> Vec<PeerStatus> {
        let store = self.mesh.store();
        let own = self.peer_id();
        let mut peers: Vec<PeerStatus> = store
            .origins()
            .filter_map(|origin| {
                let record = store.router(&origin)?;
                let reachable = origin == own || self.next_hop(&origin).is_some();
                let links = store
                    .links(&origin)
                    .map(|body| body.links.as_slice())
                    .unwrap_or_default();
                Some(PeerStatus {
                    name: record.display_name(&origin),
                    nickname: record.nickname.clone(),
                    peer_id: origin.to_string(),
                    version: record.version.clone(),
                    reachable,
                    unreachable_reason: (!reachable).then(|| {
                        let direct = self.why_not_direct(now, &origin);
                        let over = self.why_not_over_others(&record.display_name(&origin));
                        format!("{direct}; {over}")
                    }),
                    addresses: record
                        .addresses
                        .iter()
                        .map(|address| address.socket)
                        .collect(),
                    neighbours: links
                        .iter()
                        .map(|entry| (self.peer_name(&entry.neighbour), entry.cost))
                        .collect(),
                })
            })
            .collect();
        peers.sort_by_key(|peer| (peer.peer_id != own.to_string(), peer.name.clone()));
        peers
    }

    fn connection_statuses(&self) -> Vec<ConnectionStatus> {
        self.mesh
            .links()
            .map(|link| {
                let keys = self.tunnels.sealing(&link.peer());
                let carrier = link.carrier().filter(|_| keys.is_some());
                let reason = link.udp_down_reason().unwrap_or("no answer over UDP");
                let state = match (keys, carrier) {
                    (None, _) => "no tunnel yet".to_owned(),
                    (Some(_), Some(Carrier::Udp)) => "established".to_owned(),
                    (Some(_), Some(Carrier::Tcp)) => format!("over TCP: {reason}"),
                    (Some(_), None) => format!("neither UDP nor TCP passes: {reason}"),
                };
                ConnectionStatus {
                    name: self.peer_name(&link.peer()),
                    peer_id: link.peer().to_string(),
                    remote: link.remote(),
                    udp_remote: link.udp_remote(),
                    dialled: link.dialled(),
                    usable: carrier.is_some(),
                    state,
                    carrier: carrier.map(|carrier| carrier_name(carrier).to_owned()),
                    rtt_us: link
                        .rtt()
                        .map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
                    loss: link.loss() as f32,
                    cost_us: link.cost(),
                    path_mtu_bytes: link.path_mtu_bytes(),
                    path_mtu_state: if link.path_mtu_is_searched() {
                        "being searched for; larger frames go in pieces".to_owned()
                    } else if link.udp_is_up() {
                        "found by probes".to_owned()
                    } else if carrier.is_some() {
                        "what every path takes; UDP is down".to_owned()
                    } else {
                        "as last found; UDP is down".to_owned()
                    },
                    cipher: keys.map(|keys| match keys.suite() {
                        Suite::Aes256Gcm => "AES-256-GCM".to_owned(),
                        Suite::ChaCha20Poly1305 => "ChaCha20-Poly1305".to_owned(),
                    }),
                }
            })
            .collect()
    }

    fn mac_statuses(&self, now: Instant) -> Vec<MacStatus> {
        self.macs
            .entries(now)
            .into_iter()
            .map(|entry| MacStatus {
                mac: super::command::colons(entry.mac),
                peer: match self.sites.peer(entry.site) {
                    Some(peer) => self.peer_name(&peer),
                    None => self.peer_name(&self.peer_id()),
                },
                local: entry.site.is_local(),
                age_s: entry.age.as_secs(),
                damped: entry.damped,
            })
            .collect()
    }

    fn route_statuses(&self, now: Instant) -> Vec<RouteStatus> {
        let mut routes: Vec<RouteStatus> = self
            .tree
            .reached()
            .filter_map(|(number, node)| {
                let peer = self.topology.routers()[number];
                let next = self.next_hop(&peer)?;
                Some(RouteStatus {
                    destination: self.peer_name(&peer),
                    peer_id: peer.to_string(),
                    next_hop: self.peer_name(&next),
                    direct: next == peer,
                    hops: node.hops,
                    cost_us: node.cost_us,
                    carrier: carrier_name(self.carrier(&self.peer_id(), &next)).to_owned(),
                    carrier_reason: self.why_this_carrier(&next),
                    tunnel: self.tunnels.sealing(&peer).is_some(),
                    direct_remote: self.direct_remote(&peer),
                    direct_path: self.direct_words(now, &peer),
                })
            })
            .collect();
        routes.sort_by(|a, b| a.destination.cmp(&b.destination));
        routes
    }

    fn target_statuses(&self, now: Instant) -> Vec<TargetStatus> {
        self.mesh
            .targets()
            .into_iter()
            .map(|status| {
                let failed = |doing: &str| match &status.last_error {
                    Some(error) => format!("{doing}; last failure: {error}"),
                    None => doing.to_owned(),
                };
                let (state, connected, retry_at) = match &status.state {
                    TargetState::Connected(peer) => {
                        (format!("connected to {}", self.peer_name(peer)), true, None)
                    }
                    TargetState::Resolving => (failed("looking its name up"), false, None),
                    TargetState::Dialling => (failed("connecting"), false, None),
                    TargetState::Waiting(at) => (failed("waiting"), false, Some(*at)),
                    TargetState::Itself => ("this router itself".to_owned(), true, None),
                    _ => (failed("unknown"), false, None),
                };
                TargetStatus {
                    target: status.target.to_string(),
                    state,
                    connected,
                    retry_in_ms: retry_at.map(|at| milliseconds(at.saturating_duration_since(now))),
                }
            })
            .collect()
    }

    fn refusal_counts(&self) -> BTreeMap<String, u64> {
        let own = self
            .refusals
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        let mesh = self
            .mesh
            .stats()
            .refusals()
            .map(|(name, count)| (name.to_owned(), count));
        own.chain(mesh).filter(|(_, count)| *count > 0).collect()
    }

    fn warnings(&self, now: Instant, traffic: &Traffic) -> Vec<String> {
        let mut names: BTreeMap<String, Vec<PeerId>> = BTreeMap::new();
        for origin in self.mesh.store().origins() {
            names
                .entry(self.peer_name(&origin))
                .or_default()
                .push(origin);
        }
        let doubled =
            names
                .into_iter()
                .filter(|(_, peers)| peers.len() > 1)
                .map(|(name, peers)| {
                    format!(
                        "{} routers are named {name}: give each its own --name",
                        peers.len()
                    )
                });
        let door = match self.mesh.passwords() {
            0 => Some("no password: anyone who reaches the port can join this network".to_owned()),
            1 => None,
            count => Some(format!(
                "{count} passwords are accepted: retire the older once every router has the new one (weave password \
                 retire)"
            )),
        };
        door.into_iter()
            .chain(self.refused_warnings(now))
            .chain(doubled)
            .chain(self.carrier_warnings())
            .chain(self.segment_warnings(now))
            .chain(self.damped_warning(now))
            .chain(self.clone_warnings())
            .chain(self.suspect_warnings(now))
            .chain(port_warning(traffic))
            .chain(self.hidden_warning())
            .collect()
    }

    /// TCP carries frames, but late and in one queue: whoever blocks UDP should know.
    fn carrier_warnings(&self) -> impl Iterator<Item = String> {
        self.mesh
            .links()
            .filter(|link| link.carrier() == Some(Carrier::Tcp))
            .filter_map(|link| self.why_this_carrier(&Link::peer(link)))
    }

    /// Two routers had one identity: said at both.
    fn clone_warnings(&self) -> impl Iterator<Item = String> {
        let met = self.mesh.clone_met();
        let met = met.map(|clone| super::command::clone_words(clone.keeps).to_owned());
        let former = self.former_identity.map(|former| {
            format!(
                "this router has a new identity since it met another one with its former, {}: a state folder or a \
                 machine was copied; delete the state folder in copies before they start",
                former.default_name()
            )
        });
        met.into_iter().chain(former)
    }

    /// Who sent records that were refused: an operator can shut a member out, a router can't.
    fn suspect_warnings(&self, now: Instant) -> impl Iterator<Item = String> {
        self.mesh
            .suspects(now)
            .map(|suspect| suspect.sentence(|peer| self.peer_name(peer)))
    }

    fn damped_warning(&self, now: Instant) -> Option<String> {
        let damped: Vec<String> = self
            .macs
            .entries(now)
            .into_iter()
            .filter(|entry| entry.damped)
            .map(|entry| super::command::colons(entry.mac))
            .collect();
        let (first, more) = (damped.first()?, damped.len() - 1);
        let others = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!(
            "{first}{others} moved more than {} times in 10 s: do two containers have one MAC address, or are two \
             bridges joined outside?",
            MacTable::MOVES_MAX
        ))
    }
}

/// Says where frames come from that a port cannot mend, and what to do.
fn port_warning(traffic: &Traffic) -> Option<String> {
    let unfinished = traffic.drops.get(DropReason::FrameUnfinished.name())?;
    Some(format!(
        "{unfinished} frames from the port were larger than its device's MTU, and nothing tells how to cut them: switch \
         offloads off where they come from, as by ethtool -K DEVICE tx-udp-segmentation off"
    ))
}

impl Status {
    /// Sums up: degraded when a target is not connected, a known router is out of reach, or a neighbour's
    /// link does not carry frames.
    pub fn verdict(&self) -> Verdict {
        let others = self
            .peers
            .iter()
            .filter(|peer| peer.peer_id != self.peer_id);
        let unreachable: Vec<&str> = others
            .clone()
            .filter(|peer| !peer.reachable)
            .map(|peer| peer.name.as_str())
            .collect();
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
            faults.push(format!(
                "no frames over the link to {}",
                unusable.join(", ")
            ));
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
            return Verdict {
                healthy: true,
                sentence: format!("healthy: {routers}"),
            };
        }
        Verdict {
            healthy: false,
            sentence: format!("degraded: {}", faults.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_alone_is_healthy() {
        assert_eq!(
            status().verdict(),
            Verdict {
                healthy: true,
                sentence: "healthy: no other router known".into()
            }
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
            unreachable_reason: None,
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
        assert_eq!(
            verdict.sentence,
            "degraded: no route to b; not connected to 198.18.0.9:6783"
        );
    }

    fn status() -> Status {
        Status {
            version: "0".into(),
            name: "a".into(),
            nickname: "a".into(),
            peer_id: "01".into(),
            network: "weave".into(),
            password: false,
            passwords: 0,
            boot_id: 1,
            uptime_ms: 0,
            port: 6783,
            frame_port: "none".into(),
            mtu_bytes: 1390,
            peers: vec![],
            connections: vec![],
            targets: vec![],
            macs: vec![],
            segment: vec![],
            routes: vec![],
            traffic: Traffic::default(),
            refusals: Default::default(),
            gossip: Default::default(),
            refused: vec![],
            warnings: vec![],
        }
    }
}
