//! Rules as `nft -j list ruleset` prints them (libnftables-json(5)).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::{Insert, Policy, Rule, Ruleset, Test, Verdict};

/// Reads a ruleset: each table of the families `ip`, `ip6` and `inet`. `None` for what is none.
pub(crate) fn parse(text: &str) -> Option<Vec<Ruleset>> {
    let document: Value = serde_json::from_str(text).ok()?;
    let objects = document.get("nftables")?.as_array()?;
    let mut tables: BTreeMap<(String, String), Ruleset> = BTreeMap::new();
    for object in objects {
        // Chains come before the rules that they hold; sets that rules name are not followed.
        for kind in ["chain", "rule"] {
            if let Some(body) = object.get(kind) {
                add(&mut tables, kind, body);
            }
        }
    }
    Some(tables.into_values().collect())
}

/// Puts a chain, or a rule, where it belongs.
fn add(tables: &mut BTreeMap<(String, String), Ruleset>, kind: &str, body: &Value) -> Option<()> {
    let family = body["family"].as_str()?;
    let families = match family {
        "ip" => [true, false],
        "ip6" => [false, true],
        "inet" => [true, true],
        _ => return None,
    };
    let table = body["table"].as_str()?;
    let ruleset = tables
        .entry((family.to_owned(), table.to_owned()))
        .or_insert_with(|| Ruleset {
            insert: Insert::Nft {
                family: family.to_owned(),
                table: table.to_owned(),
            },
            families,
            chains: BTreeMap::new(),
        });
    if kind == "chain" {
        let chain = ruleset
            .chains
            .entry(body["name"].as_str()?.to_owned())
            .or_default();
        if body["hook"] == "input" {
            chain.input = Some(match body["policy"].as_str() {
                Some("drop") => Policy::Drop,
                _ => Policy::Accept,
            });
        }
    } else {
        let chain = ruleset
            .chains
            .entry(body["chain"].as_str()?.to_owned())
            .or_default();
        chain.rules.extend(rules(body["expr"].as_array()?));
    }
    Some(())
}

/// A rule; several where it looks its verdict up in a map.
fn rules(expressions: &[Value]) -> Vec<Rule> {
    let mut rule = Rule::default();
    for expression in expressions {
        let Some((name, body)) = expression
            .as_object()
            .and_then(|object| object.iter().next())
        else {
            continue;
        };
        match name.as_str() {
            "match" => {
                let negated = body["op"] == "!=";
                rule.tests
                    .extend(compare(&body["left"], &body["right"], negated));
            }
            "vmap" => return mapped(&rule, body),
            // What only counts, marks or logs.
            "counter" | "log" | "mangle" | "meter" | "quota" => {}
            name => match verdict(name, body) {
                Some(verdict) => rule.verdict = Some(verdict),
                // `limit`, `xt` of the compatibility layer, whatever comes to be.
                None => rule.tests.push(Test::Depends),
            },
        }
    }
    vec![rule]
}

/// A rule for each entry of a verdict map.
fn mapped(rule: &Rule, body: &Value) -> Vec<Rule> {
    let entries = body["data"]["set"].as_array();
    let entries = entries.into_iter().flatten().filter_map(|entry| {
        let [key, value] = entry.as_array()?.as_slice() else {
            return None;
        };
        let (name, target) = value.as_object()?.iter().next()?;
        let mut rule = rule.clone();
        rule.tests.extend(compare(&body["key"], key, false));
        rule.verdict = verdict(name, target);
        Some(rule)
    });
    entries.collect()
}

fn verdict(name: &str, body: &Value) -> Option<Verdict> {
    let target = || Some(body["target"].as_str()?.to_owned());
    match name {
        "accept" => Some(Verdict::Accept),
        "drop" | "reject" => Some(Verdict::Drop),
        "return" => Some(Verdict::Return),
        "jump" => target().map(Verdict::Jump),
        "goto" => target().map(Verdict::Goto),
        _ => None,
    }
}

/// What it asks of a packet that `left` is `right`, or that it is not.
fn compare(left: &Value, right: &Value, negated: bool) -> Vec<Test> {
    let mut tests = Vec::new();
    let payload = &left["payload"];
    let protocol = payload["protocol"].as_str().unwrap_or_default();
    let field = payload["field"].as_str().unwrap_or_default();
    let meta = left["meta"]["key"].as_str().unwrap_or_default();
    let test = match (protocol, field) {
        ("ip", "protocol") | ("ip6", "nexthdr") => names(right).map(Test::Protocol),
        ("", _) if meta == "l4proto" => names(right).map(Test::Protocol),
        ("", _) if matches!(meta, "iif" | "iifname") && right == "lo" => Some(Test::Always(false)),
        ("", _) if left["ct"]["key"] == "state" => {
            names(right).map(|states| Test::Always(states.iter().any(|state| state == "new")))
        }
        ("th", "dport") => ports(right).map(Test::Port),
        ("" | "ip" | "ip6" | "ether" | "th", _) => None,
        // A field of a protocol asks for the protocol, too.
        (protocol, field) => {
            tests.push(Test::Protocol(vec![protocol.to_owned()]));
            match field {
                "dport" => ports(right).map(Test::Port),
                _ => None,
            }
        }
    };
    let test = test.unwrap_or(Test::Depends);
    tests.push(if negated {
        Test::Not(Box::new(test))
    } else {
        test
    });
    tests
}

/// The elements of what stands on the right: one, some joined by `|`, or those of a set.
fn elements(right: &Value) -> Vec<&Value> {
    let list = [&right["set"], &right["|"], right];
    match list.into_iter().find_map(Value::as_array) {
        Some(list) => list
            .iter()
            // With a comment or a counter of its own.
            .map(|element| element["elem"].get("val").unwrap_or(element))
            .collect(),
        None => vec![right],
    }
}

/// `None` where one of them is no word, or the name of a set that stands elsewhere.
fn names(right: &Value) -> Option<Vec<String>> {
    let names = elements(right).into_iter().map(|element| {
        let name = element.as_str()?;
        (!name.starts_with('@')).then(|| name.to_owned())
    });
    names.collect()
}

/// `None` where one of them is no number.
fn ports(right: &Value) -> Option<Vec<RangeInclusive<u16>>> {
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let ranges = elements(right).into_iter().map(|element| {
        if let Some([first, last]) = element["range"].as_array().map(Vec::as_slice) {
            return Some(port(first)?..=port(last)?);
        }
        let port = port(element)?;
        Some(port..=port)
    });
    ranges.collect()
}
