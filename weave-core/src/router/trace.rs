//! By which path frames reach a router, and why by that one.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weave_crypto::PeerId;
use weave_mesh::{Carrier, Link};

use super::Router;
use super::command::colons;
use super::find::FindError;
use crate::routes::PathTree;

/// By which path frames reach a router, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Name of the router at the end.
    pub to: String,
    /// Its identity: 64 hex digits.
    pub peer_id: String,
    /// The MAC address that was asked for, in colon form, which lives behind that router.
    pub mac: Option<String>,
    /// It is this router itself: there is nothing to travel.
    pub local: bool,
    /// Frames reach it.
    pub reachable: bool,
    /// A tunnel with it stands; otherwise the first frame makes one.
    pub tunnel: bool,
    /// The routers on the way, the next one first, the one at the end last.
    pub hops: Vec<TraceHop>,
    /// Sum of the hops' costs, in microseconds.
    pub cost_us: u64,
    /// The largest UDP payload that the whole path takes, in bytes; 0 where there is no path.
    pub path_mtu_bytes: u16,
    /// Why this path, or why none: a sentence each.
    pub why: Vec<String>,
    /// What else there is, the best first, a few.
    pub others: Vec<OtherPath>,
}

/// One router on a path, and the link that leads to it from the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceHop {
    /// The router's name.
    pub name: String,
    /// Its identity: 64 hex digits.
    pub peer_id: String,
    /// What carries frames on the link: `udp` or `tcp`.
    pub carrier: String,
    /// The link's cost, in microseconds; of a direct path without a link, its round trip.
    pub cost_us: u32,
    /// The largest UDP payload that the link takes, in bytes.
    pub path_mtu_bytes: u16,
    /// Smoothed round trip of the link, in microseconds, where it is one of this router's own.
    pub rtt_us: Option<u64>,
    /// Smoothed loss of probes on it, 0 to 1, where it is one of this router's own.
    pub loss: Option<f32>,
}

/// A path that is not taken, because another costs less.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherPath {
    /// Name of the next hop; the name of the router at the end for its direct link.
    pub next_hop: String,
    /// Whether the router at the end is itself the next hop.
    pub direct: bool,
    /// Links on the way.
    pub hops: u32,
    /// Sum of their costs, in microseconds.
    pub cost_us: u64,
}

impl Router {
    /// By which path frames reach a router, and why. It is meant by its name, nickname, the beginning of its identity
    /// (at least 4 digits), an address of its own, or a MAC address that lives behind it.
    ///
    /// Costs one shortest-path tree; for somebody who asks, not for every turn.
    ///
    /// # Errors
    /// When that is nobody, or several.
    pub fn trace(&self, now: Instant, to: &str) -> Result<Trace, FindError> {
        let found = self.find(to)?;
        let mut trace = self.trace_to(now, &found.peer);
        if let Some(mac) = found.mac {
            let seen = self.macs.last_seen(mac);
            let age_s = seen.map_or(0, |at| now.saturating_duration_since(at).as_secs());
            let mac = colons(mac);
            let place = if trace.local {
                format!("{mac} lives behind this router's own port, last heard {age_s} s ago")
            } else {
                format!("{mac} lives behind {}, last heard {age_s} s ago", trace.to)
            };
            trace.why.insert(0, place);
            trace.mac = Some(mac);
        }
        Ok(trace)
    }

    /// The same for a router that is known.
    pub(super) fn trace_to(&self, now: Instant, peer: &PeerId) -> Trace {
        let mut trace = Trace {
            to: self.peer_name(peer),
            peer_id: peer.to_string(),
            mac: None,
            local: *peer == self.peer_id(),
            reachable: false,
            tunnel: self.tunnels.sealing(peer).is_some(),
            hops: Vec::new(),
            cost_us: 0,
            path_mtu_bytes: 0,
            why: Vec::new(),
            others: Vec::new(),
        };
        if trace.local {
            trace.reachable = true;
            trace.why.push("it is this router itself".to_owned());
            return trace;
        }
        if let Some((hop, why)) = self.trace_direct_path(now, peer) {
            trace.reachable = true;
            trace.cost_us = u64::from(hop.cost_us);
            trace.path_mtu_bytes = hop.path_mtu_bytes;
            trace.hops.push(hop);
            trace.why.push(why);
            trace.others = self.other_paths(peer, peer);
            return trace;
        }
        let path = self.path(peer);
        let (Some(node), Some(next)) = (
            self.topology
                .number(peer)
                .and_then(|number| self.tree.node(number)),
            path.first().copied(),
        ) else {
            trace.why = self.why_no_path(now, peer);
            trace.why.extend(self.direct_words(now, peer));
            return trace;
        };
        trace.reachable = true;
        trace.cost_us = node.cost_us;
        trace.path_mtu_bytes = node.path_mtu_bytes;
        trace.others = self.other_paths(peer, &next);
        let mut from = self.peer_id();
        for router in &path {
            trace.hops.push(self.trace_hop(&from, router));
            from = *router;
        }
        trace.why.push(self.why_this_path(now, peer, &next, &trace));
        if let Some(why) = self.why_this_carrier(&next) {
            trace.why.push(why);
        }
        trace.why.extend(self.direct_words(now, peer));
        trace
    }

    /// The routers on the way to one that is reached, the next hop first; empty where no path leads.
    pub(super) fn path(&self, to: &PeerId) -> Vec<PeerId> {
        let routers = self.topology.routers();
        let mut path = Vec::new();
        let mut number = self.topology.number(to);
        while let Some(at) = number.filter(|at| *at != self.tree.root()) {
            let (Some(node), Some(router)) = (self.tree.node(at), routers.get(at)) else {
                return Vec::new();
            };
            path.push(*router);
            number = Some(node.parent);
        }
        path.reverse();
        path
    }

    /// The direct path to a router without a link, where frames take one.
    fn trace_direct_path(&self, now: Instant, to: &PeerId) -> Option<(TraceHop, String)> {
        let path = self.mesh.direct_path(to)?;
        path.remote()?;
        let rtt_us = path.rtt().map(micros);
        let hop = TraceHop {
            name: self.peer_name(to),
            peer_id: to.to_string(),
            carrier: carrier_name(Carrier::Udp).to_owned(),
            cost_us: rtt_us.map_or(0, |us| u32::try_from(us).unwrap_or(u32::MAX)),
            path_mtu_bytes: path.path_mtu_bytes(),
            rtt_us,
            loss: None,
        };
        Some((hop, self.direct_words(now, to)?))
    }

    fn trace_hop(&self, from: &PeerId, to: &PeerId) -> TraceHop {
        let number = |peer| self.topology.number(peer);
        let edge = number(from).zip(number(to)).and_then(|(from, to)| {
            let edges = self.topology.edges(from);
            edges.iter().find(|edge| edge.to == to).copied()
        });
        let link = self.mesh.link(to).filter(|_| *from == self.peer_id());
        TraceHop {
            name: self.peer_name(to),
            peer_id: to.to_string(),
            carrier: carrier_name(self.carrier(from, to)).to_owned(),
            cost_us: edge.map_or(0, |edge| edge.cost_us),
            path_mtu_bytes: edge.map_or(0, |edge| edge.path_mtu_bytes),
            rtt_us: link.and_then(Link::rtt).map(micros),
            loss: link.map(|link| link.loss() as f32),
        }
    }

    /// What carries frames on a link: TCP as soon as one of its ends says so. This router says what is so now.
    pub(super) fn carrier(&self, from: &PeerId, to: &PeerId) -> Carrier {
        let store = self.mesh.store();
        let ours = self.mesh.link(to).filter(|_| *from == self.peer_id());
        if ours.and_then(Link::carrier) == Some(Carrier::Tcp) {
            return Carrier::Tcp;
        }
        let says_tcp = |origin: &PeerId, neighbour: &PeerId| {
            let links = store.links(origin).map_or(&[][..], |body| &body.links);
            links
                .iter()
                .any(|entry| entry.neighbour == *neighbour && entry.carrier == Carrier::Tcp)
        };
        if says_tcp(from, to) || says_tcp(to, from) {
            Carrier::Tcp
        } else {
            Carrier::Udp
        }
    }

    /// By the other neighbours, the best first.
    fn other_paths(&self, to: &PeerId, next: &PeerId) -> Vec<OtherPath> {
        let routers = self.topology.routers();
        let number = |peer| self.topology.number(peer);
        let (Some(own), Some(end)) = (number(&self.peer_id()), number(to)) else {
            return Vec::new();
        };
        // Costs are the same both ways, so the tree from the end tells what each neighbour's way there costs.
        let tree = PathTree::avoiding(&self.topology, end, own);
        let mut others: Vec<(u64, u32, usize)> = self
            .topology
            .edges(own)
            .iter()
            .filter(|edge| routers.get(edge.to) != Some(next))
            .filter_map(|edge| {
                let node = tree.node(edge.to)?;
                let cost_us = node.cost_us + u64::from(edge.cost_us);
                Some((cost_us, node.hops + 1, edge.to))
            })
            .collect();
        others.sort_unstable();
        others
            .into_iter()
            .take(OTHERS_MAX)
            .filter_map(|(cost_us, hops, first)| {
                let next_hop = self.peer_name(routers.get(first)?);
                Some(OtherPath {
                    next_hop,
                    direct: first == end,
                    hops,
                    cost_us,
                })
            })
            .collect()
    }

    fn why_this_path(&self, now: Instant, to: &PeerId, next: &PeerId, trace: &Trace) -> String {
        let cost = milliseconds(trace.cost_us);
        let best = trace.others.first();
        if next == to {
            return match best {
                Some(other) => format!(
                    "the direct link costs least: {cost}; by {} it would be {}",
                    other.next_hop,
                    milliseconds(other.cost_us)
                ),
                None => format!("the direct link is the only way there ({cost})"),
            };
        }
        let by = format!("by {} it is {cost}", self.peer_name(next));
        let direct = self.why_not_direct(now, to);
        match best.filter(|other| !other.direct) {
            Some(other) => format!(
                "{direct}; {by}, and by {} it would be {}",
                other.next_hop,
                milliseconds(other.cost_us)
            ),
            None => format!("{direct}; {by}"),
        }
    }

    /// Why frames for a router do not go straight there.
    pub(super) fn why_not_direct(&self, now: Instant, to: &PeerId) -> String {
        let name = self.peer_name(to);
        let Some(link) = self.mesh.link(to) else {
            return format!("no link to {name}: {}", self.why_no_link(now, to));
        };
        let number = |peer| self.topology.number(peer);
        let edge = number(&self.peer_id()).zip(number(to));
        let edge = edge.and_then(|(own, to)| {
            let edges = self.topology.edges(own);
            edges.iter().find(|edge| edge.to == to).copied()
        });
        if let Some(edge) = edge {
            let cost = milliseconds(edge.cost_us.into());
            let mut measured = Vec::new();
            if let Some(rtt) = link.rtt() {
                measured.push(format!("round trip {}", milliseconds(micros(rtt))));
            }
            if link.loss() >= 0.005 {
                measured.push(format!("{:.0} % loss", link.loss() * 100.0));
            }
            if link.is_lossy() {
                measured.push("held back until it was clean for a while".to_owned());
            }
            if edge.cost_us > link.cost() {
                measured.push(format!("as {name} reckons"));
            }
            return format!("the direct link costs {cost} ({})", measured.join(", "));
        }
        if self.tunnels.sealing(to).is_none() {
            return format!("the link to {name} has no tunnel keys yet");
        }
        match link.udp_down_reason() {
            Some(reason) => format!("the link to {name} carries no frames: {reason}"),
            None => format!("{name} does not report its end of the link yet"),
        }
    }

    fn why_no_link(&self, now: Instant, to: &PeerId) -> String {
        let ago = |at| format!("{} s ago", now.saturating_duration_since(at).as_secs());
        let record = self.mesh.store().router(to);
        let addresses = record.map_or(&[][..], |record| &record.addresses);
        let failure = self
            .history
            .dial_failure(addresses.iter().map(|address| address.socket));
        let failure = failure
            .map(|(address, past)| format!("{address} failed {}: {}", ago(past.at), past.reason));
        match (self.history.link_end(to), failure) {
            (Some(end), Some(failure)) => {
                format!("lost {}, {}; {failure}", ago(end.at), end.reason)
            }
            (Some(end), None) => format!("lost {}, {}", ago(end.at), end.reason),
            (None, Some(failure)) => format!("never connected; {failure}"),
            (None, None) if addresses.is_empty() => {
                "never connected, and no address of it is known".to_owned()
            }
            (None, None) => "never connected".to_owned(),
        }
    }

    /// Why frames do not travel in datagrams, where they do not.
    pub(super) fn why_this_carrier(&self, next: &PeerId) -> Option<String> {
        if self.carrier(&self.peer_id(), next) == Carrier::Udp {
            return None;
        }
        let name = self.peer_name(next);
        let link = self.mesh.link(next)?;
        Some(
            match link
                .udp_down_reason()
                .filter(|_| link.carrier() != Some(Carrier::Udp))
            {
                Some(reason) => format!("frames to {name} go over TCP: {reason}"),
                None => format!("frames to {name} go over TCP, as {name} says"),
            },
        )
    }

    fn why_no_path(&self, now: Instant, to: &PeerId) -> Vec<String> {
        let name = self.peer_name(to);
        vec![
            format!("no path leads to {name}"),
            self.why_not_direct(now, to),
            self.why_not_over_others(&name),
        ]
    }

    /// Why frames for a router that is out of reach do not go over others.
    pub(super) fn why_not_over_others(&self, name: &str) -> String {
        // This router itself is the root of its tree.
        match self.tree.reached().count().saturating_sub(1) {
            0 => "this router reaches nobody: see its targets in `weave status`".to_owned(),
            1 => format!("the one router that is reached reports no link to {name}"),
            others => {
                format!("none of the {others} routers that are reached reports a link to {name}")
            }
        }
    }
}

/// As status and trace name a carrier.
pub(super) fn carrier_name(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Udp => "udp",
        Carrier::Tcp => "tcp",
    }
}

/// Microseconds as milliseconds, with as many digits as mean something.
fn milliseconds(us: u64) -> String {
    if us < 10_000 {
        format!("{:.1} ms", us as f64 / 1000.0)
    } else {
        format!("{} ms", us.saturating_add(500) / 1000)
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Ways not taken that are told.
const OTHERS_MAX: usize = 3;
