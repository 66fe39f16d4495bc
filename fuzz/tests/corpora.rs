//! Replays every committed input of every fuzz target on stable; each file is one input.

use std::fs;
use std::path::Path;

#[test]
fn packets_corpus_replays() {
    replay("packets", weave_fuzz::packets);
}

#[test]
fn control_corpus_replays() {
    replay("control", weave_fuzz::control);
}

#[test]
fn records_corpus_replays() {
    replay("records", weave_fuzz::records);
}

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let path = entry.expect("readable").path();
        let bytes = fs::read(&path).expect("readable");
        run(&bytes);
        // Mutations near the committed inputs, so that a decoder that lost a check is noticed without a fuzzer.
        for end in 0..bytes.len().min(300) {
            run(&bytes[..end]);
        }
        for bit in 0..bytes.len().min(300) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            run(&flipped);
        }
        inputs += 1;
    }
    assert!(inputs >= 5, "only {inputs} inputs in {}", folder.display());
}
