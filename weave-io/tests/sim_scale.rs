//! scratch
use std::time::Duration;
use weave_io::sim::{RouterId, World};

#[test]
fn measure() {
    let var = |name: &str, or: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or);
    let (n, limit, secs) = (var("N", 60), var("LIMIT", 0), var("SECS", 10));
    let mut world = World::new(1);
    world.limit_connections(limit as usize);
    let routers: Vec<RouterId> = (0..n).map(|n| world.add_router(&format!("r{n}"))).collect();
    for (i, r) in routers.iter().enumerate().skip(1) {
        world.connect(*r, routers[i / 2]);
        if i > 4 { world.connect(*r, routers[i / 3]); }
    }
    for second in 0..secs {
        #[allow(clippy::disallowed_methods)]
        let start = std::time::Instant::now();
        world.run_for(Duration::from_secs(1));
        let (mut full, mut links, mut msgs) = (0, 0, 0);
        for r in &routers {
            let s = world.status(*r).unwrap();
            full += usize::from(s.routes.len() == n as usize - 1);
            links += s.connections.len();
            msgs += s.gossip["messages_received"];
        }
        println!("{second}: {:.2?} full {full} links {links} msgs {msgs} events {}", start.elapsed(), world.events());
    }
    println!("hash {:x}", world.trace_hash());
}
