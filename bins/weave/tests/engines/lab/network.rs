//! What a router says of itself.

use std::time::Duration;

use weave_core::Status;

use super::{Host, within};

impl Host {
    /// What the router says of itself, or `None` while it does not answer.
    pub(crate) fn status(&self) -> Option<Status> {
        let said = self.weave(&["status", "--json"]);
        serde_json::from_str(&said.stdout).ok()
    }

    /// Waits until the router's status is as wanted; how long that took.
    pub(crate) fn await_status(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Duration {
        let what = format!("{}: {what}", self.address());
        let (_, took) = within(LINK_TIME_MAX, &what, || {
            self.status().filter(|status| wanted(status))
        });
        took
    }
}

/// Routers find each other in a second, and a loaded machine may be slow.
const LINK_TIME_MAX: Duration = Duration::from_secs(10);
