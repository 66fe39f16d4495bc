//! What the router's container costs: image and memory. A target of its own, for the figures are those of the profile
//! that it is built in; scripts run it with `--release`. Needs root.

#[path = "engines/main.rs"]
mod engines;

fn main() -> std::process::ExitCode {
    engines::main()
}
