//! The programs under test.

use std::process::Command;

/// A program to run without any setting that the tests' own environment may hold.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEAVE_") {
            command.env_remove(name);
        }
    }
    command
}
