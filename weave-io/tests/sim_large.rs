//! Two hundred routers that are told of one or two others each.

use std::collections::BTreeSet;
use std::time::Duration;

use weave_core::Config;
use weave_io::sim::{Dice, RouterId, World};

const ROUTERS: usize = 200;

#[test]
fn two_hundred_routers_find_routes_to_each_other_within_their_limits() {
    let mut world = World::new(200);
    let limit = Config::new("", "").mesh.conn_limit;
    world.limit_connections(limit);
    let routers: Vec<RouterId> = (0..ROUTERS)
        .map(|number| world.add_router(&format!("r{number}")))
        .collect();
    // A tree by chance, so that everybody hears of everybody, and a quarter as many ways across it.
    let mut dice = Dice::new(200);
    for (index, router) in routers.iter().enumerate().skip(1) {
        world.connect(*router, routers[dice.index(index)]);
    }
    for _ in 0..ROUTERS / 4 {
        let (a, b) = (dice.index(ROUTERS), dice.index(ROUTERS));
        if a != b {
            world.connect(routers[a], routers[b]);
        }
    }
    let first = world.add_host(routers[0], "10.0.0.1/24");
    let last = world.add_host(routers[ROUTERS - 1], "10.0.0.2/24");

    let is_converged = |world: &World| {
        let is_complete = |router: &RouterId| {
            let routes = world.status(*router).unwrap().routes;
            let names: BTreeSet<&str> = routes
                .iter()
                .map(|route| route.destination.as_str())
                .collect();
            names.len() == ROUTERS - 1
        };
        routers.iter().all(is_complete)
    };
    let mut seconds = 0;
    while !is_converged(&world) {
        assert!(seconds < 10, "no routes to all others after {seconds} s");
        world.run_for(Duration::from_secs(1));
        seconds += 1;
    }
    let rtt = world.ping(first, last);
    assert!(rtt.is_some(), "no answer");
    world.run_for(Duration::from_secs(2));
    assert!(is_converged(&world), "routes come and stay");

    let mut links = Vec::new();
    for router in &routers {
        let status = world.status(*router).unwrap();
        assert!(!status.connections.is_empty());
        // Those who are dialled by more than they would dial themselves take eight more (docs/protocol.md, INBOUND_EXTRA).
        assert!(
            status.connections.len() <= limit + 8,
            "{} links",
            status.connections.len()
        );
        links.push(status.connections.len());
    }
    world.assert_clean();
    eprintln!(
        "routes to all after {seconds} s, ping {rtt:?}, {} to {} links each, {} events",
        links.iter().min().unwrap(),
        links.iter().max().unwrap(),
        world.events(),
    );
}
