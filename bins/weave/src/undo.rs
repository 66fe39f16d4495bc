//! What to do when a command fails half way: take back, last first, what was done.

use std::fmt;
use std::pin::Pin;

use weave_router::Failure;

use crate::ledger::warn;

/// A stack of steps, each of which takes back something that was done.
///
/// Push a step right after its deed. Then either forget them all with [`Undo::keep`] or run them, the newest first,
/// with [`Undo::back`]. A step is a future, which does nothing until it is run:
///
/// ```ignore
/// netlink.create_veth(host_end, "ethwe", Some(namespace))?;
/// undo.push(async { Ok(netlink.delete_link(host_end).map(drop)?) });
/// ```
#[derive(Default)]
pub(crate) struct Undo<'a> {
    steps: Vec<Step<'a>>,
}

type Step<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

impl<'a> Undo<'a> {
    /// Nothing to take back yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds what takes back the deed just done.
    pub(crate) fn push(&mut self, step: impl Future<Output = Result<(), Failure>> + 'a) {
        self.steps.push(Box::pin(step));
    }

    /// All is well: what was done stays.
    pub(crate) fn keep(mut self) {
        self.steps.clear();
    }

    /// Takes everything back. What fails is told on stderr, and the rest is done all the same: the failure that led
    /// here is the one that the user must hear of.
    pub(crate) async fn back(mut self) {
        while let Some(step) = self.steps.pop() {
            if let Err(failure) = step.await {
                warn(&format!("while taking back what was done: {failure}"));
            }
        }
    }
}

impl fmt::Debug for Undo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Undo({} steps)", self.steps.len())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    #[test]
    fn steps_are_taken_back_last_first_whatever_fails() {
        let log = RefCell::new(Vec::new());
        let mut undo = Undo::new();
        for n in 1..=3 {
            let log = &log;
            undo.push(async move {
                log.borrow_mut().push(n);
                if n == 2 {
                    return Err(Failure::new("two fails", "", ""));
                }
                Ok(())
            });
        }
        assert!(log.borrow().is_empty(), "nothing runs before its time");
        runtime().block_on(undo.back());
        assert_eq!(*log.borrow(), [3, 2, 1]);
    }

    #[test]
    fn what_is_kept_is_not_taken_back() {
        let log = RefCell::new(Vec::new());
        let mut undo = Undo::new();
        undo.push(async {
            log.borrow_mut().push(1);
            Ok(())
        });
        undo.keep();
        assert!(log.borrow().is_empty());
    }
}
