//! Packets for neighbours' streams on their way from workers to the control plane.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weave_core::Streamed;

use crate::wake::Wake;

/// The packets of links whose UDP does not pass; for each neighbour bounded, and none older than 50 ms. Each side
/// takes the lock once for a batch.
#[derive(Debug, Default)]
pub struct StreamQueue {
    streamed: Mutex<Streamed>,
    dropped: AtomicU64,
    wake: Wake,
}

impl StreamQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `wake` after each batch that a worker adds. The first call stays.
    pub fn on_packets(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.wake.set(wake);
    }

    /// Moves all of a worker's packets into the queue.
    pub fn push_all(&self, from: &mut Streamed) {
        if from.is_empty() {
            return;
        }
        self.lock().append(from);
        self.wake.wake();
    }

    /// Moves all that wait, and the count of those dropped on the way, into `into`.
    pub fn take_all(&self, into: &mut Streamed) {
        into.append(&mut self.lock());
    }

    /// Tells the workers, who show all drops, how many the control plane knows of.
    pub fn set_dropped(&self, dropped: u64) {
        self.dropped.store(dropped, Ordering::Relaxed);
    }

    /// Packets dropped on the way to streams since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A panic elsewhere leaves the queue whole: nothing in here panics half-way.
    fn lock(&self) -> MutexGuard<'_, Streamed> {
        self.streamed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
