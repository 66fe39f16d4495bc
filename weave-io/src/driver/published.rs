//! The forwarding snapshot on its way from the control plane to workers.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use weave_core::Fib;

use crate::wake::Wake;

/// The newest forwarding snapshot: the control plane stores, workers load it after each time that they received.
#[derive(Debug)]
pub struct Published {
    fib: Arc<ArcSwap<Fib>>,
    wake: Wake,
}

impl Published {
    /// Starts with `fib`, usually an empty one.
    pub fn new(fib: Arc<Fib>) -> Self {
        Self {
            fib: Arc::new(ArcSwap::new(fib)),
            wake: Wake::default(),
        }
    }

    /// Calls `wake` after each new snapshot, which may release frames that wait in a worker. The first call
    /// stays.
    pub fn on_store(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.wake.set(wake);
    }

    /// Replaces the snapshot.
    pub fn store(&self, fib: Arc<Fib>) {
        self.fib.store(fib);
        self.wake.wake();
    }

    /// The newest snapshot.
    pub fn load(&self) -> Arc<Fib> {
        self.fib.load_full()
    }

    /// A worker's view, which costs one atomic load as long as nothing changed.
    pub(super) fn cache(&self) -> FibCache {
        FibCache(Cache::new(Arc::clone(&self.fib)))
    }
}

#[derive(Debug)]
pub(super) struct FibCache(Cache<Arc<ArcSwap<Fib>>, Arc<Fib>>);

impl FibCache {
    /// The newest snapshot.
    pub(super) fn load(&mut self) -> &Arc<Fib> {
        self.0.load()
    }
}
