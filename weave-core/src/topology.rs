//! The graph of routers, as the newest records tell it.
//!
//! A link counts only when both of its ends report it; its cost is the larger of the two, its path MTU the smaller.
//! Routers are numbered in the order of their identities, so that equal stores give equal graphs.

use weave_crypto::PeerId;

/// What one router reports about one of its links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportedLink {
    /// The router at the other end.
    pub neighbour: PeerId,
    /// Cost in microseconds.
    pub cost_us: u32,
    /// The largest UDP payload that the link takes, in bytes.
    pub path_mtu_bytes: u16,
}

/// The graph of routers and of the links that both ends report, numbered in the order of identities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    routers: Vec<PeerId>,
    edges: Vec<Vec<Edge>>,
}

/// A link that both ends report, seen from one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Number of the router at the other end.
    pub to: usize,
    /// The larger of both ends' costs, in microseconds.
    pub cost_us: u32,
    /// The smaller of both ends' path MTUs, in bytes.
    pub path_mtu_bytes: u16,
}

impl Topology {
    /// Builds the graph from each router's report. Links to routers without a report, and those that one end
    /// does not know, are left out. Of two reports about the same neighbour the cheaper counts.
    ///
    /// ```
    /// use weave_core::{ReportedLink, Topology};
    /// use weave_crypto::PeerId;
    /// let [a, b] = [1, 2].map(|n| PeerId::from_bytes([n; 32]));
    /// let link = |neighbour| vec![ReportedLink { neighbour, cost_us: 1000, path_mtu_bytes: 1500 }];
    /// let topology = Topology::new([(a, link(b)), (b, link(a))]);
    /// assert_eq!(topology.edges(0)[0].to, 1);
    /// ```
    pub fn new(reports: impl IntoIterator<Item = (PeerId, Vec<ReportedLink>)>) -> Self {
        let mut reports: Vec<(PeerId, Vec<ReportedLink>)> = reports.into_iter().collect();
        reports.sort_by_key(|(router, _)| *router);
        // Of two reports of one router the last counts, as in a map.
        reports.reverse();
        reports.dedup_by_key(|(router, _)| *router);
        reports.reverse();
        let routers: Vec<PeerId> = reports.iter().map(|(router, _)| *router).collect();
        // Links by the numbers of both ends, so that the rest compares small numbers, not identities.
        let one_sided: Vec<Vec<Edge>> = reports
            .iter()
            .map(|(router, links)| {
                let mut edges: Vec<Edge> = links
                    .iter()
                    .filter(|link| link.neighbour != *router)
                    .filter_map(|link| {
                        Some(Edge {
                            to: routers.binary_search(&link.neighbour).ok()?,
                            cost_us: link.cost_us,
                            path_mtu_bytes: link.path_mtu_bytes,
                        })
                    })
                    .collect();
                edges.sort_by_key(|edge| (edge.to, edge.cost_us));
                edges.dedup_by_key(|edge| edge.to);
                edges
            })
            .collect();
        let edges = one_sided
            .iter()
            .enumerate()
            .map(|(from, edges)| {
                let both_sided = |edge: &Edge| {
                    let back = &one_sided[edge.to];
                    let back = &back[back.binary_search_by_key(&from, |edge| edge.to).ok()?];
                    Some(Edge {
                        to: edge.to,
                        cost_us: edge.cost_us.max(back.cost_us),
                        path_mtu_bytes: edge.path_mtu_bytes.min(back.path_mtu_bytes),
                    })
                };
                edges.iter().filter_map(both_sided).collect()
            })
            .collect();
        Self { routers, edges }
    }

    /// All routers with a report, in the order of their numbers.
    pub fn routers(&self) -> &[PeerId] {
        &self.routers
    }

    /// The number of a router.
    pub fn number(&self, router: &PeerId) -> Option<usize> {
        self.routers.binary_search(router).ok()
    }

    /// The links of the router with this number; none for a number out of range.
    pub fn edges(&self, number: usize) -> &[Edge] {
        self.edges.get(number).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_one_end_does_not_report_is_left_out() {
        let topology = Topology::new([(id(1), vec![link(2, 5)]), (id(2), vec![])]);
        assert!(topology.edges(0).is_empty());
        assert!(topology.edges(1).is_empty());
    }

    #[test]
    fn both_ends_see_the_larger_cost_and_the_smaller_mtu() {
        let mut cheap = link(2, 5);
        cheap.path_mtu_bytes = 9000;
        let topology = Topology::new([(id(2), vec![link(1, 7)]), (id(1), vec![cheap])]);
        let edge = Edge {
            to: 1,
            cost_us: 7,
            path_mtu_bytes: 1500,
        };
        assert_eq!(topology.edges(0), [edge]);
        assert_eq!(topology.edges(1), [Edge { to: 0, ..edge }]);
    }

    #[test]
    fn links_to_oneself_and_to_strangers_are_left_out() {
        let topology = Topology::new([(id(1), vec![link(1, 1), link(9, 1)])]);
        assert!(topology.edges(0).is_empty());
    }

    fn id(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    fn link(neighbour: u8, cost_us: u32) -> ReportedLink {
        ReportedLink {
            neighbour: id(neighbour),
            cost_us,
            path_mtu_bytes: 1500,
        }
    }
}
