//! The weave router daemon; all of it is in the library, so that the `weave` tool can carry it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    weave_router::main_with(std::env::args_os())
}
