//! Which number stands for which remote router.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weave_crypto::{PeerId, ShortId};

use crate::{Heard, Origin, Site};

/// A number is used again only this long after its purge (design.md section 5): by then no worker has a
/// snapshot that knows its former meaning.
const QUARANTINE: Duration = Duration::from_secs(60);

/// What stands with a router's number.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) site: Site,
    /// The router's, which is a hash.
    pub(crate) short_id: ShortId,
    /// Its stamps, which outlive every snapshot.
    pub(crate) heard: Arc<Heard>,
}

/// Hands out site numbers; see the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Sites {
    by_peer: BTreeMap<PeerId, Known>,
    /// For snapshots, made when it is asked for and forgotten at a change: numbers change seldom.
    origins: Option<Arc<HashMap<ShortId, Origin>>>,
    by_site: BTreeMap<Site, PeerId>,
    released: VecDeque<(Instant, Site)>,
    /// Numbers up to here were handed out at least once.
    highest: u16,
}

impl Sites {
    /// The router's number, drawn at first use. None when all numbers are taken.
    pub(crate) fn assign(&mut self, now: Instant, peer: PeerId) -> Option<Site> {
        if let Some(site) = self.site(&peer) {
            return Some(site);
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
        let known = Known {
            site,
            short_id: peer.short_id(),
            heard: Arc::default(),
        };
        self.origins = None;
        self.by_peer.insert(peer, known);
        self.by_site.insert(site, peer);
        Some(site)
    }

    /// Takes a router's number back, to be used again after the quarantine.
    pub(crate) fn release(&mut self, now: Instant, peer: &PeerId) -> Option<Site> {
        let site = self.by_peer.remove(peer)?.site;
        self.origins = None;
        self.by_site.remove(&site);
        self.released.push_back((now, site));
        Some(site)
    }

    pub(crate) fn site(&self, peer: &PeerId) -> Option<Site> {
        self.by_peer.get(peer).map(|known| known.site)
    }

    pub(crate) fn peer(&self, site: Site) -> Option<PeerId> {
        self.by_site.get(&site).copied()
    }

    pub(crate) fn known(&self, peer: &PeerId) -> Option<&Known> {
        self.by_peer.get(peer)
    }

    /// All, by router.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Known)> {
        self.by_peer.iter().map(|(peer, known)| (*peer, known))
    }

    /// All, as the data plane looks them up.
    pub(crate) fn origins(&mut self) -> Arc<HashMap<ShortId, Origin>> {
        let by_peer = &self.by_peer;
        let origins = self.origins.get_or_insert_with(|| {
            let origin = |known: &Known| Origin {
                site: known.site,
                heard: Arc::clone(&known.heard),
            };
            let all = by_peer.values();
            Arc::new(all.map(|known| (known.short_id, origin(known))).collect())
        });
        Arc::clone(origins)
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
