//! The weave host tool: asks the router of this host, and shows what it can do.

mod cli;
mod client;
mod demo;
mod output;
mod pages;
mod password;
mod ping;
mod render;
mod trace;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main_with(std::env::args_os())
}
