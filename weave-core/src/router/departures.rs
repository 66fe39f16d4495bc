//! When all MAC addresses behind a router are forgotten: it restarted, or no route leads there any more.
//!
//! Frames to them are then flooded, and find what went to another host meanwhile without having said a word.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use weave_crypto::PeerId;

use super::Router;
use crate::timer::Timer;

/// The lives of other routers; at most one for each site.
#[derive(Debug, Default)]
pub(super) struct Departures {
    /// The newest boot id met.
    boots: BTreeMap<PeerId, u64>,
    ways: BTreeMap<PeerId, Way>,
}

/// Whether a route leads to a router. One that a direct path leads to while no route does is not purged as long as
/// the path stands.
///
/// ```text
///   Open <----> GoneSince ---2 s, purge---> Purged
///    ^                                        |
///    +----------------------------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    GoneSince(Instant),
    Purged,
}

impl Departures {
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.boots.remove(peer);
        self.ways.remove(peer);
    }
}

impl Router {
    /// Notes the boot id of a router with a site. A later one than before: it restarted.
    pub(super) fn note_boot(&mut self, peer: PeerId, boot_id: u64) {
        let known = self.departures.boots.entry(peer).or_insert(boot_id);
        if boot_id > *known {
            *known = boot_id;
            self.purge_site(&peer);
        }
    }

    /// Notes which routers can be reached, after each computation of routes.
    pub(super) fn note_reachable(&mut self, now: Instant, reachable: &BTreeSet<PeerId>) {
        let mut due = None;
        for (peer, _) in self.sites.iter() {
            let way = self.departures.ways.entry(peer).or_insert(Way::Open);
            if reachable.contains(&peer) {
                *way = Way::Open;
            } else if *way == Way::Open {
                *way = Way::GoneSince(now);
            }
            if let Way::GoneSince(since) = *way {
                let at = since + PURGE_AFTER;
                due = Some(due.map_or(at, |due: Instant| due.min(at)));
            }
        }
        self.timers.set(Timer::Departures, due);
    }

    /// Purges those that are gone for long enough.
    pub(super) fn purge_departed(&mut self, now: Instant) {
        let mut purged = Vec::new();
        for (peer, way) in &mut self.departures.ways {
            let Way::GoneSince(since) = *way else {
                continue;
            };
            let has_path = self
                .mesh
                .direct_path(peer)
                .is_some_and(|path| path.remote().is_some());
            if has_path {
                self.timers
                    .set_earlier(Timer::Departures, now + PURGE_AFTER);
            } else if now.saturating_duration_since(since) >= PURGE_AFTER {
                *way = Way::Purged;
                purged.push(*peer);
            } else {
                self.timers
                    .set_earlier(Timer::Departures, since + PURGE_AFTER);
            }
        }
        for peer in purged {
            self.purge_site(&peer);
        }
    }

    fn purge_site(&mut self, peer: &PeerId) {
        if let Some(site) = self.sites.site(peer) {
            self.macs.purge(site);
        }
    }
}

/// A router that no route leads to for longer is gone. By then frames for it that waited are dropped
/// (`Waiting::TIME_MAX`), and a relay that failed has been replaced.
const PURGE_AFTER: Duration = Duration::from_secs(2);
