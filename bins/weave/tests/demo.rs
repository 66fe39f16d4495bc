//! `weave demo` on real hosts. It needs root, and says so where it is ignored without.
#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "../../../weave-io/tests/support/root_tests.rs"]
mod root_tests;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};

fn main() -> ExitCode {
    root_tests::run(
        root_tests::tests![
            demo::it_tells_of_relay_and_direct_path_and_leaves_nothing_behind,
            demo::an_interrupt_leaves_nothing_behind,
            demo::a_reader_that_goes_away_leaves_nothing_behind,
        ],
        &["/dev/net/tun"],
        Some(1),
    )
}

mod demo {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::{BufRead, BufReader, left_behind, start};

    pub(super) fn it_tells_of_relay_and_direct_path_and_leaves_nothing_behind() {
        let child = start();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{said}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for wanted in [
            "by way of B",
            "directly",
            "of 50 pings answered",
            "by way of B again; no ping was answered for",
            "routes (2)",
            "all of it is removed",
        ] {
            assert!(said.contains(wanted), "{wanted} is not in\n{said}");
        }
        assert!(!said.contains("none of"), "{said}");
        assert!(!said.contains('\x1b'), "no colour where no terminal is");
        assert_eq!(left_behind(pid), Vec::<String>::new());
    }

    pub(super) fn an_interrupt_leaves_nothing_behind() {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let mut child = start();
            let pid = child.id();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap().contains("three routers run")));
            assert!(!left_behind(pid).is_empty(), "there is something to remove");
            kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
            // So that it can go on printing until it ends.
            lines.for_each(drop);
            assert_eq!(child.wait().unwrap().code(), Some(1));
            assert_eq!(left_behind(pid), Vec::<String>::new());
        }
    }

    pub(super) fn a_reader_that_goes_away_leaves_nothing_behind() {
        let mut child = start();
        let pid = child.id();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty(), "it ends without a word");
        assert_eq!(left_behind(pid), Vec::<String>::new());
    }
}

fn start() -> Child {
    Command::new(env!("CARGO_BIN_EXE_weave"))
        .arg("demo")
        // The routers must not listen to what is meant for others.
        .env("WEAVE_PORT", "none")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Namespaces, folders and router processes of the demo with this process id.
fn left_behind(pid: u32) -> Vec<String> {
    let prefix = format!("weave-demo-{pid}");
    let names = |folder: std::path::PathBuf| {
        std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().display().to_string())
            .filter(|path| path.contains(&prefix))
            .collect::<Vec<_>>()
    };
    let mut left = names("/var/run/netns".into());
    left.extend(names(std::env::temp_dir()));
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&prefix) {
            left.push(command);
        }
    }
    left
}
