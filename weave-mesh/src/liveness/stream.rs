//! Whether a link's TCP stream can carry frames, measured by probes of its own while UDP does not pass.
//!
//! ```text
//!              UDP went down: were its probes,          three of its own in a row missed
//!              repeated down the stream, answered?     ┌──────────────────────────────┐
//!             ┌─────────────── yes ──────────────────► up                             ▼
//!   resting ──┤                                        ▲                            down
//!      ▲      └─────────────── no ─────────────────────┼──────────────────────────────►
//!      └── UDP is up again                             └── one answer in time, not before the hold-down
//! ```
//!
//! Resting, it sends nothing: the probes that were missed over UDP are repeated down the stream, so that there is
//! an answer at hand when it is to take over.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use super::sent::SentProbes;
use super::{ACTIVE_INTERVAL, IDLE_INTERVAL, LATE, MISSES_MAX, PATIENCE_MAX, hold_down};
use crate::probe::{Probe, ProbeKind};

/// Least patience with a probe on the stream: one segment may be lost and sent again, which takes TCP 200 ms and a
/// round trip (Linux's least retransmission time-out).
const PATIENCE_MIN: Duration = Duration::from_millis(400);
/// Repeated probes that count when the stream is to take over: the last, and the last but one, of those that had
/// an interval's time to be answered.
const EVIDENCE: usize = 2;
/// Answers to older ones prove nothing: two of the longest intervals, and what a timer is late.
const EVIDENCE_AGE_MAX: Duration = Duration::from_millis(2_200);

/// State of the TCP carrier of one link.
#[derive(Debug, Default)]
pub(crate) struct StreamLiveness {
    sent: SentProbes,
    sequence: u32,
    /// When the next probe is due; none while it rests.
    next_at: Option<Instant>,
    is_up: bool,
    up_since: Option<Instant>,
    missed_in_row: u32,
    hold: Duration,
    hold_until: Option<Instant>,
    rtt: Option<Duration>,
}

impl StreamLiveness {
    /// A probe that was missed over UDP goes down the stream.
    pub(crate) fn handle_repeated(&mut self, now: Instant, probe: &Probe) {
        self.sent.push(now, probe);
    }

    /// UDP does not pass: the stream carries frames from now on, if it answers.
    pub(crate) fn begin(&mut self, now: Instant) {
        if self.next_at.is_some() {
            return;
        }
        // The one repeated just now can't be answered yet.
        let had_time = self
            .sent
            .iter()
            .rev()
            .filter(|sent| sent.at < now && now < sent.at + EVIDENCE_AGE_MAX);
        let is_answered = had_time.take(EVIDENCE).any(|sent| sent.is_answered);
        self.missed_in_row = 0;
        if is_answered {
            self.set_up(now);
        }
        let is_asked = self
            .sent
            .iter()
            .next_back()
            .is_some_and(|sent| sent.at == now);
        self.next_at = Some(if is_asked { now + ACTIVE_INTERVAL } else { now });
    }

    /// UDP passes, or there is nothing to carry: the stream rests.
    pub(crate) fn end(&mut self) {
        if self.next_at.take().is_some() {
            self.is_up = false;
            self.sent.clear();
        }
    }

    /// Another connection is the link's stream: what was asked on the old one is not answered any more.
    pub(crate) fn handle_moved(&mut self, now: Instant) {
        self.sent.clear();
        self.missed_in_row = 0;
        self.next_at = self.next_at.map(|at| at.min(now));
    }

    /// The neighbour's answer.
    pub(crate) fn handle_answer(&mut self, now: Instant, probe: &Probe) {
        let Some(answer) = self.sent.answer(now, probe) else {
            return;
        };
        let sample = answer.rtt;
        // RFC 6298 section 2: a gain of 1/8.
        self.rtt = Some(self.rtt.map_or(sample, |rtt| rtt * 7 / 8 + sample / 8));
        self.missed_in_row = 0;
        let is_held = self.hold_until.is_some_and(|until| now < until);
        if self.next_at.is_some() && answer.is_in_time && !self.is_up && !is_held {
            self.set_up(now);
        }
    }

    /// A frame goes to or comes from the neighbour after a time without: the next probe is due at once.
    pub(crate) fn hurry(&mut self, now: Instant) {
        if self.is_up {
            self.next_at = self.next_at.map(|at| at.min(now));
        }
    }

    /// Judges probes and gives the next one, if it is due. `is_active`: frames flow.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        is_active: bool,
        last_heard_ms: u16,
        random: &mut impl Rng,
    ) -> Option<Probe> {
        let due = self.next_at.filter(|at| *at <= now)?;
        if now > due + LATE {
            // Answers may wait behind this very turn: nothing is known of those probes.
            self.sent.clear();
        } else {
            self.judge(now);
        }
        self.sequence = self.sequence.wrapping_add(1);
        let probe = Probe {
            kind: ProbeKind::Challenge,
            last_heard_ms,
            sequence: self.sequence,
            token: random.next_u64(),
            seen: None,
        };
        self.sent.push(now, &probe);
        let interval = if self.is_up && is_active {
            ACTIVE_INTERVAL
        } else {
            IDLE_INTERVAL * random.random_range(900..=1000) / 1000
        };
        self.next_at = Some(now + interval);
        Some(probe)
    }

    /// When [`StreamLiveness::handle_timeout`] is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.next_at
    }

    /// Whether it probes, since UDP does not pass.
    pub(crate) fn is_needed(&self) -> bool {
        self.next_at.is_some()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Smoothed round trip, once measured.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    fn set_up(&mut self, now: Instant) {
        self.is_up = true;
        self.up_since = Some(now);
    }

    fn judge(&mut self, now: Instant) {
        let patience = self.rtt.map_or(PATIENCE_MIN, |rtt| {
            (rtt * 2).clamp(PATIENCE_MIN, PATIENCE_MAX)
        });
        self.missed_in_row += self.sent.judge(now, patience).len() as u32;
        if self.is_up && self.missed_in_row >= MISSES_MAX {
            self.take_down(now);
        }
    }

    fn take_down(&mut self, now: Instant) {
        self.is_up = false;
        let stood_for = self
            .up_since
            .map_or(Duration::MAX, |since| now.saturating_duration_since(since));
        self.hold = hold_down(self.hold, stood_for);
        self.hold_until = Some(now + self.hold);
    }
}

#[cfg(test)]
mod tests;
