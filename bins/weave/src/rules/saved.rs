//! What stands, out of `iptables-save`, and what makes of it what must: the input of `iptables-restore`.

use std::fmt::Write;

use super::wanted::Wanted;

/// What `iptables-save` says about our chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saved {
    chain: String,
    filter: Table,
    nat: Table,
}

/// What it says of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Table {
    name: &'static str,
    /// The kernel's own chain that must lead to ours.
    parent: &'static str,
    /// The rules of our chain, as after `-A CHAIN `; `None` when there is no such chain.
    rules: Option<Vec<String>>,
    /// The rules of the parent chain, as after `-A PARENT `.
    parents: Vec<String>,
    /// Rules of other chains that lead to ours, whole.
    strays: Vec<String>,
}

impl Saved {
    /// Reads what `iptables-save` printed. What is not about us it passes over.
    pub(super) fn parse(text: &str, chain: &str) -> Self {
        let mut saved = Self {
            chain: chain.to_owned(),
            filter: Table::new("filter", "FORWARD"),
            nat: Table::new("nat", "POSTROUTING"),
        };
        let mut table = None;
        for line in text.lines().map(str::trim_end) {
            if let Some(name) = line.strip_prefix('*') {
                table = [&mut saved.filter, &mut saved.nat]
                    .into_iter()
                    .find(|table| table.name == name);
            } else if let Some(table) = &mut table {
                table.take(line, chain);
            }
        }
        saved
    }

    /// What makes it as wanted; nothing where it is so already.
    pub(super) fn repair_script(&self, wanted: &Wanted) -> Option<String> {
        let scripts = [
            self.filter
                .script(&self.chain, &wanted.filter, Some(wanted.bridge())),
            self.nat.script(&self.chain, &wanted.nat, None),
        ];
        joined(scripts)
    }

    /// What removes every rule that leads to our chain, and the chain.
    pub(super) fn clear_script(&self) -> Option<String> {
        joined([&self.filter, &self.nat].map(|table| table.script(&self.chain, &[], None)))
    }

    /// Whether other rules than those about us decide on what is forwarded.
    pub(super) fn others_forward(&self, bridge: &str) -> bool {
        let about_us = |rule: &String| leads_to(rule, &self.chain) || is_about(rule, bridge);
        !self.filter.parents.iter().all(about_us)
    }
}

impl Table {
    fn new(name: &'static str, parent: &'static str) -> Self {
        Self {
            name,
            parent,
            rules: None,
            parents: Vec::new(),
            strays: Vec::new(),
        }
    }

    fn take(&mut self, line: &str, chain: &str) {
        let of = |chain: &str| {
            let rule = line.strip_prefix("-A ")?.strip_prefix(chain)?;
            rule.strip_prefix(' ')
        };
        if let Some(rule) = of(chain) {
            self.rules.get_or_insert_default().push(rule.to_owned());
        } else if let Some(rule) = of(self.parent) {
            self.parents.push(rule.to_owned());
        } else if line.starts_with("-A ") && leads_to(line, chain) {
            self.strays.push(line.to_owned());
        } else if line
            .strip_prefix(':')
            .is_some_and(|rest| rest.split(' ').next() == Some(chain))
        {
            self.rules.get_or_insert_default();
        }
    }

    /// What makes of it our chain with these rules and one jump to it; without rules, neither.
    ///
    /// With `first_but`, the jump must stand before all rules but those about this bridge: the administrator's, who
    /// lets something in that we would drop, or keeps out what we would let in.
    fn script(&self, chain: &str, rules: &[String], first_but: Option<&str>) -> Option<String> {
        let jump = format!("-j {chain}");
        let (ours, others): (Vec<&String>, Vec<&String>) =
            self.parents.iter().partition(|rule| leads_to(rule, chain));
        let place = first_but.map_or(0, |bridge| {
            let about = |rule: &&&String| is_about(rule, bridge);
            others.iter().take_while(about).count()
        });
        if rules.is_empty() {
            if self.rules.is_none() && ours.is_empty() && self.strays.is_empty() {
                return None;
            }
        } else {
            let placed = match first_but {
                Some(_) => self.parents.get(place) == Some(&jump),
                None => true,
            };
            let one = ours.len() == 1 && *ours[0] == jump && self.strays.is_empty();
            if one && placed && self.rules.as_deref() == Some(rules) {
                return None;
            }
        }
        // This line makes the chain or empties it.
        let mut script = format!("*{}\n:{chain} - [0:0]\n", self.name);
        for rule in rules {
            let _ = writeln!(script, "-A {chain} {rule}");
        }
        for rule in ours {
            let _ = writeln!(script, "-D {} {rule}", self.parent);
        }
        for stray in &self.strays {
            let _ = writeln!(script, "-D {}", stray.trim_start_matches("-A "));
        }
        if rules.is_empty() {
            let _ = writeln!(script, "-X {chain}");
        } else {
            let _ = writeln!(script, "-I {} {} {jump}", self.parent, place + 1);
        }
        script.push_str("COMMIT\n");
        Some(script)
    }
}

fn joined(scripts: [Option<String>; 2]) -> Option<String> {
    let all: String = scripts.into_iter().flatten().collect();
    (!all.is_empty()).then_some(all)
}

fn leads_to(rule: &str, chain: &str) -> bool {
    words_after(rule, &["-j", "-g"]).any(|word| word == chain)
}

fn is_about(rule: &str, bridge: &str) -> bool {
    words_after(rule, &["-i", "-o"]).any(|word| word == bridge)
}

/// The words of a rule that follow one of these flags.
fn words_after<'a>(rule: &'a str, flags: &'a [&str]) -> impl Iterator<Item = &'a str> {
    rule.split(' ')
        .zip(rule.split(' ').skip(1))
        .filter(|(flag, _)| flags.contains(flag))
        .map(|(_, word)| word)
}
