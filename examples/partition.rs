//! The simulator: four routers in a square, a container behind each; the network splits, both halves go on, it heals.
//!
//! Everything follows from the seed: `cargo run -p weave-examples --example partition -- 7` prints the same story,
//! to the microsecond, on every machine. Another seed is another story.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use weave_io::sim::{HostId, RouterId, World};

fn main() {
    let seed = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let mut world = World::new(seed);
    let routers = ["a", "b", "c", "d"].map(|name| world.add_router(name));
    let [a, b, c, d] = routers;
    let mut number = 0;
    let hosts = routers.map(|router| {
        number += 1;
        world.add_host(router, &format!("10.32.0.{number}/24"))
    });
    // Each is told one neighbour; the rest they find.
    world.connect(b, a);
    world.connect(c, b);
    world.connect(d, c);
    world.run_for(Duration::from_secs(5));
    story(
        &mut world,
        "told one neighbour each, five seconds later",
        &hosts,
    );

    let halves = [(a, c), (a, d), (b, c), (b, d)];
    cut(&mut world, &halves);
    world.run_for(Duration::from_secs(10));
    story(&mut world, "cut into {a, b} and {c, d}", &hosts);

    for (left, right) in halves {
        world.heal(left, right);
    }
    let healed = world.now();
    let together = world.run_while_not(Duration::from_secs(30), |world| {
        halves
            .iter()
            .all(|(left, right)| world.route_of(*left, *right).is_some())
    });
    assert!(together, "both halves find each other again");
    let took = world.now() - healed;
    println!(
        "healed: routes between the halves stand again after {} ms",
        took.as_millis()
    );
    story(&mut world, "after the healing", &hosts);
    println!(
        "seed {seed}, {} events, trace {:016x}",
        world.events(),
        world.trace_hash()
    );
}

fn cut(world: &mut World, pairs: &[(RouterId, RouterId)]) {
    for (left, right) in pairs {
        world.cut(*left, *right);
    }
}

/// Who answers whom.
fn story(world: &mut World, title: &str, hosts: &[HostId; 4]) {
    println!("{title}:");
    for (from, name) in hosts.iter().zip(["a", "b", "c", "d"]) {
        let answers: Vec<String> = hosts
            .iter()
            .zip(["a", "b", "c", "d"])
            .filter(|(to, _)| *to != from)
            .map(|(to, name)| {
                // The hosts' stack, smoltcp, asks ARP at most once a second.
                world.run_for(Duration::from_secs(1));
                match world.ping(*from, *to) {
                    Some(time) => format!("{name} in {} µs", time.as_micros()),
                    None => format!("{name} does not answer"),
                }
            })
            .collect();
        println!("  {name} pings {}", answers.join(", "));
    }
}
