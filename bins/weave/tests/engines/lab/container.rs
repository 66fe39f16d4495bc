//! A container's network, for what is done there from outside of it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use weave_io::host::NetNs;

use super::ping::Pinger;

/// The network of a container, or of anything else that pings. It stays that of the container that was looked up: after
/// a restart, look it up again.
#[derive(Debug)]
pub(crate) struct Container {
    name: String,
    namespace: NetNs,
}

impl Container {
    pub(super) fn new(name: &str, namespace: NetNs) -> Self {
        Self {
            name: name.to_owned(),
            namespace,
        }
    }

    /// Where it is.
    pub(crate) fn namespace(&self) -> &NetNs {
        &self.namespace
    }

    /// Pings until an answer comes; how long that took, or `None` if none came in that time.
    pub(crate) fn reaches(&self, address: &str, limit: Duration) -> Option<Duration> {
        let address: IpAddr = address.parse().expect("a constant");
        let start = Instant::now();
        let pinger = Pinger::start(self, address, b"");
        let answered = pinger.answered_after(start, limit);
        answered.map(|at| at.duration_since(start))
    }

    /// Fails unless an answer comes in that time; how long it took.
    #[track_caller]
    pub(crate) fn must_reach(&self, address: &str, limit: Duration) -> Duration {
        self.reaches(address, limit).unwrap_or_else(|| {
            panic!(
                "{} got no answer from {address} within {limit:?}",
                self.name
            )
        })
    }
}
