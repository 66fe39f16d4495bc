//! The parts of `weave-core` that need no router: a MAC table and routes over a graph of one's own.
//!
//! Run with `cargo run -p weave-examples --example embed_switch`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::{Duration, Instant};

use weave_core::{EthernetAddress, Learned, MacTable, PathTree, ReportedLink, Site, Topology};
use weave_crypto::PeerId;

fn main() {
    // A switch: which site does this address live at?
    let start = Instant::now();
    let macs = MacTable::new(1024, start, 42);
    let laptop = EthernetAddress([0x02, 0, 0, 0, 0, 1]);
    assert_eq!(macs.learn(start, laptop, Site(1)), Learned::New);
    println!(
        "{laptop} lives at site {}",
        macs.lookup(laptop).expect("just learned").0
    );

    // It moves: the newest frame decides.
    let moved = macs.learn(start + Duration::from_secs(1), laptop, Site(2));
    println!("after a frame from another site: {moved:?}");

    // Routes: three routers in a line, and a direct link that costs more than the way around.
    let [a, b, c] = [1, 2, 3].map(|n| PeerId::from_bytes([n; 32]));
    let link = |neighbour, cost_us| ReportedLink {
        neighbour,
        cost_us,
        path_mtu_bytes: 1500,
    };
    let topology = Topology::new([
        (a, vec![link(b, 1_000), link(c, 9_000)]),
        (b, vec![link(a, 1_000), link(c, 1_200)]),
        (c, vec![link(a, 9_000), link(b, 1_200)]),
    ]);
    let from_a = PathTree::new(&topology, topology.number(&a).expect("a reports"));
    let to_c = from_a
        .node(topology.number(&c).expect("c reports"))
        .expect("a path leads there");
    println!(
        "a reaches c in {} hops at {} µs, first through {}",
        to_c.hops,
        to_c.cost_us,
        if topology.routers()[to_c.first_hop] == b {
            "b"
        } else {
            "c"
        }
    );
    assert_eq!((to_c.hops, to_c.cost_us), (2, 2_200));
}
