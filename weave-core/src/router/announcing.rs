//! The router's own addresses on the overlay: announced to those who may know them elsewhere, and their subnets kept
//! apart from the underlay.
//!
//! An address is announced at the start, and when routers come into reach that did not hear of it: a moment later, so
//! that floods find their way, and once more (RFC 5227 section 2.3). However many come, that is once a second.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use smoltcp::wire::EthernetAddress;
use weave_crypto::PeerId;
use weave_mesh::Subnet;

use super::{Action, Router};
use crate::announcement::announcement;
use crate::timer::Timer;

/// What is still to be announced, and who has heard it.
#[derive(Debug, Default)]
pub(super) struct Announcing {
    /// Announcements to come.
    left: u8,
    /// Routers in reach when routes were last computed.
    reached: BTreeSet<PeerId>,
}

impl Router {
    /// The first one, to the stations at the own port.
    pub(super) fn start_announcing(&mut self, now: Instant) {
        self.handle_overlay_subnets(now, Vec::new());
        if !self.config.addresses.is_empty() {
            self.announcing.left = TIMES;
            self.timers.set(Timer::Announcing, Some(now));
        }
    }

    /// Routes were computed: whoever is new among the routers in reach hears of the addresses soon.
    pub(super) fn announce_to_new(&mut self, now: Instant, reachable: &BTreeSet<PeerId>) {
        if self.config.addresses.is_empty() {
            return;
        }
        let own = self.peer_id();
        let mut new = reachable.difference(&self.announcing.reached);
        if new.any(|peer| *peer != own) {
            self.announcing.left = TIMES;
            self.timers.set_earlier(Timer::Announcing, now + DELAY);
        }
        self.announcing.reached.clone_from(reachable);
    }

    /// An announcement is due.
    pub(super) fn announce(&mut self, now: Instant) {
        if self.stopping {
            return;
        }
        let mac = EthernetAddress(self.peer_id().mac());
        for own in &self.config.addresses {
            let bytes = announcement(mac, own.address);
            self.actions.push_back(Action::Announce { bytes });
        }
        self.announcing.left = self.announcing.left.saturating_sub(1);
        let next = (self.announcing.left > 0).then_some(now + INTERVAL);
        self.timers.set(Timer::Announcing, next);
    }

    /// The own addresses' subnets are overlays, too.
    pub(super) fn with_own_subnets(&self, mut subnets: Vec<Subnet>) -> Vec<Subnet> {
        let own = self.config.addresses.iter().copied();
        subnets.splice(0..0, own);
        subnets
    }

    /// An address of the host inside of an overlay is told to nobody: perhaps it is the only one.
    pub(super) fn hidden_warning(&self) -> Option<String> {
        let hidden: Vec<IpAddr> = self.mesh.hidden_addresses().collect();
        let (first, more) = (hidden.first()?, hidden.len() - 1);
        let others = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!(
            "{first}{others} of this host lies in a subnet of the overlay: no peer is told of it or dials it; give \
             --address, or the bridge, a subnet of its own"
        ))
    }
}

/// ANNOUNCE_NUM and ANNOUNCE_INTERVAL (RFC 5227 section 1.1); RFC 4861 section 10 allows three, a second apart.
const TIMES: u8 = 2;
const INTERVAL: Duration = Duration::from_secs(2);
/// Until a router that came into reach passes floods on, and takes them: links, tunnels and trees stand by then.
const DELAY: Duration = Duration::from_secs(1);
