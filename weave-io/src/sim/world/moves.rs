//! Containers that move from one router's bridge to another's, and how long the others may take to find them.

use std::collections::BTreeMap;
use std::time::Duration;

use weave_core::PortChange;

use super::{HostId, World};
use crate::Input;
use crate::sim::RouterId;

/// All containers that ever moved.
#[derive(Debug, Default)]
pub(super) struct Moves(BTreeMap<HostId, Moved>);

#[derive(Debug)]
struct Moved {
    /// From then on, whoever is connected to it reaches it.
    found_by: Duration,
    /// Until then it says nothing by itself.
    quiet_until: Duration,
    /// The latest few moves, oldest first.
    times: Vec<Duration>,
}

impl Moves {
    /// A container that announced itself is found within this time (in a network without faults).
    const ANNOUNCED: Duration = Duration::from_secs(2);
    /// One that says nothing: whoever sends to its old place is told that it is not there, or, in doubt, not believed
    /// after 5 s.
    const SILENT: Duration = Duration::from_secs(7);
    /// An address that moves more than five times in ten seconds is not followed for a while (design.md section 5). A
    /// move that nobody announced may be seen as several.
    const FLAPPING: Duration = Duration::from_secs(20);
    /// Moves within [`Self::FLAPPING`] that may be too many.
    const FLAPS: usize = 3;

    /// Whether routers may still look for a container.
    pub(super) fn is_sought(&self, host: HostId, now: Duration) -> bool {
        self.0.get(&host).is_some_and(|moved| now < moved.found_by)
    }

    /// Whether a container says nothing by itself.
    pub(super) fn is_quiet(&self, host: HostId, now: Duration) -> bool {
        self.0
            .get(&host)
            .is_some_and(|moved| now < moved.quiet_until)
    }

    /// Whether a container is not where it was in the beginning: tables that were not used since may say otherwise.
    pub(super) fn has_moved(&self, host: HostId) -> bool {
        self.0.contains_key(&host)
    }

    /// The network changed: who is being looked for may take longer.
    pub(super) fn faulted(&mut self, now: Duration) {
        for moved in self.0.values_mut() {
            if now < moved.found_by {
                moved.found_by = moved.found_by.max(now + Self::SILENT);
            }
        }
    }

    fn moved(&mut self, host: HostId, now: Duration, is_announced: bool, is_calm: bool) {
        let moved = self.0.entry(host).or_insert(Moved {
            found_by: now,
            quiet_until: now,
            times: Vec::new(),
        });
        moved.times.retain(|at| now - *at < Self::FLAPPING);
        moved.times.push(now);
        let patience = if moved.times.len() > Self::FLAPS {
            Self::FLAPPING
        } else if is_announced && is_calm {
            Self::ANNOUNCED
        } else {
            Self::SILENT
        };
        moved.found_by = moved.found_by.max(now + patience);
        if !is_announced {
            moved.quiet_until = now + Self::SILENT;
        }
    }
}

impl World {
    /// Moves a container to another router's bridge, with the same addresses. Its old bridge tells that its port went.
    /// It `announces` itself at the new place, or says nothing for a while but when it is spoken to.
    pub fn move_host(&mut self, host: HostId, to: RouterId, announces: bool) {
        let from = self.hosts[host.0].router;
        if from == to {
            return;
        }
        let is_calm = !self.net.is_lossy()
            && self
                .hosts
                .iter()
                .all(|other| self.is_settled(other.router, to));
        self.moves.moved(host, self.now, announces, is_calm);
        self.black_holes.excuse(host.0);
        self.black_holes.watch(to.0);
        self.links_may_idle();
        self.hosts[host.0].router = to;
        let gone = PortChange::Gone(self.hosts[host.0].host.mac());
        self.control(from, Some(Input::Port(vec![gone])));
        if announces {
            self.hosts[host.0].host.announce();
            self.poll_host(host);
        }
    }

    /// Moves the first of the containers at a router, if there is one.
    pub(super) fn move_from(&mut self, from: RouterId, to: RouterId, announces: bool) {
        let first = self
            .hosts
            .iter()
            .position(|attached| attached.router == from);
        if let Some(host) = first {
            self.move_host(HostId(host), to, announces);
        }
    }
}
