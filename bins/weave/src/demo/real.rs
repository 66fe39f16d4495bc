//! The story on real hosts.

use std::time::{Duration, Instant};

use weave_core::Status;
use weave_router::{Failure, words};

use super::hosts::Hosts;
use super::ping::Pinger;
use super::{Stop, line, pings};
use crate::client::Client;
use crate::output::Output;
use crate::render;

/// Tells it. Blocks for ten to thirty seconds.
///
/// # Errors
/// What the system refused, what did not happen in time, or that the user wants an end. All is removed.
pub(super) fn tell(stop: &Stop, output: Output) -> Result<(), Failure> {
    output.line(
        "Three hosts A, B and C on this machine: network namespaces with a real router each, and a container on\n\
         each. A and C are cut off from each other; each is told of B only.\n\n",
    )?;
    let start = Instant::now();
    let say = |text: &str| line(output, start.elapsed(), text);

    let hosts = Hosts::make()?;
    say(&format!(
        "three routers run (processes {}, {}, {}); containers have {}, {} and {}",
        hosts.host(0).pid(),
        hosts.host(1).pid(),
        hosts.host(2).pid(),
        Hosts::CONTAINERS[0],
        Hosts::CONTAINERS[1],
        Hosts::CONTAINERS[2],
    ))?;
    let a = Client::new(&hosts.host(0).control());
    let way = |wanted: &str| way_to_c(&a).as_deref() == Some(wanted);

    stop.until("a way from A to C", PATIENCE, || way("B"))?;
    say("A knows the way to C: by way of B")?;
    let pinger = Pinger::start(
        hosts.host(0).container(),
        Hosts::CONTAINERS[2],
        PING_EVERY,
        b"weave demo",
    )
    .map_err(|error| Failure::new("cannot ping", words(&error), ""))?;
    stop.until("an answer", PATIENCE, || pinger.answered_since(start) > 0)?;
    say(&format!(
        "A's container pings C's, relayed: {}",
        some_pings(stop, &pinger)?
    ))?;

    hosts.open_path()?;
    say("the path between A and C is opened")?;
    let took = stop.until("the direct path", PATIENCE, || way("C"))?;
    say(&format!(
        "A reaches C directly, {:.1} s after that",
        took.as_secs_f64()
    ))?;
    say(&format!("pings, direct: {}", some_pings(stop, &pinger)?))?;

    let cut_at = Instant::now();
    hosts.cut_path()?;
    say("the path between A and C is cut again, and nobody is told")?;
    stop.until("the way back over B", PATIENCE, || way("B"))?;
    stop.until("an answer over B", PATIENCE, || {
        pinger.answered_since(cut_at + PING_EVERY) >= 5
    })?;
    let gap = pinger.longest_gap_since(cut_at);
    say(&format!(
        "A reaches C by way of B again; no ping was answered for {:.2} s",
        gap.as_secs_f64()
    ))?;
    say(&format!("pings, relayed: {}", some_pings(stop, &pinger)?))?;

    let status = ask(&a).ok_or_else(|| Failure::new("router A does not answer", "", ""))?;
    output.line("\nWhat `weave status` says on A:\n\n")?;
    output.line(&render::status(&status, None, output.paint()))?;
    drop(pinger);
    drop(hosts);
    output.line("")?;
    say("all of it is removed")
}

/// A second of pings, summed up.
fn some_pings(stop: &Stop, pinger: &Pinger) -> Result<String, Failure> {
    let from = Instant::now();
    stop.sleep(Duration::from_secs(1))?;
    let until = Instant::now();
    // The last ones may still be under way.
    stop.sleep(Duration::from_millis(50))?;
    let echoes: Vec<_> = pinger
        .echoes()
        .into_iter()
        .filter(|echo| (from..until).contains(&echo.sent_at))
        .collect();
    let round_trips = echoes.iter().filter_map(|echo| echo.round_trip).collect();
    Ok(pings(round_trips, echoes.len()))
}

/// Whom A sends frames for C to.
fn way_to_c(a: &Client) -> Option<String> {
    let routes = ask(a)?.routes;
    let route = routes.into_iter().find(|route| route.destination == "C")?;
    Some(route.next_hop)
}

/// The story has a thread of its own; the answers come over the main thread's runtime.
fn ask(client: &Client) -> Option<Status> {
    let runtime = tokio::runtime::Handle::current();
    runtime.block_on(client.get("/status")).ok()
}

/// A peer that was out of reach is tried each few seconds.
const PATIENCE: Duration = Duration::from_secs(20);
const PING_EVERY: Duration = Duration::from_millis(20);
