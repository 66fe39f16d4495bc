//! Reads the text format of Prometheus as strictly as its description has it, to find what a collector would refuse.

use std::collections::{BTreeMap, BTreeSet};

/// Every sample by its name and labels, as written; panics where the text is not the format.
pub(crate) fn read(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'), "the last line lacks its end");
    let mut samples = BTreeMap::new();
    let mut metrics = BTreeSet::new();
    // Name, whether it is a counter.
    let mut current: Option<(&str, bool)> = None;
    let mut helped: Option<&str> = None;
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(is_name(name, true) && !help.is_empty(), "{line}");
            assert!(is_escaped(help, false), "{line}");
            assert!(metrics.insert(name), "a second time: {line}");
            (helped, current) = (Some(name), None);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert_eq!(helped, Some(name), "no help before: {line}");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            current = Some((name, kind == "counter"));
        } else {
            let (series, value) = line.rsplit_once(' ').expect(line);
            let (name, is_counter) = current.expect("a sample before any metric");
            let labels = series.strip_prefix(name).expect(line);
            assert!(labels.is_empty() || are_labels(labels), "{line}");
            let value: f64 = value.parse().expect(line);
            assert!(value.is_finite() && (!is_counter || value >= 0.0), "{line}");
            assert!(
                samples.insert(series.to_owned(), value).is_none(),
                "twice: {line}"
            );
        }
    }
    samples
}

fn is_name(name: &str, is_metric: bool) -> bool {
    let letter =
        |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (is_metric && byte == b':');
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|byte| letter(*byte))
        && bytes
            .iter()
            .all(|byte| letter(*byte) || byte.is_ascii_digit())
}

/// `{name="value",name="value"}`, each name once.
fn are_labels(text: &str) -> bool {
    let inner = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    let Some(mut rest) = inner else { return false };
    let mut names = BTreeSet::new();
    loop {
        let Some((name, after)) = rest.split_once("=\"") else {
            return false;
        };
        let Some(end) = end_of_value(after) else {
            return false;
        };
        let (value, after) = after.split_at(end);
        if !is_name(name, false) || !names.insert(name) || !is_escaped(value, true) {
            return false;
        }
        match after.strip_prefix("\",") {
            Some(next) => rest = next,
            None => return after == "\"",
        }
    }
}

/// Where the first quote is that no backslash stands before.
fn end_of_value(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, letter)| {
        let ends = letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends.then_some(at)
    })
}

/// A backslash only before another, before an n, and between quotes before one of these.
fn is_escaped(text: &str, quoted: bool) -> bool {
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\\' {
            match letters.next() {
                Some('\\' | 'n') => {}
                Some('"') if quoted => {}
                _ => return false,
            }
        } else if letter.is_control() || (quoted && letter == '"') {
            return false;
        }
    }
    true
}
