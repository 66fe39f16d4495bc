//! What ended and what failed, as far as somebody may ask why there is no link.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use weave_crypto::PeerId;

/// Ends of links and failures of dials, the newest of each; see the [module](self).
#[derive(Debug, Default)]
pub(crate) struct History {
    ended: BTreeMap<PeerId, Past>,
    failed: BTreeMap<SocketAddr, Past>,
}

/// When something happened, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Past {
    pub(crate) at: Instant,
    pub(crate) reason: String,
}

impl History {
    /// A link stands: how it ended before is past caring.
    pub(crate) fn link_up(&mut self, peer: &PeerId) {
        self.ended.remove(peer);
    }

    /// A link ended.
    pub(crate) fn link_down(&mut self, now: Instant, peer: PeerId, reason: String) {
        keep(&mut self.ended, peer, Past { at: now, reason });
    }

    /// An address could not be connected to.
    pub(crate) fn dial_failed(&mut self, now: Instant, remote: SocketAddr, reason: String) {
        keep(&mut self.failed, remote, Past { at: now, reason });
    }

    /// How the last link with a router ended; none where there was none, and while one stands.
    pub(crate) fn link_end(&self, peer: &PeerId) -> Option<&Past> {
        self.ended.get(peer)
    }

    /// The newest failure to connect to one of these addresses.
    pub(crate) fn dial_failure(
        &self,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Option<(SocketAddr, &Past)> {
        addresses
            .into_iter()
            .filter_map(|address| Some((address, self.failed.get(&address)?)))
            .max_by_key(|(_, past)| past.at)
    }
}

/// Adds an entry; where there are too many, the oldest goes.
fn keep<K: Ord + Copy>(entries: &mut BTreeMap<K, Past>, key: K, past: Past) {
    if entries.len() >= ENTRIES_MAX && !entries.contains_key(&key) {
        let oldest = entries
            .iter()
            .min_by_key(|(_, past)| past.at)
            .map(|(key, _)| *key);
        if let Some(oldest) = oldest {
            entries.remove(&oldest);
        }
    }
    entries.insert(key, past);
}

/// Entries of each kind: enough for the routers that somebody looks at, in some ten kilobytes.
const ENTRIES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_goes_where_there_are_too_many() {
        #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
        let now = Instant::now();
        let mut history = History::default();
        let address = |number: usize| SocketAddr::from(([198, 18, 0, 1], number as u16 + 1));
        for number in 0..=ENTRIES_MAX {
            let at = now + Duration::from_secs(number as u64);
            history.dial_failed(at, address(number), "refused".to_owned());
        }
        assert_eq!(history.failed.len(), ENTRIES_MAX);
        assert_eq!(history.dial_failure([address(0)]), None);
        let newest = history.dial_failure([address(7), address(9), address(8)]);
        assert_eq!(newest.map(|(address, _)| address), Some(address(9)));
    }

    #[test]
    fn a_link_that_stands_has_no_end() {
        #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
        let now = Instant::now();
        let peer = PeerId::from_bytes([1; 32]);
        let mut history = History::default();
        history.link_down(now, peer, "silent".to_owned());
        assert_eq!(history.link_end(&peer).unwrap().reason, "silent");
        history.link_up(&peer);
        assert_eq!(history.link_end(&peer), None);
    }
}
