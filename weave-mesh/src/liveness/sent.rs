//! The probes that one carrier was asked with, and what became of each.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::probe::Probe;

/// Probes remembered: more than are sent within the longest patience (2 s) at the shortest interval (150 ms).
const SENT_MAX: usize = 16;

/// Probes sent lately, the newest last; of too many the oldest are forgotten.
#[derive(Debug, Default)]
pub(super) struct SentProbes {
    probes: VecDeque<Sent>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) sequence: u32,
    pub(super) token: u64,
    pub(super) at: Instant,
    pub(super) is_answered: bool,
    /// It was taken for missed.
    is_judged: bool,
}

/// The first answer to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// How long it took.
    pub(super) rtt: Duration,
    /// Whether the probe was not taken for missed before.
    pub(super) is_in_time: bool,
}

impl SentProbes {
    /// A probe is sent.
    pub(super) fn push(&mut self, now: Instant, probe: &Probe) {
        if self.probes.len() == SENT_MAX {
            self.probes.pop_front();
        }
        self.probes.push_back(Sent {
            sequence: probe.sequence,
            token: probe.token,
            at: now,
            is_answered: false,
            is_judged: false,
        });
    }

    /// An answer came. None if it is not to a probe remembered, or not the first.
    pub(super) fn answer(&mut self, now: Instant, probe: &Probe) -> Option<Answer> {
        let asked = |sent: &&mut Sent| (sent.sequence, sent.token) == (probe.sequence, probe.token);
        let sent = self.probes.iter_mut().find(asked)?;
        if std::mem::replace(&mut sent.is_answered, true) {
            return None;
        }
        Some(Answer {
            rtt: now.saturating_duration_since(sent.at),
            is_in_time: !sent.is_judged,
        })
    }

    /// Takes probes that are unanswered for so long for missed, and gives those that were not before.
    pub(super) fn judge(&mut self, now: Instant, patience: Duration) -> Vec<Sent> {
        let mut missed = Vec::new();
        for sent in &mut self.probes {
            let is_due = now.saturating_duration_since(sent.at) >= patience;
            if is_due && !sent.is_answered && !std::mem::replace(&mut sent.is_judged, true) {
                missed.push(*sent);
            }
        }
        missed
    }

    /// Forgets all: nothing is known of them.
    pub(super) fn clear(&mut self) {
        self.probes.clear();
    }

    /// All that are remembered, the oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Sent> {
        self.probes.iter()
    }
}
