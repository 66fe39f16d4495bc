//! Notices on their way from workers to the control plane.

use std::sync::{Mutex, MutexGuard, PoisonError};

use weave_core::{Notice, Notices};

use crate::wake::Wake;

/// A bounded queue of notices: probes and all others are bounded apart, and what does not fit is counted and
/// lost. Each side takes the lock once for a batch.
#[derive(Debug, Default)]
pub struct NoticeQueue {
    notices: Mutex<Notices>,
    wake: Wake,
}

impl NoticeQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `wake` after each batch that a worker adds. The first call stays.
    pub fn on_notices(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.wake.set(wake);
    }

    /// Moves all of a worker's notices into the queue.
    pub fn push_all(&self, from: &mut Notices) {
        if from.is_empty() {
            return;
        }
        {
            let mut notices = self.lock();
            while let Some(notice) = from.pop() {
                notices.push(notice);
            }
        }
        self.wake.wake();
    }

    /// Appends all that wait to `into`: probes first.
    pub fn take_all(&self, into: &mut Vec<Notice>) {
        let mut notices = self.lock();
        into.extend(std::iter::from_fn(|| notices.pop()));
    }

    /// Notices that found the queue full, since the start.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped()
    }

    /// A panic elsewhere leaves the queue whole: nothing in here panics half-way.
    fn lock(&self) -> MutexGuard<'_, Notices> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use weave_core::Site;

    use super::*;

    #[test]
    fn a_batch_wakes_once_and_arrives_whole() {
        let queue = NoticeQueue::new();
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        queue.on_notices(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let mut batch = Notices::new();
        queue.push_all(&mut batch);
        assert_eq!(woken.load(Ordering::Relaxed), 0, "nothing, nobody woken");
        batch.push(active(1));
        batch.push(active(2));
        queue.push_all(&mut batch);
        assert!(batch.is_empty());
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        let mut taken = Vec::new();
        queue.take_all(&mut taken);
        assert_eq!(taken, [active(1), active(2)]);
    }

    #[test]
    fn a_full_queue_loses_and_counts() {
        let queue = NoticeQueue::new();
        for site in 0..2 {
            let mut batch = Notices::new();
            for _ in 0..Notices::OTHERS_MAX {
                batch.push(active(site));
            }
            queue.push_all(&mut batch);
        }
        let mut taken = Vec::new();
        queue.take_all(&mut taken);
        assert_eq!(taken.len(), Notices::OTHERS_MAX);
        assert_eq!(queue.dropped(), Notices::OTHERS_MAX as u64);
    }

    fn active(site: u16) -> Notice {
        Notice::Active { site: Site(site) }
    }
}
