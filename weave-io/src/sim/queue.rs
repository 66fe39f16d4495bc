//! The one queue of a world's events, ordered by virtual time and, within one moment, by when they were put in.

use std::collections::BTreeMap;
use std::time::Duration;

/// Events by time; equal times are first in, first out, so that a run depends on nothing but its seed.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    events: BTreeMap<(Duration, u64), E>,
    next: u64,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self {
            events: BTreeMap::new(),
            next: 0,
        }
    }

    /// Adds an event. A time in the past means at once.
    pub(crate) fn schedule(&mut self, at: Duration, event: E) {
        self.events.insert((at, self.next), event);
        self.next += 1;
    }

    /// Takes the next event that is due at `until` at the latest.
    pub(crate) fn pop(&mut self, until: Duration) -> Option<(Duration, E)> {
        let first = self.events.first_entry()?;
        if first.key().0 > until {
            return None;
        }
        let ((at, _), event) = first.remove_entry();
        Some((at, event))
    }

    /// Events that wait.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_order_of_entry() {
        let mut queue = Queue::new();
        let ms = Duration::from_millis;
        for (at, event) in [(2, 'c'), (1, 'a'), (2, 'd'), (1, 'b'), (3, 'e')] {
            queue.schedule(ms(at), event);
        }
        let taken: String = std::iter::from_fn(|| queue.pop(ms(2)))
            .map(|(_, event)| event)
            .collect();
        assert_eq!(taken, "abcd");
        assert_eq!(queue.len(), 1);
    }
}
