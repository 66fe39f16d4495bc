//! The daemon's command line as a user meets it, without any right: what it refuses, and how it says so.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::process::{Output, Stdio};

#[path = "support/program.rs"]
mod program;

#[test]
fn help_and_version_go_to_stdout() {
    for (flag, wanted) in [
        ("--help", "--no-discovery"),
        ("--help", "Examples:"),
        ("--version", env!("CARGO_PKG_VERSION")),
    ] {
        let output = router(&[flag], &[]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(wanted));
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn a_command_line_that_cannot_be_is_refused_in_one_line() {
    for (flags, wanted) in [
        (vec!["--hub"], "--hub"),
        (vec!["--port=0"], "not a port"),
        (vec!["--mtu=1"], "not a number of bytes"),
        (vec!["--bridge=a-name-of-16-byt"], "at most 15 bytes"),
        (vec!["--address=10.2.1.1"], "prefix length"),
        (vec!["--tap=t", "--no-port"], "cannot be used with"),
        (vec!["--pcap=a", "--no-port"], "cannot be used with"),
        (vec!["--pcap=eth0:bad"], "no name for a network device"),
        (vec!["host:port"], "PEER"),
        (vec!["[::1"], "PEER"),
    ] {
        refused(&router(&flags, &[]), 2, wanted);
    }
}

#[test]
fn a_password_that_cannot_be_is_refused_and_not_repeated() {
    let folder = std::env::temp_dir().join(format!("weave-cli-{}", std::process::id()));
    let state = format!("--state-dir={}", folder.display());
    for (flags, variables, code, wanted) in [
        (
            &["--password=hunter2", "--password-file=f"][..],
            &[][..],
            2,
            "cannot be used with",
        ),
        (
            &[],
            &[("WEAVE_PASSWORD", "hunter2"), ("WEAVE_PASSWORD_FILE", "f")],
            2,
            "both set",
        ),
        (&["--password="], &[], 1, "it is empty"),
        (&[], &[("WEAVE_PASSWORD", "")], 1, "it is empty"),
        (
            &["--password-file=/nowhere/at/all"],
            &[],
            1,
            "/nowhere/at/all",
        ),
        (
            &[],
            &[("WEAVE_PASSWORD_FILE", "/nowhere/at/all")],
            1,
            "/nowhere/at/all",
        ),
        // The variable is not even looked at.
        (
            &["--password-file=/nowhere/at/all"],
            &[("WEAVE_PASSWORD", "hunter2")],
            1,
            "/nowhere",
        ),
        (&["--deny=hunter2"], &[], 2, "--deny"),
    ] {
        let mut all = vec![state.as_str(), "--no-port"];
        all.extend(flags);
        let output = router(&all, variables);
        refused(&output, code, wanted);
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !says.contains("hunter2") || flags == ["--deny=hunter2"],
            "{says}"
        );
        assert!(!folder.exists(), "{flags:?} left a state folder");
    }
}

#[test]
fn a_build_without_the_feature_pcap_says_so() {
    if cfg!(feature = "pcap") {
        return;
    }
    for output in [
        router(&["--pcap", "eth0"], &[]),
        router(&[], &[("WEAVE_PCAP", "eth0")]),
    ] {
        refused(&output, 2, "--pcap cannot be honoured");
        refused(&output, 2, "without the feature pcap");
    }
}

#[test]
fn a_variable_counts_and_the_flag_wins() {
    refused(&router(&[], &[("WEAVE_PORT", "none")]), 2, "--port");
    refused(&router(&["--hub"], &[("WEAVE_NO_PORT", "1")]), 2, "--hub");
    // The variable is not even looked at.
    refused(
        &router(&["--port=7000", "--hub"], &[("WEAVE_PORT", "none")]),
        2,
        "--hub",
    );
}

#[test]
fn a_state_folder_that_cannot_be_is_named() {
    // Nobody can make a folder there, not even root.
    let output = router(&["--state-dir=/proc/weave", "--no-port"], &[]);
    refused(&output, 1, "/proc/weave");
}

fn router(flags: &[&str], variables: &[(&str, &str)]) -> Output {
    program::command(env!("CARGO_BIN_EXE_weave-router"))
        .args(flags)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// It gave up with this exit code, and one line that holds `wanted`.
fn refused(output: &Output, code: i32, wanted: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.starts_with("weave-router: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(wanted), "{said}");
    for never in ["os error", "panicked", "secret"] {
        assert!(!said.contains(never), "{said}");
    }
    assert!(output.stdout.is_empty());
}
