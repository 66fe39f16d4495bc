//! Builds the forwarding snapshot from links, routes and keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use weave_crypto::PeerId;
use weave_mesh::{Carrier, PATH_MTU_BYTES_BASE};

use super::Router;
use crate::fib::{Fib, Neighbour, NeighbourIndex, NextHop, Receiver, Remote, SiteRoute};

impl Router {
    /// The snapshot of this moment. Looks at every router and link, so it is built only after changes.
    pub(super) fn build_fib(&mut self) -> Fib {
        let own = self.peer_id();
        let mut fib = Fib::empty(self.epoch, own.short_id(), 0);
        fib.version = self.fib_version;
        fib.flood_sequence = Arc::clone(&self.flood_sequence);

        let mut indexes: BTreeMap<PeerId, NeighbourIndex> = BTreeMap::new();
        for link in self.mesh.links() {
            let peer = link.peer();
            let remote = link.carrier().and_then(|carrier| match carrier {
                Carrier::Udp => link.udp_remote().map(Remote::Udp),
                Carrier::Tcp => Some(Remote::Stream),
            });
            let (Some(known), Some(remote)) = (self.sites.known(&peer), remote) else {
                continue;
            };
            let (Some(tag), Ok(number)) = (link.tag_out(), u16::try_from(fib.neighbours.len()))
            else {
                continue;
            };
            let index = NeighbourIndex(number);
            indexes.insert(peer, index);
            fib.tags.insert(link.tag_in(), index);
            fib.neighbours.push(Neighbour {
                site: known.site,
                remote,
                tag,
                keys: self.tunnels.sealing(&peer).cloned(),
                heard: Arc::clone(&known.heard),
                packet_bytes_max: usize::from(link.path_mtu_bytes()),
            });
        }

        let directs = self.add_directs(&mut fib);
        self.add_sites(&mut fib, &indexes, &directs);
        fib.origins = self.sites.origins();
        (fib.mates, fib.port_is_blocked) = self.update_segment();
        fib.denied = self.mesh.denied().map(|peer| peer.short_id()).collect();
        fib.loop_network = Some(self.config.mesh.network);
        for (peer, keys) in self.tunnels.opening() {
            let Some(known) = self.sites.known(&peer) else {
                continue;
            };
            let receiver = Receiver {
                site: known.site,
                neighbour: indexes.get(&peer).copied(),
                heard: Arc::clone(&known.heard),
                keys: Arc::clone(keys),
            };
            fib.receivers.insert(receiver.keys.local_index(), receiver);
        }
        fib.floods = self.flood_targets(&indexes);
        fib.flood_packet_bytes_max = self.flood_packet_bytes_max(&fib.neighbours[..indexes.len()]);
        fib
    }

    /// Routers without a link whose frames take a direct path: no flood, no relayed packet, no receiver of floods.
    fn add_directs(&self, fib: &mut Fib) -> BTreeMap<PeerId, NeighbourIndex> {
        let mut directs = BTreeMap::new();
        for path in self.mesh.direct_paths() {
            let (Some(remote), Some(known), Ok(number)) = (
                path.remote(),
                self.sites.known(&path.peer()),
                u16::try_from(fib.neighbours.len()),
            ) else {
                continue;
            };
            directs.insert(path.peer(), NeighbourIndex(number));
            fib.neighbours.push(Neighbour {
                site: known.site,
                remote: Remote::Udp(remote),
                tag: [0; 6],
                keys: None,
                heard: Arc::clone(&known.heard),
                packet_bytes_max: usize::from(path.path_mtu_bytes()),
            });
        }
        directs
    }

    fn add_sites(
        &self,
        fib: &mut Fib,
        indexes: &BTreeMap<PeerId, NeighbourIndex>,
        directs: &BTreeMap<PeerId, NeighbourIndex>,
    ) {
        fib.sites = vec![None; self.sites.bound()];
        fib.relays.reserve(fib.sites.len());
        for (peer, known) in self.sites.iter() {
            let node = self
                .topology
                .number(&peer)
                .and_then(|number| self.tree.node(number));
            let next = node.and_then(|node| {
                let next = self.topology.routers().get(node.first_hop)?;
                Some((*next, *indexes.get(next)?))
            });
            let direct = directs.get(&peer).map(|index| NextHop::Direct(*index));
            let by_links = next.map(|(next, index)| {
                if next == peer {
                    NextHop::Direct(index)
                } else {
                    NextHop::Relay(index)
                }
            });
            let next_hop = direct.or(by_links);
            let keys = self.tunnels.sealing(&peer).cloned();
            let path_mtu_bytes = node.map_or(0, |node| node.path_mtu_bytes);
            let route = SiteRoute {
                destination: known.short_id,
                heard: keys.is_some().then(|| Arc::clone(&known.heard)),
                keys,
                next_hop,
                packet_bytes_max: match next_hop {
                    // The first link's is the newest known; the tree learns of it a moment later.
                    Some(NextHop::Relay(index)) => fib
                        .neighbour(index)
                        .map_or(0, |neighbour| neighbour.packet_bytes_max)
                        .min(usize::from(path_mtu_bytes)),
                    Some(NextHop::Direct(index)) => fib
                        .neighbour(index)
                        .map_or(0, |neighbour| neighbour.packet_bytes_max),
                    None => 0,
                },
            };
            if let Some((_, index)) = next {
                fib.relays.insert(known.short_id, index);
            }
            fib.sites[known.site.index()] = Some(route);
        }
    }

    /// What every link of our own tree takes.
    fn flood_packet_bytes_max(&self, linked: &[Neighbour]) -> usize {
        let links = linked.iter().map(|neighbour| neighbour.packet_bytes_max);
        let paths = self
            .tree
            .reached()
            .map(|(_, node)| usize::from(node.path_mtu_bytes));
        let base = usize::from(PATH_MTU_BYTES_BASE);
        let least = links.chain(paths).min().unwrap_or(base);
        least.clamp(base, usize::from(u16::MAX))
    }
}
