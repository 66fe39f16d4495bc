//! The largest packet that a path takes, searched for with padded probes (RFC 8899, DPLPMTUD).
//!
//! ```text
//!              keys, an address                 the search ends
//!   (nothing) ──────────────────► searching ─────────────────────► found
//!                                   ▲  ▲                            │  │
//!                                   │  └── after 10 minutes, a ─────┘  │
//!                                   │      larger device               │
//!                                   └───── black hole: 1,200 at once ──┘
//! ```
//!
//! A *test* is two challenges back to back: one padded to the size in question, one small. The small one's answer says
//! that the path is alive and how long an answer takes, so that a lost large one is known for lost a moment later; when
//! neither comes back nothing was learned. So no test judges liveness, and no liveness probe ever depends on the MTU.
//!
//! Sizes are bytes of UDP payload. Until the first search has ended, and after a black hole, the path counts as one
//! of [`PATH_MTU_BYTES_BASE`], and is not told to be anything between: senders keep for minutes what they are told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt as _};

use crate::link::PATH_MTU_BYTES_BASE;
use crate::liveness::{ACTIVE_FOR, ACTIVE_INTERVAL, LATE};
use crate::probe::Probe;

/// A challenge to send for a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) remote: SocketAddr,
    pub(crate) sequence: u32,
    pub(crate) token: u64,
    /// Bytes of UDP payload to pad it to; none for the small one.
    pub(crate) packet_bytes: Option<u16>,
}

/// What is known of one path's MTU.
#[derive(Debug)]
pub(crate) struct PathMtu {
    remote: Option<SocketAddr>,
    /// What the underlay device takes.
    bound: u16,
    current: u16,
    /// While a search goes on: the largest size known to pass, the smallest known not to.
    search: Option<Search>,
    /// Tests in a row whose large probe alone was lost.
    losses: u32,
    /// Tests in a row of which nothing came back.
    voids: u32,
    test: Option<Test>,
    next_at: Option<Instant>,
    raise_at: Option<Instant>,
    found_at: Option<Instant>,
    active_until: Option<Instant>,
    sequence: u32,
    rtt: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Search {
    low: u16,
    high: u32,
    was_lossy: bool,
}

#[derive(Clone, Copy, Debug)]
struct Test {
    size: u16,
    large: (u32, u64),
    small: (u32, u64),
    sent_at: Instant,
    is_small_answered: bool,
    deadline: Instant,
}

/// What a test showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Lost,
    Void,
}

impl PathMtu {
    /// Nothing known, nowhere to probe.
    pub(crate) fn new() -> Self {
        Self {
            remote: None,
            bound: PATH_MTU_BYTES_BASE,
            current: PATH_MTU_BYTES_BASE,
            search: None,
            losses: 0,
            voids: 0,
            test: None,
            next_at: None,
            raise_at: None,
            found_at: None,
            active_until: None,
            sequence: 0,
            rtt: None,
        }
    }

    /// Where the path leads, once it can be probed, and what the underlay device takes, bytes of IP. Another address is
    /// another path; a larger device is searched up to. Returns whether the path MTU changed.
    pub(crate) fn handle_path(
        &mut self,
        now: Instant,
        remote: Option<SocketAddr>,
        underlay_mtu_bytes: u16,
    ) -> bool {
        let before = self.current;
        let bound = remote.map_or(self.bound, |remote| {
            underlay_mtu_bytes
                .saturating_sub(header_bytes(remote))
                .clamp(PATH_MTU_BYTES_BASE, PACKET_BYTES_MAX)
        });
        if remote != self.remote {
            let active_until = self.active_until;
            *self = Self {
                remote,
                bound,
                sequence: self.sequence,
                active_until,
                ..Self::new()
            };
            if remote.is_some() {
                self.begin_search(now, PATH_MTU_BYTES_BASE);
            }
        } else if bound != self.bound {
            self.bound = bound;
            self.current = self.current.min(bound);
            if self.search.is_some() {
                self.begin_search(now, self.current.min(bound));
            } else if bound > self.current {
                self.begin_search(now, self.current);
            }
        }
        self.current != before
    }

    /// The path answers again: a search that found nobody goes on at once.
    pub(crate) fn handle_up(&mut self, now: Instant) {
        self.voids = 0;
        if self.search.is_some() && self.test.is_none() {
            self.next_at = Some(now);
        }
    }

    /// Unicast frames flow: the size in use is checked every third probe's time, after idling at once.
    pub(crate) fn handle_activity(&mut self, now: Instant) {
        let was_active = self.is_active(now);
        self.active_until = Some(now + ACTIVE_FOR);
        if !was_active && self.search.is_none() && self.test.is_none() {
            self.next_at = Some(now);
        }
    }

    /// A packet was too big for this path: it is checked at once, and whether it takes more, if that was not looked at
    /// for a while.
    pub(crate) fn handle_too_big(&mut self, now: Instant) {
        if self.search.is_some() || self.remote.is_none() {
            return;
        }
        let is_old = self
            .found_at
            .is_none_or(|at| now.saturating_duration_since(at) >= RAISE_DEMANDED);
        if is_old && self.current < self.bound {
            self.begin_search(now, self.current);
        } else if self.test.is_none() {
            self.next_at = Some(now);
        }
    }

    /// An answer that came over UDP: none where it is to no challenge of a test, else whether the path MTU changed.
    pub(crate) fn handle_answer(
        &mut self,
        now: Instant,
        loss_permille: u32,
        probe: &Probe,
    ) -> Option<bool> {
        let rtt = self.rtt;
        let test = self.test.as_mut()?;
        let echo = (probe.sequence, probe.token);
        if echo == test.small {
            if !test.is_small_answered {
                let sample = now.saturating_duration_since(test.sent_at);
                let smoothed = rtt.map_or(sample, |rtt| rtt * 3 / 4 + sample / 4);
                test.is_small_answered = true;
                test.deadline = now + (smoothed / 2).clamp(GRACE_MIN, GRACE_MAX);
                self.rtt = Some(smoothed);
            }
            return Some(false);
        }
        if echo != test.large {
            return None;
        }
        let size = test.size;
        self.test = None;
        Some(self.judge(now, size, Outcome::Passed, loss_permille))
    }

    /// Judges tests and begins them when due. Returns whether the path MTU changed.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        loss_permille: u32,
        random: &mut impl Rng,
        out: &mut Vec<Challenge>,
    ) -> bool {
        let mut has_changed = false;
        if let Some(test) = self.test
            && now >= test.deadline
        {
            self.test = None;
            // Held up ourselves: answers may wait behind this very turn.
            let is_late = now > test.deadline + LATE;
            let outcome = if test.is_small_answered && !is_late {
                Outcome::Lost
            } else {
                Outcome::Void
            };
            has_changed = self.judge(now, test.size, outcome, loss_permille);
        }
        if self.raise_at.is_some_and(|at| at <= now) && self.test.is_none() {
            self.raise_at = None;
            if self.search.is_none() {
                self.begin_search(now, self.current);
            }
        }
        if self.test.is_none() && self.next_at.is_some_and(|at| at <= now) {
            self.next_at = None;
            self.begin_test(now, random, out);
        }
        has_changed
    }

    /// When [`PathMtu::handle_timeout`] is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.remote?;
        match &self.test {
            Some(test) => Some(test.deadline),
            None => self.next_at.into_iter().chain(self.raise_at).min(),
        }
    }

    /// Bytes of the largest UDP payload that passes, as far as is known.
    pub(crate) fn bytes(&self) -> u16 {
        self.current
    }

    /// Whether it is being searched for.
    pub(crate) fn is_searching(&self) -> bool {
        self.search.is_some()
    }

    fn is_active(&self, now: Instant) -> bool {
        self.active_until.is_some_and(|until| now < until)
    }

    fn begin_search(&mut self, now: Instant, low: u16) {
        self.search = Some(Search {
            low,
            high: u32::from(self.bound) + 1,
            was_lossy: false,
        });
        self.test = None;
        self.losses = 0;
        self.voids = 0;
        self.raise_at = None;
        self.next_at = Some(now);
    }

    fn begin_test(&mut self, now: Instant, random: &mut impl Rng, out: &mut Vec<Challenge>) {
        let Some(remote) = self.remote else {
            return;
        };
        let size = match &self.search {
            Some(search) => self.candidate(search, header_bytes(remote)),
            // At the base there is nothing to fall back to.
            None => Some(self.current).filter(|size| *size > PATH_MTU_BYTES_BASE),
        };
        let Some(size) = size else {
            return;
        };
        let mut challenge = |packet_bytes| {
            self.sequence = self.sequence.wrapping_add(1);
            let challenge = Challenge {
                remote,
                sequence: self.sequence,
                token: random.random(),
                packet_bytes,
            };
            out.push(challenge);
            (challenge.sequence, challenge.token)
        };
        // The large one first: on a path that takes it, its answer is here before the link comes up.
        let (large, small) = (challenge(Some(size)), challenge(None));
        let patience = self.rtt.map_or(PATIENCE_UNMEASURED, |rtt| {
            (rtt * 3).clamp(PATIENCE_MIN, PATIENCE_MAX)
        });
        self.test = Some(Test {
            size,
            large,
            small,
            sent_at: now,
            is_small_answered: false,
            deadline: now + patience,
        });
    }

    /// The next size to test; none when the search is at its end.
    fn candidate(&self, search: &Search, header_bytes: u16) -> Option<u16> {
        let low = u32::from(search.low);
        if search.high > u32::from(self.bound) {
            return (search.low < self.bound).then_some(self.bound);
        }
        let known: Vec<u16> = IP_MTUS
            .iter()
            .map(|mtu| mtu - header_bytes)
            .filter(|size| (low + 1..search.high).contains(&u32::from(*size)))
            .collect();
        if let Some(size) = known.get(known.len() / 2) {
            return Some(*size);
        }
        let gap = search.high - low;
        (gap > STEP_BYTES).then_some((low + gap / 2) as u16)
    }

    /// Draws the conclusion from a test. Returns whether the path MTU changed.
    fn judge(&mut self, now: Instant, size: u16, outcome: Outcome, loss_permille: u32) -> bool {
        let before = self.current;
        match outcome {
            Outcome::Passed => {
                self.losses = 0;
                self.voids = 0;
                if let Some(search) = &mut self.search {
                    search.low = search.low.max(size);
                }
                self.go_on(now);
            }
            Outcome::Lost => {
                self.losses += 1;
                if self.losses < self.losses_needed(loss_permille) {
                    self.next_at = Some(now);
                } else if let Some(search) = &mut self.search {
                    search.high = search.high.min(u32::from(size));
                    self.losses = 0;
                    self.go_on(now);
                } else {
                    self.current = PATH_MTU_BYTES_BASE;
                    self.begin_search(now, PATH_MTU_BYTES_BASE);
                }
            }
            Outcome::Void => {
                self.voids = self.voids.saturating_add(1);
                if let Some(search) = &mut self.search {
                    search.was_lossy = true;
                    self.next_at = Some(now + VOID_DELAY * (1 << self.voids.min(VOID_DOUBLINGS)));
                } else {
                    self.next_at = self.is_active(now).then_some(now + CHECK_INTERVAL);
                }
            }
        }
        self.current != before
    }

    /// The next test of a search or its end; else the next check of the size in use.
    fn go_on(&mut self, now: Instant) {
        let header_bytes = self.remote.map_or(0, header_bytes);
        let Some(search) = self.search else {
            self.next_at = self.is_active(now).then_some(now + CHECK_INTERVAL);
            return;
        };
        if self.candidate(&search, header_bytes).is_some() {
            self.next_at = Some(now);
            return;
        }
        self.search = None;
        self.losses = 0;
        self.current = search.low;
        self.found_at = Some(now);
        let raise = if search.was_lossy {
            RAISE_AFTER_LOSS
        } else {
            RAISE_INTERVAL
        };
        self.raise_at = (self.current < self.bound).then_some(now + raise);
        self.next_at = self.is_active(now).then_some(now + CHECK_INTERVAL);
    }

    /// Tests in a row that must lose the large probe alone: on a path that loses a share `p` of round trips, chance does
    /// that to one in `1 / p`, so these come by chance no more often than once in 10,000.
    fn losses_needed(&self, loss_permille: u32) -> u32 {
        let needed = match loss_permille {
            0 => LOSSES_CHECK,
            1..=50 => 3,
            51..=100 => 4,
            101..=250 => 6,
            _ => 8,
        };
        match &self.search {
            // RFC 8899 section 5.1.2: MAX_PROBES is 3.
            Some(search) => needed.max(LOSSES_SEARCH) + u32::from(search.was_lossy),
            None => needed,
        }
    }
}

/// Bytes of IP and UDP header in front of a packet.
fn header_bytes(remote: SocketAddr) -> u16 {
    match remote.ip().to_canonical() {
        std::net::IpAddr::V4(_) => 20 + 8,
        std::net::IpAddr::V6(_) => 40 + 8,
    }
}

/// MTUs that networks have: IPv6's least; tunnels in tunnels; 1,420 WireGuard; 1,450 VXLAN; 1,476 GRE; 1,480 IP in IP;
/// 1,492 PPPoE; Ethernet; RFC 4638; FDDI; 8,951 and 9,001 clouds; jumbo frames; loopback.
const IP_MTUS: [u16; 23] = [
    1280, 1300, 1320, 1340, 1360, 1380, 1400, 1420, 1440, 1450, 1460, 1476, 1480, 1492, 1500, 1600,
    2048, 4352, 8900, 8951, 9000, 9001, 9216,
];
/// The largest payload of an IPv4 datagram: 65,535 less 20 and 8.
const PACKET_BYTES_MAX: u16 = 65_507;
/// A search ends when it is off by no more than this: half a per cent of a packet.
const STEP_BYTES: u32 = 8;
/// Between checks of the size in use while frames flow: every third probe's time (design.md section 4).
const CHECK_INTERVAL: Duration = ACTIVE_INTERVAL.saturating_mul(3);
/// Lost checks, small ones answered, that make a black hole where probes are never lost.
const LOSSES_CHECK: u32 = 2;
const LOSSES_SEARCH: u32 = 3;
/// Waiting for the large probe's answer behind the small one's: packets of one path overtake each other by little.
const GRACE_MIN: Duration = Duration::from_millis(20);
const GRACE_MAX: Duration = Duration::from_millis(500);
/// Waiting for any answer: as long as probes of liveness are given.
const PATIENCE_UNMEASURED: Duration = Duration::from_millis(500);
const PATIENCE_MIN: Duration = Duration::from_millis(100);
const PATIENCE_MAX: Duration = Duration::from_secs(2);
/// After a test without any answer, doubled each time up to 6.4 s.
const VOID_DELAY: Duration = Duration::from_millis(100);
const VOID_DOUBLINGS: u32 = 6;
/// RFC 8899 section 5.1.1: PMTU_RAISE_TIMER is 600 s.
const RAISE_INTERVAL: Duration = Duration::from_secs(600);
/// A search on a path that lost small probes, too, may have stopped too low.
const RAISE_AFTER_LOSS: Duration = Duration::from_secs(60);
/// A packet too big for the path has it searched again, this long after the last search.
const RAISE_DEMANDED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
