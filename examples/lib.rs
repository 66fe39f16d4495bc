//! The examples are the files beside this one; `cargo run -p weave-examples --example NAME` runs one.
