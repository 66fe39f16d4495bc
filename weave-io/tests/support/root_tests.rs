//! The `main` of test targets that need root: each test is counted as ignored where root is missing, never as
//! passed.

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test and its name; it fails by panicking.
pub(crate) type RootTest = (&'static str, fn());

/// Names functions as tests: `tests![module::function, …]`.
///
/// One that is left out is dead code, and the compiler says so.
macro_rules! tests {
    ($($module:ident::$function:ident),+ $(,)?) => {
        &[$((
            concat!(stringify!($module), "::", stringify!($function)),
            $module::$function as fn(),
        )),+]
    };
}
pub(crate) use tests;

/// Runs the tests as `cargo test` expects it of its own harness, with the same arguments.
///
/// Without root, or without one of the `files` that they need (devices, say), all are ignored; with
/// `WEAVE_TEST_REQUIRE_ROOT=1` that is a failure instead, for runs that must not skip anything. `threads` is how
/// many tests run at a time unless `--test-threads` says otherwise.
pub(crate) fn run(tests: &'static [RootTest], files: &[&str], threads: Option<usize>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(threads);
    let missing = missing(files);
    if let Some(missing) = &missing
        && !arguments.list
    {
        if env::var_os("WEAVE_TEST_REQUIRE_ROOT").is_some_and(|value| value == "1") {
            eprintln!("failed: needs {missing}, and WEAVE_TEST_REQUIRE_ROOT=1 allows no skipping");
            return ExitCode::FAILURE;
        }
        eprintln!("skipped: needs {missing}");
    }
    let trials = tests
        .iter()
        .map(|(name, test)| {
            Trial::test(*name, || {
                test();
                Ok(())
            })
            .with_ignored_flag(missing.is_some())
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What a test cannot do without, and is not here.
fn missing(files: &[&str]) -> Option<String> {
    if !may_make_networks() {
        return Some("root".to_owned());
    }
    let file = files.iter().find(|file| !Path::new(file).exists())?;
    Some(format!("root and {file}"))
}

/// Root in a container may lack the rights that make it root for networks.
fn may_make_networks() -> bool {
    /// CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN (linux/capability.h).
    const NEEDED: u64 = 1 << 12 | 1 << 13 | 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & NEEDED == NEEDED)
}
