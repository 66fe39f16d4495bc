//! The simulator: two routers behind NAT boxes, with a container each, meet at a third in the open. It relays their
//! frames until they find the direct path between the boxes; then the boxes forget, as when they restart, and it
//! is found again. The same with boxes that give each destination a port of its own ("symmetric"): nobody can tell
//! the other where to send, the relay goes on, and `status` says why.
//!
//! Everything follows from the seed: `cargo run -p weave-examples --example nat -- 7`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use weave_io::sim::{Conditions, Fault, HostId, NatKind, RouterId, World};

fn main() {
    let seed = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    println!("left and right are behind home routers (endpoint-independent mapping):");
    let mut story = Story::new(seed, NatKind::MASQUERADE);
    story.until_direct(Duration::from_secs(10));
    let rebound = story.world.now();
    story.world.apply(&Fault::NatRebind(story.left));
    story.world.apply(&Fault::NatRebind(story.right));
    story.tell();
    story.world.run_for(Duration::from_secs(2));
    story.until_direct(Duration::from_secs(20));
    let took = story.world.now() - rebound;
    println!(
        "  direct again {:.1} s after the boxes forgot",
        took.as_secs_f64()
    );

    println!("\nthe same behind boxes with a port for each destination:");
    let mut story = Story::new(seed, NatKind::SYMMETRIC);
    story.world.run_for(Duration::from_secs(8));
    story.tell();
    story.ping();
    assert!(!story.is_direct(), "there is no way in");
    println!(
        "  status of left: {}",
        story.route().direct_path.unwrap_or_default()
    );
    println!("seed {seed}, trace {:016x}", story.world.trace_hash());
}

/// A world, and how much of its log is told.
struct Story {
    world: World,
    left: RouterId,
    right: RouterId,
    hosts: [HostId; 2],
    told: usize,
}

impl Story {
    /// Left and right know of the router in the open only, which is 20 ms from both; they are 5 ms from each other.
    fn new(seed: u64, kind: NatKind) -> Self {
        let mut world = World::new(seed);
        let open = world.add_router("open");
        let nats = [world.add_nat(kind), world.add_nat(kind)];
        let left = world.add_router_behind("left", nats[0]);
        let right = world.add_router_behind("right", nats[1]);
        for (a, b, latency_ms) in [(open, left, 20), (open, right, 20), (left, right, 5)] {
            let latency = Duration::from_millis(latency_ms);
            world.set_conditions(
                a,
                b,
                Conditions {
                    latency,
                    ..Conditions::LOCAL
                },
            );
        }
        let hosts = [
            world.add_host(left, "10.32.0.1/24"),
            world.add_host(right, "10.32.0.2/24"),
        ];
        world.connect(left, open);
        world.connect(right, open);
        world.run_for(Duration::from_secs(2));
        let mut story = Self {
            world,
            left,
            right,
            hosts,
            told: 0,
        };
        story.tell();
        story.ping();
        // Frames that keep going by a relay are what a direct path is sought for.
        story
            .world
            .watch(hosts[0], hosts[1], Duration::from_millis(200));
        story
    }

    fn until_direct(&mut self, within: Duration) {
        let end = self.world.now() + within;
        while !self.is_direct() && self.world.now() < end {
            self.world.run_for(Duration::from_millis(100));
        }
        assert!(self.is_direct(), "not found within {within:?}");
        self.tell();
        self.ping();
    }

    fn route(&self) -> weave_core::RouteStatus {
        let status = self.world.status(self.left).expect("left runs");
        let mut routes = status.routes.into_iter();
        routes
            .find(|route| route.destination == "right")
            .expect("a route to right")
    }

    fn is_direct(&self) -> bool {
        self.route().direct_remote.is_some()
    }

    /// Prints what routers logged since it was told last, with virtual time and the router's number.
    fn tell(&mut self) {
        let lines: Vec<&str> = self.world.log().skip(self.told).collect();
        for line in &lines {
            println!("  {line}");
        }
        self.told += lines.len();
    }

    fn ping(&mut self) {
        let [from, to] = self.hosts;
        // The first asks for the address.
        let took = self
            .world
            .ping(from, to)
            .and_then(|_| self.world.ping(from, to));
        let took = took.expect("right answers").as_micros();
        let by = match self.route().direct_remote {
            Some(remote) => format!("directly, at {remote}"),
            None => format!("by {}", self.route().next_hop),
        };
        println!("  right answers left in {took} µs {by}");
    }
}
