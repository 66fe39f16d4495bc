//! A call that wakes somebody, set once by whoever sleeps.

use std::fmt;
use std::sync::OnceLock;

/// Does nothing until a call is set: whoever polls, as the simulator does, sets none.
#[derive(Default)]
pub(crate) struct Wake {
    call: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Wake {
    /// Sets the call. The first one stays.
    pub(crate) fn set(&self, call: impl Fn() + Send + Sync + 'static) {
        let _: Result<(), _> = self.call.set(Box::new(call));
    }

    pub(crate) fn wake(&self) {
        if let Some(call) = self.call.get() {
            call();
        }
    }
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wake")
            .field("is_set", &self.call.get().is_some())
            .finish()
    }
}
