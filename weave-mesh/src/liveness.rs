//! Whether UDP passes between two neighbours, measured by probes.
//!
//! ```text
//!            one answer (the first time)
//!   unproven ───────────────────────────► up ◄──────────────────────────┐
//!                                          │ three in a row missed, or    │ five answers in a row,
//!                                          │ the neighbour hears nothing  │ not before the hold-down
//!                                          ▼                              │
//!                                         down ───────────────────────────┘
//! ```
//!
//! A probe is missed when it is unanswered at the next one's time and older than a round trip may
//! take. While frames flow the interval is 150 ms, so a silent cut is noticed 450 to 600 ms after
//! it: three probes must have been sent since, and the last judged. From then on the link's stream carries its
//! frames, if it answers: [`StreamLiveness`].

mod loss;
mod sent;
mod stream;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use self::loss::Loss;
use self::sent::SentProbes;
pub(crate) use self::stream::StreamLiveness;
use crate::probe::{Probe, ProbeKind};

/// Between probes while unicast frames flow. Not jittered: the bound on noticing a cut rests on
/// it, and traffic starts at each link at a time of its own.
pub const ACTIVE_INTERVAL: Duration = Duration::from_millis(150);
/// Between probes otherwise, less up to 10 %: the bound of 4 s on noticing a cut of an idle link rests on it.
pub const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// How long after a frame a link counts as active.
pub const ACTIVE_FOR: Duration = Duration::from_secs(5);
/// Misses in a row that take UDP down.
pub const MISSES_MAX: u32 = 3;
/// Answers in a row that bring it back.
pub const ANSWERS_MIN: u32 = 5;
/// A timer this late says that this router was held up, not the network.
pub(crate) const LATE: Duration = Duration::from_millis(100);

/// Between the first few probes of a link, so that it is usable soon.
const START_INTERVAL: Duration = Duration::from_millis(250);
/// Number of those.
const START_PROBES: u32 = 10;
/// Patience with a probe while no round trip has been measured.
const PATIENCE_UNMEASURED: Duration = Duration::from_millis(500);
/// Least patience: below it timers and scheduling measure themselves.
const PATIENCE_MIN: Duration = Duration::from_millis(50);
/// Most patience: a neighbour further away than this is no use for frames.
const PATIENCE_MAX: Duration = Duration::from_secs(2);
/// A link that went down this soon after it came up flaps.
const FLAP: Duration = Duration::from_secs(30);
/// First and longest hold-down of a flapping link.
const HOLD_MIN: Duration = Duration::from_secs(1);
const HOLD_MAX: Duration = Duration::from_secs(8);
/// Between challenges of addresses that a neighbour seems to have moved to.
const VALIDATION_INTERVAL: Duration = Duration::from_secs(1);

/// Something to send for the liveness of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transmit {
    /// Over UDP, sealed in the neighbour's tunnel.
    Udp(SocketAddr, Probe),
    /// Down the link's stream.
    Stream(Probe),
}

/// State of the UDP carrier of one link.
#[derive(Debug)]
pub(crate) struct Liveness {
    /// Tunnel keys are there, so UDP can be probed.
    is_ready: bool,
    remote: Option<SocketAddr>,
    validation: Option<Validation>,
    sent: SentProbes,
    sequence: u32,
    next_at: Instant,
    /// Probes sent since UDP can be probed.
    probes: u32,
    missed_in_row: u32,
    answered_in_row: u32,
    is_up: bool,
    was_up: bool,
    /// Three in a row were missed, or could not be sent: frames need not wait for UDP.
    is_given_up: bool,
    down_reason: &'static str,
    up_since: Instant,
    hold: Duration,
    hold_until: Instant,
    active_until: Option<Instant>,
    last_heard: Option<Instant>,
    rtt: Option<Duration>,
    rtt_deviation: Duration,
    loss: Loss,
}

/// A challenge to an address that genuine probes began to come from.
#[derive(Debug)]
struct Validation {
    remote: SocketAddr,
    sequence: u32,
    token: u64,
    sent_at: Instant,
}

impl Liveness {
    /// `remote` is known to the dialler only.
    pub(crate) fn new(now: Instant, remote: Option<SocketAddr>) -> Self {
        Self {
            is_ready: false,
            remote,
            validation: None,
            sent: SentProbes::default(),
            sequence: 0,
            next_at: now + IDLE_INTERVAL,
            probes: 0,
            missed_in_row: 0,
            answered_in_row: 0,
            is_up: false,
            was_up: false,
            is_given_up: false,
            down_reason: "waiting for tunnel keys",
            up_since: now,
            hold: Duration::ZERO,
            hold_until: now,
            active_until: None,
            last_heard: None,
            rtt: None,
            rtt_deviation: Duration::ZERO,
            loss: Loss::default(),
        }
    }

    /// Whether tunnel keys are there.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Tunnel keys came or went. Returns whether UDP went down.
    pub(crate) fn handle_ready(&mut self, now: Instant, is_ready: bool) -> bool {
        if is_ready == self.is_ready {
            return false;
        }
        self.is_ready = is_ready;
        self.sent.clear();
        self.missed_in_row = 0;
        self.answered_in_row = 0;
        let was_up = self.is_up;
        self.is_up = false;
        self.was_up = false;
        self.is_given_up = false;
        self.probes = 0;
        if is_ready {
            self.next_at = now;
            self.down_reason = "no probe over UDP was answered yet";
        } else {
            self.down_reason = "waiting for tunnel keys";
        }
        was_up
    }

    /// A stream was dialled to this address: UDP is tried there, too, unless it is up elsewhere.
    pub(crate) fn suggest_remote(&mut self, now: Instant, remote: SocketAddr) {
        if !self.is_up && self.remote != Some(remote) {
            self.remote = Some(remote);
            self.sent.clear();
            self.next_at = self.next_at.min(now);
        }
    }

    /// A unicast frame went to or came from the neighbour.
    pub(crate) fn handle_activity(&mut self, now: Instant) {
        let was_active = self.is_active(now);
        self.active_until = Some(now + ACTIVE_FOR);
        if !was_active && self.is_up {
            self.next_at = self.next_at.min(now);
        }
    }

    /// Something genuine came over UDP.
    pub(crate) fn handle_heard(&mut self, at: Instant) {
        self.last_heard = self.last_heard.max(Some(at));
    }

    /// The neighbour's challenge, already answered. Returns whether UDP's state or address
    /// changed.
    pub(crate) fn handle_challenge(
        &mut self,
        now: Instant,
        from: SocketAddr,
        probe: &Probe,
        random: &mut impl Rng,
        out: &mut Vec<Transmit>,
    ) -> bool {
        self.handle_heard(now);
        if self.remote.is_none() {
            self.remote = Some(from);
            self.next_at = self.next_at.min(now);
            return true;
        }
        self.validate(now, from, random, out);
        if !self.is_up || probe.last_heard_ms == Probe::NEVER_HEARD {
            return false;
        }
        // Probes that the neighbour should have had, and had not when it wrote this.
        let silent_for = Duration::from_millis(u64::from(probe.last_heard_ms));
        let patience = self.patience();
        let unheard = self
            .sent
            .iter()
            .filter(|sent| {
                let age = now.saturating_duration_since(sent.at);
                age >= patience && age < silent_for
            })
            .count();
        if unheard >= MISSES_MAX as usize {
            self.take_down(now, "the neighbour hears nothing of ours over UDP");
            return true;
        }
        false
    }

    /// The neighbour's answer. Returns whether UDP's state or address changed.
    pub(crate) fn handle_answer(&mut self, now: Instant, from: SocketAddr, probe: &Probe) -> bool {
        self.handle_heard(now);
        let mut has_changed = false;
        if let Some(validation) = &self.validation
            && validation.sequence == probe.sequence
            && validation.token == probe.token
        {
            // RFC 9000 section 8.2: only an answer from that very address proves it.
            if validation.remote == from {
                self.remote = Some(from);
                self.sent.clear();
                self.next_at = self.next_at.min(now);
                self.missed_in_row = 0;
                has_changed = true;
            }
            self.validation = None;
            return has_changed;
        }
        let Some(answer) = self.sent.answer(now, probe) else {
            return false;
        };
        self.measure(answer.rtt);
        // Late or not, it proves that both ways passed a moment ago.
        self.missed_in_row = 0;
        if !answer.is_in_time {
            return false;
        }
        self.loss.count(now, false, self.is_up);
        self.answered_in_row = self.answered_in_row.saturating_add(1);
        let answers_min = if self.was_up { ANSWERS_MIN } else { 1 };
        if !self.is_up && self.answered_in_row >= answers_min && now >= self.hold_until {
            self.is_up = true;
            self.was_up = true;
            self.is_given_up = false;
            self.up_since = now;
            // What was lost while UDP was down said that it is down. Left in, it would make the link's cost that of a
            // lossy one, and a direct path that was cut and healed would lose to a detour for half a minute.
            self.loss.forget_down_time();
            if self.is_active(now) {
                self.next_at = self.next_at.min(now + ACTIVE_INTERVAL);
            }
            return true;
        }
        false
    }

    /// Judges and sends probes when due. Returns whether UDP went down.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        random: &mut impl Rng,
        out: &mut Vec<Transmit>,
    ) -> bool {
        if now < self.next_at {
            return false;
        }
        let mut has_changed = false;
        if now > self.next_at + LATE {
            // Answers may wait behind this very turn: nothing is known of those probes.
            self.sent.clear();
        } else {
            has_changed = self.judge(now, out);
        }
        let probe = Probe {
            kind: ProbeKind::Challenge,
            last_heard_ms: self.last_heard_ms(now),
            sequence: self.next_sequence(),
            token: random.next_u64(),
            seen: self.remote,
        };
        if let (true, Some(remote)) = (self.is_ready, self.remote) {
            self.sent.push(now, &probe);
            out.push(Transmit::Udp(remote, probe));
        } else {
            if self.is_ready {
                // As good as missed: the neighbour, who has the address, did not get through either.
                self.miss(1);
            }
            out.push(Transmit::Stream(probe));
        }
        self.probes = self.probes.saturating_add(1);
        self.next_at = now + self.interval(now, random);
        has_changed
    }

    /// When [`Liveness::handle_timeout`] is due.
    pub(crate) fn next_timeout(&self) -> Instant {
        self.next_at
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Whether frames need not wait for UDP: three probes in a row came to nothing.
    pub(crate) fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    pub(crate) fn last_heard(&self) -> Option<Instant> {
        self.last_heard
    }

    pub(crate) fn last_heard_ms(&self, now: Instant) -> u16 {
        Probe::age_ms(self.last_heard.map(|at| now.saturating_duration_since(at)))
    }

    /// Smoothed round trip.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Smoothed share of probes lost, ‰.
    pub(crate) fn loss_permille(&self) -> u32 {
        self.loss.permille()
    }

    /// Whether the path lost so much that others are better, until it was clean for a while.
    pub(crate) fn is_lossy(&self) -> bool {
        self.loss.is_lossy()
    }

    /// What that adds to the link's cost, µs.
    pub(crate) fn loss_cost_us(&self) -> u64 {
        self.loss.cost_us()
    }

    /// Why UDP is down; nothing while it is up.
    pub(crate) fn down_reason(&self) -> Option<&'static str> {
        (!self.is_up).then_some(self.down_reason)
    }

    pub(crate) fn is_active(&self, now: Instant) -> bool {
        self.active_until.is_some_and(|until| now < until)
    }

    fn interval(&self, now: Instant, random: &mut impl Rng) -> Duration {
        if self.is_ready && !self.was_up && self.probes < START_PROBES {
            START_INTERVAL
        } else if self.is_up && self.is_active(now) {
            ACTIVE_INTERVAL
        } else {
            IDLE_INTERVAL * random.random_range(900..=1000) / 1000
        }
    }

    /// RFC 6298 section 2.3, with bounds of our own.
    fn patience(&self) -> Duration {
        self.rtt.map_or(PATIENCE_UNMEASURED, |rtt| {
            (rtt + 4 * self.rtt_deviation).clamp(PATIENCE_MIN, PATIENCE_MAX)
        })
    }

    fn judge(&mut self, now: Instant, out: &mut Vec<Transmit>) -> bool {
        let missed = self.sent.judge(now, self.patience());
        if missed.is_empty() {
            return false;
        }
        let last_heard_ms = self.last_heard_ms(now);
        for sent in &missed {
            self.loss.count(now, true, self.is_up);
            out.push(Transmit::Stream(Probe {
                kind: ProbeKind::Challenge,
                last_heard_ms,
                sequence: sent.sequence,
                token: sent.token,
                seen: self.remote,
            }));
        }
        self.miss(missed.len() as u32);
        if self.is_up && self.missed_in_row >= MISSES_MAX {
            self.take_down(now, "three probes over UDP in a row were not answered");
            return true;
        }
        false
    }

    fn miss(&mut self, count: u32) {
        self.missed_in_row = self.missed_in_row.saturating_add(count);
        self.answered_in_row = 0;
        self.is_given_up |= self.missed_in_row >= MISSES_MAX;
    }

    fn take_down(&mut self, now: Instant, reason: &'static str) {
        self.is_up = false;
        self.is_given_up = true;
        self.down_reason = reason;
        self.answered_in_row = 0;
        let stood_for = now.saturating_duration_since(self.up_since);
        self.hold = hold_down(self.hold, stood_for);
        self.hold_until = now + self.hold;
    }

    fn validate(
        &mut self,
        now: Instant,
        from: SocketAddr,
        random: &mut impl Rng,
        out: &mut Vec<Transmit>,
    ) {
        let is_too_soon = self
            .validation
            .as_ref()
            .is_some_and(|validation| now < validation.sent_at + VALIDATION_INTERVAL);
        if !self.is_ready || self.remote == Some(from) || is_too_soon {
            return;
        }
        let validation = Validation {
            remote: from,
            sequence: self.next_sequence(),
            token: random.next_u64(),
            sent_at: now,
        };
        out.push(Transmit::Udp(
            from,
            Probe {
                kind: ProbeKind::Challenge,
                last_heard_ms: self.last_heard_ms(now),
                sequence: validation.sequence,
                token: validation.token,
                seen: Some(from),
            },
        ));
        self.validation = Some(validation);
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// RFC 6298 section 2: gains of 1/8 and 1/4.
    fn measure(&mut self, sample: Duration) {
        match self.rtt {
            None => {
                self.rtt = Some(sample);
                self.rtt_deviation = sample / 2;
            }
            Some(rtt) => {
                self.rtt_deviation = self.rtt_deviation * 3 / 4 + rtt.abs_diff(sample) / 4;
                self.rtt = Some(rtt * 7 / 8 + sample / 8);
            }
        }
    }
}

/// For how long a carrier stays down at least that stood for so long, after a hold-down of `before`: at once usable
/// again, unless it flaps.
fn hold_down(before: Duration, stood_for: Duration) -> Duration {
    if stood_for < FLAP {
        (before * 2).clamp(HOLD_MIN, HOLD_MAX)
    } else {
        Duration::ZERO
    }
}
