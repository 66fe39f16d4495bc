//! `cargo fuzz run --features libfuzzer member`: see [`weave_fuzz::member`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weave_fuzz::member(bytes));
