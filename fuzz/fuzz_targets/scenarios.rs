//! `cargo fuzz run --features libfuzzer scenarios`: see [`weave_fuzz::scenarios`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weave_fuzz::scenarios(bytes));
