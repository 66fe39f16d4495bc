//! The neighbours that floods are handed on to, for each origin that floods.
//!
//! A tree for every router of a network of hundreds would cost most of what the control plane does, at each change
//! of any link. So only origins that flooded within [`Heard::FLOODS_FOR`] have one. The first flood of another goes
//! to all neighbours, and each takes it once; the data plane tells of it, and the tree stands for the next.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use weave_crypto::{PeerId, ShortId};

use super::Router;
use crate::fib::NeighbourIndex;
use crate::routes::PathTree;

impl Router {
    /// A flood of a router came after a long time without.
    pub(super) fn handle_flood(&mut self, origin: PeerId) {
        if self.flood_children.contains_key(&origin) {
            return;
        }
        if let Some(children) = self.children_in_tree_of(&origin) {
            self.flood_children.insert(origin, children);
            self.fib_is_stale = true;
        }
    }

    /// Routes changed: so do the trees.
    pub(super) fn renew_flood_trees(&mut self, now: Instant) {
        let origins: Vec<PeerId> = self
            .sites
            .iter()
            .filter(|(_, known)| known.heard.floods(self.epoch, now))
            .map(|(peer, _)| peer)
            .chain([self.peer_id()])
            .collect();
        self.flood_children = origins
            .into_iter()
            .filter_map(|origin| Some((origin, self.children_in_tree_of(&origin)?)))
            .collect();
    }

    /// For each origin with a tree, the neighbours to which this router passes its floods on.
    pub(super) fn flood_targets(
        &self,
        indexes: &BTreeMap<PeerId, NeighbourIndex>,
    ) -> HashMap<ShortId, Vec<NeighbourIndex>> {
        let index = |child: &PeerId| indexes.get(child).copied();
        self.flood_children
            .iter()
            .map(|(origin, children)| {
                let known = self.sites.known(origin);
                let short = known.map_or_else(|| origin.short_id(), |known| known.short_id);
                (short, children.iter().filter_map(index).collect())
            })
            .collect()
    }

    /// None for an origin that no route leads to.
    fn children_in_tree_of(&self, origin: &PeerId) -> Option<Vec<PeerId>> {
        let routers = self.topology.routers();
        let own = self.topology.number(&self.peer_id())?;
        let origin = self.topology.number(origin)?;
        self.tree.node(origin)?;
        let children = |tree: &PathTree| {
            tree.children(own)
                .filter_map(|child| routers.get(child).copied())
                .collect()
        };
        Some(if origin == own {
            children(&self.tree)
        } else {
            children(&PathTree::new(&self.topology, origin))
        })
    }
}
