//! The weave router daemon.
fn main() {}
