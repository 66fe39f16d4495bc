//! A run as data: routers, who knows whom, and steps with faults.

mod choices;
mod generate;
mod shrink;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

pub use generate::scenarios;
pub use shrink::shrink;
pub use text::ScenarioError;

use super::RouterId;
use super::check::Violation;
use super::fault::{Conditions, Fault};
use super::nat::{NatId, NatKind};
use super::world::{HostId, World};

/// A run of a [`World`] as data.
///
/// As text (`Display`, `FromStr`) it is a seed file:
///
/// ```
/// use weave_io::sim::{Scenario, run};
///
/// let text = "\
/// seed 7
/// routers 3
/// knows 1 0
/// knows 2 1
/// hosts 0 2
/// after 3000 cut 0 2
/// after 6000 end
/// ";
/// let scenario: Scenario = text.parse()?;
/// assert_eq!(scenario.to_string(), text);
/// let outcome = run(&scenario).unwrap_or_else(|failure| panic!("{failure}"));
/// assert!(outcome.beacons > 0);
/// # Ok::<(), weave_io::sim::ScenarioError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Decides all that chance decides.
    pub seed: u64,
    /// How many routers there are: at least 1.
    pub routers: usize,
    /// Who is told to connect to whom.
    pub knows: BTreeSet<(RouterId, RouterId)>,
    /// NAT boxes, with the routers behind each. A router is behind one at most.
    pub nats: Vec<(BTreeSet<RouterId>, NatKind)>,
    /// Routers with a container; all of these exchange beacons.
    pub hosts: BTreeSet<RouterId>,
    /// Ways that take longer than a local network's, each way, before and after all faults.
    pub latencies: BTreeMap<(RouterId, RouterId), Duration>,
    /// What happens, each so long after the one before.
    pub steps: Vec<(Duration, Step)>,
}

/// One step of a [`Scenario`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// A fault, or its end.
    Fault(Fault),
    /// `transfer A B BYTES`: the container at A begins to send over TCP to the one at B.
    Transfer {
        /// The sender's router.
        from: RouterId,
        /// The receiver's.
        to: RouterId,
        /// How much.
        bytes: u64,
    },
    /// `end`: the checkers look at everything once more.
    End,
}

/// A run in which every checker was content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Equal for equal scenarios.
    pub trace_hash: u64,
    /// Events that happened.
    pub events: u64,
    /// Beacons and answers that arrived.
    pub beacons: u64,
    /// Virtual time that passed.
    pub time: Duration,
}

/// A run in which a checker found something. `Display` tells all that is needed to see it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was found first.
    pub violation: Violation,
    /// The scenario.
    pub scenario: Scenario,
    /// What routers logged last.
    pub log: Vec<String>,
}

impl Scenario {
    /// Between two beacons of a pair of containers: often enough to keep links active, and to measure a second.
    const BEACON_INTERVAL: Duration = Duration::from_millis(200);
    /// In large worlds a pair has fewer of them, so that the work stays the same.
    const BEACONS_PER_SECOND_MAX: u64 = 250;

    /// Keys are replaced after so many seconds at most, in those worlds where that is done often.
    const REKEY_AFTER_SECONDS_MAX: u64 = 20;

    /// Builds the world, without running a step.
    pub fn build(&self) -> World {
        let mut world = World::new(self.seed);
        // Half of the worlds replace keys amidst whatever happens, the others hardly ever.
        if self.seed % 2 == 1 {
            let seconds = 1 + self.seed / 2 % Self::REKEY_AFTER_SECONDS_MAX;
            world.replace_keys_after(Duration::from_secs(seconds));
        }
        let nats: Vec<NatId> = self
            .nats
            .iter()
            .map(|(_, kind)| world.add_nat(*kind))
            .collect();
        let routers: Vec<RouterId> = (0..self.routers)
            .map(|number| {
                let name = format!("r{number}");
                match self.nat_of(RouterId(number)) {
                    Some(index) => world.add_router_behind(&name, nats[index]),
                    None => world.add_router(&name),
                }
            })
            .collect();
        for ((a, b), latency) in &self.latencies {
            world.set_conditions(
                *a,
                *b,
                Conditions {
                    latency: *latency,
                    ..Conditions::LOCAL
                },
            );
        }
        for (a, b) in &self.knows {
            world.connect(*a, *b);
        }
        let mut hosts: Vec<HostId> = Vec::new();
        for router in routers.iter().filter(|router| self.hosts.contains(router)) {
            let number = hosts.len() + 1;
            hosts.push(world.add_host(
                *router,
                &format!("10.0.{}.{}/16", number / 250, number % 250 + 1),
            ));
        }
        let pairs = (hosts.len() * hosts.len().saturating_sub(1) / 2) as u64;
        let slowest = Duration::from_millis(1_000 * pairs / Self::BEACONS_PER_SECOND_MAX);
        for (index, from) in hosts.iter().enumerate() {
            for to in &hosts[index + 1..] {
                world.watch(*from, *to, Self::BEACON_INTERVAL.max(slowest));
            }
        }
        world
    }

    /// The index of the NAT box that a router is behind.
    fn nat_of(&self, router: RouterId) -> Option<usize> {
        self.nats
            .iter()
            .position(|(inside, _)| inside.contains(&router))
    }

    fn host_at(&self, router: RouterId) -> Option<HostId> {
        self.hosts
            .iter()
            .position(|with_host| *with_host == router)
            .map(HostId)
    }
}

/// Runs a scenario to its end, or to the first thing that a checker finds.
///
/// # Errors
/// When a checker finds something.
pub fn run(scenario: &Scenario) -> Result<Outcome, Box<Failure>> {
    let mut world = scenario.build();
    let mut transfers = Vec::new();
    for (delay, step) in &scenario.steps {
        world.run_while_not(*delay, |world| !world.violations().is_empty());
        if world.violations().is_empty() {
            match step {
                Step::Fault(fault) => world.apply(fault),
                Step::Transfer { from, to, bytes } => {
                    if let (Some(from), Some(to)) = (scenario.host_at(*from), scenario.host_at(*to))
                    {
                        transfers.push(world.start_transfer(from, to, *bytes));
                    }
                }
                Step::End => world.look_at_end(&transfers),
            }
        }
        if let Some(violation) = world.violations().first() {
            return Err(Box::new(Failure {
                violation: violation.clone(),
                scenario: scenario.clone(),
                log: world.log().map(str::to_owned).collect(),
            }));
        }
    }
    Ok(Outcome {
        trace_hash: world.trace_hash(),
        events: world.events(),
        beacons: world.beacons_delivered(),
        time: world.now(),
    })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LINES: usize = 60;
        writeln!(f, "{}", self.violation)?;
        writeln!(
            f,
            "scenario (save it under weave-io/tests/seeds/):\n{}",
            self.scenario
        )?;
        writeln!(f, "log:")?;
        for line in &self.log[self.log.len().saturating_sub(LINES)..] {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
