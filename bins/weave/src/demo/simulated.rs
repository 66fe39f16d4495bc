//! The story in the simulator: the same routers, in virtual time, on a network that is not there.

use std::time::Duration;

use weave_io::sim::{HostId, RouterId, World};
use weave_router::Failure;

use super::{line, pings};
use crate::output::Output;
use crate::render;

/// Tells it. Every figure is the simulation's own; the same seed gives the same ones.
///
/// # Errors
/// When something did not happen that should have.
pub(super) fn tell(seed: u64, why: &str, output: Output) -> Result<(), Failure> {
    output.line(&format!(
        "Three hosts A, B and C, with a container on each: {why}.\n\
         Times are the simulation's; seed {seed} gives them again. A and C are cut off from each other; each is told\n\
         of B only.\n\n"
    ))?;
    let mut world = World::new(seed);
    let [a, b, c] = ["A", "B", "C"].map(|name| world.add_router(name));
    world.cut(a, c);
    let from = world.add_host(a, "10.32.0.1/24");
    world.add_host(b, "10.32.0.2/24");
    let to = world.add_host(c, "10.32.0.3/24");
    world.connect(a, b);
    world.connect(c, b);
    say(
        &world,
        output,
        "three routers run; containers have 10.32.0.1, 10.32.0.2 and 10.32.0.3",
    )?;

    until(&mut world, "a way from A to C", |world| {
        goes(world, a, c, "B")
    })?;
    say(&world, output, "A knows the way to C: by way of B")?;
    if world.ping(from, to).is_none() {
        return Err(in_vain("an answer"));
    }
    let text = format!(
        "A's container pings C's, relayed: {}",
        some_pings(&mut world, from, to)
    );
    say(&world, output, &text)?;
    world.watch(from, to, BEACON_EVERY);

    world.heal(a, c);
    let opened_at = world.now();
    say(&world, output, "the path between A and C is opened")?;
    until(&mut world, "the direct path", |world| {
        goes(world, a, c, "C")
    })?;
    let took = (world.now() - opened_at).as_secs_f64();
    say(
        &world,
        output,
        &format!("A reaches C directly, {took:.1} s after that"),
    )?;
    let text = format!("pings, direct: {}", some_pings(&mut world, from, to));
    say(&world, output, &text)?;

    world.cut(a, c);
    let cut_at = world.now();
    say(
        &world,
        output,
        "the path between A and C is cut again, and nobody is told",
    )?;
    // What is under way arrives.
    world.run_for(BEACON_EVERY);
    let delivered = world.beacons_delivered();
    until(&mut world, "an answer over B", |world| {
        world.beacons_delivered() > delivered
    })?;
    let gap = (world.now() - cut_at).as_secs_f64();
    until(&mut world, "the way back over B", |world| {
        goes(world, a, c, "B")
    })?;
    say(
        &world,
        output,
        &format!("A reaches C by way of B again; no frame arrived for {gap:.2} s"),
    )?;
    let text = format!("pings, relayed: {}", some_pings(&mut world, from, to));
    say(&world, output, &text)?;

    let status = world.status(a).ok_or_else(|| in_vain("A's status"))?;
    output.line("\nWhat `weave status` says on A:\n\n")?;
    output.line(&render::status(&status, None, output.paint()))
}

fn say(world: &World, output: Output, text: &str) -> Result<(), Failure> {
    line(output, world.now(), text)
}

fn goes(world: &World, from: RouterId, to: RouterId, by_way_of: &str) -> bool {
    world.route_of(from, to).as_deref() == Some(by_way_of)
}

fn until(world: &mut World, what: &str, holds: impl FnMut(&World) -> bool) -> Result<(), Failure> {
    if world.run_while_not(PATIENCE, holds) {
        Ok(())
    } else {
        Err(in_vain(what))
    }
}

fn in_vain(what: &str) -> Failure {
    Failure::new(
        format!("the demo waits in vain for {what}"),
        format!("{} s of virtual time are over", PATIENCE.as_secs()),
        "please report it, with what it printed",
    )
}

fn some_pings(world: &mut World, from: HostId, to: HostId) -> String {
    const PINGS: usize = 50;
    let mut round_trips = Vec::new();
    for _ in 0..PINGS {
        round_trips.extend(world.ping(from, to));
        world.run_for(BEACON_EVERY);
    }
    pings(round_trips, PINGS)
}

const BEACON_EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(90);
