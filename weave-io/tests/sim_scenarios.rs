//! Scenarios by chance and from seed files, under all checkers.
//!
//! What fails is printed as text, and written to a file that is named beside it.
//!
//! `WEAVE_SIM_SCENARIOS=N` runs so many instead of 500, `WEAVE_SIM_FROM=S` begins with another number;
//! `WEAVE_SIM_CASES=N` runs so many small ones instead of 12.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use weave_io::sim::{Failure, Scenario, run, scenarios, shrink};

/// Runs that a failure is made smaller with: some seconds.
const SHRINK_RUNS_MAX: usize = 60;
/// Failures that are made smaller.
const SHRUNK_MAX: usize = 4;

/// Two halves, so that two threads share the work.
#[test]
fn scenarios_of_even_numbers_hold() {
    run_numbers(0);
}

#[test]
fn scenarios_of_odd_numbers_hold() {
    run_numbers(1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: number("WEAVE_SIM_CASES", 12) as u32, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn small_scenarios_hold_and_shrink_when_they_do_not(scenario in scenarios(5)) {
        if let Err(failure) = run(&scenario) {
            let place = keep(&failure);
            return Err(TestCaseError::fail(format!("{failure}\nas a file: {place}")));
        }
    }
}

#[test]
fn scenarios_that_failed_once_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds in {}", folder.display());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let scenario: Scenario = text
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if let Err(failure) = run(&scenario) {
            panic!("{}: {failure}", file.display());
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut hashes = Vec::new();
    for number in [3, 14, 15] {
        let scenario = Scenario::from_seed(number);
        let first = run(&scenario).unwrap_or_else(|failure| panic!("{failure}"));
        let second = run(&scenario).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(first, second, "scenario {number}");
        hashes.push(first.trace_hash);
        let other = Scenario {
            seed: scenario.seed + 1,
            ..scenario
        };
        let other = run(&other).unwrap_or_else(|failure| panic!("{failure}"));
        assert_ne!(first.trace_hash, other.trace_hash, "chance must matter");
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 3);
}

/// Writes a scenario that failed to a file that outlives the output of the run; says where. Each gets a name of its
/// own: of those that shrinking tries, the newest is the smallest.
fn keep(failure: &Failure) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("failed-{}-{number}.txt", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let text = format!("# {}\n{}", failure.violation, failure.scenario);
    match std::fs::write(&path, text) {
        Ok(()) => path.display().to_string(),
        Err(error) => format!("none: {}: {error}", path.display()),
    }
}

/// Runs so many scenarios of even or odd numbers, and tells of all that fail; the first few are made smaller.
fn run_numbers(rest: u64) {
    let from: u64 = number("WEAVE_SIM_FROM", 0);
    let count: u64 = number("WEAVE_SIM_SCENARIOS", 500);
    let mut failed = Vec::new();
    for number in (from..from + count).filter(|number| number % 2 == rest) {
        if let Err(failure) = run(&Scenario::from_seed(number)) {
            if failed.len() < SHRUNK_MAX {
                let smaller = shrink(failure, SHRINK_RUNS_MAX);
                let place = keep(&smaller);
                eprintln!("scenario {number}, made smaller: {smaller}\nas a file: {place}");
            }
            failed.push(number);
        }
    }
    assert!(failed.is_empty(), "scenarios that failed: {failed:?}");
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}"))
    })
}
