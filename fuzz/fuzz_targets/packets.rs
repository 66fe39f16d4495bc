//! `cargo fuzz run --features libfuzzer packets`: see [`weave_fuzz::packets`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weave_fuzz::packets(bytes));
