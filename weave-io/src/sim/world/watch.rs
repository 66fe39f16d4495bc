//! What the checkers look at from time to time: the graph of the network, tables, counters, views.

use std::collections::BTreeSet;
use std::time::Duration;

use weave_core::DropReason;

use super::World;
use crate::sim::check::{Checker, Edge, FaultKind, LossyWays, Ways};
use crate::sim::{Conditions, RouterId, TransferId, TransferState};

/// Events that wait in the queue for each router: some datagrams, chunks and timers.
const QUEUED_MAX: usize = 10_000;

/// Costs follow the network only after a while (design.md section 4: a change is published after 5 s), so detours
/// may be in use for this long after the last reason for them.
const DETOUR: Duration = Duration::from_secs(15);

/// What an honest router sees of strangers and of bad wires only.
const STRANGE: [DropReason; 2] = [DropReason::PacketMalformed, DropReason::NotGenuine];

/// What an honest router never sees of honest others.
const DISHONEST: [DropReason; 2] = [DropReason::BodyMalformed, DropReason::PieceRefused];

impl World {
    /// Tells the checkers that the network changed.
    pub(super) fn changed(&mut self, kind: FaultKind) {
        let edges = self.edges();
        let is_uniform = self.net.is_uniform();
        self.was_lossy |= self.net.is_lossy();
        let has_hostile = !self.members.is_empty();
        let loss = match (self.net.is_lossy() || has_hostile, is_uniform) {
            (false, _) => LossyWays::None,
            // A lossy link is shunned for minutes, and who knows what lies on the detour.
            (true, true) if has_hostile && self.was_lossy => LossyWays::Anywhere,
            (true, true) => LossyWays::Detours,
            (true, false) => LossyWays::Anywhere,
        };
        if !std::mem::replace(&mut self.was_uniform, is_uniform) || !is_uniform {
            self.links_may_idle();
        }
        let is_like_others = |way: Conditions| carries_frames(&way) && self.net.is_normal(&way);
        let pairs = self
            .net
            .ways()
            .map(|((a, b), way)| ((a.0.min(b.0), a.0.max(b.0)), way));
        let disturbed: Vec<Edge> = pairs
            .filter(|(_, way)| !is_like_others(*way))
            .map(|(pair, _)| pair)
            .collect();
        self.disturbed.changed(self.now, disturbed);
        self.moves.faulted(self.now);
        let with_hosts: BTreeSet<RouterId> =
            self.hosts.iter().map(|attached| attached.router).collect();
        let are_used = self.detours_until.is_none_or(|until| until < self.now)
            && self.routers().all(|router| with_hosts.contains(&router));
        let avoided = edges
            .iter()
            .copied()
            .filter(|edge| self.disturbed.contains(edge))
            .collect();
        let ways = Ways {
            are_used,
            loss,
            avoided,
        };
        for sentence in self.black_holes.faulted(self.now, kind, edges, ways) {
            self.violate(Checker::BlackHole, sentence);
        }
    }

    /// Frames may not flow over every link for a while.
    pub(super) fn links_may_idle(&mut self) {
        self.detours_until = Some(self.now + DETOUR);
    }

    /// Looks around: late beacons, sizes of tables, counters that never move among the honest.
    pub(super) fn look(&mut self) {
        for sentence in self.black_holes.tick(self.now) {
            self.violate(Checker::BlackHole, sentence);
        }
        let routers = self.machines.len();
        if self.queue.len() > QUEUED_MAX * routers.max(1) {
            self.violate(Checker::Bounds, format!("{} events wait", self.queue.len()));
        }
        // Each pair may have a stream each way, and some that are being opened or closed.
        let streams_max = 8 * routers * routers + 8 + self.stranger_streams();
        if self.streams.len() > streams_max {
            self.violate(
                Checker::Bounds,
                format!(
                    "{} TCP streams between {routers} routers",
                    self.streams.len()
                ),
            );
        }
        if let Some(sentence) = self.held_strangers() {
            self.violate(Checker::Bounds, sentence);
        }
        for router in self.routers() {
            if let Some(sentence) = self.oversized(router) {
                self.violate(Checker::Bounds, sentence);
            }
        }
    }

    /// Looks at everything once more, when nothing has happened for a while: are views, counters and transfers
    /// as they should be?
    pub fn look_at_end(&mut self, transfers: &[TransferId]) {
        self.look();
        for router in self.routers() {
            if let Some(sentence) = self.wrong_view(router) {
                self.violate(Checker::View, sentence);
            }
            if let Some(sentence) = self.wrong_record(router) {
                self.violate(Checker::Records, sentence);
            }
            if let Some(sentence) = self.dishonesty(router) {
                self.violate(Checker::Honest, sentence);
            }
        }
        for transfer in transfers {
            let (from, to) = (self.router_of(transfer.host), self.router_of(transfer.to));
            let state = self.transfer(*transfer);
            if state != TransferState::Done && self.is_settled(from, to) {
                self.violate(
                    Checker::Transfer,
                    format!(
                        "a transfer from {} to {} is {state:?}",
                        transfer.host.0, transfer.to.0
                    ),
                );
            }
        }
    }

    /// Pairs of running routers between which datagrams pass both ways, without loss.
    fn edges(&self) -> BTreeSet<Edge> {
        let running: Vec<RouterId> = self
            .routers()
            .filter(|router| self.is_running(*router))
            .collect();
        let mut edges = BTreeSet::new();
        for (index, a) in running.iter().enumerate() {
            for b in &running[index + 1..] {
                let ways = [self.net.conditions(*a, *b), self.net.conditions(*b, *a)];
                if self.net.can_connect(*a, *b) && ways.iter().all(carries_frames) {
                    edges.insert((a.0, b.0));
                }
            }
        }
        edges
    }

    fn oversized(&self, router: RouterId) -> Option<String> {
        let process = self.machines[router.0].process.as_ref()?;
        let macs = process.macs.len();
        if macs > self.hosts.len() {
            return Some(format!(
                "router {router} knows {macs} MAC addresses of {} containers",
                self.hosts.len()
            ));
        }
        let origins = process.control.router().mesh().store().origins().count();
        if origins > self.machines.len() + self.identities_gone {
            return Some(format!(
                "router {router} has records of {origins} routers of {}",
                self.machines.len()
            ));
        }
        let links = process.control.router().mesh().links().count();
        if links >= self.machines.len() + self.identities_gone {
            return Some(format!(
                "router {router} has {links} links among {} routers",
                self.machines.len()
            ));
        }
        None
    }

    /// Routers that a path connects must be reachable, and no others.
    fn wrong_view(&self, router: RouterId) -> Option<String> {
        if self.net.is_lossy() {
            return None; // a lossy way is no edge to the checkers, and may well be a link
        }
        if self.is_hostile(router) {
            return None;
        }
        let status = self.status(router)?;
        let seen: BTreeSet<&str> = status
            .routes
            .iter()
            .map(|route| route.destination.as_str())
            .collect();
        for other in self
            .routers()
            .filter(|other| *other != router && !self.is_hostile(*other))
        {
            let name = &self.machines[other.0].name;
            let is_seen = seen.contains(name.as_str());
            let Some(is_there) = self.black_holes.is_connected(router.0, other.0, self.now) else {
                continue;
            };
            if is_seen != is_there {
                let (sees, is) = (
                    if is_seen { "sees" } else { "misses" },
                    if is_there { "is" } else { "isn't" },
                );
                return Some(format!(
                    "router {router} {sees} {name}, which {is} reachable"
                ));
            }
        }
        None
    }

    fn dishonesty(&self, router: RouterId) -> Option<String> {
        let status = self.status(router)?;
        let strange = STRANGE.iter().filter(|_| !self.strangers.are_active);
        DISHONEST.iter().chain(strange).find_map(|reason| {
            let count = status.traffic.drops.get(reason.name())?;
            Some(format!(
                "router {router} dropped {count} packets of honest others: {}",
                reason.name()
            ))
        })
    }
}

/// Whether a way is good enough for a link that carries frames.
fn carries_frames(way: &Conditions) -> bool {
    !way.cut && !way.is_lossy() && way.mtu_bytes >= super::MTU_BYTES_MIN
}
