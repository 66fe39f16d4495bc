//! Rules as `iptables -S` prints them, which is how one would type them.

use std::collections::BTreeMap;

use super::{Chain, Insert, Policy, Rule, Ruleset, Test, Verdict};

/// Which of the two programs printed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// `iptables`.
    V4,
    /// `ip6tables`.
    V6,
}

/// Reads what `iptables -S` (the table `filter`) prints. Lines that make no sense are passed over.
pub(crate) fn parse(family: Family, text: &str) -> Ruleset {
    let mut chains: BTreeMap<String, Chain> = BTreeMap::new();
    for line in text.lines() {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["-P", name, policy] => {
                let policy = match *policy {
                    "ACCEPT" => Policy::Accept,
                    _ => Policy::Drop,
                };
                let chain = chains.entry((*name).to_owned()).or_default();
                // FORWARD and OUTPUT are of no concern.
                chain.input = (*name == "INPUT").then_some(policy);
            }
            ["-N", name] => {
                chains.entry((*name).to_owned()).or_default();
            }
            ["-A", name, rest @ ..] => {
                let chain = chains.entry((*name).to_owned()).or_default();
                chain.rules.push(rule(rest));
            }
            _ => {}
        }
    }
    let (program, families) = match family {
        Family::V4 => ("iptables", [true, false]),
        Family::V6 => ("ip6tables", [false, true]),
    };
    Ruleset {
        insert: Insert::Iptables(program),
        families,
        chains,
    }
}

/// Words of a line; a quoted one may hold blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted = !quoted,
            '\\' if quoted => word.extend(letters.next()),
            ' ' if !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            letter => word.push(letter),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn rule(words: &[&str]) -> Rule {
    let mut rule = Rule::default();
    let mut negated = false;
    let mut rest = words.iter().copied().peekable();
    while let Some(word) = rest.next() {
        if word == "!" {
            negated = true;
            continue;
        }
        if !word.starts_with('-') {
            // A further value of the option before.
            continue;
        }
        // No option that matters here is without a value.
        let value = rest.peek().copied().unwrap_or_default();
        let test = match word {
            "-p" => Some(protocol(value)),
            "--dport" | "--dports" | "--ports" => Some(ports(value)),
            "--ctstate" | "--state" => Some(Test::Always(value.split(',').any(|s| s == "NEW"))),
            "-i" if value == "lo" => Some(Test::Always(false)),
            "-j" => {
                rule.verdict = verdict(value, Verdict::Jump);
                None
            }
            "-g" => {
                rule.verdict = verdict(value, Verdict::Goto);
                None
            }
            // Names of extensions, and what asks nothing of a packet.
            "-m" | "--comment" | "--reject-with" => None,
            word if word.starts_with("--log-") || word.starts_with("--nflog-") => None,
            _ => Some(Test::Depends),
        };
        if let Some(test) = test {
            rule.tests.push(if negated {
                Test::Not(Box::new(test))
            } else {
                test
            });
        }
        negated = false;
    }
    rule
}

fn protocol(name: &str) -> Test {
    match name {
        "all" => Test::Always(true),
        name => Test::Protocol(vec![name.to_owned()]),
    }
}

/// `22`, `22,80` or `1000:2000`.
fn ports(text: &str) -> Test {
    let port = |text: &str, otherwise| match text {
        "" => Some(otherwise),
        text => text.parse().ok(),
    };
    let ranges = text.split(',').map(|part| match part.split_once(':') {
        Some((first, last)) => Some(port(first, 0)?..=port(last, u16::MAX)?),
        None => {
            let port = part.parse().ok()?;
            Some(port..=port)
        }
    });
    ranges
        .collect::<Option<_>>()
        .map_or(Test::Depends, Test::Port)
}

fn verdict(target: &str, jump: fn(String) -> Verdict) -> Option<Verdict> {
    match target {
        "" => None,
        "ACCEPT" => Some(Verdict::Accept),
        "DROP" | "REJECT" => Some(Verdict::Drop),
        "RETURN" => Some(Verdict::Return),
        // One that is no chain (LOG, MARK, …) leads nowhere, and the packet goes on.
        chain => Some(jump(chain.to_owned())),
    }
}
