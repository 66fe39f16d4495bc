//! Records: publishing our own, handing on those of others, comparing stores.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use weave_crypto::PeerId;

use super::Mesh;
use crate::link::Link;
use crate::record::{
    ADDRESSES_MAX, Address, Body, Key, LINKS_MAX, LinkEntry, LinksBody, Record, RecordKind,
    RouterBody, SEQUENCE_BITS, printable,
};
use crate::wire::{AnyKey, BUCKETS, Control, KEYS_MAX};

/// Between two versions of one record: a flapping link costs ten records a second at most.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);
/// In the long run, versions of one record are this much further apart for each router beyond 50: each goes to all.
const PUBLISH_INTERVAL_PER_ROUTER: Duration = Duration::from_millis(2);
/// Versions that may be [`PUBLISH_INTERVAL`] apart, whatever the long run says: a fault is told of at once.
const PUBLISH_BURST: u32 = 3;
/// Between comparisons of stores.
const DIGEST_INTERVAL: Duration = Duration::from_secs(30);
/// After origins became reachable, stores are compared this much later: what floods anyway has
/// arrived by then.
pub(super) const DIGEST_SOON: Duration = Duration::from_millis(500);
/// After records were left to others to tell, stores are compared this much later.
pub(super) const DIGEST_AFTER_LEFT: Duration = Duration::from_secs(2);
/// Stores that change all the time always differ, and listing all they hold costs much: a comparison waits until
/// nothing new came for so long,
const DIGEST_QUIET: Duration = Duration::from_millis(500);
/// but no longer than this beyond its time.
const DIGEST_PATIENCE: Duration = Duration::from_secs(2);
/// So many common neighbours of a record's origin and of another router tell that router of it. One is enough while
/// nothing fails; with three, two may be cut off at the same moment and nobody waits for a comparison.
const TELLERS: usize = 3;
/// Most addresses that neighbours saw us at that are advertised: with a NAT that gives each
/// neighbour another port, more would only churn.
const OBSERVED_MAX: usize = 2;

/// When and as what a record of ours was last published.
#[derive(Debug)]
pub(super) struct Publisher {
    /// What it says may have changed.
    pub(super) is_stale: bool,
    last_at: Option<Instant>,
    last: Option<Body>,
    count: u64,
    /// Versions are accounted for up to here, each with the interval of the long run.
    paid_until: Option<Instant>,
}

impl Publisher {
    pub(super) fn new() -> Self {
        Self {
            is_stale: true,
            last_at: None,
            last: None,
            count: 0,
            paid_until: None,
        }
    }

    /// When the next version may go, in a network of so many routers (a leaky bucket, ITU-T I.371's generic cell
    /// rate algorithm).
    pub(super) fn next_at(&self, routers: usize) -> Option<Instant> {
        let last_at = self.last_at.filter(|_| self.is_stale)?;
        let ahead = long_run_interval(routers) * PUBLISH_BURST;
        let paid = self.paid_until.and_then(|until| until.checked_sub(ahead));
        let soonest = last_at + PUBLISH_INTERVAL;
        Some(paid.map_or(soonest, |paid| paid.max(soonest)))
    }

    fn is_due(&self, now: Instant, routers: usize) -> bool {
        self.is_stale && self.next_at(routers).is_none_or(|at| now >= at)
    }

    fn published(&mut self, now: Instant, routers: usize, body: Body) {
        let from = self.paid_until.map_or(now, |until| until.max(now));
        self.paid_until = Some(from + long_run_interval(routers));
        self.last_at = Some(now);
        self.last = Some(body);
    }
}

fn long_run_interval(routers: usize) -> Duration {
    let beyond = u32::try_from(routers.saturating_sub(50)).unwrap_or(u32::MAX);
    PUBLISH_INTERVAL + PUBLISH_INTERVAL_PER_ROUTER.saturating_mul(beyond)
}

impl Mesh {
    /// Follows the links' measured costs; what they come to is published.
    pub(super) fn settle_costs(&mut self, now: Instant, touched: &BTreeSet<PeerId>) {
        for peer in touched {
            let Some(link) = self.links.get_mut(peer) else {
                continue;
            };
            let before = link.published();
            if link.settle_cost(now) != before {
                self.links_publisher.is_stale = true;
                self.changed_links.insert(link.peer());
            }
        }
    }

    pub(super) fn publish(&mut self, now: Instant) {
        let routers = self.store.len();
        if self.router_publisher.is_due(now, routers) {
            let body = Body::Router(self.router_body());
            self.publish_body(now, RecordKind::Router, body);
        }
        if self.links_publisher.is_due(now, routers) {
            let body = Body::Links(self.links_body());
            self.publish_body(now, RecordKind::Links, body);
        }
    }

    fn publish_body(&mut self, now: Instant, kind: RecordKind, body: Body) {
        let publisher = self.publisher(kind);
        publisher.is_stale = false;
        if publisher.last.as_ref() == Some(&body) {
            return;
        }
        publisher.count += 1;
        let count = publisher.count;
        if count >> SEQUENCE_BITS != 0 {
            let boot_id = self.boot_id;
            self.raise_boot_id(now, boot_id);
            self.publish(now);
            return;
        }
        let routers = self.store.len();
        self.publisher(kind).published(now, routers, body.clone());
        let record = Record::sign(&self.identity, &self.config.network, count, body)
            .expect("bodies are built within the bounds of records");
        self.store.insert(now, record);
        for link in self.links.values_mut() {
            link.flooding.offer(self.own, kind);
        }
        self.changed.insert(self.own);
    }

    fn publisher(&mut self, kind: RecordKind) -> &mut Publisher {
        match kind {
            RecordKind::Router => &mut self.router_publisher,
            RecordKind::Links => &mut self.links_publisher,
        }
    }

    pub(super) fn router_body(&self) -> RouterBody {
        let mut addresses: Vec<Address> = self
            .local_addresses
            .iter()
            .filter(|ip| self.is_underlay(**ip))
            .take(ADDRESSES_MAX - OBSERVED_MAX)
            .map(|ip| Address {
                socket: (*ip, self.config.listen_port).into(),
                observed: false,
            })
            .filter(Address::is_plausible)
            .collect();
        let mut seen: Vec<_> = self
            .links
            .values()
            .filter(|link| link.liveness.is_up())
            .filter_map(|link| link.seen_as)
            .filter(|(socket, _)| self.is_underlay(socket.ip()))
            .collect();
        seen.sort_by_key(|(socket, since)| (std::cmp::Reverse(*since), *socket));
        let mut observed = 0;
        for (socket, _) in seen {
            let is_listed = addresses.iter().any(|known| known.socket == socket);
            let address = Address {
                socket,
                observed: true,
            };
            // What neighbours say is no more to be believed than their records.
            if !is_listed && address.is_plausible() && observed < OBSERVED_MAX {
                observed += 1;
                addresses.push(address);
            }
        }
        RouterBody {
            boot_id: self.boot_id,
            start_boot_id: self.start_boot_id,
            start_random: self.start_random,
            noise_public: self.identity.noise_public(),
            noise_binding: self.identity.noise_binding(),
            name: self.config.name.as_deref().map(printable),
            nickname: printable(&self.config.nickname),
            version: printable(env!("CARGO_PKG_VERSION")),
            listen_port: self.config.listen_port,
            addresses,
            capabilities: if self.config.aes {
                RouterBody::CAPABILITY_AES
            } else {
                0
            },
            other_random: self.clones.other_random,
        }
    }

    fn links_body(&self) -> LinksBody {
        let entry = |link: &Link| {
            let (cost, carrier) = link.published()?;
            Some(LinkEntry {
                neighbour: link.peer(),
                cost,
                path_mtu_bytes: link.path_mtu_bytes(),
                carrier,
            })
        };
        LinksBody {
            boot_id: self.boot_id,
            links: self
                .links
                .values()
                .filter_map(entry)
                .take(LINKS_MAX)
                .collect(),
        }
    }

    /// Sends neighbours what they have to be told and have room for.
    pub(super) fn flood(&mut self, now: Instant, touched: &BTreeSet<PeerId>) {
        for peer in touched {
            let Some(link) = self.links.get_mut(peer) else {
                continue;
            };
            let Some(conn) = link.conn else { continue };
            for message in link.flooding.due_messages(now, &self.store) {
                self.say(conn, &message);
            }
        }
    }

    /// Hands a record on that came by `via`, to the neighbours that nobody else is known to tell.
    ///
    /// Neighbours that the origin says it has a link to are left to the origin, whose stream to them is reliable:
    /// in a full mesh a record goes over each link once, and not from everybody to everybody. Those that have links
    /// to neighbours of the origin are left to [`TELLERS`] of these, which all reckon from the same records: else
    /// each router would be told by most of its neighbours. Where a link just ended, the next links record of one of
    /// its ends no longer lists it; what else was lost with it is found by the comparison a little later.
    pub(super) fn hand_on(&mut self, now: Instant, via: &PeerId, key: Key) {
        let of_origin = self.store.links(&key.origin);
        let mut is_left = false;
        let mut offered = Vec::new();
        for peer in self.links.keys() {
            if *peer == *via || *peer == key.origin {
                continue;
            }
            let is_told = of_origin.is_some_and(|of_origin| {
                of_origin.lists(peer)
                    || self
                        .store
                        .links(peer)
                        .is_some_and(|of_peer| others_tell(&self.own, of_origin, of_peer, peer))
            });
            if is_told {
                is_left = true;
            } else {
                offered.push(*peer);
            }
        }
        for peer in offered {
            if let Some(link) = self.links.get_mut(&peer) {
                link.flooding.offer(key.origin, key.kind);
            }
        }
        if let Some(link) = self.links.get_mut(via) {
            link.flooding.has(key, &self.store);
        }
        if is_left {
            self.compare_soon(now + DIGEST_AFTER_LEFT);
        }
    }

    /// A stream became a link's: tell the neighbour of ourselves at once, and compare the rest.
    pub(super) fn greet(&mut self, now: Instant, peer: PeerId) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        for kind in RecordKind::ALL {
            if self.store.record(&self.own, kind).is_some() {
                link.flooding.offer(self.own, kind);
            }
        }
        link.digest_at = now + DIGEST_INTERVAL;
        // One comparison serves both ways. With a router that is reachable already, there is little that only one
        // of the two knows, and most of that is on its way.
        if self.own < peer {
            if self.store.is_reachable(&peer) {
                self.compare_soon(now + DIGEST_SOON);
            } else {
                self.compare(now, peer);
            }
        }
    }

    /// Compares stores with all neighbours at `at`, or sooner, or a little later if news keeps coming.
    pub(super) fn compare_soon(&mut self, at: Instant) {
        if self.compare_at.is_none_or(|known| at < known) {
            self.compare_at = Some(at);
        }
        let by = at + DIGEST_PATIENCE;
        self.compare_by = Some(self.compare_by.map_or(by, |known| known.min(by)));
    }

    /// Something new came in: stores settle a moment later.
    pub(super) fn put_comparison_off(&mut self, now: Instant) {
        if let (Some(at), Some(by)) = (self.compare_at, self.compare_by) {
            self.compare_at = Some(at.max(now + DIGEST_QUIET).min(by));
        }
    }

    pub(super) fn compare_due(&mut self, now: Instant) {
        if self.compare_at.take_if(|at| now >= *at).is_none() {
            return;
        }
        self.compare_by = None;
        let peers: Vec<PeerId> = self.links.keys().copied().collect();
        for peer in peers {
            self.compare(now, peer);
        }
    }

    /// Compares stores with one neighbour; nothing happens without a stream.
    pub(super) fn compare(&mut self, now: Instant, peer: PeerId) {
        let digest = self.store.digest();
        if let Some(link) = self.links.get_mut(&peer) {
            link.digest_at = now + DIGEST_INTERVAL;
        }
        self.say_to(peer, &Control::Digest(digest));
    }

    pub(super) fn take_digest(&mut self, via: PeerId, digest: &[u8; 32]) {
        if *digest != self.store.digest() {
            let buckets = self.store.buckets();
            self.say_to(via, &Control::Buckets(buckets));
        }
    }

    pub(super) fn take_buckets(&mut self, via: PeerId, theirs: &[[u8; 8]; BUCKETS]) {
        let ours = self.store.buckets();
        for bucket in (0..BUCKETS).filter(|bucket| ours[*bucket] != theirs[*bucket]) {
            for (first, last, keys) in self.store.lists(bucket) {
                let keys = keys.into_iter().map(AnyKey::from).collect();
                self.say_to(via, &Control::List { first, last, keys });
            }
        }
    }

    /// The neighbour's keys from `first` to `last`: asks for what is newer there, offers what is
    /// newer here.
    pub(super) fn take_list(&mut self, via: PeerId, first: &PeerId, last: &PeerId, theirs: &[Key]) {
        let Some(link) = self.links.get_mut(&via) else {
            return;
        };
        let mut wanted = Vec::new();
        let mut listed = std::collections::BTreeMap::new();
        for key in theirs {
            listed.insert((key.origin, key.kind), key.seq);
            let held = self.store.record(&key.origin, key.kind).map(Record::seq);
            if held < Some(key.seq) {
                wanted.push(AnyKey::from(*key));
            } else if held > Some(key.seq) {
                link.flooding.offer(key.origin, key.kind);
            }
        }
        for key in self.store.keys_between(first, last) {
            if !listed.contains_key(&(key.origin, key.kind)) {
                link.flooding.offer(key.origin, key.kind);
            }
        }
        for keys in wanted.chunks(KEYS_MAX) {
            self.say_to(via, &Control::Want(keys.to_vec()));
        }
    }

    pub(super) fn take_want(&mut self, via: PeerId, keys: &[Key]) {
        let Some(link) = self.links.get_mut(&via) else {
            return;
        };
        for key in keys {
            if self.store.record(&key.origin, key.kind).is_some() {
                link.flooding.offer(key.origin, key.kind);
            }
        }
    }
}

/// Whether `peer` is told by others of what an origin says: by the first common neighbours of the two, beginning
/// behind `peer` itself, so that not everybody is told by the same few. `own` is `peer`'s neighbour.
fn others_tell(own: &PeerId, of_origin: &LinksBody, of_peer: &LinksBody, peer: &PeerId) -> bool {
    let mut tellers = of_origin.common_with(of_peer, peer).take(TELLERS);
    let mut count = 0;
    let is_teller = tellers.any(|teller| {
        count += 1;
        teller == *own
    });
    !is_teller && count == TELLERS
}

#[cfg(test)]
mod tests;
