//! Networks that several tests start from, and what a router says of its own.

use std::thread;
use std::time::Duration;

use weave_core::Status;

use super::{Engine, Host, Lab, within};

/// Two hosts whose routers are linked, and on each a container that reaches the other: at 10.0.1.1 and 10.0.1.2.
pub(crate) struct Pair {
    /// Its container is `one`.
    pub(crate) a: Host,
    /// Its container is `other`.
    pub(crate) b: Host,
}

impl Lab {
    /// Two hosts as in the example of the README, but for their containers' command.
    pub(crate) fn pair(&mut self) -> Pair {
        let [a, b] = self.docker_hosts(["a", "b"]);
        thread::scope(|scope| {
            scope.spawn(|| {
                a.weave(&["launch", "10.0.0.1/16"]).ok();
                a.weave(&["run", "10.0.1.1/24", "--name", "one", "bb", "idle"])
                    .ok();
            });
            scope.spawn(|| {
                b.weave(&["launch", "10.0.0.2/16", &a.address()]).ok();
                b.weave(&["run", "10.0.1.2/24", "--name", "other", "bb", "idle"])
                    .ok();
            });
        });
        a.container("one").must_reach("10.0.1.2", LINK_TIME_MAX);
        Pair { a, b }
    }
}

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

    /// Waits until frames for a router of this nickname go straight there.
    pub(crate) fn await_direct(&self, other: &str) {
        self.await_status(&format!("a direct path to {other}"), |status| {
            let peer = status.peers.iter().find(|peer| peer.nickname == other);
            let name = peer.map(|peer| peer.name.as_str());
            status.routes.iter().any(|route| {
                Some(route.destination.as_str()) == name && route.direct && route.tunnel
            })
        });
    }

    /// The process of the router's container, as the host numbers it.
    pub(crate) fn router_pid(&self) -> String {
        assert_eq!(self.engine, Engine::Docker);
        self.docker(&["inspect", "--format", "{{.State.Pid}}", "weave"])
            .id()
    }
}

/// Routers find each other in a second, and a loaded machine may be slow.
pub(crate) const LINK_TIME_MAX: Duration = Duration::from_secs(10);
