//! A worker's counters on their way to status.

use std::sync::{Mutex, PoisonError};

use weave_core::ForwardStats;

/// Counters as they stood at the end of the worker's last turn. Both sides copy a few hundred bytes under a
/// short lock.
#[derive(Debug, Default)]
pub struct SharedStats {
    stats: Mutex<ForwardStats>,
}

impl SharedStats {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the counters.
    pub fn store(&self, stats: &ForwardStats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = *stats;
    }

    /// The counters.
    pub fn load(&self) -> ForwardStats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
