//! Twenty routers on one machine: what an idle one costs. A target of its own, since it takes two minutes.
//!
//! The figures are those of the profile it is built in; scripts run it with `--release`. Needs root.

#[path = "netns/main.rs"]
mod netns;

fn main() -> std::process::ExitCode {
    netns::main()
}
