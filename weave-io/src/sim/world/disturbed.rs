//! Ways that were not as usual lately: routers avoid some of them for a while after all is well again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sim::check::Edge;

/// For how long routers may think worse of a way than it is: one that lost datagrams again and again is left to others
/// for 160 s, and then until sixteen probes in a row were answered.
const REMEMBERED: Duration = Duration::from_secs(180);

/// Pairs of routers with ways that are, or were lately, slower or less good than the others.
#[derive(Debug, Default)]
pub(super) struct Disturbed {
    /// Until when they are remembered; none while they are disturbed.
    pairs: BTreeMap<Edge, Option<Duration>>,
}

impl Disturbed {
    /// The ways changed: these are disturbed now.
    pub(super) fn changed(&mut self, at: Duration, now: impl IntoIterator<Item = Edge>) {
        self.pairs
            .retain(|_, until| until.is_none_or(|until| at < until));
        for until in self.pairs.values_mut() {
            until.get_or_insert(at + REMEMBERED);
        }
        for pair in now {
            self.pairs.insert(pair, None);
        }
    }

    /// Whether routers may avoid the ways of this pair.
    pub(super) fn contains(&self, pair: &Edge) -> bool {
        self.pairs.contains_key(pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_remembered_for_a_while_after_it_was_disturbed() {
        let at = Duration::from_secs;
        let mut disturbed = Disturbed::default();
        disturbed.changed(at(1), [(0, 1)]);
        assert!(disturbed.contains(&(0, 1)) && !disturbed.contains(&(0, 2)));
        disturbed.changed(at(1_000), [(0, 1), (0, 2)]);
        disturbed.changed(at(2_000), [(0, 2)]);
        disturbed.changed(at(2_179), [(0, 2)]);
        assert!(disturbed.contains(&(0, 1)));
        disturbed.changed(at(2_180), []);
        assert!(!disturbed.contains(&(0, 1)));
        assert!(disturbed.contains(&(0, 2)));
    }
}
