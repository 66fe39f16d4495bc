//! Scenarios as text, one thing a line; lines that begin with `#` are remarks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Scenario, Step};
use crate::sim::fault::list;
use crate::sim::{NatKind, RouterId};

/// Routers of a scenario that is read: more than anybody waits for.
const ROUTERS_MAX: usize = 10_000;

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        writeln!(f, "routers {}", self.routers)?;
        for (a, b) in &self.knows {
            writeln!(f, "knows {a} {b}")?;
        }
        for ((a, b), latency) in &self.latencies {
            writeln!(f, "latency {a} {b} {}", latency.as_micros())?;
        }
        for (inside, kind) in &self.nats {
            writeln!(f, "nat {} {kind}", list(inside))?;
        }
        if !self.hosts.is_empty() {
            write!(f, "hosts")?;
            for router in &self.hosts {
                write!(f, " {router}")?;
            }
            writeln!(f)?;
        }
        for (delay, step) in &self.steps {
            writeln!(f, "after {} {step}", delay.as_millis())?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::Transfer { from, to, bytes } => write!(f, "transfer {from} {to} {bytes}"),
            Self::End => write!(f, "end"),
        }
    }
}

/// Why a text is no scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ScenarioError {
    line: usize,
    reason: String,
}

impl FromStr for Scenario {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Self, ScenarioError> {
        let mut scenario = Self {
            seed: 0,
            routers: 0,
            knows: BTreeSet::new(),
            nats: Vec::new(),
            hosts: BTreeSet::new(),
            latencies: BTreeMap::new(),
            steps: Vec::new(),
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            scenario.read(line).map_err(|reason| ScenarioError {
                line: number + 1,
                reason,
            })?;
        }
        if scenario.routers == 0 {
            return Err(ScenarioError {
                line: text.lines().count(),
                reason: "`routers` is missing".to_owned(),
            });
        }
        Ok(scenario)
    }
}

impl Scenario {
    fn read(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "after" {
            let (delay, step) = rest
                .trim()
                .split_once(' ')
                .ok_or("`after` needs milliseconds and a step")?;
            let delay: u64 = delay
                .parse()
                .map_err(|_| format!("`{delay}` is no number of milliseconds"))?;
            self.steps
                .push((Duration::from_millis(delay), step.parse()?));
            return Ok(());
        }
        if word == "nat" {
            let nat = self.read_nat(rest)?;
            self.nats.push(nat);
            return Ok(());
        }
        let numbers: Vec<u64> = rest
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| format!("`{word}` is followed by numbers only"))?;
        let router = |number: u64| RouterId(number as usize);
        match (word, &numbers[..]) {
            ("seed", &[seed]) => self.seed = seed,
            ("routers", &[routers]) => {
                self.routers = usize::try_from(routers)
                    .ok()
                    .filter(|routers| (1..=ROUTERS_MAX).contains(routers))
                    .ok_or_else(|| format!("there are 1 to {ROUTERS_MAX} routers"))?;
            }
            ("knows", &[a, b]) => {
                self.knows
                    .insert((self.known(router(a))?, self.known(router(b))?));
            }
            ("latency", &[a, b, us]) => {
                self.latencies.insert(
                    (self.known(router(a))?, self.known(router(b))?),
                    Duration::from_micros(us),
                );
            }
            ("hosts", hosts) => {
                for host in hosts {
                    self.hosts.insert(self.known(router(*host))?);
                }
            }
            _ => {
                return Err(format!(
                    "unknown word `{word}`, or a wrong count of numbers"
                ));
            }
        }
        Ok(())
    }

    /// `A,B,.. MAPPING FILTERING MILLISECONDS`, the last may be missing.
    fn read_nat(&self, rest: &str) -> Result<(BTreeSet<RouterId>, NatKind), String> {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (inside, mapping, filtering, timeout) = match words[..] {
            [inside, mapping, filtering] => (inside, mapping, filtering, NatKind::TIMEOUT),
            [inside, mapping, filtering, ms] => {
                let ms = ms
                    .parse()
                    .map_err(|_| format!("`{ms}` is no number of milliseconds"))?;
                (inside, mapping, filtering, Duration::from_millis(ms))
            }
            _ => return Err("`nat` needs routers, mapping and filtering".to_owned()),
        };
        let mut routers = BTreeSet::new();
        for word in inside.split(',') {
            let number = word.parse().map_err(|_| format!("`{word}` is no router"))?;
            let router = self.known(RouterId(number))?;
            if self.nat_of(router).is_some() || !routers.insert(router) {
                return Err(format!("router {router} is behind two NAT boxes"));
            }
        }
        let kind = NatKind {
            mapping: mapping.parse()?,
            filtering: filtering.parse()?,
            timeout,
        };
        Ok((routers, kind))
    }

    fn known(&self, router: RouterId) -> Result<RouterId, String> {
        if router.0 < self.routers {
            Ok(router)
        } else {
            Err(format!("there is no router {router}"))
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            ["end"] => Ok(Self::End),
            ["transfer", from, to, bytes] => {
                let router = |word: &str| {
                    word.parse()
                        .map(RouterId)
                        .map_err(|_| format!("`{word}` is no router"))
                };
                let bytes = bytes
                    .parse()
                    .map_err(|_| format!("`{bytes}` is no number of bytes"))?;
                Ok(Self::Transfer {
                    from: router(from)?,
                    to: router(to)?,
                    bytes,
                })
            }
            _ => text
                .parse()
                .map(Self::Fault)
                .map_err(|error: crate::sim::FaultError| error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_scenario_is_read_back_from_its_text() {
        for seed in 0..200 {
            let scenario = Scenario::from_seed(seed);
            let text = scenario.to_string();
            assert_eq!(text.parse::<Scenario>(), Ok(scenario), "{text}");
        }
    }

    #[test]
    fn remarks_and_empty_lines_are_skipped() {
        let scenario: Scenario = "# why\n\nseed 1\nrouters 2\n  knows 0 1\n".parse().unwrap();
        assert_eq!(scenario.knows.len(), 1);
    }

    #[test]
    fn an_error_names_its_line() {
        for (text, line) in [
            ("seed 1\nrouters 0\n", 2),
            ("seed 1\n", 1),
            ("routers 2\nknows 0 2\n", 2),
            ("routers 2\nafter\n", 2),
            ("routers 2\nafter x end\n", 2),
            ("routers 2\nafter 1 explode\n", 2),
            ("routers 2\nafter 1 transfer a b c\n", 2),
            ("routers 99999999\n", 1),
            ("routers 2\nnat 1 symmetric symmetric\n", 2),
            ("routers 2\nnat 1\n", 2),
            ("routers 2\nnat 2 address-dependent address-dependent\n", 2),
            (
                "routers 2\nnat 1,1 address-dependent address-dependent\n",
                2,
            ),
        ] {
            let error = text.parse::<Scenario>().unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
        }
    }
}
