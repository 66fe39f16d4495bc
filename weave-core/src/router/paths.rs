//! When routes are computed, and over which links.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use weave_crypto::PeerId;

use super::Router;
use crate::routes::PathTree;
use crate::timer::Timer;
use crate::topology::{ReportedLink, Topology};

impl Router {
    /// Routes are computed a moment after a change, together with the changes that follow it; a few times in a row,
    /// then only as often as the interval says (a leaky bucket, ITU-T I.371's generic cell rate algorithm).
    pub(super) fn routes_are_stale(&mut self, now: Instant) {
        let soon = now + ROUTES_DELAY;
        let ahead = self.routes_interval() * ROUTES_BURST;
        let at = self.routes_paid_until.checked_sub(ahead);
        self.timers
            .set_earlier(Timer::Routes, at.map_or(soon, |at| at.max(soon)));
        self.fib_is_stale = true;
    }

    fn routes_interval(&self) -> Duration {
        let beyond = self.topology.routers().len().saturating_sub(50);
        let beyond = u32::try_from(beyond).unwrap_or(u32::MAX);
        ROUTES_INTERVAL + ROUTES_INTERVAL_PER_ROUTER.saturating_mul(beyond)
    }

    pub(super) fn compute_routes(&mut self, now: Instant) {
        self.routes_paid_until = self.routes_paid_until.max(now) + self.routes_interval();
        self.topology = Topology::new(self.reports());
        let own = self.topology.number(&self.peer_id());
        self.tree = PathTree::new(&self.topology, own.unwrap_or(usize::MAX));
        let reachable: BTreeSet<PeerId> = self
            .tree
            .reached()
            .map(|(number, _)| self.topology.routers()[number])
            .collect();
        let own = self.peer_id();
        for peer in reachable.iter().filter(|peer| **peer != own) {
            if self.sites.assign(now, *peer).is_none() {
                self.refuse("sites_exhausted");
            } else if let Some(boot_id) = self.mesh.store().boot_id(peer) {
                self.note_boot(*peer, boot_id);
            }
        }
        self.renew_flood_trees(now);
        self.note_reachable(now, &reachable);
        self.announce_to_new(now, &reachable);
        self.mesh.handle_reachable(now, &reachable);
        self.fib_is_stale = true;
    }

    /// Each router's links: the others' as their records tell, our own as they are this moment.
    pub(super) fn reports(&self) -> Vec<(PeerId, Vec<ReportedLink>)> {
        let store = self.mesh.store();
        let own = self.peer_id();
        let others = store
            .origins()
            .filter(|origin| *origin != own)
            .map(|origin| {
                let links = store.links(&origin).map(|body| {
                    body.links
                        .iter()
                        .map(|entry| ReportedLink {
                            neighbour: entry.neighbour,
                            cost_us: entry.cost,
                            path_mtu_bytes: entry.path_mtu_bytes,
                        })
                        .collect()
                });
                (origin, links.unwrap_or_default())
            });
        let published: BTreeMap<PeerId, u32> = store
            .links(&own)
            .map(|body| {
                body.links
                    .iter()
                    .map(|entry| (entry.neighbour, entry.cost))
                    .collect()
            })
            .unwrap_or_default();
        let ours = self
            .mesh
            .links()
            .filter(|link| link.carrier().is_some())
            .map(|link| ReportedLink {
                neighbour: link.peer(),
                // The published cost, where there is one: all routers reckon with the same.
                cost_us: published
                    .get(&link.peer())
                    .copied()
                    .unwrap_or_else(|| link.cost()),
                path_mtu_bytes: link.path_mtu_bytes(),
            })
            .collect();
        others.chain([(own, ours)]).collect()
    }

    /// The neighbour through which a router is reached.
    pub(super) fn next_hop(&self, to: &PeerId) -> Option<PeerId> {
        let number = self.topology.number(to)?;
        let node = self.tree.node(number).filter(|_| *to != self.peer_id())?;
        self.topology.routers().get(node.first_hop).copied()
    }
}

/// Routes are computed at most this often in the long run (design: 10 times a second).
const ROUTES_INTERVAL: Duration = Duration::from_millis(100);
/// Changes come in groups: both ends' records of a new link arrive within a round trip. Far below what a probe takes
/// to notice a cut (design: within 10 ms).
const ROUTES_DELAY: Duration = Duration::from_millis(5);
/// Computations that may follow each other at once: a link that comes up changes the own links, the neighbour's
/// record, and the own record, one after the other within milliseconds.
const ROUTES_BURST: u32 = 3;
/// With many routers a computation costs more, so it is done less often: this much for each router beyond 50.
const ROUTES_INTERVAL_PER_ROUTER: Duration = Duration::from_millis(2);
