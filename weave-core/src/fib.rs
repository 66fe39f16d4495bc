//! The forwarding snapshot: all that the data plane knows, immutable, replaced whole.
//!
//! The control plane builds a new [`Fib`] whenever a link, a route or a key changes and publishes it; each
//! worker loads it once per turn. Nothing in here is ever changed in place but the few counters that are
//! atomic by design: tunnel counters, [`Heard`] stamps, the flood sequence.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weave_crypto::{NetworkId, ShortId, TunnelKeys};
use weave_mesh::STREAM_PACKET_BYTES_MAX;

use crate::Site;

/// Index of a neighbour in [`Fib::neighbours`] of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighbourIndex(pub u16);

/// The forwarding snapshot: all that the data plane knows, immutable, replaced whole.
#[derive(Debug)]
pub struct Fib {
    /// Counts snapshots of this router, from 1.
    pub version: u64,
    /// What [`Heard`] stamps count from: the router's start.
    pub epoch: Instant,
    /// This router, as data headers name it.
    pub local: ShortId,
    /// By [`Site`]: how to reach a remote router. `None` for the local port and for numbers not in use.
    pub sites: Vec<Option<SiteRoute>>,
    /// By [`NeighbourIndex`]: the routers at the other end of a usable link, then those at the other end of a direct
    /// path without one.
    pub neighbours: Vec<Neighbour>,
    /// By receiver index, which we drew: keys that open a packet, and whose they are.
    pub receivers: HashMap<u32, Receiver>,
    /// By link tag, which we drew: the neighbour that may have us relay.
    pub tags: HashMap<[u8; 6], NeighbourIndex>,
    /// By destination: the next hop of packets that we relay.
    pub relays: HashMap<ShortId, NeighbourIndex>,
    /// By origin (our own included): the neighbours to pass a flood on to. An origin that is not here is
    /// passed to every neighbour but the sender.
    pub floods: HashMap<ShortId, Vec<NeighbourIndex>>,
    /// By router: its site, for learning from floods, and whether it floods at all.
    pub origins: Arc<HashMap<ShortId, Origin>>,
    /// Bytes of the largest UDP payload that every link of our own tree takes: our floods are cut to it, for no
    /// hop on the way can.
    pub flood_packet_bytes_max: usize,
    /// Routers whose ports are on one segment with ours, sorted, nearly always none: what comes from them is behind
    /// our port already, and what they carry is not carried again.
    pub mates: Vec<Site>,
    /// One of them carries the floods of the segment: our port takes and gives none, and learns nothing.
    pub port_is_blocked: bool,
    /// Routers whose identity is refused here, nearly always none: their floods are kept from the port. Nothing else of
    /// theirs gets this far, since there are no keys with them.
    pub denied: BTreeSet<ShortId>,
    /// The network whose loop frames are looked for at the port.
    pub loop_network: Option<NetworkId>,
    /// The next sequence number of our own floods; starts at boot id × 2^16, shared by all snapshots.
    pub flood_sequence: Arc<AtomicU64>,
}

/// How unicast frames reach one remote router.
#[derive(Debug, Clone)]
pub struct SiteRoute {
    /// The router, as relays read it from the envelope.
    pub destination: ShortId,
    /// Keys to seal with; `None` until a tunnel stands.
    pub keys: Option<Arc<TunnelKeys>>,
    /// Stamps of unicast frames to and from it, so that a direct path can be tried; `None` without keys.
    pub heard: Option<Arc<Heard>>,
    /// Where sealed packets go; `None` while no route is known.
    pub next_hop: Option<NextHop>,
    /// Bytes of the largest UDP payload (envelope, header and tag included) that the whole path takes.
    pub packet_bytes_max: usize,
}

/// The first step towards a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHop {
    /// The router itself is our neighbour: no envelope.
    Direct(NeighbourIndex),
    /// A neighbour relays: envelope in front.
    Relay(NeighbourIndex),
}

/// The router at the other end of a usable link, or of a direct path without one. In the second case it has no keys here,
/// so that no flood goes to it, and nothing in [`Fib::tags`], [`Fib::relays`] and [`Fib::floods`] names it: packets
/// between the two edge routers are all that the path carries.
#[derive(Debug, Clone)]
pub struct Neighbour {
    /// Its site.
    pub site: Site,
    /// Where its packets go.
    pub remote: Remote,
    /// The tag that it gave us: stands in envelopes that we send it. Zeros without a link: none is sent.
    pub tag: [u8; 6],
    /// Keys for floods to it; `None` until a tunnel stands, and without a link.
    pub keys: Option<Arc<TunnelKeys>>,
    /// When it was last heard, and last had unicast traffic.
    pub heard: Arc<Heard>,
    /// Bytes of the largest packet that is made for the link.
    pub packet_bytes_max: usize,
}

/// A router whose floods may come in.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Its site.
    pub site: Site,
    /// When floods of it last passed: a tree is computed for those only that do flood.
    pub heard: Arc<Heard>,
}

/// By what packets reach a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remote {
    /// In datagrams to this address.
    Udp(SocketAddr),
    /// Down the link's stream, which the control plane has: datagrams do not pass.
    Stream,
}

impl Neighbour {
    /// Bytes of the largest packet that can be handed on to it. A stream takes what others made for a larger path
    /// before they knew of it.
    pub fn relayed_bytes_max(&self) -> usize {
        match self.remote {
            Remote::Udp(_) => self.packet_bytes_max,
            Remote::Stream => STREAM_PACKET_BYTES_MAX,
        }
    }
}

/// Keys that open packets, found by the receiver index in them.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// The keys.
    pub keys: Arc<TunnelKeys>,
    /// The router at the other end.
    pub site: Site,
    /// Set when that router is a neighbour: only then it may send floods with these keys.
    pub neighbour: Option<NeighbourIndex>,
    /// Stamps of the router at the other end; the neighbour's own where it is one.
    pub heard: Arc<Heard>,
}

impl Fib {
    /// A snapshot that knows nobody: every frame is dropped with a reason.
    pub fn empty(epoch: Instant, local: ShortId, flood_sequence: u64) -> Self {
        Self {
            version: 0,
            epoch,
            local,
            sites: vec![None],
            neighbours: Vec::new(),
            receivers: HashMap::new(),
            tags: HashMap::new(),
            relays: HashMap::new(),
            floods: HashMap::new(),
            origins: Arc::default(),
            flood_packet_bytes_max: usize::from(weave_mesh::PATH_MTU_BYTES_BASE),
            mates: Vec::new(),
            port_is_blocked: false,
            denied: BTreeSet::new(),
            loop_network: None,
            flood_sequence: Arc::new(AtomicU64::new(flood_sequence)),
        }
    }

    /// The route to a site; none for the local port, and for a number not in use.
    pub fn site(&self, site: Site) -> Option<&SiteRoute> {
        self.sites.get(site.index())?.as_ref()
    }

    /// The neighbour number `target` to which floods of `origin` are passed on; none behind the last.
    pub fn flood_target(&self, origin: &ShortId, target: usize) -> Option<NeighbourIndex> {
        match self.floods.get(origin) {
            Some(children) => children.get(target).copied(),
            None => (target < self.neighbours.len()).then_some(NeighbourIndex(target as u16)),
        }
    }

    /// The neighbour at an index; none where the index is of another snapshot.
    pub fn neighbour(&self, index: NeighbourIndex) -> Option<&Neighbour> {
        self.neighbours.get(usize::from(index.0))
    }
}

/// When something was last heard from a router, in microseconds since [`Fib::epoch`], written by workers and
/// read by the control plane without a message. Zero means never.
#[derive(Debug, Default)]
pub struct Heard {
    any_us: AtomicU64,
    unicast_us: AtomicU64,
    flood_us: AtomicU64,
}

impl Heard {
    /// A unicast frame that goes to or comes from a router makes it active for this long (design: probes go
    /// fast for 5 s after the last one).
    pub const ACTIVE_FOR: Duration = Duration::from_secs(5);
    /// A router whose floods passed within this time has a tree to flood along (design: 60 s).
    pub const FLOODS_FOR: Duration = Duration::from_secs(60);

    /// Stamps any genuine packet.
    pub fn stamp(&self, epoch: Instant, now: Instant) {
        self.any_us.store(micros(epoch, now), Ordering::Relaxed);
    }

    /// Stamps a unicast frame in either direction, and says whether the router had been idle before.
    pub fn stamp_unicast(&self, epoch: Instant, now: Instant) -> bool {
        stamp(&self.unicast_us, epoch, now, Self::ACTIVE_FOR)
    }

    /// Stamps a flood that the router began, and says whether none passed for long before.
    pub fn stamp_flood(&self, epoch: Instant, now: Instant) -> bool {
        stamp(&self.flood_us, epoch, now, Self::FLOODS_FOR)
    }

    /// When a genuine packet was last heard.
    pub fn last(&self, epoch: Instant) -> Option<Instant> {
        instant(epoch, self.any_us.load(Ordering::Relaxed))
    }

    /// When a unicast frame last went either way.
    pub fn last_unicast(&self, epoch: Instant) -> Option<Instant> {
        instant(epoch, self.unicast_us.load(Ordering::Relaxed))
    }

    /// Whether a flood that the router began passed of late.
    pub fn floods(&self, epoch: Instant, now: Instant) -> bool {
        instant(epoch, self.flood_us.load(Ordering::Relaxed))
            .is_some_and(|at| now.saturating_duration_since(at) < Self::FLOODS_FOR)
    }
}

/// Renews a stamp, and says whether the former one is older than `idle`, or there was none.
fn stamp(stamp_us: &AtomicU64, epoch: Instant, now: Instant, idle: Duration) -> bool {
    let at = micros(epoch, now);
    let before = stamp_us.swap(at, Ordering::Relaxed);
    before == 0 || u128::from(at.saturating_sub(before)) > idle.as_micros()
}

/// Microseconds since the epoch, at least 1: zero stands for never.
fn micros(epoch: Instant, at: Instant) -> u64 {
    (at.saturating_duration_since(epoch).as_micros() as u64).max(1)
}

fn instant(epoch: Instant, us: u64) -> Option<Instant> {
    (us != 0).then(|| epoch + Duration::from_micros(us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_unicast_frame_after_idling_says_so() {
        #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
        let epoch = Instant::now();
        let heard = Heard::default();
        assert_eq!(heard.last(epoch), None);
        assert!(heard.stamp_unicast(epoch, epoch + Duration::from_secs(1)));
        assert!(!heard.stamp_unicast(epoch, epoch + Duration::from_secs(6)));
        assert!(heard.stamp_unicast(epoch, epoch + Duration::from_millis(11_001)));
        assert!(heard.stamp_flood(epoch, epoch));
        assert!(heard.floods(epoch, epoch + Duration::from_secs(59)));
        assert!(!heard.floods(epoch, epoch + Duration::from_secs(61)));
        heard.stamp(epoch, epoch + Duration::from_secs(2));
        assert_eq!(heard.last(epoch), Some(epoch + Duration::from_secs(2)));
    }
}
