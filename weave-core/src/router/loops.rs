//! Routers whose ports are on one segment: noticed by each other's loop frames, and made to take turns.
//!
//! Bridges that are joined outside close a loop with the mesh: what one router writes to its port comes in at the
//! other's. So of the routers on a segment the one with the smallest [`PeerId`] carries its floods, and the others
//! keep theirs to themselves ([`Fib::port_is_blocked`](crate::Fib)); nobody writes what comes from one of the others
//! ([`Fib::mates`](crate::Fib)), for it is there already. A router that can't be reached by the mesh closes no loop
//! and counts for nothing.
//!
//! ```text
//!                  loop frame heard                   no way by the mesh
//!   apart --------------------------> joined (shared) <-----------------> joined (no loop)
//!     ^                                   |
//!     +---------- 5 s of silence ---------+
//!       or 1.5 s after a port of the bridge went
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weave_crypto::PeerId;

use super::{Action, Event, Router};
use crate::loop_frame::LoopFrame;
use crate::timer::Timer;
use crate::{SegmentStatus, Site};

/// What is known of the segment behind the port.
#[derive(Debug, Default)]
pub(super) struct Loops {
    /// Of the newest frame of our own.
    pub(super) counter: u64,
    sent: Option<Instant>,
    /// When the next is due.
    next: Option<Instant>,
    /// Routers that were heard at the port, at any time: of those apart the counters are kept, so that nothing that
    /// was recorded is believed again. As many as there are records.
    heard: BTreeMap<PeerId, Heard>,
    /// When a frame of our own last came back.
    returned: Option<Instant>,
    /// Sites of the routers that the newest snapshot takes for joined, sorted, and whether they keep our port shut.
    mates: Vec<Site>,
    is_blocked: bool,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    boot_id: u64,
    counter: u64,
    at: Instant,
    /// A port of the bridge went since: it may have been the one that led there.
    doubted: Option<Instant>,
    is_joined: bool,
}

impl Heard {
    /// When it counts as silent, if nothing is heard before.
    fn silent_at(&self) -> Instant {
        let silent_at = self.at + SILENCE;
        self.doubted
            .map_or(silent_at, |doubted| silent_at.min(doubted + DOUBT))
    }
}

impl Loops {
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.heard.remove(peer);
    }

    /// Whether a frame of our own came back lately.
    pub(super) fn has_returned(&self, now: Instant) -> bool {
        self.returned.is_some_and(|at| is_recent(now, at))
    }
}

impl Router {
    /// A loop frame came in at the port.
    pub(super) fn handle_loop_frame(&mut self, now: Instant, frame: &LoopFrame) {
        if frame.peer == self.peer_id() {
            self.handle_own_loop_frame(now, frame);
            return;
        }
        // The cheap questions first: a container can send anything.
        let Some(boot_id) = self.mesh.store().boot_id(&frame.peer) else {
            self.refuse("loop_frame_unknown_peer");
            return;
        };
        let known = self.loops.heard.get(&frame.peer);
        let newest = known.map_or((boot_id, 0), |known| {
            (known.boot_id.max(boot_id), 0).max((known.boot_id, known.counter))
        });
        if (frame.boot_id, frame.counter) <= newest {
            self.refuse("loop_frame_stale");
            return;
        }
        if !frame.is_genuine(&self.config.mesh.network, &*self.verifier) {
            self.refuse("loop_frame_not_genuine");
            return;
        }
        let heard = Heard {
            boot_id: frame.boot_id,
            counter: frame.counter,
            at: now,
            doubted: None,
            is_joined: true,
        };
        let before = self.loops.heard.insert(frame.peer, heard);
        if !before.is_some_and(|before| before.is_joined) {
            let event = Event::SegmentJoined {
                name: self.peer_name(&frame.peer),
                peer: frame.peer,
                carries: self.peer_id() < frame.peer,
            };
            self.push_event(event);
            // The sooner the other knows, the less goes round.
            self.send_loop_frame_soon(now);
            self.fib_is_stale = true;
        }
        self.set_loop_timer();
    }

    fn handle_own_loop_frame(&mut self, now: Instant, frame: &LoopFrame) {
        let is_ours = frame.boot_id == self.boot_id()
            && (self.loops.counter.saturating_sub(RETURNS_WITHIN)..=self.loops.counter)
                .contains(&frame.counter);
        if !is_ours {
            self.refuse("loop_frame_stale");
            return;
        }
        if !frame.is_genuine(&self.config.mesh.network, &*self.verifier) {
            self.refuse("loop_frame_not_genuine");
            return;
        }
        if !self.loops.has_returned(now) {
            self.push_event(Event::LoopFrameReturned);
        }
        self.loops.returned = Some(now);
    }

    /// Something looks like a new wire outside: whoever is at its other end is to know at once.
    pub(super) fn send_loop_frame_soon(&mut self, now: Instant) {
        let at = self
            .loops
            .sent
            .map_or(now, |sent| now.max(sent + SEND_INTERVAL_MIN));
        if let Some(next) = &mut self.loops.next {
            *next = at.min(*next);
            self.set_loop_timer();
        }
    }

    /// A port of the bridge went: who is on the segment all the same is heard again soon.
    pub(super) fn doubt_segment(&mut self, now: Instant) {
        for heard in self.loops.heard.values_mut() {
            if heard.is_joined {
                heard.doubted.get_or_insert(now);
            }
        }
        self.set_loop_timer();
    }

    /// The first frame is due now, if there is a port.
    pub(super) fn start_loop_frames(&mut self, now: Instant) {
        self.loops.next = self.config.frame_port.is_some().then_some(now);
        self.set_loop_timer();
    }

    /// Sends what is due, and parts from those not heard for long.
    pub(super) fn handle_loop_timer(&mut self, now: Instant) {
        if self.loops.next.is_some_and(|at| at <= now) && !self.stopping {
            self.loops.counter += 1;
            self.loops.sent = Some(now);
            let network = self.config.mesh.network;
            let boot_id = self.boot_id();
            let frame = LoopFrame::sign(&self.identity, &network, boot_id, self.loops.counter);
            self.actions.push_back(Action::SendFrame {
                bytes: frame.emit(&network),
            });
        }
        self.loops.next = self
            .loops
            .next
            .map(|at| if at <= now { now + SEND_INTERVAL } else { at });
        let parted: Vec<PeerId> = self
            .loops
            .heard
            .iter_mut()
            .filter(|(_, heard)| heard.is_joined && heard.silent_at() <= now)
            .map(|(peer, heard)| {
                heard.is_joined = false;
                *peer
            })
            .collect();
        for peer in parted {
            let event = Event::SegmentParted {
                name: self.peer_name(&peer),
                peer,
            };
            self.push_event(event);
            self.fib_is_stale = true;
        }
        self.set_loop_timer();
    }

    /// Whose ports are on our segment, for the next snapshot, and whether they keep ours shut. What was learned
    /// before that changed is not to be trusted.
    pub(super) fn update_segment(&mut self) -> (Vec<Site>, bool) {
        let own = self.peer_id();
        let joined = || self.joined().filter(|peer| self.next_hop(peer).is_some());
        let is_blocked = joined().any(|peer| peer < own);
        let mut mates: Vec<Site> = joined().filter_map(|peer| self.sites.site(&peer)).collect();
        mates.sort_unstable();
        let is_new = |mate: &&Site| !self.loops.mates.contains(mate);
        let new: Vec<Site> = mates.iter().filter(is_new).copied().collect();
        for mate in &new {
            // All its containers are behind our own port now.
            self.macs.purge(*mate);
        }
        if !new.is_empty() || is_blocked != self.loops.is_blocked {
            // What went round was taken for local.
            self.macs.purge(Site::LOCAL);
        }
        self.loops.mates.clone_from(&mates);
        self.loops.is_blocked = is_blocked;
        (mates, is_blocked)
    }

    /// Whether the newest snapshot keeps our port shut for floods.
    pub(super) fn is_port_blocked(&self) -> bool {
        self.loops.is_blocked
    }

    /// The other routers on our segment, as status shows them.
    pub(super) fn segment_statuses(&self) -> Vec<SegmentStatus> {
        self.joined()
            .map(|peer| SegmentStatus {
                name: self.peer_name(&peer),
                peer_id: peer.to_string(),
                reachable: self.next_hop(&peer).is_some(),
            })
            .collect()
    }

    /// What somebody should do about it, a sentence each.
    pub(super) fn segment_warnings(&self, now: Instant) -> Vec<String> {
        let mut warnings = Vec::new();
        let mates: Vec<PeerId> = self
            .joined()
            .filter(|peer| self.next_hop(peer).is_some())
            .collect();
        if let Some(carrier) = mates.iter().copied().chain([self.peer_id()]).min()
            && !mates.is_empty()
        {
            let names: Vec<String> = mates.iter().map(|peer| self.peer_name(peer)).collect();
            let carrier = match carrier == self.peer_id() {
                true => "this router".to_owned(),
                false => self.peer_name(&carrier),
            };
            warnings.push(format!(
                "a loop: the port is on one segment with that of {} (their bridges are joined outside); {carrier} \
                 carries its floods, until the wire between them is taken away",
                names.join(", ")
            ));
        }
        if self.loops.has_returned(now) {
            warnings.push(
                "a loop: frames that this router writes to its port come back by it (two ports of the bridge are \
                 joined outside)"
                    .to_owned(),
            );
        }
        warnings
    }

    fn joined(&self) -> impl Iterator<Item = PeerId> {
        self.loops
            .heard
            .iter()
            .filter(|(_, heard)| heard.is_joined)
            .map(|(peer, _)| *peer)
    }

    fn set_loop_timer(&mut self) {
        let parting = self
            .loops
            .heard
            .values()
            .filter(|heard| heard.is_joined)
            .map(Heard::silent_at)
            .min();
        let next = self.loops.next.filter(|_| !self.stopping);
        self.timers
            .set(Timer::Loops, next.into_iter().chain(parting).min());
    }
}

fn is_recent(now: Instant, at: Instant) -> bool {
    now.saturating_duration_since(at) < SILENCE
}

/// Each port sends a loop frame this often (design.md section 5).
const SEND_INTERVAL: Duration = Duration::from_secs(1);
/// Further ones, when something changed, are at least this far apart.
const SEND_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// A router not heard for so long is not on the segment any more (design.md section 5).
const SILENCE: Duration = Duration::from_secs(5);
/// The same once a port has gone: one of the frames that are due each second must have come, and a little late.
const DOUBT: Duration = Duration::from_millis(1_500);
/// A frame of our own that comes back is one of the newest; older ones were recorded.
const RETURNS_WITHIN: u64 = 16;
