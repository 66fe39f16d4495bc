//! Networks that several tests set up alike: two hosts, three in a line, and all linked with all.

use super::super::basics::LINK_TIME_MAX;
use super::{Container, Host, Lab};

/// Two linked hosts, and a container on each.
pub(crate) struct Pair {
    pub(crate) one: Container,
    pub(crate) other: Container,
    pub(crate) a: Host,
    pub(crate) b: Host,
}

/// Three hosts in a line, and a container at each end.
pub(crate) struct Line {
    pub(crate) one: Container,
    pub(crate) other: Container,
    pub(crate) a: Host,
    pub(crate) b: Host,
    pub(crate) c: Host,
}

/// Hosts a, b, c, … that are all linked, and a container on each.
pub(crate) struct FullMesh {
    pub(crate) containers: Vec<Container>,
    pub(crate) hosts: Vec<Host>,
}

impl Lab {
    /// Hosts a, whose router gets these flags besides, and b, which dials it; once their containers reach each other,
    /// at 10.32.1.1 and fd00:32::1, and at 10.32.1.2 and fd00:32::2.
    pub(crate) fn pair(&mut self, flags: &[&str]) -> Pair {
        let (mut a, mut b) = (self.host("a"), self.host("b"));
        a.start_with(flags, &[]);
        b.start(&[a.address()]);
        let one = a.container(&["10.32.1.1/24", "fd00:32::1/64"]);
        let other = b.container(&["10.32.1.2/24", "fd00:32::2/64"]);
        one.must_reach(&other, LINK_TIME_MAX);
        Pair { one, other, a, b }
    }

    /// Hosts a, b and c, whose routers all get these flags, with a and c cut off from each other; once the containers
    /// at the ends have found the way over b, at 10.32.1.1 and 10.32.1.2.
    pub(crate) fn line(&mut self, flags: &[&str]) -> Line {
        let (mut a, mut b, mut c) = (self.host("a"), self.host("b"), self.host("c"));
        self.cut(&a, &c);
        b.start_with(flags, &[]);
        a.start_with(flags, &[b.address()]);
        c.start_with(flags, &[b.address()]);
        let one = a.container(&["10.32.1.1/24"]);
        let other = c.container(&["10.32.1.2/24"]);
        // A flood may find its way before the routes do.
        for (host, far) in [(&a, "c"), (&c, "a")] {
            host.await_status(LINK_TIME_MAX, "a route over b", |status| {
                status.routes.iter().any(|route| route.destination == far)
            });
        }
        one.must_reach(&other, LINK_TIME_MAX);
        Line {
            one,
            other,
            a,
            b,
            c,
        }
    }

    /// So many hosts, each told of those before it; once all links stand.
    pub(crate) fn full_mesh(&mut self, count: usize) -> FullMesh {
        let names = ('a'..='z').take(count);
        let mut hosts: Vec<Host> = names.map(|name| self.host(&name.to_string())).collect();
        let addresses: Vec<_> = hosts.iter().map(Host::address).collect();
        for (number, host) in hosts.iter_mut().enumerate() {
            host.start(&addresses[..number]);
        }
        let containers: Vec<Container> = hosts
            .iter_mut()
            .zip(1..)
            .map(|(host, number)| host.container(&[&format!("10.32.1.{number}/24")]))
            .collect();
        containers[0].must_reach(&containers[1], LINK_TIME_MAX);
        for (host, others) in with_others(&hosts) {
            host.await_links(LINK_TIME_MAX, &others);
        }
        FullMesh { containers, hosts }
    }
}

/// Each host, and all but it.
pub(crate) fn with_others(hosts: &[Host]) -> impl Iterator<Item = (&Host, Vec<&Host>)> {
    hosts.iter().map(|host| {
        let others = hosts.iter().filter(|other| other.name() != host.name());
        (host, others.collect())
    })
}
