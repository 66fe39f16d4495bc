//! The weave router daemon as a library, so that one binary can carry both programs: [`main_with`] is the whole
//! of it, [`Options`] its command line. The `weave` tool says what goes wrong in the same way, by [`Failure`].
#![deny(missing_docs)]

mod control;
#[cfg(test)]
mod example;
mod failure;
mod frame_log;
mod log;
mod metrics;
mod notify;
mod options;
mod password;
mod port;
mod report;
mod run;
mod socket;
mod underlay;

pub use crate::failure::{Failure, is_answer, usage_line, words};
pub use crate::notify::Notifier;
pub use crate::options::{CONTROL, Options, STATE_DIR};
pub use crate::password::{Secret, read, read_file};

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::port::PortKind;
use crate::underlay::Underlay;

/// The name of the router's port on `bridge`.
pub fn tap_name(bridge: &str) -> String {
    port::tap_name(bridge)
}

/// The MTU that a router on `bridge` gives containers when nobody tells it one and no peer is named: for whoever puts
/// containers on the bridge before there is a router.
pub fn default_mtu_bytes(bridge: &str) -> u16 {
    let port = PortKind::Bridge {
        bridge: bridge.to_owned(),
        tap: port::tap_name(bridge),
    };
    Underlay::find(&[], &port.devices()).container_mtu_bytes()
}

/// Runs a router on a command line, the program's name first, until it is told to end.
///
/// Says on stderr why when it cannot start or go on: exit code 2 for the command line, 1 for everything else.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter().peekable();
    let program = match args.peek() {
        // As `weave router`, or by its own name from wherever it was started.
        Some(name) => std::path::Path::new(name)
            .file_name()
            .unwrap_or(name)
            .to_string_lossy()
            .into_owned(),
        None => "weave-router".to_owned(),
    };
    let result = match Options::try_parse_from(args) {
        Ok(options) => run::run(options),
        Err(error) if is_answer(&error) => {
            let _ = write!(std::io::stdout(), "{error}");
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(Failure::usage(usage_line(&program, &error), "", "")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nowhere is left to complain when stderr fails.
            let _ = writeln!(std::io::stderr(), "{program}: {failure}");
            failure.exit_code()
        }
    }
}
