//! Which number stands for which remote router.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use weave_crypto::PeerId;

use crate::Site;

/// A number is used again only this long after its purge (design.md section 5): by then no worker has a
/// snapshot that knows its former meaning.
const QUARANTINE: Duration = Duration::from_secs(60);

/// Hands out site numbers; see the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Sites {
    by_peer: BTreeMap<PeerId, Site>,
    by_site: BTreeMap<Site, PeerId>,
    released: VecDeque<(Instant, Site)>,
    /// Numbers up to here were handed out at least once.
    highest: u16,
}

impl Sites {
    /// The router's number, drawn at first use. None when all numbers are taken.
    pub(crate) fn assign(&mut self, now: Instant, peer: PeerId) -> Option<Site> {
        if let Some(site) = self.by_peer.get(&peer) {
            return Some(*site);
        }
        let free = self
            .released
            .front()
            .filter(|(at, _)| now.saturating_duration_since(*at) >= QUARANTINE);
        let site = match free {
            Some((_, site)) => {
                let site = *site;
                self.released.pop_front();
                site
            }
            None if self.highest < Site::MAX.0 => {
                self.highest += 1;
                Site(self.highest)
            }
            None => return None,
        };
        self.by_peer.insert(peer, site);
        self.by_site.insert(site, peer);
        Some(site)
    }

    /// Takes a router's number back, to be used again after the quarantine.
    pub(crate) fn release(&mut self, now: Instant, peer: &PeerId) -> Option<Site> {
        let site = self.by_peer.remove(peer)?;
        self.by_site.remove(&site);
        self.released.push_back((now, site));
        Some(site)
    }

    pub(crate) fn site(&self, peer: &PeerId) -> Option<Site> {
        self.by_peer.get(peer).copied()
    }

    pub(crate) fn peer(&self, site: Site) -> Option<PeerId> {
        self.by_site.get(&site).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, Site)> {
        self.by_peer.iter().map(|(peer, site)| (*peer, *site))
    }

    /// One more than the highest number in use.
    pub(crate) fn bound(&self) -> usize {
        self.by_site
            .keys()
            .next_back()
            .map_or(1, |site| site.index() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_again_only_after_the_quarantine() {
        #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
        let now = Instant::now();
        let [a, b, c] = [1, 2, 3].map(|n| PeerId::from_bytes([n; 32]));
        let mut sites = Sites::default();
        assert_eq!(sites.assign(now, a), Some(Site(1)));
        assert_eq!(
            sites.assign(now, a),
            Some(Site(1)),
            "the same router keeps its number"
        );
        assert_eq!(sites.release(now, &a), Some(Site(1)));
        assert_eq!(sites.peer(Site(1)), None);
        assert_eq!(
            sites.assign(now + Duration::from_secs(59), b),
            Some(Site(2))
        );
        assert_eq!(
            sites.assign(now + Duration::from_secs(60), c),
            Some(Site(1))
        );
        assert_eq!(sites.bound(), 3);
    }
}
