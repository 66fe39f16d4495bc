//! Replays every committed input of every fuzz target on stable; each file is one input.
//!
//! `WEAVE_WRITE_CORPUS=1 cargo test -p weave-fuzz` writes the seeds first: the vectors of all crates, which are real
//! messages.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use weave_io::sim::Dice;

#[test]
fn packets_corpus_replays() {
    replay("packets", weave_fuzz::packets, 64);
}

#[test]
fn control_corpus_replays() {
    replay("control", weave_fuzz::control, 300);
}

#[test]
fn records_corpus_replays() {
    replay("records", weave_fuzz::records, 300);
}

#[test]
fn texts_corpus_replays() {
    replay("texts", weave_fuzz::texts, 300);
}

#[test]
fn member_corpus_replays() {
    // A handshake each: the inputs alone.
    replay("member", weave_fuzz::member, 0);
}

#[test]
fn scenarios_corpus_replays() {
    // Whole scenarios: the inputs alone.
    replay("scenarios", weave_fuzz::scenarios, 0);
}

/// Runs each input, and mutations of its first `near` bytes, so that a decoder that lost a check is noticed without a
/// fuzzer.
fn replay(target: &str, run: fn(&[u8]), near: usize) {
    if std::env::var_os("WEAVE_WRITE_CORPUS").is_some() {
        static ONCE: Once = Once::new();
        ONCE.call_once(write_seeds);
    }
    let folder = folder(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let path = entry.expect("readable").path();
        let bytes = fs::read(&path).expect("readable");
        // Shown by a test that fails: which input it was.
        eprintln!("{}", path.display());
        run(&bytes);
        let near = bytes.len().min(near);
        for end in 0..near {
            run(&bytes[..end]);
        }
        for at in 0..near {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            run(&flipped);
        }
        inputs += 1;
    }
    assert!(
        (5..=200).contains(&inputs),
        "{inputs} inputs in {}",
        folder.display()
    );
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}

fn write_seeds() {
    let packets = vectors("weave-core", "packets");
    let routed = vectors("weave-core", "routed");
    let probes = vectors("weave-mesh", "probes");
    let control = vectors("weave-mesh", "control");
    let records = vectors("weave-mesh", "records");
    let link = vectors("weave-crypto", "link");
    write("packets", packets.iter().chain(&probes));
    write("control", control.iter().chain(&link).chain(&probes));
    write("records", &records);
    let texts = [
        "10.0.0.1:6783",
        "example.org",
        "[2001:db8::1]:99",
        "2001:db8::1",
        "75d53a0554fbbe75",
        "8cb9404d7916cf9ccc9fa4f3972f75b566299c787a0752699c290a8c887c8acc",
        "weave-identity-1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
    ];
    let texts = texts.map(|text| (text.len().to_string(), text.as_bytes().to_vec()));
    write("texts", &texts);

    // Choices by chance.
    let scenarios = (1..=16).map(|number| {
        let mut dice = Dice::new(number);
        let choices = (0..2).flat_map(|_| dice.seed()).collect();
        (number.to_string(), choices)
    });
    let scenarios: Vec<(String, Vec<u8>)> = scenarios.collect();
    write("scenarios", &scenarios);

    // To a member every message by itself, all in a row, and the routed bodies to it and to others.
    let mut members: Vec<(String, Vec<u8>)> = control
        .iter()
        .map(|(name, message)| (name.clone(), [step(message), vec![0, 5]].concat()))
        .collect();
    let talk = |name: &str| {
        !name.starts_with("welcome") && !name.starts_with("goodbye") && name != "adopt"
    };
    let row = control.iter().filter(|(name, _)| talk(name));
    let row = row.flat_map(|(_, message)| step(message)).collect();
    members.push(("all".to_owned(), row));
    let own = weave_fuzz::member_router();
    for (name, body) in &routed {
        // A routed message (8) from b of the vectors to the router under attack.
        let b = "50f9c644a36be3a58500ad43d2d6071ab1a247f577f9e5cf9a7418f46e7898f7";
        let head = [vec![8], bytes(b), own.as_bytes().to_vec(), vec![32]].concat();
        let mut message = head;
        assert!(body.len() < 1 << 14, "two bytes hold the length");
        if body.len() < 128 {
            message.push(body.len() as u8);
        } else {
            message.extend([body.len() as u8 | 0x80, (body.len() >> 7) as u8]);
        }
        message.extend(body);
        let records = control.iter().find(|(name, _)| name == "records");
        let records = step(&records.expect("a vector").1);
        members.push((
            name.clone(),
            [records, step(&message), vec![0, 50]].concat(),
        ));
    }
    write("member", &members);
}

/// One step of [`weave_fuzz::member`]: a message.
fn step(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("vectors are short");
    [&[1][..], &length.to_be_bytes(), message].concat()
}

/// The lines of a vector file: `name = hex` or `name hex`; those that are no hex are left out.
fn vectors(krate: &str, file: &str) -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(krate)
        .join("tests/vectors")
        .join(file)
        .with_extension("txt");
    fs::read_to_string(path)
        .expect("vectors are committed")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (name, hex) = line.split_once(' ')?;
            Some((name.to_owned(), bytes(hex.trim_start_matches("= "))))
        })
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).expect("vectors are hex"))
        .collect()
}

fn write<'s>(target: &str, seeds: impl IntoIterator<Item = &'s (String, Vec<u8>)>) {
    let folder = folder(target);
    fs::create_dir_all(&folder).expect("the tree is writable");
    for (name, bytes) in seeds {
        fs::write(folder.join(format!("seed-{name}")), bytes).expect("the tree is writable");
    }
}
