//! Scenarios from bytes, for fuzzers: each byte is one choice, so that a change of few bytes changes little.
//!
//! ```text
//!   seed · routers · NAT boxes · who knows whom · containers · latency · transfer · steps of 5 bytes until the end
//! ```
//!
//! After the end of the bytes all choices are zeros: no boxes, no faults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Scenario;
use super::generate::{DATAGRAMS_MAX, FAULTS_MAX, MTU_BYTES, STRANGERS_MAX, acquaintances, timed};
use crate::sim::fault::Fault;
use crate::sim::{Mischief, NatBehaviour, NatKind, RouterId};

impl Scenario {
    /// The scenario that `choices` lead to: any bytes do. At most `routers_max` routers (but at least two), and as
    /// many faults as those of [`Scenario::from_seed`] have.
    pub fn from_choices(choices: &[u8], routers_max: usize) -> Self {
        let mut choices = Choices(choices);
        let seed = choices.next().into();
        let routers = 2 + choices.below(routers_max.max(2) - 1);
        let nats = choices.nats(routers);
        let parents: Vec<usize> = (1..routers).map(|index| choices.below(index)).collect();
        let more: Vec<(usize, usize)> = (0..choices.below(1 + routers / 2))
            .map(|_| (choices.below(routers), choices.below(routers)))
            .collect();
        let without = choices.next();
        let hosts = (0..routers).filter(|router| without >> (router % 8) & 1 == 0);
        let hosts: BTreeSet<RouterId> = hosts.map(RouterId).collect();
        let mut latencies = BTreeMap::new();
        if choices.below(2) == 1 {
            let latency = choices.micros(20_000);
            latencies.insert(choices.pair(routers), latency);
        }
        let mut transfers = Vec::new();
        if choices.below(2) == 1 {
            let bytes = 1 + choices.up_to(200_000);
            transfers.push((choices.pair(routers), bytes));
        }
        let mut faults = Vec::new();
        while !choices.0.is_empty() && faults.len() < FAULTS_MAX {
            let delay = Duration::from_millis(50 + choices.up_to(7_000));
            faults.push((delay, choices.fault(routers)));
        }
        Self {
            seed,
            routers,
            knows: acquaintances(&nats, &parents, &more),
            nats,
            hosts,
            latencies,
            steps: timed(transfers, faults),
        }
    }
}

/// Bytes that are taken one by one; zeros after their end.
struct Choices<'b>(&'b [u8]);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// One of so many: at most 256, at least one.
    fn below(&mut self, count: usize) -> usize {
        usize::from(self.next()) % count.max(1)
    }

    /// From zero to `most`, in 255 steps.
    fn up_to(&mut self, most: u64) -> u64 {
        most * u64::from(self.next()) / 255
    }

    fn permille(&mut self, most: u16) -> u16 {
        1 + (u32::from(most - 1) * u32::from(self.next()) / 255) as u16
    }

    fn micros(&mut self, most: u64) -> Duration {
        Duration::from_micros(500 + self.up_to(most))
    }

    /// Two different routers, in either order, from one byte.
    fn way(&mut self, routers: usize) -> (RouterId, RouterId) {
        let choice = usize::from(self.next());
        let a = choice % routers;
        let b = (a + 1 + choice / routers % (routers - 1)) % routers;
        (RouterId(a), RouterId(b))
    }

    /// The same, the smaller number first.
    fn pair(&mut self, routers: usize) -> (RouterId, RouterId) {
        let (a, b) = self.way(routers);
        (a.min(b), a.max(b))
    }

    /// None, one or two boxes, with some routers behind each, never the first router.
    fn nats(&mut self, routers: usize) -> Vec<(BTreeSet<RouterId>, NatKind)> {
        let count = self.below(3);
        let mut nats: Vec<(BTreeSet<RouterId>, NatKind)> = (0..count)
            .map(|_| {
                let behaviour = |choice: usize| NatBehaviour::ALL[choice % NatBehaviour::ALL.len()];
                let choice = self.below(18);
                let kind = NatKind {
                    mapping: behaviour(choice),
                    filtering: behaviour(choice / 3),
                    timeout: if choice < 9 {
                        NatKind::TIMEOUT
                    } else {
                        Duration::from_millis(8_000)
                    },
                };
                (BTreeSet::new(), kind)
            })
            .collect();
        if count > 0 {
            for router in 1..routers {
                let place = self.below(count + 1);
                if let Some((inside, _)) = nats.get_mut(place) {
                    inside.insert(RouterId(router));
                }
            }
        }
        nats.retain(|(inside, _)| !inside.is_empty());
        nats
    }

    /// A fault, from four bytes: kind, way or router, and two more for its numbers.
    fn fault(&mut self, routers: usize) -> Fault {
        let kind = self.next();
        let (from, to) = self.way(routers);
        let (a, b) = (from.min(to), from.max(to));
        let group = || BTreeSet::from([from, to].map(|router| RouterId(router.0 / 2)));
        let mut numbers = Choices(&[self.next(), self.next()]);
        match kind % 25 {
            0 => Fault::HealAll,
            1 => Fault::Heal(a, b),
            2 | 3 => Fault::Cut(a, b),
            4 => Fault::CutOneWay(from, to),
            5 => Fault::Partition(group()),
            6 => Fault::Crash(from),
            7 => Fault::PowerOff(from),
            8 | 9 => Fault::Restart(from),
            10 => Fault::NatRebind(from),
            11 => Fault::FlipStream(a, b),
            12 => {
                let (least, most) = (*MTU_BYTES.start() as u64, *MTU_BYTES.end() as u64);
                Fault::Mtu(a, b, (least + numbers.up_to(most - least)) as usize)
            }
            13 => Fault::Move(from, to),
            14 => Fault::MoveSilently(from, to),
            15 => Fault::Hostile(from, numbers.permille(DATAGRAMS_MAX)),
            16 => Fault::Strangers(from, numbers.permille(STRANGERS_MAX)),
            17 => Fault::Loss(a, b, numbers.permille(300)),
            18 => {
                let enter = numbers.permille(50);
                Fault::Bursts(a, b, [enter, 10 * enter, 1_000 - numbers.permille(300)])
            }
            19 => Fault::Jitter(a, b, numbers.micros(20_000)),
            20 => Fault::Reorder(a, b, numbers.permille(300)),
            21 => Fault::Corrupt(a, b, numbers.permille(300)),
            22 => Fault::BlockUdp(a, b),
            23 => {
                let choice = numbers.below(Mischief::ALL.len());
                Fault::Misbehave(from, Mischief::ALL[choice])
            }
            _ => Fault::Duplicate(a, b, numbers.permille(300)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Dice;

    #[test]
    fn any_bytes_are_a_scenario_that_its_text_gives_back() {
        let mut dice = Dice::new(1);
        let mut faults = BTreeSet::new();
        for length in 0..400 {
            let mut choices: Vec<u8> = (0..2).flat_map(|_| dice.seed()).collect();
            choices.truncate(length % 65);
            let scenario = Scenario::from_choices(&choices, 5);
            assert!((2..=5).contains(&scenario.routers));
            assert_eq!(scenario.to_string().parse(), Ok(scenario.clone()));
            for (_, step) in &scenario.steps {
                let text = step.to_string();
                faults.insert(text.split(' ').next().map(str::to_owned));
            }
        }
        assert_eq!(faults.len(), 25, "all kinds, a transfer and the end");
    }
}
