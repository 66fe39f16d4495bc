//! `cargo fuzz run --features libfuzzer control`: see [`weave_fuzz::control`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weave_fuzz::control(bytes));
