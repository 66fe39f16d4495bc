//! The weave host tool: puts containers on the network, starts and asks the router of this host, and shows what it
//! can do.
//!
//! Each command is a file named after it. They share: [`context`] (the global flags), [`engine`] (docker or podman),
//! [`place`] (what the user calls a container), [`ledger`] (what was done to this host), [`plumbing`] (the bridge),
//! [`rules`] (the firewall), [`undo`] (what is taken back after a failure) and [`client`] (the router's control API).

mod attach;
mod cli;
mod client;
mod context;
mod demo;
mod engine;
mod expose;
mod guard;
mod image;
mod launch;
mod ledger;
mod machine;
mod names;
mod output;
mod pages;
mod password;
mod ping;
mod place;
mod plumbing;
mod ps;
mod render;
mod reset;
mod rules;
mod run;
mod setup;
mod start;
mod stop;
mod trace;
mod undo;
mod wait;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main_with(std::env::args_os())
}
