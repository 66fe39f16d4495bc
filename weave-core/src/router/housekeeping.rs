//! What is done now and then: routers that are gone for good are forgotten, and addresses to rejoin stored.

use std::net::SocketAddr;
use std::time::Instant;

use weave_crypto::PeerId;

use super::{Action, Router};
use crate::MacTable;

/// Addresses to rejoin that are kept.
const STORED_PEERS_MAX: usize = 64;

impl Router {
    pub(super) fn keep_house(&mut self, now: Instant) {
        self.macs.age(now, MacTable::AGE_MAX);
        self.echoes.keep_house(now);
        let store = self.mesh.store();
        let forgotten: Vec<PeerId> = self
            .sites
            .iter()
            .map(|(peer, _)| peer)
            .filter(|peer| store.router(peer).is_none() && self.mesh.link(peer).is_none())
            .collect();
        for peer in forgotten {
            if let Some(site) = self.sites.release(now, &peer) {
                self.macs.purge(site);
            }
            self.tunnels.forget(&peer);
            self.forget_direct(&peer);
            self.departures.forget(&peer);
            self.loops.forget(&peer);
            self.fib_is_stale = true;
        }
    }

    pub(super) fn store_peers(&mut self) {
        let mut peers: Vec<SocketAddr> = self
            .mesh
            .links()
            .filter_map(|link| {
                let record = self.mesh.store().router(&link.peer())?;
                let dialled = link.dialled().then(|| link.remote());
                dialled.or_else(|| record.addresses.first().map(|address| address.socket))
            })
            .take(STORED_PEERS_MAX)
            .collect();
        peers.sort();
        peers.dedup();
        if !peers.is_empty() && peers != self.stored_peers {
            self.stored_peers.clone_from(&peers);
            self.actions.push_back(Action::StorePeers { peers });
        }
    }
}
