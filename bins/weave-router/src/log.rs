//! Log lines on stderr.

use std::io::{self, IsTerminal};

use tracing::Level;

/// Sends log lines up to `level` to stderr, in colour where that is a terminal and `NO_COLOR` is not set.
///
/// Lines above the level cost one comparison at their call site. A second call changes nothing.
pub(crate) fn start(level: Level) {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // Fails only where a subscriber stands already, which then goes on.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(colour)
        .with_target(level > Level::INFO)
        .try_init();
}
