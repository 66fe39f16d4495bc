//! Shortest paths and flood trees over a [`Topology`].
//!
//! Everything is a function of the topology alone: routers with equal records compute equal trees, which is
//! what makes a flood reach each of them once. Equal costs are broken by fewer hops, then by identity.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Topology;

/// The shortest-path tree from one router (Dijkstra's algorithm); by router number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTree {
    root: usize,
    nodes: Vec<Option<PathNode>>,
}

/// How one router is reached from the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathNode {
    /// Sum of the links' costs, in microseconds.
    pub cost_us: u64,
    /// Links on the way.
    pub hops: u32,
    /// The router before this one; the root is its own.
    pub parent: usize,
    /// The router after the root on the way here; the root's own number for itself.
    pub first_hop: usize,
    /// The smallest path MTU of the links on the way, in bytes; `u16::MAX` for the root.
    pub path_mtu_bytes: u16,
}

impl PathTree {
    /// Computes the tree from the router with number `root`. Costs O(links × log routers).
    pub fn new(topology: &Topology, root: usize) -> Self {
        Self::search(topology, root, None)
    }

    /// The same over a topology without the router with number `avoided`: what is left of the paths when it fails,
    /// or the ways that others know which do not come back to it.
    pub fn avoiding(topology: &Topology, root: usize, avoided: usize) -> Self {
        Self::search(topology, root, Some(avoided))
    }

    fn search(topology: &Topology, root: usize, avoided: Option<usize>) -> Self {
        let mut nodes: Vec<Option<PathNode>> = vec![None; topology.routers().len()];
        let mut done = vec![false; nodes.len()];
        // One that is done is never come to.
        if let Some(done) = avoided.and_then(|number| done.get_mut(number)) {
            *done = true;
        }
        let mut queue = BinaryHeap::new();
        if let Some(node) = nodes.get_mut(root) {
            *node = Some(PathNode {
                cost_us: 0,
                hops: 0,
                parent: root,
                first_hop: root,
                path_mtu_bytes: u16::MAX,
            });
            queue.push(Reverse((0u64, 0u32, root)));
        }
        while let Some(Reverse((_, _, number))) = queue.pop() {
            if std::mem::replace(&mut done[number], true) {
                continue;
            }
            let Some(here) = nodes[number] else { continue };
            for edge in topology.edges(number) {
                let candidate = PathNode {
                    cost_us: here.cost_us + u64::from(edge.cost_us),
                    hops: here.hops + 1,
                    parent: number,
                    first_hop: if number == root {
                        edge.to
                    } else {
                        here.first_hop
                    },
                    path_mtu_bytes: here.path_mtu_bytes.min(edge.path_mtu_bytes),
                };
                let rank = |node: &PathNode| (node.cost_us, node.hops, node.parent);
                if !done[edge.to]
                    && nodes[edge.to].is_none_or(|known| rank(&candidate) < rank(&known))
                {
                    nodes[edge.to] = Some(candidate);
                    queue.push(Reverse((candidate.cost_us, candidate.hops, edge.to)));
                }
            }
        }
        Self { root, nodes }
    }

    /// The root's number.
    pub fn root(&self) -> usize {
        self.root
    }

    /// How the router with this number is reached; none when no path leads there.
    pub fn node(&self, number: usize) -> Option<&PathNode> {
        self.nodes.get(number)?.as_ref()
    }

    /// All routers that are reached, the root included, by number.
    pub fn reached(&self) -> impl Iterator<Item = (usize, &PathNode)> {
        self.nodes
            .iter()
            .enumerate()
            .filter_map(|(number, node)| Some((number, node.as_ref()?)))
    }

    /// The routers to which `number` passes on what the root floods.
    pub fn children(&self, number: usize) -> impl Iterator<Item = usize> {
        self.reached()
            .filter(move |(child, node)| node.parent == number && *child != self.root)
            .map(|(child, _)| child)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use weave_crypto::PeerId;

    use super::*;
    use crate::ReportedLink;

    #[test]
    fn a_cheap_detour_beats_a_dear_direct_link() {
        let topology = graph(3, &[(0, 1, 10), (1, 2, 10), (0, 2, 30)]);
        let tree = PathTree::new(&topology, 0);
        let node = tree.node(2).unwrap();
        assert_eq!(
            (node.cost_us, node.hops, node.first_hop, node.parent),
            (20, 2, 1, 1)
        );
    }

    #[test]
    fn equal_costs_take_fewer_hops_then_the_smaller_identity() {
        let topology = graph(4, &[(0, 1, 10), (0, 2, 10), (1, 3, 10), (2, 3, 10)]);
        assert_eq!(PathTree::new(&topology, 0).node(3).unwrap().first_hop, 1);
        let topology = graph(3, &[(0, 1, 10), (1, 2, 10), (0, 2, 20)]);
        assert_eq!(PathTree::new(&topology, 0).node(2).unwrap().hops, 1);
    }

    #[test]
    fn an_avoided_router_is_on_no_path() {
        let topology = graph(4, &[(0, 1, 10), (1, 2, 10), (0, 3, 20), (3, 2, 20)]);
        let tree = PathTree::avoiding(&topology, 2, 0);
        assert_eq!(tree.node(1).unwrap().cost_us, 10);
        assert_eq!(tree.node(0), None);
        let tree = PathTree::avoiding(&topology, 0, 1);
        assert_eq!(tree.node(2).unwrap().first_hop, 3);
    }

    #[test]
    fn what_is_cut_off_has_no_path() {
        let topology = graph(3, &[(0, 1, 10)]);
        let tree = PathTree::new(&topology, 0);
        assert_eq!(tree.node(2), None);
        assert_eq!(
            PathTree::new(&topology, 7).reached().count(),
            0,
            "a root that is not there"
        );
    }

    proptest! {
        #[test]
        fn costs_agree_with_a_naive_relaxation(links in proptest::collection::vec((0usize..6, 0usize..6, 1u32..5), 0..15)) {
            let topology = graph(6, &links);
            let tree = PathTree::new(&topology, 0);
            let mut costs = [u64::MAX; 6];
            costs[0] = 0;
            for _ in 0..6 {
                for from in 0..6 {
                    for edge in topology.edges(from) {
                        if costs[from] != u64::MAX {
                            costs[edge.to] = costs[edge.to].min(costs[from] + u64::from(edge.cost_us));
                        }
                    }
                }
            }
            for (number, cost) in costs.iter().enumerate() {
                prop_assert_eq!(tree.node(number).map_or(u64::MAX, |node| node.cost_us), *cost);
            }
        }

        #[test]
        fn a_flood_along_the_tree_reaches_every_router_once(links in proptest::collection::vec((0usize..6, 0usize..6, 1u32..3), 0..15), origin in 0usize..6) {
            let topology = graph(6, &links);
            let tree = PathTree::new(&topology, origin);
            let mut seen = BTreeSet::new();
            let mut queue = vec![origin];
            while let Some(number) = queue.pop() {
                prop_assert!(seen.insert(number), "reached twice");
                // Each router computes the tree by itself, from the same records.
                queue.extend(PathTree::new(&topology, origin).children(number));
            }
            prop_assert_eq!(seen, tree.reached().map(|(number, _)| number).collect());
        }
    }

    fn graph(routers: u8, links: &[(usize, usize, u32)]) -> Topology {
        let id = |number: usize| PeerId::from_bytes([number as u8 + 1; 32]);
        Topology::new((0..usize::from(routers)).map(|number| {
            let reported = links
                .iter()
                .flat_map(|(a, b, cost)| [(*a, *b, *cost), (*b, *a, *cost)])
                .filter(|(from, ..)| *from == number)
                .map(|(_, to, cost_us)| ReportedLink {
                    neighbour: id(to),
                    cost_us,
                    path_mtu_bytes: 1500,
                })
                .collect();
            (id(number), reported)
        }))
    }
}
