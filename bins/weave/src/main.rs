//! The weave host tool.
fn main() {}
