//! Whether a host's packet filter lets strangers reach a port: rules as nft and iptables print them, read and followed
//! with one made-up packet, a new connection from another host.
//!
//! Much of what a rule can ask for (addresses, devices, rates) depends on who sends. Such a test is neither met nor
//! missed; where only such rules accept, the answer is [`Reach::Perhaps`].

mod iptables;
mod nft;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

pub(crate) use iptables::{Family, parse as parse_iptables};
pub(crate) use nft::parse as parse_nft;

/// All chains of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ruleset {
    /// What would be typed to insert a rule into a chain of it, but for the chain's name: `nft insert rule inet filter`.
    pub(crate) insert: Insert,
    /// Which packets meet it: of IPv4, of IPv6.
    pub(crate) families: [bool; 2],
    /// Its chains, by name.
    pub(crate) chains: BTreeMap<String, Chain>,
}

/// How a rule is put in front of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Insert {
    /// By this program: `iptables` or `ip6tables`.
    Iptables(&'static str),
    /// By nft, into a table of this family and name.
    Nft {
        /// As `inet`.
        family: String,
        /// As `filter`.
        table: String,
    },
}

/// A chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// For one that packets to this host enter: what becomes of those that no rule decides about.
    pub(crate) input: Option<Policy>,
    /// Its rules, in order.
    pub(crate) rules: Vec<Rule>,
}

/// What becomes of a packet in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// It is let in.
    Accept,
    /// It is not.
    Drop,
}

/// A rule: what it asks of a packet, and what it does with one that has it all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    /// All have to be met.
    pub(crate) tests: Vec<Test>,
    /// What then.
    pub(crate) verdict: Option<Verdict>,
}

/// What a rule asks of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    /// The protocol is one of these.
    Protocol(Vec<String>),
    /// The port is in one of these.
    Port(Vec<RangeInclusive<u16>>),
    /// Met, or missed, by every new connection from elsewhere.
    Always(bool),
    /// Depends on who sends.
    Depends,
    /// It is otherwise.
    Not(Box<Self>),
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It lets the packet in.
    Accept,
    /// It drops or refuses it.
    Drop,
    /// Back to the chain that led here.
    Return,
    /// On in that chain, and back here.
    Jump(String),
    /// On in that chain, and not back here.
    Goto(String),
}

/// Whether strangers reach a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// They do.
    Open,
    /// Some may.
    Perhaps,
    /// They don't.
    Closed,
}

/// A port that rules keep from strangers, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Barrier<'a> {
    /// Whose rules.
    pub(crate) ruleset: &'a Ruleset,
    /// The chain that packets enter.
    pub(crate) chain: &'a str,
    /// How far they let strangers.
    pub(crate) reach: Reach,
}

/// The worst that a new connection to `port` meets, of IPv4 (`family` 0) or IPv6 (1), by `protocol` (`tcp` or `udp`);
/// `None` where it is let in.
pub(crate) fn barrier<'a>(
    rulesets: &'a [Ruleset],
    family: usize,
    protocol: &str,
    port: u16,
) -> Option<Barrier<'a>> {
    let met = rulesets
        .iter()
        .filter(|ruleset| ruleset.families.get(family).copied().unwrap_or_default());
    let barriers = met.flat_map(|ruleset| {
        ruleset.chains.iter().filter_map(move |(name, chain)| {
            let walk = Walk {
                ruleset,
                protocol,
                port,
            };
            Some(Barrier {
                ruleset,
                chain: name,
                reach: walk.enter(chain, chain.input?),
            })
        })
    });
    // The first of those that are equally bad.
    let worst = barriers.reduce(|worst, next| {
        if next.reach > worst.reach {
            next
        } else {
            worst
        }
    });
    worst.filter(|barrier| barrier.reach != Reach::Open)
}

impl Insert {
    /// The command that lets new connections to a port in, TCP and UDP.
    pub(crate) fn accept(&self, chain: &str, port: u16) -> String {
        match self {
            Self::Iptables(program) => {
                let one = |protocol| {
                    format!("{program} -I {chain} -p {protocol} --dport {port} -j ACCEPT")
                };
                format!("{} && {}", one("tcp"), one("udp"))
            }
            Self::Nft { family, table } => format!(
                "nft insert rule {family} {table} {chain} meta l4proto '{{ tcp, udp }}' th dport {port} accept"
            ),
        }
    }
}

/// A packet on its way through the chains of a table.
#[derive(Debug, Clone, Copy)]
struct Walk<'a> {
    ruleset: &'a Ruleset,
    protocol: &'a str,
    port: u16,
}

/// What a chain did with the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Passage {
    /// Decided, or left to the chain that led here.
    end: Option<Policy>,
    /// On the way a rule would have let it in, had the right host sent it.
    perhaps: bool,
}

/// As deep as the kernel follows jumps (NFT_JUMP_STACK_SIZE).
const DEPTH_MAX: usize = 16;

impl Walk<'_> {
    fn enter(self, chain: &Chain, policy: Policy) -> Reach {
        let passage = self.follow(chain, 0);
        match passage.end.unwrap_or(policy) {
            Policy::Accept => Reach::Open,
            Policy::Drop if passage.perhaps => Reach::Perhaps,
            Policy::Drop => Reach::Closed,
        }
    }

    fn follow(self, chain: &Chain, depth: usize) -> Passage {
        let mut perhaps = false;
        for rule in &chain.rules {
            let Some(verdict) = &rule.verdict else {
                continue;
            };
            let Some(certain) = self.meets(rule) else {
                continue;
            };
            let (end, here) = match verdict {
                Verdict::Accept => (Some(Policy::Accept), false),
                Verdict::Drop => (Some(Policy::Drop), false),
                Verdict::Return => (None, true),
                Verdict::Jump(name) | Verdict::Goto(name) => {
                    // A chain that is not there, or a circle, which no kernel would have taken.
                    let below = self.ruleset.chains.get(name);
                    let Some(below) = below.filter(|_| depth < DEPTH_MAX) else {
                        continue;
                    };
                    let passage = self.follow(below, depth + 1);
                    perhaps |= passage.perhaps;
                    (passage.end, matches!(verdict, Verdict::Goto(_)))
                }
            };
            if !certain {
                perhaps |= end == Some(Policy::Accept);
            } else if end.is_some() || here {
                return Passage { end, perhaps };
            }
        }
        Passage { end: None, perhaps }
    }

    /// Whether the packet meets a rule: certainly (`true`), depending on who sent it (`false`), or not.
    fn meets(self, rule: &Rule) -> Option<bool> {
        let mut certain = true;
        for test in &rule.tests {
            match self.passes(test) {
                Some(true) => {}
                Some(false) => return None,
                None => certain = false,
            }
        }
        Some(certain)
    }

    /// Whether the packet passes a test; `None` if that depends on who sent it.
    fn passes(self, test: &Test) -> Option<bool> {
        match test {
            Test::Protocol(names) => Some(names.iter().any(|name| name == self.protocol)),
            Test::Port(ranges) => Some(ranges.iter().any(|range| range.contains(&self.port))),
            Test::Always(met) => Some(*met),
            Test::Depends => None,
            Test::Not(test) => self.passes(test).map(|met| !met),
        }
    }
}

#[cfg(test)]
mod tests;
